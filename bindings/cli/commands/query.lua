--- `tito query TABLE INDEX VALUE…`
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
  name = "query",
  summary = "prints the records that an index finds",
  text = {
    "Finds records by an index: values of its first fields, then at most one range of the next. Values have the type "
      .. "that the index gives the field; json:null is null, json:\"…\" a string in JSON.",
  },
  existing = true,
  operands = "TABLE INDEX [VALUE…]", least = 2, missing = "which index? Give a table, an index and values",
  options = queries.plus(queries.RANGE, queries.PAGE, models.APP),
  examples = {
    "tito query post by_author Alice --gte 20230101 --db ./data",
    "tito query user by_email --starts-with ada@ --columns id,address.city",
    "tito query job by_state waiting --limit 20 --watch 2",
  },
  run = run,
}
