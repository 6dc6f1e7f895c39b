"""Each scenario of tests/traces gives the same bytes in Python and in Lua 5.4, and those that its file says."""

import glob
import json
import os
import shutil
import subprocess
import sys

import pytest
from conftest import ENGINES, place_of

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TRACES = os.path.join(ROOT, "tests", "traces")
SCENARIOS = sorted(glob.glob(os.path.join(TRACES, "*.json")))


def lua_environment():
    """How lua5.4 finds the module that the build made; None where there is none."""
    build = os.environ.get("TITO_BUILD", os.path.join(ROOT, "build", "release"))
    folder = os.path.join(build, "bindings", "lua")
    if shutil.which("lua5.4") is None or not os.path.exists(os.path.join(folder, "tito", "core.so")):
        return None
    return {
        **os.environ,
        "LUA_PATH": os.path.join(ROOT, "lua", "?.lua") + ";;",
        "LUA_CPATH": os.path.join(folder, "?.so") + ";;",
        "LD_LIBRARY_PATH": os.path.join(build, "abi"),
    }


def run(command, **options):
    result = subprocess.run(command, capture_output=True, timeout=120, **options)
    assert result.returncode == 0, result.stderr.decode()
    return result.stdout


def place(engine, folder):
    """The runners' arguments for a database of its own."""
    target, options = place_of(engine, folder)
    return [target, options["namespace"]] if engine == "tikv" else [target]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("path", SCENARIOS, ids=os.path.basename)
def test_trace(path, engine, tmp_path):
    with open(path, encoding="utf-8") as file:
        scenario = json.load(file)
    expected = "".join(line + "\n" for line in scenario["trace"]).encode()
    assert len(scenario["trace"]) == len(scenario["steps"]) > 0
    (tmp_path / "python").mkdir()
    where = place(engine, tmp_path / "python")
    assert run([sys.executable, os.path.join(TRACES, "run.py"), path, *where]) == expected
    environment = lua_environment()
    if environment is None:
        pytest.fail("there is no Lua module in the build directory (TITO_BUILD)")
    (tmp_path / "lua").mkdir()
    where = place(engine, tmp_path / "lua")
    assert run(["lua5.4", os.path.join(TRACES, "run.lua"), path, *where], env=environment) == expected
