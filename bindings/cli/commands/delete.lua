--- `tito delete TABLE ID…`
local models = require "tito.cli.models"
local queries = require "tito.cli.queries"

local function run(context)
  local model, code = queries.model(context)
  if not model then
    return code
  end
  local options, deleted = context.options, 0
  code = 0
  for i = 2, #context.words do
    local id = context.words[i]
    local was_there = context.check(model:delete_by_id_with_options(id,
      { events = options.events, if_version = options.if_version }))
    if was_there then
      deleted = deleted + 1
    else
      code = context.fail { code = "not_found", message = ("table '%s' has no record '%s'"):format(context.words[1],
        id) }
    end
    if context.interrupted() then
      return context.stopped()
    end
  end
  context.out.line("%d deleted", deleted)
  if context.out.json then
    context.out.value { count = deleted }
  end
  return code
end

return {
  name = "delete",
  summary = "deletes records by their ids",
  existing = true,
  operands = "TABLE ID…", least = 2, missing = "which record? Give a table and ids",
  options = queries.plus({
    { name = "if-version", value = "N", type = "integer", help = "only when the record has this version" },
    { name = "events", value = "OPERATION", type = "text", help = "publish the model's events with this operation "
      .. "(with --app)" },
  }, models.APP),
  examples = { "tito delete user u1 u2 --db ./data" },
  codes = { { 10, "a record was not there" } },
  run = run,
}
