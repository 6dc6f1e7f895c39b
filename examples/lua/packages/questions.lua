--- Questions about the packages, and their answers on standard output.
local progress = require "packages.progress"
local tito = require "tito"

local questions = {}

local PAGE = 10

local function names_of(packages)
  local names = {}
  for i, package in ipairs(packages or {}) do
    names[i] = package.id
  end
  return #names > 0 and table.concat(names, ", ") or "nothing"
end

local function size_text(bytes)
  return bytes >= 1e6 and ("%.1f MB"):format(bytes / 1e6) or ("%.0f kB"):format(bytes / 1e3)
end

local answers = {}

--- largest N SECTION
function answers.largest(models, argument)
  local n, section = argument:match("^(%d+)%s+(%S+)$")
  if not n then
    return nil, "largest N SECTION"
  end
  local page = assert(models.Package:query_by_index("by_section"):value(section):limit(tonumber(n)):execute_reverse())
  for i, package in ipairs(page.items) do
    print(("%3d. %-32s %10s  %s"):format(i, package.id, size_text(package.size), package.description or ""))
  end
  return #page.items
end

--- maintainer NAME
function answers.maintainer(models, argument)
  if argument == "" then
    return nil, "maintainer NAME (or the beginning of one)"
  end
  local count = 0
  for maintainer in models.Maintainer:query_by_index("by_name"):starts_with(argument):each() do
    print(("%s <%s>"):format(maintainer.name, maintainer.id))
    local query = models.Package:query_by_index("by_maintainer"):value(maintainer.id):relationship("depends")
    for package in query:each() do
      count = count + 1
      print(("  %s %s: depends on %s"):format(package.id, package.version, names_of(package.depends)))
    end
  end
  return count
end

--- package NAME
function answers.package(models, argument)
  local package = models.Package:find_by_id(argument, { "depends", "maintainer" })
  if not package then
    print(("There is no package %q."):format(argument))
    return 0
  end
  print(("%s %s (%s, %s)%s"):format(package.id, package.version, package.section, size_text(package.size),
    package.installed and ", installed" or ""))
  print("  " .. (package.description or ""))
  print(("  maintained by %s"):format(package.maintainer and package.maintainer.name or package.maintainer_id))
  print(("  tags: %s"):format(#package.tags > 0 and table.concat(package.tags, ", ") or "none"))
  print(("  depends on %s"):format(names_of(package.depends)))
  local query = models.Package:query_by_index("by_dependency"):value(package.id)
  print(("  %d packages depend on it, such as %s"):format(assert(query:count()),
    names_of(assert(query:limit(PAGE):execute()).items)))
  return 1
end

--- page SECTION [CURSOR]
function answers.page(models, argument)
  local section, cursor = argument:match("^(%S+)%s*(%S*)$")
  if not section then
    return nil, "page SECTION [CURSOR]"
  end
  local query = models.Package:query_by_index("by_section"):value(section):limit(PAGE)
  local page, err = query:cursor(cursor ~= "" and cursor or nil):execute()
  if not page then
    print(tostring(err))
    return 0
  end
  for _, package in ipairs(page.items) do
    print(("  %-32s %10s"):format(package.id, size_text(package.size)))
  end
  print(page.cursor and ("next page: page %s %s"):format(section, page.cursor) or "this was the last page")
  return #page.items
end

--- tag TAG
function answers.tag(models, argument)
  local query = models.Package:query_by_index("by_tag"):value(argument)
  print(("%d packages have the tag %s"):format(assert(query:count()), argument))
  local page = assert(query:limit(PAGE):execute())
  print("  " .. names_of(page.items))
  return #page.items
end

--- installed SECTION
function answers.installed(models, argument)
  local page = assert(models.Package:query_by_index("installed"):value(argument):limit(1000):execute())
  print(("%d installed packages in %s: %s"):format(#page.items, argument, names_of(page.items)))
  return #page.items
end

--- sections
function answers.sections(models)
  local sections = assert(models.Section:scan { limit = 1000 }).items
  table.sort(sections, function(a, b) return a.packages > b.packages end)
  for _, section in ipairs(sections) do
    print(("  %-24s %6d packages %12s"):format(section.id, section.packages, size_text(section.size)))
  end
  return #sections
end

local HELP = [[
largest N SECTION        the N largest packages of a section
maintainer NAME          all packages of the maintainers whose name begins so, with what they depend on
package NAME             a package, what it depends on, and what depends on it
page SECTION [CURSOR]    the packages of a section by size, ten at a time
tag TAG                  the packages with a tag (interface::commandline)
installed SECTION        what of a section is installed here
sections                 the totals per section
help, quit]]

--- Answers one line; prints how long it took. false when it was not understood.
function questions.answer(models, line)
  local word, argument = line:match("^%s*(%S+)%s*(.-)%s*$")
  if not word or word == "help" then
    print(HELP)
    return word ~= nil
  end
  local answer = answers[word]
  if not answer then
    print(("I do not know %q; help lists what can be asked."):format(word))
    return false
  end
  local began = tito.now()
  local count, usage = answer(models, argument)
  if not count then
    print("usage: " .. usage)
    return false
  end
  local seconds = tito.now() - began
  print(("(%d in %.1f ms, %.0f/s)"):format(count, seconds * 1e3, count / math.max(seconds, 1e-6)))
  return true
end

--- Asks until the input ends or somebody quits.
function questions.prompt(models)
  print("Ask about the packages; help lists the questions, quit ends.")
  while true do
    io.write("packages> ")
    io.flush()
    local line = io.read("l")
    if not line or line:match("^%s*quit%s*$") or line:match("^%s*exit%s*$") then
      if not line then
        print()
      end
      return
    end
    if line:match("%S") then
      questions.answer(models, line)
    end
  end
end

--- Says what the program used.
function questions.farewell()
  local mib = progress.memory_mib()
  if mib then
    print(("At most %.0f MiB of memory were resident."):format(mib))
  end
end

return questions
