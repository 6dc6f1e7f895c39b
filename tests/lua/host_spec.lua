-- The functions of a model: what they see, what happens when they misbehave.
local support = require "support"
local tito = require "tito"

describe("a model's functions", function()
  local db, condition, events, partition_key, references, Post

  before_each(function()
    db = support.open()
    condition = function() return true end
    events = function(post) return { { name = "post", payload = { title = post.title } } } end
    partition_key = function(post) return post.author end
    references = function(post) return post.tag_ids end
    db:queue { type = "post", partitions = 2 }
    Post = db:model {
      table = "post",
      indexes = {
        { name = "first", fields = { { name = "title", type = "string" } } },
        { name = "second", fields = { { name = "title", type = "string" } }, condition = function(p) return condition(p) end },
      },
      events = function(p) return events(p) end,
      partition_key = function(p) return partition_key(p) end,
      references = function(p) return references(p) end,
    }
  end)

  after_each(function()
    db:close()
  end)

  local function document(id)
    return { id = id or "p1", title = "T", author = "Ann", tag_ids = { "t1", "t2" } }
  end

  local function nothing_is_there()
    assert.equal(0, #assert(Post:scan()).items)
    assert.equal(0, Post:query_by_index("first"):count())
    assert.equal(0, #assert(db:queue { type = "post", partitions = 2 }:history { state = "pending" }).items)
    assert.same({}, assert(db:check("post")).findings)
  end

  --- Each way of writing fails with the code, and nothing is written.
  local function every_write_fails(code, index)
    local with = tito.with_events("INSERT")
    for _, method in ipairs { "build_with_options", "save_with_options", "update_with_options" } do
      local value, err = Post[method](Post, document(), with)
      assert.fails(code, value, err)
      assert.equal("post", err.table)
      assert.equal(index, err.index)
    end
    nothing_is_there()
    local value, err = db:transaction(function(tx)
      assert(Post:save({ id = "other", title = "x" }, tx) == nil or true)
      return Post:save_with_options(document(), with, tx)
    end)
    assert.fails(code, value, err)
    nothing_is_there()
  end

  it("that fail, fail the write and name the index", function()
    condition = function() error("the condition broke") end
    local _, err = Post:build(document())
    assert.equal("handler_failed", err.code)
    assert.equal("second", err.index)
    assert.equal("post", err.table)
    assert.truthy(err.message:find("the condition of index 'second'", 1, true))
    assert.truthy(err.message:find("the condition broke", 1, true))
    assert.truthy(err.message:find("nothing was written", 1, true))
    every_write_fails("handler_failed", "second")
  end)

  it("may raise anything", function()
    for _, thrown in ipairs { { {} }, { 5 }, { false }, { nil }, { print },
      { setmetatable({}, { __tostring = function() error("no text either") end }) } } do
      condition = function() error(thrown[1]) end
      assert.fails("handler_failed", Post:build(document()))
    end
    nothing_is_there()
  end)

  support.not_in_nginx(it)("can not yield", function()
    condition = function() return coroutine.yield() end
    local value, err = coroutine.wrap(function() return Post:build(document()) end)()
    assert.fails("handler_failed", value, err)
    nothing_is_there()
  end)

  it("can not call tito", function()
    local calls = {
      function() return Post:find_by_id("x") end,
      function() return Post:build(document("inner")) end,
      function() return Post:query_by_index("first"):execute() end,
      function() return db:transaction(function() end) end,
      function() return db:begin() end,
      function() return db:now() end,
      function() return db:close() end,
      function() return db:queue { type = "x" } end,
      function() return db:model { table = "x" } end,
      function() return db:worker {} end,
      function() return db:check("post") end,
    }
    for i, call in ipairs(calls) do
      condition = call
      local _, err = Post:build(document())
      assert.equal("handler_failed", err.code, "call " .. i)
      assert.equal("invalid_state", err.cause.code, "call " .. i)
    end
    nothing_is_there()
    condition = function() return tito.now() > 0 and #tito.uuid() == 36 and tito.null ~= nil end
    assert(Post:build(document()))
  end)

  it("are heard after one has failed", function()
    condition = function() error("x") end
    assert.fails("handler_failed", Post:build(document()))
    condition = function() return true end
    assert(Post:build(document()))
    assert.is_table(Post:find_by_id("p1"))
    assert.equal(1, Post:query_by_index("second"):count())
  end)

  it("make events only when asked", function()
    local calls = 0
    events = function() calls = calls + 1 end
    assert(Post:build(document()))
    assert.equal(0, calls)
    assert(Post:update_with_options(document(), tito.with_events("UPDATE")))
    assert.equal(1, calls)
  end)

  it("fail the write when events, key or references are wrong", function()
    local wrong = {
      { "events", function() error("e") end }, { "events", function() return 5 end },
      { "events", function() return "post" end },
      { "partition_key", function() error("k") end }, { "partition_key", function() return 5 end },
      { "references", function() error("r") end }, { "references", function() return "t1" end },
    }
    for _, case in ipairs(wrong) do
      local saved = { events, partition_key, references }
      if case[1] == "events" then events = case[2]
      elseif case[1] == "partition_key" then partition_key = case[2]
      else references = case[2] end
      local value, err = Post:build_with_options(document(), tito.with_events("INSERT"))
      assert.fails("handler_failed", value, err)
      assert.truthy(err.message:find("the function " .. case[1], 1, true), err.message)
      events, partition_key, references = support.unpack(saved)
    end
    for _, bad in ipairs { { {} }, { { name = 5 } }, { { name = "" } }, { { name = "a b" } }, { 5 }, { { name = "post", payload = print } },
      { { name = "post", timestamp = "soon" } } } do
      events = function() return bad end
      local value, err = Post:build_with_options(document(), tito.with_events("INSERT"))
      assert.fails("invalid_argument", value, err)
    end
    nothing_is_there()
  end)

  it("stand in events with their results", function()
    assert(Post:build_with_options(document(), tito.with_events("INSERT")))
    local got
    local worker = db:worker()
    worker:on("post", function(event)
      got = event
      worker:stop()
    end)
    assert(worker:run())
    assert.equal("INSERT", got.action)
    assert.equal("table:post:p1", got.entity)
    assert.equal("p1", got.entity_id)
    assert.equal("Ann", got.key)
    assert.same({ "t1", "t2" }, got.references)
    assert.same({ title = "T" }, got.payload)
    assert.equal(0, got.attempts)
    assert.is_nil(got.last_error)
    assert.is_true(math.abs(got.timestamp - tito.now()) < 60)
    assert.truthy(got.id:match("^%d+%.%d+%."))
  end)

  it("see the old document of a delete", function()
    assert(Post:build(document()))
    assert.is_true(Post:delete_by_id_with_options("p1", tito.with_events("DELETE")))
    assert.is_false(Post:delete_by_id_with_options("p1", tito.with_events("DELETE")))
    local items = assert(db:queue { type = "post", partitions = 2 }:history { state = "pending" }).items
    assert.equal(1, #items)
    assert.equal("DELETE", items[1].action)
    assert.same({ title = "T" }, items[1].payload)
    events = function() error("no") end
    assert(Post:build(document()))
    assert.fails("handler_failed", Post:delete_by_id_with_options("p1", tito.with_events("DELETE")))
    assert.is_table(Post:find_by_id("p1"))
  end)

  it("see the merged document of a patch", function()
    assert(Post:build(document()))
    local seen
    condition = function(p)
      seen = p
      return p.title == "new"
    end
    assert(Post:patch_with_options("p1", { title = "new" }, tito.with_events("UPDATE")))
    assert.equal("Ann", seen.author)
    assert.equal("new", seen.title)
    assert.equal(1, Post:query_by_index("second"):count())
    condition = function() error("x") end
    assert.fails("handler_failed", Post:patch("p1", { title = "never" }))
    assert.equal("new", Post:find_by_id("p1").title)
    local value, err = db:transaction(function(tx)
      local _ = Post:patch("p1", { title = "never" }, tx)
    end)
    assert.fails("handler_failed", value, err)
    assert.equal("new", Post:find_by_id("p1").title)
  end)

  it("are refused events that no function makes", function()
    local Plain = db:model { table = "plain" }
    assert.fails("invalid_argument", Plain:build_with_options({ id = "x" }, tito.with_events("INSERT")))
    assert.is_nil((Plain:find_by_id("x")))
  end)
end)
