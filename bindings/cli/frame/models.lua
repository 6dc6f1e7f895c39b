--- Models for commands: those of the app that --app names, else what the catalog knows of a table.
--
--   catalog ── indexes with fields, where, covering … ──> a spec ──> db:model
--
-- What the catalog does not know, and so only an app has: relationships, events, references, and conditions that are
-- functions. An index with such a condition can be read; what would have to ask it fails, as the condition does.
local output = require "tito.cli.output"

local models = {}

models.APP = { name = "app", value = "APP.lua", type = "file",
  help = "take the models that this file declares: relationships, conditions, events" }

local SPEC = { "name", "version", "fields", "where", "condition", "sparse", "covering" }

--- Whether a function of an app decides about an index.
function models.asks_app(index)
  return index.condition == "host"
end

--- What is said where an app is needed.
local function app_needed(name, of_table)
  return ("the condition of index '%s' of table '%s' is a function of an app (--app APP.lua)"):format(name, of_table)
end

local function index_of(known, of_table)
  local index = {}
  for _, name in ipairs(SPEC) do
    index[name] = known[name]
  end
  if models.asks_app(known) then
    index.condition = function() error(app_needed(known.name, of_table), 0) end
  end
  return index
end

--- The newest version of each index of a table as the catalog describes it, by name.
function models.newest(description)
  local newest, order = {}, {}
  for _, index in ipairs(description.indexes or {}) do
    if not newest[index.name] then
      order[#order + 1] = index.name
    end
    if not newest[index.name] or (index.version or 1) > (newest[index.name].version or 1) then
      newest[index.name] = index
    end
  end
  return newest, order
end

--- The catalog by table.
function models.catalog(context, db)
  local by_name = {}
  for _, description in ipairs(context.check(db:schema())) do
    by_name[description.table] = description
  end
  return by_name
end

--- A spec of a table as the catalog describes it.
function models.spec(description)
  local spec = { table = description.table, indexes = {}, unique_indexes = {} }
  local newest, order = models.newest(description)
  for _, name in ipairs(order) do
    local index = newest[name]
    if index.state ~= "absent" then
      table.insert(index.unique and spec.unique_indexes or spec.indexes, index_of(index, spec.table))
    end
  end
  return spec
end

--- The model of a table: the app's, else the catalog's. nil: neither knows it. may_be_new: a table without a record
-- yet is one.
function models.get(context, db, name, may_be_new)
  if db.models[name] then
    return db.models[name]
  end
  local description = models.catalog(context, db)[name]
  if description then
    return db:model(models.spec(description))
  end
  return may_be_new and db:model { table = name } or nil
end

--- The tables that the operands name, or all of them: of the app when there is one, else of the catalog; each has its
-- model in db.models. Without an app, an index that asks one is an error. nil: told.
function models.named(context, db, needs_conditions)
  local catalog = context.options.app and db.models or models.catalog(context, db)
  local names = #context.words > 0 and context.words or output.sorted_names(catalog)
  if #names == 0 and context.options.app then
    context.misuse("the app declares no models")
    return nil
  end
  for _, name in ipairs(names) do
    local known = catalog[name]
    if not known then
      context.misuse(context.options.app and "the app declares no model of table '%s'" or "there is no table '%s'",
        name)
      return nil
    elseif not context.options.app then
      for _, index in ipairs(known.indexes or {}) do
        if needs_conditions and models.asks_app(index) and index.state ~= "absent" then
          context.misuse("%s", app_needed(index.name, name))
          return nil
        end
      end
      db:model(models.spec(known))
    end
  end
  return names
end

-- ---- Indexes for people

--- The paths of an index with their types: "author string, n number desc".
local function fields_text(index)
  local parts = {}
  for i, field in ipairs(index.fields or {}) do
    parts[i] = field.name .. " " .. (field.type or "string") .. (field.order == "desc" and " desc" or "")
  end
  return table.concat(parts, ", ")
end

local function condition_text(index)
  if models.asks_app(index) then
    return "a function of the app"
  elseif index.where then
    return output.json(index.where)
  elseif index.condition == false then
    return "never"
  end
  return nil
end

local STATE_COLORS = { readable = "green", failed = "red", write_only = "yellow", absent = "dim" }

--- A table for rows of models.index_row. more: further columns.
function models.index_rows(out, more)
  local columns = { { name = "table" }, { name = "index" }, { name = "version", align = "right" },
    { name = "state", color = function(cell) return STATE_COLORS[cell] end }, { name = "unique" }, { name = "fields" },
    { name = "condition" } }
  for _, column in ipairs(more or {}) do
    columns[#columns + 1] = column
  end
  return out.rows(columns)
end

--- What a person asks of an index.
function models.index_row(name, index)
  return { table = name, index = index.name, version = index.version or 1, state = index.state, unique = index.unique,
    fields = fields_text(index), condition = condition_text(index), covering = index.covering or false,
    sparse = index.sparse or false, visited = index.done, duplicates = index.duplicates }
end

return models
