"""The first program of the binding's README, as it stands there."""

import re
import unittest

from nginx import ROOT, Nginx, until


def first_program():
    """What is inside of its http block."""
    text = (ROOT / "bindings/resty/README.md").read_text()
    block = re.search(r"## First program\n\n```nginx\n(.*?)```", text, re.S).group(1)
    http = re.search(r"^http \{\n(.*)^\}$", block, re.M | re.S).group(1)
    return http.replace("/var/lib/blog", "{data}").replace("listen 8080", "listen 127.0.0.1:{port}")


class Readme(unittest.TestCase):
    def test_the_first_program(self):
        nginx = Nginx(first_program())
        self.addCleanup(nginx.close)
        nginx.start()
        name = nginx.get("/new?title=Intro").strip()
        self.assertEqual("Intro\n", nginx.get("/posts/" + name))
        self.assertEqual("not found\n", nginx.get("/posts/nobody"))
        until(lambda: "INSERT Intro" in nginx.log(), "the event is handled")
        self.assertEqual(0, nginx.stop())
        self.assertEqual([], nginx.errors())
