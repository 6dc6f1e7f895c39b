"""The page of `tito dashboard` in a headless Chromium.

    pages.py BUILD [--cluster] [NAME...]     only the named tests; on the TiKV of TITO_TEST_PD what is about the store
"""

import http.server
import os
import signal
import sys
import threading

import main
from dashboards import STATS, Server, with_failed
from support import ROOT, check, equal

sys.path.insert(0, os.path.join(ROOT, "tests/browser"))
from browser import Browser, until  # noqa: E402

CELLS = "[...document.querySelectorAll('#%s tbody tr')].map(tr => [...tr.cells].map(td => td.innerText.trim()))"
KEYS = {"Tab": (9, ""), "Enter": (13, "\r"), " ": (32, " "), "ArrowRight": (39, ""), "ArrowLeft": (37, ""), "Escape": (27, "")}


class Page:
    """A browser at a dashboard."""

    def __init__(self, server):
        self.browser = Browser()
        self.value = self.browser.value
        self.go("http://%s/?token=%s" % (server.host, server.token))
        until(lambda: self.value("document.body && document.body.dataset.time"), "figures on the page")

    def go(self, url):
        self.browser.call("Page.navigate", url=url)
        until(lambda: self.value("location.href !== 'about:blank' && document.readyState") == "complete", "loaded: " + url)

    def cells(self, name):
        return self.value(CELLS % name)

    def shows(self, expression, expected):
        until(lambda: self.value(expression) == expected, "%s: %r, and not %r" % (expression, expected, self.value(expression)))

    def press(self, key, shift=False):
        code, text = KEYS[key]
        about = {"key": key, "windowsVirtualKeyCode": code, "modifiers": 8 if shift else 0, "code": "Space" if key == " " else key}
        self.browser.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **about, **({"text": text} if text else {}))
        self.browser.call("Input.dispatchKeyEvent", type="keyUp", **about)

    def reach(self, condition, shift=False):
        """Goes on by Tab until the focused element, e, is the one; the focus is seen wherever it is."""
        for _ in range(60):
            self.press("Tab", shift)
            if self.value("(e => e !== document.body && getComputedStyle(e).outlineStyle === 'none')(document.activeElement)"):
                check(False, "the focus is not seen: " + self.value("document.activeElement.outerHTML.slice(0, 200)"))
            if self.value("(e => %s)(document.activeElement)" % condition):
                return
        check(False, "not reached by Tab: " + condition)

    def close(self):
        self.browser.close()


def on_page(test):
    def run(place):
        with_failed(place)
        expected = place.lua(STATS).split()
        server = Server(place, "--allow-writes")
        page = Page(server)
        try:
            test(place, server, page, expected)
        finally:
            page.close()

    run.__name__ = test.__name__
    return run


