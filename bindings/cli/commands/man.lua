--- `tito man`: the manual page.
local describe = require "tito.cli.describe"

local function run(context)
  local program = require "tito.cli.program"
  context.out.write(describe.manual(program.all_commands(), program.common, program.codes, context.cli.version))
end

return {
  name = "man",
  summary = "prints the manual page",
  operands = "", most = 0,
  without = { db = true, ["db-option"] = true, json = true, color = true },
  examples = { "tito man | man -l -", "tito man > tito.1" },
  run = run,
}
