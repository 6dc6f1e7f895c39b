"""Documents that move: dump and load, backup and restore; killed, interrupted, on damaged files, from engine to engine."""

import gzip
import json
import os
import random
import shutil
import signal
import subprocess
import time

from support import Failed, check, equal, times, until

RANDOM = """
  math.randomseed(%d)
  local function text()
    local parts = { "a", "Z", "ä", "\\u{1F600}", "\\n", '"', "\\\\", " ", "\\t", "0", "{", "}]", "\\u{7f}" }
    local out = {}
    for i = 1, math.random(0, 12) do out[i] = parts[math.random(#parts)] end
    return table.concat(out)
  end
  local function value(depth)
    local kind = math.random(depth > 3 and 6 or 8)
    if kind == 1 then return text()
    elseif kind == 2 then return math.random(-1000, 1000)
    elseif kind == 3 then return math.random() * 10 ^ math.random(-5, 5)
    elseif kind == 4 then return math.random(2) == 1
    elseif kind == 5 then return tito.null
    elseif kind == 6 then return 9007199254740993 + math.random(0, 9)
    elseif kind == 7 then
      local list = tito.array()
      for i = 1, math.random(0, 4) do list[i] = value(depth + 1) end
      return list
    end
    local object = {}
    for i = 1, math.random(0, 4) do object["m" .. math.random(6)] = value(depth + 1) end
    return object
  end
  for t = 1, math.random(1, 4) do
    local indexes = { { name = "by_n", fields = { { name = "n", type = "number", order = t %% 2 == 0 and "desc" or "asc" } } },
      { name = "by_list", fields = { { name = "tags", type = "string" } }, sparse = t == 2 },
      { name = "some", fields = { { name = "n", type = "number" }, { name = "s", type = "string" } }, where = { flag = true },
        covering = t == 1 } }
    local M = db:model { table = "table" .. t, indexes = { table.unpack(indexes, 1, math.random(0, 3)) },
      unique_indexes = t == 3 and { { name = "only", fields = { { name = "u", type = "number" } } } } or nil }
    for i = 1, math.random(0, %d) do
      local document = { id = text() .. math.random(200), n = math.random(50), s = text(), flag = math.random(2) == 1, u = i,
        tags = tito.array { text(), text() }, v = value(1) }
      assert(M:save(document))
      if math.random(10) == 1 then assert(M:delete_by_id(document.id)) end
    end
  end
"""

ITEMS = """
  local M = db:model { table = "item", indexes = { { name = "by_k", fields = { { name = "k", type = "number" } } } },
    unique_indexes = { { name = "by_u", fields = { { name = "u", type = "string" } } } } }
  for from = 1, %d, 500 do assert(db:transaction(function(tx)
    for i = from, math.min(from + 499, %d) do
      assert(M:build({ id = ("i%%06d"):format(i), k = i %% 10, u = "u" .. i, text = ("x"):rep(i %% 50) }, tx))
    end
    return true
  end)) end
"""


def other(place, name):
    """The options of another database on the same engine."""
    if place.cluster:
        return ["--db", place.target, "--db-option", "namespace=%s.%s" % (place.namespace, name)]
    return ["--db", place.path(name)]


def dump(place, db, name, *arguments):
    place.run("dump", *db, "--output", name, *arguments)
    with (gzip.open if name.endswith(".gz") else open)(place.path(name), "rb") as file:
        return file.read()


def load(place, db, name, *arguments, code=0):
    return place.run("load", name, *db, *arguments, code=code)


def summary(place, db, name, *arguments, code=0):
    out, err = load(place, db, name, *arguments, "--json", code=code)
    return json.loads(out), err


def check_all(place, db):
    out, _ = place.run("check", *db)
    check(", 0 findings" in out, out)


# ---- Dump and load


