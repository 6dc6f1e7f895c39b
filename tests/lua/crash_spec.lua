-- SIGKILL at random moments under load: what was acknowledged is there, nothing is half there.
--
-- The child runs transactions that each write two records and publish an event, with indexes, conditions and a unique
-- index, and prints a line before and after each commit. The parent kills it, opens the database and compares.
local support = require "support"
local tito = require "tito"

local MODELS = [[
  local function declare(db)
    local queue = db:queue { type = "moved", partitions = 4, retention = 3600 }
    return db:model {
      table = "left",
      indexes = {
        { name = "by_n", fields = { { name = "n", type = "number" } } },
        { name = "even", fields = { { name = "n", type = "number" } }, condition = function(d) return d.n % 2 == 0 end },
        { name = "by_tag", fields = { { name = "tags", type = "string" } } },
      },
      unique_indexes = { { name = "by_key", fields = { { name = "key", type = "string" } } } },
      events = function(d) return { { name = "moved", payload = { n = d.n } } } end,
      partition_key = function(d) return "k" .. d.n % 7 end,
    }, db:model {
      table = "right",
      indexes = { { name = "by_n", fields = { { name = "n", type = "number" } } } },
    }, queue
  end
]]

local CHILD = [[
  local tito = require "tito"
  ]] .. MODELS .. [[
  local db = assert(tito.connect(arg[1]))
  local Left, Right, queue = declare(db)
  local Seen = db:model { table = "seen" }
  local worker = db:worker { concurrency = 4 }
  worker:on("moved", function(event, tx)
    assert(Seen:build({ id = event.id, n = event.payload.n }, tx))
  end)
  local round = arg[2]
  for i = 1, 1000000 do
    local n = tonumber(round) * 1000000 + i
    print("try", n)
    assert(db:transaction(function(tx)
      assert(Left:build_with_options({ id = "d" .. n, n = n, key = "key" .. n, tags = { "a", "t" .. n % 5 } },
        tito.with_events("INSERT"), tx))
      assert(Right:build({ id = "d" .. n, n = n }, tx))
      if i > 1 and i % 3 == 0 then
        assert(Left:patch("d" .. (n - 1), { n = n - 1, touched = true }, tx))
      end
    end))
    print("done", n)
    if i % 5 == 0 then worker:step(0) end
  end
]]

local declare = assert(load(MODELS .. " return declare"))()

describe("a program that is killed", function()
  after_each(support.clean)

  it("loses nothing that was acknowledged, and leaves nothing half done", function()
    local path = support.folder()
    local acknowledged, tried = {}, {}
    local rounds = support.times(25, 3)
    math.randomseed(os.time())
    for round = 1, rounds do
      local pipe, pid = support.start(CHILD, path, round)
      local lines = math.random(2, 400)
      for line in pipe:lines() do
        local word, n = line:match("^(%a+)\t(%d+)$")
        if word == "done" then
          acknowledged[tonumber(n)] = true
        elseif word == "try" then
          tried[tonumber(n)] = true
        else
          error("the child said: " .. line .. "\n" .. pipe:read("a"))
        end
        lines = lines - 1
        if lines == 0 then
          support.kill(pid, "KILL")
        end
      end
      pipe:close()

      local db = support.open(path)
      local Left, Right = declare(db)
      for n in pairs(acknowledged) do
        assert.is_table(Left:find_by_id("d" .. n), "an acknowledged record is gone")
      end
      local left, right = 0, 0
      for document in Left:query_by_index("by_n"):limit(1000):each() do
        left = left + 1
        assert.is_true(tried[document.n])
        assert.is_table(Right:find_by_id(document.id), "half of a transaction is there")
      end
      for document in Right:query_by_index("by_n"):limit(1000):each() do
        right = right + 1
        assert.is_true(tried[document.n])
      end
      assert.equal(left, right)
      assert.same({}, assert(db:check("left")).findings)
      assert.same({}, assert(db:check("right")).findings)
      db:close()
    end

    -- every event is handled, in all, exactly once
    local db = support.open(path)
    local Left, _, queue = declare(db)
    local Seen = db:model { table = "seen" }
    local worker, till = db:worker { concurrency = 64 }, tito.now() + 60
    worker:on("moved", function(event, tx)
      assert(Seen:build({ id = event.id, n = event.payload.n }, tx))
    end)
    local function waiting()
      return #assert(queue:history { state = "pending", limit = 1 }).items
        + #assert(queue:history { state = "parked", limit = 1 }).items
    end
    repeat -- at least once: a worker that has not begun is not stopped
      worker:step(50)
    until waiting() == 0 or tito.now() >= till
    worker:stop()
    assert(worker:run())
    local numbers, seen, cursor = {}, 0, nil
    repeat
      local page = assert(Seen:scan { limit = 1000, cursor = cursor })
      for _, record in ipairs(page.items) do
        assert.is_nil(numbers[record.n], "an event was handled twice")
        numbers[record.n] = true
        seen = seen + 1
      end
      cursor = page.cursor
    until not cursor
    assert.equal(Left:query_by_index("by_n"):count(), seen)
    print(("%d kills, %d records, %d acknowledged"):format(rounds, seen, (function()
      local n = 0
      for _ in pairs(acknowledged) do n = n + 1 end
      return n
    end)()))
    db:close()
  end)
end)