@on_page
def shows_what_the_library_tells(place, server, page, expected):
    page.shows("document.querySelector('#live').textContent", "live")
    job = page.cells("queues")[0]
    equal(["job", *expected[:3]], [job[0], *job[2:5]], "the row of the type")
    sums = "Object.fromEntries([...document.querySelectorAll('.sum')].map(e => [e.lastChild.textContent, e.firstChild.textContent]))"
    equal(expected[:3], [page.value(sums)[name] for name in ("pending", "parked", "failed")], "sums")
    page.shows("[...document.querySelectorAll('#tables tr')].map(tr => tr.cells[0].textContent + tr.cells[1].textContent).includes('post25')", True)
    equal("nightly", page.cells("schedules")[0][0])
    equal("rocksdb", page.value("Object.fromEntries([...document.querySelectorAll('.fact')].map(e => [e.firstChild.textContent, e.lastChild.textContent])).engine"))
    page.value("document.querySelector('button.name').click()")
    page.shows("document.querySelectorAll('#list tbody tr').length", 4)
    check("mailbox <b>full</b>" in page.cells("list")[0][4], page.cells("list"))
    equal(0, page.value("document.querySelectorAll('#list b').length"), "markup of an error")
    check("now pending 3" in page.value("document.querySelector('svg.plot').getAttribute('aria-label')"), "the plot tells its value")
    equal([], page.value("[...document.querySelectorAll('button, input')].filter(e => !(e.textContent.trim() || e.ariaLabel || e.closest('label')))"
                         ".map(e => e.outerHTML)"), "controls without a name")
    check("s3cret" not in page.value("document.documentElement.outerHTML"), "a payload is on the page")
    for name, rows in (("partitions", None), ("completed", 6), ("pending", 3), ("parked", 0)):
        page.value("document.getElementById('tab-%s').click()" % name)
        page.shows("document.getElementById('list-note').textContent !== '…'", True)
        if rows is not None:
            page.shows("document.querySelectorAll('#list tbody tr').length", rows)
    equal(None, page.value("document.documentElement.dataset.theme"))
    colors = []
    for theme in ("light", "dark"):
        page.value("document.getElementById('theme').click()")
        equal(theme, page.value("document.documentElement.dataset.theme"))
        colors.append(page.value("getComputedStyle(document.body).backgroundColor"))
    check(colors[0] != colors[1], "light and dark are the same: %s" % colors)
    for width in (390, 1280):
        page.browser.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 600)
        page.shows("document.documentElement.scrollWidth <= innerWidth", True)
    equal([], page.value("performance.getEntriesByType('resource').map(e => new URL(e.name).origin).filter(o => o !== location.origin)"),
          "what was loaded from elsewhere")
    equal([], page.browser.problems, "what the browser finds wrong")
    server.end()
    page.shows("document.querySelector('#live').className.includes('good')", False)


@on_page
def shows_a_cluster_and_acts_on_it(place, server, page, expected):
    page.shows("document.querySelector('#live').textContent", "live")
    job = page.cells("queues")[0]
    equal(["job", *expected[:3]], [job[0], *job[2:5]], "the row of the type")
    equal("tikv", page.value("Object.fromEntries([...document.querySelectorAll('.fact')].map(e => [e.firstChild.textContent, e.lastChild.textContent])).engine"))
    page.shows("[...document.querySelectorAll('#tables tr')].map(tr => tr.cells[0].textContent + tr.cells[1].textContent).includes('post25')", True)
    page.value("document.querySelector('button.name').click()")
    page.shows("document.querySelectorAll('#list tbody tr').length", 4)
    page.value("document.querySelector('#list tbody input').click()")
    page.value("[...document.querySelectorAll('button')].find(b => b.textContent === 'Retry 1').click()")
    page.shows("document.querySelectorAll('#list tbody tr').length", 3)
    page.shows(CELLS % "queues" + "[0].slice(2, 5).join()", "4,0,3")
    equal([], page.browser.problems, "what the browser finds wrong")
    server.end()
    equal("4 0 3", " ".join(place.lua(STATS).split()[:3]), "what is stored")


@on_page
def is_used_by_keyboard(place, server, page, expected):
    page.press("Tab")
    equal("To the figures", page.value("document.activeElement.textContent"))
    page.reach("e.classList.contains('name')")
    page.press("Enter")
    page.shows("document.querySelectorAll('#list tbody tr').length", 4)
    page.reach("e.id === 'tab-failed'")
    page.press("ArrowRight")
    equal(["tab-parked", "true"], page.value("[document.activeElement.id, document.activeElement.ariaSelected]"))
    page.press("ArrowLeft")
    page.shows("document.querySelectorAll('#list tbody tr').length", 4)
    page.reach("e.type === 'checkbox'")
    page.press(" ")
    page.reach("e.textContent === 'Retry 1'", shift=True)
    page.press("Enter")
    page.shows("document.querySelectorAll('#list tbody tr').length", 3)
    page.shows(CELLS % "queues" + "[0][2]", "4")
    page.reach("e.type === 'checkbox'")
    page.press(" ")
    page.reach("e.textContent === 'Drop 1'", shift=True)
    page.press("Enter")
    page.shows("document.getElementById('ask').open", True)
    page.press("Escape")
    page.shows("document.getElementById('ask').open", False)
    equal(3, page.value("document.querySelectorAll('#list tbody tr').length"), "failed events after Escape")
    page.reach("e.textContent === 'Drop 1'")
    page.press("Enter")
    page.shows("document.activeElement.id", "ask-yes")
    page.press("Enter")
    page.shows("document.querySelectorAll('#list tbody tr').length", 2)
    page.value("[...document.querySelectorAll('#queues button')].find(b => b.textContent === 'Pause').focus()")
    page.press("Enter")
    page.shows("[...document.querySelectorAll('#queues button')].map(b => b.textContent).includes('Resume')", True)
    equal([], page.browser.problems, "what the browser finds wrong")
    page.browser.call("Page.navigate", url="about:blank")
    server.end()
    equal("4 0 2 true 16", " ".join(place.lua(STATS).split()), "what is stored")


