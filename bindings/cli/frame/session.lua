--- A session of `tito shell`: an environment with db open, what a line means, how results look.
--
--   line ── ".name …" ──> a command of the shell
--        └─ Lua: as an expression, else as statements; not complete ──> more lines
--
-- In the environment a name that is nothing else is the table of that name in the database: post:find_by_id("p1").
local complete = require "tito.cli.complete"
local models = require "tito.cli.models"
local output = require "tito.cli.output"

local session = {}

local Session = {}
Session.__index = Session

-- ---- Results

local function is_list_of_tables(value)
  for _, item in ipairs(value) do
    if type(item) ~= "table" or #item > 0 then
      return false
    end
  end
  return #value > 0
end

local function show_table(out, items)
  local names, seen = {}, { id = true }
  local columns = {}
  for _, item in ipairs(items) do
    for name in pairs(item) do
      columns[1] = name == "id" and { name = "id" } or columns[1]
      if type(name) == "string" and not seen[name] then
        names[#names + 1], seen[name] = name, true
      end
    end
  end
  table.sort(names)
  for _, name in ipairs(names) do
    columns[#columns + 1] = { name = name }
  end
  local rows = out.rows(columns)
  for _, item in ipairs(items) do
    rows:add(item)
  end
  rows:finish()
end

local function can_be_json(value)
  return (pcall(output.json, value))
end

--- Prints one result.
local function show(self, value)
  local out, mark = self.out, getmetatable(value)
  if type(value) == "table" and mark and mark.__tostring then
    out.write(output.plain(tostring(value)) .. "\n")
  elseif type(value) == "table" and type(value.items) == "table" and not self.json
    and is_list_of_tables(value.items) then
    show_table(out, value.items)
    if value.cursor then
      out.write(out.color("dim", "cursor " .. value.cursor) .. "\n")
    end
  elseif type(value) == "table" and not self.json and is_list_of_tables(value) then
    show_table(out, value)
  elseif type(value) == "table" and not (mark and mark.__name and mark.__jsontype == nil) and can_be_json(value) then
    out.write(output.json(value, not self.json and "" or nil) .. "\n")
  elseif self.json and type(value) ~= "table" and can_be_json(value) then
    out.write(output.json(value) .. "\n")
  elseif type(value) == "string" then
    out.write(value:gsub("[%c\127]", function(c) return c:find("[\n\t]") and c or output.plain(c) end) .. "\n")
  else
    out.write(output.plain(tostring(value)) .. "\n")
  end
end

-- ---- Lua

--- Whether text is only the beginning of something.
local function is_unfinished(why)
  return why:find "near <eof>$" ~= nil
end

local function chunk_of(text, env)
  local chunk, why = load("return " .. text, "=shell", "t", env)
  if chunk or is_unfinished(why) then
    return chunk, why
  end
  return load(text, "=shell", "t", env)
end

--- Calls a chunk; prints its results or its error. Whether it went well, and the error.
local function call(self, chunk)
  local began = self.context.cli.clock()
  local results = table.pack(self.context.cli.interruptible(chunk))
  if not results[1] then
    return false, results[2]
  end
  if results.n >= 3 and results[2] == nil and results[3] ~= nil then
    return false, results[3]
  end
  for i = 2, results.n do
    if results[i] ~= nil or results.n == 2 then
      show(self, results[i])
    end
  end
  if self.timing then
    self.out.write(self.out.color("dim", ("%.3f ms"):format((self.context.cli.clock() - began) * 1000)) .. "\n")
  end
  return true
end

-- ---- The commands of the shell

local commands = {}

local function first_word(rest)
  return rest:match("^(%S+)%s*$")
end

commands.help = { "", "this text", function(self)
  local names = output.sorted_names(commands)
  for _, name in ipairs(names) do
    self.out.write(("  %-22s %s\n"):format("." .. name .. " " .. commands[name][1], commands[name][2]))
  end
  self.out.write("  A table's name is its model: post:find_by_id(\"p1\"), "
    .. "post:query_by_index(\"by_author\"):value(\"Ada\"):execute()\n")
end }

commands.tables = { "", "the tables", function(self)
  local rows = self.out.rows { { name = "table" }, { name = "indexes", align = "right" }, { name = "unique",
    align = "right" } }
  local catalog = self.catalog()
  for _, name in ipairs(output.sorted_names(catalog)) do
    local plain, unique = 0, 0
    for _, index in pairs((models.newest(catalog[name]))) do
      plain, unique = plain + (index.unique and 0 or 1), unique + (index.unique and 1 or 0)
    end
    rows:add { table = name, indexes = plain, unique = unique }
  end
  rows:finish()
end }

local function described(self, rest)
  local name = first_word(rest)
  local description = name and self.catalog()[name]
  if not description then
    return nil, name and ("there is no table '%s'"):format(name) or "which table?"
  end
  return description
end

commands.schema = { "TABLE", "a table as the catalog knows it", function(self, rest)
  local description, why = described(self, rest)
  if not description then
    return nil, why
  end
  self.out.write(output.json(description, not self.json and "" or nil) .. "\n")
end }

commands.indexes = { "TABLE", "its indexes", function(self, rest)
  local description, why = described(self, rest)
  if not description then
    return nil, why
  end
  local rows = models.index_rows(self.out)
  for _, index in ipairs(description.indexes) do
    rows:add(models.index_row(description.table, index))
  end
  rows:finish()
end }

commands.explain = { "QUERY", "how a query would be executed: .explain post:query_by_index(\"by_author\")",
  function(self, rest)
  local chunk, why = load("return " .. rest, "=shell", "t", self.env)
  if not chunk then
    return nil, why
  end
  local ok, query = pcall(chunk)
  if not ok then
    return nil, query
  elseif type(query) ~= "table" or type(query.explain) ~= "function" then
    return nil, "this is no query"
  end
  local plan, err = query:explain()
  if not plan then
    return nil, err
  end
  self.out.object(plan, { "table", "index", "version", "state", "equal", "range", "reads" })
end }

--- A command that turns something on or off.
local function switch(name, text)
  commands[name] = { "[on|off]", text, function(self, rest)
    local word = first_word(rest)
    if rest ~= "" and word ~= "on" and word ~= "off" then
      return nil, "on or off"
    end
    self[name] = word == "on" or (word == nil and not self[name])
    self.out.write(("%s is %s\n"):format(name, self[name] and "on" or "off"))
  end }
end
switch("timing", "how long each line takes")
switch("json", "results as JSON, one a line")

commands.quit = { "", "the end, as Ctrl-D", function(self)
  self.ended = true
end }

local function run_command(self, line)
  local name, rest = line:match("^%.(%a+)%s*(.-)%s*$")
  local command = name and commands[name]
  if not command then
    return false, ("there is no '%s'; .help names what there is"):format(line:match("^%S+"))
  end
  local ok, done, why = pcall(command[3], self, rest)
  if not ok then
    return false, done
  end
  return done ~= nil or why == nil, why
end

-- ---- Lines

--- Takes a line. Returns "more" when what was begun is not complete, else whether it went well and the error.
function Session:line(line)
  local text = self.pending and self.pending .. "\n" .. line or line
  if not self.pending and line:find("^%.%a") then
    return run_command(self, line)
  elseif text:match("^%s*$") then
    self.pending = nil
    return true
  end
  local chunk, why = chunk_of(text:gsub("^%s*=", "", 1), self.env)
  if not chunk and is_unfinished(why) then
    self.pending = text
    return "more"
  end
  self.pending = nil
  if not chunk then
    return false, why
  end
  return call(self, chunk)
end

--- Gives up what was begun.
function Session:forget()
  self.pending = nil
end

--- Runs a whole text: nil and its error when it fails. Its results are not printed, but for one expression.
function Session:run(text, name, ...)
  local expression = load("return " .. text, name, "t", self.env)
  if expression then
    return call(self, expression)
  end
  local chunk, why = load(text:gsub("^#[^\n]*", "", 1), name, "t", self.env)
  if not chunk then
    return false, why
  end
  local arguments = table.pack(...)
  local ok, err = self.context.cli.interruptible(function() chunk(table.unpack(arguments, 1, arguments.n)) end)
  return ok, err
end

--- The completions at the end of text, and where their word begins.
function Session:complete(text)
  return complete.line(self, text)
end

--- A session on the database of the context.
function session.new(context)
  local db, tito = context.open(), require "tito"
  local self = setmetatable({ context = context, out = context.out, json = context.out.json, timing = false,
    commands = commands, ended = false }, Session)
  function self.catalog()
    return models.catalog(context, db)
  end
  --- The names of the tables, as a set.
  function self.tables()
    local set = {}
    for name in pairs(self.catalog()) do
      set[name] = true
    end
    return set
  end
  function self.describe(name)
    return self.catalog()[name] or { indexes = {} }
  end
  function self.model(name)
    local ok, model = pcall(models.get, context, db, name)
    return ok and model or nil
  end
  self.query_methods = getmetatable(require("tito.query").new({})).__index
  self.env = setmetatable({ db = db, tito = tito }, { __index = function(_, name)
    local known = rawget(_G, name)
    if known ~= nil or type(name) ~= "string" then
      return known
    end
    return self.model(name)
  end })
  self.env._G = self.env
  return self
end

return session
