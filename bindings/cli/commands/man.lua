--- `tito man`: the manual page.
local describe = require "tito.cli.describe"

local function run(context)
  local program = require "tito.cli.program"
  for _, command in ipairs(context.out.json and program.all_commands() or {}) do
    context.out.value(describe.table_of(command, program.common_of(command)))
  end
  if context.out.json then
    return 0
  end
  context.out.write(describe.manual(program.all_commands(), program.common, program.codes, context.cli.version))
end

return {
  name = "man",
  summary = "prints the manual page",
  text = { "Prints the manual page of all commands; with --json what it is made of, an object for each command." },
  operands = "", most = 0,
  without = { db = true, ["db-option"] = true, color = true },
  examples = { "tito man | man -l -", "tito man > tito.1", "tito man --json" },
  run = run,
}
