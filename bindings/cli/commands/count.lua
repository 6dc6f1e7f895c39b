--- `tito count TABLE [INDEX VALUE…]`
local models = require "tito.cli.models"
local queries = require "tito.cli.queries"

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
    local total = queries.count(context, query)
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
  existing = true,
  operands = "TABLE [INDEX [VALUE…]]", least = 1, missing = "which table?",
  options = queries.plus(queries.RANGE,
    { name = "watch", value = "N", type = "seconds", min = 0.1, help = "again every N seconds, until Ctrl-C" },
      models.APP),
  examples = { "tito count user --db ./data", "tito count post by_author Alice --gte 20230101" },
  run = run,
}
