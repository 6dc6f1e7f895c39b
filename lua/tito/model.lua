--- Models: records of one table, by the functions that write and read them.
--
--     Post:build(doc, tx)   doc ── host.evaluate ──> driver.model_build ──> the stored document
--
-- Every function takes an optional transaction last; without it the operation is one of its own.
local driver = require "tito.driver"
local errors = require "tito.errors"
local host = require "tito.host"
local query = require "tito.query"
local transaction = require "tito.transaction"

local model = {}

local Model = { __name = "tito.model" }
Model.__index = Model

--- Declares a model on db. Raises when the spec is not valid.
function model.declare(db, spec)
  errors.expect(spec, "table", "the spec of a model")
  local plain, functions = host.take(spec)
  local handle, err = driver.model_declare(db.handle, plain)
  if not handle then
    errors.throw(err)
  end
  return setmetatable({ handle = handle, db = db, table = spec.table, functions = functions }, Model)
end

-- ---- Arguments

local WRITE_OPTIONS = { events = "string", if_version = "number", version = "boolean" }

--- Versions are whole numbers above 0. Where Lua has no integers of 64 bits the driver gives them a type of its own.
local function is_version(value)
  if type(value) == "number" then
    return value >= 1 and value % 1 == 0
  end
  return type(value) == "cdata"
end

local function check_options(options, name)
  if options == nil then
    return nil
  end
  errors.expect(options, "table", name .. ": the options")
  for option, value in pairs(options) do
    local kind = WRITE_OPTIONS[option]
    if not kind then
      errors.raise("invalid_argument", "%s: there is no option '%s'", name, tostring(option))
    end
    if option == "if_version" then
      if not is_version(value) then
        errors.raise("invalid_argument", "%s: if_version must be the version that a read has returned", name)
      end
    elseif type(value) ~= kind then
      errors.raise("invalid_argument", "%s: the option '%s' must be a %s", name, option, kind)
    end
  end
  return options
end

local function check_id(id, name)
  if type(id) ~= "string" then
    errors.raise("invalid_argument", "%s: the id must be a string, not %s", name, type(id))
  end
  return id
end

--- Makes a transaction fail as a write of it has: nil and the error.
local function doom(handle, err)
  if handle then
    driver.txn_doom(handle, err.code, err.message)
  end
  return nil, err
end

-- ---- Writing

--- document by the driver's function. tx: the handle.
local function write(self, name, driver_function, document, options, tx)
  if type(document) ~= "table" then
    errors.raise("invalid_argument", "%s: the document must be a table, not %s", name, type(document))
  end
  local handle = transaction.handle(tx, name)
  local asked, err = host.evaluate(self.functions, document, options)
  if asked == nil then
    return doom(handle, err)
  end
  return driver_function(self.handle, handle, document, asked or nil, options and options.version)
end

--- Inserts: the document as stored. already_exists, unique_violation.
function Model:build(document, tx)
  return write(self, "build", driver.model_build, document, nil, tx)
end

--- options: with_events(…), { if_version = v }, { version = true } (returns the version as well).
function Model:build_with_options(document, options, tx)
  check_options(options, "build_with_options")
  return write(self, "build_with_options", driver.model_build, document, options, tx)
end

--- Replaces; not_found.
function Model:update(document, tx)
  return write(self, "update", driver.model_update, document, nil, tx)
end

function Model:update_with_options(document, options, tx)
  check_options(options, "update_with_options")
  return write(self, "update_with_options", driver.model_update, document, options, tx)
end

--- Inserts or replaces.
function Model:save(document, tx)
  return write(self, "save", driver.model_save, document, nil, tx)
end

function Model:save_with_options(document, options, tx)
  check_options(options, "save_with_options")
  return write(self, "save_with_options", driver.model_save, document, options, tx)
end

--- Runs work(handle) in the caller's transaction, or in one of its own.
local function in_transaction(self, tx, name, work)
  if tx ~= nil then
    local handle = transaction.handle(tx, name)
    return work(handle, function(err) return doom(handle, err) end)
  end
  return transaction.run(self.db, function(own)
    return work(own.handle, function(err) return nil, err end)
  end)
end

--- Merges changes (RFC 7396: tito.null removes a member) into the record; not_found.
function Model:patch(id, changes, tx)
  return self:patch_with_options(id, changes, nil, tx)
end

function Model:patch_with_options(id, changes, options, tx)
  check_id(id, "patch")
  errors.expect(changes, "table", "patch: the changes")
  check_options(options, "patch")
  if not self.functions.any then
    local asked = options and { operation = options.events, if_version = options.if_version }
    return driver.model_patch(self.handle, transaction.handle(tx, "patch"), id, changes, asked,
      options and options.version)
  end
  return in_transaction(self, tx, "patch", function(handle, fail)
    local merged, text = driver.model_merge(self.handle, handle, id, changes)
    if not merged then
      return fail(text)
    end
    local asked, err = host.evaluate(self.functions, merged, options)
    if asked == nil then
      return fail(err)
    end
    return driver.model_update(self.handle, handle, text, asked or nil, options and options.version)
  end)
