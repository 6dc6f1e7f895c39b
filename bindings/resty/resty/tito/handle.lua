--- Handles of the library as Lua tables, and the library's errors as error tables.
--
--     { kind = "model", ptr = a pointer with a finalizer, db = the handle of its database } ── ended: ptr is nil
--
-- INVARIANTS
--  1. A pointer is released once: by its finalizer, or by take() and its own function.
--  2. While a function of a model runs, no handle can be used in its coroutine.
--  3. Once the Lua state is being closed no pointer is used: LuaJIT then runs the finalizers of pointers, all of them,
--     before those of other objects, which may call tito.
local library = require "resty.tito.library"
local errors = require "tito.errors"
local json = require "resty.tito.json"

local ffi, lib = library.ffi, library.lib

local handle = {}

errors.own_folder(debug.getinfo(1, "S").source:match("^(.*[/\\\\])handle%.lua$") or "@resty/tito/")

local closing = false
--- witness: a pointer like those of handles; it is collected with the last of them, or when the state is closed.
local Handle = { __name = "tito.handle", witness = ffi.gc(ffi.new("char[1]"), function() closing = true end) }

function Handle.__tostring(self)
  return ("tito.%s%s"):format(self.kind, self.ptr == nil and " (released)" or "")
end

-- ---- Errors

--- Where the library puts its error. Not kept across a yield.
handle.error_box = ffi.new("tito_error_t *[1]")

local function text_of(slice)
  return slice.len > 0 and ffi.string(slice.data, slice.len) or nil
end
handle.text_of = text_of

local codes = {}
for _, first in ipairs { 0, 100, 200, 300, 400, 500, 600 } do
  for status = first, first + 20 do
    codes[ffi.string(lib.tito_status_name(status))] = codes[ffi.string(lib.tito_status_name(status))] or status
  end
end
codes.internal = lib.TITO_INTERNAL

--- The status of a code.
function handle.status_of(code)
  return codes[code] or lib.TITO_INTERNAL
end

--- nil and the error table of a status; err: the library's error, which is freed, or NULL.
function handle.fail(status, err)
  local message = text_of(lib.tito_error_message(err)) or "no more is known"
  local class = math.floor(status / 100)
  local fields = { table = text_of(lib.tito_error_table(err)), index = text_of(lib.tito_error_index(err)) }
  if err ~= nil then
    fields.retryable = lib.tito_error_retryable(err) ~= 0
  else
    fields.retryable = class == 2 or class == 3
  end
  if status == lib.TITO_OUTCOME_UNKNOWN or lib.tito_error_outcome_unknown(err) ~= 0 then
    fields.outcome_unknown = true
  end
  lib.tito_error_free(err)
  return nil, errors.new(ffi.string(lib.tito_status_name(status)), message, fields)
end

--- The same for the error that is in error_box.
function handle.fail_box(status)
  return handle.fail(status, handle.error_box[0])
end

--- The same with a message of ours.
function handle.fail_text(status, message)
  return nil, errors.new(ffi.string(lib.tito_status_name(status)), message,
    { retryable = status >= 200 and status < 400 })
end

--- A value's text; raises nothing: nil and an error.
function handle.encode(value)
  local text, code, message = json.encode(value)
  if not text then
    return nil, errors.new(code, message)
  end
  return text
end

--- Raises when the Lua state is being closed.
function handle.expect_life()
  if closing then
    errors.raise("closed", "the Lua state is being closed: tito can not be called by finalizers that run then")
  end
end

--- The value of bytes: the value; or nil and an error. Bytes that hold null give tito.null.
function handle.decode(data, len)
  handle.expect_life()
  local ok, value, message = json.decode(data, len)
  if not ok then
    return handle.fail_text(value, message)
  end
  return value
end

-- ---- Functions of models

local busy = setmetatable({}, { __mode = "k" })

local function current()
  return coroutine.running() or busy
end

--- Raises while a function of a model runs in this coroutine.
local function expect_free()
  if busy[current()] then
    errors.raise("invalid_state",
      "a function of a model (condition, events, partition_key, references) may not call tito")
  end
end

--- Calls a function of a model: true and its first result, or false and what it raised. It can not call tito, and
-- outside of nginx it can not yield. (Inside, its request may: nothing of ours waits for it.)
function handle.call_host(fn, document)
  expect_free()
  local this = current()
  local ok, result
  local function call()
    ok, result = pcall(fn, document)
  end
  busy[this] = true
  if ngx and ngx.get_phase then
    call()
  else
    -- A callback of a C function: a yield in it is an error.
    local passed, raised = pcall(string.gsub, "x", "x", call)
    if not passed then
      ok, result = false, raised
    end
  end
  busy[this] = nil
  return ok, result
end

-- ---- Handles

--- A handle. ptr: with its finalizer, or nil while it has none yet.
function handle.new(kind, db, ptr)
  return setmetatable({ kind = kind, db = db, ptr = ptr }, Handle)
end

local NOUNS = { txn = "transaction", db = "database", steps = "maintenance run" }

--- Raises unless h is a handle of the kind that has not ended; returns it.
function handle.check(h, kind)
  handle.expect_life()
  if getmetatable(h) ~= Handle or h.kind ~= kind then
    errors.raise("invalid_argument", "%s expected, got %s", NOUNS[kind] or kind, type(h))
  end
  if h.ended then
    errors.raise("invalid_state", "the %s has ended", NOUNS[kind] or kind)
  end
  expect_free()
  return h
end

--- Takes the pointer out, without its finalizer.
function handle.take(h)
  local ptr = h.ptr
  h.ptr, h.ended = nil, true
  return ptr ~= nil and ffi.gc(ptr, nil) or nil
end

-- ---- Arguments

--- The library's options of a table; a pointer with a finalizer, or nil. Raises for values of wrong types.
function handle.options(given)
  if given == nil then
    return nil
  end
  local options = lib.tito_options_new()
  if options == nil then
    errors.raise("out_of_memory", "there is no memory for options")
  end
  ffi.gc(options, lib.tito_options_free)
  for name, value in pairs(given) do
    local text = type(value) == "string" and value or nil
    if type(value) == "boolean" then
      text = tostring(value)
    elseif type(value) == "number" and value == math.floor(value) and math.abs(value) < 2 ^ 63 then
      text = ("%.0f"):format(value)
    end
    if type(name) ~= "string" or not text then
      errors.raise("invalid_argument", "option '%s' has a value of a wrong type (%s)", tostring(name), type(value))
    end
    if lib.tito_options_set(options, name, text, #text) ~= lib.TITO_OK then
      errors.raise("out_of_memory", "there is no memory for the option '%s'", name)
    end
  end
  return options
end

--- Seconds as microseconds for the library.
function handle.microseconds(seconds)
  if type(seconds) ~= "number" then
    errors.raise("invalid_argument", "a time must be a number of seconds, not %s", type(seconds))
  end
  local us = math.floor(seconds * 1e6 + 0.5)
  if not (us >= -9.2e18 and us <= 9.2e18) then
    errors.raise("invalid_argument", "a time of %f seconds is out of range", seconds)
  end
  return ffi.cast("int64_t", us)
end

return handle
