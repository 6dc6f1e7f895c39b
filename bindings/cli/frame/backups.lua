--- What `tito backup` and `tito restore` share: the bar, the interruption, the result.
local backups = {}

local function size_text(bytes)
  for _, unit in ipairs { { 2 ^ 30, "GiB" }, { 2 ^ 20, "MiB" }, { 2 ^ 10, "KiB" } } do
    if bytes >= unit[1] then
      return ("%.1f %s"):format(bytes / unit[1], unit[2])
    end
  end
  return ("%d bytes"):format(bytes)
end

--- Runs work({ progress }) with a bar; what it was is said by done ("made"). Returns the exit code.
function backups.run(context, done, work)
  local bar = context.progress(nil, "bytes")
  local summary, err = work {
    progress = function(bytes, total)
      bar:set(bytes, total)
      return not context.interrupted()
    end,
  }
  bar:finish()
  if not summary and context.interrupted() and err.code == "cancelled" then
    return context.stopped("interrupted; nothing was left")
  end
  context.check(summary, err)
  context.out.line("%s: %d files, %s%s, as of %s", done, summary.files, size_text(summary.size),
    summary.shared and (" (%s shared)"):format(size_text(summary.shared)) or "",
    os.date("!%Y-%m-%dT%H:%M:%SZ", math.floor(summary.time)))
  if context.out.json then
    context.out.value(summary)
  end
  return 0
end

return backups
