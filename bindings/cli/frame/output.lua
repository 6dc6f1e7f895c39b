--- What a command prints on stdout: for people aligned text, with --json one JSON value a line.
--
--   out.line("…")             a line of text; not with --json
--   out.value(v)              one value: indented, or a line of JSON
--   out.object(t, order)      names and values; with --json an object
--   local rows = out.rows { { name = "id" }, { name = "size", align = "right" } }
--   rows:add { id = …, size = … }      rows:finish()
--
-- INVARIANTS
--  1. The same data gives the same bytes: members of objects are in the order of their names.
--  2. What comes from the database reaches a terminal without control characters.
local output = {}

local PAGE = 500 -- rows that are aligned together
local CELL_MAX = 60 -- of a terminal's table

local COLORS = { red = 31, green = 32, yellow = 33, blue = 34, cyan = 36, bold = 1, dim = 2 }

-- ---- JSON

--- The functions of the library, when values know their types (lists that are empty, null).
local function driver()
  require "tito"
  return require "tito.driver"
end
output.driver = driver

--- t as a list, also when it is empty.
function output.list(t)
  return require("tito").array(t)
end

local function sorted_names(t)
  local names = {}
  for name in pairs(t) do
    names[#names + 1] = name
  end
  table.sort(names)
  return names
end
output.sorted_names = sorted_names

local function is_list(t)
  local mark = getmetatable(t)
  return (mark and mark.__jsontype == "array") or #t > 0
end

local function scalar(value)
  local text, err = driver().encode(value)
  if not text then
    error(err, 0)
  end
  return text
end

--- JSON of a value; indent: "" for several lines, nil for one.
function output.json(value, indent)
  if type(value) ~= "table" or getmetatable(value) and getmetatable(value).__jsontype == nil then
    return scalar(value)
  end
  local deeper = indent and indent .. "  "
  local parts, list = {}, is_list(value)
  if list then
    for i, item in ipairs(value) do
      parts[i] = output.json(item, deeper)
    end
  else
    for i, name in ipairs(sorted_names(value)) do
      parts[i] = scalar(name) .. (indent and ": " or ":") .. output.json(value[name], deeper)
    end
  end
  local open, close = list and "[" or "{", list and "]" or "}"
  if #parts == 0 then
    return open .. close
  elseif not indent then
    return open .. table.concat(parts, ",") .. close
  end
  return open .. "\n" .. deeper .. table.concat(parts, ",\n" .. deeper) .. "\n" .. indent .. close
end

-- ---- Text

--- text with what a terminal would obey, and line ends, written as escapes.
function output.plain(text)
  text = text:gsub("[%c\127]", function(c) return c == "\n" and "\\n" or c == "\t" and "\\t"
    or ("\\x%02x"):format(c:byte()) end)
  text = text:gsub("\xc2[\x80-\x9f]", function(c) return ("\\x%02x"):format(c:byte(2)) end) -- controls beyond ASCII
  return text
end

--- A cell's text for people.
function output.text(value)
  if value == nil then
    return ""
  elseif type(value) == "string" then
    return output.plain(value)
  elseif type(value) == "boolean" or math.type(value) == "integer" then
    return tostring(value)
  end
  return output.json(value)
end

local function width_of(text)
  return utf8.len(text) or #text
end

--- text cut to at most width characters.
local function cut(text, width)
  if width_of(text) <= width then
    return text
  end
  local place = utf8.offset(text, width)
  return place and text:sub(1, place - 1) .. "…" or text:sub(1, width)
end

-- ---- The writer

local Rows = {}
Rows.__index = Rows

local function flush(rows)
  local widths, lines, out = {}, {}, rows.out
  local title = not rows.titled
  for i, column in ipairs(rows.columns) do
    widths[i] = title and width_of(column.title or column.name) or 0
  end
  for r, cells in ipairs(rows.waiting) do
    for i, cell in ipairs(cells) do
      cells[i] = out.terminal and cut(cell, CELL_MAX) or cell
      widths[i] = math.max(widths[i], width_of(cells[i]), rows.widths[i] or 0)
    end
    lines[r] = cells
  end
  local function write(cells, color)
    local parts = {}
    for i, cell in ipairs(cells) do
      local pad = (" "):rep(widths[i] - width_of(cell))
      local shade = color or rows.columns[i].color
      local shown = shade and out.color(type(shade) == "function" and shade(cell) or shade, cell) or cell
      local last = i == #cells and rows.columns[i].align ~= "right"
      parts[i] = rows.columns[i].align == "right" and pad .. shown or shown .. (last and "" or pad)
    end
    out.write((table.concat(parts, "  "):gsub(" +$", "")) .. "\n")
  end
  if title and #lines > 0 then
    local titles = {}
    for i, column in ipairs(rows.columns) do
      titles[i] = column.title or column.name
    end
    write(titles, "bold")
    rows.titled = true
  end
  for _, cells in ipairs(lines) do
    write(cells)
  end
  rows.widths, rows.waiting = widths, {}
end

--- Adds a row: a table by the columns' names. With --json all of it is printed, at once.
function Rows:add(row)
  self.count = self.count + 1
  if self.out.json then
    self.out.write(output.json(row) .. "\n")
    return
  end
  local cells = {}
  for i, column in ipairs(self.columns) do
    local value = row[column.name]
    cells[i] = column.text and value ~= nil and output.plain(column.text(value)) or output.text(value)
  end
  self.waiting[#self.waiting + 1] = cells
  if #self.waiting >= PAGE then
    flush(self)
  end
end

--- Prints what waits; tells how many rows there were.
function Rows:finish()
  if #self.waiting > 0 then
    flush(self)
  end
  return self.count
end

--- The writer of a command. given: { json =, color = "auto" | "always" | "never" }; cli: the program's functions.
function output.new(given, cli)
  local terminal = cli.is_terminal(1)
  local colored = given.color == "always"
    or (given.color ~= "never" and terminal and not os.getenv "NO_COLOR" and os.getenv "TERM" ~= "dumb")
  local out = { json = given.json or false, terminal = terminal, colored = colored }

  --- Writes bytes as they are. An error of it (a full disk) ends the command.
  function out.write(text)
    local ok, why = io.stdout:write(text)
    if not ok then
      error("stdout can not be written: " .. tostring(why), 0)
    end
  end

  --- text in a colour, where there are colours.
  function out.color(name, text)
    local code = colored and name and COLORS[name]
    return code and ("\27[%dm%s\27[0m"):format(code, text) or text
  end

  function out.line(text, ...)
    if not out.json then
      out.write((select("#", ...) > 0 and text:format(...) or text) .. "\n")
    end
  end

  function out.value(value)
    out.write(output.json(value, not out.json and "" or nil) .. "\n")
  end

  --- order: names to show first; the others follow by name. With --json: the whole object.
  function out.object(object, order)
    if out.json then
      out.value(object)
      return
    end
    local names, seen, width = {}, {}, 0
    for _, name in ipairs(order or {}) do
      if object[name] ~= nil then
        names[#names + 1], seen[name] = name, true
      end
    end
    for _, name in ipairs(sorted_names(object)) do
      names[#names + 1] = not seen[name] and name or nil
    end
    for _, name in ipairs(names) do
      width = math.max(width, width_of(name))
    end
    for _, name in ipairs(names) do
      out.write(("%s%s  %s\n"):format(out.color("bold", name), (" "):rep(width - width_of(name)),
        output.text(object[name])))
    end
  end

  --- A table that grows: see Rows. columns: { name, title, align = "right", text = function(value), color }.
  function out.rows(columns)
    return setmetatable({ out = out, columns = columns, waiting = {}, widths = {}, count = 0 }, Rows)
  end

  return out
end

return output
