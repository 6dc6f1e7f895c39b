"""Runs each example through `sh examples/run` and compares what it prints with expected/NAME.txt.

A line of an expected file is a regular expression for a whole line of output; the lines must come in that order, and
nothing else may come, but for a line `...`, which stands for any number of lines. Both languages, on both engines, are
compared with the same file; TiKV is a mock cluster of the example's own. Every example there is must have an expected
file, and the other way round.
"""

import os
import re
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))

# What is passed to an example; its standard input is empty.
ARGUMENTS = {
    "packages": ["--file", os.path.join(HERE, "packages.txt")]
    + [
        argument
        for question in (
            "largest 2 zzlibs",
            "maintainer Ada",
            "package zz-tito-engine",
            "page zzlibs",
            "page zzlibs forged",
            "tag role::shared-lib",
            "sections",
            "package zz-absent",
        )
        for argument in ("--ask", question)
    ],
}
TIMEOUT_S = 600


class Report:
    passed = 0
    failed = 0

    def check(self, name, problem):
        if problem:
            self.failed += 1
            print("FAIL  %s\n%s" % (name, problem))
        else:
            self.passed += 1
            print("ok    " + name)


def run(*arguments, cwd=ROOT):
    command = ["sh", os.path.join(ROOT, "examples", "run"), *arguments]
    return subprocess.run(
        command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )


def difference(expected, printed):
    """None, or the first line of the output that is not as expected."""
    at = 0
    anything = False
    for pattern in expected:
        if pattern == "...":
            anything = True
            continue
        while anything and at < len(printed) and not re.fullmatch(pattern, printed[at]):
            at += 1
        if at == len(printed):
            return "missing: " + pattern
        if not re.fullmatch(pattern, printed[at]):
            return "line %d is:  %s\nexpected:   %s" % (at + 1, printed[at], pattern)
        at += 1
        anything = False
    if at < len(printed) and not anything:
        return "line %d is too much: %s" % (at + 1, printed[at])
    return None


def lines_of(text):
    return [line.rstrip() for line in text.rstrip("\n").split("\n")]


def compare(report, language, name, engine):
    title = "%s %s, %s" % (language, name, engine)
    began = time.monotonic()
    # --c is needed for C only: Lua is what a user gets without saying anything. So is the embedded engine.
    chosen = ["--c"] if language == "c" else []
    where = ["--tikv"] if engine == "tikv" else []
    result = run(*chosen, name, *where, *ARGUMENTS.get(name, []))
    with open(os.path.join(HERE, "expected", name + ".txt"), encoding="utf-8") as file:
        problem = difference(lines_of(file.read()), lines_of(result.stdout))
    if result.returncode != 0:
        problem = "exit status %d: %s" % (result.returncode, problem)
    if problem:
        problem += "\n--- output\n%s--- errors\n%s" % (result.stdout[-8000:], result.stderr[-8000:])
    report.check("%s (%.1f s)" % (title, time.monotonic() - began), problem)


def names_in(folder, ending):
    found = os.listdir(os.path.join(ROOT, folder)) if os.path.isdir(os.path.join(ROOT, folder)) else []
    return {os.path.splitext(name)[0] for name in found if name.endswith(ending)}


def self_test(report):
    """The comparison finds what it must."""
    expected = ["a", "b\\d", "...", "z"]
    for printed, fine in (
        (["a", "b1", "z"], True),
        (["a", "b1", "x", "y", "z"], True),
        (["a", "bx", "z"], False),
        (["a", "b1"], False),
        (["b1", "a", "z"], False),
        (["a", "b1", "z", "more"], False),
        ([], False),
    ):
        found = difference(expected, printed)
        report.check("comparing %s" % printed, None if (found is None) == fine else "found: %s" % found)


def main():
    report = Report()
    self_test(report)
    wanted = names_in("tests/examples/expected", ".txt")
    have = {"lua": names_in("examples/lua", ".lua"), "c": names_in("examples/c", ".c")}
    for name in sorted(wanted | have["lua"] | have["c"]):
        if name not in wanted:
            report.check(name, "tests/examples/expected has no file for it")
        elif name not in have["lua"]:
            report.check(name, "there is no examples/lua/%s.lua" % name)
        else:
            for language in ["lua", "c"] if name in have["c"] else ["lua"]:
                compare(report, language, name, "embedded")
                compare(report, language, name, "tikv")

    listed = run("--list").stdout
    missing = [name for name in have["lua"] | have["c"] if name not in listed]
    report.check("--list names all", "not listed: %s" % missing if missing else None)
    report.check("--help", None if "--list" in run("--help").stdout else "no help")
    unknown = run("nothing-of-that-name")
    report.check("an unknown name", None if unknown.returncode == 2 and "no example" in unknown.stderr else unknown.stderr)
    report.check("a name outside", None if run("../run").returncode == 2 else "it ran")
    on_named = ["sh", "-c", "sh examples/run crud --tikv $TITO_TEST_PD && sh examples/run --c --tikv crud"]
    named = subprocess.run(
        ["sh", os.path.join(ROOT, "tests", "cluster", "with"), *on_named],
        cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
    )
    fine = named.returncode == 0 and named.stdout.count("User deleted successfully") == 2
    report.check("on the cluster of a PD that is named", None if fine else named.stdout + named.stderr)
    elsewhere = run("crud", cwd="/")
    report.check("from another folder", None if elsewhere.returncode == 0 else elsewhere.stderr)
    print("tests: %d passed, %d failed, 0 skipped" % (report.passed, report.failed))
    return report.failed > 0


if __name__ == "__main__":
    sys.exit(main())
