--- `tito completion SHELL`: the completion script of a shell.
local describe = require "tito.cli.describe"

local function run(context)
  local program = require "tito.cli.program"
  local shell = context.words[1]
  if shell ~= "bash" and shell ~= "zsh" and shell ~= "fish" then
    return context.misuse("which shell? bash, zsh or fish")
  end
  context.out.write(describe.completion(shell, program.all_commands(), program.common_of))
end

return {
  name = "completion",
  summary = "prints the completions of a shell",
  operands = "bash|zsh|fish", least = 1, most = 1, missing = "which shell? bash, zsh or fish",
  without = { db = true, ["db-option"] = true, json = true, color = true },
  examples = {
    "source <(tito completion bash)",
    "tito completion zsh > ~/.zsh/completions/_tito",
    "tito completion fish > ~/.config/fish/completions/tito.fish",
  },
  run = run,
}
