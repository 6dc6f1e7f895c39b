"""The life of nginx workers: reload, leaving, crashes; requests that end early; nothing blocks, nothing leaks."""

import json
import os
import pathlib
import signal as signals
import socket
import threading
import unittest

from nginx import Nginx, until

HTTP = """
  lua_check_client_abort on;
  init_by_lua_block {
    tito = require "resty.tito"
    db = tito.new("{data}")
    queue = db:queue { type = "post", partitions = 4, retention = 3600 }
    Post = db:model { table = "post", events = function(post) return { { name = "post", payload = { id = post.id } } } end }
    Seen = db:model { table = "seen" }
    cjson = require "cjson"
    state = { started = 0, ended = 0, held = false }
  }
  init_worker_by_lua_block {
    db:open()
    local worker = db:worker { concurrency = 8, drain_timeout = 20 }
    worker:on("post", function(event, tx)
      local socket = ngx.socket.tcp()                       -- a handler may use cosockets
      assert(socket:connect("127.0.0.1", {port}))
      socket:close()
      ngx.sleep(0.001)
      local seen = Seen:find_by_id(event.entity_id, nil, tx) or { id = event.entity_id, times = 0 }
      seen.times = seen.times + 1
      assert(Seen:save(seen, tx))
    end)
    worker:run()
  }
  server {
    listen 127.0.0.1:{port};
    location /constant { return 200 "constant"; }
    location /pid { content_by_lua_block { ngx.print(ngx.worker.pid()) } }
    location /post { content_by_lua_block {
      local post, err = Post:build_with_options({ id = ngx.var.arg_id }, tito.with_events("INSERT"))
      if not post then
        ngx.status = 500
      end
      ngx.say(post and "ok" or tostring(err))
    } }
    location /transaction { content_by_lua_block {          -- several operations, with pauses
      local ok, err = db:transaction(function(tx)
        for i = 1, 3 do
          assert(Post:save({ id = ngx.var.arg_id .. "." .. i }, tx))
          ngx.sleep(0.05)
        end
      end)
      if not ok then
        ngx.status = 500
      end
      ngx.say(ok and "ok" or tostring(err))
    } }
    location /ids { content_by_lua_block {
      local model, out = ngx.var.arg_model == "seen" and Seen or Post, {}
      local cursor
      repeat
        local page = assert(model:scan { limit = 1000, cursor = cursor })
        for _, item in ipairs(page.items) do
          out[item.id] = item.times or 1
        end
        cursor = page.cursor
      until not cursor
      ngx.print(cjson.encode(out))
    } }
    location /hold { content_by_lua_block {                 -- holds a lock until it is told to let go
      local tx = assert(db:begin())
      assert(Post:find_by_id("held", { lock = true }, tx))
      state.held = true
      while state.held do
        ngx.sleep(0.01)
      end
      assert(tx:rollback())
      ngx.print "released"
    } }
    location /release { content_by_lua_block { state.held = false; ngx.print "ok" } }
    location /is_held { content_by_lua_block { ngx.print(state.held and "yes" or "no") } }
    location /wait { content_by_lua_block {                 -- an operation that waits for that lock
      local tx = assert(db:begin())
      state.started = state.started + 1
      local found, err = Post:find_by_id("held", { lock = true }, tx)
      state.ended = state.ended + 1
      tx:rollback()
      ngx.print(found and "found" or tostring(err))
    } }
    location /forget { content_by_lua_block {               -- ends with an open transaction
      local tx = assert(db:begin())
      assert(Post:save({ id = "never" .. ngx.var.arg_id }, tx))
      ngx.exit(204)
    } }
    location /impatient { content_by_lua_block {            -- gives up an operation that takes too long
      local tx = assert(db:begin())
      local waits = ngx.thread.spawn(function()
        state.started = state.started + 1
        Post:find_by_id("held", { lock = true }, tx)
        state.ended = state.ended + 1
      end)
      ngx.sleep(0.05)
      local ok, why = ngx.thread.kill(waits)
      ngx.print(ok and "gave up" or why)
    } }
    location /numbers { content_by_lua_block {
      collectgarbage()
      collectgarbage()
      local wait = require "resty.tito.wait"
      ngx.print(cjson.encode { inflight = wait.inflight(), transactions = db.handle.counts.transactions,
        started = state.started, ended = state.ended })
    } }
  }
"""


class Client(threading.Thread):
    """Makes records until it is stopped; knows which were acknowledged."""

    def __init__(self, nginx, name, path="/post"):
        super().__init__(daemon=True)
        self.nginx, self.prefix, self.path = nginx, name, path
        self.going, self.acknowledged, self.problems = True, [], []
        self.start()

    def run(self):
        number = 0
        while self.going:
            number += 1
            name = "%s-%d" % (self.prefix, number)
            try:
                status, text, _ = self.nginx.request("GET", "%s?id=%s" % (self.path, name))
                if status == 200:
                    self.acknowledged.append(name)
                else:
                    self.problems.append((status, text))
            except OSError as problem:
                self.problems.append((0, repr(problem)))
            except Exception as problem:  # a broken answer
                self.problems.append((-1, repr(problem)))


