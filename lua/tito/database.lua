--- Databases: connecting, and everything that is made from one.
local driver = require "tito.driver"
local errors = require "tito.errors"
local maintenance = require "tito.maintenance"
local model = require "tito.model"
local queue = require "tito.queue"
local transaction = require "tito.transaction"
local values = require "tito.values"
local worker = require "tito.worker"

local database = {}

local Database = { __name = "tito.database" }
Database.__index = Database

local OPTIONS = {
  namespace = "string", partitions = "number", timeout = "seconds", txn_age = "seconds", durability = "string",
  open_wait = "seconds", block_cache_size = "number", write_buffer_size = "number", threads = "number",
  log_level = "string", ca = "string", cert = "string", key = "string", server_name = "string",
}
local LEVELS = { error = 0, warn = 1, info = 2, debug = 3 }
local TLS = { ca = "string", cert = "string", key = "string", server_name = "string" }

--- A list of PD endpoints as one text.
local function target_of(target)
  if type(target) ~= "table" then
    return errors.expect(target, "string", "connect: the target")
  end
  for _, endpoint in ipairs(target) do
    errors.expect(endpoint, "string", "connect: an endpoint")
  end
  if #target == 0 then
    errors.raise("invalid_argument", "connect: the list of endpoints is empty")
  end
  return "tikv://" .. table.concat(target, ",")
end

--- The object over the driver's handle.
function database.of_handle(handle)
  return setmetatable({ handle = handle, models = {} }, Database)
end

--- The options for the driver; those in `tls` stand beside the others there.
local function options_of(given)
  if type(given) ~= "table" or given.tls == nil then
    return values.options(given, OPTIONS, "connect")
  end
  local beside = {}
  for name, value in pairs(given) do
    beside[name] = name ~= "tls" and value or nil
  end
  local out = values.options(beside, OPTIONS, "connect")
  local tls = values.options(given.tls, TLS, "connect: tls")
  if not tls.ca then
    errors.raise("invalid_argument", "connect: tls needs ca, the authority of the servers' certificates")
  end
  for name, value in pairs(tls) do
    out[name] = value
  end
  return out
end

--- Takes `log` out of the options: the rest, the function, and the number of its level.
local function log_of(given)
  if type(given) ~= "table" or given.log == nil then
    return given
  end
  errors.expect(given.log, "function", "connect: log")
  local rest = {}
  for name, value in pairs(given) do
    rest[name] = name ~= "log" and value or nil
  end
  return rest, given.log, LEVELS[given.log_level or "warn"]
end

function database.connect(target, options)
  local rest, log, level = log_of(options)
  local handle, err = driver.db_open(target_of(target), options_of(rest), log, level)
  if not handle then
    return nil, err
  end
  return database.of_handle(handle)
end

--- A database that is made before it is opened: where the driver knows of such.
function database.declare(target, options)
  return database.of_handle(driver.db_new(target_of(target), options_of(options)))
end

--- Opens what was declared. In nginx it returns at once, and operations wait.
function Database:open()
  if not driver.db_start then
    errors.raise("unsupported", "open: this host opens databases by connect")
  end
  return driver.db_start(self.handle)
end

--- Declares a model. Raises when the spec is not valid.
function Database:model(spec)
  local declared = model.declare(self, spec)
  self.models[declared.table] = declared
  return declared
end

--- Runs fn(tx), commits, and returns what fn returned (true when nothing); runs it again when it met a conflict.
-- When fn raises, or returns nil or false and an error: rolls back and returns nil and an error.
-- options: timeout (of all attempts), attempts, age, read_only, causal.
function Database:transaction(fn, options)
  return transaction.run(self, fn, options)
end

--- A transaction that the caller ends: `local tx <close> = assert(db:begin())`.
function Database:begin(options)
  return transaction.begin(self, options)
end

--- The database's time, in seconds.
function Database:now()
  return driver.db_now(self.handle)
end

--- A type of events: { type, partitions, retention (seconds), ordering }.
function Database:queue(options)
  return queue.open(self, options)
end

