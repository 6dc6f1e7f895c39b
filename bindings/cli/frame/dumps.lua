--- The lines of a dump, for `tito dump` and `tito load`.
--
--   {"tito_dump":1,"made_by":"1.0.0"}
--   {"table":"post","schema":{"indexes":[…],"unique_indexes":[…]}}     one for each table
--   {"table":"post","document":{…}}                                    in the order of tables, then of ids
--   {"schedule":{…}}                                                   when they were asked for
--   {"queue":{"type":"job","partitions":4,"paused":false}}             likewise, then the type's events
--   {"event":{"type":"job","key":"k","timestamp":…,"payload":…}}       those that are not finished, a key's in order
--   {"end":{"documents":3,"events":0,"schedules":0}}
--
-- INVARIANTS
--  1. The same contents give the same bytes.
--  2. A dump without its last line is not whole.
local models = require "tito.cli.models"
local output = require "tito.cli.output"

local dumps = { FORMAT = 1, STATE = "tito.load" }

local PARTS = { "name", "version", "fields", "where", "condition", "sparse", "covering" }

--- What a dump says of a table: the newest version of each index, in the order of their names. A condition that is a
-- function is "host".
function dumps.schema(description)
  local schema = { indexes = output.list {}, unique_indexes = output.list {} }
  local newest, names = models.newest(description)
  table.sort(names)
  for _, name in ipairs(names) do
    local known, index = newest[name], {}
    for _, part in ipairs(PARTS) do
      index[part] = known[part]
    end
    if known.state ~= "absent" then
      table.insert(known.unique and schema.unique_indexes or schema.indexes, index)
    end
  end
  return schema
end

--- The tables that are dumped: the named ones, or all but tito's own; by name. nil: told.
function dumps.tables(context, db)
  local catalog = models.catalog(context, db)
  local names = context.words
  if #names == 0 then
    names = {}
    for _, name in ipairs(output.sorted_names(catalog)) do
      names[#names + 1] = name ~= dumps.STATE and name or nil
    end
  end
  names = table.move(names, 1, #names, 1, {})
  table.sort(names)
  for _, name in ipairs(names) do
    if not catalog[name] then
      return nil, ("there is no table '%s'"):format(name)
    end
  end
  return names, catalog
end

-- ---- Lines

function dumps.header()
  return ('{"tito_dump":%d,"made_by":%s}\n'):format(dumps.FORMAT, output.json(require("tito").version))
end

function dumps.line(name, value)
  return ("{%s:%s}\n"):format(output.json(name), output.json(value))
end

function dumps.schema_line(name, schema)
  return ('{"table":%s,"schema":%s}\n'):format(output.json(name), output.json(schema))
end

--- What stands before each document of a table.
function dumps.prefix(name)
  return ('{"table":%s,"document":'):format(output.json(name))
end

local function decoded(text)
  return (require("tito.driver").decode(text))
end
dumps.decode = decoded

--- What a line is: its kind, its table (or nil), and its value as JSON text; nil: it is none of a dump.
function dumps.read(members)
  local name = members.table and decoded(members.table)
  for _, kind in ipairs { "document", "schema" } do
    if members[kind] then
      if type(name) ~= "string" then
        return nil
      end
      return kind, name, members[kind]
    end
  end
  for _, kind in ipairs { "event", "queue", "schedule", "end", "tito_dump" } do
    if members[kind] then
      return kind, nil, members[kind]
    end
  end
  return nil
end

return dumps
