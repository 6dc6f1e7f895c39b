"""What `tito` says: options, errors, logs, metrics, the service manager; and the other commands."""

import json
import os
import re
import signal
import socket
import urllib.error
import urllib.request

import apps
from support import ROOT, WAIT, check, equal, until

# ---- The command line


def helps(place):
    out, _ = place.run("--version")
    check(re.fullmatch(r"tito \d+\.\d+\.\d+\n", out), out)
    out, _ = place.run("--help")
    for command in re.findall(r"^  tito ([a-z][a-z-]*) ", out, re.M):
        text, err = place.run(command, "--help")
        check(text.startswith("usage: tito " + command) and "--help" in text and err == "", text + err)
        example = text.split("\nExamples:\n")[1].splitlines()[0]
        check(("tito " + command) in example, "no example: " + text)
        check("Exit codes: 0 " in text, text)
        check(all(len(line) <= 110 for line in text.splitlines()), text)
        actions = re.search(r"\n\n((?:  [a-z]+( .*)?\n(?:    .*\n)*)+)\n?", text) if "usage: tito %s ACTION" % command in text else None
        for action in re.findall(r"^  ([a-z]+)", actions.group(1), re.M) if actions else []:
            about = place.run(command, action, "--help")[0]
            check(about.startswith("usage: tito %s %s" % (command, action)), about)
            check(("  tito %s %s" % (command, action)) in about.split("\nExamples:\n")[1], "no example: " + about)
    known = {line["name"]: line for line in map(json.loads, place.run("man", "--json")[0].splitlines())}
    equal(set(re.findall(r"^  tito ([a-z][a-z-]*) ", out, re.M)), set(known), "commands of tito man --json")
    check(any(action["name"] == "stats" and action["options"] for action in known["queue"]["actions"]), known["queue"])
    worker = place.run("worker", "--help")[0]
    readme = open(os.path.join(ROOT, "bindings/cli/README.md")).read()
    for name in re.findall(r"--[a-z][a-z-]+", worker):
        check(name in readme or name == "--help", name + " is not in the README")


