"""Fixtures: databases on each engine there is, programs in processes of their own.

TITO_TEST_PD (host:port of a PD, as tests/cluster/with sets it) adds TiKV; each test there has a namespace of its own, which
begins with TITO_TEST_NAMESPACE.
"""

import os
import subprocess
import sys
import textwrap
import uuid

import pytest
import tito

SCALE = float(os.environ.get("TITO_TEST_SCALE", "1"))
ENGINES = ["memory", "rocksdb"] + (["tikv"] if os.environ.get("TITO_TEST_PD") else [])


def scaled(count, least=1):
    return max(least, int(count * SCALE))


def place_of(engine, folder):
    """The arguments of connect for a database of its own."""
    if engine == "memory":
        return "memory:", {}
    if engine == "rocksdb":
        return str(folder / "data"), {"durability": "buffered"}
    return "tikv://" + os.environ["TITO_TEST_PD"], {"namespace": os.environ.get("TITO_TEST_NAMESPACE", "titotest.python.") + uuid.uuid4().hex[:12]}


@pytest.fixture(params=ENGINES)
def place(request, tmp_path):
    """(target, options) of connect, on each engine."""
    return place_of(request.param, tmp_path)


@pytest.fixture
def db(place):
    target, options = place
    with tito.connect(target, **options) as database:
        yield database


@pytest.fixture
def memory():
    with tito.connect("memory:") as database:
        yield database


@pytest.fixture
def run_program(tmp_path):
    """Runs a program's text in a process of its own."""

    def run(text, *arguments, timeout=120, check=True, **options):
        path = tmp_path / "program.py"
        path.write_text(textwrap.dedent(text))
        result = subprocess.run(
            [sys.executable, "-X", "dev", "-W", "ignore", str(path), *arguments],
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=tmp_path,
            **options,
        )
        if check:
            assert result.returncode == 0, f"exit {result.returncode}\n{result.stdout}\n{result.stderr}"
        return result

    return run
