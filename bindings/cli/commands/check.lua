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

--- Checks a table; whether nothing is wrong, or nil when it was interrupted.
local function check_table(context, db, name)
  local bar = context.progress(nil, "records and entries of " .. name)
  local interrupted = false
  local summary = context.check(db:check(name, {
    repair = context.options.repair,
    progress = function(info)
      bar:set(info.done or 0, info.total)
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
      repaired = context.options.repair or false, complete = not summary.stopped }
  end
  if summary.stopped then
    return nil
  end
  return findings == 0
end

local function run(context)
  local db = context.open()
  local names, code = models.named(context, db, true), 0
  if not names then
    return 2
  end
  for _, name in ipairs(names) do
    local good = check_table(context, db, name)
    if good == nil then
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
  },
  examples = { "tito check --db ./data", "tito check user post --app app.lua --repair --db tikv://pd1:2379" },
  codes = { { 1, "something was wrong" } },
  run = run,
}
