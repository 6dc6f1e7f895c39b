"""The commands that look into a database and change records: on both engines, on good and bad input."""

import json
import os
import re
import signal
import subprocess

from support import check, equal, until

POSTS = """
  local P = db:model { table = "post",
    indexes = { { name = "by_author", fields = { { name = "author", type = "string" }, { name = "n", type = "number" } } },
      { name = "live", fields = { { name = "flag", type = "boolean" } }, where = { state = "live" } } },
    unique_indexes = { { name = "slug", fields = { { name = "slug", type = "string" } } } } }
  assert(db:transaction(function(tx) for i = 1, 30 do
    assert(P:build({ id = ("p%02d"):format(i), author = i % 3 == 0 and "Ada" or "Bob", n = i / 2, slug = "s" .. i,
      state = i % 2 == 0 and "live" or "draft", flag = i % 4 == 0, deep = { x = i }, text = i == 1 and "a\\27[31mred\\nline" or nil }, tx))
  end return true end))
"""

ODD = """
  local tito = require "tito"
  tito.db:model { table = "thing", indexes = { { name = "odd", fields = { { name = "n", type = "number" } },
    condition = function(t) return t.n % 2 == 1 end } },
    relationships = { { source_field_name = "owner_id", destination_field_name = "owner", model = "owner" } },
    events = function(t) return { { name = "job", payload = t.n, key = t.id } } end }
  tito.db:model { table = "owner" }
  return function(w) w:on("job", print) end
"""


def _run(place, *arguments, code=0, **options):
    return place.run(*arguments, *place.db(), code=code, **options)


def _json(place, *arguments, **options):
    return [json.loads(line) for line in _run(place, *arguments, "--json", **options)[0].splitlines()]


def gets_records(place):
    place.lua(POSTS)
    out, err = _run(place, "get", "post", "p03")
    equal({"id": "p03", "author": "Ada", "n": 1.5, "slug": "s3", "state": "draft", "flag": False, "deep": {"x": 3}},
          json.loads(out))
    check(out.startswith('{\n  "author": "Ada",\n  "deep": {\n    "x": 3\n  },\n  "flag": false,\n') and err == "", out)
    equal(["p02", "p01"], [d["id"] for d in _json(place, "get", "post", "p02", "p01")])
    answer = _json(place, "get", "post", "p02", "--version")[0]
    check(answer["version"] > 0 and answer["document"]["id"] == "p02", answer)
    out, err = _run(place, "get", "post", "p02", "nobody", code=10)
    check('"id": "p02"' in out and err == "tito: table 'post' has no record 'nobody'\n", out + err)
    equal("tito: there is no table 'nothing'\n", _run(place, "get", "nothing", "x", code=10)[1])
    check("Give a table and ids" in _run(place, "get", "post", code=2)[1], "no text")
    check("\x1b" not in _run(place, "get", "post", "p01")[0], "a control character")


def queries_by_indexes(place):
    place.lua(POSTS)
    out, err = _run(place, "query", "post", "by_author", "Ada", "--gt", "3", "--lte", "6", "--columns", "id,n,deep.x")
    equal("id   n    deep.x\np09  4.5  9\np12  6.0  12\n", out)
    equal("", err)
    cases = [
        (["Ada"], 10), (["Bob"], 20), (["Ada", "1.5"], 1), (["Ada", "--gte", "1.5", "--lt", "1.6"], 1),
        (["--starts-with", "A"], 10), (["--starts-with", "B", "--limit", "7"], 7), (["Ada", "--gt", "100"], 0),
        (["json:null"], 0), (['json:"Ada"'], 10), (["Eve"], 0), (["Ada", "null"], 0), (["--gte", "B"], 20),
    ]
    for words, count in cases:
        equal(count, len(_json(place, "query", "post", "by_author", *words)), words)
    equal(7, len(_json(place, "query", "post", "live", "true")))
    equal(["p30", "p27"], [d["id"] for d in _json(place, "query", "post", "by_author", "Ada", "--reverse", "--limit", "2")])
    equal([{"id": "p03"}], _json(place, "query", "post", "by_author", "Ada", "--keys-only", "--limit", "1"))
    bad = [(["by_author", "Ada", "x"], 2, "n 'x': a number expected"), (["by_author", "A", "1", "2"], 2, "one value too many"),
           (["by_author", "A", "1", "--gt", "2"], 2, "no further field"), (["by_author", "Ada", "json:{}"], 2, "a JSON scalar"),
           (["live", "yes"], 2, "a boolean expected"), (["nothing", "1"], 11, 'no index "nothing"'),
           (["by_author", "--cursor", "forged"], 11, "cursor"), (["by_author", "--limit", "0"], 2, "limit '0'"),
           (["by_author", "json:", "--all"], 2, "a JSON scalar"), ([], 2, "which index")]
    for words, code, text in bad:
        _, err = _run(place, "query", "post", *words, code=code)
        check(text in err, "%s: '%s' expected in %s" % (words, text, err))


