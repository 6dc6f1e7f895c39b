--- Transactions: the handle that operations take, and the loop that runs a function in one.
--
--     open ── commit, rollback, the end of the function or of the event's handler ──> ended: every use raises
--
-- INVARIANT: tx.handle is set exactly while the transaction is open.
local driver = require "tito.driver"
local errors = require "tito.errors"
local values = require "tito.values"

local transaction = {}

local Tx = { __name = "tito.transaction" }
local methods = {}

local OPTIONS = {
  age = "seconds", timeout = "seconds", attempts = "number", read_only = "boolean", causal = "boolean",
}

--- The driver's handle for an operation; nil for no transaction. name: of the operation, for messages.
function transaction.handle(tx, name)
  if tx == nil then
    return nil
  end
  if getmetatable(tx) ~= Tx then
    errors.raise("invalid_argument", "%s: a transaction expected, got %s", name, type(tx))
  end
  local handle = tx.handle
  if not handle then
    errors.raise("invalid_state", "%s: the transaction has ended", name)
  end
  return handle
end

local function own_handle(tx, name)
  local handle = transaction.handle(tx, name)
  if rawget(tx, "managed") then
    errors.raise("invalid_state", "%s: this transaction is ended by %s", name, tx.managed)
  end
  return handle
end

--- Commits: the commit's version, or nil and an error. The transaction has ended either way.
function methods.commit(tx)
  local handle = own_handle(tx, "commit")
  tx.handle = false
  return driver.txn_commit(handle)
end

function methods.rollback(tx)
  local handle = own_handle(tx, "rollback")
  tx.handle = false
  return driver.txn_rollback(handle)
end

--- start_version and, for an event, the handle are found when they are first asked for.
function Tx.__index(tx, name)
  local method = methods[name]
  if method then
    return method
  end
  if name == "start_version" then
    return driver.txn_start_version(transaction.handle(tx, "start_version"))
  end
  local event = name == "handle" and rawget(tx, "event")
  if event then
    local handle, err = driver.event_txn(event)
    if not handle then
      error(err, 0)
    end
    rawset(tx, "handle", handle)
    return handle
  end
end

function Tx.__tostring(tx)
  return "tito.transaction" .. (rawget(tx, "handle") == false and " (ended)" or "")
end

--- For `local tx <close> = db:begin()`.
function Tx.__close(tx)
  local handle = rawget(tx, "handle")
  if handle and not rawget(tx, "managed") then
    tx.handle = false
    driver.txn_free(handle)
  end
end

local function begin(db, options)
  return driver.txn_begin(db.handle, values.options(options, OPTIONS, "transaction"))
end

--- A transaction that the caller ends.
function transaction.begin(db, options)
  local handle, err = begin(db, options)
  if not handle then
    return nil, err
  end
  return setmetatable({ handle = handle }, Tx)
end

--- The transaction of an event, begun when it is first used.
function transaction.of_event(event)
  return setmetatable({ event = event, managed = "the event's handler" }, Tx)
end

--- Ends the use of a transaction that somebody else ends.
function transaction.close(tx)
  rawset(tx, "event", nil)
  rawset(tx, "handle", false)
end

local function traced(cause)
  return { cause = cause, traceback = debug.traceback("", 2) }
end

--- Whether the function's results ask for a rollback.
local function has_failed(results)
  return results.n > 1 and not results[1] and results[2] ~= nil and results[2] ~= false
end

local function collect(ok, ...)
  return ok, { n = select("#", ...), ... }
end

local unpack = table.unpack or unpack -- luacheck: ignore 143

--- One attempt: the results of fn, or nil and why not.
local function attempt(handle, fn, tx)
  local ok, results = collect(xpcall(fn, traced, tx))
  if not ok then
    local failure = results[1]
    if type(failure) ~= "table" or failure.traceback == nil then -- the handler itself failed
      failure = { cause = failure }
    end
    return nil, errors.because(failure.cause, "handler_failed", failure.traceback)
  end
  if has_failed(results) then
    return nil, errors.because(results[2], "handler_failed")
  end
  local version, err = driver.txn_attempt_commit(handle)
  if not version then
    return nil, err
  end
  return results
end

--- Runs fn(tx) in a transaction and commits; again, with a fresh snapshot, when it met a conflict.
function transaction.run(db, fn, options)
  errors.expect(fn, "function", "the argument of transaction")
  local handle, err = begin(db, options)
  if not handle then
    return nil, err
  end
  while true do
    local tx = setmetatable({ handle = handle, managed = "db:transaction" }, Tx)
    local results, failure = attempt(handle, fn, tx)
    tx.handle = false
    if results then
      driver.txn_free(handle)
      if results.n == 0 then
        return true
      end
      return unpack(results, 1, results.n)
    end
    local again = failure.retryable and driver.txn_retry(handle, failure.code)
    if not again then
      driver.txn_free(handle)
      return nil, failure
    end
  end
end

return transaction
