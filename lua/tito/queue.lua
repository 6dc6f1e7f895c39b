--- Queues: events of one type, published here or by models, kept in order by key.
local driver = require "tito.driver"
local errors = require "tito.errors"
local transaction = require "tito.transaction"
local values = require "tito.values"

local queue = {}

local Queue = { __name = "tito.queue" }
Queue.__index = Queue

local OPTIONS = { type = "ours", partitions = "number", retention = "seconds", ordering = "string" }

--- Opens a type on db. Raises when the options are not valid.
function queue.open(db, options)
  errors.expect(options, "table", "queue: the options")
  local name = errors.expect(options.type, "string", "queue: the option 'type'")
  local handle, err = driver.queue_open(db.handle, name, values.options(options, OPTIONS, "queue"))
  if not handle then
    error(err, 0)
  end
  return setmetatable({ handle = handle, db = db, type = name }, Queue)
end

local EVENT = { key = true, payload = true, timestamp = true, delay = true }

--- Publishes { key, payload, timestamp or delay (seconds) }, in tx or in a transaction of its own.
function Queue:publish(event, tx)
  errors.expect(event, "table", "publish: the event")
  for name in pairs(event) do
    if not EVENT[name] then
      errors.raise("invalid_argument", "publish: an event has no '%s'", tostring(name))
    end
  end
  errors.expect(event.key, "string", "publish: the key")
  if event.timestamp ~= nil and event.delay ~= nil then
    errors.raise("invalid_argument", "publish: timestamp or delay, not both")
  end
  errors.expect(event.timestamp or 0, "number", "publish: timestamp")
  errors.expect(event.delay or 0, "number", "publish: delay")
  local payload = event.payload
  if payload == nil then
    payload = driver.null
  end
  return driver.queue_publish(self.handle, transaction.handle(tx, "publish"), event.key, payload, event.timestamp,
    event.delay)
end

--- A page of events. filter: state ("pending", "parked", "completed", "failed"), key, from and to (seconds), limit,
-- cursor.
function Queue:history(filter)
  filter = errors.expect(filter or {}, "table", "history: the filter")
  return driver.queue_history(self.handle, next(filter) == nil and { state = "pending" } or filter)
end

--- Makes a failed event pending again.
function Queue:retry(id)
  return driver.queue_retry(self.handle, errors.expect(id, "string", "retry: the id"))
end

--- Removes a failed or pending event.
function Queue:drop(id)
  return driver.queue_drop(self.handle, errors.expect(id, "string", "drop: the id"))
end

return queue
