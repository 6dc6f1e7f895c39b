--- `tito dump`: documents as JSON lines, of one snapshot.
local dumps = require "tito.cli.dumps"
local queries = require "tito.cli.queries"

local AGE_S = 600 -- as long as a transaction may live

--- ok; what went wrong ends the command, from wherever it is: an error of the store, or the text of one of the file.
local function must(ok, why)
  if not ok then
    error(type(why) == "table" and why or { code = "io", message = why .. "; the dump was not made" }, 0)
  end
  return ok
end

--- Dumps the documents of a table; false when it was interrupted.
local function dump_table(context, db, tx, writer, name, bar, before)
  local model = db:model { table = name }
  local count, why = writer:dump(model.handle, tx.handle, dumps.prefix(name), function(n)
    bar:set(before + n)
    return not context.interrupted()
  end)
  if count == nil then
    must(nil, why)
  end
  return count
end

local function dump_schedules(context, db, writer)
  local list = context.check(db:schedules())
  table.sort(list, function(a, b) return a.name < b.name end)
  for _, schedule in ipairs(list) do
    schedule.next = nil
    must(writer:write(dumps.line("schedule", schedule)))
  end
  return #list
end

local EVENT = { "type", "key", "timestamp", "payload", "action", "entity", "entity_id", "references" }

--- Dumps the events of a type that are in a state, page by page; how many, or false when it was interrupted.
local function dump_events(context, queue, writer, state, bar)
  local count, cursor = 0, nil
  repeat
    local page = context.check(queue:history { state = state, limit = 1000, cursor = cursor })
    for _, event in ipairs(page.items) do
      local out = {}
      for _, name in ipairs(EVENT) do
        out[name] = event[name]
      end
      out.references = out.references and #out.references > 0 and out.references or nil
      must(writer:write(dumps.line("event", out)))
    end
    count, cursor = count + #page.items, page.cursor
    bar:advance(#page.items)
    if context.interrupted() then
      return false
    end
  until not cursor
  return count
end

--- Dumps the types of events, and what is not finished of each. What is parked comes before what is behind it.
local function dump_queues(context, db, writer, bar)
  local total = 0
  for _, known in ipairs(context.check(db:queues())) do
    local queue = db:queue { type = known.type }
    must(writer:write(dumps.line("queue",
      { type = known.type, partitions = known.partitions, paused = known.paused or false })))
    for _, state in ipairs { "parked", "pending" } do
      local count = dump_events(context, queue, writer, state, bar)
      if not count then
        return nil
      end
      total = total + count
    end
  end
  return total
end

--- A bar for what is to be dumped. Where one is seen, that is counted before: keys alone, in snapshots of their own, so
-- that the dump's has its whole time.
local function bar_of(context, db, names)
  local bar = context.progress(nil, context.options.events and "documents and events" or "documents")
  local total, worth = 0, bar.shown
  for _, name in ipairs(names) do
    local before = total
    if worth then
      queries.count(context, require("tito.query").new(db:model { table = name }, nil), function(count)
        total = before + count
        worth = bar:expect(total)
        return worth
      end)
    end
  end
  for _, known in ipairs(worth and context.options.events and context.check(db:queues()) or {}) do
    for _, item in ipairs(context.check(db:queue({ type = known.type }):partitions()).items) do
      total = total + item.pending + item.parked
    end
    bar:expect(total)
  end
  return bar
end

--- Dumps all; the counts, or nil when it was interrupted.
local function dump_all(context, db, writer, names, catalog)
  local bar = bar_of(context, db, names)
  local tx <close> = context.check(db:begin { read_only = true, age = AGE_S, timeout = AGE_S })
  local counts = { documents = 0, events = 0, schedules = 0 }
  must(writer:write(dumps.header()))
  for _, name in ipairs(names) do
    must(writer:write(dumps.schema_line(name, dumps.schema(catalog[name]))))
  end
  for _, name in ipairs(names) do
    local count = dump_table(context, db, tx, writer, name, bar, counts.documents)
    if not count then
      return nil
    end
    counts.documents = counts.documents + count
  end
  if context.options.schedules then
    counts.schedules = dump_schedules(context, db, writer)
  end
  if context.options.events then
    counts.events = dump_queues(context, db, writer, bar)
    if not counts.events then
      return nil
    end
  end
  bar:finish()
  must(writer:write(dumps.line("end", counts)))
  return counts
end

--- "1 table, 200 documents", and what else was asked for.
local function told(tables, counts, asked)
  local list = {}
  for _, what in ipairs { { "table", tables, true }, { "document", counts.documents, true },
    { "event", counts.events, asked.events }, { "schedule", counts.schedules, asked.schedules } } do
    local name, n, wanted = table.unpack(what)
    list[#list + 1] = wanted and ("%d %s%s"):format(n, name, n == 1 and "" or "s") or nil
  end
  return table.concat(list, ", ")
end

local function run(context)
  local transfer = require "tito.cli.transfer"
  local path = context.options.output
  path = path ~= "-" and path or nil
  if not path and context.out.terminal then
    return context.misuse("stdout is a terminal: give --output FILE, or send it elsewhere")
  end
  local db = context.open()
  local names, catalog = dumps.tables(context, db)
  if not names then
    return context.fail { code = "not_found", message = catalog }
  end
  local gzip = context.options.gzip or (path and path:sub(-3) == ".gz")
  local writer, why = transfer.create(path, gzip and "gzip" or nil)
  if not writer then
    return context.fail { code = "io", message = why }
  end
  local counts = dump_all(context, db, writer, names, catalog)
  if not counts then
    return context.stopped("interrupted; no file was written")
  end
  must(writer:finish())
  if path then
    context.out.line("%s", told(#names, counts, context.options))
    if context.out.json then
      context.out.value { tables = #names, documents = counts.documents, schedules = counts.schedules,
        events = counts.events }
    end
  end
  return 0
end

return {
  name = "dump",
  summary = "writes documents as JSON lines",
  text = {
    "Writes the named tables, or all, as lines of JSON: a header, the indexes of each table, the documents in the "
      .. "order of their ids, and a last line with their number. All documents are of one snapshot; the same contents "
      .. "give the same bytes. tito load reads it, into a database on either engine.",
    "A dump must end within ten minutes (a snapshot lives no longer): dump tables of a very large database one by one, "
      .. "or dump a backup of it. A document is written as it is stored.",
    "Where a bar is shown (stderr is a terminal), what there is to do is counted before, for ten seconds at most.",
    "Schedules and events are read after the documents, and not in their snapshot: where others publish or handle "
      .. "events meanwhile, stop them first (tito queue pause). An event keeps its type, key, due time, payload and "
      .. "entity; its id, its attempts, and what is finished are not dumped.",
  },
  operands = "[TABLE…]",
  existing = true,
  options = {
    { name = "output", value = "FILE", type = "file", default = "-", default_text = "standard output",
      help = "where to; compressed when its name ends in .gz; nothing is there until all of it is" },
    { name = "gzip", type = "flag", help = "compress, whatever the name" },
    { name = "schedules", type = "flag", help = "recurring events too" },
    { name = "events", type = "flag", help = "types of events too, and the events that are not finished" },
  },
  examples = {
    "tito dump --db ./data --output data.jsonl.gz",
    "tito dump user post --db tikv://pd1:2379 | tito load - --db ./copy",
  },
  run = run,
}