class Other(http.server.BaseHTTPRequestHandler):
    """Another origin of the same site, so that the browser sends the cookie along."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!DOCTYPE html><title>other</title><link rel=icon href='data:,'><form method=post></form>")

    def log_message(self, *_):
        pass


@on_page
def other_sites_get_nothing(place, server, page, expected):
    other = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Other)
    threading.Thread(target=other.serve_forever, daemon=True).start()
    page.go("http://127.0.0.1:%d/" % other.server_port)
    until(lambda: page.value("document.title") == "other", "the other page")
    act = "http://%s/api/act" % server.host
    body = '{"action":"pause","type":"job"}'
    for kind in ("text/plain", "application/json"):
        got = page.value("fetch(%r, {method: 'POST', credentials: 'include', mode: %r, headers: {'Content-Type': %r}, body: %r})"
                         ".then(a => a.type + a.status, () => 'refused')" % (act, "no-cors" if kind == "text/plain" else "cors", kind, body))
        check(got in ("opaque0", "refused"), got)
    for path in ("/api/hello", "/metrics", "/app.js"):
        equal("refused", page.value("fetch('http://%s%s', {credentials: 'include'}).then(a => a.text(), () => 'refused')" % (server.host, path)))
    equal("error", page.value("new Promise(r => { const s = new EventSource('http://%s/events', {withCredentials: true});"
                              " s.onerror = () => { s.close(); r('error') }; s.onmessage = () => r('message') })" % server.host))
    equal("error", page.value("new Promise(r => { const s = document.createElement('script'); s.src = 'http://%s/app.js';"
                              " s.onload = () => r('loaded'); s.onerror = () => r('error'); document.head.append(s) })" % server.host))
    page.value("document.forms[0].action = %r; document.forms[0].submit()" % act)
    until(lambda: page.value("location.pathname") == "/api/act" and page.value("document.body.textContent"), "the form was sent")
    check("another site" in page.value("document.body.textContent"), page.value("document.body.textContent"))
    other.shutdown()
    other.server_close()
    equal(False, server.job()["paused"], "paused by another site")
    server.process.send(signal.SIGTERM).ends(0)


TESTS = [shows_what_the_library_tells, is_used_by_keyboard, other_sites_get_nothing]
ON_CLUSTER = [shows_a_cluster_and_acts_on_it]

if __name__ == "__main__":
    names = [name for name in sys.argv[2:] if name != "--cluster"]
    cluster = os.environ["TITO_TEST_PD"] if "--cluster" in sys.argv else None
    chosen = [test for test in (ON_CLUSTER if cluster else TESTS) if not names or test.__name__ in names]
    where = "page, on TiKV: " if cluster else "page: "
    passed = sum(main.run(where + test.__name__.replace("_", " "), test, os.path.abspath(sys.argv[1]), cluster) for test in chosen)
    print("tests: %d passed, %d failed, 0 skipped" % (passed, len(chosen) - passed))
    sys.exit(0 if chosen and passed == len(chosen) else 1)