def pages_by_cursors(place):
    place.lua(POSTS)
    found, cursor = [], []
    while True:
        out, err = _run(place, "query", "post", "by_author", "Bob", "--limit", "6", "--json", *cursor)
        found += [json.loads(line)["id"] for line in out.splitlines()]
        more = re.fullmatch(r"more: --cursor (\S+)\n", err)
        if not more:
            equal("", err)
            break
        cursor = ["--cursor", more.group(1)]
    equal(["p%02d" % i for i in range(1, 31) if i % 3], found)
    equal(30, len(_json(place, "scan", "post", "--all")))
    equal(sorted(["p%02d" % i for i in range(1, 31)], reverse=True), [d["id"] for d in _json(place, "scan", "post", "--reverse")])
    out = _run(place, "scan", "post", "--limit", "1")[0].splitlines()
    equal(["id", "author", "deep", "flag", "n", "slug", "state", "text"], out[0].split())
    check("a\\x1b[31mred\\nline" in out[1], out)


def counts_and_explains(place):
    place.lua(POSTS)
    equal("30\n", _run(place, "count", "post")[0])
    equal([{"count": 10}], _json(place, "count", "post", "by_author", "Ada"))
    equal("3\n", _run(place, "count", "post", "by_author", "Ada", "--gt", "9", "--lt", "14")[0])
    plan = _json(place, "explain", "post", "by_author", "Ada", "--gte", "2")[0]
    equal(("by_author", ["author"], {"field": "n", "bounds": ["gte"]}), (plan["index"], plan["equal"], plan["range"]))
    check(re.search(r"^index +by_author$", _run(place, "explain", "post", "by_author", "Ada")[0], re.M), "no index")
    check(_json(place, "explain", "post")[0]["scan"] is True, "no scan")
    _run(place, "count", "nothing", code=10)


def writes_records(place):
    place.lua(POSTS)
    place.write("new.json", '{"id": "p40", "author": "Eve", "n": 1, "slug": "s40", "state": "live", "flag": true}')
    equal("Eve", json.loads(_run(place, "put", "post", "@new.json")[0])["author"])
    equal(["p40"], [d["id"] for d in _json(place, "query", "post", "by_author", "Eve")])
    equal(8, len(_json(place, "query", "post", "live", "true")), "a declared condition is kept up")
    _run(place, "put", "user", '{"id": "u1", "n": 1.0, "none": null, "list": []}', '{"id": "u2"}')
    equal([{"id": "u1", "n": 1.0, "none": None, "list": []}, {"id": "u2"}], _json(place, "scan", "user"))
    check('"n":1.0' in _run(place, "get", "user", "u1", "--json")[0], "1.0 is no longer a float")
    _, err = _run(place, "put", "user", '{"id": "u3"}', '{"id": "u1"}', "--mode", "insert", code=11)
    check("already has a record" in err, err)
    equal(2, len(_json(place, "scan", "user")), "all or none")
    _run(place, "put", "user", '{"id": "u9"}', "--mode", "update", code=10)
    _, err = _run(place, "put", "post", '{"id": "p41", "author": "Eve", "n": 2, "slug": "s40"}', code=11)
    check("slug" in err, err)
    _, err = _run(place, "put", "post", '{"id": "p41", "author": 5, "n": 2}', code=11)
    check("author" in err, err)
    for bad, text in (("{", "no JSON"), ("[1]", "a JSON object expected"), ("5", "a JSON object"), ("@absent", "No such file")):
        check(text in _run(place, "put", "user", bad, code=2)[1], bad)
    version = _json(place, "get", "user", "u2", "--version")[0]["version"]
    _run(place, "patch", "user", "u2", '{"a": 1}', "--if-version", str(version + 1), code=11)
    equal({"id": "u2", "a": 1}, _json(place, "patch", "user", "u2", '{"a": 1}', "--if-version", str(version))[0])
    equal({"id": "u2"}, _json(place, "patch", "user", "u2", '{"a": null}')[0])
    _run(place, "patch", "user", "u7", "{}", code=10)
    equal("1 deleted\n", _run(place, "delete", "user", "u2", "u7", code=10)[0])
    equal([{"count": 1}], _json(place, "delete", "user", "u1"))
    equal("", _run(place, "scan", "user")[0])


