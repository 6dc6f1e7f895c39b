--- Stores the packages in batches: a batch, with its index entries and events, is one transaction.
local progress = require "packages.progress"
local source = require "packages.source"
local tito = require "tito"

local importer = {}

local BATCH = 500
local WITH_EVENTS = tito.with_events(tito.INSERT)

--- Stores what of the batch is not there yet; how many that were.
local function store(db, models, batch)
  return db:transaction(function(tx)
    local known = {}
    for _, package in ipairs(assert(models.Package:find_many(batch.ids, nil, tx))) do
      known[package.id] = true
    end
    for _, maintainer in pairs(batch.maintainers) do
      assert(models.Maintainer:save(maintainer, tx))
    end
    local stored = 0
    for _, package in ipairs(batch.packages) do
      if not known[package.id] then
        assert(models.Package:build_with_options(package, WITH_EVENTS, tx))
        stored = stored + 1
      end
    end
    return stored
  end)
end

local function new_batch()
  return { packages = {}, ids = tito.array(), seen = {}, maintainers = {} }
end

--- Adds a package, unless the batch has it in another version.
local function add(batch, package, maintainer)
  if batch.seen[package.id] then
    return
  end
  batch.seen[package.id] = true
  batch.ids[#batch.ids + 1] = package.id
  batch.packages[#batch.packages + 1] = package
  batch.maintainers[maintainer.id] = maintainer
end

--- Imports at most limit packages (nil: all) of file (nil: the machine's lists); how many were stored.
function importer.run(db, models, file, limit)
  local bar = progress.start("Importing", limit or (not file and source.count()) or nil)
  local stored, batch = 0, new_batch()
  local function flush()
    if #batch.packages > 0 then
      stored = stored + assert(store(db, models, batch))
      bar:add(#batch.packages)
      batch = new_batch()
    end
  end
  for package, maintainer in source.packages(source.installed(), file) do
    add(batch, package, maintainer)
    if #batch.packages == BATCH or bar.done + #batch.packages == limit then
      flush()
      if bar.done == limit then
        break
      end
    end
  end
  flush()
  bar:finish("packages with their indexes and events")
  return stored
end

return importer