class Life(unittest.TestCase):
    def setUp(self):
        self.nginx = Nginx(HTTP).start()

    def tearDown(self):
        self.nginx.close()

    def numbers(self):
        return json.loads(self.nginx.get("/numbers"))

    def left_over(self):
        return [p for p in pathlib.Path(self.nginx.folder / "tmp").iterdir()]

    def finish(self, names, expected=()):
        """Every acknowledged record is there, its event was handled exactly once, nothing lies about, no error."""
        stored = json.loads(self.nginx.get("/ids"))
        self.assertEqual([], [name for name in names if name not in stored])
        until(lambda: set(names) <= set(json.loads(self.nginx.get("/ids?model=seen"))), "every event is handled")
        seen = json.loads(self.nginx.get("/ids?model=seen"))
        self.assertEqual([], [name for name in names if seen[name] != 1])
        self.assertEqual(0, self.nginx.stop())
        self.assertEqual([], [l for l in self.nginx.errors() if not any(text in l for text in expected)])
        self.assertEqual([], self.left_over())

    def test_reload_under_load(self):
        clients = [Client(self.nginx, "c%d" % i) for i in range(4)]
        slow = [Client(self.nginx, "t%d" % i, "/transaction") for i in range(2)]
        for round_ in range(3):
            count = sum(len(c.acknowledged) for c in clients)
            until(lambda: sum(len(c.acknowledged) for c in clients) > count + 20, "records are made")
            self.nginx.reload()
        for client in clients + slow:
            client.going = False
        for client in clients + slow:
            client.join()
        self.assertEqual([], [p for c in clients + slow for p in c.problems])
        stored = json.loads(self.nginx.get("/ids"))
        for client in slow:
            self.assertTrue(client.acknowledged)
            self.assertEqual([], [n for n in client.acknowledged if any("%s.%d" % (n, i) not in stored for i in (1, 2, 3))])
        self.finish([name for client in clients for name in client.acknowledged])

    def test_leaving_while_requests_run(self):
        clients = [Client(self.nginx, "t%d" % i, "/transaction") for i in range(4)]
        until(lambda: all(len(c.acknowledged) > 1 for c in clients), "transactions are made")
        self.assertEqual(0, self.nginx.stop())
        for client in clients:
            client.going = False
        for client in clients:
            client.join()
        # Connections that came too late were refused; those that were accepted were answered.
        self.assertEqual([], [p for c in clients for p in c.problems if p[0] > 0])
        self.assertEqual([], self.nginx.errors())
        self.assertEqual([], self.left_over())
        self.nginx.start()
        stored = json.loads(self.nginx.get("/ids"))
        for client in clients:
            self.assertEqual([], [n for n in client.acknowledged if any("%s.%d" % (n, i) not in stored for i in (1, 2, 3))])

    def test_crash(self):
        clients = [Client(self.nginx, "c%d" % i) for i in range(4)]
        for _ in range(2):
            count = sum(len(c.acknowledged) for c in clients)
            until(lambda: sum(len(c.acknowledged) for c in clients) > count + 20, "records are made")
            (pid,) = self.nginx.workers()
            os.kill(pid, signals.SIGKILL)
            until(lambda: self.nginx.workers() and pid not in self.nginx.workers(), "nginx has started another worker")
        count = sum(len(c.acknowledged) for c in clients)
        until(lambda: sum(len(c.acknowledged) for c in clients) > count + 20, "records are made again")
        for client in clients:
            client.going = False
        for client in clients:
            client.join()
        self.finish([name for client in clients for name in client.acknowledged], ("exited on signal 9",))

    def test_slow_operations_do_not_hold_up_others(self):
        self.nginx.get("/post?id=held")
        holder = threading.Thread(target=self.nginx.get, args=("/hold",), daemon=True)
        holder.start()
        until(lambda: self.nginx.get("/is_held") == "yes", "the lock is held")
        answers = []
        waiters = [
            threading.Thread(target=lambda: answers.append(self.nginx.get("/wait")), daemon=True) for _ in range(3)
        ]
        for waiter in waiters:
            waiter.start()
        until(lambda: self.numbers()["started"] == 3, "they wait")
        for i in range(50):
            self.assertEqual("constant", self.nginx.get("/constant"))
            self.assertEqual("ok\n", self.nginx.get("/post?id=quick%d" % i))
        self.assertEqual([], answers)
        self.assertGreaterEqual(self.numbers()["inflight"], 3)
        self.nginx.get("/release")
        for waiter in waiters + [holder]:
            waiter.join(60)
        self.assertEqual(["found"] * 3, answers)
        until(lambda: self.numbers()["inflight"] == 0, "nothing is under way")
        self.finish([])

    def test_requests_that_end_early_leave_nothing(self):
        self.nginx.get("/post?id=held")
        holder = threading.Thread(target=self.nginx.get, args=("/hold",), daemon=True)
        holder.start()
        until(lambda: self.nginx.get("/is_held") == "yes", "the lock is held")
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", self.nginx.port)) as sock:
                started = self.numbers()["started"]
                sock.sendall(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
                until(lambda: self.numbers()["started"] == started + 1, "it waits")
        for _ in range(3):
            self.assertEqual("gave up", self.nginx.get("/impatient"))
        for i in range(20):
            self.assertEqual(204, self.nginx.request("GET", "/forget?id=%d" % i)[0])
        self.nginx.get("/release")
        holder.join(60)
        until(lambda: self.numbers()["inflight"] == 0, "the late completions have come")
        until(lambda: self.numbers()["transactions"] == 0, "the transactions are rolled back")
        self.assertEqual(0, self.numbers()["ended"])
        self.assertEqual([], [name for name in json.loads(self.nginx.get("/ids")) if name.startswith("never")])
        self.finish([])
