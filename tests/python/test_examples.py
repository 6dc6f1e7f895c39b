"""The examples print what their twins in Lua print; the web service answers; all of it passes mypy --strict."""

import glob
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
EXAMPLES = os.path.join(ROOT, "examples", "python")
sys.path.insert(0, os.path.join(ROOT, "tests", "examples"))
import compare  # noqa: E402


@pytest.mark.parametrize("name", ["crud", "blog", "queue_fifo"])
@pytest.mark.parametrize("place", ["memory:", "data"])
def test_output(name, place, tmp_path):
    target = place if place == "memory:" else str(tmp_path / place)
    path = os.path.join(EXAMPLES, name + ".py")
    result = subprocess.run([sys.executable, path, "--db", target], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    with open(os.path.join(ROOT, "tests", "examples", "expected", name + ".txt"), encoding="utf-8") as file:
        problem = compare.difference(compare.lines_of(file.read()), compare.lines_of(result.stdout))
    assert problem is None, problem


def call(url, body=None):
    try:
        with urllib.request.urlopen(url, data=None if body is None else json.dumps(body).encode(), timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_service(tmp_path):
    command = [sys.executable, os.path.join(EXAMPLES, "service.py"), "--db", str(tmp_path / "data"), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        url = server.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/notes", url)
        notes = [call(url, {"text": f"n{i}", "topic": "a" if i % 2 else "b"}) for i in range(10)]
        assert all(status == 201 for status, _ in notes)
        status, page = call(url + "?topic=a&limit=3")
        assert status == 200 and [note["text"] for note in page["items"]] == ["n9", "n7", "n5"]
        status, page = call(url + f"?topic=a&limit=3&cursor={page['cursor']}")
        assert [note["text"] for note in page["items"]] == ["n3", "n1"] and page["cursor"] is None
        assert call(f"{url}/{notes[0][1]['id']}")[1]["text"] == "n0"
        assert call(url + "/none") == (404, {"error": "not_found"})
        assert call(url, {"topic": "a"})[0] == 400 and call(url + "?cursor=forged")[0] == 400
        while call(url[: -len("/notes")] + "/count")[1]["n"] < 10:
            pass
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0


def test_readme(tmp_path):
    """The first program of the binding's README, as it stands there, until SIGTERM."""
    with open(os.path.join(ROOT, "bindings", "python", "README.md"), encoding="utf-8") as file:
        program = re.search(r"```python\n(.*?)```", file.read(), re.DOTALL).group(1)
    (tmp_path / "first.py").write_text(program, encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, "-u", "first.py"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert [process.stdout.readline() for _ in range(2)] == ["Intro\n", "INSERT Intro\n"]
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=60)[1] == "" and process.returncode == 0


@pytest.mark.skipif(sys.version_info < (3, 10), reason="mypy is no longer made for this Python")
def test_types(tmp_path):
    """mypy --strict, on the package as it is installed, on the examples and on what must be found wrong."""
    import tito

    package = os.path.dirname(tito.__file__)
    assert os.path.exists(os.path.join(package, "py.typed"))
    shutil.copytree(package, tmp_path / "src" / "tito", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    environment = {**os.environ, "MYPYPATH": str(tmp_path / "src")}

    def mypy(*paths):
        command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), *map(str, paths)]
        return subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment)

    result = mypy(tmp_path / "src" / "tito")
    assert result.returncode == 0, result.stdout
    for path in sorted(glob.glob(os.path.join(EXAMPLES, "*.py"))):
        result = mypy(path)
        assert result.returncode == 0, result.stdout
    wrong = tmp_path / "wrong.py"
    wrong.write_text("""
import tito, tito.aio
class Tag(tito.Document, table="tag"):
    name: str
tags = tito.connect("memory:").model(Tag)
tags.build("text")
tags.build(Tag("1"))
found = tags.find_by_id("1")
found.name
tags.query_by_index("i").first().nope
tags.find_by_id(5)
""")
    lines = {int(line.split(":")[1]) for line in mypy(wrong).stdout.splitlines() if ": error:" in line}
    assert lines == {6, 7, 9, 10, 11}
