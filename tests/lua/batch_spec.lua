-- Batches: a handler that gets several events of different keys and one transaction.
local support = require "support"
local tito = require "tito"

local QUICK = { max_retries = 3, base = 0.01, factor = 1, cap = 0.02 }

describe("a worker with batches", function()
  local db, queue, Thing

  before_each(function()
    db = support.open()
    queue = db:queue { type = "job", partitions = 4, retention = 3600 }
    Thing = db:model { table = "thing" }
  end)

  after_each(function()
    db:close()
  end)

  local function history(state)
    return assert(queue:history { state = state, limit = 10000 }).items
  end

  --- Runs a worker with batches until n events have ended well.
  local function run_batches(n, handler, options)
    local worker, done, sizes = db:worker { retry = QUICK }, 0, {}
    worker:on("job", function(events, tx)
      sizes[#sizes + 1] = #events
      local before = done
      done = done + #events
      local result, why = handler(events, tx)
      if result == nil and why then
        done = before
      end
      if done >= n then
        worker:stop()
      end
      return result, why
    end, options)
    assert(worker:run())
    return sizes
  end

  local function publish_keys(n)
    assert(db:transaction(function(tx)
      for i = 1, n do
        assert(queue:publish({ key = "k" .. i, payload = i }, tx))
      end
    end))
  end

  it("gives batches of different keys, which commit together", function()
    publish_keys(20)
    publish_keys(20)
    local sizes = run_batches(40, function(events, tx)
      local keys = {}
      for _, event in ipairs(events) do
        assert.is_nil(keys[event.key])
        keys[event.key] = true
        assert(Thing:save({ id = event.key .. "." .. event.id, n = event.payload }, tx))
      end
      return true
    end, { batch = 8 })
    for _, size in ipairs(sizes) do
      assert.is_true(size <= 8)
    end
    assert.equal(0, #history("pending"))
    assert.equal(40, #history("completed"))
    assert.equal(40, #assert(Thing:scan { limit = 100 }).items)
  end)

  it("takes a batch that fails apart until what can not succeed is alone", function()
    publish_keys(8)
    run_batches(7, function(events, tx)
      for _, event in ipairs(events) do
        assert(Thing:save({ id = event.key, n = event.payload }, tx))
      end
      for _, event in ipairs(events) do
        if event.key == "k3" then
          if #events > 1 then
            assert.equal(0, event.attempts)
          end
          return nil, "poison"
        end
      end
      return true
    end, { batch = 8 })
    assert.equal(7, #history("completed"))
    assert.is_nil(Thing:find_by_id("k3"))
    assert.truthy(Thing:find_by_id("k2"))
  end)

  it("lets each event of a batch end in its own way", function()
    publish_keys(4)
    local seen, later = {}, false
    run_batches(7, function(events)
      for _, event in ipairs(events) do
        if event.key == "k1" and event.attempts == 0 then
          event:fail("not this one")
        elseif event.key == "k2" and not later then
          later = event:reschedule(tito.now() + 0.05)
        elseif event.key == "k3" and type(event.payload) == "number" then
          event:advance { step = 2 }
        end
        seen[#seen + 1] = { event.key, event.attempts, event.last_error, event.payload }
      end
      return true
    end, { batch = 4 })
    table.sort(seen, function(a, b) return a[1] < b[1] end)
    assert.equal(7, #seen)
    assert.equal("k4", seen[7][1])
    local failed = seen[1][2] == 1 and seen[1] or seen[2]
    assert.equal("not this one", failed[3])
    assert.equal(4, #history("completed"))
  end)

  it("refuses batches of other sizes than 1 to 1000", function()
    for _, size in ipairs { 0, -1, 1001 } do
      local ok, err = pcall(db.worker, db, { batch = size })
      assert.is_false(ok)
      assert.equal("tito_worker_new: option batch must be an integer from 1 to 1000", err.message)
      ok, err = pcall(function() db:worker():on("job", print, { batch = size }) end)
      assert.is_false(ok)
      assert.equal("tito_worker_on: option batch must be an integer from 1 to 1000", err.message)
    end
    assert.is_false(pcall(db.worker, db, { batch = "2" }))
  end)
end)
