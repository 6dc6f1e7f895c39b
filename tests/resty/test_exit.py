"""How a LuaJIT program may end: whatever it has open, the collector's last round is quiet and the database is whole."""

import pathlib
import subprocess
import tempfile
import unittest

from nginx import luajit

SETUP = """
local tito = require "resty.tito"
local db = assert(tito.connect(arg[1]))
local Thing = db:model {
  table = "thing",
  indexes = { { name = "by_n", fields = { { name = "n", type = "number" } }, condition = function(t)
    if t.id == "ends" then os.exit(0) end
    return t.n > 0
  end } },
  events = function(t) return { { name = "job" } } end,
}
for i = 1, 5 do
  assert(Thing:build_with_options({ id = "t" .. i, n = i }, tito.with_events("INSERT")))
end
local tx = assert(db:begin())
assert(Thing:build({ id = "open", n = 7 }, tx))
local worker = db:worker { concurrency = 4 }
io.stdout:write("stored\\n")
io.stdout:flush()
"""

ENDINGS = {
    "just ends": "",
    "closes": "db:close()",
    "forgets everything and ends": "db, Thing, tx, worker = nil collectgarbage() collectgarbage()",
    "raises": 'error("on purpose")',
    "calls os.exit": "os.exit(0)",
    "calls os.exit and closes its state": "os.exit(0, true)",
    "ends inside a transaction": "db:transaction(function() os.exit(0, true) end)",
    "ends inside a condition": 'Thing:build { id = "ends", n = 1 }',
    "ends inside an iteration": 'for t in Thing:query_by_index("by_n"):gte(1):each() do os.exit(0, true) end',
    "ends inside a coroutine": "coroutine.wrap(function() assert(Thing:find_by_id('t1')) os.exit(0, true) end)()",
    "ends inside a handler": 'worker:on("job", function() os.exit(0, true) end) worker:run()',
    "ends with handlers that wait": """
      worker:on("job", function() coroutine.yield() end)
      worker:step(0.05) worker:step(0.05)""",
    "uses tito in a finalizer": """
      local proxy = newproxy(true)
      getmetatable(proxy).__gc = function()
        for _, fn in ipairs { function() return Thing:find_by_id "t1" end, function() return Thing:save { id = "late", n = 1 } end,
          function() return tx:commit() end, function() return worker:run() end, function() return db:begin() end,
          function() return db:close() end, function() return tito.decode "[1]" end,
          function() return tito.connect "memory:" end, function() return tito.verify_backup "x" end } do
          local ok, err = pcall(fn)
          assert(not ok and err.code == "closed")
        end
        io.stdout:write "ended\\n"
      end
      proxy, db.kept = nil, proxy""",
    "is killed": 'os.execute("kill -KILL " .. io.open("/proc/self/stat"):read("*n")) while true do end',
}

LOOK = """
local tito = require "resty.tito"
local db = assert(tito.connect(arg[1]))
local Thing = db:model { table = "thing",
  indexes = { { name = "by_n", fields = { { name = "n", type = "number" } }, condition = function(t) return t.n > 0 end } } }
for i = 1, 5 do assert(Thing:find_by_id("t" .. i)) end
assert(not Thing:find_by_id("open") and not Thing:find_by_id("ends"))
assert(#assert(db:check("thing")).findings == 0)
assert(db:close())
"""


class Exit(unittest.TestCase):
    def run_program(self, folder, program):
        path = folder / "program.lua"
        path.write_text(program)
        return luajit([path, folder / "data"], stderr=subprocess.PIPE, text=True)

    def test_a_program_that(self):
        for name, ending in ENDINGS.items():
            with self.subTest(name), tempfile.TemporaryDirectory(prefix="tito-exit-") as folder:
                done = self.run_program(pathlib.Path(folder), SETUP + ending)
                said = "stored\nended\n" if name == "uses tito in a finalizer" else "stored\n"
                self.assertEqual(said, done.stdout, done.stderr)
                self.assertEqual({"raises": 1, "is killed": -9}.get(name, 0), done.returncode, done.stderr)
                self.assertIn("on purpose" if name == "raises" else "", done.stderr)
                self.assertFalse(name != "raises" and done.stderr, done.stderr)
                done = self.run_program(pathlib.Path(folder), LOOK)
                self.assertEqual((0, ""), (done.returncode, done.stderr))
