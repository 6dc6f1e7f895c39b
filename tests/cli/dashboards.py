"""`tito dashboard`: its figures, its acts, who may what, and what attackers try. What a browser makes of it: pages.py."""

import http.client
import json
import os
import re
import resource
import signal
import socket
import stat

import apps
from serving import _samples
from working import _control
from support import WAIT, check, equal, until

# Keys that begin with x fail for good, those with y wait for a retry.
SOME_FAIL = apps.HEAD + """
return function(worker)
  worker:on("job", function(event, tx)
    if event.key:find("^x") then error("mailbox <b>full</b>\\nof " .. event.key) end
    note("log", event.key)
  end, { retry = { max_retries = 0 } })
end
"""

PUBLISH = """
for i = 1, 6 do assert(queue:publish { key = "k" .. i, payload = { secret = "s3cret" } }) end
for i = 1, 4 do assert(queue:publish { key = "x" .. i, payload = { secret = "s3cret" } }) end
"""


class Server:
    """A dashboard of a place; its URL is what it printed."""

    def __init__(self, place, *arguments, listen="127.0.0.1:0"):
        self.process = place.start("dashboard", *place.db(), "--listen", listen, "--interval", "0.2", *arguments)
        self.path = listen[5:] if listen.startswith("unix:") else None
        said = until("its address", self._address)
        self.token, self.port = None, None
        if not self.path:
            self.port, self.token = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/\?token=([\w-]{43,})\n", said).groups()
            self.port = int(self.port)
        self.host = "localhost" if self.path else "127.0.0.1:%d" % self.port

    def _address(self):
        check(self.process.process.poll() is None, "it has ended:\n" + self.process.text())
        text = self.process.stdout()
        return text if text.endswith("\n") else None

    def connect(self):
        connection = socket.socket(socket.AF_UNIX if self.path else socket.AF_INET)
        connection.settimeout(WAIT)
        connection.connect(self.path or ("127.0.0.1", self.port))
        return connection

    def ask(self, path, method="GET", body=None, token=True, **headers):
        """Status, headers and text of an answer. Headers: Content_Type=…; None leaves one out."""
        given = {"Host": self.host}
        if token and self.token:
            given["Authorization"] = "Bearer " + (self.token if token is True else token)
        if body is not None:
            given["Content-Type"] = "application/json"
            body = body if isinstance(body, bytes) else json.dumps(body).encode()
        given.update((name.replace("_", "-"), value) for name, value in headers.items())
        connection = http.client.HTTPConnection("localhost", timeout=WAIT)
        connection.sock = self.connect()
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            for name, value in given.items():
                if value is not None:
                    connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read().decode()
        finally:
            connection.close()

    def json(self, path, **options):
        status, headers, text = self.ask(path, **options)
        equal((200, "application/json"), (status, headers["Content-Type"]), path + " " + text)
        return json.loads(text)

    def act(self, **body):
        return self.json("/api/act", method="POST", body=body)

    def refused(self, status, path, **options):
        got, _, text = self.ask(path, **options)
        equal(status, got, "%s %s: %s" % (path, options, text))
        return text

    def job(self):
        return [row for row in self.json("/api/hello")["figures"]["types"] if row["type"] == "job"][0]

    def stream(self):
        """An open stream, behind its head."""
        connection = self.connect()
        token = "Authorization: Bearer %s\r\n" % self.token if self.token else ""
        connection.sendall(("GET /events HTTP/1.1\r\nHost: %s\r\n%s\r\n" % (self.host, token)).encode())
        file = connection.makefile("rb")
        check(b" 200 " in file.readline(), "the stream's first line")
        while file.readline().strip():
            pass
        connection.close()  # the file keeps it
        return file

    def end(self):
        self.process.send(signal.SIGTERM).ends(0)
        equal("", self.process.text(), "what it said")


def figures_of(file):
    """The next figures of a stream."""
    while True:
        line = file.readline()
        check(line, "the stream has ended")
        if line.startswith(b"data: "):
            return json.loads(line[6:])


def tells_where_as_json(place):
    place.lua("assert(db:model { table = 'mine' }:save { id = 'a' })")
    process = place.start("dashboard", *place.db(), "--listen", "127.0.0.1:0", "--json")
    until("its address", lambda: process.stdout().endswith("\n"))
    said = json.loads(process.stdout())
    check(said["url"].startswith("http://127.0.0.1:") and said["url"].endswith("/?token=" + said["token"]), said)
    process.send(signal.SIGTERM).ends(0)


