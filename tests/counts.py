"""Counts test cases in the output of ctest and busted.

    counts.py junit FILE             what ctest --output-junit wrote; cmocka's cases are counted inside
    counts.py busted LOG STATUS      what busted printed, and how it exited

Prints one line: tests: N passed, N failed, N skipped. A program that died before it could sum up counts
the cases that it had finished, and one failure.
"""

import re
import sys
import xml.etree.ElementTree

OWN = re.compile(r"^tests: (\d+) passed, (\d+) failed, (\d+) skipped$", re.M)


def count_program(output, failed):
    """Counts of one test program by its output; `failed` is ctest's verdict on it."""
    own = OWN.findall(output)
    if own:
        counts = [int(n) for n in own[-1]]
    elif "[==========]" in output:
        counts = [
            len(re.findall(r"\[       OK \]", output)),
            sum(int(n) for n in re.findall(r"\[  FAILED  \] (?:\S+: )?(\d+) test\(s\), listed below", output)),
            sum(int(n) for n in re.findall(r"\[  SKIPPED \] (?:\S+: )?(\d+) test\(s\), listed below", output)),
        ]
    else:
        counts = [0 if failed else 1, 0, 0]
    if failed and counts[1] == 0:
        counts[1] = 1
    return counts


def count_junit(path):
    total = [0, 0, 0]
    for case in xml.etree.ElementTree.parse(path).getroot().iter("testcase"):
        status = case.get("status")
        output = case.findtext("system-out") or ""
        if status == "disabled":
            counts = [0, 0, 1]
        else:
            # "run" is the only status of a test that ran and passed; a test that was not run has failed.
            counts = count_program(output, status != "run")
        total = [a + b for a, b in zip(total, counts)]
    return total


def count_busted(text, status):
    lines = re.findall(r"(\d+) success\w* / (\d+) failures? / (\d+) errors? / (\d+) pending", text)
    if not lines:
        return [0, 1, 0]
    passed, failures, errors, pending = (int(n) for n in lines[-1])
    failed = failures + errors
    if status != 0 and failed == 0:
        failed = 1
    return [passed, failed, pending]


def main():
    if sys.argv[1] == "junit":
        counts = count_junit(sys.argv[2])
    else:
        with open(sys.argv[2], encoding="utf-8", errors="replace") as file:
            counts = count_busted(file.read(), int(sys.argv[3]))
    if sum(counts) == 0:
        counts[1] = 1
    print("tests: %d passed, %d failed, %d skipped" % tuple(counts))


if __name__ == "__main__":
    main()
