--- Runs busted specs of tests/lua in a light thread of nginx, where everything yields. Of busted here is what those
-- specs use: describe, it, pending, setup, teardown, before_each, after_each, and luassert.
local specs = {}

local function new_group(name, parent)
  return { name = name, parent = parent, before = {}, after = {} }
end

--- Runs the hooks of a group: outer ones first, or last.
local function hooks(group, kind, outer_first)
  if not group then
    return
  end
  if outer_first then
    hooks(group.parent, kind, true)
  end
  for _, hook in ipairs(group[kind]) do
    hook()
  end
  if not outer_first then
    hooks(group.parent, kind, false)
  end
end

local function described(err)
  local ok, text = pcall(function()
    return type(err) == "table" and err.message and tostring(err.message) or tostring(err)
  end)
  return debug.traceback(ok and text or "an error that can not be shown", 2)
end

local function run_case(case)
  local ok, err = xpcall(function()
    hooks(case.group, "before", true)
    case.fn()
  end, described)
  local cleaned, why = xpcall(function() hooks(case.group, "after", false) end, described)
  if ok and not cleaned then
    return false, why
  end
  return ok, err
end

--- The cases of a file.
local function load_cases(path)
  local cases, group = {}, new_group("")
  local env = setmetatable({ assert = require "luassert" }, { __index = _G })
  function env.describe(name, fn)
    group = new_group((group.name .. " " .. name):gsub("^ ", ""), group)
    fn()
    group = group.parent
  end
  function env.it(name, fn)
    cases[#cases + 1] = { name = group.name .. " " .. name, fn = fn, group = group }
  end
  function env.pending(name)
    cases[#cases + 1] = { name = group.name .. " " .. tostring(name) }
  end
  function env.setup(fn)
    fn()
  end
  function env.teardown(fn)
    cases.teardown = fn
  end
  function env.before_each(fn)
    table.insert(group.before, fn)
  end
  function env.after_each(fn)
    table.insert(group.after, fn)
  end
  setfenv(assert(loadfile(path)), env)()
  return cases
end

--- Runs the cases of a file; say(line) is told each, and at the end `tests: N passed, N failed, N skipped`.
function specs.run(path, say)
  local passed, failed, skipped = 0, 0, 0
  local cases = load_cases(path)
  for _, case in ipairs(cases) do
    if not case.fn then
      skipped = skipped + 1
      say("skipped " .. case.name)
    else
      local began = ngx.now()
      local ok, err = run_case(case)
      ngx.update_time()
      if ngx.now() - began > 5 then
        say(("slow: %s, %.1f s"):format(case.name, ngx.now() - began))
      end
      if ok then
        passed = passed + 1
      else
        failed = failed + 1
        say("FAILED " .. case.name .. "\n" .. tostring(err))
      end
    end
  end
  if cases.teardown then
    cases.teardown()
  end
  say(("tests: %d passed, %d failed, %d skipped"):format(passed, failed, skipped))
end

return specs
