"""Every function of the library is used by each binding, or named here with why not; every function of a binding is in its
README."""

import pathlib
import re

import pytest
import tito

ROOT = pathlib.Path(__file__).resolve().parents[2]

# What only programs in C need: their callbacks, calls that wait, what the parts of an error or a page tell otherwise.
FOR_C = {
    "tito_connect", "tito_error_status", "tito_future_then", "tito_model_set_host", "tito_page_version", "tito_transact",
    "tito_worker_start", "tito_write_get_operation",
}  # fmt: skip
BINDINGS = {
    "lua": ("*.[ch]", FOR_C - {"tito_worker_start"} | {
        # It waits in the calling thread.
        "tito_cq_accept", "tito_cq_drain", "tito_cq_fd", "tito_cq_free", "tito_cq_listen", "tito_cq_new", "tito_db_close_watch",
        "tito_future_start", "tito_future_watch", "tito_worker_begin", "tito_worker_watch",
    }),
    "python": ("src/tito/*.py", FOR_C | {
        # JSON is Python's; its loops watch a descriptor; a write is made for each call.
        "tito_cq_accept", "tito_cq_listen", "tito_future_start", "tito_json_free", "tito_json_new", "tito_json_next",
        "tito_json_open", "tito_json_write_double", "tito_status_name", "tito_txn_is_open", "tito_worker_watch", "tito_write_reset",
    }),
    "resty": ("resty/tito/*.lua", FOR_C | {
        # nginx can only connect to a socket; log lines come from other threads, which may not call Lua.
        "tito_cq_fd", "tito_db_set_log", "tito_options_set_int",
    }),
}  # fmt: skip


def functions():
    text = "".join(path.read_text() for path in (ROOT / "abi").glob("tito*.h"))
    return set(re.findall(r"\b(tito_[a-z0-9_]+)\(", re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)))


@pytest.mark.parametrize("binding", BINDINGS)
def test_every_function_is_bound(binding):
    pattern, without = BINDINGS[binding]
    text = "".join(path.read_text() for path in (ROOT / "bindings" / binding).glob(pattern))
    used = set(re.findall(r"\btito_[a-z0-9_]+\b", text))
    assert functions() - used == without


def test_every_function_is_told():
    readme = (ROOT / "bindings/python/README.md").read_text()
    for kind in (tito.Database, tito.Model, tito.Query, tito.Queue, tito.Transaction, tito.Worker, tito.Event, tito.Page):
        public = {name for base in kind.__mro__ if base.__module__.startswith("tito.") for name in vars(base) if name[0] != "_"}
        for name in public:
            assert re.search(r"`[^`]*\b%s\b" % name.replace("_with_options", ""), readme), f"{kind.__name__}.{name}"
    classes = {"Database", "Model", "Query", "Queue", "Worker", "EventSpec", "Page"}  # their objects have rows of their own
    for name in set(tito.__all__) - classes:
        assert re.search(r"\b%s\b" % name, readme), name
    readme = (ROOT / "lua/README.md").read_text()
    for path in (ROOT / "lua/tito").glob("*.lua"):
        for name in re.findall(r"^function [A-Z]\w*:([a-z]\w*)", path.read_text(), re.MULTILINE):
            plain = name.replace("_with_options", "")
            assert re.search(r"`[^`]*\b%s\b" % plain, readme) or name == "open", f"{path.name}: {name}"
