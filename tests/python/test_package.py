"""The sdist and the wheel: built from the checkout, installed in fresh environments, under each Python there is."""

import glob
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SOURCE = os.path.join(ROOT, "bindings", "python")
BUILD = os.environ.get("TITO_BUILD", os.path.join(ROOT, "build", "release"))
LIBRARY = os.path.join(BUILD, "abi")
PROGRAM = """
import tito, sys, asyncio, tito.aio
with tito.connect("memory:") as db:
    assert db.model({"table": "t"}).build({"id": "1"}) == {"id": "1"}
class Tag(tito.Document, table="tag"):
    name: str
async def main():
    async with await tito.aio.connect("memory:") as db:
        await db.model(Tag).build(Tag("1", "n"))
        assert await db.model(Tag).find_by_id("1") == Tag("1", "n")
asyncio.run(main())
print(tito.version, sys.version_info[:2], tito.__file__)
"""


def run(*command, **changes):
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "TITO_LIBRARY")}
    result = subprocess.run(command, capture_output=True, text=True, timeout=600, env={**environment, **changes})
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """A folder with the sdist (of the checkout) and the wheel (of the sdist)."""
    folder = tmp_path_factory.mktemp("dist")
    copy = folder / "checkout"
    ignored = shutil.ignore_patterns("build", "*.egg-info", "__pycache__", "*.so")
    shutil.copytree(SOURCE, copy / "bindings" / "python", ignore=ignored)
    (copy / "abi").mkdir()
    for path in glob.glob(os.path.join(ROOT, "abi", "tito*.h")):
        shutil.copy(path, copy / "abi")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder / "out"), str(copy / "bindings" / "python"),
        TITO_LIBRARY_DIR=LIBRARY)  # fmt: skip
    return folder / "out"


def test_sdist(dist):
    (path,) = glob.glob(str(dist / "*.tar.gz"))
    with tarfile.open(path) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    assert {"include/tito.h", "include/tito_queue.h", "build_tito.py", "setup.py", "pyproject.toml", "README.md", "src/tito/py.typed"} <= names
    assert "src/tito/_tito.pyi" in names and not any(name.endswith(".so") for name in names)


def test_wheel(dist):
    (path,) = glob.glob(str(dist / "*.whl"))
    assert re.search(r"-cp39-abi3-\w+\.whl$", path)
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        (name,) = [name for name in names if name.endswith(".so")]
        archive.extract(name, dist / "so")
    assert name == "tito/_tito.abi3.so" and "tito/py.typed" in names and "tito/_tito.pyi" in names
    dynamic = run("readelf", "-d", str(dist / "so" / name))
    assert "libtito.so.1" in dynamic and LIBRARY not in dynamic  # pyenv's Python adds a path of its own
    assert "libpython" not in dynamic and "rocksdb" not in dynamic


def pythons():
    """The interpreters of this machine from 3.9 on, one for each version."""
    found = {}
    candidates = [sys.executable, "/usr/bin/python3", *(shutil.which(f"python3.{n}") or "" for n in range(9, 15))]
    candidates += glob.glob(os.path.expanduser("~/.pyenv/versions/3.*/bin/python"))
    for path in filter(os.path.exists, candidates):
        asked = "import sys; print(sys.version_info[0] * 100 + sys.version_info[1])"
        told = subprocess.run([path, "-c", asked], capture_output=True, text=True)
        if told.returncode == 0 and int(told.stdout) >= 309:
            found.setdefault(int(told.stdout), path)
    return [found[version] for version in sorted(found)]


@pytest.mark.parametrize("python", pythons())
def test_wheel_in_a_fresh_environment(dist, tmp_path, python):
    """One wheel for all versions: abi3."""
    (wheel,) = glob.glob(str(dist / "*.whl"))
    run(python, "-m", "venv", str(tmp_path / "venv"))
    inside = str(tmp_path / "venv" / "bin" / "python")
    run(inside, "-m", "pip", "--disable-pip-version-check", "install", "-q", wheel)
    (tmp_path / "program.py").write_text(PROGRAM)
    for changes in ({"TITO_LIBRARY": os.path.join(LIBRARY, "libtito.so.1")}, {"LD_LIBRARY_PATH": LIBRARY}):
        assert str(tmp_path / "venv") in run(inside, str(tmp_path / "program.py"), **changes)


def test_sdist_in_a_fresh_environment(dist, tmp_path):
    """pip builds the sdist, where no checkout is, against the library alone."""
    (sdist,) = glob.glob(str(dist / "*.tar.gz"))
    run(sys.executable, "-m", "venv", str(tmp_path / "venv"))
    inside = str(tmp_path / "venv" / "bin" / "python")
    pip = (inside, "-m", "pip", "--disable-pip-version-check", "install", "-q")
    run(*pip, sdist, TITO_LIBRARY_DIR=LIBRARY)
    run(inside, "-c", PROGRAM, TITO_LIBRARY=os.path.join(LIBRARY, "libtito.so.1"))


def test_without_the_library(dist, tmp_path):
    """What is missing is said."""
    (wheel,) = glob.glob(str(dist / "*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    result = subprocess.run(
        [sys.executable, "-c", "import tito"],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(tmp_path / "site"), "PATH": os.environ["PATH"]},
    )
    if result.returncode == 0:
        pytest.skip("libtito is installed on this machine")
    assert "TITO_LIBRARY" in result.stderr and "ImportError" in result.stderr
