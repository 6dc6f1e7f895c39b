"""`tito shell`: at a pseudo-terminal, from files, -e and standard input."""

import json
import os
import pty
import re
import select
import signal
import stat
import struct
import fcntl
import termios
import time

from looking import POSTS
from support import WAIT, Failed, check, equal, until

PROMPT = "tito> "


class Terminal:
    """`tito` at a pseudo-terminal."""

    def __init__(self, place, *arguments, env=None):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            try:
                signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored where the tests run in the background
                os.chdir(place.folder)
                os.execve(place.program, [place.program, *arguments],
                          dict(place.env, TERM="xterm", HOME=place.folder, **(env or {})))
            finally:
                os._exit(127)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 200, 0, 0))
        self.text = ""
        self.raw = b""

    def close(self):
        os.close(self.fd)
        try:
            os.kill(self.pid, 9)
        except ProcessLookupError:
            pass
        try:
            os.waitpid(self.pid, 0)
        except ChildProcessError:
            pass

    def read(self, seconds):
        if select.select([self.fd], [], [], seconds)[0]:
            try:
                part = os.read(self.fd, 65536)
            except OSError:  # the other end is closed
                part = b""
            self.raw += part
            # without what moves the cursor or sets colours
            self.text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|[\r\x07]", "", self.raw.decode(errors="replace"))
            return part != b""
        return True

    def expect(self, pattern, what=None):
        """Waits until what was shown since the last expect() has the pattern; forgets all before its end."""
        end = time.monotonic() + WAIT
        while True:
            found = re.search(pattern, self.text)
            if found:
                self.raw = self.text[found.end():].encode()
                self.text = self.text[found.end():]
                return found
            if time.monotonic() > end or not self.read(0.5):
                raise Failed("%s expected; there is: %r" % (what or pattern, self.text[-2000:]))

    def send(self, text, running=False):
        """Types. The editor has the terminal before: else control characters mean something else. running: it has not."""
        if not running:
            until("the editor", lambda: not termios.tcgetattr(self.fd)[3] & termios.ICANON)
        os.write(self.fd, text.encode())
        return self

    def line(self, text, pattern):
        """Sends a line at the prompt and waits for its answer and the next prompt."""
        self.send(text + "\r")
        self.expect(pattern, "after %r: %s" % (text, pattern))
        return self.prompt() if "> " not in pattern else self

    def prompt(self):
        self.expect(PROMPT)
        return self

    def ends(self, code):
        end = time.monotonic() + WAIT
        while time.monotonic() < end:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                equal(code, os.waitstatus_to_exitcode(status), "exit code")
                return
            self.read(0.05)
        raise Failed("it did not end: %r" % self.text[-2000:])


def _terminal(place, test, **options):
    terminal = Terminal(place, "shell", *place.db(), **options)
    try:
        terminal.expect(r"\.help tells what there is")
        terminal.expect(PROMPT)
        test(terminal)
    finally:
        terminal.close()


def answers_at_a_prompt(place):
    place.lua(POSTS)

    def talk(t):
        t.line("1 + 1", r"\n2\n")
        t.line('post:find_by_id("p03").author', r"\nAda\n")
        t.line('post:query_by_index("by_author"):value("Ada"):limit(2):execute()',
               r"\nid +author +deep +flag[^\n]*\np03 +Ada [^\n]*\np06 +Ada [^\n]*\ncursor \S+\n")
        t.line("for i = 1, 2 do", r"\.\.\.> ")
        t.line("print('number ' .. i)", r"\.\.\.> ")
        t.line("end", r"\nnumber 1\nnumber 2\n")
        t.line("1 +", r"\.\.\.> ")
        t.line("2", r"\n3\n")
        t.line("x = {", r"\.\.\.> ")
        t.send("\x03")
        t.expect(r"\^C\n" + PROMPT)
        t.line("x", r"\nnil\n")
        t.line("error('it broke')", r"it broke")
        t.line("post:find_by_id(5)", r"invalid_argument: find_by_id: the id must be a string")
        t.line("post:build { id = 'p03' }", r"already_exists: ")
        t.line(".tables", r"\ntable +indexes +unique\npost +2 +1\n")
        t.line(".indexes post", r"\npost +by_author +1 +readable +false +author string, n number\n")
        t.line(".indexes nothing", r"there is no table 'nothing'")
        t.line(".schema post", r'"table": "post"')
        t.line('.explain post:query_by_index("by_author"):value("Ada")', r"\nindex +by_author\n")
        t.line(".timing on", r"timing is on\n")
        t.line("2", r"\n2\n\d+\.\d+ ms\n")
        t.line(".json", r"json is on\n")
        t.line("{ a = 1 }", r'\n\{"a":1\}\n')
        t.line(".wrong", r"there is no '\.wrong'")
        t.line(".help", r"\.explain QUERY")
        t.send(".quit\r")
        t.ends(0)

    _terminal(place, talk)


