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
    errors.throw(err)
  end
  return setmetatable({ handle = handle, db = db, type = name }, Queue)
end

local EVENT = { key = true, payload = true, timestamp = true, delay = true, unique = true, on_duplicate = true }

--- The library's options of { unique, on_duplicate }, or nil.
local function publish_options(event)
  if event.unique == nil and event.on_duplicate == nil then
    return nil
  end
  return {
    unique = errors.expect(event.unique, "string", "publish: unique"),
    on_duplicate = errors.expect(event.on_duplicate or "refuse", "string", "publish: on_duplicate"),
  }
end

--- Publishes { key, payload, timestamp or delay (seconds), unique, on_duplicate }, in tx or in a transaction of its
-- own: then it returns the event's id, else true. unique: a token that no other unfinished event of the type may have:
-- nil and an error (already_exists), or with on_duplicate = "return" the id of that event.
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
    event.delay, publish_options(event))
end

local function copy(filter, what)
  local out = {}
  for name, value in pairs(errors.expect(filter or {}, "table", what .. ": the filter")) do
    out[name] = value
  end
  return out
end

--- A page as an iterator: event after event, page after page. A page that can not be read raises its error.
local Page = { __name = "tito.history" }
local walks = setmetatable({}, { __mode = "k" })

function Page:__call()
  local walk = walks[self]
  while walk.place > #walk.items and walk.cursor do
    walk.filter.cursor = walk.cursor
    local page, err = driver.queue_history(walk.handle, walk.filter)
    if not page then
      error(err, 0)
    end
    walk.items, walk.cursor, walk.place = page.items, page.cursor, 1
  end
  walk.place = walk.place + 1
  return walk.items[walk.place - 1]
end

--- A page of events { items, cursor }, and at once an iterator over all events from there on: for event in
-- queue:history { … } do. filter: state ("pending", "parked", "completed", "failed"), key, owner (an entity or its id),
-- from and to (seconds), limit, cursor.
function Queue:history(filter)
  filter = copy(filter, "history")
  filter.state = filter.state or "pending"
  local page, err = driver.queue_history(self.handle, filter)
  if not page then
    return nil, err
  end
  walks[page] = { handle = self.handle, filter = filter, items = page.items, cursor = page.cursor, place = 1 }
  return setmetatable(page, Page)
end

--- Publishes completed events again (or failed ones, by state), as new ones that are due now: how many. filter: state,
-- key, owner, from and to (when they were finished), into (another type). options: progress(done), which ends it by
-- false; what was published until then stays.
function Queue:replay(filter, options)
  values.options(options, { progress = "ours" }, "replay")
  local progress = options and options.progress
  if progress ~= nil then
    errors.expect(progress, "function", "replay: progress")
  end
  filter = copy(filter, "replay")
  filter.state = filter.state or "completed"
  return driver.queue_replay(self.handle, filter, progress)
end

--- Deletes every event that fits: how many. filter: state (without it those of every state), and at least one of key,
-- owner, from, to.
function Queue:purge(filter)
  filter = copy(filter, "purge")
  if next(filter) == nil then
    errors.raise("invalid_argument", "purge: say which: state, key, owner, from or to")
  end
  return driver.queue_purge(self.handle, filter)
end

--- From now on no worker of any process is given events of this type; resume lets them go on.
function Queue:pause()
  return driver.queue_pause(self.handle, true)
end

function Queue:resume()
  return driver.queue_pause(self.handle, false)
end

--- Gives the type another partition count while it is in use: how many events were moved. Nothing of it is delivered
-- until this ends; one that was cut short goes on when it is called again. options: progress(done, total) in
-- partitions, which ends it by false.
function Queue:repartition(partitions, options)
  if math.type and math.type(partitions) ~= "integer" or type(partitions) ~= "number" then
    errors.raise("invalid_argument", "repartition: a number of partitions expected, not %s", tostring(partitions))
  end
  values.options(options, { progress = "ours" }, "repartition")
  local progress = options and options.progress
  if progress ~= nil then
    errors.expect(progress, "function", "repartition: progress")
  end
  return driver.queue_repartition(self.handle, partitions, progress)
end

--- How the type is now: { paused, pending, parked, lag, handler_p50, … }.
function Queue:stats()
  return driver.queue_stats(self.handle)
end

--- How each partition of the type is, seen from outside of its workers: { partitions, complete, now, items = { {
-- partition, pending, parked, parked_keys, oldest, checkpoint, worker, alive }, … } }. not_found: nobody has used it.
function Queue:partitions()
  return driver.queue_partitions(self.handle)
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
