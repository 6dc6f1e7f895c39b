"""Names the tests of a build directory that need the mock cluster, joined by "|": needs_mock.py BUILD [own].

With `own`, for a cluster of the user's: only those that can not do without the mock's control port. Tests named *_tikv and
the histories run on any cluster.
"""

import json
import re
import subprocess
import sys

shown = subprocess.run(
    ["ctest", "--test-dir", sys.argv[1], "--show-only=json-v1"], capture_output=True, text=True, check=True
)
names = []
for test in json.loads(shown.stdout)["tests"]:
    properties = {one["name"]: one["value"] for one in test["properties"]}
    on_any = re.fullmatch(r".*_tikv|histories", test["name"]) and "own" in sys.argv[2:]
    if "mock_cluster" in properties.get("FIXTURES_REQUIRED", []) and not on_any:
        names.append(test["name"])
print("|".join(names))
