--- `tito explain TABLE [INDEX VALUE…]`
local models = require "tito.cli.models"
local queries = require "tito.cli.queries"

local function run(context)
  local model, code = queries.model(context)
  if not model then
    return code
  end
  local query, wrong = queries.build(context, model)
  if not query then
    return wrong
  end
  context.out.object(context.check(query:explain()), { "table", "index", "version", "state", "equal", "range",
    "reads" })
end

return {
  name = "explain",
  summary = "tells how a query would be executed",
  existing = true,
  operands = "TABLE [INDEX [VALUE…]]", least = 1, missing = "which table?",
  options = queries.plus(queries.RANGE, queries.PAGE, models.APP),
  examples = { "tito explain post by_author Alice --gte 20230101 --db ./data" },
  run = run,
}
