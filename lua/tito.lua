--- tito: models, transactions and queues over TiKV or an embedded RocksDB.
--
--     local tito = require "tito"
--     local db = assert(tito.connect("./data"))
--
-- Expected failures return nil and an error { code, message, retryable, … }; misuse raises one.
-- The files in tito/ are one source for Lua 5.4 and LuaJIT: no syntax of 5.4 alone, and nothing of
-- the library except through tito/driver.lua.
local database = require "tito.database"
local driver = require "tito.driver"
local errors = require "tito.errors"
local values = require "tito.values"

local tito = {
  version = driver.version,
  null = values.null,
  array = values.array,
  INSERT = "INSERT",
  UPDATE = "UPDATE",
  DELETE = "DELETE",
  uuid = driver.uuid,
  now = driver.now,
}

--- Opens a database. target: a directory, "rocksdb:path", "memory:", "tikv://pd1:2379,pd2:2379", or a list of PD
-- endpoints.
function tito.connect(target, options)
  return database.connect(target, options)
end

--- Connects to TiKV with n partitions as the default of its queues.
function tito.connect_with_partitions(endpoints, n)
  return database.connect(endpoints, { partitions = n })
end

--- The function of the driver; raises where the host has no backups.
local function backups(name, what)
  if not driver[name] then
    errors.raise("unsupported", "%s: this host has no backups; use a program of its own, or the program tito", what)
  end
  return driver[name]
end

--- Compares the backup in a directory with the digests that were taken when it was made: { time, files, size }, or nil
-- and an error that names the file. options: progress(done, total) in bytes, which ends it by false.
function tito.verify_backup(dir, options)
  errors.expect(dir, "string", "verify_backup: the directory")
  values.options(options, { progress = "ours" }, "verify_backup")
  return backups("backup_verify", "verify_backup")(dir, database.progress_of(options, "verify_backup"))
end

--- Copies the backup in a directory to the target (a directory that is new or empty), verifying it on the way.
function tito.restore(dir, target, options)
  errors.expect(dir, "string", "restore: the directory of the backup")
  errors.expect(target, "string", "restore: the target")
  values.options(options, { progress = "ours" }, "restore")
  return backups("backup_restore", "restore")(dir, target, database.progress_of(options, "restore"))
end

--- Options of a write that asks for the model's events: "INSERT", "UPDATE", "DELETE" or a name of your own.
function tito.with_events(operation)
  if type(operation) ~= "string" or operation == "" then
    errors.raise("invalid_argument", "with_events needs the name of an operation, such as tito.INSERT")
  end
  return { events = operation }
end

--- Runs a worker that handles the events of one queue, until it is stopped or SIGTERM comes.
function tito.run_worker(queue, handler, options)
  if type(queue) ~= "table" or type(queue.type) ~= "string" then
    errors.raise("invalid_argument", "run_worker needs a queue, as db:queue returns it")
  end
  local worker = queue.db:worker(options)
  worker:on(queue.type, handler)
  return worker:run()
end

return tito