end

--- Whether the record was there.
function Model:delete_by_id(id, tx)
  return driver.model_delete(self.handle, transaction.handle(tx, "delete_by_id"), check_id(id, "delete_by_id"))
end

--- The events of a delete are about the record as it was.
function Model:delete_by_id_with_options(id, options, tx)
  check_id(id, "delete_by_id_with_options")
  check_options(options, "delete_by_id_with_options")
  if not (options and options.events and self.functions.for_events) then
    local asked = options and { operation = options.events, if_version = options.if_version }
    return driver.model_delete(self.handle, transaction.handle(tx, "delete_by_id_with_options"), id, asked)
  end
  return in_transaction(self, tx, "delete_by_id_with_options", function(handle, fail)
    local document, find_err = driver.model_find(self.handle, handle, id)
    if not document then
      if find_err then
        return fail(find_err)
      end
      return false
    end
    local asked, err = host.evaluate(self.functions, document, options, true)
    if asked == nil then
      return fail(err)
    end
    return driver.model_delete(self.handle, handle, id, asked)
  end)
end

--- Makes the commit of tx fail with conflict when the record changes before it; not_found.
function Model:assert_current(id, tx)
  check_id(id, "assert_current")
  if tx == nil then
    errors.raise("invalid_argument", "assert_current: a transaction expected")
  end
  return driver.model_assert_current(self.handle, transaction.handle(tx, "assert_current"), id)
end

-- ---- Reading

local READ_OPTIONS = { relationships = "table", lock = true, wait = "number", version = "boolean" }

--- relationships, lock (seconds, negative: as long as the deadline allows; nil: none), version of find's options.
local function read_options(options)
  for name, value in pairs(options) do
    local kind = READ_OPTIONS[name]
    if not kind then
      errors.raise("invalid_argument", "find_by_id: there is no option '%s'", tostring(name))
    end
    if kind ~= true and type(value) ~= kind then
      errors.raise("invalid_argument", "find_by_id: the option '%s' must be a %s", name, kind)
    end
  end
  local lock
  if options.lock == "nowait" then
    lock = 0
  elseif options.lock == true then
    lock = options.wait or -1
  elseif options.lock then
    errors.raise("invalid_argument", "find_by_id: lock is true or 'nowait'")
  end
  return options.relationships, lock, options.version
end

local find = driver.model_find

--- The record, nil when there is none. relationships: a list of names of destinations, or a table of options:
-- { relationships =, lock = true or "nowait", wait = seconds, version = true (returns the version as well) }.
function Model:find_by_id(id, relationships, tx)
  if type(id) ~= "string" then
    check_id(id, "find_by_id")
  end
  if relationships == nil then
    return find(self.handle, tx and transaction.handle(tx, "find_by_id"), id)
  end
  errors.expect(relationships, "table", "find_by_id: the relationships")
  local lock, version
  if relationships[1] == nil then
    relationships, lock, version = read_options(relationships)
  end
  if lock and tx == nil then
    errors.raise("invalid_argument", "find_by_id: lock needs a transaction")
  end
  return find(self.handle, transaction.handle(tx, "find_by_id"), id, relationships, lock, version)
end

--- The list of the records that exist, in the order of ids.
function Model:find_many(ids, relationships, tx)
  errors.expect(ids, "table", "find_many: the ids")
  if relationships ~= nil then
    errors.expect(relationships, "table", "find_many: the relationships")
  end
  return driver.model_find_many(self.handle, transaction.handle(tx, "find_many"), ids, relationships)
end

--- A query by one of the model's indexes.
function Model:query_by_index(name)
  return query.new(self, errors.expect(name, "string", "query_by_index: the name of the index"))
end

local SCAN_OPTIONS = {
  limit = "limit", cursor = "cursor", reverse = "reverse", keys_only = "keys_only", relationships = "relationships",
}

--- A page of the whole table, by id. options: limit, cursor, reverse, keys_only, relationships.
function Model:scan(options, tx)
  local scan = query.new(self, nil)
  for name, value in pairs(errors.expect(options or {}, "table", "scan: the options")) do
    if not SCAN_OPTIONS[name] then
      errors.raise("invalid_argument", "scan: there is no option '%s'", tostring(name))
    elseif name == "relationships" then
      for _, path in ipairs(errors.expect(value, "table", "scan: relationships")) do
        scan:relationship(path)
      end
    elseif name == "limit" or name == "cursor" then
      scan[name](scan, value)
    elseif value then
      scan[name](scan)
    end
  end
  return scan:execute(tx)
end

return model
