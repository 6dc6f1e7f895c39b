"""examples/resty by real requests, and through a reload."""

import http.client
import json
import os
import pathlib
import shutil
import signal as signals
import subprocess
import tempfile
import unittest

from nginx import BUILD, PATIENCE, ROOT, Nginx, free_port, until


class Service(Nginx):
    """The example as its script starts it."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="tito-service-"))
        (self.folder / "tmp").mkdir()
        self.port = free_port()
        self.environment = dict(os.environ, TMPDIR=str(self.folder / "tmp"))
        self.environment.pop("TITO_DB", None)
        self.process = None

    def command(self, *more):
        return ["sh", str(ROOT / "examples/resty/start"), str(BUILD), str(self.folder), str(self.port)]

    def json(self, method, path, value=None):
        body = value if value is None or isinstance(value, (str, bytes)) else json.dumps(value)
        status, text, headers = self.request(method, path, body)
        return status, json.loads(text), headers


class Feed:
    """A connection to the live feed."""

    def __init__(self, service, last=None):
        self.connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=PATIENCE)
        self.connection.request("GET", "/feed", headers={"Last-Event-ID": str(last)} if last is not None else {})
        self.response = self.connection.getresponse()
        assert self.response.status == 200
        assert self.response.headers["Content-Type"].startswith("text/event-stream")
        assert self.response.readline().startswith(b":")

    def next(self):
        """(id, value) of the next event."""
        number = None
        while True:
            line = self.response.readline().decode()
            if not line:
                return None
            if line.startswith("id: "):
                number = int(line[4:])
            elif line.startswith("data: "):
                return number, json.loads(line[6:])

    def close(self):
        self.connection.close()


class BlogService(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.service = Service().start()

    @classmethod
    def tearDownClass(cls):
        try:
            assert cls.service.stop() == 0
            assert cls.service.errors() == [], cls.service.errors()
            assert list((cls.service.folder / "tmp").iterdir()) == []
        finally:
            cls.service.close()
            shutil.rmtree(cls.service.folder, ignore_errors=True)

    def create(self, title, tags=(), **more):
        status, post, headers = self.service.json(
            "POST", "/posts", dict({"title": title, "author": "Ann", "body": "text", "tags": list(tags)}, **more)
        )
        self.assertEqual(201, status, post)
        self.assertEqual("/posts/" + post["id"], headers["Location"])
        return post

    def test_a_post_with_its_tags(self):
        made = self.create("Größe & <b>", ["lua", "c"])
        status, post, _ = self.service.json("GET", "/posts/" + made["id"])
        self.assertEqual(200, status)
        self.assertEqual("Größe & <b>", post["title"])
        self.assertEqual([{"id": "lua", "name": "lua"}, {"id": "c", "name": "c"}], post["tags"])
        self.assertEqual([], self.service.json("GET", "/posts/" + self.create("bare")["id"])[1]["tag_ids"])
        self.assertEqual(404, self.service.json("GET", "/posts/nobody")[0])

    def test_pages_of_a_tag(self):
        made = [self.create("page %d" % i, ["paged"])["id"] for i in range(7)]
        self.create("other", ["unpaged"])
        ids, cursor, pages = [], "", 0
        while True:
            status, page, _ = self.service.json("GET", "/posts?tag=paged&limit=3" + (cursor and "&cursor=" + cursor))
            self.assertEqual(200, status)
            ids += [post["id"] for post in page["items"]]
            pages += 1
            cursor = page.get("cursor")
            if not cursor:
                break
        self.assertEqual(made[::-1], ids)
        self.assertEqual(3, pages)
        self.assertEqual([], self.service.json("GET", "/posts?tag=nothing")[1]["items"])
        self.assertEqual(400, self.service.json("GET", "/posts?tag=paged&cursor=forged")[0])

    def test_what_is_refused(self):
        for body in ("", "no json", "[1]", "{}", '{"title":"x","author":"y","body":5}', b"\xff\xfe", "[" * 100,
                     '{"title":"x","author":"y","body":"z","tags":["a b"]}', '{"title":"","author":"y","body":"z"}'):
            status, answer, _ = self.service.json("POST", "/posts", body)
            self.assertEqual((400, "invalid_argument"), (status, answer["error"]), body)
        self.assertEqual(405, self.service.request("DELETE", "/posts")[0])

    def test_the_feed(self):
        feed = Feed(self.service)
        posts = [self.create("fed %d" % i, author="author %d" % (i % 3)) for i in range(10)]
        seen, first = {}, None
        while len(seen) < len(posts):
            number, event = feed.next()
            first = first or number
            if event["title"].startswith("fed "):
                self.assertNotIn(event["id"], seen)
                seen[event["id"]] = event
        self.assertEqual({p["id"]: (p["title"], p["author"]) for p in posts},
                         {i: (e["title"], e["author"]) for i, e in seen.items()})
        feed.close()
        again = Feed(self.service, first - 1)
        self.assertEqual(first, again.next()[0])
        again.close()

    def test_the_page(self):
        status, text, headers = self.service.request("GET", "/")
        self.assertEqual(200, status)
        self.assertTrue(headers["Content-Type"].startswith("text/html"))
        for part in ('fetch("/posts', 'EventSource("/feed")', "textContent"):
            self.assertIn(part, text)
        self.assertNotIn("innerHTML", text)

    def test_a_reload_with_a_feed_open(self):
        made = self.create("before the reload", ["kept"])
        feed = Feed(self.service)
        self.service.reload()
        while feed.next() is not None:  # the leaving worker ends it
            pass
        feed.close()
        self.assertEqual(200, self.service.json("GET", "/posts/" + made["id"])[0])
        feed = Feed(self.service)
        after = self.create("after the reload")
        while feed.next()[1]["id"] != after["id"]:
            pass
        feed.close()
