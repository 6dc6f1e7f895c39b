--- Queries as a command line says them: TABLE INDEX VALUE… and bounds, each value of its field's type.
--
--   string   the text as it is           number, boolean   as JSON writes them; null
--   json:…   what follows is JSON: json:null, json:"json:x"
local models = require "tito.cli.models"
local output = require "tito.cli.output"

local queries = {}

local COUNT_PAGE, COUNT_AGE_S = 10000, 600

local BOUNDS = { "gt", "gte", "lt", "lte", "starts_with" }

queries.RANGE = {
  { name = "gt", value = "V", type = "text", help = "the next field is greater than V" },
  { name = "gte", value = "V", type = "text", help = "the next field is V or greater" },
  { name = "lt", value = "V", type = "text", help = "the next field is less than V" },
  { name = "lte", value = "V", type = "text", help = "the next field is V or less" },
  { name = "starts-with", value = "TEXT", type = "text", help = "the next field, a string, begins so" },
}



queries.PAGE = {
  { name = "limit", value = "N", type = "integer", default = 100, help = "at most so many" },
  { name = "all", type = "flag", help = "without a limit" },
  { name = "cursor", value = "TOKEN", type = "text", help = "go on behind an earlier result" },
  { name = "reverse", type = "flag", help = "from the end to the beginning" },
  { name = "keys-only", type = "flag", help = "only the ids" },
  { name = "relationship", value = "PATH", type = "text", many = true, help = "fetch these records too (with --app)" },
  { name = "columns", value = "A,B.C", type = "text", help = "the columns of the table, as paths" },
  { name = "watch", value = "N", type = "seconds", min = 0.1, help = "again every N seconds, until Ctrl-C" },
}

--- Lists of options put together.
function queries.plus(...)
  local list = {}
  for _, part in ipairs { ... } do
    if part.name then
      list[#list + 1] = part
    else
      table.move(part, 1, #part, #list + 1, list)
    end
  end
  return list
end

--- A value from its text: the value, or nil and what is wrong. kind: of the index's field; nil: not known.
function queries.value(text, kind)
  local driver = output.driver()
  local json = text:match("^json:(.*)$")
  if json or kind == "number" or kind == "boolean" or kind == nil then
    local value = driver.decode(json or text)
    local known = type(value)
    if json and value ~= nil and known ~= "table" then
      return value
    elseif not json and (value == driver.null or known == kind) then
      return value
    elseif not json and kind == nil then
      return (known == "number" or known == "boolean") and value or text
    end
    return nil, ("'%s': %s expected"):format(text, json and "a JSON scalar" or "a " .. kind)
  end
  return text
end

--- The fields of an index as the catalog describes it, nil when it does not know it.
local function fields_of(context, db, name, index)
  local description = models.catalog(context, db)[name]
  local newest = description and models.newest(description)[index]
  return newest and newest.fields
end

--- The model of the first operand. nil: told; its code follows.
function queries.model(context, may_be_new)
  local db = context.open()
  local model = models.get(context, db, context.words[1], may_be_new)
  if not model then
    return nil, context.fail { code = "not_found", message = ("there is no table '%s'"):format(context.words[1]) }
  end
  return model
end

local function add_values(context, query, words, fields)
  for i, text in ipairs(words) do
    local field = fields and fields[i]
    if fields and not field then
      return ("the index has %d fields, '%s' is one value too many"):format(#fields, text)
    end
    local value, wrong = queries.value(text, field and (field.type or "string"))
    if value == nil then
      return (field and field.name .. " " or "") .. wrong
    end
    query:value(value)
  end
  local next_field = fields and fields[#words + 1]
  for _, bound in ipairs(BOUNDS) do
    local text = context.options[bound]
    if text and fields and not next_field then
      return ("--%s: the index has no further field"):format(bound:gsub("_", "-"))
    elseif text then
      local kind = bound == "starts_with" and "string" or next_field and (next_field.type or "string")
      local value, wrong = queries.value(text, kind)
      if value == nil then
        return ("--%s %s"):format(bound, wrong)
      end
      query[bound](query, value)
    end
  end
  return nil
end

--- The query that words 2… and the options say, of a model: the query, or nil and the exit code (told). Without an
-- index it is over the whole table.
function queries.build(context, model)
  local options, index = context.options, context.words[2]
  local query = require("tito.query").new(model, index)
  if index then
    local fields = fields_of(context, context.open(), context.words[1], index)
    local wrong = add_values(context, query, { table.unpack(context.words, 3) }, fields)
    if wrong then
      return nil, context.misuse("%s", wrong)
    end
  end
  for _, path in ipairs(options.relationship or {}) do
    query:relationship(path)
  end
  if options.reverse then
    query:reverse()
  end
  if options.keys_only then
    query:keys_only()
  end
  if options.cursor then
    query:cursor(options.cursor)
  end
  return query
end

--- How many records a query finds: page by page, in one snapshot, so that it may take longer than one operation.
-- told(n): is told how many so far, instead of a bar, and ends it by false.
function queries.count(context, query, told)
  local tx = context.check(context.open():begin { read_only = true, age = COUNT_AGE_S })
  local bar = not told and context.progress(nil, "records")
  local total, go_on = 0, true
  query:keys_only():limit(COUNT_PAGE)
  repeat
    local page = context.check(query:execute(tx))
    total = total + #page.items
    if bar then
      bar:set(total)
    else
      go_on = told(total)
    end
    query:cursor(page.cursor)
  until not page.cursor or not go_on or context.interrupted()
  if bar then
    bar:finish()
  end
  context.check(tx:rollback())
  return total
end

--- Calls once(), with --watch again and again until Ctrl-C; its code.
function queries.watched(context, once)
  local every = context.options.watch
  if not every then
    return once()
  end
  while not context.interrupted() do
    if context.out.terminal and not context.out.json then
      context.out.write("\27[H\27[2J")
    end
    context.out.line("%s", os.date("!%Y-%m-%dT%H:%M:%SZ"))
    local code = once()
    if code ~= 0 then
      return code
    end
    io.stdout:flush()
    context.cli.sleep(every)
  end
  return 0
end

return queries
