-- Publishing and history.
local support = require "support"
local tito = require "tito"

describe("a queue", function()
  local db, queue

  before_each(function()
    db = support.open()
    queue = db:queue { type = "job", partitions = 4, retention = 3600 }
  end)

  after_each(function()
    db:close()
  end)

  local function pending()
    return assert(queue:history { state = "pending", limit = 1000 }).items
  end

  --- Handles events until none waits.
  local function drain(handler, options)
    local worker, till = db:worker(options), tito.now() + 20
    worker:on("job", handler)
    while #pending() > 0 and tito.now() < till do
      worker:step(20)
    end
    worker:stop()
    assert(worker:run())
  end

  it("publishes, alone and in a transaction", function()
    assert.matches("^%d+%.%d+%.%x+%-", queue:publish { key = "a", payload = { n = 1 } })
    assert(db:transaction(function(tx)
      assert(queue:publish({ key = "b", payload = { n = 2 } }, tx))
      assert.equal(1, #pending())
    end))
    assert.equal(2, #pending())
    db:transaction(function(tx)
      assert(queue:publish({ key = "c" }, tx))
      error("no")
    end)
    assert.equal(2, #pending())
  end)

  it("carries any payload", function()
    local payloads = { { a = tito.array() }, { 1, 2.0, "x" }, "text", 5, 1.5, true, false }
    for i, payload in ipairs(payloads) do
      assert(queue:publish { key = "k" .. i, payload = payload })
    end
    assert(queue:publish { key = "none" })
    local got = {}
    drain(function(event)
      got[event.key] = event.payload
    end)
    for i, payload in ipairs(payloads) do
      assert.same(payload, got["k" .. i])
    end
    support.is_number("float", got.k2[2])
    assert.equal(tito.null, got.none)
  end)

  it("delivers nothing before its time", function()
    local began = tito.now()
    assert(queue:publish { key = "k", payload = "late", delay = 0.4 })
    assert(queue:publish { key = "k", payload = "past", timestamp = began - 1000 })
    assert(queue:publish { key = "k", payload = "at", timestamp = began + 0.2 })
    local order, early = {}, false
    local worker = db:worker()
    -- a delay counts from the database's time, which lags behind by up to 50 ms where PD gives it
    worker:on("job", function(event)
      order[#order + 1] = event.payload
      early = early or event.payload ~= "past" and tito.now() - began < (event.payload == "at" and 0.19 or 0.3)
      if #order == 3 then
        worker:stop()
      end
    end)
    assert(worker:run())
    assert.same({ "past", "at", "late" }, order)
    assert.is_false(early)
  end)

  it("keeps history, and failed events that can be retried or dropped", function()
    assert(queue:publish { key = "good" })
    assert(queue:publish { key = "bad" })
    assert(queue:publish { key = "worse" })
    local fail = true
    local function handler(event)
      if event.key ~= "good" and fail then
        return nil, "not today"
      end
    end
    drain(handler, { retry = { max_retries = 0 } })
    assert.equal(1, #assert(queue:history { state = "completed" }).items)
    local failed = assert(queue:history { state = "failed" }).items
    assert.equal(2, #failed)
    assert.truthy(failed[1].last_error:find("not today"))
    local by_key = { [failed[1].key] = failed[1].id, [failed[2].key] = failed[2].id }
    assert.is_true(queue:drop(by_key.worse))
    assert.fails("not_found", queue:drop(by_key.worse))
    assert.is_true(queue:retry(by_key.bad))
    assert.fails("not_found", queue:retry("0001.00000000000000000001.00000000-0000-7000-8000-000000000000"))
    fail = false
    drain(handler)
    assert.equal(2, #assert(queue:history { state = "completed" }).items)
    assert.equal(0, #assert(queue:history { state = "failed" }).items)
    assert.equal(1, #assert(queue:history { state = "completed", key = "bad" }).items)
  end)

  it("pages through its history", function()
    for i = 1, 25 do
      assert(queue:publish { key = "k" .. i })
    end
    local seen, cursor = {}, nil
    repeat
      local page = assert(queue:history { state = "pending", limit = 10, cursor = cursor })
      for _, event in ipairs(page.items) do
        seen[event.key] = true
      end
      cursor = page.cursor
    until not cursor
    for i = 1, 25 do
      assert.is_true(seen["k" .. i])
    end
  end)

  it("refuses what can not be published", function()
    assert.fails("invalid_argument", queue:publish { key = "k", payload = { print } })
    assert.fails("invalid_argument", queue:publish { key = "k", payload = { 0 / 0 } })
    assert.fails("invalid_argument", queue:publish { key = "", payload = 1 })
    assert.fails("invalid_argument", queue:publish { key = "\xff", payload = 1 })
    assert.fails("limit_exceeded", queue:publish { key = "k", payload = ("x"):rep(1100000) })
    support.raised("invalid_argument", function() return queue:publish() end)
    support.raised("invalid_argument", function() return queue:publish { payload = 1 } end)
    support.raised("invalid_argument", function() return queue:publish { key = 5 } end)
    support.raised("invalid_argument", function() return queue:publish { key = "k", timestamp = 1, delay = 1 } end)
    support.raised("invalid_argument", function() return queue:publish { key = "k", delay = "1" } end)
    support.raised("invalid_argument", function() return queue:publish { key = "k", delay = 0 / 0 } end)
    support.raised("invalid_argument", function() return queue:publish { key = "k", timestamp = math.huge } end)
    support.raised("invalid_argument", function() return queue:publish { key = "k", colour = 1 } end)
    local value, err = db:transaction(function(tx)
      local _ = queue:publish({ key = "k", payload = { print } }, tx)
    end)
    assert.fails("invalid_argument", value, err)
    assert.equal(0, #pending())
  end)

  it("refuses options that are wrong", function()
    support.raised("invalid_argument", function() return db:queue {} end)
    support.raised("invalid_argument", function() return db:queue { type = "a b" } end)
    support.raised("invalid_argument", function() return db:queue { type = "a:b" } end)
    support.raised("invalid_argument", function() return db:queue { type = "x", partitions = 0 } end)
    support.raised("invalid_argument", function() return db:queue { type = "x", partitions = 10000 } end)
    support.raised("invalid_argument", function() return db:queue { type = "x", ordering = "chaos" } end)
    support.raised("invalid_argument", function() return db:queue { type = "x", colour = "red" } end)
    support.raised("invalid_argument", function() return db:queue() end)
  end)

  it("keeps the number of partitions that was stored", function()
    assert(queue:publish { key = "k" })
    local ok, other = pcall(function() return db:queue { type = "job", partitions = 5 } end)
    if ok then
      assert.fails("schema_mismatch", other:publish { key = "k" })
    else
      assert.equal("schema_mismatch", other.code)
    end
  end)
end)