def with_failed(place):
    """A database with 4 failed events and 6 completed ones, then 3 pending ones."""
    place.write("app.lua", SOME_FAIL)
    place.lua(PUBLISH + "local T = db:model { table = 'post' } for i = 1, 25 do assert(T:save { id = 'p' .. i }) end"
              " assert(db:schedule { name = 'nightly', cron = '0 3 * * *', type = 'report', key = 'k', payload = { secret = 's3cret' } })")
    place.worker("--once", "--threads", "1").ends(0)
    place.lua("for i = 1, 3 do assert(queue:publish { key = 'k' .. i, payload = { secret = 's3cret' } }) end")


STATS = """local s, p = assert(queue:stats()), assert(queue:partitions())
print(s.pending, s.parked, s.failed_stored, tostring(s.paused), p.partitions)"""


# ---- Figures


def tells_what_the_library_tells(place):
    with_failed(place)
    pending, parked, failed, paused, partitions = place.lua(STATS).split()
    server = Server(place)
    job = server.job()
    equal([int(pending), int(parked), int(failed), paused, int(partitions)],
          [job["pending"], job["parked"], job["failed"], str(job["paused"]).lower(), job["partitions"]], "the type's figures")
    hello = server.json("/api/hello")
    equal((False, False, None), (hello["writes"], hello["values"], hello.get("token")), "what it may")
    equal(["nightly"], [schedule["name"] for schedule in hello["figures"]["schedules"]], "schedules")
    table = [t for t in hello["figures"]["tables"] if t["table"] == "post"][0]
    equal(25, table["records"], "records")
    check(hello["figures"]["engine"]["engine"] == ("tikv" if place.cluster else "rocksdb"), hello["figures"]["engine"])
    equal(3, sum(item["pending"] for item in server.json("/api/partitions?type=job")["items"]), "pending by partition")
    page = server.json("/api/events?type=job&state=failed&limit=3")
    rest = server.json("/api/events?type=job&state=failed&cursor=" + page["cursor"])["items"]
    events = page["items"] + rest
    equal(["x1", "x2", "x3", "x4"], sorted(event["key"] for event in events), "failed events, on two pages")
    check(all("mailbox <b>full</b>\nof x" in event["error"] for event in events), events)
    equal(6, len(server.json("/api/events?type=job&state=completed")["items"]), "completed events")
    samples = _samples(server.ask("/metrics")[2])
    for name, value in {"pending": 3, "parked": 0, "failed": 4, "partitions": 16, "paused": 0}.items():
        equal(value, samples['tito_dashboard_queue_%s{type="job"}' % name], "metrics of " + name)
    equal([1, 25], [samples["tito_dashboard_up"], samples['tito_dashboard_table_records{table="post"}']], "metrics")
    everything = server.ask("/api/hello")[2] + server.ask("/metrics")[2] + json.dumps(events)
    check("s3cret" not in everything, "a payload was told")
    server.end()
    server = Server(place, "--show-values")
    event = server.json("/api/events?type=job&state=failed")["items"][0]
    equal({"secret": "s3cret"}, event["payload"], "a payload")
    server.end()


def streams_what_changes(place):
    with_failed(place)
    server = Server(place, "--allow-writes")
    streams = [server.stream() for _ in range(3)]
    first = [figures_of(file) for file in streams]
    equal([3] * 3, [row["pending"] for figures in first for row in figures["types"] if row["type"] == "job"], "pending")
    equal({"count": 4, "gone": 0}, server.act(action="retry", type="job", all=True))
    for file in streams:
        until("figures with 7 pending", lambda: figures_of(file)["types"][0]["pending"] == 7)
    past = server.json("/api/hello")["past"]
    pending = [point[past["names"].index("pending")] for point in past["types"]["job"]]
    equal((3, 7), (pending[0], pending[-1]), "the past")
    server.end()
    for file in streams:
        while file.readline():
            pass
        file.close()


