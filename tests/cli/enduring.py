"""What takes long: bars on a terminal, Ctrl-C, and `tito bench`."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import time

from moving import ITEMS, check_all, dump, load, other
from support import WAIT, Failed, check, equal, times

BAR = r"\d[\d.kM]* [\w ]+  \d[\d.kM]*/s"
LEFT = r"\[#*\.*\] +\d+%%  [\d.kM]+ of [\d.kM]+ %s  [\d.kM]+/s  ((\d+:)?\d+:\d\d|-:--) left"


class Watched:
    """A command whose stderr is a terminal. Its stdout is a pipe: nobody reads it before rest() does."""

    def __init__(self, place, *arguments):
        self.read_end, write_end = os.pipe()
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            try:
                signal.signal(signal.SIGINT, signal.SIG_DFL)
                os.dup2(write_end, 1)
                os.chdir(place.folder)
                os.execve(place.program, [place.program, *arguments], dict(place.env, TERM="xterm"))
            finally:
                os._exit(127)
        os.close(write_end)
        self.shown = ""

    def sees(self, pattern):
        """Waits until the terminal has shown it; false when the command has ended without it."""
        end = time.monotonic() + WAIT
        while not re.search(pattern, self.shown):
            if time.monotonic() > end:
                raise Failed("no %s in %r" % (pattern, self.shown[-2000:]))
            if select.select([self.fd], [], [], 0.5)[0]:
                try:
                    self.shown += os.read(self.fd, 65536).decode(errors="replace")
                except OSError:  # it has ended
                    return re.search(pattern, self.shown) is not None
        return True

    def send(self, number):
        os.kill(self.pid, number)
        return self

    def code(self, rest=True):
        """Waits for the end; the exit code. rest: what it writes is taken."""
        end = time.monotonic() + WAIT
        while time.monotonic() < end:
            for fd in select.select([self.fd] + ([self.read_end] if rest else []), [], [], 0.02)[0]:
                try:
                    part = os.read(fd, 65536)
                    self.shown += part.decode(errors="replace") if fd == self.fd else ""
                    rest = rest and (fd == self.fd or part != b"")
                except OSError:  # the other end is closed
                    pass
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                self.pid = None
                return os.waitstatus_to_exitcode(status)
        raise Failed("it did not end: %r" % self.shown[-2000:])

    def close(self):
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)
        os.close(self.read_end)


def watched(place, *arguments, sees=BAR, signals=1, rest=True):
    """Runs a command on a terminal, interrupts it when the terminal shows the pattern: (exit code, what was shown)."""
    command = Watched(place, *arguments)
    try:
        seen = command.sees(sees)
        for _ in range(signals if seen else 0):
            command.send(signal.SIGINT)
            time.sleep(0.05)  # two at once would be one
        return command.code(rest), command.shown
    finally:
        command.close()


def interrupted(place, *arguments, before=lambda: None, **options):
    """As watched, and again, after before(), when it was faster than the signal; the exit code is 130 in the end."""
    for _ in range(20):
        before()
        code, shown = watched(place, *arguments, **options)
        if code != 0:
            equal(130, code, "exit code of %s (%r)" % (arguments[0], shown[-500:]))
            return shown
    raise Failed("%s was never interrupted: %r" % (arguments[0], shown[-500:]))


def remove(path):
    if os.path.exists(path):
        os.remove(path)


def ends_at_a_consistent_point(place):
    count = times(3000, 1000) if place.cluster else times(10000, 3000)
    place.lua(ITEMS % (count, count))
    whole = dump(place, place.db(), "all.jsonl")

    # A dump stands still, as nobody reads it: the first signal lets it end, the second ends it at once.
    shown = interrupted(place, "dump", *place.db())
    check(re.search(BAR, shown) and "interrupted" in shown, shown)
    interrupted(place, "dump", *place.db(), signals=2, rest=False)
    interrupted(place, "dump", *place.db(), "--output", "half.jsonl", before=lambda: remove(place.path("half.jsonl")))
    check(not os.path.exists(place.path("half.jsonl")), "half of a dump")

    copy = other(place, "copy")
    shown = interrupted(place, "load", "all.jsonl", *copy, "--batch", "20", sees=LEFT % "bytes")
    check_all(place, copy)
    place.run("load", "all.jsonl", *copy)
    equal(whole, dump(place, copy, "copy.jsonl"), "the copy")

    shown = interrupted(place, "check", "item", *place.db())
    more = re.search(r"more: tito check item(?: --cursor ([\w-]+))?", shown)
    check(more, shown)
    cursor = ["--cursor", more.group(1)] if more.group(1) else []
    out, _ = place.run("check", "item", *cursor, *place.db())
    check(", 0 findings" in out and (not cursor or "item: %d records" % (2 * count) not in out), out)
    place.run("check", "item", "--cursor", "wrong", *place.db(), code=11)
    place.run("check", "item", "other", "--cursor", "x", *place.db(), code=2)


# An index whose condition takes its time, when it is told to.
SLOW = """
  local slow = os.getenv "SLOW"
  require "tito".db:model { table = "item", indexes = { { name = "late", fields = { { name = "k", type = "number" } },
    condition = function(item)
      local began = os.clock()
      while slow and os.clock() - began < 0.001 do end
      return item.k < 5
    end } } }
  return function() end