def asks_the_app_where_it_must(place):
    place.write("app.lua", ODD)
    app = ["--app", place.path("app.lua")]
    _run(place, "put", "owner", '{"id": "o1", "name": "Ada"}', *app)
    for n in range(1, 7):
        _run(place, "put", "thing", json.dumps({"id": "t%d" % n, "n": n, "owner_id": "o1"}), "--events", "INSERT", *app)
    equal(6, place.count("pending"), "events")
    equal(["t1", "t3", "t5"], [d["id"] for d in _json(place, "query", "thing", "odd")])
    for words in (["put", "thing", '{"id": "t9", "n": 9}'], ["patch", "thing", "t1", '{"n": 2}']):
        _, err = _run(place, *words, code=16)
        check("--app APP.lua" in err and "odd" in err, err)
    _, err = _run(place, "check", code=2)
    check("--app APP.lua" in err, err)
    equal(6, json.loads(_run(place, "count", "thing", "--json")[0])["count"])
    answer = _json(place, "get", "thing", "t1", "--relationship", "owner", *app)[0]
    equal("Ada", answer["owner"]["name"])
    _run(place, "patch", "thing", "t1", '{"n": 2}', *app)
    equal(2, len(_json(place, "query", "thing", "odd")))
    equal("1 deleted\n", _run(place, "delete", "thing", "t3")[0])
    equal(1, len(_json(place, "query", "thing", "odd")))
    check("absent.lua" in _run(place, "get", "thing", "t1", "--app", "absent.lua", code=1)[1], "no text")
    report = _json(place, "check", *app)
    equal([("owner", []), ("thing", [])], [(line["table"], line["findings"]) for line in report])


def looks_at_schemas(place):
    place.lua("")
    equal("", _run(place, "schema")[0])
    place.lua(POSTS + "db:model { table = 'empty' }")
    out = _run(place, "schema")[0]
    check(re.match(r"table +index +version +state +unique +fields +condition\npost\n"
                   r"post +by_author +1 +readable +false +author string, n number\n"
                   r'post +live +1 +readable +false +flag boolean +\{"state":"live"\}\n'
                   r"post +slug +1 +readable +true +slug string\n", out), out)
    post = _json(place, "schema", "post", "--size")[0]
    equal((30, ["by_author", "live", "slug"]), (post["records"], [index["name"] for index in post["indexes"]]))
    check(1000 < post["bytes"] < 10000, post)
    equal([30, 15, 30], [index["entries"] for index in post["indexes"]], "entries")
    check(all(20 * index["entries"] < index["bytes"] < 100 * index["entries"] for index in post["indexes"]), post)
    check(re.search(r"^post +slug .* slug string +30 +\d+$", _run(place, "schema", "post", "--size")[0], re.M), "no sizes")
    _run(place, "schema", "nothing", code=10)
    equal("post: index live is dropped\n", _run(place, "drop-index", "post", "live")[0])
    equal(["by_author", "slug"], [index["name"] for index in _json(place, "schema", "post")[0]["indexes"]])
    _run(place, "drop-index", "post", "live", code=10)
    _run(place, "drop-index", "nothing", "live", code=10)
    _run(place, "query", "post", "live", "true", code=11)
    equal("post: 90 records and entries, 0 findings\n", _run(place, "check", "post")[0])
    _run(place, "put", "user", '{"id": "u1"}')
    # an index that is not filled yet: the catalog knows enough
    place.lua("db:model { table = 'user', indexes = { { name = 'by_n', fields = { { name = 'n', type = 'number' } } } } }"
              ":save { id = 'u2', n = 5 }")
    states = {index["name"]: index["state"] for index in _json(place, "schema", "user")[0]["indexes"]}
    equal({"by_n": "write_only"}, states)
    check("reindex" in _run(place, "query", "user", "by_n", "5", code=11)[1], "no text")
    equal("user: every index is readable\n", _run(place, "reindex", "user")[0])
    equal(["u2"], [d["id"] for d in _json(place, "query", "user", "by_n", "5")])
    equal(["u1"], [d["id"] for d in _json(place, "query", "user", "by_n", "null")])


