--- Queues: publishing, history and tending, as bindings/lua/README.md lists them. Workers are in worker.lua.
local library = require "resty.tito.library"
local backups = require "resty.tito.backups"
local database = require "resty.tito.database"
local handle = require "resty.tito.handle"
local operations = require "resty.tito.operations"
local wait = require "resty.tito.wait"

local ffi, lib = library.ffi, library.lib
local box, check, encode, run = handle.error_box, handle.check, handle.encode, database.run
local results = operations.results

local queues = {}

function queues.queue_open(db, name, given)
  return database.child(db, "queue", function(db_ptr)
    local out = ffi.new("tito_queue_t *[1]")
    local status = lib.tito_queue_open(db_ptr, name, #name, handle.options(given), out, box)
    if status ~= lib.TITO_OK then
      return handle.fail_box(status)
    end
    return ffi.gc(out[0], lib.tito_queue_free)
  end)
end

local function id_of(future)
  return handle.text_of(lib.tito_future_bytes(future)) or true
end

--- A timer that publishes when the database is open.
local function publish_later(_, db, make)
  local id, err = run(db, "publish", make, id_of)
  if not id then
    wait.warn("an event that was published without waiting is lost: " .. tostring(err))
  end
end

--- Publishes where nobody can wait: true when it is on its way. What becomes of it is not told.
local function forget(queue, make)
  local db = queue.db
  if db.state == "failed" then
    return nil, db.failure
  elseif db.state == "opening" then
    local ok, why = ngx.timer.at(0, publish_later, db, make)
    if not ok then
      return handle.fail_text(lib.TITO_UNAVAILABLE, "publish: there is no timer to wait in: " .. tostring(why))
    end
    return true
  elseif db.state ~= "open" then
    return handle.fail_text(lib.TITO_INVALID_STATE, "publish: the database is not open yet")
  end
  local future = ffi.gc(make(), lib.tito_future_free)
  local status = lib.tito_future_start(future, box)
  if status ~= lib.TITO_OK then
    return handle.fail_box(status)
  end
  return true
end

function queues.queue_publish(queue, txn, key, payload, timestamp, delay, given)
  check(queue, "queue")
  if txn then
    check(txn, "txn")
  end
  local due = timestamp and handle.microseconds(timestamp) or 0
  local later = delay and handle.microseconds(delay) or 0
  local text, err = encode(payload)
  if not text then
    if txn then
      lib.tito_txn_doom(txn.ptr, handle.status_of(err.code), err.message, #err.message)
    end
    return nil, err
  end
  local options = handle.options(given)
  local function make()
    return lib.tito_queue_publish(queue.ptr, txn and check(txn, "txn").ptr, key, #key, text, #text, due, later, options)
  end
  if not txn and wait.has_worker() and not wait.is_possible() then
    return forget(queue, make)
  end
  return run(queue.db, "publish", make, id_of)
end

local function whole(future)
  return tonumber(lib.tito_future_int(future))
end

--- An operation with a table as its filter.
local function of_filter(name, make, push)
  queues[name] = function(queue, filter)
    check(queue, "queue")
    local text, err = encode(filter)
    if not text then
      return nil, err
    end
    return run(queue.db, name, function() return make(queue.ptr, text, #text) end, push)
  end
end

of_filter("queue_purge", lib.tito_queue_purge, whole)
of_filter("queue_history", lib.tito_queue_history, results.page)

local function of_queue(name, make, push)
  queues[name] = function(queue, value)
    check(queue, "queue")
    return run(queue.db, name, function() return make(queue.ptr, value) end, push)
  end
end

of_queue("queue_pause", function(ptr, whether)
  return lib.tito_queue_set_paused(ptr, whether and 1 or 0)
end, results.yes)
--- How many events were published again; or nil and an error.
function queues.queue_replay(queue, filter, progress)
  check(queue, "queue")
  local text, err = encode(filter)
  if not text then
    return nil, err
  end
  local function make()
    return lib.tito_queue_replay(queue.ptr, text, #text)
  end
  return backups.told(queue.db, "replay", make, progress, whole)
end

--- How many events were moved; or nil and an error.
function queues.queue_repartition(queue, partitions, progress)
  check(queue, "queue")
  local function make()
    return lib.tito_queue_repartition(queue.ptr, partitions)
  end
  return backups.told(queue.db, "repartition", make, progress, whole)
end
of_queue("queue_stats", operations.of_pointer "tito_queue_stats", results.document)
of_queue("queue_partitions", operations.of_pointer "tito_queue_partitions", results.document)
of_queue("queue_retry", function(ptr, id) return lib.tito_queue_retry(ptr, id, #id) end, results.yes)
of_queue("queue_drop", function(ptr, id) return lib.tito_queue_drop(ptr, id, #id) end, results.yes)

return queues
