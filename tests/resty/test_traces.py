"""Each scenario of tests/traces gives the trace that its file says, in LuaJIT and in a light thread of nginx; with
TITO_TEST_PD on that cluster."""

import json
import pathlib
import subprocess
import tempfile
import unittest

from nginx import CLUSTER, ROOT, Nginx, luajit, namespace

TRACES = ROOT / "tests/traces"
HTTP = """
  init_by_lua_block { require "resty.tito" }
  server {
    listen 127.0.0.1:{port};
    location /trace { content_by_lua_block {
      dofile("%s")(ngx.var.arg_path, ngx.var.arg_target, ngx.var.arg_namespace, ngx.say)
    } }
  }
""" % (TRACES / "run.lua")


def scenarios():
    """(path, expected trace) of each scenario for hosts with one kind of number, as LuaJIT is."""
    for path in sorted(TRACES.glob("*.json")):
        scenario = json.loads(path.read_text())
        if scenario.get("one_kind_of_number", True):
            assert len(scenario["trace"]) == len(scenario["steps"]) > 0
            yield path, "".join(line + "\n" for line in scenario["trace"])


class Traces(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="tito-traces-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def targets(self):
        """(target, namespace) of databases of their own."""
        if CLUSTER:
            return (("tikv://" + CLUSTER, namespace()),)
        return ("memory:", None), (str(self.folder / "data"), None)

    def test_in_luajit(self):
        for path, expected in scenarios():
            for where in self.targets():
                with self.subTest(scenario=path.name, where=where):
                    arguments = ["-l", "resty.tito", TRACES / "run.lua", path, *filter(None, where)]
                    done = luajit(arguments, stderr=subprocess.PIPE)
                    self.assertEqual((0, expected), (done.returncode, done.stdout.decode()), done.stderr.decode())

    def test_in_nginx(self):
        nginx = Nginx(HTTP)
        self.addCleanup(nginx.close)
        nginx.start()
        for path, expected in scenarios():
            for target, space in self.targets():
                with self.subTest(scenario=path.name, target=target):
                    query = "path=%s&target=%s%s" % (path, target, space and "&namespace=" + space or "")
                    self.assertEqual(expected, nginx.get("/trace?" + query))
        self.assertEqual(0, nginx.stop())
        self.assertEqual([], nginx.errors())