def dumps_what_it_loaded(place):
    for round in range(times(6, 1)):
        seed = random.randrange(2**31)
        try:
            place.namespace, place.target, first = one_database(place, round)
            place.lua(RANDOM % (seed, 60))
            before = dump(place, first, "before.jsonl")
            equal(before, dump(place, first, "again.jsonl.gz"), "dumped twice")
            copy = other(place, "copy%d" % round)
            load(place, copy, "again.jsonl.gz", "--batch", str(random.randrange(1, 40)))
            equal(before, dump(place, copy, "after.jsonl"), "dumped, loaded, dumped")
            check_all(place, copy)
        except Failed as failed:
            raise Failed("seed %d: %s" % (seed, failed))


def random_databases(place, seed, count, cluster):
    """Random databases of tests/model, made without this program: the options of each."""
    name = "%s.m" % place.namespace if cluster else place.path("model")
    result = subprocess.run([os.path.join(place.build, "tests/model/model_random_fill"), ("tikv:" if cluster else "") + name, str(count)],
                            env=dict(place.env, TITO_TEST_SEED=str(seed)), stderr=subprocess.PIPE)
    check(result.returncode == 0, result.stderr.decode(errors="replace"))
    if cluster:
        return [["--db", place.target, "--db-option", "namespace=%s%d" % (name, i)] for i in range(count)]
    return [["--db", name + str(i)] for i in range(count)]


def dumps_databases_of_the_model(place):
    """Dumped, loaded, dumped: the same bytes. On the cluster by way of the other engine and back, and the other way round."""
    seed, documents = random.randrange(1, 2**31), 0
    count = times(3, 1) if place.cluster else times(20, 3)
    places = [(db, place.cluster) for db in random_databases(place, seed, count, place.cluster)]
    if place.cluster:
        places += [(db, None) for db in random_databases(place, seed + 1, count, None)]
    for i, (first, on_cluster) in enumerate(places):
        before = dump(place, first, "model.jsonl")
        documents += before.count(b'"document":')
        copies = [["--db", place.path("copy%d" % i)]]
        if place.cluster:
            there = ["--db", place.target, "--db-option", "namespace=%s.c%d" % (place.namespace, i)]
            copies = copies + [there] if on_cluster else [there] + copies
        for copy in copies:
            load(place, copy, "model.jsonl", "--batch", str(random.randrange(1, 60)))
            equal(before, dump(place, copy, "model.jsonl"), "database %d of seed %d" % (i, seed))
        if i < 3:
            check_all(place, copies[-1])
    check(documents > 0, "no documents in databases of seed %d" % seed)


def one_database(place, number):
    """The next database of the place: (namespace, target, options)."""
    namespace, target = place.namespace, place.target
    if place.cluster:
        namespace = "%s.r%d" % (place.namespace, number)
    else:
        target = place.path("data%d" % number)
    place.env.update(TARGET=target, NAMESPACE=namespace if place.cluster else "")
    options = ["--db", target, "--db-option", "namespace=" + namespace] if place.cluster else ["--db", target]
    return (place.namespace, place.target, options)


def keeps_tables_without_documents(place):
    place.lua("""for _, name in ipairs { "bare", "empty" } do
      local M = db:model { table = name, indexes = name == "empty" and { { name = "by_n", fields = { { name = "n", type = "number" } } } } or nil }
      assert(M:save { id = "1", n = 1 })
      assert(M:delete_by_id "1")
    end""")
    before = dump(place, place.db(), "before.jsonl")
    check(b'"table":"empty"' in before and b'"table":"bare"' in before and b'"documents":0' in before, before)
    copy = other(place, "copy")
    load(place, copy, "before.jsonl")
    equal(before, dump(place, copy, "after.jsonl"), "dumped, loaded, dumped")


def dumps_named_tables(place):
    place.lua(ITEMS % (20, 20) + "assert(db:model { table = 'tag' }:save { id = 't' })")
    lines = dump(place, place.db(), "tag.jsonl", "tag").splitlines()
    equal(4, len(lines), "lines")
    equal({"table": "tag", "document": {"id": "t"}}, json.loads(lines[2]))
    equal({"end": {"documents": 1, "events": 0, "schedules": 0}}, json.loads(lines[3]))
    out, _ = place.run("dump", *place.db())
    equal(1 + 2 + 21 + 1, len(out.splitlines()), "lines of all")
    check("no table 'nothing'" in place.run("dump", "nothing", *place.db(), code=10)[1], "no text")


