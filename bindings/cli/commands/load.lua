--- `tito load`: what `tito dump` wrote, into a database.
local dumps = require "tito.cli.dumps"
local loading = require "tito.cli.loading"
local models = require "tito.cli.models"

local stop = loading.stop

--- The size of a file; nil when it has none.
local function size_of(path)
  local file = path and io.open(path, "rb")
  local size = file and file:seek("end")
  if file then
    file:close()
  end
  return size
end

--- The next line: { line, offset, hash, kind, table, json }; kind nil: it is none of a dump. nil: no more; nil and why.
local function next_line(reader, transfer)
  local text, wrong = reader:line()
  if not text then
    return nil, wrong and wrong:gsub("^<fd:%d+>: ", "")
  end
  local whole = wrong
  local entry = {}
  entry.offset, entry.line, entry.hash = reader:position()
  local members = transfer.members(text)
  if members then
    entry.kind, entry.table, entry.json = dumps.read(members)
  end
  if not whole and entry.kind ~= "end" then
    return nil, "its last line is cut"
  end
  return entry
end

local function check_header(entry, wrong)
  local format = entry and entry.kind == "tito_dump" and dumps.decode(entry.json)
  if not format then
    stop(wrong and "corrupt" or "invalid_argument", wrong and "the dump is not whole: " .. wrong
      or "this is no dump: its first line is not {\"tito_dump\":…}")
  elseif format ~= dumps.FORMAT then
    stop("unsupported", "the dump has format %s, this tito knows %d: use a newer tito", tostring(format), dumps.FORMAT)
  end
end

local function another_one()
  stop("invalid_state", "an earlier load of a dump that begins like this one has not ended, and it was another one: "
    .. "finish that one, or forget it with --restart")
end

--- Whether entry is where an earlier load has come to; ends this one when what it has read was something else.
local function is_reached(state, entry)
  if state.offset < entry.offset or state.offset == entry.offset and state.hash ~= entry.hash then
    another_one()
  end
  return state.offset == entry.offset
end

local function check_end(counts, seen)
  if type(counts) ~= "table" or counts.documents ~= seen then
    stop("corrupt", "the last line says %s documents, but there were %d",
      tostring(type(counts) == "table" and counts.documents), seen)
  end
end

--- One line behind the header and the tables. before: what came before it.
local function take(load, run, entry, before)
  if entry.kind == "document" or entry.kind == "event" then
    run.documents = run.documents + (entry.kind == "document" and 1 or 0)
    load:add(entry)
  elseif entry.kind == "end" then
    load:flush(entry)
    check_end(dumps.decode(entry.json), run.documents)
    run.ended = true
  else
    load:flush(before)
    if entry.kind == "schedule" then
      load.context.check(load.db:schedule(dumps.decode(entry.json) or {}))
    elseif entry.kind == "queue" then
      load:declare_queue(dumps.decode(entry.json) or {}, true)
    elseif entry.kind == "schema" then
      load:declare(entry.table, dumps.decode(entry.json) or {})
    else
      load:refuse(entry, { code = "invalid_argument", message = "this is no line of a dump" })
    end
  end
end

--- One line that an earlier load has done.
local function pass(load, run, entry)
  if entry.kind == "document" then
    run.documents = run.documents + 1
  elseif entry.kind == "schema" then
    load:declare(entry.table, dumps.decode(entry.json) or {})
  elseif entry.kind == "queue" then
    load:declare_queue(dumps.decode(entry.json) or {}, false)
  elseif entry.kind == "end" then
    run.ended = true
  end
  run.state = not is_reached(run.state, entry) and run.state or nil
end

--- Reads the header and the tables; the first line behind them, and the last of them. nil: it was interrupted.
local function read_head(load, reader)
  local entry, wrong = next_line(reader, load.transfer)
  if wrong and load.context.interrupted() then
    return nil
  end
  check_header(entry, wrong)
  local last = entry
  entry, wrong = next_line(reader, load.transfer)
  while entry and entry.kind == "schema" do
    load:declare(entry.table, dumps.decode(entry.json) or {})
    last = entry
    entry, wrong = next_line(reader, load.transfer)
  end
  return entry, last, wrong
end

