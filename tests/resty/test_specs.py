"""The specs of tests/lua that run on both hosts: in LuaJIT by busted, and in a light thread of nginx.

With TITO_TEST_PD those of nginx run, and their databases are namespaces of that cluster. With TITO_TEST_PRELOAD those of LuaJIT.
"""

import subprocess

from nginx import CLUSTER, PRELOAD, ROOT, Nginx, luajit, namespace

SHARED = ("host", "model", "query", "queue", "transaction", "tend", "worker", "batch", "backup", "bad_input", "lifetime")
OWN = ("json", "misuse")


def spec(name):
    return ROOT / "tests" / ("lua" if name in SHARED else "resty") / (name + "_spec.lua")


# What a spec provokes.
EXPECTED = ("writing a global Lua variable", "is_leader failed")

WHERE = ", on a cluster" if CLUSTER else ""
ENVIRONMENT = "env TITO_TEST_PD; env TITO_TEST_NAMESPACE; env TITO_TEST_SCALE;"

HTTP = """
  lua_code_cache on;
  init_by_lua_block { require "resty.tito" }
  server {
    listen 127.0.0.1:{port};
    location /ready { return 200 ok; }
    location /spec { content_by_lua_block {
      require("specs").run(ngx.var.arg_path, ngx.say)
    } }
  }
"""


def in_luajit(name):
    """The output of busted in LuaJIT, with its counts in the last line."""
    arguments = [ROOT / "tests/resty/in_luajit.lua", "-o", "TAP", spec(name)]
    done = luajit(arguments, [ROOT / "tests/lua"], stderr=subprocess.STDOUT, text=True, errors="replace")
    lines = done.stdout.splitlines()
    passed = sum(1 for line in lines if line.startswith("ok "))
    failed = sum(1 for line in lines if line.startswith("not ok "))
    shown = "\n".join(line for line in lines if not line.startswith("ok "))
    if not passed or (done.returncode and not failed):
        failed += 1
    return "%s\n== %s in LuaJIT\ntests: %d passed, %d failed, 0 skipped" % (shown, name, passed, failed)


def in_nginx(name):
    nginx = Nginx(HTTP, environment={"TITO_TEST_NAMESPACE": namespace()}, main=ENVIRONMENT)
    try:
        nginx.start()
        output = nginx.get("/spec?path=%s" % spec(name))
        nginx.stop()
        wrong = [line for line in nginx.errors() if not any(text in line for text in EXPECTED)]
        if wrong:
            output = "\n".join(wrong) + "\n" + output.rsplit("tests:", 1)[0] + "tests: 0 passed, 1 failed, 0 skipped\n"
        return "== %s in nginx%s\n%s" % (name, WHERE, output.rstrip())
    except Exception as problem:  # the counts say so
        return "== %s in nginx: %s\n%s\ntests: 0 passed, 1 failed, 0 skipped" % (name, problem, nginx.log()[-4000:])
    finally:
        nginx.close()


def run_all():
    if CLUSTER:
        for name in SHARED + OWN:
            if name not in ("backup", "bad_input", "json"):
                yield in_nginx(name)
        return
    for name in SHARED + OWN:
        yield in_luajit(name)
    for name in () if PRELOAD else SHARED + OWN:
        yield in_nginx(name)
