--- `tito check`: records against their index entries, both ways.
local models = require "tito.cli.models"
local output = require "tito.cli.output"

--- What is wrong, and where: "post: entry_missing by_author p1: …", "mended" when it is right now.
local function told(name, finding)
  local place = {}
  for _, word in ipairs { finding.kind, finding.index or "", output.plain(finding.id or "") } do
    place[#place + 1] = word ~= "" and word or nil
  end
  return ("%s: %s: %s%s"):format(name, table.concat(place, " "), finding.what or "wrong",
    finding.repaired and "; mended" or "")
end

--- Checks a table; whether nothing is wrong, or nil and where to go on when it was interrupted.
local function check_table(context, db, name)
  local bar = context.progress(nil, "records and entries of " .. name)
  local interrupted = false
  local summary = context.check(db:check(name, {
    repair = context.options.repair,
    cursor = context.options.cursor,
    count = bar.shown,
    progress = function(info)
      if info.phase == "count" then
        bar:expect(info.total or 0)
      else
        bar:set(info.done or 0, info.total)
      end
      interrupted = interrupted or context.interrupted()
      return not interrupted
    end,
  }))
  bar:finish()
  local findings = #summary.findings
  local mended = 0
  for _, finding in ipairs(summary.findings) do
    mended = mended + (finding.repaired and 1 or 0)
    context.out.line("%s", told(name, finding))
  end
  context.out.line("%s: %d records and entries, %d findings%s%s", name, summary.done, findings,
    context.options.repair and findings > 0 and (", %d mended"):format(mended) or "",
    summary.stopped and ", not to its end" or "")
  if context.out.json then
    context.out.value { table = name, done = summary.done, findings = output.list(summary.findings),
      repaired = context.options.repair or false, complete = not summary.stopped, cursor = summary.cursor }
  end
  if summary.stopped then
    return nil, summary.cursor or context.options.cursor
  end
  return findings == 0
end

--- How to go on after the i-th table was interrupted.
local function tell_rest(names, i, cursor)
  io.stderr:write("more: tito check ", names[i], cursor and " --cursor " .. cursor or "", "\n")
  if i < #names then
    io.stderr:write("more: tito check ", table.concat(names, " ", i + 1), "\n")
  end
end

local function run(context)
  local db = context.open()
  local names, code = models.named(context, db, true), 0
  if not names then
    return 2
  end
  if context.options.cursor and #names ~= 1 then
    return context.misuse("--cursor goes on with one table: name it")
  end
  for i, name in ipairs(names) do
    local good, cursor = check_table(context, db, name)
    if good == nil then
      tell_rest(names, i, cursor)
      return context.stopped()
    end
    code = good and code or 1
  end
  return code
end

return {
  name = "check",
  summary = "compares records with their index entries",
  text = {
    "Compares every record of the named tables, or of all, with its index entries, both ways, and prints what is "
      .. "wrong. "
      .. "A table whose index has a function as condition needs the app that has it: --app APP.lua; its handlers do "
        .. "not run.",
  },
  existing = true,
  operands = "[TABLE…]",
  options = {
    models.APP,
    { name = "repair", type = "flag", help = "mend what is wrong" },
    { name = "cursor", value = "TOKEN", type = "text", help = "go on where an interrupted check of the table told" },
  },
  examples = { "tito check --db ./data", "tito check user post --app app.lua --repair --db tikv://pd1:2379" },
  codes = { { 1, "something was wrong" } },
  run = run,
}
