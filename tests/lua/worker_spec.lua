-- Workers in one state: order, retries, outcomes, time, coroutines, misbehaving handlers.
local support = require "support"
local tito = require "tito"

-- What nginx and LuaJIT can not do, or do in a way of their own.
local only = support.only_54(it)

local QUICK = { max_retries = 3, base = 0.01, factor = 1, cap = 0.02 }

describe("a worker", function()
  local db, queue, Thing

  before_each(function()
    db = support.open()
    queue = db:queue { type = "job", partitions = 4, retention = 3600 }
    Thing = db:model { table = "thing" }
  end)

  after_each(function()
    db:close()
  end)

  local function publish(key, payload)
    assert(queue:publish { key = key, payload = payload })
  end

  local function history(state)
    return assert(queue:history { state = state, limit = 10000 }).items
  end

  --- Runs a worker whose handler is called until n calls have happened.
  local function run(n, handler, options)
    local worker, calls = db:worker(options), 0
    worker:on("job", function(event, tx)
      calls = calls + 1
      if calls == n then
        worker:stop()
      end
      return handler(event, tx, worker)
    end)
    assert(worker:run())
    return calls
  end

  it("keeps the order of each key", function()
    local keys, each, last = 20, support.times(50, 5), {}
    assert(db:transaction(function(tx)
      for n = 1, each do
        for k = 1, keys do
          assert(queue:publish({ key = "k" .. k, payload = n }, tx))
        end
      end
    end))
    run(keys * each, function(event)
      assert.equal((last[event.key] or 0) + 1, event.payload)
      last[event.key] = event.payload
    end, { concurrency = 8 })
    assert.equal(0, #history("pending"))
  end)

  it("keeps the order across retries, and blocks the failing key only", function()
    for n = 1, 3 do
      publish("bad", n)
      publish("good", n)
    end
    local failures, log = 0, {}
    run(8, function(event)
      if event.key == "bad" and event.payload == 1 and failures < 2 then
        failures = failures + 1
        return nil, "again"
      end
      log[#log + 1] = event.key .. event.payload
    end, { concurrency = 4, retry = QUICK })
    local bad = {}
    for _, entry in ipairs(log) do
      bad[#bad + 1] = entry:match("^bad(%d)")
    end
    assert.same({ "1", "2", "3" }, bad)
    assert.equal(6, #log)
  end)

  it("stores the error and the traceback of a failed handler", function()
    local function deep() error("the handler broke") end
    publish("k", 1)
    local seen
    run(2, function(event)
      if event.attempts == 0 then
        deep()
      end
      seen = event
    end, { retry = QUICK })
    assert.equal(1, seen.attempts)
    assert.truthy(seen.last_error:find("the handler broke", 1, true))
    assert.truthy(seen.last_error:find("traceback", 1, true))
    assert.truthy(seen.last_error:find("worker_spec", 1, true))
  end)

  it("survives whatever a handler raises or returns", function()
    local Strange = setmetatable({}, { __tostring = function() error("no text") end })
    local Long = ("é"):rep(5000)
    local ends = {
      function() error({ 1 }) end, function() error(42) end, function() error() end, function() error(print) end,
      function() error(Strange) end, function() error("\xff\xfe") end, function() error(Long) end,
      function() error(setmetatable({}, { __tostring = function() return "shown" end })) end,
      function() return nil, "why" end, function() return false, { 1 } end, function() return nil end,
      function() return false end, function() return nil, Strange end,
      function() return Thing:update { id = "nobody" } end,
      function() assert(false, "asserted") end,
      function() local t = nil; return t.x end, -- luacheck: ignore
      function() local function f() return 1 + f() end return f() end,
      function() string.rep("x", -1, {}) end,
    }
    for i = 1, #ends do
      publish("k" .. i, i)
    end
    run(#ends, function(event) return ends[event.payload]() end, { concurrency = 4, retry = { max_retries = 0 } })
    local failed = history("failed")
    assert.equal(#ends, #failed)
    for _, event in ipairs(failed) do
      assert.is_true(#event.last_error > 0)
      assert.is_truthy(support.is_utf8(event.last_error))
    end
    assert.equal(0, #history("pending"))
  end)

  it("acknowledges for nothing and for true values", function()
    local ends = { function() end, function() return true end, function() return 0 end, function() return {} end,
      function() return "x", "y" end }
    for i = 1, #ends do
      publish("k" .. i, i)
    end
    run(#ends, function(event) return ends[event.payload]() end)
    assert.equal(#ends, #history("completed"))
  end)

  it("commits what a handler wrote together with the acknowledgement", function()
    publish("k", 1)
    local outside
    run(3, function(event, tx)
      local thing = Thing:find_by_id("count", nil, tx) or { id = "count", n = 0 }
      thing.n = thing.n + 1
      assert(Thing:save(thing, tx))
      assert(queue:publish({ key = "child" .. event.attempts, payload = 2, delay = 1000 }, tx))
      outside = tx
      if event.attempts < 2 then
        error("after writing")
      end
    end, { retry = QUICK })
    assert.equal(1, Thing:find_by_id("count").n)
    assert.equal(1, #history("pending"))
    support.raised("invalid_state", function() return Thing:find_by_id("count", nil, outside) end)
    support.raised("invalid_state", function() return outside:commit() end)
  end)

  it("does not let a handler end its transaction", function()
    publish("k", 1)
    local codes = {}
    run(1, function(_, tx)
      for _, method in ipairs { "commit", "rollback" } do
        local ok, err = pcall(tx[method], tx)
        codes[#codes + 1] = not ok and err.code
      end
    end)
    assert.same({ "invalid_state", "invalid_state" }, codes)
  end)

  it("fails an event whose write failed, also when the handler ignores it", function()
    publish("k", 1)
    run(1, function(_, tx)
      local _ = Thing:update({ id = "nobody" }, tx)
      assert(Thing:save({ id = "never" }, tx))
    end, { retry = { max_retries = 0 } })
    assert.equal(1, #history("failed"))
    assert.is_nil((Thing:find_by_id("never")))
  end)

  it("reschedules and advances", function()
    publish("k", "first")
    publish("k", "second")
    local log = {}
    run(4, function(event)
      log[#log + 1] = event.payload
      if event.payload == "first" then
        event:advance("first, second part")
      elseif event.payload == "first, second part" then
        event:reschedule(tito.now() + 0.2)
        if #log == 2 then return true end
      end
    end, { retry = QUICK })
    assert.same({ "first", "first, second part", "second", "first, second part" }, log)
  end)

  it("lets failure win over reschedule", function()
    publish("k", 1)
    run(1, function(event)
      event:reschedule(tito.now() + 1000)
      error("failed after all")
    end, { retry = { max_retries = 0 } })
    assert.equal(1, #history("failed"))
  end)

  it("refuses to advance to what is no JSON", function()
    publish("k", 1)
    local code
    run(1, function(event)
      local ok, err = pcall(event.advance, event, { print })
      code = not ok and err.code
      ok = pcall(event.reschedule, event, "soon")
      assert.is_false(ok)
    end)
    assert.equal("invalid_argument", code)
  end)

  support.not_in_nginx(it)("runs handlers that yield side by side", function()
    for i = 1, 4 do
      publish("k" .. i, i)
    end
    local running, most, finished = 0, 0, {}
    local patience = os.time() + 30
    run(4, function(event)
      running = running + 1
      most = math.max(most, running)
      while most < 4 and os.time() < patience do -- until all four have begun
        coroutine.yield()
      end
      running = running - 1
      finished[#finished + 1] = event.payload
      return true
    end, { concurrency = 4 })
    assert.equal(4, most)
    assert.equal(4, #finished)
    assert.equal(4, #history("completed"))
  end)

  it("never runs more than its concurrency, nor two events of a key", function()
    for i = 1, 30 do
      publish("k" .. i % 5, i)
    end
    local running, keys = 0, {}
    run(30, function(event)
      running = running + 1
      assert.is_true(running <= 3)
      assert.is_nil(keys[event.key])
      keys[event.key] = true
      coroutine.yield()
      coroutine.yield()
      keys[event.key] = nil
      running = running - 1
      return true
    end, { concurrency = 3 })
    assert.equal(30, #history("completed"))
  end)

  only("interrupts a handler that never returns", function()
    local forms = {
      function() while true do end end,
      function() while true do pcall(function() while true do end end) end end,
      function() local thread = coroutine.wrap(function() while true do end end) thread() end,
      function()
        local endless = setmetatable({}, { __index = function(t, k) return t[k + 1] end })
        while true do
          pcall(function() return endless[1] end)
        end
      end,
    }
    for i = 1, #forms do
      publish("k" .. i, i)
    end
    run(#forms, function(event) return forms[event.payload]() end,
      { concurrency = 1, handler_timeout = 0.1, retry = { max_retries = 0 } })
    local failed = history("failed")
    assert.equal(#forms, #failed)
    publish("after", 1)
    assert.equal(1, run(1, function() end))
  end)

  only("gives every handler its own time, not what others of its state took", function()
    for i = 1, 6 do
      publish("k" .. i, i)
    end
    local late = 0
    local calls = run(6, function(event)
      late = late + event.attempts
      local till = tito.now() + 0.2
      while tito.now() < till do end
    end, { concurrency = 6, handler_timeout = 0.7, retry = QUICK })
    assert.equal(6, calls)
    assert.equal(0, late)
    assert.equal(6, #history("completed"))
  end)

  it("drops what a handler that is too late has written", function()
    publish("k", 1)
    run(1, function(_, tx)
      local till = tito.now() + 0.4
      assert(Thing:save({ id = "late" }, tx))
      while tito.now() < till do
        coroutine.yield()
      end
    end, { handler_timeout = 0.1, retry = { max_retries = 0 } })
    assert.is_nil((Thing:find_by_id("late")))
    assert.equal(1, #history("failed"))
  end)

  it("has handlers of several types, with options of their own", function()
    local other = db:queue { type = "other", partitions = 1 }
    publish("k", 1)
    assert(other:publish { key = "k", payload = 2 })
    local worker, seen = db:worker { concurrency = 2 }, {}
    local function handler(event)
      seen[event.type] = event.payload
      if seen.job and seen.other then
        worker:stop()
      end
    end
    assert.equal(worker, worker:on("job", handler))
    worker:on("other", handler, { retry = QUICK, handler_timeout = 5 })
    support.raised("already_exists", function() worker:on("job", handler) end)
    assert(worker:run())
    assert.same({ job = 1, other = 2 }, seen)
    support.raised("invalid_state", function() worker:on("third", handler) end)
  end)

  it("works on its range of partitions only", function()
    for i = 1, 40 do
      publish("k" .. i, i)
    end
    local seen = {}
    local worker = db:worker { partition_range = { 1, 3 } }
    worker:on("job", function(event) seen[event.partition] = true end)
    for _ = 1, 20 do
      worker:step(20)
    end
    worker:stop()
    assert(worker:run())
    assert.same({ [1] = true, [2] = true }, seen)
  end)

  it("rests while it does not lead", function()
    publish("k", 1)
    local leads, asked, handled, began = false, 0, 0, tito.now()
    local worker = db:worker { is_leader = function()
      asked = asked + 1
      return leads
    end }
    worker:on("job", function() handled = handled + 1 end)
    for _ = 1, 10 do
      worker:step(20)
    end
    assert.equal(0, handled)
    assert.is_true(asked >= 1 and asked <= 2 + (tito.now() - began)) -- each second
    leads = true
    local till = tito.now() + 60
    while handled == 0 and tito.now() < till do
      worker:step(100)
    end
    assert.equal(1, handled)
    worker:stop()
    assert(worker:run())
  end)

  it("rests when is_leader fails", function()
    publish("k", 1)
    local worker, handled = db:worker { is_leader = function() error("no idea") end }, 0
    worker:on("job", function() handled = handled + 1 end)
    for _ = 1, 5 do
      assert.is_true(worker:step(20))
    end
    worker:stop()
    assert(worker:run())
    assert.equal(0, handled)
  end)

  only("steps, with a descriptor to watch", function()
    local worker, handled = db:worker(), 0
    worker:on("job", function() handled = handled + 1 end)
    local fd = assert(worker:fd())
    assert.is_true(fd > 2)
    assert.is_true(worker:step(0))
    publish("k", 1)
    local till = tito.now() + 5
    while handled == 0 and tito.now() < till do
      assert.is_true(worker:step(100))
    end
    assert.equal(1, handled)
    worker:stop()
    till = tito.now() + 5
    while worker:step(10) and tito.now() < till do end
    assert.is_false(worker:step(0))
  end)

  it("has settled everything when step says that it has ended", function()
    for round = 1, 20 do
      publish("k", round)
      local worker = db:worker()
      worker:on("job", function() worker:stop() end)
      local going = true
      while going do
        going = worker:step(10)
        assert.is_boolean(going)
      end
      assert.equal(0, #history("pending"))
      assert.equal(round, #history("completed"))
    end
  end)

  it("does not step into itself", function()
    publish("k", 1)
    local codes = {}
    run(1, function(_, _, worker)
      for _, method in ipairs { "step", "run" } do
        local ok, err = pcall(worker[method], worker)
        codes[#codes + 1] = not ok and err.code
      end
    end)
    assert.same({ "invalid_state", "invalid_state" }, codes)
  end)

  it("drains: what has started may end, the rest stays", function()
    for i = 1, 10 do
      publish("k" .. i, i)
    end
    local started, ended = 0, 0
    local worker = db:worker { concurrency = 3 }
    worker:on("job", function()
      started = started + 1
      if started == 3 then
        worker:stop()
      end
      for _ = 1, 5 do
        coroutine.yield()
      end
      ended = ended + 1
      return true
    end)
    assert.is_true(worker:run())
    assert.equal(started, ended)
    assert.equal(ended, #history("completed"))
    assert.equal(10 - ended, #history("pending"))
  end)

  only("gives up what does not end in time", function()
    publish("k", 1)
    local worker = db:worker { drain_timeout = 0.2 }
    worker:on("job", function()
      worker:stop()
      while true do
        coroutine.yield()
      end
    end)
    local began = tito.now()
    assert.fails("timeout", worker:run())
    assert.is_true(tito.now() - began < 5)
    assert.equal(1, #history("pending") + #history("parked"))
    publish("k2", 1)
    worker = db:worker()
    worker:on("job", function()
      worker:stop(0.1)
      while true do end
    end)
    assert.fails("timeout", worker:run())
    assert.equal(2, #history("pending") + #history("parked"))
  end)

  it("can be stopped before it runs, and run only once", function()
    local worker = db:worker()
    worker:on("job", function() end)
    worker:step(0)
    worker:stop()
    assert.is_true(worker:run())
    assert.is_nil((db:worker():run()))
  end)

  it("ends with its database", function()
    publish("k", 1)
    local worker = db:worker()
    worker:on("job", function()
      db:close()
    end)
    local ok, err = worker:run()
    assert.is_true(ok == true or err.code == "closed" or err.code == "timeout")
    db = support.open()
  end)

  it("refuses options that are wrong", function()
    for _, options in ipairs { { concurrency = 0 }, { concurrency = "1" }, { concurrency = 70000 }, { colour = 1 },
      { partition_range = 5 }, { partition_range = { 1 } }, { partition_range = { 3, 1 } }, { is_leader = true },
      { retry = 5 }, { retry = { colour = 1 } }, { retry = { max_retries = "x" } }, { threads = 2 }, { script = 5 },
      { handler_timeout = "1" }, { drain_timeout = -1 }, { leased = 1 }, { lease = 0 }, { gc = 5 },
      { leased = true, partition_range = { 0, 1 } } } do
      local ok, err = pcall(function() return db:worker(options) end)
      assert.is_false(ok, next(options))
      assert.is_true(type(err) == "table" and err.code ~= nil or type(err) == "string", tostring(err))
    end
    local worker = db:worker()
    support.raised("invalid_argument", function() worker:on(5, print) end)
    support.raised("invalid_argument", function() worker:on("job") end)
    support.raised("invalid_argument", function() worker:on("a b", print) end)
    support.raised("invalid_argument", function() worker:on("job", print, { colour = 1 }) end)
    support.raised("invalid_argument", function() worker:stop("now") end)
  end)

  it("is what run_worker makes", function()
    publish("k", 7)
    local got
    local worker
    local original = db.worker
    db.worker = function(...)
      worker = original(...)
      return worker
    end
    assert(tito.run_worker(queue, function(event)
      got = event.payload
      worker:stop()
    end, { concurrency = 1 }))
    assert.equal(7, got)
    support.raised("invalid_argument", function() tito.run_worker("job", print) end)
  end)

  it("handles many events quickly", function()
    local n = support.times(20000, 500)
    for first = 1, n, 1000 do
      assert(db:transaction(function(tx)
        for i = first, math.min(n, first + 999) do
          assert(queue:publish({ key = "k" .. i % 64, payload = i }, tx))
        end
      end))
    end
    local began = tito.now()
    run(n, function() end, { concurrency = 64 })
    local seconds = tito.now() - began
    print(("handled %.0f events/s"):format(n / seconds))
    assert.equal(0, #history("pending"))
  end)
end)

local describe_processes = support.host == "lua5.4" and describe or function() end

describe_processes("a worker's process", function()
  local PROGRAM = [[
    local tito = require "tito"
    local db = assert(tito.connect(arg[1]))
    local queue = db:queue { type = "job", partitions = 2 }
    for i = 1, 3 do assert(queue:publish { key = "k" .. i, payload = i }) end
    local worker = db:worker { concurrency = 2, signals = arg[3] ~= "off", drain_timeout = 5 }
    local handled = 0
    worker:on("job", function(event)
      handled = handled + 1
      print("handled", handled)
      if arg[2] == "exit" then os.exit(7) end
      if arg[2] == "exit close" then os.exit(8, true) end
      if arg[2] == "loop" then while true do end end
      if arg[2] == "yield" then while true do coroutine.yield() end end
    end, { handler_timeout = 60 })
    local ok, err = worker:run()
    print("ran", ok, err and err.code)
    db:close()
  ]]

  after_each(support.clean)

  local function count_pending(path)
    local db = support.open(path)
    local queue = db:queue { type = "job", partitions = 2 }
    local n = #assert(queue:history { state = "pending" }).items + #assert(queue:history { state = "parked" }).items
    db:close()
    return n
  end

  for _, signal in ipairs { "INT", "TERM" } do
    it("drains on SIG" .. signal, function()
      local path = support.folder()
      local pipe, pid = support.start(PROGRAM, path, "normal")
      for i = 1, 3 do
        assert.equal("handled\t" .. i, pipe:read("l"))
      end
      support.kill(pid, signal)
      assert.equal("ran\ttrue\tnil", pipe:read("l"))
      local ok, how, code = pipe:close()
      assert.same({ true, "exit", 0 }, { ok, how, code })
      assert.equal(0, count_pending(path))
    end)
  end

  it("ends at once on a second signal", function()
    for _, form in ipairs { "loop", "yield" } do
      local path = support.folder()
      local pipe, pid = support.start(PROGRAM, path, form)
      assert.equal("handled\t1", pipe:read("l"))
      support.kill(pid, "TERM")
      support.sleep(0.3)
      support.kill(pid, "TERM")
      local line
      repeat
        line = pipe:read("l")
      until not line or line:find("ran")
      assert.equal("ran\tnil\ttimeout", line)
      pipe:close()
      assert.equal(3, count_pending(path))
    end
  end)

  it("leaves signals alone when told so, and outside of run", function()
    local path = support.folder()
    local pipe, pid = support.start(PROGRAM, path, "normal", "off")
    for _ = 1, 3 do
      pipe:read("l")
    end
    support.kill(pid, "TERM")
    local _, how, code = pipe:close()
    assert.is_true(how == "signal" and code == 15 or code == 143)
    pipe, pid = support.start([[
      local tito = require "tito"
      local db = assert(tito.connect("memory:"))
      local worker = db:worker()
      worker:on("job", function() end)
      worker:step(0)
      worker:stop()
      assert(worker:run())
      print("over")
      while true do end
    ]])
    assert.equal("over", pipe:read("l"))
    support.kill(pid, "TERM")
    _, how, code = pipe:close()
    assert.is_true(how == "signal" and code == 15 or code == 143)
  end)

  it("loses nothing when a handler calls os.exit", function()
    for form, expected in pairs { exit = 7, ["exit close"] = 8 } do
      local path = support.folder()
      local output, how, code = support.run(PROGRAM, path, form)
      assert.equal("exit", how, output)
      assert.equal(expected, code, output)
      assert.is_true(count_pending(path) >= 2, form)
    end
  end)
end)
