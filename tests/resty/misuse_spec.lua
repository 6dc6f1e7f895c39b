-- Bad input and objects used wrongly, on LuaJIT and in nginx: a clear error, never a crash.
local support = require "support"
local tito = require "tito"

describe("misuse", function()
  local db, Thing, queue

  before_each(function()
    db = support.open()
    Thing = db:model { table = "thing", indexes = { { name = "by_n", fields = { { name = "n", type = "number" } } } } }
    queue = db:queue { type = "job", partitions = 2 }
  end)

  after_each(function()
    db:close()
  end)

  it("of handles is answered by every function of the driver", function()
    local driver = require "tito.driver"
    local free = { uuid = 1, now = 1, encode = 1, decode = 1, setup = 1, call_host = 1, txn_is_open = 1,
      event_expired = 1, results = 1, of_pointer = 1, lend_txn = 1, db_open = 1, db_new = 1, script_run = 1,
      worker_functions = 1, backup_verify = 1, backup_restore = 1 }
    for name, fn in pairs(driver) do
      if type(fn) == "function" and not free[name] then
        for _, argument in ipairs { 5, "x", {}, io.stdout, tito.null, Thing } do
          local ok = pcall(fn, argument)
          assert.is_false(ok, name)
        end
      end
    end
  end)

  it("of ended objects is told", function()
    local tx = assert(db:begin())
    assert(tx:rollback())
    support.raised("invalid_state", function() return Thing:find_by_id("x", nil, tx) end)
    support.raised("invalid_state", function() return tx:commit() end)
    db:close()
    assert.fails("closed", Thing:find_by_id("x"))
    assert.fails("closed", queue:publish { key = "k" })
    assert.is_true(db:close())
  end)

  it("with strange texts is refused, or kept as it is", function()
    local id = "a:b/\"'\\é\1"
    assert(Thing:build { id = id, n = 1 })
    assert.equal(id, Thing:find_by_id(id).id)
    for _, bad in ipairs { "", ("x"):rep(2000), "\255" } do
      assert.is_nil((Thing:build { id = bad, n = 1 }))
    end
    assert.fails("invalid_argument", Thing:build { id = "nul", n = "1" })
    assert.fails("invalid_argument", Thing:query_by_index("none"):execute())
    assert.fails("invalid_argument", Thing:query_by_index("by_n"):value(1):cursor("forged"):execute())
    assert.fails("invalid_argument", Thing:query_by_index("by_n"):value(0 / 0):execute())
    assert.fails("limit_exceeded", Thing:build { id = "big", text = ("x"):rep(2 * 1024 * 1024) })
    support.raised("invalid_argument", function() return tito.connect("memory:", { log = print, colour = 1 }) end)
    support.raised("unsupported", function() return tito.connect("memory:", { log = print }) end)
  end)

  it("lets the collector run after every call", function()
    for i = 1, 50 do
      local id = "g" .. i
      assert(Thing:build { id = id, n = i, list = { 1, 2, { a = tito.array() } } })
      collectgarbage()
      local tx = assert(db:begin()) -- left open
      assert(Thing:save({ id = "never" .. i, n = 0 }, tx))
      collectgarbage()
      assert.equal(i, Thing:find_by_id(id).n)
      collectgarbage()
      assert.equal(i, (Thing:query_by_index("by_n"):gte(1):count()))
      assert.is_string((queue:publish { key = id, payload = { i } }))
      collectgarbage("step")
    end
    assert.equal(50, #assert(Thing:scan { limit = 1000 }).items)
    assert.equal(50, #assert(queue:history { limit = 1000 }).items)
  end)

  it("of integers beyond 2^53 keeps them", function()
    assert(Thing:build { id = "wide", n = 9007199254740993LL })
    assert.equal("9007199254740993LL", tostring(Thing:find_by_id("wide").n))
    assert.equal(1, (Thing:query_by_index("by_n"):value(9007199254740993LL):count()))
    assert.equal(0, (Thing:query_by_index("by_n"):value(9007199254740992LL):count()))
  end)
end)
