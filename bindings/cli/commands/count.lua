--- `tito count TABLE [INDEX VALUE…]`
local models = require "tito.cli.models"
local queries = require "tito.cli.queries"

local PAGE, AGE_S = 10000, 600

--- Counts page by page, in one snapshot, so that it may take longer than one operation.
local function count(context, query)
  local tx = context.check(context.open():begin { read_only = true, age = AGE_S })
  local bar = context.progress(nil, "records")
  local total = 0
  query:keys_only():limit(PAGE)
  repeat
    local page = context.check(query:execute(tx))
    total = total + #page.items
    bar:set(total)
    query:cursor(page.cursor)
  until not page.cursor or context.interrupted()
  bar:finish()
  context.check(tx:rollback())
  return total
end

local function run(context)
  local model, code = queries.model(context)
  if not model then
    return code
  end
  return queries.watched(context, function()
    local query, wrong = queries.build(context, model)
    if not query then
      return wrong
    end
    local total = count(context, query)
    if context.interrupted() and not context.options.watch then
      return context.stopped()
    end
    context.out.line("%d", total)
    if context.out.json then
      context.out.value { count = total }
    end
    return 0
  end)
end

return {
  name = "count",
  summary = "counts the records of a table, or those that an index finds",
  operands = "TABLE [INDEX [VALUE…]]", least = 1, missing = "which table?",
  options = queries.plus(queries.RANGE,
    { name = "watch", value = "N", type = "seconds", min = 0.1, help = "again every N seconds, until Ctrl-C" },
      models.APP),
  examples = { "tito count user --db ./data", "tito count post by_author Alice --gte 20230101" },
  run = run,
}
