"""GET /posts/:id in nginx by wrk: tito, against a constant and against ngx.run_worker_thread.

    python3 tests/bench/resty/run.py BUILD [SECONDS] [CONNECTIONS]        embedded
    sh tests/cluster/with python3 tests/bench/resty/run.py BUILD …        besides on that cluster (TITO_TEST_PD)

BUILD: a release build with the targets tito and tito_resty. Needs `sh .ci/packages bench` and `sh .ci/packages resty`. One
nginx worker, one thread of wrk; ids are random among 1,000 posts of about 600 bytes. What the locations do:

    constant   content_by_lua_block says such a post's text
    posts      finds the post by its id and says its text
    thread     has a thread of nginx's pool answer that text (no database at all): what that way costs at least

A location passes when it has answered and no request failed; the last line is `tests: N passed, N failed, 0 skipped`.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[3]
POSTS = 1000

HTTP = """
  init_by_lua_block {
    tito = require "resty.tito"
    db = tito.new("TARGET", OPTIONS)
    Post = db:model { table = "post" }
    text = assert(tito.encode { id = "p1", title = "A title", author = "Ann", body = ("x"):rep(500) })
  }
  init_worker_by_lua_block { db:open() }
  server {
    listen 127.0.0.1:{port};
    keepalive_requests 100000000;
    location /fill { content_by_lua_block {
      for i = 1, POSTS do
        assert(Post:save { id = "p" .. i, title = "A title", author = "Ann", body = ("x"):rep(500) })
      end
      ngx.say "ok"
    } }
    location /constant { content_by_lua_block { ngx.print(text) } }
    location ~ ^/posts/(?<id>.+)$ { content_by_lua_block {
      local post, err = Post:find_by_id(ngx.var.id)
      ngx.print(post and tito.encode(post) or error(err or "there is no such post"))
    } }
    location ~ ^/thread/(?<id>.+)$ { content_by_lua_block {
      local ok, answer = ngx.run_worker_thread("bench", "answer", "find", ngx.var.id)
      ngx.print(ok and answer or error(answer))
    } }
  }
"""

ANSWER = 'return { find = function(id) return (%r):rep(1) .. id end }' % ("x" * 560)

WRK = """
request = function() return wrk.format("GET", wrk.path .. math.random(%d)) end
done = function(summary, latency, requests)
  io.write(("figures: %%.0f %%.0f %%.0f %%d\\n"):format(summary.requests / summary.duration * 1e6, latency:percentile(50),
    latency:percentile(99), summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout))
end
""" % POSTS


def measure(nginx, path, seconds, connections):
    """(requests per second, p50 and p99 in microseconds, failed requests)"""
    script = nginx.folder / "wrk.lua"
    script.write_text(WRK)
    url = "http://127.0.0.1:%d%s" % (nginx.port, path)
    command = ["wrk", "-t", "1", "-c", str(connections), "-d", "%ds" % seconds, "--timeout", "60s",
               "-s", str(script), url]
    output = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
    return tuple(map(int, re.search(r"^figures: (\d+) (\d+) (\d+) (\d+)$", output, re.M).groups()))


def run(target, options, seconds, connections):
    """How many locations passed, and how many did not."""
    from nginx import Nginx, until

    http = HTTP.replace("TARGET", target).replace("OPTIONS", options).replace("POSTS", str(POSTS))
    folder = tempfile.TemporaryDirectory(prefix="tito-bench-")
    pathlib.Path(folder.name, "answer.lua").write_text(ANSWER)
    passed, locations = 0, (("constant", "/constant?"), ("posts", "/posts/p"), ("thread", "/thread/p"))
    nginx = Nginx(http, main="thread_pool bench threads=4;", lua_path=folder.name)
    try:
        nginx.start()
        until(lambda: nginx.get("/fill") == "ok\n", "the posts are there")
        for name, path in locations:
            measure(nginx, path, 1, connections)
            rate, half, most, failed = measure(nginx, path, seconds, connections)
            print("%-10s %8d requests/s   p50 %6d us   p99 %6d us   failed %d" % (name, rate, half, most, failed), flush=True)
            passed += rate > 0 and failed == 0
    finally:
        nginx.close()
        folder.cleanup()
    return passed, len(locations) - passed


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    os.environ["TITO_BUILD"] = sys.argv[1]
    os.environ["TITO_NGINX"] = os.environ.get("TITO_NGINX", str(ROOT / "build/nginx"))
    subprocess.run(["sh", str(ROOT / ".ci/nginx"), os.environ["TITO_NGINX"]], check=True)
    sys.path.insert(0, str(ROOT / "tests/resty"))
    seconds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    connections = int(sys.argv[3]) if len(sys.argv) > 3 else 16
    print("%d connections, %d s each; embedded" % (connections, seconds), flush=True)
    passed, failed = run("{data}", "{}", seconds, connections)
    if os.environ.get("TITO_TEST_PD"):
        print("on the cluster at %s" % os.environ["TITO_TEST_PD"], flush=True)
        namespace = os.environ.get("TITO_TEST_NAMESPACE", "titotest.bench.") + str(os.getpid())
        options = '{ namespace = "%s" }' % namespace
        more = run("tikv://" + os.environ["TITO_TEST_PD"], options, seconds, connections)
        passed, failed = passed + more[0], failed + more[1]
    print("tests: %d passed, %d failed, 0 skipped" % (passed, failed))
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
