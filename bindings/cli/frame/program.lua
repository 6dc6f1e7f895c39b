--- The program: which command is meant, its options, its run, its exit code.
--
--   argv ──> commands/NAME.lua ── options.parse ──> context ── run(context) ──> exit code
--
-- Called by program.c with the functions of the program (cli), returns main(words). What a command's file returns is
-- said in ../README.md.
--
-- INVARIANTS
--  1. Nothing of tito is required, and no database touched, before the command line is found right.
--  2. Every error of the library ends as an exit code of its class; a command maps none by itself.
local cli = ...

local describe = require "tito.cli.describe"
local options = require "tito.cli.options"
local output = require "tito.cli.output"
local progress = require "tito.cli.progress"

local OK, FAILED, USAGE, CLASS, INTERRUPTED, UNREAD = 0, 1, 2, 10, 130, 141

local COMMON = {
  { name = "db", value = "TARGET", type = "target",
    help = "a directory, memory:, or tikv://pd1:2379,pd2:2379 ($TITO_DB)" },
  { name = "db-option", value = "NAME=VALUE", type = "pair", many = true,
    help = "an option of the connection: namespace, durability, timeout_us, ca, cert, key, … (tito_db_new in tito.h "
      .. "lists them)" },
  { name = "json", type = "flag", help = "results as JSON, one value a line" },
  { name = "color", value = "WHEN", type = "choice", choices = { "auto", "always", "never" }, default = "auto",
    help = "colours" },
  { name = "log-level", value = "LEVEL", type = "choice", choices = { "error", "warn", "info", "debug" },
    default = "warn", help = "what is told on stderr" },
  { name = "help", short = "h", type = "flag", help = "this text" },
}

local CODES = {
  { OK, "done" }, { FAILED, "failed, or what was looked for was found wrong" }, { USAGE, "wrong usage" },
  { CLASS + 0, "not found" }, { CLASS + 1, "refused: the request is wrong as it is" },
  { CLASS + 2, "conflict with another transaction" }, { CLASS + 3, "the store is not available, or busy, or too slow" },
  { CLASS + 4, "the outcome of a commit is unknown" }, { CLASS + 5, "the store or the machine is broken" },
  { CLASS + 6, "a function of the app failed" }, { INTERRUPTED, "interrupted" },
  { UNREAD, "whoever read the output went away" },
}

-- ---- The commands

--- commands/drop_index.lua is `tito drop-index`.
local function load_command(name)
  for _, known in ipairs(cli.commands) do
    if known:gsub("_", "-") == name then
      return require("tito.cli.commands." .. known)
    end
  end
  return nil
end

local function all_commands()
  local list = {}
  for i, name in ipairs(cli.commands) do
    list[i] = require("tito.cli.commands." .. name)
  end
  table.sort(list, function(a, b) return a.name < b.name end)
  return list
end