def completes_at_a_prompt(place):
    place.lua(POSTS)

    def talk(t):
        for typed, shown in (("po\t", "post"), ("post:query_b\t", "query_by_index"), ('post:query_by_index("sl\t', 'slug'),
                             ("post:build { auth\t", "author"), ('post:query_by_index("slug"):star\t', "starts_with"),
                             (".sche\t", r"\.schema "), (".schema po\t", "post"), ("db.mod\t", "model"), ("tito.uu\t", "uuid")):
            t.send(typed)
            t.expect(shown, "%r completed" % typed)
            t.send("\x03")
            t.expect(r"\^C\n" + PROMPT)
        t.send('post:query_by_index("\t')
        t.expect(r"by_author +live +slug", "all indexes")
        t.send("\x03")
        t.expect(r"\^C\n" + PROMPT)
        t.line("1 +\t\t 1", r"\n2\n")
        t.send("\x04")
        t.ends(0)

    _terminal(place, talk)


def remembers_lines(place):
    place.lua(POSTS)

    def first(t):
        t.line("'some' .. 'thing'", r"\nsomething\n")
        t.line("\x1b[A\x1b[D\x1b[D\x7fX", r"\nsomethiXg\n")
        t.send(".quit\r")
        t.ends(0)

    def second(t):
        t.line("\x1b[A\x1b[A\x1b[A", r"\nsomething\n")
        t.send("\x04")
        t.ends(0)

    _terminal(place, first)
    path = place.path(".tito_history")
    equal(0o600, stat.S_IMODE(os.stat(path).st_mode))
    _terminal(place, second)


def ends_what_is_interrupted(place):
    place.lua(POSTS)

    def talk(t):
        t.send("print('it ' .. 'runs') while true do end\r")
        t.expect(r"\nit runs\n")
        t.send("\x03", running=True)
        t.expect(r"interrupted")
        t.prompt()
        t.line("post:find_by_id('p01').author", r"\nBob\n")
        t.send("\x04")
        t.ends(0)

    _terminal(place, talk)


def runs_scripts(place):
    place.lua(POSTS)

    def run(*arguments, code=0, **options):
        return place.run("shell", *arguments, *place.db(), code=code, **options)

    equal("2\n", run("-e", "1 + 1")[0])
    equal("p02", json.loads(run("-e", "post:find_by_id('p02')", "--json")[0])["id"])
    equal("3\n", run("-e", "x = 3", "-e", "print(x)")[0])
    place.write("script.lua", "#!/usr/bin/env tito\nlocal a, b = ...\nassert(arg[1] == a)\nassert(post:save { id = a })\nprint(b)")
    equal("two\n", run("script.lua", "one", "two")[0])
    equal([{"id": "one"}], [json.loads(line) for line in place.run("get", "post", "one", "--json", *place.db())[0].splitlines()])
    for text, code, message in (("error('it broke')", 1, "it broke"), ("1 +", 1, "unexpected symbol"), ("post:update { id = 'zz' }", 10, "no record"),
                                ("post:find_by_id(1)", 11, "the id must be a string"), ("nothing.at.all", 1, "nothing")):
        _, err = run("-e", text, code=code)
        check(message in err, err)
    run("absent.lua", code=2)
    place.write("input", ".tables\nfor i = 1, 2 do\n  print(i)\nend\n.json on\npost:find_by_id('one')\n")
    out, err = run(stdin="input")
    check(re.fullmatch(r'table +indexes +unique\npost +2 +1\n1\n2\njson is on\n\{"id":"one"\}\n', out), out + err)
    place.write("input", "1\nerror('stop')\n2\n")
    equal("1\n", run(stdin="input", code=1)[0])
    place.write("input", "for i = 1, 2 do\n")
    check("within a statement" in run(stdin="input", code=1)[1], "no text")
    equal('"a\\u001b[2J"\n', run("-e", '"a\\27[2J"', "--json")[0])
    equal("a\\x1b[2J\n", run("-e", '"a\\27[2J"')[0])


TESTS = [answers_at_a_prompt, runs_scripts]
EMBEDDED = [completes_at_a_prompt, remembers_lines, ends_what_is_interrupted]