def acts_where_it_may(place):
    with_failed(place)
    server = Server(place, "--allow-writes")
    ids = [event["id"] for event in server.json("/api/events?type=job&state=failed")["items"]]
    equal({"count": 2, "gone": 1}, server.act(action="retry", type="job", ids=[*ids[:2], ids[0]]))
    equal({"count": 1, "gone": 0}, server.act(action="drop", type="job", ids=ids[2:3]))
    equal({"count": 6}, server.act(action="replay", type="job"))
    equal({"count": 0}, server.act(action="replay", type="job", to=1))
    equal({"count": 1}, server.act(action="replay", type="job", state="failed"))
    server.act(action="pause", type="job")
    job = server.job()
    equal([3 + 2 + 6 + 1, 1, True], [job["pending"], job["failed"], job["paused"]], "pending, failed, paused")
    server.act(action="resume", type="job")
    equal(False, server.job()["paused"])
    act = dict(path="/api/act", method="POST")
    for body in (b"", b"{", b"[]", b"null", b'"x"', {}, {"action": "explode", "type": "job"}, {"action": "retry", "type": "job"},
                 {"action": "retry", "type": "job", "ids": []}, {"action": "retry", "type": "job", "ids": [1]},
                 {"action": "retry", "type": "job", "ids": "x"}, {"action": "drop", "type": "job", "all": True},
                 {"action": "replay", "type": "job", "from": "monday"}, {"action": "replay", "type": "job", "state": "pending"}):
        server.refused(400, body=body, **act)
    for body in ({"action": "retry", "type": "none", "all": True}, {"action": "pause", "type": 5}, {"action": "pause"}):
        server.refused(404, body=body, **act)
    for path in ("/api/events?type=job&state=all", "/api/events?type=job&limit=0", "/api/events?type=job&limit=100000",
                 "/api/events?type=job&cursor=bad", "/api/events?type=job&limit=%31e9"):
        server.refused(400, path)
    for path in ("/api/events?type=none", "/api/events", "/api/partitions?type=%00", "/api/nothing", "/api/"):
        server.refused(404, path)
    equal([3 + 2 + 6 + 1, 1], [server.job()[name] for name in ("pending", "failed")], "after what was refused")
    server.end()
    equal("12 0 1 false 16", " ".join(place.lua(STATS).split()), "what is stored")


# ---- Who may what


