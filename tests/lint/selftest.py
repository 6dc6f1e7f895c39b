"""Shows that each rule finds its planted violation, and says nothing about the innocent file beside it.

planted/RULE/ is a small tree. In it every file (or folder) that RULE must report has `bad` in its name (where a rule
knows one file only: every name in its text that begins with `bad_`), and it must report no other. planted/clean/ is a tree in which no rule finds anything. The libraries for the rules about binaries
are built here, each with one fault.
"""

import os
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

import binary
import counts
from rules import RULES
from source import Tree

HERE = os.path.dirname(os.path.abspath(__file__))
PLANTED = os.path.join(HERE, "planted")


def run():
    """Yields (name of the test, list of problems)."""
    for rule in RULES:
        yield "planted " + rule, _planted(rule)
    for rule in RULES:
        yield "clean " + rule, ["reported: " + line for line in RULES[rule](Tree(os.path.join(PLANTED, "clean")))]
    with tempfile.TemporaryDirectory() as folder:
        yield from _libraries(folder)
    yield "counting test cases", list(_counting())


def _planted(rule):
    root = os.path.join(PLANTED, rule)
    if not os.path.isdir(root):
        return ["no planted violation"]
    found = list(RULES[rule](Tree(root)))
    problems = ["reported: " + line for line in found if "bad" not in line]
    wanted = set()
    for folder, folders, names in os.walk(root):
        wanted |= {name for name in folders + names if "bad" in name}
    if not wanted:
        # The rule looks at one file only: there the names in its text are what counts.
        wanted = {name for file in Tree(root).files for name in re.findall(r"\bbad_\w+", Tree(root).text(file))}
    for name in sorted(wanted):
        if not any(name in line for line in found):
            problems.append("not found: " + name)
    if not wanted:
        problems.append("nothing is planted in " + root)
    return problems


_SOURCE = """
#include <string.h>
int tito_one(const char *text);
int tito_two(void);
int tito_one(const char *text) { char copy[64]; strncpy(copy, text, sizeof copy); return copy[3]; }
int tito_two(void) { return 2; }
"""
_GOOD = ["-fstack-protector-strong", "-Wl,-z,relro,-z,now,-z,noexecstack", "-Wl,-soname,libx.so.1"]


def _libraries(folder):
    source = os.path.join(folder, "x.c")
    with open(source, "w", encoding="utf-8") as file:
        file.write(_SOURCE)

    def library(name, *flags):
        path = os.path.join(folder, name)
        subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", path, source, *flags], check=True, capture_output=True)
        return path

    good = library("good.so", *_GOOD)
    faults = {
        "no RELRO segment": ["-Wl,-z,norelro"],
        "not bound at load time": ["-Wl,-z,lazy"],
        "carries an RPATH": ["-Wl,-rpath,/opt"],
        "executable stack": ["-Wl,-z,execstack"],
        "no stack protector": ["-fno-stack-protector"],
    }
    yield "clean hardening", list(binary.hardening(good))
    for number, (text, flags) in enumerate(faults.items()):
        found = list(binary.hardening(library("fault%d.so" % number, *_GOOD, *flags)))
        wrong = len(found) != 1 or text not in found[0]
        yield "planted hardening: " + text, ["found: %s" % found] if wrong else []

    both = "TITO_1 { global: tito_one; tito_two; local: *; };"
    yield "clean symbols", list(binary.symbols(good, both))
    for text, wanted in (
        ("TITO_1 { global: tito_one; local: *; };", "tito_two is exported and not in"),
        ("TITO_1 { global: tito_one; tito_two; tito_three; local: *; };", "tito_three is in tito.map and not"),
    ):
        found = list(binary.symbols(good, text))
        wrong = len(found) != 1 or wanted not in found[0]
        yield "planted symbols: " + wanted, ["found: %s" % found] if wrong else []

    yield "clean soname", list(binary.soname(good, "libx.so.1"))
    yield "planted soname", [] if list(binary.soname(good, "libx.so.2")) else ["not found"]


_CMOCKA = """[==========] a: Running 3 test(s).
[ RUN      ] one
[       OK ] one
[ RUN      ] two
[  ERROR   ] --- 0x1 != 0x2
[  FAILED  ] two
[ RUN      ] three
[  SKIPPED ] three
[==========] a: 3 test(s) run.
[  PASSED  ] 1 test(s).
[  SKIPPED ] a: 1 test(s), listed below:
[  SKIPPED ] three
[  FAILED  ] a: 1 test(s), listed below:
[  FAILED  ] two
"""


def _counting():
    """What tests/counts.py makes of the outputs it meets; a program that died counts as a failure."""
    cut = _CMOCKA[: _CMOCKA.index("[ RUN      ] two")]
    for output, failed, wanted in (
        (_CMOCKA, True, [1, 1, 1]),
        (_CMOCKA + _CMOCKA.replace("a: ", ""), True, [2, 2, 2]),
        (cut, True, [1, 1, 0]),
        ("nothing", False, [1, 0, 0]),
        ("nothing", True, [0, 1, 0]),
        ("tests: 5 passed, 0 failed, 1 skipped\n", False, [5, 0, 1]),
        ("tests: 5 passed, 0 failed, 1 skipped\n", True, [5, 1, 1]),
    ):
        found = counts.count_program(output, failed)
        if found != wanted:
            yield "%s instead of %s" % (found, wanted)
    for text, status, wanted in (
        ("7 successes / 1 failure / 2 errors / 3 pending : 0.1 seconds", 3, [7, 3, 3]),
        ("1 success / 0 failures / 0 errors / 0 pending : 0.1 seconds", 139, [1, 1, 0]),
        ("Segmentation fault", 139, [0, 1, 0]),
    ):
        found = counts.count_busted(text, status)
        if found != wanted:
            yield "%s instead of %s" % (found, wanted)
