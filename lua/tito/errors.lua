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

local own = { HERE }

--- Counts the files of a folder ("@…/", as debug.getinfo writes it) as tito's own: errors do not name their lines.
function errors.own_folder(source)
  own[#own + 1] = source
end

local function is_own(source)
  for _, folder in ipairs(own) do
    if source:sub(1, #folder) == folder or source == folder:sub(1, -2) .. ".lua" then
      return true
    end
  end
  return false
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

--- What is raised for an error: it itself, unless a host shows only text to those who do not catch it.
function errors.raised(err)
  return err
end

--- Raises an error.
function errors.throw(err)
  error(errors.raised(err), 0)
end

--- Raises an error that names the line of the program that is to be changed.
function errors.raise(code, message, ...)
  if select("#", ...) > 0 then
    message = message:format(...)
  end
  errors.throw(errors.new(code, place() .. message))
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
