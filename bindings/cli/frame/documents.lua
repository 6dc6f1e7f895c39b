--- Documents in and out: tables of them, and JSON given as an operand, a file or standard input.
local output = require "tito.cli.output"
local queries = require "tito.cli.queries"

local documents = {}

local PAGE, COLUMNS_MAX = 1000, 12

-- ---- Out

--- The value at a dotted path.
local function at(document, path)
  for step in path:gmatch("[^.]+") do
    if type(document) ~= "table" then
      return nil
    end
    document = document[step]
  end
  return document
end

--- The columns of documents: those that were asked for, else id and every name that is in one of them.
local function columns_of(items, asked)
  local columns, seen = {}, {}
  if asked then
    for path in asked:gmatch("[^,]+") do
      columns[#columns + 1] = { name = path }
    end
    return columns
  end
  local names = {}
  for _, item in ipairs(items) do
    for name in pairs(item) do
      if type(name) == "string" and name ~= "id" and not seen[name] then
        names[#names + 1], seen[name] = name, true
      end
    end
  end
  table.sort(names)
  columns[1] = { name = "id" }
  for i = 1, math.min(#names, COLUMNS_MAX - 1) do
    columns[i + 1] = { name = names[i] }
  end
  return columns
end

local function add(rows, document)
  if rows.out.json then
    rows:add(document)
    return
  end
  local row = {}
  for _, column in ipairs(rows.columns) do
    row[column.name] = at(document, column.name)
  end
  rows:add(row)
end

--- A bar for all documents of a query, where one is seen; they are counted by another query that is the same.
local function bar_of(context, again)
  local bar = context.progress(nil, "records")
  if bar.shown then
    queries.count(context, again(), function(count) return bar:expect(count) end)
  end
  return bar
end

--- Prints the documents of the query that build() makes (nil and an exit code: told), page by page, up to --limit; the
-- columns are those of its first page. Returns the exit code.
function documents.print(context, build)
  local options = context.options
  local query, code = build()
  if not query then
    return code
  end
  local left = options.all and math.huge or options.limit
  local bar = options.all and not context.out.terminal and bar_of(context, build) or nil
  local rows, cursor
  repeat
    query:limit(math.tointeger(math.min(left, PAGE)))
    local page = context.check(query:execute())
    rows = rows or context.out.rows(columns_of(page.items, options.columns))
    for _, document in ipairs(page.items) do
      add(rows, document)
    end
    left, cursor = left - #page.items, page.cursor
    if bar then
      bar:advance(#page.items)
    end
    if cursor then
      query:cursor(cursor)
    end
  until not cursor or left < 1 or context.interrupted()
  if bar then
    bar:finish()
  end
  rows:finish()
  if cursor then
    io.stdout:flush()
    io.stderr:write("more: --cursor ", cursor, "\n")
  end
  return context.interrupted() and not options.watch and context.stopped() or 0
end

-- ---- In

--- All of a file, or of standard input ("-").
local function text_of(name)
  if name == "-" then
    return io.stdin:read("a")
  end
  local file, why = io.open(name, "rb")
  if not file then
    return nil, why
  end
  local text = file:read("a")
  file:close()
  return text
end

--- The JSON object of an operand: JSON, "-" (standard input) or "@FILE". nil and what is wrong.
function documents.read(word)
  local text = word
  if word == "-" or word:sub(1, 1) == "@" then
    local given, why = text_of(word == "-" and word or word:sub(2))
    if not given then
      return nil, why
    end
    text = given
  end
  local value, err = output.driver().decode(text)
  if value == nil then
    return nil, "this is no JSON: " .. err.message
  elseif type(value) ~= "table" or (getmetatable(value) or {}).__jsontype == "array" then
    return nil, "a JSON object expected"
  end
  return value
end

--- Prints a document, and its version when asked for.
function documents.show(context, document, version)
  if not version then
    context.out.value(document)
  elseif context.out.json then
    context.out.value { document = document, version = version }
  else
    context.out.value(document)
    context.out.line("version %s", output.text(version))
  end
end

return documents