def dumps_schedules_when_asked(place):
    place.lua("assert(db:schedule { name = 'daily', type = 'job', key = 'k', cron = '@daily', payload = { a = 1 } })")
    check(b"schedule\"" not in dump(place, place.db(), "without.jsonl"), "it was not asked for")
    before = dump(place, place.db(), "with.jsonl", "--schedules")
    load(place, other(place, "copy"), "with.jsonl")
    equal(before, dump(place, other(place, "copy"), "after.jsonl", "--schedules"))


EVENTS = """
  local M = db:model { table = "thing", events = function(t) return { { name = "job", payload = { n = t.n }, key = t.k } } end,
    references = function(t) return { "r" .. t.n } end }
  for i = 1, 30 do assert(M:build_with_options({ id = "t" .. i, n = i, k = "k" .. i % 4 }, tito.with_events("INSERT"))) end
  assert(queue:publish { key = "later", payload = tito.null, timestamp = 4000000000.25 })
  assert(queue:pause())
  assert(db:queue { type = "other", partitions = 3 }:publish { key = "k", payload = "text" })
"""


def events_of(place, db, name):
    """The events of a database by type and key, in order, as a dump has them; and the types."""
    lines = [json.loads(line) for line in dump(place, db, name, "--events").splitlines()]
    events, queues = {}, [line["queue"] for line in lines if "queue" in line]
    for event in (line["event"] for line in lines if "event" in line):
        if event["timestamp"] < 4e9:
            del event["timestamp"]
        events.setdefault((event.pop("type"), event["key"]), []).append(event)
    equal(sum(map(len, events.values())), lines[-1]["end"]["events"], "events of the last line")
    return events, queues


def moves_events(place):
    place.lua(EVENTS)
    before, queues = events_of(place, place.db(), "events.jsonl")
    equal({"type": "job", "partitions": 16, "paused": True}, queues[0])
    equal({"type": "other", "partitions": 3, "paused": False}, queues[1])
    equal([4, 8, 12, 16, 20, 24, 28], [event["payload"]["n"] for event in before["job", "k0"]])
    equal({"key": "k0", "payload": {"n": 4}, "action": "INSERT", "entity": "table:thing:t4", "entity_id": "t4",
           "references": ["r4"]}, before["job", "k0"][0])
    equal([{"key": "later", "payload": None, "timestamp": 4000000000.25}], before["job", "later"])
    copy = other(place, "copy")
    for batch, loaded in (("3", 30 + 32), ("50", 0)):  # the second time everything is there
        got, _ = summary(place, copy, "events.jsonl", "--batch", batch)
        equal((loaded, 62 - loaded, 0), (got["loaded"], got["skipped"], got["refused"]), "loaded, skipped, refused")
        equal((before, queues), events_of(place, copy, "copy.jsonl"), "the events of the copy")


def loads_from_standard_input(place):
    place.lua(ITEMS % (10, 10))
    out, _ = place.run("dump", *place.db(), "--output", "told.jsonl", "--events", "--schedules")
    equal("1 table, 10 documents, 0 events, 0 schedules", out.strip())
    before = dump(place, place.db(), "a.jsonl")
    place.run("load", "-", *other(place, "copy"), stdin="a.jsonl")
    equal(before, dump(place, other(place, "copy"), "b.jsonl"))


def leaves_no_half_of_a_dump(place):
    place.lua(ITEMS % (10, 10))
    place.write("kept.jsonl", "what was there\n")
    os.mkdir(place.path("dir.jsonl"))
    check("dir.jsonl" in place.run("dump", *place.db(), "--output", "dir.jsonl", code=15)[1], "no text")
    check("nowhere" in place.run("dump", *place.db(), "--output", "nowhere/a.jsonl", code=15)[1], "no text")
    place.run("dump", "nothing", *place.db(), "--output", "kept.jsonl", code=10)
    equal(["what was there"], place.lines("kept.jsonl"))
    equal([], [name for name in os.listdir(place.folder) if name.endswith(".partial")], "left")
    with open("/dev/full", "wb") as full:
        check("No space left" in place.run("dump", *place.db(), out=full, code=15)[1], "a full disk")


