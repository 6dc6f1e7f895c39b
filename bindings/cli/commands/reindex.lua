--- `tito reindex`: fills the indexes that are not readable yet.
local models = require "tito.cli.models"

local function run(context)
  local db = context.open()
  local names = models.named(context, db, true)
  if not names then
    return 2
  end
  for _, name in ipairs(names) do
    local bar = context.progress(nil, "records of " .. name)
    local summary = context.check(db:reindex(name, function(info)
      if info.phase == "begin" then
        bar:expect(info.total or 0)
      else
        bar:set(info.done or 0, info.total)
      end
      return not context.interrupted()
    end))
    bar:finish()
    if summary.stopped then
      return context.stopped("interrupted; the next reindex goes on from here")
    end
    context.out.line("%s: every index is readable", name)
    if context.out.json then
      context.out.value { table = name, readable = true }
    end
  end
  return 0
end

return {
  name = "reindex",
  summary = "fills indexes that are not readable yet",
  text = {
    "Fills the indexes of the named tables, or of all, that are not readable yet; one that was interrupted goes on "
      .. "where it "
      .. "was. The catalog knows every index that was declared once; a new one, or one whose condition is a "
        .. "function, needs "
      .. "the app that declares it: --app APP.lua; its handlers do not run.",
  },
  existing = true,
  operands = "[TABLE…]",
  options = { models.APP },
  examples = { "tito reindex --db ./data", "tito reindex post --app app.lua --db tikv://pd1:2379" },
  run = run,
}
