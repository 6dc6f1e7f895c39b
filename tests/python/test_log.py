"""Where the library's lines go: connect's option log."""

import json
import logging

import pytest
import tito

# A file may not grow, so a commit fails and the library says so. Python ignores the signal of it.
PROGRAM = """
import json, logging, resource, sys
import tito

lines, refused = [], []

def line(level, text):
    lines.append((level, text))
    try:
        db.now()
    except tito.InvalidState as error:
        refused.append(str(error))
    if sys.argv[2] == "raises":
        raise RuntimeError("of a log function")

class Kept(logging.Handler):
    def emit(self, record):
        lines.append((record.levelname.lower(), record.getMessage()))

logger = logging.getLogger("test")
logger.addHandler(Kept())
logger.propagate = False
log = logger if sys.argv[2] == "logger" else line
db = tito.connect(sys.argv[1], log=log)
things = db.model({"table": "thing"})
resource.setrlimit(resource.RLIMIT_FSIZE, (200000, 200000))
failed = None
for i in range(200):
    try:
        things.save({"id": str(i), "filler": "x" * 20000})
    except tito.Error as error:
        failed = error.code
        break
print(json.dumps({"lines": lines, "refused": refused, "failed": failed}))
sys.stdout.flush()
"""


@pytest.mark.parametrize("how", ["function", "logger", "raises"])
def test_lines(run_program, tmp_path, how):
    result = run_program(PROGRAM, str(tmp_path / "data"), how)
    seen = json.loads(result.stdout)
    assert seen["failed"] in ("io", "outcome_unknown")
    assert seen["lines"] and all(level == "error" for level, _ in seen["lines"])
    if how != "logger":
        assert seen["refused"] == ["invalid_state: now: a log function can not call tito"] * len(seen["lines"])
    assert ("of a log function" in result.stderr) == (how == "raises")


def test_what_is_refused():
    with pytest.raises(tito.WrongType):
        tito.connect("memory:", log="stderr")
    with pytest.raises(tito.InvalidArgument):
        tito.connect("memory:", log=print, log_level="loud")


def test_nothing_to_say():
    lines = []
    with tito.connect("memory:", log=lambda level, line: lines.append(line), log_level="error") as db:
        db.model({"table": "thing"}).save({"id": "1"})
    with tito.connect("memory:", log=logging.getLogger("quiet")) as db:
        db.now()
    assert lines == []