def refuses_strangers(place):
    with_failed(place)
    server = Server(place, "--allow-writes")
    everything = ("/", "/app.js", "/style.css", "/icon.svg", "/events", "/metrics", "/api/hello", "/api/events?type=job")
    for path in everything:
        for token in (False, "x", server.token[:-1], server.token + "x", server.token.swapcase()):
            server.refused(401, path, token=token)
        server.refused(401, path, token=False, Authorization="Basic " + server.token)
        server.refused(401, path, token=False, Cookie="tito_dashboard_%d=x" % server.port)
        server.refused(421, path, Host="evil.example:%d" % server.port)
        server.refused(403, path, Origin="http://evil.example")
        server.refused(403, path, Origin="null")
        server.refused(403, path, Origin="http://127.0.0.1:1")
    server.refused(401, "/?token=wrong", token=False)
    server.refused(401, "/app.js?token=" + server.token, token=False)
    server.refused(403, "/api/hello", Sec_Fetch_Site="cross-site")
    server.refused(403, "/events", Sec_Fetch_Site="same-site")
    for host in ("localhost:%d", "127.0.0.1:%d", "[::1]:%d", "10.1.2.3:%d"):
        equal(200, server.ask("/metrics", Host=host % server.port)[0], host)
    for host in ("", "localhost.evil.example", "127.0.0.1.evil.example", "[::1", "::1", "a b", "localhost:x"):
        check(server.ask("/metrics", Host=host)[0] in (400, 421), "the host '%s'" % host)
    # The address that was printed sets a cookie, which reads and does not write.
    status, headers, _ = server.ask("/?token=" + server.token, token=False)
    equal((303, "/"), (status, headers["Location"]))
    cookie, flags = headers["Set-Cookie"].split("; ", 1)
    equal({"Path=/", "HttpOnly", "SameSite=Strict"}, set(flags.split("; ")), "the cookie's flags")
    hello = server.json("/api/hello", token=False, Cookie=cookie)
    body = {"action": "pause", "type": "job"}
    post = dict(path="/api/act", method="POST", body=body)
    same = dict(Cookie=cookie, Origin="http://" + server.host)
    server.refused(401, token=False, **post)
    server.refused(401, token=False, X_Tito_Token=hello["token"], **post)
    server.refused(403, token=False, **same, **post)
    server.refused(403, token=False, X_Tito_Token="x", **same, **post)
    server.refused(403, token=False, X_Tito_Token=server.token, **same, **post)
    server.refused(403, token=False, X_Tito_Token=hello["token"], Cookie=cookie, Origin="http://evil.example", **post)
    server.refused(403, token=False, X_Tito_Token=hello["token"], Cookie=cookie, Sec_Fetch_Site="cross-site", **post)
    server.refused(421, Host="evil.example", **post)
    server.refused(415, Content_Type="text/plain", **post)
    server.refused(415, Content_Type="application/x-www-form-urlencoded", **post)
    server.refused(415, Content_Type="application/jsonx", **post)
    equal(False, server.job()["paused"], "after attacks: paused")
    equal({"count": 1}, server.json(**post, token=False, X_Tito_Token=hello["token"], Sec_Fetch_Site="same-origin", **same))
    equal(True, server.job()["paused"], "paused")
    for method in ("PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "POST"):
        server.refused(405, "/api/hello", method=method)
    server.refused(405, "/api/act")
    server.end()


def writes_only_when_told(place):
    with_failed(place)
    server = Server(place)
    for action in ("retry", "drop", "replay", "pause", "resume"):
        text = server.refused(403, "/api/act", method="POST", body={"action": action, "type": "job", "all": True})
        check("--allow-writes" in text, text)
    server.end()
    equal("3 0 4 false 16", " ".join(place.lua(STATS).split()), "what is stored")


def serves_at_a_unix_socket(place):
    with_failed(place)
    path = place.path("socket")
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(path)
    stale.close()
    server = Server(place, "--allow-writes", listen="unix:" + path)
    equal(0o600, stat.S_IMODE(os.stat(path).st_mode), "the socket's mode")
    equal(3, server.job()["pending"])
    post = dict(path="/api/act", method="POST", body={"action": "pause", "type": "job"})
    server.refused(403, **post)
    server.refused(421, "/", Host="evil.example")
    server.refused(403, X_Tito_Token=server.json("/api/hello")["token"], Origin="http://evil.example", **post)
    equal({"count": 1}, server.json(**post, X_Tito_Token=server.json("/api/hello")["token"]))
    if place.cluster:
        _, err = place.run("dashboard", *place.db(), "--listen", "unix:" + path, code=1)
        check("in use" in err, err)
    server.end()
    check(not os.path.exists(path), "the socket is left over")
    place.write("file", "precious")
    _, err = place.run("dashboard", *place.db(), "--listen", "unix:" + place.path("file"), code=1)
    equal("precious", open(place.path("file")).read(), err)


def keeps_its_token_in_a_file(place):
    path = place.path("token")
    place.publish(1)
    server = Server(place, "--token-file", path)
    equal((0o600, server.token + "\n"), (stat.S_IMODE(os.stat(path).st_mode), open(path).read()), "the file")
    server.end()
    again = Server(place, "--token-file", path)
    equal(server.token, again.token, "the token of a second start")
    again.end()
    os.chmod(path, 0o640)
    cases = [("others may read it", path), ("no file", place.folder), ("must be a line", place.path("short"))]
    place.write("short", "short\n")
    os.chmod(place.path("short"), 0o600)
    for text, file in cases:
        _, err = place.run("dashboard", *place.db(), "--token-file", file, code=1)
        check(text in err, err)
    for arguments in (("--listen", "8080"), ("--listen", "host"), ("--listen", "unix:" + path, "--token-file", path), ("extra",),
                      ("--interval", "0"), ("--color", "always")):
        place.run("dashboard", *place.db(), *arguments, code=2)
    open_to_all = place.start("dashboard", *place.db(), "--listen", "0.0.0.0:0")
    open_to_all.says("others can reach this address")
    open_to_all.send(signal.SIGTERM).ends(0)


# ---- Attacks on the server itself


def _raw(server, *parts):
    """What the server answers to bytes; b"" when it hangs up."""
    connection, answer = server.connect(), b""
    try:
        for part in parts:
            connection.sendall(part)
        while True:
            part = connection.recv(65536)
            if not part:
                return answer
            answer += part
    except (ConnectionResetError, BrokenPipeError):
        return answer
    finally:
        connection.close()


def bears_what_is_no_request(place):
    place.publish(1)
    server = Server(place, "--allow-writes")
    head = ("Host: %s\r\nAuthorization: Bearer %s\r\n" % (server.host, server.token)).encode()
    for path in (b"/../etc/passwd", b"/./metrics", b"//metrics", b"/%2e%2e/etc/passwd", b"/%2e%2e%2fetc%2fpasswd", b"/metrics%00",
                 b"/metrics/", b"/metrics/..", b"/api/../metrics", b"/dashboard/app.js", b"/page/app.js", b"/app.js/", b"/APP.JS",
                 b"/%6detrics", b"\\metrics", b"metrics", b"http://evil.example/metrics", b"*", b"/caf\xc3\xa9", b"/a\x01b",
                 b"/api/act\x00x", b"/;x", b"/" + b"a" * 5000, b"/" + b"a" * 100000):
        answer = _raw(server, b"GET " + path + b" HTTP/1.1\r\n" + head + b"\r\n")
        check(answer == b"" or re.match(rb"HTTP/1\.[01] 4\d\d ", answer), "%r: %r" % (path[:40], answer[:80]))
    # libmicrohttpd takes a NUL for the end of a path: no other path than that, and no other rule.
    for given, status in ((head, b"200"), (b"Host: x\r\n", b"421"), (b"Host: localhost\r\n", b"401")):
        answer = _raw(server, b"GET /metrics\x00/../x HTTP/1.1\r\n" + given + b"\r\n")
        check(answer.split(b" ")[1] in (status, b"400"), "NUL: %r" % answer[:80])
    post = b"POST /api/act HTTP/1.1\r\n" + head + b"Content-Type: application/json\r\n"
    for parts in ((b"GET / HTTP/1.1\r\n\r\n",), (b"GET / HTTP/9.9\r\n" + head + b"\r\n",), (b"\x16\x03\x01\x02\0\1" * 40 + b"\r\n\r\n",),
                  (b"GET / HTTP/1.1\r\n" + head + b"X: " + b"a" * 100000 + b"\r\n\r\n",),
                  (b"GET / HTTP/1.1\r\n" + head + b"X: y\r\n" * 20000 + b"\r\n",),
                  (b"GET /metrics HTTP/1.1\r\n" + head + b"Content-Length: 5\r\n\r\nhello",),
                  (post + b"Content-Length: 99999999999999999999\r\n\r\n",), (post + b"Content-Length: 65537\r\n\r\n",),
                  (post + b"Content-Length: -1\r\n\r\n",), (post + b"Content-Length: x\r\n\r\n{}",),
                  (post + b"Transfer-Encoding: chunked\r\n\r\n", *(b"4000\r\n" + b" " * 0x4000 + b"\r\n",) * 8),
                  (post + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",)):
        answer = _raw(server, *parts)
        check(answer == b"" or re.match(rb"HTTP/1\.[01] (4\d\d|505) ", answer), "%r: %r" % (parts[0][:60], answer[:80]))
    server.refused(400, "/api/act", method="POST", body=b" " * 65536)
    answer = _raw(server, post + b"Content-Length: 65537\r\n\r\n")
    check(answer.startswith(b"HTTP/1.1 413 "), answer[:80])
    equal(1, server.job()["pending"], "it still answers")
    server.process.send(signal.SIGTERM).ends(0)


def bears_idle_and_slow_clients(place):
    place.publish(1)
    server = Server(place)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(limit[0], min(limit[1], 4096)) if limit[1] > 0 else 4096, limit[1]))
    try:
        _crowd(server)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    equal(1, server.job()["pending"], "it still answers")
    server.process.send(signal.SIGTERM).ends(0)


def _crowd(server):
    idle = [server.connect() for _ in range(1000)]
    slow = [server.connect() for _ in range(20)]
    streams = [server.stream() for _ in range(60)]
    for connection in slow:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
    equal(1, server.job()["pending"], "beside 1000 idle connections")
    check(figures_of(streams[-1])["types"], "a stream beside them")
    more = [server.connect() for _ in range(20)]
    for i, connection in enumerate(more):
        connection.sendall(("GET /events HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n\r\n" % (server.host, server.token)).encode())
    equal(16, sum(connection.recv(64).startswith(b"HTTP/1.1 503 ") for connection in more), "streams beyond the 64th")

    def trickles():
        """A byte now and then does not keep a request open for ever."""
        for connection in list(slow):
            try:
                connection.sendall(b"X")
                connection.settimeout(0.05)
                if connection.recv(4096) == b"":
                    slow.remove(connection)
            except socket.timeout:
                pass
            except OSError:
                slow.remove(connection)
        return not slow

    until("slow clients are shut", trickles)
    for connection in idle:
        equal(b"", connection.recv(1), "what an idle client gets")
    for thing in [*idle, *more, *streams]:
        thing.close()


def ends_while_requests_are_open(place):
    """Streams, silent clients, a request that waits: the end comes all the same."""
    place.publish(1)
    for number in (signal.SIGTERM, signal.SIGINT):
        server = Server(place)
        streams = [server.stream() for _ in range(10)]
        silent = [server.connect() for _ in range(10)]
        asking = [server.connect() for _ in range(10)]
        for connection in asking:
            connection.sendall(("GET /api/hello HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n\r\n" % (server.host, server.token)).encode())
        server.process.send(number).ends(0)
        equal("", server.process.text(), "what it said")
        for thing in [*streams, *silent, *asking]:
            thing.close()


# ---- Beside a worker


def a_worker_serves_it(place):
    place.write("app.lua", SOME_FAIL)
    place.lua(PUBLISH)
    path = place.path("token")
    for arguments, text in (((), "--token-file"), (("--token-file", path, "--dashboard", "x"), "HOST:PORT"),
                            (("--allow-writes",), "of --dashboard")):
        dashboard = () if "--dashboard" in arguments or "--allow-writes" in arguments else ("--dashboard", "127.0.0.1:0")
        _, err = place.run("worker", place.path("app.lua"), *place.db(), *dashboard, *arguments, code=2)
        check(text in err, err)
    worker = place.worker("--dashboard", "127.0.0.1:0", "--token-file", path, "--allow-writes").ready()
    server = Server.__new__(Server)
    server.path, server.token = None, open(path).read().strip()
    server.host = worker.says(r"dashboard at http://(127\.0\.0\.1:\d+)\n").group(1)
    server.port = int(server.host.split(":")[1])
    check(server.token not in worker.text(), "the token is in the log")
    stream = server.stream()

    def handled():
        job = server.job()
        return (job["pending"], job["failed"], job["own"]["acknowledged"], job["workers"]) == (0, 4, 6, 1)

    until("6 done and 4 failed, by one worker", handled)
    equal([16], [item["count"] for item in server.json("/api/hello")["figures"]["workers"][0]["types"]], "its partitions")
    until("what it has done a second", lambda: any(row.get("rate") for row in figures_of(stream)["types"]))
    place.write("app.lua", SOME_FAIL.replace('find("^x")', 'find("^nothing")'))
    worker.send(signal.SIGHUP).ready(2)
    equal({"count": 4, "gone": 0}, server.act(action="retry", type="job", all=True))
    until("the retried ones are done", lambda: (server.job()["failed"], len(place.lines("log"))) == (0, 10))
    worker.send(signal.SIGTERM).ends(0)
    stream.close()


def bears_a_silent_store(place):
    """On a mock cluster alone: figures stay with the problem beside them, and the end comes all the same."""
    with_failed(place)
    server = Server(place, "--db-option", "timeout_us=1000000")
    worker = place.worker("--dashboard", "unix:" + place.path("socket"), "--drain-timeout", "1").ready()
    stream = server.stream()
    stores = json.loads(_control("/state"))["stores"]
    for store in stores:
        _control("/store/freeze?id=" + store)
    try:
        until("the problem", lambda: "problem" in figures_of(stream))
        figures = server.json("/api/hello")["figures"]
        equal(4, [row["failed"] for row in figures["types"] if row["type"] == "job"][0], "the last figures")
        equal(0, _samples(server.ask("/metrics")[2])["tito_dashboard_up"])
        for store in stores:
            _control("/store/thaw?id=" + store)
        until("the problem has gone", lambda: "problem" not in figures_of(stream))
        for store in stores:
            _control("/store/freeze?id=" + store)
        server.process.send(signal.SIGTERM).ends(0)
        worker.send(signal.SIGTERM)
        until("the worker's end", lambda: worker.process.poll() is not None)
        check(worker.process.returncode in (0, 3), "exit code %s" % worker.process.returncode)
    finally:
        for store in stores:
            _control("/store/thaw?id=" + store)
    stream.close()


TESTS = [tells_what_the_library_tells, streams_what_changes, acts_where_it_may, serves_at_a_unix_socket, a_worker_serves_it]
EMBEDDED = [tells_where_as_json, refuses_strangers, writes_only_when_told, keeps_its_token_in_a_file, bears_what_is_no_request, bears_idle_and_slow_clients,
            ends_while_requests_are_open]
ON_MOCK = [bears_a_silent_store]
