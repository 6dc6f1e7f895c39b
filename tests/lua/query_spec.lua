-- Queries: values, ranges, order, pages, cursors.
local support = require "support"
local tito = require "tito"

describe("a query", function()
  local db, Post
  local N = 30

  setup(function()
    db = support.open()
    Post = db:model {
      table = "post",
      indexes = {
        { name = "by_author", fields = { { name = "author", type = "string" }, { name = "views", type = "number" } } },
        { name = "by_title", fields = { { name = "title", type = "string" } } },
        { name = "by_tag", fields = { { name = "tags", type = "string" } } },
        { name = "newest", fields = { { name = "views", type = "number", order = "desc" } } },
      },
    }
    assert(db:transaction(function(tx)
      for i = 1, N do
        assert(Post:build({
          id = ("p%02d"):format(i), author = i % 3 == 0 and "Bob" or "Ann", views = i, title = ("Title %02d"):format(i),
          tags = { "all", i % 2 == 0 and "even" or "odd" },
        }, tx))
      end
    end))
  end)

  teardown(function()
    db:close()
  end)

  local function views(page)
    local out = {}
    for i, post in ipairs(page.items) do
      out[i] = post.views
    end
    return out
  end

  local function bob()
    return Post:query_by_index("by_author"):value("Bob")
  end

  it("orders by the fields, in both directions", function()
    assert.same({ 3, 6, 9, 12, 15, 18, 21, 24, 27, 30 }, views(assert(bob():execute())))
    assert.same({ 30, 27, 24 }, views(assert(bob():limit(3):execute_reverse())))
    assert.same({ 30, 27, 24 }, views(assert(bob():limit(3):reverse():execute())))
    assert.same({ 3, 6, 9 }, views(assert(bob():limit(3):reverse():execute_reverse())))
    assert.same({ 30, 29 }, views(assert(Post:query_by_index("newest"):limit(2):execute())))
  end)

  it("has bounds", function()
    assert.same({ 24, 27, 30 }, views(assert(bob():gt(21):execute())))
    assert.same({ 21, 24, 27, 30 }, views(assert(bob():gte(21):execute())))
    assert.same({ 3, 6 }, views(assert(bob():lt(9):execute())))
    assert.same({ 3, 6, 9 }, views(assert(bob():lte(9):execute())))
    assert.same({ 9, 12, 15 }, views(assert(bob():between(9, 15):execute())))
    assert.same({ 12, 15 }, views(assert(bob():gt(9):lt(16.5):execute())))
    assert.same({}, views(assert(bob():between(100, 200):execute())))
  end)

  it("compares numbers by value, integer or float", function()
    assert.same({ 9 }, views(assert(Post:query_by_index("newest"):value(9.0):execute())))
    assert.same({ 9 }, views(assert(Post:query_by_index("newest"):value(9):execute())))
  end)

  it("finds prefixes", function()
    assert.equal(9, Post:query_by_index("by_title"):starts_with("Title 0"):count())
    assert.equal(30, Post:query_by_index("by_title"):starts_with("Title "):count())
    assert.equal(30, Post:query_by_index("by_title"):starts_with(""):count())
    assert.equal(0, Post:query_by_index("by_title"):starts_with("title"):count())
  end)

  it("pages without skipping or repeating", function()
    for _, limit in ipairs { 1, 3, 7, 10, 30, 100 } do
      for _, method in ipairs { "execute", "execute_reverse" } do
        local seen, cursor, pages = {}, nil, 0
        repeat
          local query = Post:query_by_index("by_tag"):value("all"):limit(limit):cursor(cursor)
          local page = assert(query[method](query))
          assert.is_true(#page.items <= limit)
          for _, post in ipairs(page.items) do
            seen[#seen + 1] = post.id
          end
          cursor, pages = page.cursor, pages + 1
        until not cursor or pages > 100
        assert.equal(N, #seen)
        for i = 2, N do
          assert.is_true((seen[i - 1] < seen[i]) == (method == "execute"))
        end
      end
    end
  end)

  it("has first, count, each, keys_only and explain", function()
    assert.equal(3, assert(bob():first()).views)
    assert.is_nil((Post:query_by_index("by_author"):value("Nobody"):first()))
    assert.equal(1, select("#", Post:query_by_index("by_author"):value("Nobody"):first()))
    assert.equal(10, bob():limit(2):count())
    local seen = {}
    for post in Post:query_by_index("by_author"):value("Ann"):limit(4):each() do
      seen[#seen + 1] = post.views
    end
    assert.equal(20, #seen)
    assert.equal(29, seen[20])
    local page = assert(bob():keys_only():execute())
    assert.equal("p03", page.items[1].id)
    assert.is_nil(page.items[1].author)
    assert.same({ id = "p03" }, assert(bob():keys_only():first()))
    assert.is_table(assert(bob():explain()))
  end)

  it("is reusable", function()
    local query = bob():limit(2)
    local first = assert(query:execute())
    assert.same(first.items, assert(query:execute()).items)
    assert.same({ 9, 12 }, views(assert(query:cursor(first.cursor):execute())))
    assert.same({ 3, 6 }, views(assert(query:cursor(nil):execute())))
  end)

  it("sees a transaction's own writes", function()
    local tx = assert(db:begin())
    assert(Post:build({ id = "new", author = "Bob", views = 1000, title = "Z", tags = tito.array() }, tx))
    assert(Post:delete_by_id("p03", tx))
    assert.same({ 6, 9 }, views(assert(bob():limit(2):execute_tx(tx))))
    assert.equal(1000, assert(bob():reverse():first(tx)).views)
    assert.equal(10, bob():count(tx))
    local n = 0
    for _ in bob():limit(3):each(tx) do
      n = n + 1
    end
    assert.equal(10, n)
    assert.equal(10, bob():count())
    tx:rollback()
    assert.same({ 3, 6 }, views(assert(bob():limit(2):execute())))
  end)

  it("finds null", function()
    local Thing = db:model { table = "thing", indexes = { { name = "by_x", fields = { { name = "x", type = "string" } } } } }
    assert(Thing:save { id = "none" })
    assert(Thing:save { id = "null", x = tito.null })
    assert(Thing:save { id = "text", x = "x" })
    assert.equal(2, Thing:query_by_index("by_x"):value(tito.null):count())
  end)

  it("refuses what it can not answer", function()
    assert.fails("invalid_argument", Post:query_by_index("nothing"):execute())
    assert.fails("invalid_argument", Post:query_by_index("by_author"):value(5):execute())
    assert.fails("invalid_argument", Post:query_by_index("newest"):value("20230101"):execute())
    assert.fails("invalid_argument", bob():gt("x"):execute())
    assert.fails("invalid_argument", bob():value(1):value(2):execute())
    assert.fails("invalid_argument", bob():value(1):gt(2):execute())
    assert.fails("invalid_argument", bob():gt(1):gt(2):execute())
    assert.fails("invalid_argument", bob():starts_with("x"):execute())
    assert.fails("invalid_argument", Post:query_by_index("by_author"):value({}):execute())
    assert.fails("invalid_argument", Post:query_by_index("by_author"):value(print):execute())
    assert.fails("invalid_argument", Post:query_by_index("by_author"):value("\xff"):execute())
    assert.fails("invalid_argument", Post:query_by_index("newest"):value(0 / 0):execute())
  end)

  it("says what is wrong with its parts", function()
    local _, err = bob():gt(1):gte(2):execute()
    assert.equal("invalid_argument", err.code)
    assert.truthy(err.message:find("one lower and one upper bound", 1, true))
    local query = bob()
    for _ = 1, 17 do
      query:relationship("tags")
    end
    _, err = query:count()
    assert.equal("limit_exceeded", err.code)
    assert.truthy(err.message:find("relationships", 1, true))
    _, err = bob():cursor(("A"):rep(100000)):execute()
    assert.equal("invalid_argument", err.code)
    assert.truthy(err.message:find("cursor", 1, true))
  end)

  it("refuses cursors that are not its own", function()
    local cursor = assert(assert(bob():limit(2):execute()).cursor)
    assert.fails("invalid_argument", bob():cursor("nonsense"):execute())
    assert.fails("invalid_argument", bob():cursor(cursor:sub(1, -2)):execute())
    assert.fails("invalid_argument", bob():cursor(cursor .. "A"):execute())
    assert.fails("invalid_argument", bob():cursor(cursor):execute_reverse())
    assert.fails("invalid_argument", Post:query_by_index("by_author"):value("Ann"):cursor(cursor):execute())
    assert.fails("invalid_argument", Post:query_by_index("newest"):cursor(cursor):execute())
    for at = 1, #cursor do
      local other = cursor:sub(at, at) == "A" and "B" or "A"
      local forged = cursor:sub(1, at - 1) .. other .. cursor:sub(at + 1)
      assert.fails("invalid_argument", bob():cursor(forged):execute())
    end
    assert(bob():limit(5):cursor(cursor):execute())
  end)

  it("raises for misuse", function()
    support.raised("invalid_argument", function() bob():value(nil) end)
    support.raised("invalid_argument", function() bob():gt() end)
    support.raised("invalid_argument", function() bob():between(1) end)
    support.raised("invalid_argument", function() bob():starts_with(1) end)
    support.raised("invalid_argument", function() bob():limit(0) end)
    support.raised("invalid_argument", function() bob():limit(10001) end)
    support.raised("invalid_argument", function() bob():limit(1.5) end)
    support.raised("invalid_argument", function() bob():limit("10") end)
    support.raised("invalid_argument", function() bob():cursor(5) end)
    support.raised("invalid_argument", function() bob():relationship(5) end)
    support.raised("invalid_argument", function() bob():execute("tx") end)
    support.raised("invalid_argument", function() bob():execute_tx() end)
    support.raised("invalid_argument", function() Post:query_by_index() end)
  end)
end)
