--- What a command's table says to people: --help, the manual page, completions of shells.
--
-- All of them are made from the same table, so that none says what another does not.
local describe = {}

local WIDTH, COLUMN = 100, 26

-- ---- Text

--- The lines of text, cut between words.
local function wrapped(text, width)
  local lines, line = {}, ""
  for word in text:gmatch("%S+") do
    if line ~= "" and utf8.len(line) + 1 + utf8.len(word) > width then
      lines[#lines + 1], line = line, word
    else
      line = line == "" and word or line .. " " .. word
    end
  end
  lines[#lines + 1] = line
  return lines
end

--- "-e, --execute CODE"
local function label(option)
  local value = option.type ~= "flag" and (option.needless and "[=%s]" or " %s"):format(option.value) or ""
  return (option.short and "-" .. option.short .. ", " or "") .. "--" .. option.name .. value
end

local function explanation(option)
  local text = option.help
  if option.choices then
    text = text .. ": " .. table.concat(option.choices, ", ")
  end
  if option.many then
    text = text .. "; more than once"
  end
  if option.default ~= nil then
    text = ("%s (%s)"):format(text, option.default_text or tostring(option.default))
  end
  return text
end

--- Adds "  left    right", right in lines of its own column.
local function add_entry(out, left, right)
  local lines = wrapped(right, WIDTH - COLUMN)
  if utf8.len(left) > COLUMN - 4 then
    out[#out + 1] = "  " .. left
  else
    out[#out + 1] = "  " .. left .. (" "):rep(COLUMN - 2 - utf8.len(left)) .. table.remove(lines, 1)
  end
  for _, line in ipairs(lines) do
    out[#out + 1] = (" "):rep(COLUMN) .. line
  end
end

local function add_options(out, title, list)
  if #list == 0 then
    return
  end
  out[#out + 1] = ""
  out[#out + 1] = title
  for _, option in ipairs(list) do
    add_entry(out, label(option), explanation(option))
  end
end

local function usage(command, action)
  local words = { "tito", command.name }
  if action then
    words[#words + 1] = action.name
  elseif command.actions then
    words[#words + 1] = "ACTION"
  end
  local operands = (action or command).operands
  if operands and operands ~= "" then
    words[#words + 1] = operands
  end
  words[#words + 1] = "[OPTIONS]"
  return table.concat(words, " ")
end

--- What a command does, in paragraphs; lines of code begin with four spaces.
local function text_of(command)
  return command.text or { command.summary:sub(1, 1):upper() .. command.summary:sub(2) .. "." }
end

--- The codes that every command may end with, then its own.
local function codes_of(command, common)
  local codes, seen = {}, {}
  for _, code in ipairs(command.codes or {}) do
    codes[#codes + 1], seen[code[1]] = code, true
  end
  for _, code in ipairs(command.own_codes and {} or common) do
    if not seen[code[1]] then
      codes[#codes + 1] = code
    end
  end
  table.sort(codes, function(a, b) return a[1] < b[1] end)
  return codes
end

local function sentence(codes)
  local parts = {}
  for i, code in ipairs(codes) do
    parts[i] = ("%d %s"):format(code[1], code[2])
  end
  return table.concat(parts, ", ") .. "."
end

local function add_text(out, shape)
  for _, paragraph in ipairs(text_of(shape)) do
    if paragraph:find("^    ") then
      out[#out + 1] = paragraph
    else
      for _, line in ipairs(wrapped(paragraph, WIDTH)) do
        out[#out + 1] = line
      end
    end
  end
end

local function add_actions(out, command)
  out[#out + 1] = ""
  for _, action in ipairs(command.actions) do
    add_entry(out, (action.name .. " " .. (action.operands or "")):gsub(" $", ""), action.summary)
  end
  for _, action in ipairs(command.actions) do
    add_options(out, ("Options of %s:"):format(action.name), action.options or {})
  end
end

--- The examples of a command, or of one of its actions.
local function examples_of(command, action)
  local start = ("tito %s %s"):format(command.name, action and action.name or "")
  local list = {}
  for _, example in ipairs(command.examples) do
    local found = not action or (example .. " "):sub(1, #start + 1) == start .. " "
    list[#list + 1] = found and example or nil
  end
  return list
end

--- --help of a command, or of one of its actions. common: its options that others have too; codes: the common exit
-- codes.
function describe.help(command, common, codes, action)
  local out = { "usage: " .. usage(command, action), "" }
  add_text(out, action or command)
  if action then
    add_options(out, "Options:", action.options or {})
  elseif command.actions then
    add_actions(out, command)
  end
  add_options(out, action and "Options of every action:" or "Options:", command.options or {})
  add_options(out, "Common options:", common)
  out[#out + 1] = ""
  out[#out + 1] = "Examples:"
  for _, example in ipairs(examples_of(command, action)) do
    out[#out + 1] = "  " .. example
  end
  out[#out + 1] = ""
  for _, note in ipairs(command.notes or {}) do
    for _, line in ipairs(wrapped(note, WIDTH)) do
      out[#out + 1] = line
    end
  end
  for _, line in ipairs(wrapped("Exit codes: " .. sentence(codes_of(command, codes)), WIDTH)) do
    out[#out + 1] = line
  end
  return table.concat(out, "\n") .. "\n"
end

--- --help of the program.
function describe.overview(commands)
  local out = { "usage: tito COMMAND [OPTIONS] …", "" }
  for _, command in ipairs(commands) do
    add_entry(out, "tito " .. command.name, command.summary)
  end
  out[#out + 1] = ""
  add_entry(out, "tito COMMAND --help", "the options of a command, with examples")
  add_entry(out, "tito --version", "the version")
  return table.concat(out, "\n") .. "\n"
end

-- ---- For programs

local function options_table(list)
  local out = {}
  for i, option in ipairs(list or {}) do
    out[i] = { name = option.name, short = option.short, type = option.type, help = option.help, value = option.value,
      default = option.default, choices = option.choices, many = option.many }
  end
  return out
end

--- What there is to know of a command, as values.
function describe.table_of(command, common)
  local actions = command.actions and {} or nil
  for i, action in ipairs(command.actions or {}) do
    actions[i] = { name = action.name, operands = action.operands, summary = action.summary,
      options = action.options and options_table(action.options) }
  end
  return { name = command.name, summary = command.summary, operands = command.operands, actions = actions,
    text = text_of(command), options = command.options and #command.options > 0 and options_table(command.options)
    or nil, common = options_table(common), examples = command.examples }
end

-- ---- The manual page

local function roff(text)
  text = text:gsub("\\", "\\e"):gsub("%-", "\\-")
  return (text:gsub("^([.'])", "\\&%1"))
end

local function roff_option(out, option)
  out[#out + 1] = ".TP\n.B " .. roff(label(option)) .. "\n" .. roff(explanation(option))
end

local function roff_command(out, command)
  out[#out + 1] = ".SS " .. roff(usage(command))
  for _, paragraph in ipairs(text_of(command)) do
    local code = paragraph:find("^    ") ~= nil
    out[#out + 1] = (code and ".nf\n" or ".PP\n") .. roff(paragraph) .. (code and "\n.fi" or "")
  end
  for _, action in ipairs(command.actions or {}) do
    out[#out + 1] = ".TP\n.B " .. roff(("%s %s"):format(action.name, action.operands or "")) .. "\n"
      .. roff(action.summary)
    out[#out + 1] = #(action.options or {}) > 0 and ".RS" or nil
    for _, option in ipairs(action.options or {}) do
      roff_option(out, option)
    end
    out[#out + 1] = #(action.options or {}) > 0 and ".RE" or nil
  end
  for _, option in ipairs(command.options or {}) do
    roff_option(out, option)
  end
  out[#out + 1] = ".PP\nExamples:\n.PP\n.nf"
  for _, example in ipairs(command.examples) do
    out[#out + 1] = ".RS 4\n" .. roff(example) .. "\n.RE"
  end
  out[#out + 1] = ".fi"
  for _, code in ipairs(command.codes or {}) do
    out[#out + 1] = (".TP\nexit code %d\n%s"):format(code[1], roff(code[2]))
  end
end

--- tito.1
function describe.manual(commands, common, codes, version)
  local out = { ('.TH TITO 1 "" "tito %s" "User Commands"'):format(version) }
  out[#out + 1] = ".SH NAME\ntito \\- looks into a tito database and operates it"
  out[#out + 1] = ".SH SYNOPSIS\n.B tito\n.I COMMAND\n[\\fIOPTIONS\\fR] ..."
  out[#out + 1] = ".SH DESCRIPTION\nThe database is a directory (embedded), memory:, or tikv://pd1:2379,pd2:2379 (a "
    .. "TiKV cluster). "
    .. "An embedded database belongs to one process at a time."
  out[#out + 1] = ".SH COMMON OPTIONS"
  for _, option in ipairs(common) do
    roff_option(out, option)
  end
  out[#out + 1] = ".SH COMMANDS"
  for _, command in ipairs(commands) do
    roff_command(out, command)
  end
  out[#out + 1] = ".SH EXIT STATUS"
  for _, code in ipairs(codes) do
    out[#out + 1] = (".TP\n.B %d\n%s"):format(code[1], roff(code[2]))
  end
  out[#out + 1] = ".SH ENVIRONMENT\n.TP\n.B TITO_DB\nthe database, where \\-\\-db is not given\n"
    .. ".TP\n.B NO_COLOR\nno colours, unless \\-\\-color says otherwise"
  return table.concat(out, "\n") .. "\n"
end

-- ---- Completions

--- Every option that may stand on a command's line, its actions' and the common ones included, each name once.
function describe.all_options(command, common)
  local list, seen = {}, {}
  local function add(options)
    for _, option in ipairs(options or {}) do
      if not seen[option.name] then
        list[#list + 1], seen[option.name] = option, true
      end
    end
  end
  add(command.options)
  for _, action in ipairs(command.actions or {}) do
    add(action.options)
  end
  add(common)
  return list
end

local function names(list, prefix)
  local out = {}
  for i, item in ipairs(list) do
    out[i] = (prefix or "") .. item.name
  end
  return table.concat(out, " ")
end

local shells = {}

function shells.bash(commands, common_of)
  local out = {
    "# bash completion of tito. Made by: tito completion bash",
    "_tito() {",
    "    local word=${COMP_WORDS[COMP_CWORD]} last=${COMP_WORDS[COMP_CWORD-1]} options= actions=",
    "    COMPREPLY=()",
    "    if [ \"$COMP_CWORD\" -eq 1 ]; then",
    ("        COMPREPLY=($(compgen -W '%s --help --version' -- \"$word\"))"):format(names(commands)),
    "        return",
    "    fi",
    "    case ${COMP_WORDS[1]} in",
  }
  for _, command in ipairs(commands) do
    local list = describe.all_options(command, common_of(command))
    out[#out + 1] = ("    %s)"):format(command.name)
    out[#out + 1] = ("        options='%s' actions='%s'"):format(names(list, "--"), names(command.actions or {}))
    out[#out + 1] = "        case $last in"
    for _, option in ipairs(list) do
      if option.choices and not option.needless then
        out[#out + 1] = ("        --%s) COMPREPLY=($(compgen -W '%s' -- \"$word\")); return ;;"):format(option.name,
          table.concat(option.choices, " "))
      elseif option.type == "file" or option.type == "target" then
        out[#out + 1] = ("        --%s) COMPREPLY=($(compgen -f -- \"$word\")); return ;;"):format(option.name)
      elseif option.type ~= "flag" and not option.needless then
        out[#out + 1] = ("        --%s) return ;;"):format(option.name)
      end
    end
    out[#out + 1] = "        esac"
    out[#out + 1] = "        ;;"
  end
  out[#out + 1] = "    esac"
  out[#out + 1] = "    case $word in"
  out[#out + 1] = "    -*) COMPREPLY=($(compgen -W \"$options\" -- \"$word\")) ;;"
  out[#out + 1] = "    *)"
  out[#out + 1] = "        if [ \"$COMP_CWORD\" -eq 2 ] && [ -n \"$actions\" ]; then"
  out[#out + 1] = "            COMPREPLY=($(compgen -W \"$actions\" -- \"$word\"))"
  out[#out + 1] = "        else"
  out[#out + 1] = "            COMPREPLY=($(compgen -f -- \"$word\"))"
  out[#out + 1] = "        fi ;;"
  out[#out + 1] = "    esac"
  out[#out + 1] = "}"
  out[#out + 1] = "complete -o filenames -F _tito tito"
  return table.concat(out, "\n") .. "\n"
end

--- Text inside of '…' and [ ] of zsh's _arguments.
local function zsh_text(text)
  return (text:gsub("'", "'\\''"):gsub("[%[%]:]", "\\%0"))
end

local function zsh_option(option)
  local spec = (option.many and "*" or "") .. "--" .. option.name .. (option.needless and "=-" or "")
    .. "[" .. zsh_text(option.help) .. "]"
  if option.type == "flag" then
    return spec
  end
  spec = spec .. (option.needless and "::" or ":") .. zsh_text(option.value) .. ":"
  if option.choices then
    spec = spec .. "(" .. table.concat(option.choices, " ") .. ")"
  elseif option.type == "file" or option.type == "target" then
    spec = spec .. "_files"
  end
  return spec
end

function shells.zsh(commands, common_of)
  local out = { "#compdef tito", "# zsh completion of tito. Made by: tito completion zsh", "_tito() {",
    "    local -a commands",
    "    commands=(" }
  for _, command in ipairs(commands) do
    out[#out + 1] = ("        '%s:%s'"):format(command.name, zsh_text(command.summary))
  end
  out[#out + 1] = "    )"
  out[#out + 1] = "    if (( CURRENT == 2 )); then\n        _describe command commands\n        return\n    fi"
  out[#out + 1] = "    local command=$words[2]\n    shift words\n    (( CURRENT-- ))\n    case $command in"
  for _, command in ipairs(commands) do
    out[#out + 1] = ("    %s)\n        _arguments \\"):format(command.name)
    for _, option in ipairs(describe.all_options(command, common_of(command))) do
      out[#out + 1] = ("            '%s' \\"):format(zsh_option(option))
    end
    if command.actions then
      out[#out + 1] = ("            '1:action:(%s)' \\"):format(names(command.actions))
    end
    out[#out + 1] = "            '*:operand:_files' ;;"
  end
  out[#out + 1] = "    esac\n}\n_tito \"$@\""
  return table.concat(out, "\n") .. "\n"
end

local function fish_text(text)
  return (text:gsub("\\", "\\\\"):gsub("'", "\\'"))
end

function shells.fish(commands, common_of)
  local out = { "# fish completion of tito. Made by: tito completion fish" }
  for _, command in ipairs(commands) do
    out[#out + 1] = ("complete -c tito -f -n __fish_use_subcommand -a %s -d '%s'"):format(command.name,
      fish_text(command.summary))
    local here = ("-n '__fish_seen_subcommand_from %s'"):format(command.name)
    for _, action in ipairs(command.actions or {}) do
      out[#out + 1] = ("complete -c tito %s -f -a %s -d '%s'"):format(here, action.name, fish_text(action.summary))
    end
    for _, option in ipairs(describe.all_options(command, common_of(command))) do
      local value = option.type == "flag" and ""
        or option.choices and (" -x -a '%s'"):format(table.concat(option.choices, " "))
        or (option.type == "file" or option.type == "target") and " -r -F" or " -x"
      out[#out + 1] = ("complete -c tito %s -l %s%s%s -d '%s'"):format(here, option.name,
        option.short and " -s " .. option.short or "", option.needless and "" or value, fish_text(option.help))
    end
  end
  return table.concat(out, "\n") .. "\n"
end

--- A shell's completion script; shell: bash, zsh or fish. common_of(command): its common options.
function describe.completion(shell, commands, common_of)
  return shells[shell](commands, common_of)
end

return describe
