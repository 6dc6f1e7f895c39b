local M = {}
function M.one(a)
  return a
end
return M
