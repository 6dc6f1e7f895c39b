--- Values that JSON has and Lua has not: null, and lists that know that they are lists.
local driver = require "tito.driver"
local errors = require "tito.errors"

local values = {}

--- The metatable of lists, so that an empty one stays a list.
local Array = { __name = "tito.array", __jsontype = "array" }

driver.setup(errors.metatable, Array)

values.null = driver.null

--- Marks t as a list and returns it; without t a new one.
function values.array(t)
  if t == nil then
    t = {}
  end
  errors.expect(t, "table", "the argument of array")
  local known = getmetatable(t)
  if known ~= nil and known ~= Array then
    errors.raise("invalid_argument", "array: the table has a metatable already")
  end
  return setmetatable(t, Array)
end

--- A table of options with only the names that are known; raises for others. known: name → "seconds" (becomes
-- microseconds under the name .. "_us"), or a type.
function values.options(given, known, what)
  local out = {}
  for name, value in pairs(errors.expect(given or {}, "table", what)) do
    local kind = known[name]
    if not kind then
      errors.raise("invalid_argument", "%s: there is no option '%s'", what, tostring(name))
    end
    if kind == "seconds" then
      errors.expect(value, "number", ("%s: %s"):format(what, name))
      out[name .. "_us"] = values.integer(value * 1e6)
    elseif kind ~= "ours" then
      errors.expect(value, kind, ("%s: %s"):format(what, name))
      out[name] = value
      if kind == "number" then
        out[name] = values.integer(value)
      end
    end
  end
  return out
end

local to_integer = math.tointeger or function(x) return x end

--- A whole number of x, rounded; an integer where there are integers.
function values.integer(x)
  return to_integer(math.floor(x + 0.5)) or x
end

return values
