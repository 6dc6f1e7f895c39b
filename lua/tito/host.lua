--- What a model's functions (conditions, events, partition_key, references) say of a document, as the driver takes it.
--
--     document ── as it will be stored: destinations removed, defaults added ──> functions ──> { low, high, … }
--
-- A function that raises fails the write, and the error names it. While one runs, tito can not be called.
local driver = require "tito.driver"
local errors = require "tito.errors"

local host = {}

--- Splits a dotted path.
local function steps_of(path)
  local steps = {}
  for step in path:gmatch("[^.]+") do
    steps[#steps + 1] = step
  end
  return steps
end

-- ---- The spec

local function copy(t)
  local out = {}
  for name, value in pairs(t) do
    out[name] = value
  end
  return setmetatable(out, getmetatable(t))
end

--- The indexes with their condition functions replaced by "host"; adds { name, fn } to conditions.
local function plain_indexes(indexes, conditions)
  if indexes == nil then
    return nil
  end
  local out = {}
  for i, index in ipairs(indexes) do
    out[i] = index
    if type(index) == "table" and type(index.condition) == "function" then
      conditions[#conditions + 1] = { name = index.name, fn = index.condition }
      out[i] = copy(index)
      out[i].condition = "host"
    end
  end
  return out
end

--- Relationships may name a model by its table or by the model itself.
local function plain_relationships(relationships)
  if relationships == nil then
    return nil
  end
  local out = {}
  for i, relationship in ipairs(relationships) do
    out[i] = relationship
    if type(relationship) == "table" and type(relationship.model) == "table" then
      out[i] = copy(relationship)
      out[i].model = relationship.model.table
    end
  end
  return out
end

local function defaults_of(fields)
  local out = {}
  for path, field in pairs(fields or {}) do
    if type(path) == "string" and type(field) == "table" and field.default ~= nil then
      out[#out + 1] = { steps = steps_of(path), value = field.default }
    end
  end
  return out
end

local function destinations_of(relationships)
  local out = {}
  for _, relationship in ipairs(relationships or {}) do
    local path = type(relationship) == "table" and relationship.destination_field_name
    if type(path) == "string" then
      out[#out + 1] = steps_of(path)
    end
  end
  return out
end

--- Takes a spec apart: the plain one for the library, and what the host has to do for each write.
function host.take(spec)
  for _, name in ipairs { "indexes", "unique_indexes", "relationships", "fields" } do
    errors.expect(spec[name] or {}, "table", "model: " .. name)
  end
  local plain, functions = copy(spec), { conditions = {}, table = spec.table }
  plain.indexes = plain_indexes(spec.indexes, functions.conditions)
  plain.unique_indexes = plain_indexes(spec.unique_indexes, functions.conditions)
  plain.relationships = plain_relationships(spec.relationships)
  for _, name in ipairs { "events", "partition_key", "references" } do
    if type(spec[name]) == "function" then
      functions[name] = spec[name]
      plain[name] = "host"
    end
  end
  functions.has_conditions = #functions.conditions > 0
  functions.for_events = functions.events or functions.partition_key or functions.references
  functions.any = functions.has_conditions or functions.for_events ~= nil
  functions.defaults = defaults_of(spec.fields)
  functions.destinations = destinations_of(spec.relationships)
  return plain, functions
end

-- ---- The document as it will be stored

--- document without the path; shared with the original where nothing changes.
local function without(document, steps, from)
  if type(document) ~= "table" then
    return document
  end
  if document[1] ~= nil then
    local out
    for i, item in ipairs(document) do
      local changed = without(item, steps, from)
      if changed ~= item then
        out = out or copy(document)
        out[i] = changed
      end
    end
    return out or document
  end
  local name = steps[from]
  local value = document[name]
  if value == nil then
    return document
  end
  local changed = from < #steps and without(value, steps, from + 1) or nil
  if changed == value then
    return document
  end
  local out = copy(document)
  out[name] = changed
  return out
end

--- document with value at the path when nothing is there.
local function with_default(document, steps, from, value)
  local name = steps[from]
  local member = document[name]
  if from < #steps then
    if member == nil then
      member = {}
    elseif type(member) ~= "table" then
      return document
    end
    local changed = with_default(member, steps, from + 1, value)
    if changed == member and document[name] ~= nil then
      return document
    end
    member = changed
  elseif member ~= nil then
    return document
  else
    member = value
  end
  local out = copy(document)
  out[name] = member
  return out
end

local function as_stored(functions, document)
  for _, steps in ipairs(functions.destinations) do
    document = without(document, steps, 1)
  end
  for _, default in ipairs(functions.defaults) do
    document = with_default(document, default.steps, 1, default.value)
  end
  return document
end

-- ---- Calling

local function failed(functions, what, index, cause)
  local message = ("table '%s': %s failed: %s; nothing was written"):format(functions.table, what, errors.text(cause))
  return nil, errors.new("handler_failed", message, { table = functions.table, index = index, cause = cause })
end

local call = driver.call_host

--- Sets the condition bits of write: condition k is bit k - 1, low holds 32.
local function evaluate_conditions(functions, document, write)
  local low, high, weight = 0, 0, 1
  for k, condition in ipairs(functions.conditions) do
    local ok, holds = call(condition.fn, document)
    if not ok then
      return failed(functions, ("the condition of index '%s'"):format(condition.name), condition.name, holds)
    end
    if k == 33 then
      weight = 1
    end
    if holds and k <= 32 then
      low = low + weight
    elseif holds then
      high = high + weight
    end
    weight = weight * 2
  end
  write.low, write.high = low, high
  return true
end

--- What each function of events may return, nil aside.
local RESULT = { events = "table", references = "table", partition_key = "string" }

local function evaluate_events(functions, document, write)
  for name, expected in pairs(RESULT) do
    if functions[name] then
      local ok, result = call(functions[name], document)
      if not ok then
        return failed(functions, "the function " .. name, nil, result)
      end
      if result == driver.null then
        result = nil
      end
      if result ~= nil and type(result) ~= expected then
        return failed(functions, "the function " .. name, nil,
          ("it returned a %s, not a %s"):format(type(result), expected))
      end
      if expected == "table" and type(result) == "table" and next(result) == nil then
        result = nil
      end
      write[name] = result
    end
  end
  return true
end

--- The condition bits of a stored document: low, high; or nil and an error.
function host.conditions(functions, document)
  local write = {}
  local ok, err = evaluate_conditions(functions, document, write)
  if not ok then
    return nil, err
  end
  return write.low, write.high
end

--- What the driver needs for a write of document: a table, or false when it needs nothing; or nil and an error.
-- options: of the write (events, if_version), or nil. skip_conditions: for a delete.
function host.evaluate(functions, document, options, skip_conditions)
  local operation = options and options.events
  if not functions.any and not options then
    return false
  end
  local write = { operation = operation, if_version = options and options.if_version }
  local evaluated = document
  if functions.has_conditions and not skip_conditions then
    evaluated = as_stored(functions, document)
    local ok, err = evaluate_conditions(functions, evaluated, write)
    if not ok then
      return nil, err
    end
  end
  if operation and functions.for_events then
    local ok, err = evaluate_events(functions, as_stored(functions, evaluated), write)
    if not ok then
      return nil, err
    end
  end
  return write
end

return host
