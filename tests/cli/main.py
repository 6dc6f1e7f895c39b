"""Runs the tests of the program `tito`.

    main.py BUILD [--cluster] [NAME...]     only the named tests
"""

import argparse
import os
import sys
import time
import traceback

import dashboards
import enduring
import golden
import looking
import moving
import prompting
import serving
import working
from support import Failed, Place


def run(name, test, build, cluster):
    place = Place(build, cluster)
    began = time.monotonic()
    problem = None
    try:
        test(place)
    except Failed as failed:
        problem = str(failed)
    except Exception:  # what breaks a test is a failure of it
        problem = traceback.format_exc()
    finally:
        for process in place.processes:
            process.kill()
        if problem:
            for process in place.processes:
                print("---- %s\n%s" % (" ".join(process.process.args[1:]), process.text()[-2000:]))
        place.end()
    print("%-5s %s (%.1f s)" % ("FAIL" if problem else "ok", name, time.monotonic() - began), flush=True)
    if problem:
        print(problem, flush=True)
    return problem is None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--module", help="only the tests of this file")
    parser.add_argument("--cluster", action="store_true", help="on the TiKV of TITO_TEST_PD")
    options = parser.parse_intermixed_args()
    tests = working.ON_CLUSTER if options.cluster else working.TESTS + serving.TESTS + looking.EMBEDDED + prompting.EMBEDDED
    tests = tests + looking.TESTS + prompting.TESTS
    tests = tests + (looking.ON_CLUSTER if options.cluster else [])
    tests = tests + moving.TESTS + (moving.ON_CLUSTER if options.cluster else moving.EMBEDDED)
    tests = tests + golden.TESTS + enduring.TESTS + ([] if options.cluster else enduring.EMBEDDED)
    tests = tests + dashboards.TESTS + ([] if options.cluster else dashboards.EMBEDDED)
    if options.cluster and os.environ.get("TITO_TEST_CONTROL"):
        tests = tests + working.ON_MOCK + dashboards.ON_MOCK
    cluster = os.environ["TITO_TEST_PD"] if options.cluster else None
    chosen = [test for test in tests if (not options.names or test.__name__ in options.names)
              and options.module in (None, test.__module__)]
    where = "on TiKV: " if options.cluster else ""
    passed = sum(run(where + test.__name__.replace("_", " "), test, os.path.abspath(options.build), cluster)
                 for test in chosen)
    print("tests: %d passed, %d failed, 0 skipped" % (passed, len(chosen) - passed))
    return 0 if passed == len(chosen) and chosen else 1


if __name__ == "__main__":
    sys.exit(main())
