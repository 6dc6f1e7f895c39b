"""Runs the tests of this folder: specs of tests/lua in LuaJIT and in nginx, then what is nginx's own.

    python3 suite.py [test_module ...]      with TITO_BUILD in the environment

With TITO_TEST_PD, and no modules named, those that have something to say about a cluster.
"""

import re
import sys
import unittest

import test_specs
from nginx import CLUSTER

EMBEDDED = ["test_traces", "test_exit", "test_phases", "test_life", "test_waiting", "test_service", "test_readme"]
ON_CLUSTER = ["test_traces", "test_cluster"]
COUNTS = re.compile(r"^tests: (\d+) passed, (\d+) failed, (\d+) skipped$", re.M)


def main():
    names = sys.argv[1:] or (ON_CLUSTER if CLUSTER else EMBEDDED)
    passed = failed = skipped = 0
    if not sys.argv[1:] or "test_specs" in names:
        names = [name for name in names if name != "test_specs"]
        for output in test_specs.run_all():
            print(output, flush=True)
            counts = COUNTS.findall(output)
            p, f, s = map(int, counts[-1]) if counts else (0, 1, 0)
            passed, failed, skipped = passed + p, failed + f, skipped + s
    if names:
        result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(
            unittest.defaultTestLoader.loadTestsFromNames(names)
        )
        # Of a test with several parts that failed there are several entries.
        bad = len({getattr(test, "test_case", test).id() for test, _ in result.failures + result.errors})
        passed += result.testsRun - bad - len(result.skipped)
        failed += bad
        skipped += len(result.skipped)
    print("tests: %d passed, %d failed, %d skipped" % (passed, failed, skipped))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
