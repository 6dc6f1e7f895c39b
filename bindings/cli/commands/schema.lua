--- `tito schema [TABLE…]`: the catalog.
local models = require "tito.cli.models"
local output = require "tito.cli.output"
local query = require "tito.cli.queries"

local SAMPLE = 200

--- How many records a table has, and about how many bytes: of a sample of them.
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
  return { records = count, bytes = #page.items > 0 and math.floor(bytes / #page.items * count + 0.5) or 0 }
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
    local size = context.options.size and measure(context, db, name) or {}
    if context.out.json then
      description.records, description.bytes = size.records, size.bytes
      context.out.value(description)
    else
      rows:add { table = name, records = size.records, bytes = size.bytes, state = description.dropping
        and "dropping" or nil }
      for _, index in ipairs(description.indexes) do
        rows:add(models.index_row(name, index))
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
    { name = "size", type = "flag", help = "count the records, and estimate the bytes of their documents from a "
      .. "sample" },
  },
  examples = { "tito schema --db ./data", "tito schema post --size --json --db tikv://pd1:2379" },
  codes = { { 10, "there is no such table" } },
  run = run,
}
