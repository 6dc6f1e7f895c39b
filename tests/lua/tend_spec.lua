-- Operations on queues: tokens, iterating, replay, purge, pause, recurring events, what is told.
local support = require "support"
local tito = require "tito"

describe("tending a queue", function()
  local db, queue

  before_each(function()
    db = support.open()
    queue = db:queue { type = "job", partitions = 4, retention = 3600 }
  end)

  after_each(function()
    db:close()
  end)

  local function publish(n)
    for i = 1, n do
      assert(queue:publish { key = "k" .. i % 3, payload = { n = i } })
    end
  end

  --- Handles n events; what the handler got of each.
  local function handle(n, options, worker_options)
    local worker = db:worker(worker_options)
    local seen = {}
    worker:on("job", function(event)
      seen[#seen + 1] = event.payload
      if #seen == n then
        worker:stop()
      end
    end, options)
    assert(worker:run())
    return seen
  end

  it("takes a token once", function()
    local id = assert(queue:publish { key = "a", unique = "t" })
    local ok, err = queue:publish { key = "b", unique = "t" }
    assert.is_nil(ok)
    assert.equal("already_exists", err.code)
    assert.equal(id, queue:publish { key = "b", unique = "t", on_duplicate = "return" })
    local done, why = db:transaction(function(tx)
      return queue:publish({ key = "b", unique = "t" }, tx)
    end)
    assert.is_nil(done)
    assert.equal("already_exists", why.code)
    handle(1)
    assert(queue:publish { key = "b", unique = "t" })
    support.raised("invalid_argument", function() queue:publish { key = "b", unique = 5 } end)
  end)

  it("iterates over all events, page after page", function()
    publish(25)
    local numbers = {}
    for event in queue:history { limit = 4 } do
      numbers[event.payload.n] = true
    end
    assert.equal(25, #numbers)
    assert.equal(10, #assert(queue:history { limit = 10 }).items)
    local none = 0
    for _ in queue:history { state = "failed" } do none = none + 1 end
    assert.equal(0, none)
  end)

  it("replays what was completed", function()
    publish(10)
    handle(10)
    assert.equal(10, queue:replay())
    assert.equal(0, queue:replay { from = tito.now() + 1000 })
    db:queue { type = "copy", partitions = 2 }
    assert.equal(20, queue:replay { into = "copy" } + #handle(10))
    assert.equal(10, #assert(db:queue { type = "copy" }:history()).items)
    local told
    assert.equal(20, queue:replay({}, { progress = function(done) told = done end }))
    assert.equal(20, told)
    support.raised("invalid_argument", function() return queue:replay({}, { progress = 1 }) end)
    local ok, err = queue:replay { state = "pending" }
    assert.is_nil(ok)
    assert.equal("invalid_argument", err.code)
  end)

  it("purges a key, or what is about an entity", function()
    publish(9)
    handle(3)
    assert.equal(3, queue:purge { key = "k1" })
    assert.equal(0, queue:purge { key = "k1" })
    assert.equal(0, queue:purge { owner = "nobody" })
    support.raised("invalid_argument", function() queue:purge {} end)
    assert.equal(6, queue:purge { from = 0 })
  end)

  it("rests while it is paused", function()
    publish(1)
    assert(queue:pause())
    assert.is_true(queue:stats().paused)
    local worker = db:worker()
    local seen = 0
    worker:on("job", function() seen = seen + 1 end)
    for _ = 1, 10 do assert(worker:step(20)) end
    assert.equal(0, seen)
    assert(queue:resume())
    for _ = 1, 100 do
      if seen == 1 then break end
      assert(worker:step(50))
    end
    assert.equal(1, seen)
    worker:stop()
    while worker:step(100) do end
  end)

  it("limits a type", function()
    publish(6)
    local seen = handle(6, { concurrency = 1, rate = 1000, retry = { jitter = 0 } }, { leased = false })
    assert.equal(6, #seen)
    support.raised("invalid_argument", function() db:worker():on("job", print, { rate = "fast" }) end)
  end)

  it("has recurring events", function()
    local spec = { name = "s", type = "job", key = "a", cron = "*/5 * * * *", timezone = "Europe/Berlin",
      payload = { x = 1 }, catch_up = "all" }
    assert(db:schedule(spec))
    local all = assert(db:schedules())
    assert.equal(1, #all)
    assert.equal(1, all[1].payload.x)
    assert.is_true(all[1].next > tito.now() - 1 and all[1].next <= tito.now() + 301)
    local ok, err = db:schedule { name = "s", type = "job", key = "a", cron = "often" }
    assert.is_nil(ok)
    assert.equal("invalid_argument", err.code)
    assert(db:unschedule("s"))
    local gone, why = db:unschedule("s")
    assert.is_nil(gone)
    assert.equal("not_found", why.code)
  end)

  it("tells how it is", function()
    publish(5)
    handle(3)
    local stats = assert(queue:stats())
    assert.equal(2, stats.pending)
    assert.equal(3, stats.acknowledged)
    assert.equal(4, stats.leases_taken)
    assert.is_true(stats.handler_p99 > 0)
    assert.matches('tito_queue_published_total{type="job"} 5\n', assert(db:metrics()), 1, true)
  end)

  it("gets another number of partitions", function()
    publish(20)
    local last, all
    local moved = assert(queue:repartition(7, { progress = function(done, total)
      last, all = done, total
    end }))
    assert.is_true(moved > 0)
    assert.same({ 14, 14 }, { last, all })
    assert.equal(7, assert(db:queues())[1].partitions)
    assert.equal(20, assert(queue:stats()).pending)
    assert.equal(0, assert(queue:repartition(7)))
    handle(20)
    assert.equal(0, assert(queue:stats()).pending)
    for _, wrong in ipairs { 0, 10000 } do
      local none, err = queue:repartition(wrong)
      assert.is_nil(none)
      assert.equal("invalid_argument", err.code)
    end
    assert.has_error(function() queue:repartition("seven") end)
    local none, err = db:queue({ type = "unknown" }):repartition(2)
    assert.is_nil(none)
    assert.equal("not_found", err.code)
  end)

  it("tells how its partitions are", function()
    publish(5)
    assert(queue:publish { key = "later", payload = 1, delay = 3600 })
    local known = assert(queue:partitions())
    local pending, oldest = 0, math.huge
    for _, item in ipairs(known.items) do
      pending, oldest = pending + item.pending, math.min(oldest, item.oldest or math.huge)
      assert.is_nil(item.worker)
    end
    assert.equal(6, pending)
    assert.is_true(known.complete)
    assert.equal(4, known.partitions)
    assert.is_true(math.abs(known.now - oldest) < 600)
    assert.same({ { type = "job", partitions = 4, paused = false } }, assert(db:queues()))
    assert(queue:pause())
    assert.is_true(assert(db:queues())[1].paused)
    local none, err = db:queue({ type = "unknown" }):partitions()
    assert.is_nil(none)
    assert.equal("not_found", err.code)
  end)
end)
