"""Outputs of commands, compared with the files in golden/: text and --json, on both engines the same.

    TITO_GOLDEN=write python3 tests/cli/main.py BUILD shows_what_it_showed    writes the files anew
"""

import os
import re

from looking import POSTS
from support import ROOT, WAIT, check

GOLDEN = os.path.join(ROOT, "tests/cli/golden")

# name: what is called, in this order, on one database. What is no error is called again with --json.
CALLS = {
    "get": [["get", "post", "p03", "p01"], ["get", "post", "p03", "nobody"], ["get", "nothing", "x"], ["get", "post"]],
    "query": [["query", "post", "by_author", "Ada", "--gt", "3", "--columns", "id,n,deep.x"],
              ["query", "post", "by_author", "Bob", "--limit", "2", "--keys-only"], ["query", "post", "live", "true", "--reverse"],
              ["query", "post", "by_author", "Ada", "x"], ["query", "post", "nope", "1"], ["query", "post", "by_author", "json:{}"]],
    "scan": [["scan", "post", "--columns", "id,author,n,state", "--limit", "4"], ["scan", "post", "--all", "--keys-only"],
             ["scan", "nothing"], ["scan", "post", "--limit", "-1"]],
    "count": [["count", "post"], ["count", "post", "by_author", "Ada"], ["count", "post", "by_author", "Ada", "--gte", "now"],
              ["explain", "post", "by_author", "Ada", "--gte", "3"], ["explain", "post", "live", "maybe"]],
    "schema": [["schema"], ["schema", "post"], ["schema", "nothing"]],
    "put": [["put", "post", '{"id":"n1","author":"Eve","n":1}'], ["put", "post", '{"id":"n1","author":"Eve"}', "--mode", "insert"],
            ["put", "post", '{"id":"n2","author":7}'], ["put", "post", '{"author":"x"}'], ["put", "post", "{"],
            ["put", "post", "@absent"], ["patch", "post", "n1", '{"n":2}'], ["patch", "post", "nobody", '{"n":2}'],
            ["get", "post", "n1"], ["delete", "post", "n1"], ["delete", "post", "n1"]],
    "check": [["check"], ["check", "nothing"], ["reindex"], ["drop-index", "post", "nope"], ["drop-index", "nothing", "live"]],
    "queue": [["queue", "list", "--json"], ["queue", "peek", "job", "--values", "--json"], ["queue", "failed", "job"],
              ["queue", "retry", "job", "none"], ["queue", "stats", "nothing"], ["queue", "list", "x"], ["queue", "frob"], ["queue"]],
    "dump": [["dump", "nothing"], ["load", "absent"], ["load"]],
}
ON_CLUSTER = ("query", "schema", "put")  # the others take their time and show the same


def told(place, call):
    """What a call prints on both streams, and its exit code."""
    process = place.start(*call, *place.db())
    process.process.wait(WAIT)
    process.reader.join(WAIT)
    text = "$ tito %s\n%s%s(%d)\n" % (" ".join(call), process.stdout(), process.text(), process.process.returncode)
    text = re.sub(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "UUID", text)
    text = re.sub(r'("made_by":)"[^"]*"', r'\1"VERSION"', text)
    text = re.sub(r'("(?:lag|oldest|timestamp)":)[^,}]*', r"\1NUMBER", text)
    text = re.sub(r"--cursor \S+", "--cursor TOKEN", text)
    return re.sub(r"\b\d{9,}(\.\d+)?\b|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "NUMBER", text)


def shows_what_it_showed(place):
    place.lua(POSTS + "assert(queue:publish { key = 'a', payload = { n = 1 } })")
    wrong = []
    for name in sorted(ON_CLUSTER if place.cluster else CALLS):
        texts = [told(place, call) for call in CALLS[name]]
        if name != "put":  # which changes what it shows
            good = [call for call, text in zip(CALLS[name], texts) if text.endswith("\n(0)\n") and "--json" not in call]
            texts += [told(place, [*call, "--json"]) for call in good]
        text = "".join(texts)
        path = os.path.join(GOLDEN, name + ".txt")
        if os.environ.get("TITO_GOLDEN") == "write":
            with open(path, "w") as file:
                file.write(text)
        with open(path) as file:
            expected = file.read()
        if text != expected:
            at = next((i for i, (a, b) in enumerate(zip(text, expected)) if a != b), min(len(text), len(expected)))
            wrong.append("%s: %r instead of %r" % (name, text[max(0, at - 80):at + 160], expected[max(0, at - 80):at + 160]))
    check(not wrong, "\n".join(wrong))


TESTS = [shows_what_it_showed]
