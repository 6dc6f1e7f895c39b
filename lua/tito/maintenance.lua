--- Reindex and check: work in steps, with the model's conditions evaluated here when the library asks for them.
local driver = require "tito.driver"
local host = require "tito.host"

local maintenance = {}

--- Replies to every document that waits.
local function reply(steps, functions)
  for i = 1, driver.steps_count(steps) do
    local document, err = driver.steps_document(steps, i)
    if document == nil then
      return nil, err
    end
    local low, high = host.conditions(functions, document)
    if not low then
      return nil, high
    end
    local ok
    ok, err = driver.steps_reply(steps, i, low, high)
    if not ok then
      return nil, err
    end
  end
  return true
end

local function run(steps, functions, progress)
  local findings, cursor = {}, nil
  while true do
    local step, info, err = driver.steps_next(steps)
    if not step then
      return nil, info
    elseif info == nil then
      return nil, err
    end
    for _, finding in ipairs(info.findings or {}) do
      findings[#findings + 1] = finding
    end
    if step == "host" then
      local ok, why = reply(steps, functions)
      if not ok then
        return nil, why
      end
    end
    cursor = info.cursor or cursor
    local stopped = progress and step ~= "host" and progress(info) == false and step ~= "done"
    if step == "done" or stopped then
      info.findings, info.stopped, info.cursor = findings, stopped or nil, stopped and cursor or nil
      return info
    end
  end
end

--- Runs the steps of kind ("reindex" or "check") over a model: a summary, or nil and an error. progress(info), called
-- after each step that is whole, ends it there by returning false: the summary then has stopped = true.
function maintenance.run(model, kind, options, progress)
  local steps, err = driver.steps_open(model.handle, kind, options)
  if not steps then
    return nil, err
  end
  local ok, info, why = pcall(run, steps, model.functions, progress)
  driver.steps_free(steps)
  if not ok then
    error(info, 0)
  end
  return info, why
end

return maintenance
