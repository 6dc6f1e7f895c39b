-- All packages of this machine's Debian lists: imported with indexes and events, counted by a worker, then asked about.
--
--     packages [--db TARGET] [--file FILE] [--limit N] [--no-import] [--ask QUESTION]...
local importer = require "packages.importer"
local models = require "packages.models"
local questions = require "packages.questions"
local tito = require "tito"
local totals = require "packages.totals"

local USAGE = [[
usage: packages [OPTIONS]
  --db TARGET      a directory or memory:; default: $TITO_DB, else a new temporary directory
  --file FILE      packages in the format of `apt-cache dumpavail`, instead of this machine's lists
  --limit N        at most N packages
  --no-import      only ask: the database was filled by an earlier run
  --ask QUESTION   answer this instead of prompting; may be given several times
Questions: largest N SECTION, maintainer NAME, package NAME, page SECTION [CURSOR], tag TAG, installed SECTION,
sections, help.]]

local function parse(arguments)
  local options = { asks = {}, import = true }
  local i = 1
  local function value()
    i = i + 1
    if not arguments[i] then
      io.stderr:write(USAGE, "\n")
      os.exit(2)
    end
    return arguments[i]
  end
  while i <= #arguments do
    local name = arguments[i]
    if name == "--db" then
      options.target = value()
    elseif name == "--file" then
      options.file = value()
    elseif name == "--limit" then
      options.limit = tonumber(value())
    elseif name == "--no-import" then
      options.import = false
    elseif name == "--ask" then
      options.asks[#options.asks + 1] = value()
    else
      (name == "--help" and io.stdout or io.stderr):write(USAGE, "\n")
      os.exit(name == "--help" and 0 or 2)
    end
    i = i + 1
  end
  return options
end

local function new_directory()
  local name = os.tmpname()
  os.remove(name)
  return name .. "-packages"
end

local options = parse(arg)
local target = options.target or os.getenv("TITO_DB") or new_directory()
local began = tito.now()
local db = assert(tito.connect(target, { durability = "buffered" }))
local declared = models.declare(db)
print(("Opened %s in %.1f ms"):format(target, (tito.now() - began) * 1e3))

if options.import then
  local stored = importer.run(db, declared, options.file, options.limit)
  if stored == 0 then
    print("Nothing was new. (Are there package lists? `apt-get update` fetches them.)")
  end
  totals.run(db, declared, stored)
end

if #options.asks > 0 then
  for _, question in ipairs(options.asks) do
    print("> " .. question)
    questions.answer(declared, question)
  end
else
  questions.prompt(declared)
end
questions.farewell()
assert(db:close())
