--- `tito patch TABLE ID CHANGES`
local documents = require "tito.cli.documents"
local models = require "tito.cli.models"
local queries = require "tito.cli.queries"

local function run(context)
  local changes, wrong = documents.read(context.words[3])
  if not changes then
    return context.misuse("%s", wrong)
  end
  local model, code = queries.model(context)
  if not model then
    return code
  end
  documents.show(context, context.check(model:patch_with_options(context.words[2], changes,
    { events = context.options.events, if_version = context.options.if_version })))
end

return {
  name = "patch",
  summary = "changes members of a record",
  text = {
    "Merges CHANGES (RFC 7396: null removes a member), given as JSON, as - (standard input) or as @FILE, into a "
      .. "record. "
      .. "Prints the document as it is stored.",
  },
  existing = true,
  operands = "TABLE ID CHANGES", least = 3, most = 3, missing = "which change? Give a table, an id and JSON, - or "
    .. "@FILE",
  options = queries.plus({
    { name = "if-version", value = "N", type = "integer", help = "only when the record has this version" },
    { name = "events", value = "OPERATION", type = "text", help = "publish the model's events with this operation "
      .. "(with --app)" },
  }, models.APP),
  examples = { "tito patch user u1 '{\"name\": \"Ada L.\", \"draft\": null}' --db ./data" },
  codes = { { 10, "the record is not there" } },
  run = run,
}
