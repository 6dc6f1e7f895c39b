--- What futures have, and the operations on databases, transactions, models and queries, as bindings/lua/README.md
-- lists them.
--
-- INVARIANT: between filling what is shared (the write) and making a future nothing yields.
local library = require "resty.tito.library"
local database = require "resty.tito.database"
local errors = require "tito.errors"
local handle = require "resty.tito.handle"
local json = require "resty.tito.json"
local wait = require "resty.tito.wait"

local ffi, lib = library.ffi, library.lib
local box, check, encode, run = handle.error_box, handle.check, handle.encode, database.run

local operations = {}

-- ---- Results

local function document(future)
  local text = lib.tito_future_bytes(future)
  return handle.decode(text.data, text.len)
end

local function versioned(future)
  local value, err = document(future)
  if value == nil then
    return nil, err
  end
  return value, json.integer(lib.tito_future_int(future))
end

local function whole(future)
  return json.integer(lib.tito_future_int(future))
end

local function flag(future)
  return lib.tito_future_int(future) ~= 0
end

local function yes()
  return true
end

local function text_of(future)
  local text = lib.tito_future_bytes(future)
  return ffi.string(text.data, text.len)
end

local array_metatable

function operations.setup(error_metatable, array)
  array_metatable = array
  json.setup(array)
end

local function items_of(page)
  local items = setmetatable({}, array_metatable)
  for i = 0, tonumber(lib.tito_page_count(page)) - 1 do
    local text = lib.tito_page_document(page, i)
    if text.len > 0 then
      local item, err = handle.decode(text.data, text.len)
      if item == nil then
        return nil, err
      end
      items[i + 1] = item
    else
      items[i + 1] = { id = handle.text_of(lib.tito_page_id(page, i)) }
    end
  end
  return items
end

local function items(future)
  local page = ffi.gc(lib.tito_future_page(future), lib.tito_page_free)
  return items_of(page)
end

local function page(future)
  local ours = ffi.gc(lib.tito_future_page(future), lib.tito_page_free)
  local list, err = items_of(ours)
  if not list then
    return nil, err
  end
  return { items = list, cursor = handle.text_of(lib.tito_page_cursor(ours)) }
end

operations.results = { document = document, yes = yes, page = page }

-- ---- Databases

--- A function of the library's that takes a pointer alone; the FFI wants no more arguments than there are.
local function of_pointer(name)
  local fn = lib[name]
  return function(ptr) return fn(ptr) end
end
operations.of_pointer = of_pointer

local function of_db(name, make, push)
  operations[name] = function(db, ...)
    check(db, "db")
    local a, b = ...
    return run(db, name, function() return make(db.ptr, a, b) end, push)
  end
end

