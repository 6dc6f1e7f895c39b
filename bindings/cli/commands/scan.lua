--- `tito scan TABLE`
local documents = require "tito.cli.documents"
local models = require "tito.cli.models"
local queries = require "tito.cli.queries"

local function run(context)
  local model, code = queries.model(context)
  if not model then
    return code
  end
  return queries.watched(context, function()
    return documents.print(context, function() return queries.build(context, model) end)
  end)
end

return {
  name = "scan",
  summary = "prints the records of a table, by id",
  existing = true,
  operands = "TABLE", least = 1, most = 1, missing = "which table?",
  options = queries.plus(queries.PAGE, models.APP),
  examples = { "tito scan user --db ./data", "tito scan user --all --json > users.jsonl" },
  run = run,
}
