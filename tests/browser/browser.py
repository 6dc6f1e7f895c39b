"""A headless Chromium and one page in it, spoken to through its debugging pipe (JSON, each message ends with a NUL).

    browser = Browser()
    browser.open("http://127.0.0.1:8080/")
    browser.value("document.title")              # any expression of JavaScript; promises are waited for
    browser.problems                             # what console and network said is wrong
    browser.close()
"""

import fcntl
import json
import os
import pathlib
import select
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATIENCE = 60.0

# Chromium reads commands from descriptor 3 and answers on 4.
START = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execvp(sys.argv[3], sys.argv[3:])"
)


def program():
    """The Chromium to start."""
    path = os.environ.get("TITO_BROWSER", str(ROOT / "build/chromium/chromium"))
    if not os.access(path, os.X_OK):
        raise AssertionError("there is no Chromium at %s: sh .ci/browser build/chromium" % path)
    return path


def until(condition, what):
    """Waits until condition() holds and returns what it answered; the bound is generous."""
    deadline = time.monotonic() + PATIENCE
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError("it did not come true in time: " + what)
        time.sleep(0.02)


def pipe():
    """A pipe whose ends are not among the descriptors that START uses."""
    low = os.pipe()
    high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 20) for end in low]
    for end in low:
        os.close(end)
    return high


class Browser:
    """problems: what its console and its network said is wrong. The page is one of our own, so it needs no sandbox, which
    root and containers can not have."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="tito-browser-"))
        self.problems, self.number, self.rest, self.session = [], 0, b"", None
        theirs, self.commands = pipe()
        self.answers, theirs_too = pipe()
        environment = dict(os.environ, HOME=str(self.folder), TMPDIR=str(self.folder), XDG_RUNTIME_DIR=str(self.folder))
        self.said = open(self.folder / "said", "w+")
        self.process = subprocess.Popen(
            [sys.executable, "-c", START, str(theirs), str(theirs_too), program(), "--headless", "--no-sandbox",
             "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync", "--no-proxy-server", "--remote-debugging-pipe",
             "--user-data-dir=%s" % (self.folder / "profile"), "about:blank"],
            pass_fds=(theirs, theirs_too), env=environment, stdin=subprocess.DEVNULL, stdout=self.said,
            stderr=self.said, start_new_session=True,
        )
        os.close(theirs)
        os.close(theirs_too)
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(domain + ".enable")

    def read(self, deadline):
        """The next message."""
        while b"\0" not in self.rest:
            left = deadline - time.monotonic()
            ready = left > 0 and select.select([self.answers], [], [], left)[0]
            more = ready and os.read(self.answers, 1 << 16)
            if not more:
                self.said.seek(0)
                raise AssertionError("Chromium does not answer:\n" + self.said.read()[-4000:])
            self.rest += more
        message, self.rest = self.rest.split(b"\0", 1)
        return json.loads(message)

    def note(self, message):
        method, about = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.problems.append(about["exceptionDetails"])
        elif method == "Runtime.consoleAPICalled" and about["type"] in ("error", "warning", "assert"):
            self.problems.append(about["args"])
        elif method == "Log.entryAdded" and about["entry"]["level"] in ("error", "warning"):
            self.problems.append(about["entry"])

    def call(self, method, **parameters):
        """A command's result."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + PATIENCE
        while True:
            answer = self.read(deadline)
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise AssertionError("%s: %s" % (method, answer["error"]))
                return answer["result"]
            self.note(answer)

    def open(self, url):
        """Loads a page and waits until it is complete."""
        self.call("Page.navigate", url=url)
        until(lambda: self.value("location.href") == url and self.value("document.readyState") == "complete", "loaded: " + url)

    def value(self, expression):
        """What an expression of JavaScript is in the page; promises are waited for."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise AssertionError("%s: %s" % (expression, result["exceptionDetails"]))
        return result["result"].get("value")

    def close(self):
        try:
            if self.process.poll() is None:
                self.session = None
                self.call("Browser.close")
                self.process.wait(PATIENCE)
        except (AssertionError, OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        finally:
            os.close(self.commands)
            os.close(self.answers)
            self.said.close()
            shutil.rmtree(self.folder, ignore_errors=True)
