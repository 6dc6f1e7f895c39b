"""Checks the rules of the project that a compiler does not.

    python3 tests/lint/lint.py [RULE...]             the named rules about the source, or all of them
    python3 tests/lint/lint.py --library build/release   besides: symbols and hardening of the library built there
    python3 tests/lint/lint.py --self-test           besides: every rule finds what is planted in tests/lint/planted
    python3 tests/lint/lint.py --stats               how long files and functions are

Each rule is one check, printed as `ok` or `FAIL` with what it found. Exits with 1 when a check failed.
"""

import argparse
import os
import sys

import binary
import selftest
from rules import RULES
from source import C_ENDINGS, Tree, functions

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SHOWN_MAX = 40


class Report:
    def __init__(self):
        self.passed = 0
        self.failed = 0

    def check(self, name, problems):
        problems = list(problems)
        if not problems:
            self.passed += 1
            print("ok    " + name)
            return
        self.failed += 1
        print("FAIL  " + name)
        for line in problems[:SHOWN_MAX]:
            print("      " + line)
        if len(problems) > SHOWN_MAX:
            print("      and %d more" % (len(problems) - SHOWN_MAX))


def check_library(report, tree, build):
    library = os.path.join(build, "abi", "libtito.so.1")
    if not os.path.exists(library):
        report.check("library", ["%s was not built" % library])
        return
    report.check("symbols", binary.symbols(library, tree.text("abi/tito.map")))
    report.check("hardening", binary.hardening(library))
    report.check("soname", binary.soname(library, "libtito.so.1"))


def stats(tree):
    """Median, 90th and 99th percentile of the lengths of functions, by folder."""
    for folder in ("core/", "abi/", "bindings/", "tests/", "examples/"):
        names = tree.select(C_ENDINGS, (folder,))
        lengths = sorted(n for name in names for _, _, n in functions(tree.text(name)))
        lines = sum(tree.text(name).count("\n") for name in names)
        if lengths:
            at = [lengths[min(len(lengths) - 1, int(len(lengths) * q))] for q in (0.5, 0.9, 0.99)]
            print(
                "%-10s %3d files %6d lines %5d functions: median %d, p90 %d, p99 %d, longest %d"
                % (folder, len(names), lines, len(lengths), *at, lengths[-1])
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rules", nargs="*", metavar="RULE", help=", ".join(RULES))
    parser.add_argument("--library", metavar="BUILD")
    parser.add_argument("--self-test", action="store_true")
    parser.add_argument("--stats", action="store_true")
    options = parser.parse_args()
    unknown = [name for name in options.rules if name not in RULES]
    if unknown:
        parser.error("no such rule: " + " ".join(unknown))

    tree = Tree(ROOT)
    if options.stats:
        stats(tree)
        return 0
    report = Report()
    for name in options.rules or RULES:
        report.check(name, RULES[name](tree))
    if options.library:
        check_library(report, tree, options.library)
    if options.self_test:
        for name, problems in selftest.run():
            report.check(name, problems)
    print("tests: %d passed, %d failed, 0 skipped" % (report.passed, report.failed))
    return 1 if report.failed else 0


sys.dont_write_bytecode = True
sys.exit(main())
