--- Errors: one shape for what the library reports and for what is found here.
--
--     { code = "not_found", message = "…", retryable = false, table = "post", index = "by_tag" }
--
-- A failure that is expected is returned (nil, err). One that the calling program must be changed for is raised.
local errors = {}

local Error = { __name = "tito.error" }
Error.__index = Error
errors.metatable = Error

function Error.__tostring(err)
  return tostring(err.code) .. ": " .. tostring(err.message)
end

--- A new error. fields: more of it (table, index, cause, traceback), or nil.
function errors.new(code, message, fields)
  local err = { code = code, message = message, retryable = false }
  for name, value in pairs(fields or {}) do
    err[name] = value
  end
  return setmetatable(err, Error)
end

function errors.is(value)
  return getmetatable(value) == Error
end

local HERE = debug.getinfo(1, "S").source:match("^(.*[/\\\\])errors%.lua$") or "@tito/"

local function is_own(source)
  return source:sub(1, #HERE) == HERE or source == HERE:sub(1, -2) .. ".lua"
end

--- The nearest line of the calling program: the first on the stack that is neither in this folder nor tito.lua.
local function place()
  for level = 3, 20 do
    local info = debug.getinfo(level, "Sl")
    if not info then
      return ""
    end
    if info.currentline > 0 and not is_own(info.source) then
      return ("%s:%d: "):format(info.short_src, info.currentline)
    end
  end
  return ""
end

--- Raises an error that names the line of the program that is to be changed.
function errors.raise(code, message, ...)
  if select("#", ...) > 0 then
    message = message:format(...)
  end
  error(errors.new(code, place() .. message), 0)
end

--- Raises unless value is of the type; what names it ("the id").
function errors.expect(value, expected, what)
  if type(value) ~= expected then
    errors.raise("invalid_argument", "%s must be a %s, not %s", what, expected, type(value))
  end
  return value
end

--- What an arbitrary value that was raised or returned as an error says. Never raises.
function errors.text(value)
  local ok, text = pcall(tostring, value)
  return ok and type(text) == "string" and text or "an error that can not be shown"
end

--- An error of a cause: a copy of it when it is one of ours, else one with the given code.
function errors.because(cause, code, traceback)
  if not errors.is(cause) then
    return errors.new(code, errors.text(cause), { cause = cause, traceback = traceback })
  end
  local err = {}
  for name, value in pairs(cause) do
    err[name] = value
  end
  err.cause, err.traceback = cause, traceback or cause.traceback
  return setmetatable(err, Error)
end

return errors
