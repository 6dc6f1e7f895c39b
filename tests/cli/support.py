"""Real processes of `tito`, and Lua programs beside them. Everything waits for a condition, WAIT seconds at most."""

import array
import fcntl
import glob
import os
import re
import shutil
import signal
import subprocess
import tempfile
import termios
import threading
import time
import uuid

WAIT = float(os.environ.get("TITO_TEST_WAIT", "60"))
SCALE = float(os.environ.get("TITO_TEST_SCALE", "1"))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Failed(Exception):
    """A check that did not hold."""


def check(condition, text):
    if not condition:
        raise Failed(text)


def equal(expected, got, what=""):
    check(expected == got, "%s: expected %r, got %r" % (what or "value", expected, got))


def times(count, least=1):
    return max(least, int(count * SCALE))


def until(what, condition):
    """Waits until condition() is true; returns it."""
    end = time.monotonic() + WAIT
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            raise Failed("waited %g s for: %s" % (WAIT, what))
        time.sleep(0.02)


class Place:
    """A folder, a database in it (or a namespace on the cluster), and every process started for one test."""

    def __init__(self, build, cluster):
        self.build = build
        self.folder = tempfile.mkdtemp(prefix="tito-cli-")
        self.cluster = cluster
        self.namespace = os.environ.get("TITO_TEST_NAMESPACE", "titotest.cli.") + uuid.uuid4().hex[:12]
        self.target = "tikv://" + cluster if cluster else os.path.join(self.folder, "data")
        self.processes = []
        self.program = glob.glob(os.path.join(build, "bindings/cli/tito"))[0]
        self.env = dict(os.environ)
        self.env.pop("TITO_DB", None)
        self.env.pop("NOTIFY_SOCKET", None)
        self.env.update(
            LUA_PATH="%s/lua/?.lua;;" % ROOT,
            LUA_CPATH="%s/bindings/lua/?.so;;" % build,
            LD_LIBRARY_PATH="%s/abi" % build,
            FOLDER=self.folder,
            TARGET=self.target,
            NAMESPACE=self.namespace if cluster else "",
        )

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text):
        """Replaces a file at once, as an editor or a deployment does."""
        with open(self.path(name + ".new"), "w") as file:
            file.write(text)
        os.rename(self.path(name + ".new"), self.path(name))

    def lines(self, name):
        """The whole lines of a file that handlers append to."""
        try:
            with open(self.path(name)) as file:
                return file.read().split("\n")[:-1]
        except FileNotFoundError:
            return []

    def start(self, *arguments, **options):
        process = Process(self, [self.program, *arguments], **options)
        self.processes.append(process)
        return process

    def worker(self, *arguments, app="app.lua", **options):
        """Starts `tito worker` on the database of this place."""
        return self.start("worker", self.path(app), *self.db(), *arguments, **options)

    def db(self):
        more = ["--db-option", "namespace=" + self.namespace] if self.cluster else []
        return ["--db", self.target, *more]

    def run(self, *arguments, code=0, **options):
        """Runs `tito` to its end: stdout and stderr."""
        process = self.start(*arguments, **options)
        process.ends(code)
        return process.stdout(), process.text()

    def lua(self, text):
        """Runs a Lua program with tito, db and queue at hand; its output."""
        head = """
            local tito = require "tito"
            local ns = os.getenv("NAMESPACE")
            local db = assert(tito.connect(os.getenv("TARGET"), ns ~= "" and { namespace = ns } or nil))
            local queue = db:queue { type = "job", partitions = 16 }
            local Seen = db:model { table = "seen" }
            local function count(state, name)
              local n = 0
              for _ in db:queue { type = name or "job" }:history { state = state, limit = 1000 } do n = n + 1 end
              return n
            end
            local function seen()
              local all, cursor = {}, nil
              repeat
                local page = assert(Seen:scan { limit = 1000, cursor = cursor })
                for _, s in ipairs(page.items) do all[#all + 1] = s end
                cursor = page.cursor
              until not cursor
              return all
            end
        """
        preload = self.env.get("TITO_TEST_PRELOAD")
        env = dict(self.env, LD_PRELOAD=preload) if preload else self.env
        head = " ".join(head.split("\n"))
        result = subprocess.run(
            ["lua5.4", "-e", head + " " + text + " db:close()"],
            env=env, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=4 * WAIT,
        )
        check(result.returncode == 0, "a Lua program failed: " + result.stderr.decode(errors="replace"))
        return result.stdout.decode().strip()

    def begin_lua(self, text):
        """Starts a Lua program with tito and db at hand."""
        head = ('local tito, ns = require "tito", os.getenv "NAMESPACE" '
                'local db = assert(tito.connect(os.getenv "TARGET", ns ~= "" and { namespace = ns } or nil)) ')
        preload = self.env.get("TITO_TEST_PRELOAD")
        process = Process(self, ["lua5.4", "-e", head + text], env={"LD_PRELOAD": preload} if preload else None)
        self.processes.append(process)
        return process

    def publish(self, count, keys=20, first=1):
        """Events 1 … count in order, spread over keys."""
        self.lua(
            "for from = %d, %d, 500 do assert(db:transaction(function(tx)"
            " for i = from, math.min(from + 499, %d) do"
            " assert(queue:publish({ key = 'k' .. i %% %d, payload = i }, tx)) end return true end)) end"
            % (first, first + count - 1, first + count - 1, keys)
        )

    def count(self, state, name="job"):
        return int(self.lua("print(count('%s', '%s'))" % (state, name)))

    def finish(self, *arguments):
        """Handles what is left, also what waits for a retry."""

        def is_empty():
            self.worker("--once", "--threads", "2", *arguments).ends(0)
            return self.count("pending") + self.count("parked") == 0

        until("an empty queue", is_empty)

    def check_exactly_once(self, total):
        """Each event's effect is there once, none waits, and each key was handled in order (APP's own check)."""
        got = self.lua(
            "local n, wrong = 0, 0 for _, s in ipairs(seen()) do n = n + s.n wrong = wrong + s.wrong end"
            " print(n, wrong, count('pending') + count('parked') + count('failed'))"
        )
        equal([total, 0, 0], [int(word) for word in got.split()], "handled, out of order, left over")

    def end(self):
        for process in self.processes:
            process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class Process:
    """A running `tito`; its stderr is read as it comes."""

    def __init__(self, place, command, env=None, unread=False, out=None, stdin=None):
        def prepare():
            signal.signal(signal.SIGINT, signal.SIG_DFL)

        self.out = open(tempfile.mktemp(dir=place.folder), "w+b")
        self.err = []
        given = open(place.path(stdin), "rb") if stdin else subprocess.DEVNULL
        self.process = subprocess.Popen(
            command, stdout=out or self.out, stderr=subprocess.PIPE, stdin=given, cwd=place.folder,
            env=dict(place.env, **(env or {})), preexec_fn=prepare,
        )
        if stdin:
            given.close()
        self.reader = threading.Thread(target=self._read, daemon=True)
        if not unread:
            self.reader.start()

    def waiting(self):
        """Bytes that wait in the pipe of its stderr."""
        count = array.array("i", [0])
        fcntl.ioctl(self.process.stderr, termios.FIONREAD, count)
        return count[0]

    def _read(self):
        for line in self.process.stderr:
            self.err.append(line)

    def text(self):
        return b"".join(list(self.err)).decode(errors="replace")

    def stdout(self):
        self.out.flush()
        self.out.seek(0)
        return self.out.read().decode()

    def says(self, pattern, count=1):
        """Waits until the log has the pattern so often; the last match."""

        def found():
            matches = list(re.finditer(pattern, self.text()))
            if len(matches) < count and self.process.poll() is not None and not self.reader.is_alive():
                raise Failed("it ended with %s without saying '%s':\n%s" % (self.process.returncode, pattern, self.text()))
            return matches[-1] if len(matches) >= count else None

        try:
            return until(pattern, found)
        except Failed as failed:
            raise Failed("%s\n%s" % (failed, self.text()[-3000:]))

    def ready(self, generation=1):
        self.says(r"ready: pid=%d .*generation=%d " % (self.process.pid, generation))
        return self

    def send(self, number):
        self.process.send_signal(number)
        return self

    def ends(self, code):
        """Waits for the end, which must be with this exit code."""
        try:
            self.process.wait(WAIT)
        except subprocess.TimeoutExpired:
            raise Failed("it did not end within %g s:\n%s" % (WAIT, self.text()[-3000:]))
        if self.reader.ident:
            self.reader.join(WAIT)
        check(self.process.returncode == code,
              "exit code %s, not %s:\n%s" % (self.process.returncode, code, self.text()[-3000:]))
        return self

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.reader.ident:
            self.reader.join(5)
        self.process.stderr.close()
        self.out.close()