def looks_at_types(place):
    place.lua("")
    equal([], _json(place, "queue", "list"))
    _run(place, "queue", "stats", "job", code=10)
    place.publish(40, keys=7)
    place.lua("assert(queue:publish { key = 'later', payload = { secret = 'canary' }, delay = 3600 })"
              " assert(db:queue { type = 'mail', partitions = 2 }:publish { key = 'a' })")
    types = {line["type"]: line for line in _json(place, "queue", "list")}
    equal({"job", "mail"}, set(types))
    equal((16, 41, 0, 0, False), tuple(types["job"][n] for n in ("partitions", "pending", "parked", "workers", "paused")))
    check(re.match(r"type +partitions +paused +pending +parked +lag +workers\n", _run(place, "queue", "list")[0]), "no titles")
    parts = _json(place, "queue", "stats", "job", "--partitions")
    equal(41, sum(part["pending"] for part in parts))
    check(all("worker" not in part and part["lag"] >= 0 for part in parts if "oldest" in part) and len(parts) <= 8, parts)
    place.write("app.lua", """return function(w) w:on("job", function(event)
      if event.payload % 7 == 1 then error("no luck") end end, { retry = { base = 1000, cap = 1000 } }) end""")
    place.worker("--once").ends(0)
    stats = _json(place, "queue", "stats", "job")[0]
    equal((1, True), (stats["pending"], stats["complete"]))
    check(stats["completed_per_second"] > 0 and 0 <= stats["latency_p50"] <= stats["latency_p99"] and "delivered" not in stats, stats)
    out, _ = _run(place, "queue", "stats", "job")
    check(re.search(r"^oldest +\d{4}-\d\d-\d\dT.*Z$", out, re.M) and re.search(r"^latency_p99 +[\d.]+ s$", out, re.M), out)
    for action, paused in (("pause", True), ("resume", False)):
        equal([{"type": "job", "paused": paused}], _json(place, "queue", action, "job"))
    equal(stats["parked"], len(_json(place, "queue", "peek", "job", "--parked")))
    check(stats["parked_keys"] >= 1 and stats["parked"] >= stats["parked_keys"], stats)
    later = _json(place, "queue", "peek", "job")
    check([event["key"] for event in later] == ["later"] and "payload" not in later[0], later)
    check("canary" in _run(place, "queue", "peek", "job", "--values")[0], "no payload")
    done = _json(place, "queue", "history", "job")
    equal(40, len(done) + stats["parked"], "completed and parked")
    equal(3, len(_json(place, "queue", "history", "job", "--limit", "3")))
    equal(set(), {event["key"] for event in _json(place, "queue", "history", "job", "--key", "k2")} - {"k2"})
    equal([], _json(place, "queue", "history", "job", "--to", "2020-01-01T00:00:00Z"))
    process = place.start("queue", "stats", "job", "--watch", "0.1", *place.db())
    until("changes", lambda: re.search(r"^pending_change +[-+]\d", process.stdout(), re.M))
    process.send(signal.SIGINT).ends(0)
    process = place.start("queue", "stats", "job", "--partitions", "--watch", "0.1", *place.db())
    until("changes", lambda: re.search(r"^partition +pending +change +lag", process.stdout(), re.M))
    process.send(signal.SIGINT).ends(0)
    moved = _json(place, "queue", "repartition", "job", "5")[0]
    equal((5, True), (moved["partitions"], moved["moved"] > 0))
    check("has 5 partitions; 0 events were moved" in _run(place, "queue", "repartition", "job", "5")[0], "moved again")
    equal(5, {line["type"]: line for line in _json(place, "queue", "list")}["job"]["partitions"])
    equal((1, stats["parked"]), tuple(_json(place, "queue", "stats", "job")[0][n] for n in ("pending", "parked")))
    _run(place, "queue", "repartition", "job", "few", code=2)
    _run(place, "queue", "repartition", "job", "0", code=11)
    _run(place, "queue", "peek", "job", "--from", "monday", code=2)
    _run(place, "queue", "history", "job", "--state", "lost", code=2)


