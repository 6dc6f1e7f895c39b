--- `tito get TABLE ID…`
local documents = require "tito.cli.documents"
local models = require "tito.cli.models"
local queries = require "tito.cli.queries"

local function once(context, model)
  local code = 0
  for i = 2, #context.words do
    local id = context.words[i]
    local document, version = model:find_by_id(id, {
      relationships = context.options.relationship, version = context.options.version,
    })
    if document == nil and version ~= nil then
      return context.fail(version)
    elseif document == nil then
      code = context.fail { code = "not_found", message = ("table '%s' has no record '%s'"):format(context.words[1],
        id) }
    else
      documents.show(context, document, context.options.version and version)
    end
  end
  return code
end

local function run(context)
  local model, code = queries.model(context)
  if not model then
    return code
  end
  return queries.watched(context, function() return once(context, model) end)
end

return {
  name = "get",
  summary = "prints records by their ids",
  existing = true,
  operands = "TABLE ID…", least = 2, missing = "which record? Give a table and ids",
  options = queries.plus({
    { name = "version", type = "flag", help = "their versions too, for --if-version" },
    { name = "relationship", value = "PATH", type = "text", many = true,
      help = "fetch these records too (with --app)" },
    { name = "watch", value = "N", type = "seconds", min = 0.1, help = "again every N seconds, until Ctrl-C" },
  }, models.APP),
  examples = { "tito get user u1 --db ./data", "tito get post p1 --app app.lua --relationship tags.category --json" },
  codes = { { 10, "a record is not there" } },
  run = run,
}
