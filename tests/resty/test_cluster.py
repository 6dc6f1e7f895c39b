"""Several nginx workers on one TiKV cluster: they share the leases of a queue, and a reload or a killed one loses nothing."""

import json
import os
import signal as signals
import tempfile
import unittest

from nginx import CLUSTER, PATIENCE, Nginx, luajit, namespace, until
from test_life import Client

WORKERS = 2
ONE_BY_ONE = 40

# Makes records one by one, each when the event of the one before has been handled.
ELSEWHERE = """
  local tito = require "resty.tito"
  local db = assert(tito.connect("tikv://%s", { namespace = "%s", partitions = 8 }))
  local Post = db:model { table = "post", events = function(post) return { { name = "post", payload = { id = post.id } } } end }
  local Seen = db:model { table = "seen" }
  for i = 1, %d do
    local id = "elsewhere." .. i
    assert(Post:build_with_options({ id = id }, tito.with_events("INSERT")))
    while not Seen:find_by_id(id) do end
  end
  assert(db:close())
"""

HTTP = """
  lua_shared_dict handled 1m;
  init_by_lua_block {
    tito = require "resty.tito"
    db = tito.new("tikv://%s", { namespace = "%s", partitions = 8 })
    queue = db:queue { type = "post", partitions = 8, retention = 3600 }
    Post = db:model { table = "post", events = function(post) return { { name = "post", payload = { id = post.id } } } end }
    Seen = db:model { table = "seen" }
    cjson = require "cjson"
  }
  init_worker_by_lua_block {
    db:open()
    local worker = db:worker { concurrency = 8, drain_timeout = 20, lease = 3 }
    worker:on("post", function(event, tx)
      ngx.sleep(0.001)
      local seen = Seen:find_by_id(event.entity_id, nil, tx) or { id = event.entity_id, times = 0 }
      seen.times = seen.times + 1
      assert(Seen:save(seen, tx))
      ngx.shared.handled:incr(tostring(ngx.worker.pid()), 1, 0)
    end)
    worker:run()
  }
  server {
    listen 127.0.0.1:{port};
    location /post { content_by_lua_block {
      local post, err = Post:build_with_options({ id = ngx.var.arg_id }, tito.with_events("INSERT"))
      if not post then
        ngx.status = 500
      end
      ngx.say(post and "ok" or tostring(err))
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
    location /handled { content_by_lua_block {
      local out = {}
      for _, pid in ipairs(ngx.shared.handled:get_keys(0)) do
        out[pid] = ngx.shared.handled:get(pid)
      end
      ngx.print(cjson.encode(out))
    } }
  }
"""


@unittest.skipUnless(CLUSTER, "there is no cluster")
class Cluster(unittest.TestCase):
    def setUp(self):
        self.namespace = namespace()
        self.nginx = Nginx(HTTP % (CLUSTER, self.namespace), workers=WORKERS).start()
        self.addCleanup(self.nginx.close)
        until(lambda: self.nginx.request("GET", "/ids")[0] == 200, "the database is open")

    def handled(self):
        """How many events each worker process has handled, by its pid."""
        return {int(pid): count for pid, count in json.loads(self.nginx.get("/handled")).items()}

    def while_records_are_made(self, happens):
        """Ids of the records that were acknowledged, and the other answers, while happens() took place."""
        clients = [Client(self.nginx, "c%d" % i) for i in range(4)]

        def more():
            count = sum(len(c.acknowledged) for c in clients)
            until(lambda: sum(len(c.acknowledged) for c in clients) > count + 20, "records are made")

        more()
        happens()
        more()
        for client in clients:
            client.going = False
        for client in clients:
            client.join()
        return [n for c in clients for n in c.acknowledged], [p for c in clients for p in c.problems]

    def finish(self, names, expected=()):
        """Every acknowledged record is there, its event was handled exactly once, nothing lies about, no error."""
        stored = json.loads(self.nginx.get("/ids"))
        self.assertEqual([], [name for name in names if name not in stored])
        until(lambda: set(names) <= set(json.loads(self.nginx.get("/ids?model=seen"))), "every event is handled")
        seen = json.loads(self.nginx.get("/ids?model=seen"))
        self.assertEqual([], [name for name in names if seen[name] != 1])
        self.assertEqual(0, self.nginx.stop())
        self.assertEqual([], [l for l in self.nginx.errors() if not any(text in l for text in expected)])
        self.assertEqual([], list((self.nginx.folder / "tmp").iterdir()))

    def test_workers_share_the_events_and_a_reload_hands_them_over(self):
        workers = set(self.nginx.workers())
        self.assertEqual(WORKERS, len(workers))

        def shared_and_reloaded():
            until(lambda: workers <= set(self.handled()), "each worker handles some")
            self.nginx.reload()
            until(lambda: set(self.nginx.workers()) <= set(self.handled()), "each new worker handles some")

        names, problems = self.while_records_are_made(shared_and_reloaded)
        self.assertEqual([], problems)
        self.finish(names)

    def test_events_of_another_process_are_picked_up_as_they_come(self):
        until(lambda: self.nginx.request("GET", "/post?id=first")[1] == "ok\n", "a record is made")
        until(lambda: "first" in json.loads(self.nginx.get("/ids?model=seen")), "its event is handled")
        script = ELSEWHERE % (CLUSTER, self.namespace, ONE_BY_ONE)
        with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
            file.write(script)
            file.flush()
            result = luajit([file.name], timeout=PATIENCE * 2)
        self.assertEqual(0, result.returncode)
        self.finish(["elsewhere.%d" % i for i in range(1, ONE_BY_ONE + 1)])

    def test_a_killed_worker_is_replaced(self):
        def killed():
            pid = self.nginx.workers()[0]
            until(lambda: pid in self.handled(), "it handles events")
            os.kill(pid, signals.SIGKILL)
            until(lambda: len(set(self.nginx.workers()) - {pid}) == WORKERS, "nginx has started another worker")

        names, _ = self.while_records_are_made(killed)
        self.finish(names, ("exited on signal 9",))
