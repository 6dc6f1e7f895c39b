-- Handles: released in any order, by hand, by blocks, by the collector, by the end of the program.
local support = require "support"

local SETUP = [[
  local tito = require "tito"
  local db = assert(tito.connect(arg[1] or "memory:"))
  local queue = db:queue { type = "job", partitions = 2 }
  local Thing = db:model {
    table = "thing",
    indexes = { { name = "by_n", fields = { { name = "n", type = "number" } }, condition = function(t) return t.n > 0 end } },
    events = function(t) return { { name = "job", payload = { n = t.n } } } end,
  }
]]

describe("handles", function()
  after_each(support.clean)

  it("may be collected in any order", function()
    math.randomseed(11)
    for _ = 1, support.times(60, 5) do
      local db = support.open()
      local objects = { db }
      local Thing = db:model { table = "thing", indexes = { { name = "i", fields = { { name = "n", type = "number" } } } } }
      assert(Thing:build { id = "x", n = 1 })
      local tx = assert(db:begin())
      assert(Thing:build({ id = "y", n = 2 }, tx))
      objects[2], objects[3], objects[4] = Thing, tx, db:queue { type = "job" }
      objects[5], objects[6] = db:worker(), Thing:query_by_index("i"):each()
      objects[5]:on("job", function() end)
      if math.random(2) == 1 then
        objects[5]:step(0)
      end
      objects[7] = coroutine.wrap(function()
        db:transaction(function(inner)
          assert(Thing:build({ id = "z", n = 3 }, inner))
          coroutine.yield()
        end)
      end)
      objects[7]()
      db, Thing, tx = nil, nil, nil -- luacheck: ignore
      if math.random(3) == 1 then
        objects[1]:close()
      end
      while #objects > 0 do
        table.remove(objects, math.random(#objects))
        collectgarbage()
      end
    end
  end)

  it("keep what they need when the database's own is collected", function()
    local Thing, queue
    do
      local db = support.open()
      Thing = db:model { table = "thing" }
      queue = db:queue { type = "job" }
      db = nil -- luacheck: ignore
    end
    collectgarbage()
    collectgarbage()
    assert(Thing:build { id = "x" })
    assert(queue:publish { key = "k" })
    assert.is_table(Thing:find_by_id("x"))
  end)

  it("survive the collector after every step", function()
    collectgarbage("stop")
    local db = support.open()
    local queue = db:queue { type = "job", partitions = 2 }
    local Thing = db:model {
      table = "thing",
      indexes = { { name = "by_n", fields = { { name = "n", type = "number" } }, condition = function(t)
        collectgarbage()
        return t.n > 0
      end } },
      relationships = { { source_field_name = "other_id", destination_field_name = "other", model = "thing" } },
      events = function(t)
        collectgarbage()
        return { { name = "job", payload = { n = t.n } } }
      end,
    }
    local seen = 0
    for i = 1, support.times(100, 10) do
      local document = { id = "t" .. i, n = i, other_id = "t1", list = { i, { "x" } } }
      collectgarbage()
      assert(Thing:build_with_options(document, { events = "INSERT" }))
      collectgarbage()
      assert.equal(i, Thing:find_by_id("t" .. i, { "other" }).n)
      assert(db:transaction(function(tx)
        collectgarbage()
        assert(Thing:patch("t" .. i, { extra = i }, tx))
        collectgarbage()
      end))
      assert.is_true(#assert(Thing:query_by_index("by_n"):relationship("other"):execute()).items > 0)
    end
    local n = Thing:query_by_index("by_n"):count()
    local worker = db:worker { concurrency = 3 }
    worker:on("job", function(event, tx)
      collectgarbage()
      Thing:find_by_id(event.entity_id, nil, tx)
      coroutine.yield()
      collectgarbage()
      seen = seen + 1
      if seen == n then
        worker:stop()
      end
      return true
    end)
    assert(worker:run())
    worker = nil -- luacheck: ignore
    collectgarbage()
    collectgarbage("restart")
    assert(queue)
    db:close()
  end)

  it("do not grow in number or memory", function()
    local db = support.open()
    local Thing = db:model { table = "thing" }
    assert(Thing:build { id = "x", s = ("x"):rep(400) })
    local function rss()
      for line in io.lines("/proc/self/status") do
        local kib = line:match("^VmRSS:%s+(%d+)")
        if kib then return tonumber(kib) end
      end
    end
    local function work(n)
      for i = 1, n do
        local tx = assert(db:begin())
        assert(Thing:find_by_id("x", nil, tx))
        if i % 3 == 0 then
          tx:rollback()
        end -- the others are left to the collector
        pcall(function() db:transaction(function() error("x") end) end)
        assert.is_nil((Thing:update { id = "nobody" }))
      end
      collectgarbage()
    end
    work(support.times(1000, 100))
    local before = rss()
    work(support.times(3000, 100))
    assert.is_true(rss() - before < 20000, ("grew by %d KiB"):format(rss() - before))
    db:close()
  end)
end)

describe("a program", function()
  after_each(support.clean)

  local endings = {
    ["just ends"] = "",
    ["raises"] = "error('the end')",
    ["calls os.exit"] = "os.exit(0)",
    ["calls os.exit and closes its state"] = "os.exit(0, true)",
    ["ends inside a transaction"] = [[
      db:transaction(function(tx)
        assert(Thing:build({ id = "in", n = 9 }, tx))
        os.exit(0)
      end)]],
    ["ends inside a transaction, closing"] = [[
      db:transaction(function(tx)
        assert(Thing:build({ id = "in", n = 9 }, tx))
        os.exit(0, true)
      end)]],
    ["ends inside a condition"] = [[
      local function condition() os.exit(0, true) end
      local fields = { { name = "n", type = "number" } }
      Other = db:model { table = "other", indexes = { { name = "i", fields = fields, condition = condition } } }
      Other:build { id = "o", n = 1 }]],
    ["ends inside an iteration"] = "for t in Thing:query_by_index('by_n'):limit(1):each() do os.exit(0, true) end",
    ["ends inside a coroutine"] = [[
      coroutine.wrap(function()
        local tx = db:begin()
        Thing:build({ id = "in", n = 1 }, tx)
        os.exit(0, true)
      end)()]],
    ["ends with a running worker"] = [[
      worker = db:worker()
      worker:on("job", function() end)
      for i = 1, 3 do worker:step(10) end]],
    ["ends inside a handler"] = [[
      worker = db:worker()
      worker:on("job", function() os.exit(0, true) end)
      worker:run()]],
    ["ends inside a handler that yielded"] = [[
      worker = db:worker { concurrency = 4 }
      n = 0
      worker:on("job", function()
        n = n + 1
        if n == 3 then os.exit(0, true) end
        coroutine.yield()
      end)
      worker:run()]],
    ["closes first"] = "db:close()",
    ["closes in a finalizer"] = "setmetatable({}, { __gc = function() db:close() Thing:find_by_id('t1') end })",
    ["writes in a finalizer"] = [[
      setmetatable({}, { __gc = function() pcall(Thing.build, Thing, { id = "late", n = 1 }) end })]],
    ["is stopped by a signal"] = [[
      os.execute("kill -KILL " .. io.open("/proc/self/stat"):read("n"))
      while true do end]],
  }

  for name, ending in pairs(endings) do
    support.only_54(it)("that " .. name .. " leaves a whole database", function()
      local path = support.folder()
      local output, how, code = support.run(SETUP .. [[
        for i = 1, 5 do assert(Thing:build_with_options({ id = "t" .. i, n = i }, tito.with_events("INSERT"))) end
        local tx = assert(db:begin())
        assert(Thing:build({ id = "open", n = 7 }, tx))
        print("stored")
      ]] .. ending, path)
      assert.truthy(output:find("stored"), output)
      if name == "raises" then
        assert.same({ "exit", 1 }, { how, code })
      elseif name ~= "is stopped by a signal" then
        assert.same({ "exit", 0 }, { how, code }, output)
      end
      local db = support.open(path)
      local Thing = db:model {
        table = "thing",
        indexes = { { name = "by_n", fields = { { name = "n", type = "number" } }, condition = function(t) return t.n > 0 end } },
      }
      for i = 1, 5 do
        assert.is_table(Thing:find_by_id("t" .. i))
      end
      assert.is_nil((Thing:find_by_id("open")))
      assert.is_nil((Thing:find_by_id("in")))
      assert.same({}, assert(db:check("thing")).findings)
      db:close()
    end)
  end

  support.only_54(it)("may start other programs", function()
    local output = support.run(SETUP .. [[
      assert(Thing:build { id = "x", n = 1 })
      local child = io.popen("echo from a child")
      print(child:read("a"), child:close())
      assert(Thing:find_by_id("x"))
      print("the program is fine")
    ]])
    assert.truthy(output:find("from a child"), output)
    assert.truthy(output:find("the program is fine"), output)
  end)
end)
