--- The packages of this machine's Debian lists, one after the other: nothing is kept in memory.
local tito = require "tito"

local source = {}

--- Reads a command's lines; raises when it can not be run.
local function lines_of(command)
  local pipe = assert(io.popen("{ " .. command .. "; } 2>/dev/null", "r"))
  return pipe
end

--- The names of the installed packages, as a set; empty where dpkg is not.
function source.installed()
  local names = {}
  local pipe = lines_of("dpkg-query -W -f='${Package}\\t${db:Status-Status}\\n'")
  for line in pipe:lines() do
    local name, status = line:match("^(%S+)\t(%S+)")
    if status == "installed" then
      names[name] = true
    end
  end
  pipe:close()
  return names
end

--- About how many packages there are; nil when it is not known.
function source.count()
  local pipe = lines_of("apt-cache stats")
  local text = pipe:read("a") or ""
  pipe:close()
  return tonumber(text:match("Normal packages:%s*(%d+)"))
end

local WANTED = {
  Package = "id", Version = "version", Section = "section", Maintainer = "maintainer", Size = "size",
  ["Installed-Size"] = "installed_size", Depends = "depends", ["Pre-Depends"] = "pre_depends", Tag = "tags",
  Description = "description", Homepage = "homepage",
}

--- What prints the machine's lists. The rest of a stanza (more than half) is dropped by grep, beside this process.
local function dump_command()
  local names = {}
  for name in pairs(WANTED) do
    names[#names + 1] = name
  end
  table.sort(names)
  return ("apt-cache dumpavail | LC_ALL=C grep -E '^((%s):|[ \t]|$)'"):format(table.concat(names, "|"))
end

--- "a (>= 1) | b, c:any" → the names a, b, c, each once.
local function add_names(text, names, seen)
  for name in text:gmatch("([%w.+-]+)[^,|]*") do
    if not seen[name] then
      seen[name] = true
      names[#names + 1] = name
    end
  end
end

local function list_of(text)
  local items = {}
  for item in (text or ""):gmatch("[^,%s]+") do
    items[#items + 1] = item
  end
  return items
end

--- The document of a package, and its maintainer's.
local function documents_of(stanza, installed)
  local depends, seen = {}, {}
  add_names(stanza.pre_depends or "", depends, seen)
  add_names(stanza.depends or "", depends, seen)
  local name, mail = (stanza.maintainer or "unknown"):match("^%s*(.-)%s*<(.-)>")
  name, mail = name or stanza.maintainer or "unknown", mail or "unknown"
  return {
    id = stanza.id,
    version = stanza.version,
    section = stanza.section or "none",
    size = math.tointeger(tonumber(stanza.size)) or 0,
    installed_size = math.tointeger(tonumber(stanza.installed_size)),
    description = stanza.description,
    homepage = stanza.homepage,
    maintainer_id = mail,
    depends_ids = tito.array(depends),
    tags = tito.array(list_of(stanza.tags)),
    installed = installed[stanza.id] or false,
  }, { id = mail, name = name }
end

--- Iterates over (package, maintainer). file: in the format of `apt-cache dumpavail`, or nil for the machine's lists.
function source.packages(installed, file)
  local input = file and assert(io.open(file, "r")) or lines_of(dump_command())
  local next_line = input:lines()
  local function next_stanza()
    local stanza, field
    for line in next_line do
      if line == "" then
        if stanza then
          return stanza
        end
      elseif line:byte() == 32 or line:byte() == 9 then -- a field goes on
        if field == "tags" then
          stanza.tags = stanza.tags .. line
        end
      else
        local colon = line:find(":", 1, true)
        field = colon and WANTED[line:sub(1, colon - 1)]
        if field then
          stanza = stanza or {}
          stanza[field] = line:sub(colon + 2)
        end
      end
    end
    return stanza
  end
  return function()
    local stanza = next_stanza()
    while stanza and not stanza.id do
      stanza = next_stanza()
    end
    if stanza then
      return documents_of(stanza, installed)
    end
    input:close()
  end
end

return source
