--- `tito restore`: a database of a backup.
local backups = require "tito.cli.backups"

local function run(context)
  local target = context.options.db or os.getenv "TITO_DB"
  return backups.run(context, "restored", function(settings)
    return require("tito").restore(context.words[1], target, settings)
  end)
end

return {
  name = "restore",
  summary = "makes a database of a backup",
  text = {
    "Copies the backup in DIR to the directory that --db names, which must be new or empty. Every file is compared "
      .. "with its digest on the way; there is nothing at the directory until all of it is there and right.",
  },
  operands = "DIR", least = 1, most = 1, missing = "what from? Give the directory of a backup",
  options = {},
  examples = { "tito restore /backup/monday --db ./data" },
  run = run,
}