def refuses_bad_command_lines(place):
    place.write("app.lua", apps.PLAIN)
    app = place.path("app.lua")
    db = ["--db", "memory:"]
    cases = [
        ([], "which command"), (["wrok"], "no command 'wrok'"), (["worker", *db], "which file"),
        (["worker", app], "no database"), (["worker", app, "--db", ""], "no database"),
        (["worker", app, app, *db], "nothing to do with"), (["worker", app, "--bogus"], "bogus"),
        (["worker", app, "--db"], "requires an argument"), (["worker", app, "--color", "always", *db], "color"),
        (["worker", app, *db, "--once", "--partitions", "0-4"], "--once does not go with --partitions"),
        (["worker", app, *db, "--log-format", "xml"], "log-format 'xml'"),
        (["worker", app, *db, "--log-level", "loud"], "log-level 'loud'"),
        (["worker", app, *db, "--db-option", "namespace"], "NAME=VALUE"),
        (["queue", "stats", "job"], "no database"), (["check"], "no database"),
        (["queue", "stats", "job", "--limit", "3", *db], "--limit is no option of stats"), (["queue", "stats", "job", "x", *db], "'x'"),
        (["queue", *db], "which action"), (["queue", "explode", "job", *db], "which action"),
        (["queue", "stats", *db], "which type"), (["queue", "drop", "job", *db], "which events"),
        (["queue", "retry", "job", *db], "which events"), (["queue", "failed", "job", "--limit", "0", *db], "limit '0'"),
        (["queue", "replay", "job", "--from", "monday", *db], "from 'monday'"),
        (["queue", "replay", "job", "--from", "2026-13-01T00:00:00Z", *db], "from '2026-13"),
        (["check", "--app", app, "nothing", *db], "no model of table 'nothing'"), (["check", "nothing", *db], "no table 'nothing'"),
        (["check", "--repair=yes", *db], "takes no value"), (["check", "--json", "--color", "pink", *db], "color 'pink'"),
        (["worker", place.path("missing.lua"), *db], "no file"),
    ]
    for name, values in {
        "threads": ("0", "257", "-1", "1.5", "x", "", "99999999999999999999"), "concurrency": ("0", "65537"),
        "drain-timeout": ("-1", "nan", "inf", "1s", "", "86401"), "lease": ("x",), "handler-timeout": ("-0.1",),
        "max-retries": ("-1", "many"), "gc-retention": ("1h",),
        "partitions": ("5", "5-5", "7-3", "a-b", "0-10000", "-3", "1-2-3"),
        "metrics": ("9100", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", ":80", "::1:80"),
    }.items():
        cases += [(["worker", app, *db, "--%s=%s" % (name, value)], "--" + name) for value in values]
    for arguments, text in cases:
        _, err = place.run(*arguments, code=2)
        check(text in err, "%s: '%s' expected in: %s" % (arguments, text, err))


def fails_clearly(place):
    cases = [("this is no Lua", "syntax error"), ("error('it broke')", "it broke"), ("return 5", "must return a function"),
             ("return function() end", "registers no handler"), ("return function() error('later') end", "later"),
             ("require 'nowhere'", "nowhere"),
             ("return function(w) w:on('job', print) if w.member == 2 then w:on('x', print) end end", "same types")]
    for text, expected in cases:
        place.write("app.lua", text)
        worker = place.worker("--threads", "3").ends(1)
        check(expected in worker.text(), "'%s' expected in: %s" % (expected, worker.text()))
    place.write("app.lua", apps.PLAIN)
    _, err = place.run("worker", place.path("app.lua"), "--db", "memory:", "--db-option", "colour=blue", code=1)
    check("colour" in err, err)
    _, err = place.run("worker", place.path("app.lua"), "--db", "tikv://127.0.0.1:1", "--db-option",
                       "timeout_us=300000", code=1)
    check("can not be opened" in err, err)
    worker = place.worker().ready()
    _, err = place.run("worker", place.path("app.lua"), "--db", place.target, code=1)
    check(str(worker.process.pid) in err, err)
    worker.send(signal.SIGTERM).ends(0)


def takes_the_target_from_the_environment(place):
    place.write("app.lua", apps.PLAIN)
    place.publish(3)
    place.start("worker", "app.lua", "--once", env={"TITO_DB": place.target}).ends(0)
    place.check_exactly_once(3)


def finds_what_lies_beside_the_app(place):
    os.mkdir(place.path("sub"))
    place.write("sub/helper.lua", "return 'the helper'")
    place.write("sub/app.lua", "local h = require 'helper' print(h) warn('a war', 'ning') return function(w) "
                "w:on('job', function(e) print('event ' .. e.payload) end) end")
    place.publish(1)
    worker = place.worker("--once", "--threads", "1", app="sub/app.lua").ends(0)
    equal("the helper\nevent 1\n", worker.stdout())
    check(re.search(r"Z warn  a warning\n", worker.text()), worker.text())


def the_readme_is_true(place):
    """Its first program, as written."""
    text = open(os.path.join(ROOT, "bindings/cli/README.md")).read()
    blocks = re.findall(r"^`(\w+\.lua)`: [^\n]*\n\n```lua\n(.*?)```", text, re.S | re.M)
    equal(["app.lua", "signup.lua"], [name for name, _ in blocks])
    for name, code in blocks:
        place.write(name, code)
    place.lua("db:close() dofile('signup.lua')")
    check("tito worker app.lua --db ./data --once" in text, "the command is another")
    place.start("worker", "app.lua", "--db", "./data", "--once").ends(0)
    got = place.lua("local G = db:model { table = 'greeting' } for i = 1, 3 do print(G:find_by_id('u' .. i).text) end")
    equal("Welcome, Ada\nWelcome, Grace\nWelcome, Edsger", got)


# ---- Logs

NASTY = "warn('line one\\nline \\\"two\\\" \\\\ \\t\\1\\127 é \\xff\\xe9 end')"


def logs_lines(place):
    place.write("app.lua", NASTY + apps.PLAIN)
    text = place.worker("--once", "--threads", "1", "--log-level", "debug").ends(0).text()
    pattern = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z (error|warn |info |debug) [^\x00-\x1f\x7f]*"
    for line in text.splitlines():
        check(re.fullmatch(pattern, line), "not a log line: %r" % line)
    check(re.search(r"Z warn  line one\n", text) and 'Z warn  line "two" ' in text, text)


def logs_json(place):
    place.write("app.lua", NASTY + apps.PLAIN)
    json.loads(place.worker("--once", "--threads", "1", "--json").ends(0).text().splitlines()[0])
    worker = place.worker("--once", "--threads", "1", "--log-format", "json").ends(0)
    lines = [json.loads(line) for line in worker.text().splitlines()]
    for line in lines:
        equal({"time", "level", "pid", "message"}, set(line))
        equal(worker.process.pid, line["pid"])
        check(line["level"] in ("error", "warn", "info", "debug"), line)
    equal(['line one\nline "two" \\ \t\x01\x7f é \ufffd\ufffd end'],
          [line["message"] for line in lines if line["level"] == "warn"])
    check(any(line["message"].startswith("ready: ") for line in lines), worker.text())


def logs_only_what_is_asked_for(place):
    place.write("app.lua", "warn('hidden')" + apps.PLAIN)
    equal("", place.worker("--once", "--log-level", "error").ends(0).text())


def never_logs_payloads(place):
    place.write("app.lua", "return function(w) w:on('job', function() error('no') end, { retry = { max_retries = 0 } }) end")
    place.lua("assert(queue:publish { key = 'canary-key', payload = { secret = 'canary-4711' } })")
    text = place.worker("--once", "--log-level", "debug").ends(0).text()
    check("event failed type=job id=" in text and "canary" not in text, text)


def tells_the_service_manager(place):
    place.write("app.lua", apps.PLAIN)
    path = place.path("notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(WAIT)
        worker = place.worker(env={"NOTIFY_SOCKET": path})
        equal("READY=1\nMAINPID=%d" % worker.process.pid, manager.recv(4096).decode().rsplit("\n", 1)[0])
        worker.send(signal.SIGHUP)
        check(re.match(r"RELOADING=1\nMONOTONIC_USEC=\d+\n", manager.recv(4096).decode()), "no RELOADING")
        check(manager.recv(4096).startswith(b"READY=1\n"), "no READY after the reload")
        place.write("app.lua", "broken")
        worker.send(signal.SIGHUP)
        check(manager.recv(4096).startswith(b"RELOADING=1\n"), "no RELOADING")
        check(manager.recv(4096).startswith(b"READY=1\n"), "no READY after the failed reload")
        worker.send(signal.SIGTERM)
        check(manager.recv(4096).startswith(b"STOPPING=1\n"), "no STOPPING")
        worker.ends(0)


# ---- Metrics

def _serving(place, app, *arguments):
    place.write("app.lua", app)
    worker = place.worker("--metrics", "127.0.0.1:0", *arguments)
    return worker, int(worker.says(r"metrics at http://127\.0\.0\.1:(\d+)/metrics").group(1))


def _get(port, path, method="GET", data=None):
    request = urllib.request.Request("http://127.0.0.1:%d%s" % (port, path), method=method, data=data)
    try:
        with urllib.request.urlopen(request, timeout=WAIT) as answer:
            return answer.status, answer.read().decode(), dict(answer.headers)
    except urllib.error.HTTPError as answer:
        return answer.code, answer.read().decode(), dict(answer.headers)


def _samples(text):
    """Parses Prometheus text, strictly: samples by their name with labels."""
    found, typed = {}, set()
    for line in text.splitlines():
        comment = re.fullmatch(r"# (HELP|TYPE) ([a-z_0-9]+) (.+)", line)
        if comment:
            typed.add(comment.group(2))
            continue
        sample = re.fullmatch(r'([a-z_0-9]+)(\{(?:[a-z_]+="[^"\\]*",?)*\})? (-?[0-9.e+-]+|NaN|\+Inf)', line)
        check(sample, "not a sample: %r" % line)
        base = re.sub(r"_(bucket|sum|count)$", "", sample.group(1))
        check(sample.group(1) in typed or base in typed, "a sample without its type: %r" % line)
        name = sample.group(1) + (sample.group(2) or "")
        check(name not in found, "twice: " + name)
        found[name] = float(sample.group(3))
    return found


def metrics_while_it_works(place):
    place.publish(200)
    worker, port = _serving(place, apps.PLAIN, "--threads", "2")
    worker.ready()
    status, text, headers = _get(port, "/metrics")
    equal(200, status)
    check(headers["Content-Type"].startswith("text/plain; version=0.0.4"), headers)
    acknowledged = [name for name in _samples(text) if "acknowledged" in name and 'type="job"' in name]
    equal(1, len(acknowledged), "counters of acknowledged events")
    until("200 in the counter", lambda: _samples(_get(port, "/metrics")[1])[acknowledged[0]] == 200)
    samples = _samples(_get(port, "/metrics")[1])
    equal(1, samples["tito_worker_running"])
    check(samples["process_resident_memory_bytes"] > 1e6 and samples["process_cpu_seconds_total"] > 0, samples)
    equal((200, "ok\n"), _get(port, "/healthz")[:2])
    worker.send(signal.SIGHUP).ready(2)
    place.write("app.lua", "broken")
    worker.send(signal.SIGHUP).says("the reload has failed")
    samples = _samples(_get(port, "/metrics")[1])
    equal([1, 1], [samples['tito_worker_reloads_total{result="%s"}' % r] for r in ("ok", "error")])
    worker.send(signal.SIGTERM).ends(0)


def health_while_it_starts_and_drains(place):
    place.publish(1)
    worker, port = _serving(place, apps.ENDLESS, "--drain-timeout", "3000")
    until("the handler", lambda: place.lines("began"))
    until("ready", lambda: _get(port, "/healthz")[0] == 200)
    worker.send(signal.SIGTERM).says("draining")
    equal((503, "draining\n"), _get(port, "/healthz")[:2])
    equal(1, _samples(_get(port, "/metrics")[1])["tito_worker_draining"])
    worker.send(signal.SIGTERM).ends(4)
    worker, port = _serving(place, "while true do end")
    equal((503, "starting\n"), _get(port, "/healthz")[:2])
    worker.send(signal.SIGTERM).ends(0)


def the_server_is_strict(place):
    worker, port = _serving(place, apps.PLAIN)
    worker.ready()
    equal(404, _get(port, "/")[0])
    equal(404, _get(port, "/metrics/../etc")[0])
    for method in ("POST", "PUT", "DELETE", "HEAD", "OPTIONS"):
        status, _, headers = _get(port, "/metrics", method, b"x" if method in ("POST", "PUT") else None)
        equal((405, "GET"), (status, headers.get("Allow")), method)
    for request in (b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", b"\0\1\2\3\r\n\r\n",
                    b"GET /metrics HTTP/1.1\r\n\r\n",
                    b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
                    b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100000 + b"\r\n\r\n"):
        answer = _raw(port, request)
        check(answer == b"" or re.match(rb"HTTP/1\.[01] 4\d\d ", answer), "%r: %r" % (request[:40], answer[:60]))
    # one that says nothing is closed, and many do not keep others out for ever
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(40)]
    idle[0].settimeout(WAIT)
    equal(b"", idle[0].recv(1), "what a silent client gets")
    until("the server is back", lambda: _get_or_none(port) == 200)
    for connection in idle:
        connection.close()
    worker.send(signal.SIGTERM).ends(0)


def _raw(port, request):
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(WAIT)
        answer = b""
        try:
            connection.sendall(request)
            while True:
                part = connection.recv(65536)
                if not part:
                    return answer
                answer += part
        except (ConnectionResetError, BrokenPipeError):
            return answer


def _get_or_none(port):
    try:
        return _get(port, "/healthz")[0]
    except OSError:
        return None


def a_port_that_is_taken(place):
    place.write("app.lua", apps.PLAIN)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        worker = place.worker("--metrics", "127.0.0.1:%d" % port).ends(1)
        check("127.0.0.1:%d: Address already in use" % port in worker.text(), worker.text())
    worker = place.worker("--metrics", "[::1]:0") if socket.has_ipv6 and os.path.exists("/proc/net/if_inet6") else None
    if worker:
        until("an end or an address", lambda: re.search(r"http://\[::1\]:\d+/|--metrics", worker.text()))


# ---- The other commands

def looks_after_queues(place):
    place.write("app.lua", """
      return function(w) w:on("job", function(event) if event.key == "bad" then error("no\\nsecond line") end end,
        { retry = { max_retries = 0 } }) end""")
    place.lua("for i = 1, 5 do assert(queue:publish { key = i <= 2 and 'bad' or 'good', payload = i }) end"
              " assert(queue:publish { key = 'later', payload = 9, delay = 3600 })")
    place.worker("--once").ends(0)
    db = place.db()
    out, _ = place.run("queue", "stats", "job", *db)
    check(re.search(r"^failed_stored +2$", out, re.M) and re.search(r"^pending +1$", out, re.M), out)
    stats = json.loads(place.run("queue", "stats", "job", "--json", *db)[0])
    equal((2, 1, False), (stats["failed_stored"], stats["pending"], stats["paused"]))
    lines = place.run("queue", "failed", "job", *db)[0].splitlines()
    equal(3, len(lines))
    check(re.fullmatch(r"id +state +key +when +attempts +error", lines[0]), lines)
    check(re.search(r" failed +bad +[-0-9T:]+Z +1  .*no$", lines[1]), lines)
    equal(2, len(place.run("queue", "failed", "job", "--limit", "1", *db)[0].splitlines()))
    equal("", place.run("queue", "failed", "job", "--from", "2200-01-01T00:00:00Z", *db)[0])
    equal(3, len(place.run("queue", "failed", "job", "--from", "2026-01-01T00:00:00Z", *db)[0].splitlines()))
    first, second = (json.loads(line) for line in place.run("queue", "failed", "job", "--json", *db)[0].splitlines())
    equal("1 dropped\n", place.run("queue", "drop", "job", first["id"], *db)[0])
    _, err = place.run("queue", "drop", "job", first["id"], *db, code=10)
    check(err.startswith("tito: " + first["id"]), err)
    equal("1 retried\n", place.run("queue", "retry", "job", second["id"], *db)[0])
    place.worker("--once").ends(0)
    equal("1 retried\n", place.run("queue", "retry", "job", "all", *db)[0])
    equal("0 retried\n", place.run("queue", "retry", "job", "all", *db)[0])
    equal("3 published again\n", place.run("queue", "replay", "job", "--into", "copy", *db)[0])
    equal(3, place.count("pending", "copy"))
    place.run("queue", "pause", "job", *db)
    check(json.loads(place.run("queue", "stats", "job", "--json", *db)[0])["paused"], "not paused")
    place.worker("--once").ends(0)
    equal(2, place.count("pending"), "events of a paused type")
    place.run("queue", "resume", "job", *db)
    check(not json.loads(place.run("queue", "stats", "job", "--json", *db)[0])["paused"], "still paused")


def a_new_process_knows_what_is_paused(place):
    """From its first look at the type on: a worker that begins gives out nothing of a paused one."""
    place.lua("assert(queue:publish { key = 'k', payload = 1 }) assert(queue:pause())")
    metrics = place.lua("assert(queue:publish { key = 'k', payload = 2 }) print(db:metrics())")
    equal(1, _samples(metrics)['tito_queue_paused{type="job"}'])


INDEXED = """
  local tito = require "tito"
  local function declare() tito.db:model { table = "thing", indexes = { { name = "odd%s",
    fields = { { name = "n", type = "number" } }, condition = function(t) return t.n %% 2 == 1 end } } } end
  %s
  return function(w) %s w:on("job", print) end
"""


def looks_after_indexes(place):
    place.write("app.lua", INDEXED % ("", "declare()", ""))
    place.lua("local T = db:model { table = 'thing', indexes = { { name = 'odd', fields = { { name = 'n', type = 'number' } },"
              " condition = function(t) return t.n % 2 == 1 end } } }"
              " for i = 1, 10 do assert(T:build { id = 't' .. i, n = i }) end")
    out, _ = place.run("check", "--app", place.path("app.lua"), *place.db())
    equal("thing: 15 records and entries, 0 findings\n", out)
    # the same index with another condition: half of the records have an entry too many or too few
    place.write("other.lua", (INDEXED % ("", "declare()", "")).replace("== 1", "== 0"))
    out, _ = place.run("check", "--app", place.path("other.lua"), "thing", *place.db(), code=1)
    check(re.search(r"thing: \d+ records and entries, [1-9]\d* findings\n$", out), out)
    out, _ = place.run("check", "--app", place.path("other.lua"), "--repair", *place.db(), code=1)
    check(re.search(r"findings, [1-9]\d* mended\n$", out), out)
    equal("thing: 15 records and entries, 0 findings\n", place.run("check", "--app", place.path("other.lua"), *place.db())[0])
    # declared in the function, and new
    place.write("new.lua", INDEXED % ("_new", "", "declare()"))
    place.run("reindex", "--app", place.path("new.lua"), *place.db())
    count = ("local T = db:model { table = 'thing', indexes = { { name = 'odd_new', fields = { { name = 'n', type = 'number' } },"
             " condition = function(t) return t.n % 2 == 1 end } } } print(assert(T:query_by_index('odd_new'):count()))")
    equal("5", place.lua(count))
    place.write("none.lua", "return function(w) w:on('job', print) end")
    check("declares no models" in place.run("check", "--app", place.path("none.lua"), *place.db(), code=2)[1], "no text")
    place.write("broken.lua", "error('it broke')")
    check("it broke" in place.run("check", "--app", place.path("broken.lua"), *place.db(), code=1)[1], "no text")


TESTS = [
    helps, refuses_bad_command_lines, fails_clearly, takes_the_target_from_the_environment, finds_what_lies_beside_the_app,
    the_readme_is_true, logs_lines, logs_json, logs_only_what_is_asked_for, never_logs_payloads, tells_the_service_manager,
    metrics_while_it_works, health_while_it_starts_and_drains, the_server_is_strict, a_port_that_is_taken,
    looks_after_queues, a_new_process_knows_what_is_paused, looks_after_indexes,
]