"""


def reindexes_on_from_where_it_was(place):
    place.lua(ITEMS % (2000, 2000))
    place.write("app.lua", SLOW)
    place.env["SLOW"] = "yes"
    shown = interrupted(place, "reindex", "item", "--app", "app.lua", *place.db())
    check("the next reindex goes on from here" in shown, shown)
    del place.env["SLOW"]
    place.run("reindex", "item", "--app", "app.lua", *place.db())
    out, _ = place.run("check", "item", "--app", "app.lua", *place.db())
    check(", 0 findings" in out, out)


# Every event fails for good at its first attempt.
FAIL = """
  return function(worker)
    worker:on("job", function() error "no" end, { retry = { max_retries = 0 } })
  end
"""

# An index whose condition does not come back, when it is told to.
STUCK = """{ name = "late", fields = { { name = "k", type = "number" } }, condition = function(item)
  if os.getenv "STUCK" then
    io.stderr:write("stuck\\n")
    while true do end
  end
  return item.k < 5
end }"""


def ends_at_once_by_a_second_signal(place):
    """Where the first one can not end it: what the app does takes for ever."""
    model = "db:model { table = 'item', indexes = { %s } }" % STUCK
    place.write("app.lua", "local db = require('tito').db " + model + " return function() end")
    place.lua("local M = " + model + " for i = 1, 60 do assert(M:save { id = 'i' .. i, k = i }) end")
    whole = dump(place, place.db(), "all.jsonl")
    copy, late, app = other(place, "copy"), other(place, "late"), ["--app", "app.lua"]
    commands = [["check", "item", *app, *place.db()], ["load", "all.jsonl", *app, *copy]]
    if not place.cluster:  # (another one would wait there until the lease of the killed one has ended)
        load(place, late, "all.jsonl")
        commands.append(["reindex", "item", *app, *late])
    for command in commands:
        place.env["STUCK"] = "yes"
        code, shown = watched(place, *command, sees="stuck", signals=2)
        equal(130, code, "exit code of %s: %s" % (command[0], shown))
        del place.env["STUCK"]
        place.run(*command)
        equal("4\n", place.run("count", "item", "late", *command[-2 if not place.cluster else -4:], *app)[0], "in the index")
        check(", 0 findings" in place.run("check", *app, *command[-2 if not place.cluster else -4:])[0], "findings")
    equal(whole, dump(place, copy, "copy.jsonl"), "the copy")


def interrupted_while_reading(place, text, *arguments):
    """Interrupts a command that has read a text from standard input and waits for more: (exit code, stderr)."""
    for patience in (0.2, 0.5, 1, 2, 4, 8, 16):
        process = subprocess.Popen([place.program, *arguments], env=place.env, cwd=place.folder, stdin=subprocess.PIPE,
                                   stderr=subprocess.PIPE, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        process.stdin.write(text)
        process.stdin.flush()
        time.sleep(patience)
        process.send_signal(signal.SIGINT)
        process.wait(WAIT)
        said = process.stderr.read().decode()
        process.stdin.close()
        process.stderr.close()
        if process.returncode != -signal.SIGINT:  # it had not begun
            return process.returncode, said
    raise Failed("it never began to read")


def ends_while_it_waits_for_input(place):
    place.lua(ITEMS % (300, 300))
    whole, copy = dump(place, place.db(), "all.jsonl"), other(place, "copy")
    for part in (0, whole.index(b"\n") + 1, len(whole) // 2):  # before the header, behind it, within documents
        code, said = interrupted_while_reading(place, whole[:part], "load", "-", *copy)
        check(code == 130 and "the same load goes on" in said, "%d: %s" % (code, said))
    load(place, copy, "all.jsonl")
    equal(whole, dump(place, copy, "copy.jsonl"))


def bars_tell_what_is_left(place):
    place.lua(ITEMS % (1500, 1500))
    place.publish(80 if place.cluster else 400)
    place.write("fail.lua", FAIL)
    place.worker("--once", "--log-level", "error", app="fail.lua").ends(0)
    copy = other(place, "copy")
    commands = [(["dump", *place.db(), "--events", "--output", "all.jsonl"], "documents and events"),
                (["load", "all.jsonl", "--batch", "100", *copy], "bytes"),
                (["scan", "item", "--all", *place.db()], "records"),
                (["query", "item", "by_k", "3", "--all", *place.db()], "records"),
                (["check", "item", *place.db()], "records and entries of item"),
                (["queue", "replay", "job", "--failed", "--into", "again", *place.db()], "events"),
                (["queue", "retry", "job", "all", *place.db()], "failed events")]
    if not place.cluster:
        commands += [(["queue", "repartition", "again", "8", *place.db()], "partitions"),
                     (["backup", "b", *place.db()], "bytes"), (["backup", "b", "--verify"], "bytes"),
                     (["restore", "b", "--db", place.path("r")], "bytes"),
                     (["reindex", "item", "--app", "app.lua", *place.db()], "records of item")]
    place.write("app.lua", SLOW)
    for command, what in commands:
        code, shown = watched(place, *command, sees="", signals=0)
        equal(0, code, "exit code of %s: %s" % (" ".join(command), shown))
        check(re.search(LEFT % what, shown), "no bar of %s in %r" % (" ".join(command), shown[-2000:]))
    _, shown = watched(place, "bench", *place.db(), "--ops", str(times(1000, 300)), "--callers", "2", sees="", signals=0)
    check(re.search(r"\d+ done, \d+/s.*, \d+ s left", shown), shown)


def leaves_no_half_of_a_backup(place):
    count = times(10000, 3000)
    place.lua(ITEMS % (count, count))
    folder = place.path("backup")
    for _ in range(5):
        code, shown = watched(place, "backup", "backup", *place.db())
        check(code in (0, 130), "exit code %d: %s" % (code, shown))
        if code == 0:
            place.run("backup", "backup", "--verify", "--db", place.target)
            return
        check(not os.path.exists(folder), "half of a backup")


def is_quiet_without_a_terminal(place):
    place.lua(ITEMS % (500, 500))
    for command in (["dump", "--output", "a.jsonl"], ["check"], ["load", "a.jsonl"]):
        equal("", place.run(*command, *place.db())[1], "stderr of " + command[0])


# ---- tito bench

SMALL = ("--ops", "40", "--callers", "1", "--callers", "4")


def left_over(place):
    """What tito bench has left: tables and events."""
    namespace = (place.namespace + "." if place.cluster else "") + "tito-bench"
    db = ["--db", place.target, "--db-option", "namespace=" + namespace]
    tables = place.run("schema", *db, "--json")[0].splitlines()
    queues = [json.loads(line) for line in place.run("queue", "list", *db, "--json")[0].splitlines()]
    return tables, sum(queue.get("pending", 0) + queue.get("completed", 0) for queue in queues)


def measures(place):
    place.lua("assert(db:model { table = 'mine' }:save { id = 'a' })")
    out, err = place.run("bench", *place.db(), *SMALL, "--json", "--save", "run.json")
    results = [json.loads(line) for line in out.splitlines()]
    equal([(load, callers) for callers in (1, 4) for load in ("insert", "find", "query", "publish", "drain")],
          [(result["load"], result["callers"]) for result in results])
    check(all(result["ops"] == 40 and result["per_second"] > 0 for result in results) and err == "", results)
    check(all(0 < r["p50_us"] <= r["p99_us"] <= r["most_us"] for r in results if r["load"] in ("insert", "publish")), results)
    equal(([], 0), left_over(place))
    with open(place.path("run.json")) as file:
        saved = json.load(file)
    for result in saved["results"]:  # as on a machine that is a thousand times as fast, but for one load
        result["per_second"] *= 1e-3 if result["load"] == "find" else 1e3
    place.write("fast.json", json.dumps(saved))
    out, _ = place.run("bench", *place.db(), *SMALL, "--compare", "fast.json", code=1)
    check(re.match(r"load +callers +ops +ops/s +p50 +p99 +most +before +change", out), out)
    equal(8, len(re.findall(r" -\d+ %  slower$", out, re.M)), "slower ones in " + out)
    equal(2, len(re.findall(r"^find .*\+\d+ %$", out, re.M)), "faster ones in " + out)
    place.write("none.json", "[]")
    check("holds no run of tito bench" in place.run("bench", *place.db(), "--compare", "none.json", code=1)[1], "no text")
    check("No such file" in place.run("bench", *place.db(), "--compare", "absent.json", code=1)[1], "no text")
    equal("a", json.loads(place.run("get", "mine", "a", *place.db())[0])["id"])


def measures_until_interrupted(place):
    place.lua("assert(db:model { table = 'mine' }:save { id = 'a' })")
    shown = interrupted(place, "bench", *place.db(), "--seconds", "600", "--callers", "2",
                        sees=r"insert, 2 callers: \d+ done, \d+/s, p50 [\d.]+ ms, p99 [\d.]+ ms, \d+ s left")
    check("interrupted" in shown, shown)
    equal(([], 0), left_over(place))


TESTS = [ends_at_a_consistent_point, ends_at_once_by_a_second_signal, ends_while_it_waits_for_input, bars_tell_what_is_left, measures_until_interrupted]
EMBEDDED = [measures, reindexes_on_from_where_it_was, leaves_no_half_of_a_backup, is_quiet_without_a_terminal]
