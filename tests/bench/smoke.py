"""Runs tito-bench with few operations and checks what it reports: every workload by every engine that has it.

    smoke.py BUILD         the build directory with tests/bench/tito-bench in it
"""

import json
import os
import subprocess
import sys

ALL_LEVELS = (1, 16, 64)
EXPECTED = {
    ("c", "insert"): ALL_LEVELS,
    ("c", "publish"): ALL_LEVELS,
    ("c", "find_by_id"): ALL_LEVELS,
    ("c", "query_index+hydrate10"): ALL_LEVELS,
    ("c", "drain"): (1,),
    ("c", "empty_pull"): (1,),
    ("c", "pickup"): (1,),
    ("c", "open"): (1,),
    ("raw", "insert"): ALL_LEVELS,
    ("raw", "publish"): ALL_LEVELS,
    ("raw", "find_by_id"): ALL_LEVELS,
    ("raw", "query_index+hydrate10"): ALL_LEVELS,
    ("raw", "drain"): (1,),
    ("raw", "open"): (1,),
    ("lua", "insert"): (1,),
    ("lua", "find_by_id"): (1,),
    ("lua", "query_index+hydrate10"): (1,),
    ("lua", "publish"): (1,),
    ("lua", "drain"): (1,),
    ("lua", "pickup"): (1,),
}


QUEUE = (
    ("c", "publish"),
    ("raw", "publish"),
    ("c", "publish_100"),
    ("raw", "publish_100"),
    ("c", "drain_hot_keys"),
    ("many", "drain_hot_keys"),
    ("c", "drain_no_history"),
    ("c", "empty_pull_aged"),
    ("fresh", "empty_pull_aged"),
    ("c", "first_event_aged"),
    ("fresh", "first_event_aged"),
)


class Report:
    passed = 0
    failed = 0

    def check(self, name, fine):
        self.passed += bool(fine)
        self.failed += not fine
        if not fine:
            print("FAIL  " + name)


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def queue_run(report, bench):
    result = run(bench, "--json", "--queue", "2000")
    report.check("the queue's run", result.returncode == 0)
    if result.returncode != 0:
        print(result.stderr[-4000:])
        return
    data = json.loads(result.stdout)
    found = {(r["engine"], r["workload"]): r for r in data["results"]}
    for one in QUEUE:
        report.check("%s %s of the queue's run" % one, one in found and found[one]["ops_per_s"] > 0)
    report.check("it measures every goal of the queue", all(goal["measured"] is not None for goal in data["goals"]))


def main():
    bench = os.path.join(sys.argv[1], "tests", "bench", "tito-bench")
    small = ["--posts", "2000", "--ops", "400", "--events", "500"]
    report = Report()

    result = run(bench, "--json", *small)
    report.check("it runs", result.returncode == 0)
    if result.returncode == 0:
        data = json.loads(result.stdout)
        found = {(r["engine"], r["workload"], r["callers"]): r for r in data["results"]}
        for (engine, workload), levels in EXPECTED.items():
            for callers in levels:
                row = found.get((engine, workload, callers))
                report.check(
                    "%s %s of %d callers" % (engine, workload, callers),
                    row and row["ops_per_s"] > 0 and row["rss_mib"] > 0,
                )
        report.check("it measures every goal", all(goal["measured"] is not None for goal in data["goals"]))
    else:
        print(result.stderr[-4000:])

    queue_run(report, bench)
    table = run(bench, "--engines", "c", *small)
    report.check("the table", table.returncode == 0 and "of raw" in table.stdout)
    print(table.stdout)
    report.check("help", "--rounds" in run(bench, "--help").stdout)
    report.check("a wrong option", run(bench, "--nothing").returncode == 2)
    report.check("a wrong number", run(bench, "--posts", "0").returncode == 1)
    print("tests: %d passed, %d failed, 0 skipped" % (report.passed, report.failed))
    return report.failed > 0


sys.exit(main())
