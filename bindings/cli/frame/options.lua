--- Options: how a command line is read against a command's table, and what each type of value is.
--
--   { name = "limit", value = "N", type = "integer", min = 1, default = 100, help = "…" }
--     short     one letter: -e
--     many      may be given more than once: a list
--     choices   of type "choice"
--     needless  the value of `--name` without `=VALUE`
--
-- A number is all of its text, within its bounds; nothing is guessed, no name may be shortened.
local options = {}

local SECONDS_MAX = 86400

--- The seconds since 1970 of a time as people write it; nil when it is none.
function options.seconds_of(text)
  local y, mo, d, h, mi, s = text:match("^(%d%d%d%d)%-(%d%d)%-(%d%d)T(%d%d):(%d%d):(%d%d%.?%d*)Z$")
  if not y then
    local n = not text:find("[xX]") and tonumber(text) or nil
    return n and n == n and math.abs(n) < 1e12 and n or nil
  end
  -- days since 1970 of a civil date (years begin in March)
  y, mo, d = tonumber(y), tonumber(mo), tonumber(d)
  if mo < 1 or mo > 12 or d < 1 or d > 31 or tonumber(h) > 23 or tonumber(mi) > 59 or tonumber(s) >= 61 then
    return nil
  end
  if mo <= 2 then
    y, mo = y - 1, mo + 12
  end
  local days = 365 * y + y // 4 - y // 100 + y // 400 + (153 * (mo - 3) + 2) // 5 + d - 1 - 719468
  return days * 86400 + tonumber(h) * 3600 + tonumber(mi) * 60 + tonumber(s)
end

local function whole(text)
  return text:match("^%-?%d+$") and math.tointeger(text) or nil
end

--- Each: parse(text, option, cli) gives the value, or nil; expected(option) says what it should have been.
local kinds = {
  text = { parse = function(text) return text end, expected = function() return "text" end },
  file = { parse = function(text) return text ~= "" and text or nil end, expected = function() return "a path" end },
  target = { parse = function(text) return text end, expected = function() return "a target" end },
  integer = {
    parse = function(text, option)
      local n = whole(text)
      return n and n >= (option.min or 1) and n <= (option.max or math.maxinteger) and n or nil
    end,
    expected = function(option)
      if option.max then
        return ("a whole number from %d to %d"):format(option.min or 1, option.max)
      end
      return ("a whole number from %d on"):format(option.min or 1)
    end,
  },
  seconds = {
    parse = function(text, option)
      local n = text:match("^%d+%.?%d*$") and tonumber(text)
      return n and n >= (option.min or 0) and n <= (option.max or SECONDS_MAX) and n or nil
    end,
    expected = function(option)
      return ("seconds from %s to %s"):format(option.min or 0, option.max or SECONDS_MAX)
    end,
  },
  time = {
    parse = options.seconds_of,
    expected = function() return "seconds since 1970 or 2026-01-31T12:00:00Z" end,
  },
  choice = {
    parse = function(text, option)
      for _, choice in ipairs(option.choices) do
        if choice == text then
          return text
        end
      end
      return nil
    end,
    expected = function(option)
      return table.concat(option.choices, ", ", 1, #option.choices - 1) .. " or " .. option.choices[#option.choices]
    end,
  },
  pair = {
    parse = function(text)
      local name, value = text:match("^([^=]+)=(.*)$")
      return name and #name < 64 and { name = name, value = value } or nil
    end,
    expected = function() return "NAME=VALUE" end,
  },
  range = {
    parse = function(text, option)
      local from, to = text:match("^(%d+)%-(%d+)$")
      from, to = whole(from or ""), whole(to or "")
      return from and to and from < to and to <= option.max and { from = from, to = to } or nil
    end,
    expected = function(option) return ("FROM-TO, with 0 <= FROM < TO <= %d,"):format(option.max) end,
  },
  address = {
    parse = function(text, _, cli) return cli.is_address(text) and text or nil end,
    expected = function() return "HOST:PORT or [HOST]:PORT" end,
  },
}

--- The name of an option in context.options: --log-level is log_level.
function options.key(option)
  return (option.name:gsub("%-", "_"))
end

local function find(list, name)
  for _, option in ipairs(list) do
    if option.name == name or option.short == name then
      return option
    end
  end
  return nil
end

--- The value of an option from its text: the value, or nil and what is wrong.
function options.value(option, text, cli)
  local kind = kinds[option.type]
  local value = kind.parse(text, option, cli)
  if value == nil then
    return nil, ("--%s '%s': %s expected"):format(option.name, text, kind.expected(option))
  end
  return value
end

--- Cuts one word into the option it names and the text of its value; nil when it is an operand.
local function option_of(word, list)
  local name, text = word:match("^%-%-([^=]+)=(.*)$")
  name = name or word:match("^%-%-(.+)$") or word:match("^%-(%a)$")
  if not name then
    return nil
  end
  local option = find(list, name)
  if not option then
    return false, ("there is no option '%s'"):format(word:match("^[^=]*"))
  end
  return option, text
end

local function store(out, option, value)
  local key = options.key(option)
  if option.many then
    out[key] = out[key] or {}
    table.insert(out[key], value)
  else
    out[key] = value
  end
end

--- Reads words[from…] against a list of options: what was given by key, the operands, and the options that were given
-- by name; or nil and what is wrong. What was not given has its default.
function options.parse(words, from, list, cli)
  local out, operands, given = {}, {}, {}
  local i, only_operands = from, false
  while i <= #words do
    local word = words[i]
    local option, text
    if word == "--" and not only_operands then
      only_operands = true
      goto continue
    end
    if not only_operands and #word > 1 then
      option, text = option_of(word, list)
    end
    if option == false then
      return nil, text
    elseif not option then
      operands[#operands + 1] = word
    elseif option.type == "flag" then
      if text then
        return nil, ("--%s takes no value"):format(option.name)
      end
      store(out, option, true)
    else
      if not text and option.needless then
        text = option.needless
      elseif not text then
        i = i + 1
        text = words[i]
      end
      if not text then
        return nil, ("--%s requires an argument"):format(option.name)
      end
      local value, wrong = options.value(option, text, cli)
      if value == nil then
        return nil, wrong
      end
      store(out, option, value)
    end
    if option then
      given[option.name] = true
    end
    ::continue::
    i = i + 1
  end
  for _, option in ipairs(list) do
    if out[options.key(option)] == nil then
      out[options.key(option)] = option.default
    end
  end
  return out, operands, given
end

return options
