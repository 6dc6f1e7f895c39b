--- `tito schema [TABLE…]`: the catalog.
local models = require "tito.cli.models"
local output = require "tito.cli.output"
local query = require "tito.cli.queries"

local SAMPLE = 200

--- Bytes that the fields of an index take in a document, about: of a list the longest of its entries.
local function fields_size(document, index)
  local bytes = 0
  for _, field in ipairs(index.fields) do
    local value = document
    for name in field.name:gmatch "[^.]+" do
      value = type(value) == "table" and value[name] or nil
    end
    local longest = 0
    for _, item in ipairs(type(value) == "table" and value or { value }) do
      longest = math.max(longest, type(item) == "string" and #item + 2 or 9)
    end
    bytes = bytes + math.max(1, longest)
  end
  return bytes
end

--- How many entries an index has, and about how many bytes they are: its key's own bytes, the fields, the id, and what
-- it covers. Nothing for one that is not readable.
local function measure_index(context, name, model, index, documents)
  if index.state ~= "readable" then
    return {}
  end
  local entries = query.count(context, require("tito.query").new(model, index.name))
  local bytes = 0
  for _, document in ipairs(documents) do
    bytes = bytes + #name + #index.name + 16 + fields_size(document, index) + #document.id
      + (index.covering and #output.json(document) or 0)
  end
  return { records = entries, bytes = #documents > 0 and math.floor(bytes / #documents * entries + 0.5) or 0 }
end

--- How many records a table has, and about how many bytes: of a sample of them; the sample.
local function measure(context, db, name)
  local model = models.get(context, db, name)
  local page = context.check(model:scan { limit = SAMPLE })
  local bytes = 0
  for _, document in ipairs(page.items) do
    bytes = bytes + #output.json(document)
  end
  local count = #page.items
  if page.cursor then
    count = context.check(query.count(context, require("tito.query").new(model, nil)))
  end
  return { records = count, bytes = #page.items > 0 and math.floor(bytes / #page.items * count + 0.5) or 0 },
    page.items, model
end

local function run(context)
  local db = context.open()
  local catalog = models.catalog(context, db)
  local names = #context.words > 0 and context.words or output.sorted_names(catalog)
  local more = context.options.size
    and { { name = "records", align = "right" }, { name = "bytes", align = "right" } } or nil
  local rows = models.index_rows(context.out, more)
  for _, name in ipairs(names) do
    local description = catalog[name]
    if not description then
      return context.fail { code = "not_found", message = ("there is no table '%s'"):format(name) }
    end
    local size = {}
    if context.options.size then
      local sample, model
      size, sample, model = measure(context, db, name)
      for _, index in ipairs(description.indexes) do
        local found = measure_index(context, name, model, index, sample)
        index.entries, index.bytes = found.records, found.bytes
      end
    end
    if context.out.json then
      description.records, description.bytes = size.records, size.bytes
      context.out.value(description)
    else
      rows:add { table = name, records = size.records, bytes = size.bytes, state = description.dropping
        and "dropping" or nil }
      for _, index in ipairs(description.indexes) do
        local row = models.index_row(name, index)
        row.records, row.bytes = index.entries, index.bytes
        rows:add(row)
      end
    end
    if context.interrupted() then
      return context.stopped()
    end
  end
  rows:finish()
  return 0
end

return {
  name = "schema",
  summary = "shows the tables and their indexes",
  text = {
    "Shows the catalog: each table, then its indexes with version, state, fields and condition. States: readable; "
      .. "write_only (tito reindex makes it readable); failed (a unique index that met duplicates); absent (it is "
        .. "being dropped).",
  },
  existing = true,
  operands = "[TABLE…]",
  options = {
    { name = "size", type = "flag", help = "count records and entries of indexes, and estimate their bytes from a "
      .. "sample" },
  },
  examples = { "tito schema --db ./data", "tito schema post --size --json --db tikv://pd1:2379" },
  codes = { { 10, "there is no such table" } },
  run = run,
}
