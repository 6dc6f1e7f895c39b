--- `tito backup`: a copy of an embedded database's files, or the verifying of one.
local backups = require "tito.cli.backups"

local function run(context)
  local dir, options = context.words[1], context.options
  if options.verify then
    if options.base then
      return context.misuse("--verify makes no backup: it takes no --base")
    end
    return backups.run(context, "verified", function(settings)
      return require("tito").verify_backup(dir, settings)
    end)
  end
  if (options.db or os.getenv "TITO_DB" or "") == "" then
    return context.misuse("no database: give --db TARGET, or set TITO_DB")
  end
  local db = context.open()
  return backups.run(context, "made", function(settings)
    settings.base = options.base
    return db:backup(dir, settings)
  end)
end

return {
  name = "backup",
  summary = "makes or verifies a backup of an embedded database",
  text = {
    "Makes a backup of a database in DIR, which must be new or empty: a whole database, that can be opened, and a list "
      .. "of its files with their digests. There is nothing at DIR until all of it is. On the file system of the "
      .. "database the files that never change are hard links: it is quick, and takes no room, but a broken disk "
      .. "takes both. On another one, give an earlier backup there as --base, and files that are the same are hard "
      .. "links to its.",
    "An embedded database belongs to one process: while an app has it open, the app makes the backup (db:backup). A "
      .. "cluster has no files here: use tito dump, or TiKV's own backup tool (br).",
  },
  operands = "DIR", least = 1, most = 1, missing = "where to? Give a directory",
  existing = true,
  options = {
    { name = "db", value = "TARGET", type = "target", help = "the database: a directory ($TITO_DB)" },
    { name = "base", value = "DIR", type = "file", help = "an earlier backup whose files may be shared" },
    { name = "verify", type = "flag",
      help = "make none: compare the backup in DIR with its digests; needs no database" },
  },
  without = { db = true },
  examples = {
    "tito backup /backup/monday --db ./data",
    "tito backup /backup/tuesday --base /backup/monday --db ./data",
    "tito backup /backup/monday --verify",
  },
  run = run,
}