def meets_what_is_there(place):
    place.lua(ITEMS % (100, 100))
    whole = dump(place, place.db(), "all.jsonl")
    copy = other(place, "copy")

    def counts(name, *arguments):
        got, _ = summary(place, copy, name, *arguments)
        return got["loaded"], got["skipped"], got["refused"]

    load(place, copy, "all.jsonl")
    equal((0, 100, 0), counts("all.jsonl", "--batch", "7"), "the same once more")
    place.run("patch", "item", "i000002", '{"text":"mine"}', *copy)
    place.run("patch", "item", "i000099", '{"text":"mine"}', *copy)
    place.run("delete", "item", "i000001", *copy)
    _, err = load(place, copy, "all.jsonl", code=11)
    check("line 4: table 'item' has another record with the id 'i000002'" in err, err)
    equal("100\n", place.run("count", "item", *copy)[0], "the one before is loaded")
    place.run("delete", "item", "i000050", *copy)
    equal((1 + 1, 98, 0), counts("all.jsonl", "--on-conflict", "skip"), "both runs")
    check('"mine"' in place.run("get", "item", "i000002", *copy)[0], "it was skipped")
    equal((100, 0, 0), counts("all.jsonl", "--on-conflict", "replace", "--batch", "9"), "replace")
    equal(whole, dump(place, copy, "copy.jsonl"))
    with open(place.path("twice.jsonl"), "wb") as file:
        lines = whole.splitlines(True)
        file.write(b"".join(lines[:4] + lines[3:4] + lines[4:-1]) + b'{"end":{"documents":101}}\n')
    copy = other(place, "twice")
    equal((100, 1, 0), counts("twice.jsonl"), "one line twice")


def refuses_what_does_not_fit(place):
    place.lua(ITEMS % (20, 20))
    lines = dump(place, place.db(), "all.jsonl").splitlines()
    end = json.dumps({"end": {"documents": 24, "events": 0, "schedules": 0}}).encode()
    bad = [
        b'{"table":"item","document":{"id":"twice","u":"u3"}}',  # u3 has an owner
        b'{"table":"item","document":{"u":"no id"}}',
        b'{"table":"item","document":{"id":"big","text":"' + b"x" * (1 << 20) + b'"}}',
        b'{"table":"no:table","document":{"id":"x"}}',
    ]
    with open(place.path("bad.jsonl"), "wb") as file:
        file.write(b"\n".join(lines[:12] + bad[:2] + [b"nonsense"] + lines[12:-1] + bad[2:] + [end]) + b"\n")
    got, err = summary(place, other(place, "copy"), "bad.jsonl", "--on-conflict", "replace", code=1)
    equal((20, 0, 5), (got["loaded"], got["skipped"], got["refused"]), "loaded, skipped, refused")
    for line in (13, 14, 15, 26, 27):
        check("refused: line %d: " % line in err, "line %d: %s" % (line, err))
    equal([b"20"], place.run("count", "item", *other(place, "copy"))[0].encode().split(), "count")
    check_all(place, other(place, "copy"))
    _, err = load(place, other(place, "strict"), "bad.jsonl", code=11)
    check("line 13: " in err and "what stands before it is loaded" in err, err)
    equal("10\n", place.run("count", "item", *other(place, "strict"))[0], "count")