def sees_who_has_leases(place):
    place.write("app.lua", "return function(w) w:on('job', function() end) end")
    place.publish(4)
    worker = place.worker("--threads", "1").ready()

    def leased():
        parts = _json(place, "queue", "stats", "job", "--partitions")
        return len([part for part in parts if part.get("alive")]) == 16 and parts

    parts = until("leases of all partitions", leased)
    equal(1, len({part["worker"] for part in parts}))
    equal(1, _json(place, "queue", "list")[0]["workers"])
    worker.send(signal.SIGKILL)
    until("nobody alive", lambda: _json(place, "queue", "list")[0]["workers"] == 0)


def watches_until_interrupted(place):
    place.lua(POSTS)
    process = place.start("count", "post", "--watch", "0.1", *place.db())
    until("three counts", lambda: process.stdout().count("\n30\n") >= 3)
    process.send(signal.SIGINT).ends(0)


def writes_to_a_full_disk(place):
    place.lua(POSTS)
    with open("/dev/full", "wb") as full:
        process = place.start("scan", "post", "--all", "--json", *place.db(), out=full)
        process.ends(1)
    check("stdout can not be written" in process.text(), process.text())


def ends_quietly_when_nobody_reads(place):
    place.lua(POSTS)
    for words in (["scan", "post", "--all"], ["scan", "post", "--all", "--json"], ["dump"], ["schema"], ["check"], ["doctor"],
                  ["shell", "-e", "print(1)"]):  # fmt: skip
        read, write = os.pipe()
        os.close(read)
        with open(write, "wb") as nobody:
            process = place.start(*words, *place.db(), out=nobody)
        process.ends(141)
        equal("", process.text(), words)
    found = _found(place, *place.db())["clock_skew"]
    check(found["state"] == "ok", found)  # each has closed its database


def completes_in_shells(place):
    for shell in ("bash", "zsh", "fish"):
        script = place.run("completion", shell)[0]
        for word in ("worker", "query", "starts-with", "peek", "log-level"):
            check(word in script, "%s: no %s" % (shell, word))
    place.write("tito.bash", place.run("completion", "bash")[0])
    for words, expected in ((["tito", "que"], {"query", "queue"}), (["tito", "queue", "p"], {"peek", "pause"}),
                            (["tito", "scan", "--li"], {"--limit"}), (["tito", "scan", "--color", "a"], {"auto", "always"})):
        script = ("source ./tito.bash; COMP_WORDS=(%s); COMP_CWORD=%d; _tito; printf '%%s\\n' \"${COMPREPLY[@]}\""
                  % (" ".join("'%s'" % w for w in words), len(words) - 1))
        out = os.popen("cd '%s' && bash -c '%s'" % (place.folder, script.replace("'", "'\\''"))).read()
        equal(expected, set(out.split()), words)
    check("which shell" in place.run("completion", "csh", code=2)[1], "no text")
    manual = place.run("man")[0]
    check(manual.startswith(".TH TITO 1 ") and ".SS tito query TABLE INDEX [VALUE…] [OPTIONS]" in manual, manual[:200])
    for line in manual.splitlines():
        check(not line.startswith("'"), line)


def _found(place, *arguments, code=0):
    out, _ = place.run("doctor", "--json", *arguments, code=code)
    return {line["check"]: line for line in map(json.loads, out.splitlines())}


