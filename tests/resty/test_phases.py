"""What may be called in which phase, and what is said where it may not."""

import json
import unittest

from nginx import Nginx, until

HTTP = """
  init_by_lua_block {
    tito = require "resty.tito"
    db = tito.new("{data}")
    queue = db:queue { type = "note", partitions = 2 }
    Post = db:model { table = "post" }
    said = {}
    function try(name, fn)
      local ok, value, err = pcall(fn)
      said[name] = { ok = ok, value = ok and value ~= nil and value ~= false, err = tostring(ok and err or value) }
    end
    try("connect", function() return tito.connect("memory:") end)
    try("find", function() return Post:find_by_id("x") end)
    try("open", function() return db:open() end)
    try("worker", function() return db:worker() end)
    try("publish", function() return queue:publish { key = "k" } end)
    try("spec", function() return db:model { table = "no good" } end)
    try("target", function() return tito.new("http://x") end)
    try("option", function() return tito.new("memory:", { colour = "red" }) end)
  }
  init_worker_by_lua_block {
    db:open()
    try("worker find", function() return Post:find_by_id("x") end)
    try("again", function() return db:open() end)
  }
  server {
    listen 127.0.0.1:{port};
    location /said { content_by_lua_block { ngx.print(require("cjson").encode(said)) } }
    location /phases {
      set_by_lua_block $x { try("set", function() return queue:publish { key = "set" } end) return "" }
      rewrite_by_lua_block { try("rewrite", function() return Post:save { id = "rewrite" } end) }
      access_by_lua_block { try("access", function() return Post:find_by_id("rewrite") end) }
      content_by_lua_block {
        try("content", function() return Post:save { id = "content" } end)
        try("memory", function()
          local other = assert(tito.connect("memory:"))
          local value = other:model({ table = "t" }):save { id = "x" }
          other:close()
          return value
        end)
        ngx.say "done"
      }
      header_filter_by_lua_block { try("header", function() return queue:publish { key = "header" } end) }
      body_filter_by_lua_block { try("body", function() return queue:publish { key = "body" } end) }
      log_by_lua_block {
        try("log", function() return queue:publish { key = "log" } end)
        try("log find", function() return Post:find_by_id("x") end)
        try("log transaction", function() return db:transaction(function() end) end)
        try("log bad", function() return queue:publish { key = "log", payload = print } end)
      }
    }
    location /keys { content_by_lua_block {
      local keys = {}
      for event in queue:history() do
        keys[event.key] = true
      end
      ngx.print(require("cjson").encode(keys))
    } }
    location /uncaught { content_by_lua_block { Post:find_by_id(5) } }
  }
"""

TWO = """
  init_by_lua_block { tito = require "resty.tito"; db = tito.new("{data}"); Post = db:model { table = "post" } }
  init_worker_by_lua_block { db:open() }
  server {
    listen 127.0.0.1:{port};
    location / { content_by_lua_block {
      local value, err = Post:find_by_id("x")
      ngx.say(tostring(value), " ", tostring(err))
    } }
  }
"""


class Phases(unittest.TestCase):
    def setUp(self):
        self.nginx = None

    def tearDown(self):
        if self.nginx:
            self.nginx.close()

    def test_each_phase(self):
        nginx = self.nginx = Nginx(HTTP).start()
        nginx.get("/phases")
        said = until(lambda: (lambda s: "log bad" in s and s)(json.loads(nginx.get("/said"))), "the log phase has run")
        for name, word in {
            "connect": "init_by_lua", "find": "init_by_lua", "open": "init_worker_by_lua", "worker": "init_worker_by_lua",
            "publish": "init_by_lua", "spec": "the table name", "target": "http", "option": "colour",
            "worker find": "init_worker", "again": "opened before", "log find": "log_by_lua", "log transaction": "log_by_lua",
        }.items():
            self.assertFalse(said[name]["ok"], name)
            self.assertIn(word, said[name]["err"], name)
            self.assertIn(": ", said[name]["err"], name)
        for name in ("set", "rewrite", "access", "content", "memory", "header", "body", "log"):
            self.assertTrue(said[name]["ok"] and said[name]["value"], (name, said[name]))
        self.assertIn("can not be stored", said["log bad"]["err"])
        wanted = {"set", "header", "body", "log"}
        until(lambda: wanted <= set(json.loads(nginx.get("/keys"))), "what was published without waiting is there")
        self.assertEqual(0, nginx.stop())
        self.assertEqual([], nginx.errors())

    def test_one_process_has_the_directory(self):
        nginx = self.nginx = Nginx(TWO, workers=2).start()
        text = nginx.get("/")
        self.assertIn("invalid_state", text)
        self.assertIn("worker_processes 1, not 2", text)
        self.assertTrue(any("pid %d" % pid in text for pid in nginx.workers()), text)
        self.assertTrue(any("init_worker_by_lua error" in line and "worker_processes 1" in line for line in nginx.errors()))
        self.assertEqual(0, nginx.stop())

    def test_another_process_is_named(self):
        """The directory is open in another nginx: requests wait for open_wait, then say who has it."""
        nginx = self.nginx = Nginx(TWO).start()
        self.assertEqual("nil nil\n", nginx.get("/"))
        other = Nginx(TWO.replace('"{data}")', '"%s", { open_wait = 0.2 })' % nginx.data))
        try:
            other.start()
            text = until(lambda: (lambda t: "nil nil" not in t and t)(other.get("/")), "the second one is refused")
            self.assertIn(str(nginx.workers()[0]), text)
            self.assertEqual(0, nginx.stop())
            until(lambda: other.get("/") == "nil nil\n", "the second one opens when the first has gone")
            self.assertEqual(0, other.stop())
        finally:
            other.close()