--- The common options that a command has; it leaves others out by name: without = { json = true }.
local function common_of(command)
  local list = {}
  for _, option in ipairs(COMMON) do
    if not (command.without and command.without[option.name]) then
      local own = command.defaults and command.defaults[option.name]
      list[#list + 1] = own and setmetatable({ default = own }, { __index = option }) or option
    end
  end
  return list
end

local function action_of(command, name)
  for _, action in ipairs(command.actions or {}) do
    if action.name == name then
      return action
    end
  end
  return nil
end

local function misuse(called, text)
  io.stderr:write(called, ": ", text, "\nSee: ", called:match("^tito %S+") or "tito", " --help\n")
  return USAGE
end

--- Whether the options given belong to the action: its name, or nil and what is wrong.
local function check_action(command, action, given)
  local known = {}
  for _, list in ipairs { command.options or {}, action.options or {}, common_of(command) } do
    for _, option in ipairs(list) do
      known[option.name] = true
    end
  end
  for name in pairs(given) do
    if not known[name] then
      return nil, ("--%s is no option of %s"):format(name, action.name)
    end
  end
  return true
end

-- ---- The context of a run

--- The exit code of an error: by the class of its status; of any other value FAILED.
local function code_of(err)
  local class = type(err) == "table" and cli.class_of(tostring(err.code))
  return class and CLASS + class or FAILED
end

local function text_of(err)
  if type(err) == "table" and err.message then
    return err.message
  end
  local ok, text = pcall(tostring, err)
  local missing = ok and text:match "module '(tito[%w_.]*)' not found"
  if missing then
    return ("the Lua module '%s' is not found: it is installed together with this program (cmake --install), or "
      .. "LUA_PATH and LUA_CPATH say where it lies"):format(missing)
  end
  return ok and text or "an error that can not be shown"
end

local function database(given)
  local target = given.db or os.getenv "TITO_DB"
  local list = {}
  for _, pair in ipairs(given.db_option or {}) do
    list[pair.name] = pair.value
  end
  return target, list
end

--- Raises when an embedded database would have to be made.
local function expect_database(target)
  local folder = not target:find "^tikv://" and not target:find "^memory:" and target:gsub("^rocksdb:", "")
  if folder and not cli.machine.disk(folder) then
    error({ code = "not_found", message = ("there is no database at '%s'"):format(folder) }, 0)
  end
end

--- Opens the database of the options, with the models of the app when one is named; raises.
local function open(command, given, app)
  local target, list = database(given)
  if command.existing then
    expect_database(target)
  end
  local handle, code, message = cli.open(target, list)
  if not handle then
    error({ code = code, message = message }, 0)
  end
  require("tito.errors").own_folder "=tito.cli" -- errors name lines of the user's code alone
  return cli.host(app).open(handle, app)
end

local function new_context(command, action, given, words)
  local context = { words = words, options = given, action = action and action.name, command = command.name,
    out = output.new(given, cli), cli = cli }
  local opened

  --- The database, opened at the first call. The app of --app: its models are db.models.
  function context.open()
    opened = opened or open(command, given, given.app)
    return opened
  end

  --- A bar; see progress.lua. What has one looks at context.interrupted().
  function context.progress(total, what)
    cli.interrupted()
    return progress.new(cli, total, what, given.json or given.log_level == "error")
  end

  --- Whether Ctrl-C (or SIGTERM) came. From the first call on the command ends by itself, at a point it chooses, with
  -- return context.stopped(); a second signal ends it at once.
  context.interrupted = cli.interrupted

  function context.stopped(text)
    cli.log("warn", text or "interrupted")
    return INTERRUPTED
  end

  --- An error as people read it.
  context.text_of = text_of

  --- Tells an error and gives the exit code of its class. When nobody reads the output any more, that is the cause.
  function context.fail(err)
    if cli.reader_is_gone() then
      return UNREAD
    end
    cli.log("error", text_of(err))
    return code_of(err)
  end

  --- Tells what is wrong with the command line.
  function context.misuse(text, ...)
    return misuse(context.called, select("#", ...) > 0 and text:format(...) or text)
  end

  --- Ends a command by an error, from wherever it is. What the library returns goes through it:
  -- local page = context.check(query:execute())
  function context.check(value, err)
    if value == nil and err ~= nil then
      error(err, 0)
    end
    return value
  end

  function context.log(level, text)
    cli.log(level, text)
  end

  return context
end

-- ---- The run

local function finish(code)
  local ok, why = io.stdout:flush()
  if cli.reader_is_gone() then
    return UNREAD
  elseif not ok then
    cli.log("error", "stdout can not be written: " .. tostring(why))
    return code == OK and FAILED or code
  end
  return code
end

local function trace(err)
  if type(err) == "string" then
    cli.log("debug", debug.traceback(err, 2))
  end
  return err
end

local function run(command, action, context)
  local entry = action and action.run or command.run
  local ok, code = xpcall(entry, trace, context)
  if not ok then
    code = context.fail(code)
  end
  return finish(code or OK)
end

local function operands_wrong(shape, words)
  local least, most = shape.least or 0, shape.most or math.huge
  if #words < least then
    return shape.missing or "an operand is missing: " .. (shape.operands or "")
  elseif #words > most then
    return ("there is nothing to do with '%s'"):format(words[most + 1])
  end
  return nil
end

--- Which action the words name, and the words without it; nil and what is wrong.
local function take_action(command, words, given)
  if not command.actions then
    return nil
  end
  local action = action_of(command, words[1])
  if not action then
    local names = {}
    for i, known in ipairs(command.actions) do
      names[i] = known.name
    end
    return nil, ("which action? One of %s"):format(table.concat(names, ", "))
  end
  table.remove(words, 1)
  local ok, wrong = check_action(command, action, given)
  if not ok then
    return nil, wrong
  end
  return action
end

local function run_command(command, argv)
  local called = "tito " .. command.name
  local given, words, named = options.parse(argv, 2, describe.all_options(command, common_of(command)), cli)
  if not given then
    return misuse(called, words)
  elseif given.help then
    io.stdout:write(describe.help(command, common_of(command), CODES, action_of(command, words[1])))
    return finish(OK)
  end
  local action, wrong = take_action(command, words, named)
  called = action and called .. " " .. action.name or called
  wrong = wrong or operands_wrong(action or command, words)
  if not wrong and not (command.without and command.without.db) and (database(given) or "") == "" then
    wrong = "no database: give --db TARGET, or set TITO_DB"
  end
  if wrong then
    return misuse(called, wrong)
  end
  cli.log_setup(command.log_format and command.log_format(given) or "plain", given.log_level or "warn")
  local context = new_context(command, action, given, words)
  context.called = called
  return run(command, action, context)
end

local program = { all_commands = all_commands, common_of = common_of, common = COMMON, codes = CODES }

function program.main(argv)
  local name = argv[1]
  if name == "--version" then
    io.stdout:write("tito ", cli.version, "\n")
    return finish(OK)
  elseif name == "--help" or name == "-h" then
    io.stdout:write(describe.overview(all_commands()))
    return finish(OK)
  elseif not name then
    return misuse("tito", "which command?")
  end
  local command = load_command(name)
  if not command then
    return misuse("tito", ("there is no command '%s'"):format(name))
  end
  return run_command(command, argv)
end

package.loaded["tito.cli.program"] = program
return program