--- Makes or replaces a recurring event: { name, type, key, cron, timezone, payload, catch_up }.
function Database:schedule(spec)
  local known = { name = "string", type = "string", key = "string", cron = "string", timezone = "string",
    catch_up = "string", payload = "ours" }
  local out = values.options(spec, known, "schedule")
  out.payload = spec.payload
  return driver.db_schedule(self.handle, out)
end

--- Removes one by its name.
function Database:unschedule(name)
  return driver.db_unschedule(self.handle, errors.expect(name, "string", "unschedule: the name"))
end

--- All recurring events, each with next, its next tick.
function Database:schedules()
  return driver.db_schedules(self.handle)
end

--- The types of events of the database: a list of { type, partitions, paused }.
function Database:queues()
  return driver.db_queues(self.handle)
end

--- Counters, lags and handler times of the event types that this process has met, as Prometheus text.
function Database:metrics()
  return driver.db_metrics(self.handle)
end

function Database:worker(options)
  return worker.new(self, options)
end

--- The function `progress` among options, or nil.
function database.progress_of(options, what)
  if not options or options.progress == nil then
    return nil
  end
  return errors.expect(options.progress, "function", what .. ": progress")
end

local function declared_model(self, name, what)
  local found = self.models[errors.expect(name, "string", what .. ": the table")]
  if not found then
    errors.raise("invalid_argument", "%s: no model of table '%s' is declared here", what, name)
  end
  return found
end

--- Fills the indexes of a table that are not readable yet. progress(info): called after each step.
function Database:reindex(name, progress)
  if progress ~= nil then
    errors.expect(progress, "function", "reindex: progress")
  end
  return maintenance.run(declared_model(self, name, "reindex"), "reindex", nil, progress)
end

--- Compares every record with its index entries: { done, findings }. options: repair, cursor, progress, count
-- (what is to be looked at is counted first: progress is told a total).
function Database:check(name, options)
  local out = values.options(options, { repair = "boolean", count = "boolean", cursor = "string",
    progress = "ours" }, "check")
  return maintenance.run(declared_model(self, name, "check"), "check", out, options and options.progress)
end

function Database:drop_index(name, index)
  errors.expect(name, "string", "drop_index: the table")
  errors.expect(index, "string", "drop_index: the index")
  return driver.db_drop_index(self.handle, name, index)
end

function Database:drop_table(name)
  return driver.db_drop_table(self.handle, errors.expect(name, "string", "drop_table: the table"))
end

--- Makes a backup in a directory that is new or empty (embedded databases): { time, files, size, shared }.
-- options: base, an earlier backup whose files may be shared; progress(done, total) in bytes, which ends it by false.
function Database:backup(dir, options)
  errors.expect(dir, "string", "backup: the directory")
  local out = values.options(options, { base = "string", progress = "ours" }, "backup")
  if not driver.db_backup then
    errors.raise("unsupported", "backup: this host has no backups; call it in a program of its own, or `tito backup`")
  end
  return driver.db_backup(self.handle, dir, out.base, database.progress_of(options, "backup"))
end

--- Statistics of engine, catalog and queues.
function Database:stats()
  return driver.db_stats(self.handle)
end

--- The catalog: tables with their indexes, versions and states.
function Database:schema()
  return driver.db_schema(self.handle)
end

--- Removes old versions (TiKV). options: retention in seconds.
function Database:gc(options)
  errors.expect(options, "table", "gc: the options")
  return driver.db_gc(self.handle, errors.expect(options.retention, "number", "gc: retention"))
end

--- What the cluster looks like (TiKV): members, stores, regions, gc, locks, rounds. options: regions (true: a list),
-- locks (seconds: those of transactions that old), resolve (true: clears those whose owner is gone).
function Database:cluster(options)
  return driver.db_cluster(self.handle, values.options(options, { regions = "boolean", locks = "seconds",
    resolve = "boolean" }, "cluster"))
end

--- Ends everything made from this database. Safe to call again.
function Database:close()
  return driver.db_close(self.handle)
end

function Database.__close(self)
  driver.db_close(self.handle)
end

return database
