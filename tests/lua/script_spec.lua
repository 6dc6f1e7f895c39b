-- Script workers: one state per thread.
local support = require "support"

local SCRIPT = [[
  local tito = require "tito"
  local Thing = tito.db:model { table = "thing", indexes = {
    { name = "odd", fields = { { name = "n", type = "number" } }, condition = function(t) return t.n % 2 == 1 end } } }
  local state = tostring({}) -- this state's own
  local running = false
  return function(worker)
    worker:on("job", function(event, tx)
      assert(not running, "a state was entered twice")
      running = true
      local n = 0
      for i = 1, 2000 do n = n + i end
      assert(Thing:build({ id = event.key .. "-" .. event.payload, n = event.payload, state = state }, tx))
      running = false
      return true
    end)
  end
]]

describe("a script worker", function()
  local db, queue, path

  before_each(function()
    db = support.open()
    queue = db:queue { type = "job", partitions = 8, retention = 3600 }
    path = support.folder()
  end)

  after_each(function()
    db:close()
    support.clean()
  end)

  --- Publishes n events in one transaction.
  local function publish(n)
    assert(db:transaction(function(tx)
      for i = 1, n do
        assert(queue:publish({ key = "k" .. i % 16, payload = i }, tx))
      end
    end))
  end

  --- A worker that stops when no event waits: its is_leader is asked in this state, each second.
  local function until_empty(options)
    local worker
    function options.is_leader()
      if #assert(queue:history { state = "pending", limit = 1 }).items == 0 then
        worker:stop()
      end
      return true
    end
    worker = db:worker(options)
    return worker
  end

  local function count()
    local Thing = db:model { table = "thing", indexes = {
      { name = "odd", fields = { { name = "n", type = "number" } }, condition = function(t) return t.n % 2 == 1 end } } }
    local ids, states, odd = {}, {}, assert(Thing:query_by_index("odd"):count())
    local cursor
    repeat
      local page = assert(Thing:scan { limit = 1000, cursor = cursor })
      for _, thing in ipairs(page.items) do
        ids[#ids + 1] = thing.id
        states[thing.state] = (states[thing.state] or 0) + 1
      end
      cursor = page.cursor
    until not cursor
    return #ids, states, odd
  end

  it("handles every event once, in several states", function()
    local n = support.times(2000, 100)
    publish(n)
    support.write_file(path, SCRIPT)
    assert(until_empty { script = path, threads = 4, concurrency = 8 }:run())
    local stored, states, odd = count()
    assert.equal(n, stored)
    assert.equal((n + 1) // 2, odd)
    local used = 0
    for _ in pairs(states) do
      used = used + 1
    end
    assert.is_true(used >= 1 and used <= 4)
    assert.equal(n, #assert(queue:history { state = "completed", limit = 10000 }).items)
  end)

  it("is stopped by a handler", function()
    publish(10)
    support.write_file(path, [[
      return function(worker)
        worker:on("job", function(event) worker:stop() end)
      end
    ]])
    assert.is_true(db:worker { script = path, threads = 2 }:run())
  end)

  it("keeps order and concurrency across states", function()
    publish(support.times(301, 50))
    support.write_file(path, [[
      local tito = require "tito"
      local Last = tito.db:model { table = "last" }
      return function(worker)
        worker:on("job", function(event, tx)
          local last = Last:find_by_id(event.key, nil, tx) or { id = event.key, n = 0, wrong = 0 }
          if event.payload <= last.n then last.wrong = last.wrong + 1 end
          last.n = event.payload
          assert(Last:save(last, tx))
          coroutine.yield()
          return true
        end)
      end
    ]])
    assert(until_empty { script = path, threads = 3, concurrency = 6 }:run())
    local Last = db:model { table = "last" }
    local items = assert(Last:scan()).items
    assert.equal(16, #items)
    for _, last in ipairs(items) do
      assert.equal(0, last.wrong)
    end
  end)

  it("fails clearly when the script is no good", function()
    local cases = {
      { "return 5", "must return a function" },
      { "error('the script broke')", "the script broke" },
      { "this is not Lua", "syntax error" },
      { "return function() error('registering broke') end", "registering broke" },
      { "return function(worker) worker:run() end", "run by the program" },
      { "return function(worker) worker:on('job', 5) end", "must be a function" },
      { "return function(worker) end", "." },
      { [[return function(worker)
        worker:on('job', print)
        if worker.member == 2 then worker:on('x', print) end
      end]], "same types" },
    }
    for _, case in ipairs(cases) do
      support.write_file(path, case[1])
      local ok, err = db:worker { script = path, threads = 3 }:run()
      assert.is_nil(ok, case[1])
      assert.equal("handler_failed", err.code)
      assert.truthy(err.message:find(case[2]), err.message)
    end
    local ok, err = db:worker { script = path .. ".nothing", threads = 2 }:run()
    assert.is_nil(ok)
    assert.truthy(err.message:find("nothing"))
  end)

  it("has a loop of its own", function()
    support.write_file(path, SCRIPT)
    local worker = db:worker { script = path, threads = 2 }
    support.raised("invalid_state", function() worker:on("job", print) end)
    support.raised("invalid_state", function() worker:step(1) end)
    support.raised("invalid_state", function() worker:fd() end)
    assert.is_false(pcall(function() db:worker { script = path, threads = 0 }:run() end))
    assert.is_false(pcall(function() db:worker { script = path, threads = 1000 }:run() end))
  end)

  it("survives handlers that fail", function()
    publish(20)
    support.write_file(path, [[
      local tito = require "tito"
      local handled = 0
      return function(worker)
        worker:on("job", function(event)
          if event.payload == 20 then worker:stop() end
          if event.payload % 3 == 0 then error({}) end
          if event.payload % 3 == 1 then return nil, "no" end
        end)
      end
    ]])
    assert(db:worker { script = path, threads = 2, retry = { max_retries = 0 } }:run())
  end)

  it("drains on SIGTERM", function()
    support.write_file(path, SCRIPT)
    local folder = support.folder()
    local pipe, pid = support.start([[
      local tito = require "tito"
      local db = assert(tito.connect(arg[1]))
      local queue = db:queue { type = "job", partitions = 8, retention = 3600 }
      assert(db:transaction(function(tx)
        for i = 1, 500 do assert(queue:publish({ key = "k" .. i % 16, payload = i }, tx)) end
      end))
      local worker = db:worker { script = arg[2], threads = 3, concurrency = 6 }
      print("running")
      local ok, err = worker:run()
      print("ran", ok, err)
      local done = #assert(queue:history { state = "completed", limit = 1000 }).items
      local left = #assert(queue:history { state = "pending", limit = 1000 }).items
      local stored, cursor = 0, nil
      repeat
        local page = assert(db:model { table = "thing" }:scan { cursor = cursor })
        stored, cursor = stored + #page.items, page.cursor
      until not cursor
      print(done + left, done == stored)
      db:close()
    ]], folder, path)
    assert.equal("running", pipe:read("l"))
    support.sleep(0.3)
    support.kill(pid, "TERM")
    assert.equal("ran\ttrue\tnil", pipe:read("l"))
    assert.equal("500\ttrue", pipe:read("l"))
    local _, how, code = pipe:close()
    assert.same({ "exit", 0 }, { how, code })
  end)
end)