of_db("db_now", of_pointer "tito_db_now", function(future) return tonumber(lib.tito_future_int(future)) / 1e6 end)
of_db("db_stats", of_pointer "tito_db_stats", document)
of_db("db_schema", of_pointer "tito_db_schema", document)
of_db("db_metrics", of_pointer "tito_db_metrics", text_of)
of_db("db_schedules", of_pointer "tito_db_schedules", document)
of_db("db_queues", of_pointer "tito_db_queues", document)
of_db("db_gc", function(ptr, retention) return lib.tito_db_gc(ptr, handle.microseconds(retention)) end, yes)
of_db("db_cluster", function(ptr, given)
  local options = handle.options(given)
  return lib.tito_db_cluster(ptr, options)
end, document)
of_db("db_drop_table", function(ptr, name) return lib.tito_db_drop_table(ptr, name, #name) end, yes)
of_db("db_drop_index", function(ptr, name, index)
  return lib.tito_db_drop_index(ptr, name, #name, index, #index)
end, yes)
of_db("db_unschedule", function(ptr, name) return lib.tito_db_unschedule(ptr, name, #name) end, yes)
of_db("db_schedule", function(ptr, spec)
  local text, err = encode(spec)
  if not text then
    return nil, err
  end
  return lib.tito_db_schedule(ptr, text, #text)
end, yes)

-- ---- Transactions

--- Ends a transaction that nobody ends any more. In nginx the rollback is the library's threads' work: it may have to
-- tell servers. Called by finalizers too.
local function release(ptr)
  if not wait.in_nginx or lib.tito_txn_is_open(ptr) == 0 then
    return lib.tito_txn_free(ptr)
  end
  ptr = ffi.cast("tito_txn_t *", ptr)
  local future = ffi.gc(lib.tito_txn_rollback(ptr), lib.tito_future_free)
  local ok, status = pcall(wait.later, future, function() lib.tito_txn_free(ptr) end)
  if not ok or status ~= lib.TITO_OK then
    lib.tito_txn_free(ptr)
  end
end

function operations.txn_begin(db, given)
  check(db, "db")
  local ok, why = database.ready(db, "begin")
  if not ok then
    return nil, why
  end
  local out, counts = ffi.new("tito_txn_t *[1]"), db.counts
  local status = lib.tito_txn_begin(db.ptr, handle.options(given), out, box)
  if status ~= lib.TITO_OK then
    return handle.fail_box(status)
  end
  counts.transactions = counts.transactions + 1
  return handle.new("txn", db, ffi.gc(out[0], function(ptr)
    counts.transactions = counts.transactions - 1
    release(ptr)
  end))
end

--- The handle of an event's transaction, which is ended by the event.
function operations.lend_txn(db, ptr)
  local txn = handle.new("txn", db, ptr)
  txn.lent = true
  return txn
end

local function own(txn)
  check(txn, "txn")
  if txn.lent then
    errors.raise("invalid_state", "the transaction of an event ends with its handler")
  end
  return txn
end

local function finish(txn)
  local counts = txn.db.counts
  local ptr = handle.take(txn)
  if ptr ~= nil then
    counts.transactions = counts.transactions - 1
    release(ptr)
  end
end

local function of_txn(name, make, push)
  operations[name] = function(txn, ...)
    check(txn, "txn")
    local a = ...
    return run(txn.db, name, function() return make(txn.ptr, a) end, push)
  end
end

of_txn("txn_attempt_commit", of_pointer "tito_txn_commit", whole)
of_txn("txn_start_version", of_pointer "tito_txn_start_version", whole)
of_txn("txn_retry", function(ptr, code) return lib.tito_txn_retry(ptr, handle.status_of(code)) end, yes)

function operations.txn_commit(txn)
  local version, err = operations.txn_attempt_commit(own(txn))
  finish(txn)
  return version, err
end

function operations.txn_rollback(txn)
  own(txn)
  local ok, err = run(txn.db, "rollback", function() return lib.tito_txn_rollback(txn.ptr) end, yes)
  finish(txn)
  return ok, err
end

function operations.txn_free(txn)
  if not txn.ended then
    finish(own(txn))
  end
end

function operations.txn_doom(txn, code, message)
  check(txn, "txn")
  return lib.tito_txn_doom(txn.ptr, handle.status_of(code), message, #message) == lib.TITO_OK
end

function operations.txn_is_open(txn)
  return txn.ptr ~= nil and lib.tito_txn_is_open(txn.ptr) ~= 0
end

--- The pointer of a transaction that may be absent.
local function txn_ptr(txn)
  return txn and check(txn, "txn").ptr
end

-- ---- What the host's functions said of a document

local shared_write = ffi.gc(lib.tito_write_new(), lib.tito_write_free)

--- Dooms the transaction as a failed write of the library's does: nil and the error.
local function fail_write(txn, err)
  if txn then
    lib.tito_txn_doom(txn.ptr, handle.status_of(err.code), err.message, #err.message)
  end
  return nil, err
end

local function set_json(write, set, value)
  if value == nil then
    return lib.TITO_OK
  end
  local text, err = encode(value)
  if not text then
    return nil, err
  end
  return set(write, text, #text)
end

local function set_text(write, set, value)
  return value and set(write, value, #value) or lib.TITO_OK
end

local function version_of(value)
  if type(value) == "cdata" then
    return ffi.cast("uint64_t", value)
  end
  return value
end

--- Fills the shared write from the table: it; or nil and an error. Not kept across a yield.
local function fill_write(given)
  if given == nil then
    return nil
  end
  local write = shared_write
  lib.tito_write_reset(write)
  local bits = ffi.cast("uint64_t", given.high or 0) * 4294967296ULL + ffi.cast("uint64_t", given.low or 0)
  local steps = {
    function() return lib.tito_write_conditions(write, bits) end,
    function() return set_text(write, lib.tito_write_operation, given.operation) end,
    function() return set_text(write, lib.tito_write_partition_key, given.partition_key) end,
    function() return set_json(write, lib.tito_write_events, given.events) end,
    function() return set_json(write, lib.tito_write_references, given.references) end,
    function()
      return given.if_version == nil and lib.TITO_OK or lib.tito_write_if_version(write, version_of(given.if_version))
    end,
  }
  for _, step in ipairs(steps) do
    local status, err = step()
    if not status then
      return nil, err
    elseif status ~= lib.TITO_OK then
      return handle.fail_text(status, "the events, partition key or references are not valid")
    end
  end
  return write
end

-- ---- Models

function operations.model_declare(db, spec)
  check(db, "db")
  local text, err = encode(spec)
  if not text then
    return nil, err
  end
  return database.child(db, "model", function(db_ptr)
    local out = ffi.new("tito_model_t *[1]")
    local status = lib.tito_model_declare(db_ptr, text, #text, out, box)
    if status ~= lib.TITO_OK then
      return handle.fail_box(status)
    end
    return ffi.gc(out[0], lib.tito_model_free)
  end)
end

--- Runs a write: make(model pointer, transaction pointer, write).
local function write(model, txn, name, given, push, make)
  return run(model.db, name, function()
    local filled, err = fill_write(given)
    if err then
      return fail_write(txn, err)
    end
    return make(model.ptr, txn_ptr(txn), filled)
  end, push)
end

local function of_document(name, make)
  operations[name] = function(model, txn, value, given, is_versioned)
    check(model, "model")
    txn_ptr(txn)
    local text, err = value
    if type(value) ~= "string" then
      text, err = encode(value)
      if not text then
        return fail_write(txn, err)
      end
    end
    return write(model, txn, name, given, is_versioned and versioned or document, function(ptr, txn_pointer, filled)
      return make(ptr, txn_pointer, text, #text, filled)
    end)
  end
end

of_document("model_build", lib.tito_model_build)
of_document("model_update", lib.tito_model_update)
of_document("model_save", lib.tito_model_save)

function operations.model_patch(model, txn, id, changes, given, is_versioned)
  check(model, "model")
  txn_ptr(txn)
  local text, err = encode(changes)
  if not text then
    return fail_write(txn, err)
  end
  return write(model, txn, "patch", given, is_versioned and versioned or document, function(ptr, txn_pointer, filled)
    return lib.tito_model_patch(ptr, txn_pointer, id, #id, text, #text, filled)
  end)
end

local function merged(future)
  local value, err = document(future)
  if value == nil then
    return nil, err
  end
  return value, text_of(future), whole(future)
end

function operations.model_merge(model, txn, id, changes)
  check(model, "model")
  txn_ptr(txn)
  local text, err = encode(changes)
  if not text then
    return fail_write(txn, err)
  end
  return run(model.db, "patch", function()
    return lib.tito_model_merge(model.ptr, txn_ptr(txn), id, #id, text, #text)
  end, merged)
end

function operations.model_delete(model, txn, id, given)
  check(model, "model")
  txn_ptr(txn)
  return write(model, txn, "delete_by_id", given, flag, function(ptr, txn_pointer, filled)
    return lib.tito_model_delete(ptr, txn_pointer, id, #id, filled)
  end)
end

function operations.model_assert_current(model, txn, id)
  check(model, "model")
  return run(model.db, "assert_current", function()
    return lib.tito_model_assert_current(model.ptr, txn_ptr(txn), id, #id)
  end, yes)
end

--- How to read, of a list of relationships and a lock's wait in seconds: a pointer, nil, or nil and an error.
local function read_of(relationships, lock)
  if relationships == nil and lock == nil then
    return nil
  end
  local read = ffi.gc(lib.tito_read_new(), lib.tito_read_free)
  local status = lib.TITO_OK
  for _, path in ipairs(relationships or {}) do
    if type(path) ~= "string" then
      status = lib.TITO_INVALID_ARGUMENT
    end
    status = status == lib.TITO_OK and lib.tito_read_relationship(read, path, #path) or status
  end
  if status == lib.TITO_OK and lock ~= nil then
    status = lib.tito_read_lock(read, handle.microseconds(lock))
  end
  if status ~= lib.TITO_OK then
    return handle.fail_text(status,
      'relationships are a list of names of destinations ("tags", "tags.category")')
  end
  return read
end

function operations.model_find(model, txn, id, relationships, lock, is_versioned)
  check(model, "model")
  local read, err = read_of(relationships, lock)
  if err then
    return nil, err
  end
  txn_ptr(txn)
  return run(model.db, "find_by_id", function()
    return lib.tito_model_find(model.ptr, txn_ptr(txn), id, #id, read)
  end, is_versioned and versioned or document, true)
end

function operations.model_find_many(model, txn, ids, relationships)
  check(model, "model")
  local read, err = read_of(relationships)
  if err then
    return nil, err
  end
  txn_ptr(txn)
  local text, why = encode(ids)
  if not text then
    return nil, why
  end
  text = text == "{}" and "[]" or text
  return run(model.db, "find_many", function()
    return lib.tito_model_find_many(model.ptr, txn_ptr(txn), text, #text, read)
  end, items)
end

-- ---- Queries

local function add_value(query, value)
  local text, err = encode(value)
  if not text then
    return nil, err
  end
  return lib.tito_query_value(query, text, #text)
end

local function add_bound(query, op, value)
  local text, err = encode(value)
  if not text then
    return nil, err
  end
  return lib.tito_query_bound(query, op, text, #text)
end

--- Calls add for each part of a query's table until one fails: a status; or nil and an error.
local function fill_query(query, form)
  local status, err = lib.TITO_OK, nil
  local function add(function_, ...)
    if status == lib.TITO_OK then
      status, err = function_(query, ...)
    end
  end
  for i = 1, form.values.n do
    add(add_value, form.values[i])
  end
  for i = 1, #form.bounds - 1, 2 do
    add(add_bound, form.bounds[i], form.bounds[i + 1])
  end
  for _, path in ipairs(form.relationships) do
    add(lib.tito_query_relationship, path, #path)
  end
  if form.limit then
    add(lib.tito_query_limit, form.limit)
  end
  if form.cursor then
    add(lib.tito_query_cursor, form.cursor, #form.cursor)
  end
  add(lib.tito_query_reverse, form.reverse and 1 or 0)
  add(lib.tito_query_keys_only, form.keys_only and 1 or 0)
  return status, err
end

--- The query of a table, a pointer; or nil and an error.
local function make_query(model_ptr, form)
  local out = ffi.new("tito_query_t *[1]")
  local status
  if form.index then
    status = lib.tito_query_new(model_ptr, form.index, #form.index, out, box)
  else
    status = lib.tito_query_scan(model_ptr, out, box)
  end
  if status ~= lib.TITO_OK then
    return handle.fail_box(status)
  end
  local query = ffi.gc(out[0], lib.tito_query_free)
  local _, err = fill_query(query, form)
  if err then
    return nil, err
  end
  return query -- a part that was refused is told by the execution
end

local function of_query(name, make, push)
  operations[name] = function(model, txn, form)
    check(model, "model")
    txn_ptr(txn)
    return run(model.db, name, function()
      local query, err = make_query(model.ptr, form)
      if not query then
        return nil, err
      end
      return make(query, txn_ptr(txn))
    end, push, true)
  end
end

of_query("query_execute", lib.tito_query_execute, page)
of_query("query_first", lib.tito_query_first, document)
of_query("query_count", lib.tito_query_count, whole)
of_query("query_explain", function(query) return lib.tito_query_explain(query) end, document)

-- ---- Maintenance

local STEPS = { [0] = "done", "more", "host" }

function operations.steps_open(model, kind, given)
  check(model, "model")
  local ok, why = database.ready(model.db, kind)
  if not ok then
    return nil, why
  end
  local out = ffi.new("tito_steps_t *[1]")
  local open = kind == "check" and lib.tito_check_open or lib.tito_reindex_open
  local status = open(model.ptr, handle.options(given), out, box)
  if status ~= lib.TITO_OK then
    return handle.fail_box(status)
  end
  return handle.new("steps", model.db, ffi.gc(out[0], lib.tito_steps_free))
end

function operations.steps_next(steps)
  check(steps, "steps")
  return run(steps.db, "steps", function() return lib.tito_steps_next(steps.ptr) end, function(future)
    local step = STEPS[tonumber(lib.tito_future_int(future))] or "unknown"
    if lib.tito_future_bytes(future).len == 0 then
      return step, {}
    end
    local info, err = document(future)
    return step, info, err
  end)
end

function operations.steps_count(steps)
  return tonumber(lib.tito_steps_count(check(steps, "steps").ptr))
end

function operations.steps_document(steps, i)
  local text = lib.tito_steps_document(check(steps, "steps").ptr, i - 1)
  return handle.decode(text.data, text.len)
end

function operations.steps_reply(steps, i, low, high)
  local bits = ffi.cast("uint64_t", high) * 4294967296ULL + ffi.cast("uint64_t", low)
  local status = lib.tito_steps_reply(check(steps, "steps").ptr, i - 1, bits)
  if status ~= lib.TITO_OK then
    return handle.fail_text(status, ("the conditions of document %d were refused"):format(i))
  end
  return true
end

function operations.steps_free(steps)
  check(steps, "steps")
  local ptr = handle.take(steps)
  if ptr then
    lib.tito_steps_free(ptr)
  end
end

return operations