def tells_what_is_wrong(place):
    place.lua(POSTS)
    found = _found(place, *place.db())
    for name in ("tito", "open_files", "processors", "database", "clock_skew", "round_trip", "indexes"):
        check(found[name]["state"] in ("ok", "warn") and found[name]["found"], found[name])
    equal("ok", found["database"]["state"])
    stores = [line["found"] for name, line in found.items() if name.startswith("store ")]
    check(all(re.match(r"\S+:\d+, up(, .* of .* free)?$", text) for text in stores), stores)
    equal(place.cluster is not None, len(stores) > 0, "stores")
    equal(1 if not place.cluster else 0, len([name for name in found if name == "disk"]))
    place.lua("db:model { table = 'post', indexes = { { name = 'new', fields = { { name = 'x', type = 'string' } } } } }"
              ":save { id = 'late' } assert(queue:publish { key = 'k' }) assert(queue:pause())")
    found = _found(place, *place.db())
    equal(("warn", "write_only", "tito reindex post"), tuple(found["index post.new"][n] for n in ("state", "found", "advice")))
    equal(("warn", "paused", "tito queue resume job"), tuple(found["queue job"][n] for n in ("state", "found", "advice")))
    check(re.match(r"state +check +found +advice\n", place.run("doctor", *place.db())[0]), "no titles")


def short_commands_leave_the_clock_alone(place):
    """Each opens the database; what it has reserved of time is given back."""
    place.lua(POSTS)
    for _ in range(6):
        _run(place, "patch", "post", "p01", '{"again": true}')
    found = _found(place, *place.db())["clock_skew"]
    check(found["state"] == "ok", found)


def says_where_its_modules_are_to_be(place):
    place.lua(POSTS)
    nowhere = {"LUA_PATH": "/nonexistent/?.lua", "LUA_CPATH": "/nonexistent/?.so"}
    _, err = place.run("schema", *place.db(), code=1, env=nowhere)
    check("cmake --install" in err and err.count("\n") == 1, err)
    out, _ = place.run("doctor", *place.db(), code=1, env=nowhere)
    check("cmake --install" in out and "no field" not in out, out)


def tells_what_is_wrong_with_files(place):
    place.lua(POSTS)
    os.chmod(place.target, 0o755)
    found = _found(place, *place.db())["permissions"]
    equal("warn", found["state"])
    check("chmod go-rwx" in found["advice"], found)
    missing = place.path("nothing")
    equal("bad", _found(place, "--db", missing, code=1)["disk"]["state"])
    for command in (["get", "a", "b"], ["schema"], ["queue", "list"], ["scan", "a"], ["check"], ["dump"],
                    ["backup", place.path("copy")]):
        _, err = place.run(*command, "--db", missing, code=10)
        check("there is no database at" in err, err)
    check(not os.path.exists(missing), "a command that looks has made a database")
    place.write("app.lua", "return function(w) w:on('job', print) end")
    process = place.worker().ready()
    equal("bad", _found(place, *place.db(), code=1)["database"]["state"])
    process.send(signal.SIGTERM).ends(0)
    equal("bad", _found(place, "--db", "tikv://127.0.0.1:1", "--db-option", "timeout_us=300000", code=1)["database"]["state"])
    check("TiKV cluster" in place.run("cluster", *place.db(), code=2)[1], "no text")


# A client that dies with a key locked.
LOCKER = """
  local tx = assert(db:begin())
  assert(db:model { table = "post" }:find_by_id("p01", { lock = true }, tx))
  os.execute "kill -9 $PPID"
"""


def describes_the_cluster(place):
    place.lua(POSTS)
    found = _json(place, "cluster", "--regions")[0]
    check(found["engine"]["requests"] and all(r["median_us"] > 0 for r in found["rounds"]), found)
    check({"timestamp", "pd", "get", "scan"} == {r["kind"] for r in found["rounds"]}, found["rounds"])
    equal(1, sum(member["leader"] for member in found["members"]), "PD leaders")
    stores = {store["id"]: store for store in found["stores"]}
    check(all(store["state"] == "up" and ":" in store["address"] for store in stores.values()), stores)
    regions = found["regions"]
    equal(regions["count"], len(regions["list"]), "regions")
    equal(regions["count"], sum(store["leads"] for store in stores.values()), "leaders")
    check(all(region["leader"] in stores for region in regions["list"]), regions)
    check("locks" not in found, found)
    out, _ = _run(place, "cluster", "--regions", "--locks", "0")
    for title in (r"^pd member +leads +urls$", r"^store +address +state +version +leads here", r"^region +leader +stores +start +end$",
                  r"^round trip +store +least +median +most$", r"^old versions: ", r"^\d+ regions hold this namespace$",
                  r"^0 locks of transactions older than 0 s$"):
        check(re.search(title, out, re.M), "no %s in %s" % (title, out))
    check("--resolve needs --locks" in _run(place, "cluster", "--resolve", code=2)[1], "no text")


