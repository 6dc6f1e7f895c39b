--- What may stand where the cursor is: names, tables of the database, methods, indexes, fields.
--
--   .schema po|                    dot commands, then tables
--   po|   tab|                     names of the environment, Lua's words
--   post:que|   db.mod|            members of what the name stands for
--   post:query_by_index("by|       indexes of the table
--   post:build { au|               fields of the table
--   post:query_by_index(…):va|     methods of a query
local complete = {}

local WORDS = { "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if", "in",
  "local", "nil",
  "not", "or", "repeat", "return", "then", "true", "until", "while" }

local SAMPLE = 20 -- records whose fields are looked at

--- The names of candidates (a set) that begin so, sorted, each with what stands before and after it.
local function chosen(candidates, begin, before, after)
  local list = {}
  for name in pairs(candidates) do
    if type(name) == "string" and name:sub(1, #begin) == begin and not name:find("^__") then
      list[#list + 1] = (before or "") .. name .. (after or "")
    end
  end
  table.sort(list)
  return list
end

--- Every name that may be asked of a value: its own and its metatable's.
local function members(value)
  local set = {}
  if type(value) == "table" then
    for name in pairs(value) do
      set[name] = true
    end
  end
  local mark = getmetatable(value)
  local index = type(mark) == "table" and mark.__index
  if type(index) == "table" then
    for name in pairs(index) do
      set[name] = true
    end
  end
  return set
end

--- The value that a path of names ("db.models.post") stands for; functions are not called.
local function resolve(env, path)
  local value = env
  for name in path:gmatch("[^.]+") do
    local ok, found = pcall(function() return value[name] end)
    if not ok or found == nil then
      return nil
    end
    value = found
  end
  return value
end

local function set_of(list)
  local set = {}
  for _, name in ipairs(list) do
    set[name] = true
  end
  return set
end

--- The names of a table's fields: of its indexes, and of some of its records.
local function fields(session, name)
  local set = { id = true }
  for _, index in ipairs(session.describe(name).indexes or {}) do
    for _, field in ipairs(index.fields) do
      set[field.name:match("^[^.]+")] = true
    end
  end
  local model = session.model(name)
  local page = model and model:scan { limit = SAMPLE }
  for _, document in ipairs(page and page.items or {}) do
    for field in pairs(document) do
      set[field] = true
    end
  end
  return set
end

local function indexes(session, name)
  local list = {}
  for i, index in ipairs(session.describe(name).indexes or {}) do
    list[i] = index.name
  end
  return set_of(list)
end

--- Completes the text before the cursor: a list of texts, and where the word that they replace begins.
function complete.line(session, text)
  local begin, word = text:match("^()(%.%a*)$")
  if begin then
    return chosen(session.commands, word:sub(2), ".", " "), begin
  end
  begin, word = text:match("^%.%a+%s+()([%w_.%-]*)$")
  if begin then
    return chosen(session.tables(), word), begin
  end
  local name
  name, begin, word = text:match("([%a_][%w_]*):query_by_index%s*%(?%s*[\"']()([%w_.%-]*)$")
  if name then
    return chosen(indexes(session, name), word), begin
  end
  name, begin, word = text:match("([%a_][%w_]*):%a[%w_]*%s*%(?[^{}]*{[^{}]-()([%a_][%w_]*)$")
  if name and session.model(name) then
    return chosen(fields(session, name), word), begin
  end
  begin, word = text:match("%)%s*:()([%w_]*)$")
  if begin then
    return chosen(session.query_methods, word), begin
  end
  name, begin, word = text:match("([%a_][%w_.]*)[.:]()([%w_]*)$")
  if name then
    return chosen(members(resolve(session.env, name)), word), begin
  end
  begin, word = text:match("()([%a_][%w_]*)$")
  if not begin then
    return {}, #text + 1
  end
  local set = set_of(WORDS)
  for _, more in ipairs { session.env, _G, session.tables() } do
    for known in pairs(more) do
      set[known] = true
    end
  end
  return chosen(set, word), begin
end

return complete
