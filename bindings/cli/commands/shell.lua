--- `tito shell`: Lua with the database at hand: at a prompt, from a file, from -e, from standard input.
local models = require "tito.cli.models"
local queries = require "tito.cli.queries"
local session = require "tito.cli.session"

local function error_text(err)
  return type(err) == "table" and err.message and ("%s: %s"):format(err.code or "error", err.message) or tostring(err)
end

local function history_file()
  local home = os.getenv "HOME"
  local named = os.getenv "TITO_HISTORY"
  return named ~= "" and named or (named == nil and home and home ~= "" and home .. "/.tito_history") or nil
end

--- The prompt, until its end. Errors are told, and it goes on.
local function interact(context, shell)
  local out, cli = context.out, context.cli
  local editor <close> = cli.editor(history_file())
  out.write(("tito %s, Lua 5.4. .help tells what there is, .quit or Ctrl-D ends.\n"):format(cli.version))
  local whole
  while not shell.ended do
    io.stdout:flush()
    local line, cancelled = editor:line(whole and "  ...> " or "tito> ", function(text) return shell:complete(text) end)
    if not line then
      out.write("\n")
      break
    elseif cancelled then
      shell:forget()
      whole = nil
    else
      whole = whole and whole .. " " .. line or line
      local ok, err = shell:line(line)
      if ok ~= "more" then
        if whole:find("%S") then
          editor:add(whole)
        end
        whole = nil
      end
      if not ok then
        io.stdout:flush()
        io.stderr:write(out.color("red", error_text(err)), "\n")
      end
    end
  end
  return 0
end

--- Lines of standard input, as at the prompt but without one: the first error is the end.
local function read_lines(context, shell)
  for line in io.stdin:lines() do
    local ok, err = shell:line(line)
    if not ok then
      return context.fail(err)
    elseif shell.ended then
      break
    end
  end
  if shell.pending then
    return context.fail "the input ends within a statement"
  end
  return 0
end

local function run_file(context, shell, name)
  local file, why = io.open(name, "rb")
  if not file then
    return context.misuse("%s", why)
  end
  local text = file:read("a")
  file:close()
  shell.env.arg = { [0] = name, table.unpack(context.words, 2) }
  local ok, err = shell:run(text, "@" .. name, table.unpack(context.words, 2))
  return ok and 0 or context.fail(err)
end

local function run(context)
  local shell = session.new(context)
  for _, code in ipairs(context.options.execute or {}) do
    local ok, err = shell:run(code, "=(command line)")
    if not ok then
      return context.fail(err)
    end
  end
  if context.words[1] then
    return run_file(context, shell, context.words[1])
  elseif context.options.execute then
    return 0
  elseif context.cli.is_terminal(0) and context.cli.is_terminal(1) then
    return interact(context, shell)
  end
  return read_lines(context, shell)
end

return {
  name = "shell",
  summary = "a Lua prompt with the database open",
  text = {
    "Lua 5.4 with db, the database, and tito, the module. A table's name is its model. At a terminal: a prompt with "
      .. "history (~/.tito_history, or $TITO_HISTORY) and completion by Tab of tables, indexes, fields and methods; "
      .. ".help names the commands that begin with a dot. Else a file, -e, or lines of standard input; the first "
        .. "error ends it.",
    "    tito> post:query_by_index(\"by_author\"):value(\"Ada\"):execute()",
    "    tito> .indexes post",
  },
  operands = "[SCRIPT.lua [ARGUMENT…]]",
  options = queries.plus({
    { name = "execute", short = "e", value = "CODE", type = "text", many = true, help = "run this; print its value" },
  }, models.APP),
  examples = {
    "tito shell --db ./data",
    "tito shell -e 'post:find_by_id(\"p1\")' --json --db tikv://pd1:2379",
    "tito shell mend.lua 2026 --app app.lua",
    "echo '.tables' | tito shell --db ./data",
  },
  run = run,
}
