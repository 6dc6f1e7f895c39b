-- Transactions: what is committed, what is not, and what is misuse.
local support = require "support"
local tito = require "tito"

describe("a transaction", function()
  local db, User

  before_each(function()
    db = support.open()
    User = db:model {
      table = "user",
      unique_indexes = { { name = "by_email", fields = { { name = "email", type = "string" } } } },
    }
  end)

  after_each(function()
    db:close()
  end)

  local function absent(id)
    assert.is_nil((User:find_by_id(id)))
  end

  it("commits and returns what the function returned", function()
    local function results(...)
      return { n = select("#", ...), ... }
    end
    assert.same({ n = 1, true }, results(db:transaction(function() end)))
    assert.same({ n = 2, "a", "b" }, results(db:transaction(function() return "a", "b" end)))
    assert.same({ n = 1, 0 }, results(db:transaction(function() return 0 end)))
    assert.same({ n = 1 }, results(db:transaction(function() return nil end)))
    assert.same({ n = 1, false }, results(db:transaction(function() return false end)))
    assert.is_true(db:transaction(function(tx) assert(User:build({ id = "u" }, tx)) end))
    assert.is_table(User:find_by_id("u"))
  end)

  it("sees its own writes, and nobody else does", function()
    assert(db:transaction(function(tx)
      assert(User:build({ id = "u", n = 1 }, tx))
      assert.equal(1, User:find_by_id("u", nil, tx).n)
      absent("u")
      assert(User:patch("u", { n = 2 }, tx))
      assert.equal(2, User:find_by_id("u", nil, tx).n)
      assert.is_true(User:delete_by_id("u", tx))
      assert.is_nil((User:find_by_id("u", nil, tx)))
      assert(User:build({ id = "u", n = 3 }, tx))
    end))
    assert.equal(3, User:find_by_id("u").n)
  end)

  it("rolls back when the function raises", function()
    local value, err = db:transaction(function(tx)
      assert(User:build({ id = "u" }, tx))
      error("broken")
    end)
    assert.fails("handler_failed", value, err)
    assert.truthy(err.message:find("broken"))
    assert.truthy(tostring(err.cause):find("broken"))
    assert.truthy(err.traceback:find("transaction_spec"))
    absent("u")
  end)

  it("rolls back whatever is raised", function()
    local Strange = setmetatable({}, { __tostring = function() error("no text") end })
    for _, thrown in ipairs { { { 1 } }, { 42 }, { true }, { nil }, { print }, { Strange } } do
      local value, err = db:transaction(function(tx)
        assert(User:build({ id = "u" }, tx))
        error(thrown[1], 0)
      end)
      assert.fails("handler_failed", value, err)
      assert.equal(thrown[1], err.cause)
      absent("u")
    end
  end)

  it("rolls back when the function returns nil or false and an error", function()
    local value, err = db:transaction(function(tx)
      assert(User:build({ id = "u" }, tx))
      return nil, "why not"
    end)
    assert.fails("handler_failed", value, err)
    assert.equal("why not", err.cause)
    value, err = db:transaction(function(tx)
      assert(User:build({ id = "u" }, tx))
      return false, { reason = 1 }
    end)
    assert.fails("handler_failed", value, err)
    assert.same({ reason = 1 }, err.cause)
    absent("u")
  end)

  it("keeps the code of an error of tito's", function()
    assert(User:build { id = "u" })
    local value, err = db:transaction(function(tx)
      return User:update({ id = "nobody" }, tx)
    end)
    assert.fails("not_found", value, err)
    value, err = db:transaction(function(tx)
      support.must(User:update({ id = "nobody" }, tx))
    end)
    assert.fails("not_found", value, err)
    assert.equal("not_found", err.cause.code)
    assert.equal("user", err.table)
  end)

  it("is doomed by a failed write that is ignored", function()
    local failures = {
      function(tx) return User:update({ id = "nobody" }, tx) end,
      function(tx) return User:patch("nobody", { n = 1 }, tx) end,
      function(tx) return User:build({ id = "" }, tx) end,
      function(tx) return User:build({ n = 0 / 0 }, tx) end,
      function(tx) return User:build({ id = "x", email = 5 }, tx) end,
      function(tx) return User:build({ id = "u" }, tx) end,
    }
    for i, fail in ipairs(failures) do
      local value, err = db:transaction(function(tx)
        assert(User:build({ id = "u" }, tx))
        local ignored, why = fail(tx)
        assert.is_nil(ignored)
        assert.is_table(why)
        return "fine"
      end)
      assert.is_nil(value, "case " .. i)
      assert.is_table(err, "case " .. i)
      absent("u")
    end
  end)

  it("runs again when it met a conflict, with a fresh snapshot", function()
    assert(User:build { id = "u", n = 0 })
    local runs = 0
    assert(db:transaction(function(tx)
      runs = runs + 1
      local user = User:find_by_id("u", nil, tx)
      if runs <= 2 then
        assert(User:update { id = "u", n = user.n + 10 })
      end
      user.n = user.n + 1
      assert(User:update(user, tx))
    end))
    assert.equal(3, runs)
    assert.equal(21, User:find_by_id("u").n)
  end)

  it("gives up when its attempts are used up", function()
    assert(User:build { id = "u", n = 0 })
    local runs = 0
    local value, err = db:transaction(function(tx)
      runs = runs + 1
      local user = User:find_by_id("u", nil, tx)
      assert(User:save { id = "u", n = runs })
      assert(User:update(user, tx))
    end, { attempts = 3 })
    assert.fails("conflict", value, err)
    assert.is_true(err.retryable)
    assert.equal(3, runs)
  end)

  it("asserts that what it read is current", function()
    assert(User:build { id = "u", n = 0 })
    local tx = assert(db:begin())
    assert.equal(0, User:find_by_id("u", nil, tx).n)
    assert.is_true(User:assert_current("u", tx))
    assert(User:build({ id = "v" }, tx))
    assert(User:save { id = "u", n = 1 })
    assert.fails("conflict", tx:commit())
    absent("v")
  end)

  it("locks", function()
    assert(User:build { id = "u", n = 0 })
    local first, second = assert(db:begin()), assert(db:begin())
    assert.equal(0, User:find_by_id("u", { lock = true }, first).n)
    assert.fails("busy", User:find_by_id("u", { lock = "nowait" }, second))
    first:rollback()
    second:rollback()
    local third = assert(db:begin())
    assert.equal(0, User:find_by_id("u", { lock = "nowait" }, third).n)
    support.raised("invalid_argument", function() return User:find_by_id("u", { lock = true }) end)
    support.raised("invalid_argument", function() return User:find_by_id("u", { lock = "maybe" }, third) end)
    third:rollback()
  end)

  it("can be ended by hand, once", function()
    local tx = assert(db:begin())
    support.is_number("integer", tx.start_version)
    assert(User:build({ id = "u" }, tx))
    local version = assert(tx:commit())
    support.is_number("integer", version)
    assert.is_table(User:find_by_id("u"))
    for _, use in ipairs {
      function() return tx:commit() end,
      function() return tx:rollback() end,
      function() return tx.start_version end,
      function() return User:find_by_id("u", nil, tx) end,
      function() return User:build({ id = "x" }, tx) end,
      function() return User:patch("u", {}, tx) end,
      function() return User:delete_by_id("u", tx) end,
      function() return User:query_by_index("by_email"):execute(tx) end,
      function() return User:scan({}, tx) end,
      function() return db:queue { type = "q" }:publish({ key = "k" }, tx) end,
    } do
      support.raised("invalid_state", use)
    end
    assert.is_table(User:find_by_id("u"))
  end)

  support.only_54(it)("rolls back at the end of its block", function()
    assert(load([[
    local assert, db, User, absent = ...
    do
      local tx <close> = assert(db:begin())
      assert(User:build({ id = "u" }, tx))
    end
    absent("u")
    pcall(function()
      local tx <close> = assert(db:begin())
      assert(User:build({ id = "u" }, tx))
      error("x")
    end)
    absent("u")
    do
      local tx <close> = assert(db:begin())
      assert(User:build({ id = "u" }, tx))
      assert(tx:commit())
    end
    assert.is_table(User:find_by_id("u"))
    ]]))(assert, db, User, absent)
  end)

  it("is not the function's to end, nor to keep", function()
    local kept
    local value, err = db:transaction(function(tx)
      kept = tx
      return tx:commit()
    end)
    assert.fails("invalid_state", value, err)
    assert(db:transaction(function(tx) kept = tx end))
    support.raised("invalid_state", function() return User:find_by_id("u", nil, kept) end)
    support.raised("invalid_state", function() return kept:rollback() end)
  end)

  it("refuses to write when it is read only", function()
    local value, err = db:transaction(function(tx)
      return User:build({ id = "u" }, tx)
    end, { read_only = true })
    assert.is_nil(value)
    assert.equal("invalid_state", err.code)
    absent("u")
  end)

  it("may be run inside another, and yield", function()
    assert(db:transaction(function(outer)
      assert(User:build({ id = "outer" }, outer))
      assert(db:transaction(function(inner)
        assert(User:build({ id = "inner" }, inner))
      end))
      assert.is_table(User:find_by_id("inner"))
      absent("outer")
    end))
    local thread = coroutine.create(function()
      return db:transaction(function(tx)
        assert(User:build({ id = "yielded" }, tx))
        coroutine.yield("waiting")
        return "done"
      end)
    end)
    assert.same({ true, "waiting" }, { coroutine.resume(thread) })
    absent("yielded")
    assert.same({ true, "done" }, { coroutine.resume(thread) })
    assert.is_table(User:find_by_id("yielded"))
  end)

  it("is rolled back when its coroutine is abandoned", function()
    local thread = coroutine.create(function()
      return db:transaction(function(tx)
        assert(User:build({ id = "u" }, tx))
        coroutine.yield()
      end)
    end)
    coroutine.resume(thread)
    thread = nil -- luacheck: ignore
    collectgarbage()
    collectgarbage()
    assert(User:build { id = "u" })
  end)

  it("moves money without losing any", function()
    local accounts, threads = 40, {}
    for i = 1, accounts do
      assert(User:build { id = "a" .. i, balance = 100 })
    end
    math.randomseed(3)
    for t = 1, 4 do
      threads[t] = coroutine.create(function()
        for _ = 1, support.times(50, 5) do
          local from, to = math.random(accounts), math.random(accounts)
          assert(db:transaction(function(tx)
            local a = User:find_by_id("a" .. from, nil, tx)
            coroutine.yield()
            a.balance = a.balance - 1
            assert(User:update(a, tx))
            local b = User:find_by_id("a" .. to, nil, tx)
            b.balance = b.balance + 1
            assert(User:update(b, tx))
          end))
        end
      end)
    end
    local running = true
    while running do
      running = false
      for _, thread in ipairs(threads) do
        if coroutine.status(thread) ~= "dead" then
          running = true
          assert(coroutine.resume(thread))
        end
      end
    end
    local sum = 0
    for i = 1, accounts do
      sum = sum + User:find_by_id("a" .. i).balance
    end
    assert.equal(100 * accounts, sum)
  end)

  it("ends with its database", function()
    local tx = assert(db:begin())
    assert(User:build({ id = "u" }, tx))
    assert.is_true(db:close())
    assert.fails("closed", User:find_by_id("u", nil, tx))
    assert.fails("closed", tx:commit())
    assert.is_true(db:close())
    assert.fails("closed", db:begin())
    assert.fails("closed", db:transaction(function() end))
    assert.fails("closed", db:now())
    assert.fails("closed", User:find_by_id("u"))
    assert.fails("closed", User:build { id = "u" })
    assert.fails("closed", User:query_by_index("by_email"):execute())
    assert.fails("closed", db:stats())
    support.raised("closed", function() return db:model { table = "x" } end)
    support.raised("closed", function() return db:queue { type = "x" } end)
    support.raised("closed", function() return db:worker() end)
    db = support.open()
  end)

  it("refuses options it does not know", function()
    support.raised("invalid_argument", function() return db:transaction(function() end, { colour = "red" }) end)
    support.raised("invalid_argument", function() return db:transaction(function() end, { timeout = "1" }) end)
    support.raised("invalid_argument", function() return db:transaction("x") end)
    support.raised("invalid_argument", function() return db:transaction() end)
    support.raised("invalid_argument", function() return db:begin { any_thread = true } end)
    support.raised("invalid_argument", function() return User:build({ id = "x" }, {}) end)
    support.raised("invalid_argument", function() return User:build({ id = "x" }, 5) end)
    absent("x")
    assert.equal(tito.null, tito.null)
  end)
end)