def tells_what_is_no_dump(place):
    place.lua(ITEMS % (2000, 2000))
    whole = dump(place, place.db(), "all.jsonl")
    zipped = gzip.compress(whole)
    cases = [
        (b"", 11, "no dump"), (b"hello\n", 11, "no dump"), (b"hello", 15, "not whole"), (b'{"table":"item"}\n', 11, "no dump"),
        (b'{"tito_dump":2}\n', 11, "format 2"), (whole[: len(whole) // 2], 15, "not whole"),
        (whole[: whole.rindex(b'{"end"')], 15, "last line is missing"), (whole[:-3], 15, "last line is cut"),
        (zipped[: len(zipped) // 2], 15, "cut"), (zipped[:-8] + b"\0" * 8, 15, "not whole"),
        (whole + b'{"table":"item","document":{"id":"x"}}\n', 15, "behind the last line"),
        (whole.replace(b'"documents":2000', b'"documents":1999'), 15, "1999 documents, but there were 2000"),
    ]
    for number, (text, code, expected) in enumerate(cases):
        with open(place.path("bad.jsonl"), "wb") as file:
            file.write(text)
        _, err = load(place, other(place, "copy"), "bad.jsonl", "--on-conflict", "skip", "--restart", code=code)
        check(expected in err, "case %d: %s" % (number, err))
    check("can not read" in load(place, other(place, "copy"), "missing.jsonl", code=15)[1], "no text")


def asks_the_app_for_conditions(place):
    model = """db:model { table = "thing", indexes = { { name = "odd", fields = { { name = "n", type = "number" } },
        condition = function(t) return t.n % 2 == 1 end } } }"""
    place.write("app.lua", "local db = require('tito').db " + model + " return function() end")
    place.lua("local M = " + model + " for i = 1, 10 do assert(M:save { id = 't' .. i, n = i }) end")
    before = dump(place, place.db(), "all.jsonl")
    with_app, without = other(place, "with"), other(place, "without")
    got, _ = summary(place, with_app, "all.jsonl", "--app", "app.lua")
    equal([], got["unfilled"])
    place.run("check", "--app", "app.lua", *with_app)
    equal("5\n", place.run("count", "thing", "odd", "--app", "app.lua", *with_app)[0], "odd ones")
    equal(before, dump(place, with_app, "with.jsonl"))
    got, _ = summary(place, without, "all.jsonl")
    equal([{"table": "thing", "index": "odd"}], got["unfilled"])
    place.run("reindex", "thing", "--app", "app.lua", *without)
    equal("5\n", place.run("count", "thing", "odd", "--app", "app.lua", *without)[0], "odd ones")
    place.write("app.lua", "require('tito').db:model { table = 'thing' } return function() end")
    check("condition of index 'odd'" in load(place, other(place, "wrong"), "all.jsonl", "--app", "app.lua", code=11)[1], "text")


# ---- Killed, interrupted


def goes_on_after_kills(place):
    count, kills, target = times(4000, 400), times(100, 5), 0
    place.lua(ITEMS % (count, count))
    before = dump(place, place.db(), "all.jsonl.gz")
    took, killed = 1.0, 0
    while killed < kills:
        copy = other(place, "copy%d" % target)
        began = time.monotonic()
        process = place.start("load", "all.jsonl.gz", *copy, "--batch", str(random.choice((5, 20, 50))), "--json")
        try:
            process.process.wait(random.uniform(0, took))
        except Exception:  # it has not ended yet
            process.kill()
            killed += 1
            place.processes.remove(process)
            continue
        process.ends(0)
        got = json.loads(process.stdout())  # nothing twice, unless the kill came after the end of the load
        check((got["loaded"], got["skipped"]) in ((count, 0), (0, count)), got)
        took = min(5.0, max(0.1, time.monotonic() - began))
        equal(before, dump(place, copy, "copy.jsonl"), "the copy after %d kills" % killed)
        if not place.cluster:
            shutil.rmtree(place.path("copy%d" % target))
        target += 1
    load(place, other(place, "copy%d" % target), "all.jsonl.gz")
    equal(before, dump(place, other(place, "copy%d" % target), "copy.jsonl"), "the last copy")
    check_all(place, other(place, "copy%d" % target))


def goes_on_after_an_interruption(place):
    count = times(20000, 2000)
    place.lua(ITEMS % (count, count))
    before = dump(place, place.db(), "all.jsonl")
    copy = other(place, "copy")
    patience = 0.2
    while True:
        process = place.start("load", "all.jsonl", *copy, "--batch", "10")
        try:
            process.process.wait(patience)
        except Exception:  # it is at work
            process.send(signal.SIGINT)
        until("the end", lambda: process.process.poll() is not None)
        if process.process.returncode == 0:
            break
        check(process.process.returncode in (130, -signal.SIGINT), process.text())
        patience *= 1.2  # a slow machine gets further in the end
    equal(before, dump(place, copy, "copy.jsonl"))


def knows_its_own_file(place):
    place.lua(ITEMS % (100, 100))
    lines = dump(place, place.db(), "all.jsonl").splitlines(True)
    with open(place.path("cut.jsonl"), "wb") as file:
        file.write(b"".join(lines[:52]))
    with open(place.path("other.jsonl"), "wb") as file:
        file.write(b"".join(lines[:20] + lines[22:-1]) + b'{"end":{"documents":98}}\n')
    copy = other(place, "copy")
    load(place, copy, "cut.jsonl", code=15)
    equal("50\n", place.run("count", "item", *copy)[0], "loaded")
    check("another one" in load(place, copy, "other.jsonl", code=11)[1], "another file")
    got, _ = summary(place, copy, "all.jsonl")
    equal(100, got["loaded"], "in both runs")
    equal(b"".join(lines), dump(place, copy, "copy.jsonl"))
    load(place, copy, "cut.jsonl", "--on-conflict", "skip", code=15)
    got, _ = summary(place, copy, "other.jsonl", "--on-conflict", "skip", "--restart")
    equal((0, 98), (got["loaded"], got["skipped"]), "from the beginning")


# ---- From engine to engine


def moves_to_the_other_engine_and_back(place):
    place.lua(RANDOM % (random.randrange(2**31), 40))
    before = dump(place, place.db(), "tikv.jsonl.gz")
    embedded = ["--db", place.path("embedded")]
    load(place, embedded, "tikv.jsonl.gz")
    equal(before, dump(place, embedded, "embedded.jsonl"))
    load(place, other(place, "back"), "embedded.jsonl")
    equal(before, dump(place, other(place, "back"), "back.jsonl"))


def dumps_one_snapshot(place):
    """Money moves between accounts meanwhile; each dump has all of it."""
    mover = """
      local M = db:model { table = "account" }
      for i = 1, 6 do assert(M:save { id = "a" .. i, money = 100 }) end
      io.open("ready", "w"):close()
      while not io.open("stop") do
        db:transaction(function(tx)
          local from, to = assert(M:find_by_id("a" .. math.random(3), tx)), assert(M:find_by_id("a" .. math.random(4, 6), tx))
          from.money, to.money = from.money - 1, to.money + 1
          assert(M:save(from, tx))
          assert(M:save(to, tx))
          return true
        end)
      end
    """
    import threading

    failed = []

    def work():
        try:
            place.lua(mover.replace('"ready"', "os.getenv('FOLDER') .. '/ready'").replace('"stop"', "os.getenv('FOLDER') .. '/stop'"))
        except Failed as failure:
            failed.append(failure)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        until("a writer", lambda: os.path.exists(place.path("ready")) or failed)
        for _ in range(times(10, 2)):
            lines = [json.loads(line) for line in dump(place, place.db(), "a.jsonl", "account").splitlines()]
            equal(600, sum(line["document"]["money"] for line in lines if "document" in line), "money")
    finally:
        place.write("stop", "")
        thread.join()
    check(not failed, failed)


# ---- Backups


def backs_up_and_restores(place):
    place.lua(ITEMS % (500, 500))
    before = dump(place, place.db(), "before.jsonl")
    out, _ = place.run("backup", "one", *place.db())
    check(out.startswith("made: "), out)
    place.run("put", "item", '{"id":"later"}', *place.db())
    made = json.loads(place.run("backup", "two", "--base", "one", *place.db(), "--json")[0])
    check(made["shared"] > 0 and made["files"] > 3, made)
    verified = json.loads(place.run("backup", "one", "--verify", "--json")[0])
    check(verified["size"] > 0 and "shared" not in verified, verified)
    check(place.run("restore", "one", "--db", place.path("new"))[0].startswith("restored: "), "no text")
    equal(before, dump(place, ["--db", place.path("new")], "after.jsonl"))
    check_all(place, ["--db", place.path("new")])
    check("not empty" in place.run("restore", "one", "--db", place.path("new"), code=11)[1], "no text")
    check("not empty" in place.run("backup", "two", *place.db(), code=11)[1], "no text")
    check("no backup" in place.run("backup", place.target, "--verify", code=11)[1], "no text")
    check("no database" in place.run("backup", "three", code=2)[1], "no text")
    check("which" not in place.run("backup", code=2)[0], "no text")
    equal(dump(place, place.db(), "now.jsonl"), dump(place, ["--db", place.path("two")], "two.jsonl"), "a backup is a database")


def finds_damage(place):
    place.lua(ITEMS % (100, 100))
    place.run("backup", "good", *place.db())
    for name in sorted(os.listdir(place.path("good"))):
        shutil.copytree(place.path("good"), place.path("bad"))
        path = place.path("bad/" + name)
        with open(path, "r+b") as file:
            byte = file.read(1)
            file.seek(0)
            file.write(bytes([byte[0] ^ 1]) if byte else b"x")
        for arguments in (["backup", "bad", "--verify"], ["restore", "bad", "--db", place.path("new")]):
            err = place.run(*arguments, code=15)[1]
            check(name in err, err)
        check(not os.path.exists(place.path("new")), "a damaged backup was restored")
        shutil.rmtree(place.path("bad"))
    place.run("backup", "good", "--verify")


def is_killed_in_backups(place):
    """kill -9 at any time: what is at the place is whole, or not there."""
    count = times(20000, 1000)
    place.lua(ITEMS % (count, count))
    before = dump(place, place.db(), "before.jsonl")
    took = 1.0
    for round in range(times(20, 3)):
        for arguments, result in ((["backup", "b", *place.db()], "b"), (["restore", "b", "--db", place.path("r")], "r")):
            if result == "r" and not os.path.exists(place.path("b")):
                place.run("backup", "b", *place.db())
            began = time.monotonic()
            process = place.start(*arguments)
            try:
                process.process.wait(random.uniform(0, took))
                took = max(0.05, time.monotonic() - began)
            except Exception:  # it has not ended yet
                process.kill()
            if result == "b" and os.path.exists(place.path("b")):
                place.run("backup", "b", "--verify")
            elif os.path.exists(place.path(result)):
                equal(before, dump(place, ["--db", place.path(result)], "after.jsonl"), "restored")
        for name in ("b", "r"):
            shutil.rmtree(place.path(name), ignore_errors=True)
    place.run("backup", "b", *place.db())
    equal(before, dump(place, ["--db", place.path("b")], "after.jsonl"))
    equal([], [name for name in os.listdir(place.folder) if name.startswith("b.partial")], "left")


def says_what_a_cluster_has_instead(place):
    err = place.run("backup", "one", *place.db(), code=11)[1]
    check("tito dump" in err and "br" in err, err)
    check("tito dump" in place.run("restore", "one", *place.db(), code=11)[1], "no text")


TESTS = [dumps_what_it_loaded, dumps_databases_of_the_model, keeps_tables_without_documents, dumps_named_tables, dumps_schedules_when_asked, moves_events, loads_from_standard_input, meets_what_is_there,
         refuses_what_does_not_fit, knows_its_own_file, asks_the_app_for_conditions]
EMBEDDED = [leaves_no_half_of_a_dump, tells_what_is_no_dump, goes_on_after_kills, goes_on_after_an_interruption,
            backs_up_and_restores, finds_damage, is_killed_in_backups]
ON_CLUSTER = [moves_to_the_other_engine_and_back, dumps_one_snapshot, says_what_a_cluster_has_instead]