--- Loads all; false when it was interrupted.
local function load_all(load, reader, bar, total)
  local entry, last, wrong = read_head(load, reader)
  if not last then
    return false
  end
  local run = { documents = 0, ended = false }
  run.state = load:find_state(last.hash)
  if run.state then
    load.context.log("info", ("goes on behind line %d"):format(run.state.line))
    run.state = not is_reached(run.state, last) and run.state or nil
  end
  while entry do
    if run.ended then
      stop("corrupt", "line %d stands behind the last line", entry.line)
    elseif load.context.interrupted() then
      if not run.state then
        load:flush(last)
      end
      return false
    elseif run.state then
      pass(load, run, entry)
    else
      take(load, run, entry, last)
    end
    last = entry
    bar:set(reader:progress(), total)
    entry, wrong = next_line(reader, load.transfer)
  end
  if wrong and load.context.interrupted() then -- it waited for more
    if not run.state then
      load:flush(last)
    end
    return false
  elseif run.state and not wrong then
    another_one()
  elseif wrong or not run.ended then
    if not run.state then
      load:flush(last)
    end
    stop("corrupt", "the dump is not whole: %s; what stands before line %d is loaded",
      wrong or "its last line is missing", last.line + 1)
  end
  load:finish()
  return true
end

--- The indexes of the loaded tables that queries can not use yet.
local function unreadable(context, load)
  local list = {}
  for _, description in ipairs(context.check(load.db:schema())) do
    for _, index in ipairs(load.tables[description.table] and description.indexes or {}) do
      if index.state ~= "readable" and index.state ~= "absent" then
        list[#list + 1] = { table = description.table, index = index.name }
      end
    end
  end
  return table.move(load.unfilled, 1, #load.unfilled, #list + 1, list)
end

local function sum_up(context, load)
  local counts, code = load.counts, load.counts.refused > 0 and 1 or 0
  local unfilled = unreadable(context, load)
  context.out.line("%d loaded, %d skipped, %d refused", counts.loaded, counts.skipped, counts.refused)
  for _, index in ipairs(unfilled) do
    context.out.line("%s: the index %s is not filled: tito reindex %s --app APP.lua", index.table, index.index,
      index.table)
  end
  if context.out.json then
    counts.unfilled = require("tito").array(unfilled)
    context.out.value(counts)
  end
  return code
end

local function run(context)
  local path = context.words[1] ~= "-" and context.words[1] or nil
  local reader, why = require("tito.cli.transfer").open(path)
  if not reader then
    return context.fail { code = "io", message = why }
  end
  local db = context.open()
  local load = loading.new(context, db)
  load:take_app()
  local bar = context.progress(nil, "bytes")
  local whole = load_all(load, reader, bar, size_of(path))
  bar:finish()
  if not whole then
    return context.stopped("interrupted; the same load goes on from here")
  end
  return sum_up(context, load)
end

return {
  name = "load",
  summary = "loads documents that tito dump wrote",
  text = {
    "Writes the documents of a dump (compressed or not) in batches. Each batch commits together with how far the "
      .. "load is: one that was killed or interrupted goes on from there when it is called again with the same dump.",
    "Where another document with the same id is there already: fail ends the load, with what stands before it loaded; "
      .. "skip leaves what is there alone; replace overwrites it. A document that is there just as it is in the dump "
      .. "is skipped in any case. What the database refuses (a second owner of a unique value, a document that is too "
      .. "large) ends the load too, or is told and counted with skip and replace, and the rest is loaded.",
    "Indexes are declared as the dump describes them. One whose condition is a function needs the app that has it "
      .. "(--app); without it the index is left out, and filled later by tito reindex --app.",
    "Events are published anew, in the order of the dump; one that is due already runs at once.",
  },
  operands = "FILE | -", least = 1, most = 1, missing = "which file? Give a dump, or - for standard input",
  options = {
    { name = "on-conflict", value = "WHAT", type = "choice", choices = { "fail", "skip", "replace" }, default = "fail",
      help = "what becomes of documents that are there already" },
    { name = "batch", value = "N", type = "integer", min = 1, max = 10000, default = 1000,
      help = "documents in a transaction" },
    { name = "restart", type = "flag", help = "from the beginning, also when an earlier load has not ended" },
    models.APP,
  },
  examples = {
    "tito load data.jsonl.gz --db ./copy",
    "tito load data.jsonl --on-conflict skip --db tikv://pd1:2379",
  },
  codes = { { 1, "documents were refused" } },
  run = run,
}
