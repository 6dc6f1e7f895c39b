"""The page of examples/resty in a headless Chromium."""

import pathlib
import shutil
import sys
import unittest

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "browser"))

from browser import Browser, until
from test_service import Service

TEXTS = "[...document.querySelectorAll('%s')].map(e => e.textContent)"


class Page(unittest.TestCase):
    def setUp(self):
        self.service = Service().start()
        self.addCleanup(shutil.rmtree, self.service.folder, ignore_errors=True)
        self.addCleanup(self.service.close)
        self.browser = Browser()
        self.addCleanup(self.browser.close)

    def create(self, title, tags):
        status, post, _ = self.service.json(
            "POST", "/posts", {"title": title, "author": "Ann", "body": "text", "tags": tags}
        )
        self.assertEqual(201, status, post)

    def posts(self):
        return self.browser.value("[...document.querySelectorAll('#posts > li')].map(e => e.firstChild.textContent)")

    def shows(self, titles, what):
        until(lambda: self.posts() == titles, "%s: %s, and not %s" % (what, titles, self.posts()))

    def publish(self, title, author, tags):
        self.browser.value(
            "(form => { for (const [name, value] of Object.entries(%r)) form.elements[name].value = value;"
            " form.querySelector('button').click(); })(document.getElementById('make'))"
            % {"title": title, "author": author, "body": "a text", "tags": tags}
        )

    def test_the_page(self):
        titles = ["post %d" % i for i in range(7)]
        for title in titles:
            self.create(title, ["old"])
        browser = self.browser
        browser.open("http://127.0.0.1:%d/" % self.service.port)
        self.assertEqual("A small blog", browser.value("document.title"))
        self.shows(titles[:1:-1], "the newest five")
        browser.value("document.getElementById('more').click()")
        self.shows(titles[::-1], "all, after More")
        self.assertIs(True, browser.value("document.getElementById('more').hidden"))

        until(lambda: browser.value("feed.textContent") is not None, "the list of the feed is there")
        self.publish("Size <b>10</b> & more", "Bob", "fresh other")
        until(lambda: browser.value("said.textContent") == "published", "the form says so")
        self.shows(["Size <b>10</b> & more", *titles[:2:-1]], "the new post first")
        self.assertEqual("", browser.value("document.getElementById('make').elements.title.value"))
        until(lambda: "Size <b>10</b> & more, by Bob" in browser.value(TEXTS % "#feed > li"), "the live feed tells of it")
        self.assertEqual(0, browser.value("document.querySelectorAll('#posts b, #feed b').length"))

        browser.value("document.querySelector('#posts a[href=\"#fresh\"]').click()")
        self.shows(["Size <b>10</b> & more"], "the posts of a tag")
        self.assertEqual("#fresh", browser.value("tag.textContent || document.getElementById('tag').textContent"))
        self.publish("again", "Bob", "no/word")
        until(lambda: "tags" in browser.value("said.textContent"), "the form says what is wrong")
        refused = [p for p in browser.problems if "400" in str(p.get("text", ""))]
        self.assertEqual(refused, browser.problems)

        browser.open("about:blank")
        self.assertEqual(0, self.service.stop())
        self.assertEqual([], self.service.errors())
