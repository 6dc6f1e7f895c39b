--- `tito put TABLE DOCUMENT…`
local documents = require "tito.cli.documents"
local models = require "tito.cli.models"
local queries = require "tito.cli.queries"

local function run(context)
  local options = context.options
  local list = {}
  for i = 2, #context.words do
    local document, wrong = documents.read(context.words[i])
    if not document then
      return context.misuse("%s", wrong)
    end
    list[#list + 1] = document
  end
  local model = queries.model(context, true)
  local write = model[(options.mode == "insert" and "build" or options.mode) .. "_with_options"]
  local asked = { events = options.events, if_version = options.if_version, version = true }
  local stored = context.check(context.open():transaction(function(tx)
    local results = {}
    for i, document in ipairs(list) do
      local result, version = write(model, document, asked, tx)
      if not result then
        return nil, version
      end
      results[i] = { document = result, version = version }
    end
    return results
  end))
  for _, result in ipairs(stored) do
    documents.show(context, result.document)
  end
end

return {
  name = "put",
  summary = "writes records",
  text = {
    "Writes documents, given as JSON, as - (standard input) or as @FILE: all of them or none. The indexes that the "
      .. "catalog "
      .. "knows are kept up. What only an app knows needs it: events, and conditions that are functions (--app "
        .. "APP.lua). "
      .. "Prints the documents as they are stored.",
  },
  operands = "TABLE DOCUMENT…", least = 2, missing = "which document? Give a table and JSON, - or @FILE",
  options = queries.plus({
    { name = "mode", value = "MODE", type = "choice", choices = { "save", "insert", "update" }, default = "save",
      help = "whether a record may, must not or must be there before" },
    { name = "if-version", value = "N", type = "integer", help = "only when the record has this version" },
    { name = "events", value = "OPERATION", type = "text", help = "publish the model's events with this operation "
      .. "(with --app)" },
  }, models.APP),
  examples = {
    "tito put user '{\"id\": \"u1\", \"name\": \"Ada\"}' --db ./data",
    "tito put user - --mode insert < user.json",
  },
  run = run,
}
