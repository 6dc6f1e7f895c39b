--- One state of a script worker. The driver calls the function below in a state and thread of its own:
-- it makes the database tito.db, runs the script, and lets the function it returns register its handlers.
local database = require "tito.database"
local tito = require "tito"
local worker = require "tito.worker"

return function(db_handle, worker_handle, path, number)
  tito.db = database.of_handle(db_handle)
  local script = assert(loadfile(path))
  local register = script()
  if type(register) ~= "function" then
    error(("%s: the script must return a function(worker), not %s"):format(path, type(register)), 0)
  end
  register(worker.of_script(tito.db, worker_handle, number))
end
