"""Log lines of the library's, given to Python.

    any thread of the library ── takes Python's lock ──> the function that was given to connect, or the Logger

The library knows a number alone, so that a line that comes when its database is gone already finds nothing.

INVARIANTS
 1. While a log function runs, its thread can not call tito.
"""

from __future__ import annotations

import itertools
import logging
import weakref
from typing import Any, Callable, Dict

from tito._lib import ffi, lib
from tito._ops import local
from tito.errors import InvalidArgument, WrongType

Sink = Callable[[str, str], Any]

LEVELS = ("error", "warn", "info", "debug")
_LOGGING = {"error": logging.ERROR, "warn": logging.WARNING, "info": logging.INFO, "debug": logging.DEBUG}

_sinks: Dict[int, Sink] = {}
_numbers = itertools.count(1)


def _line(context: Any, level: int, line: Any) -> None:
    sink = _sinks.get(int(ffi.cast("uintptr_t", context)))
    if sink is None:
        return
    before, local.in_log = local.in_log, True
    try:
        sink(LEVELS[level], ffi.string(line).decode("utf-8", "replace"))
    finally:
        local.in_log = before


# What a function raises is written to standard error.
ffi.def_extern(name="tito_python_log")(_line)


def sink_of(log: Any) -> Sink:
    """The function behind what connect was given."""
    if isinstance(log, (logging.Logger, logging.LoggerAdapter)):
        return lambda level, line: log.log(_LOGGING[level], "%s", line)
    if not callable(log):
        raise WrongType("connect: log must be a function of level and line, or a logging.Logger")
    return log  # type: ignore[no-any-return]


def attach(owner: Any, pointer: Any, sink: Sink, level: Any) -> None:
    """Has the lines of a database that is not open yet go to sink, as long as owner is there."""
    level = "warn" if level is None else level
    if level not in LEVELS:
        raise InvalidArgument(f"connect: log_level must be one of {', '.join(LEVELS)}")
    number = next(_numbers)
    _sinks[number] = sink
    weakref.finalize(owner, _sinks.pop, number, None).atexit = False
    status = lib.tito_db_set_log(pointer, lib.tito_python_log, ffi.cast("void *", number), LEVELS.index(level))
    if status != lib.TITO_OK:
        raise InvalidArgument("connect: the log can not be set")