def finds_old_locks(place):
    """Of a client that was killed: they are listed, and those whose owner may live are left."""
    place.lua(POSTS)
    place.begin_lua(LOCKER).ends(-signal.SIGKILL)
    found = _json(place, "cluster", "--locks", "0", "--resolve")[0]["locks"]
    equal((1, 0), (found["count"], found["resolved"]), "locks, cleared")
    # (the mock's store calls a lock that was taken before the commit a put)
    check(found["list"][0]["kind"] in ("pessimistic", "put") and found["list"][0]["age_us"] >= 0, found)
    check(b"p01" in bytes.fromhex(found["list"][0]["key"]), found)
    out, _ = _run(place, "cluster", "--locks", "0")
    check(re.search(r"^key +kind +owner's age +ttl +its primary$", out, re.M) and "post:p01" in out, out)
    equal(0, _json(place, "cluster", "--locks", "3600")[0]["locks"]["count"], "old locks")


# What tests/model/plant.h has planted: kind, index, id; whether it can be mended.
DAMAGE = [("entry_missing", "by_name", "u00", True), ("entry_missing", "u_mail", "u01", True),
          ("entry_stale", "cover", "u03", True), ("entry_extra", "by_name", "u04", True),
          ("entry_extra", "by_name", "ghost", True), ("entry_extra", "gone", None, True),
          ("unique_owner", "u_mail", "u05", True), ("key_foreign", "by_name", None, True),
          ("list_stale", "by_name", "u10", True), ("record_corrupt", None, "u12", False),
          ("record_corrupt", None, "u13", False), ("record_unreadable", None, "u14", False),
          ("record_unreadable", None, "u15", False)]


def finds_planted_damage(place):
    where = "tikv:" + place.namespace if place.cluster else place.target
    subprocess.run([os.path.join(place.build, "tests/model/check_plant"), where], check=True, env=place.env)

    def found(*arguments):
        line = _json(place, "check", *arguments, code=1)[0]
        check(line["complete"] and line["table"] == "user", line)
        return {(f["kind"], f.get("index") or None, f.get("id") or None): f for f in line["findings"]}

    first = found()
    for kind, index, id, _ in DAMAGE:
        check((kind, index, id) in first, "%s %s %s is not in %s" % (kind, index, id, sorted(map(str, first))))
    out, _ = _run(place, "check", "user", code=1)
    check(re.search(r"^user: entry_missing by_name u00: \w.*$", out, re.M), out)
    check(re.search(r"^user: record_corrupt u12: \w.*$", out, re.M), out)
    repaired = found("--repair")
    for kind, index, id, mends in DAMAGE:
        equal(mends, repaired[(kind, index, id)].get("repaired", False), "repaired: %s %s %s" % (kind, index, id))
    equal({(kind, index, id) for kind, index, id, mends in DAMAGE if not mends}, set(found()), "what nobody can mend")
    check("checksum" in _run(place, "get", "user", "u12", code=15)[1], "no text")
    equal("n0", _json(place, "get", "user", "u00")[0]["name"])


TESTS = [gets_records, queries_by_indexes, pages_by_cursors, counts_and_explains, writes_records, asks_the_app_where_it_must,
         watches_until_interrupted, looks_at_schemas, looks_at_types, tells_what_is_wrong,
         finds_planted_damage]
ON_CLUSTER = [sees_who_has_leases, describes_the_cluster, finds_old_locks]
EMBEDDED = [short_commands_leave_the_clock_alone, says_where_its_modules_are_to_be, tells_what_is_wrong_with_files,
            writes_to_a_full_disk, ends_quietly_when_nobody_reads, completes_in_shells]
