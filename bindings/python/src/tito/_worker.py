"""What the blocking and the awaited worker share: options, handlers, taking events, stopping.

The library prefetches, orders, times out, acknowledges and renews on its own threads; what is here runs handlers.
"""

from __future__ import annotations

import inspect
import time
import warnings
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, TypeVar

from tito._core import BaseDatabase
from tito._lib import ffi, lib
from tito._ops import Pending, allow, flag, nothing, options_handle
from tito.errors import AlreadyExists, InvalidArgument, Timeout, WrongType, check, error_slot
from tito.event import Batch, Event, event_of
from tito.values import Duration, duration_us, options_of, text_bytes

OPTIONS = {
    "concurrency": "int",
    "partition_range": "ours",
    "is_leader": "ours",
    "retry": "ours",
    "handler_timeout": "seconds",
    "drain_timeout": "seconds",
    "signals": "ours",
    "leased": "bool",
    "lease": "seconds",
    "gc": "ours",
    "batch": "int",
}
HANDLER_OPTIONS = {
    "retry": "ours",
    "handler_timeout": "seconds",
    "concurrency": "int",
    "key_concurrency": "int",
    "rate": "ours",
    "batch": "int",
}
RETRY = {"max_retries": "int", "base": "seconds", "factor": "ours", "cap": "seconds", "jitter": "ours"}
GC = {"retention": "seconds"}
DRAIN_TIMEOUT_S = 30.0
LEADER_INTERVAL_S = 1.0

F = TypeVar("F", bound=Callable[..., Any])


def _number_text(value: Any, what: str) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise WrongType(f"{what} must be a number, not {type(value).__name__}")
    return f"{value:.6g}"


def _add_retry(out: Dict[str, Any], retry: Any) -> None:
    """Adds the policy { max_retries, base, factor, cap }."""
    if retry is None:
        return
    if not isinstance(retry, Mapping):
        raise WrongType(f"retry must be a dict, not {type(retry).__name__}")
    policy = options_of(retry, RETRY, "retry")
    for name, option in (("max_retries", "max_retries"), ("base_us", "retry_base_us"), ("cap_us", "retry_cap_us")):
        if name in policy:
            out[option] = policy[name]
    for name in ("factor", "jitter"):
        if retry.get(name) is not None:
            out["retry_" + name] = _number_text(retry[name], f"retry: {name}")


def _add_range(out: Dict[str, Any], given: Any) -> None:
    if given is None:
        return
    if not isinstance(given, Sequence) or len(given) != 2 or not all(type(end) is int for end in given):
        raise WrongType("worker: partition_range is a pair of ints, the second excluded")
    first, end = given
    if not 0 <= first < end <= 9999:
        raise InvalidArgument("worker: partition_range is (from, to): 0 <= from < to <= 9999")
    out["partition_from"], out["partition_to"] = first, end


def _arguments_of(handler: Callable[..., Any]) -> int:
    """How many arguments a handler takes: the event, or the event and its transaction."""
    try:
        signature = inspect.signature(handler)
    except (TypeError, ValueError):
        return 2
    for count in (2, 1):
        try:
            signature.bind(*[None] * count)
        except TypeError:
            continue
        return count
    raise WrongType("on: a handler takes (event, tx) or (event)")


class Handler:
    """A program's handler; call gives it what it takes."""

    def __init__(self, function: Callable[..., Any]) -> None:
        if not callable(function):
            raise WrongType(f"on: the handler must be callable, not {type(function).__name__}")
        self._function = function
        self._count = _arguments_of(function)

    def call(self, event: Event, tx: Any) -> Any:
        given = event.events if isinstance(event, Batch) else event
        return self._function(given, tx) if self._count == 2 else self._function(given)


class BaseWorker:
    """A worker. Options: concurrency (1), partition_range (from, to), is_leader (a function, asked each second), retry
    {"max_retries", "base", "factor", "cap"}, handler_timeout, drain_timeout (30 s), signals (True), batch (of the types
    that say nothing else)."""

    def __init__(self, database: BaseDatabase, options: Mapping[str, Any]) -> None:
        allow("worker")
        out = options_of(options, OPTIONS, "worker")
        _add_retry(out, options.get("retry"))
        _add_range(out, options.get("partition_range"))
        if options.get("gc") is not None:
            out.update({"gc_" + name: us for name, us in options_of(options["gc"], GC, "worker: gc").items()})
        self._is_leader = options.get("is_leader")
        if self._is_leader is not None:
            if not callable(self._is_leader):
                raise WrongType("worker: is_leader must be a function")
            out["leader"] = False
        self._concurrency: int = out.get("concurrency", 1)
        self._drain_us: int = out.get("drain_timeout_us", int(DRAIN_TIMEOUT_S * 1e6))
        self._signals = options.get("signals") is not False
        self._database = database
        self._handlers: Dict[str, Handler] = {}
        self._started = False
        self._running = False
        self._stop_at: Optional[float] = None
        slot, made = error_slot(), ffi.new("tito_worker_t **")
        check(lib.tito_worker_new(database._handle, options_handle(out), made, slot), slot)
        self._handle = ffi.gc(made[0], lib.tito_worker_free)
        self._events = ffi.new("tito_event_t *[1]")

    def _on(self, type: str, handler: Callable[..., Any], options: Mapping[str, Any]) -> None:
        allow("on")
        name = text_bytes(type, "on: the type")
        if type in self._handlers:
            raise AlreadyExists(f"on: the type '{type}' has a handler already")
        made = Handler(handler)
        out = options_of(options, HANDLER_OPTIONS, "on")
        _add_retry(out, options.get("retry"))
        if options.get("rate") is not None:
            out["rate"] = _number_text(options["rate"], "on: rate")
        slot = error_slot()
        null = ffi.NULL
        check(lib.tito_worker_on(self._handle, name, len(name), options_handle(out), null, null, slot), slot)
        self._handlers[type] = made

    def stop(self, drain_timeout: Optional[Duration] = None) -> None:
        """Takes no new events; what has started may end within drain_timeout. Does not wait. Any thread."""
        drain_us = self._drain_us if drain_timeout is None else duration_us(drain_timeout, "stop: the drain timeout")
        if drain_us < 0:
            raise InvalidArgument("stop: the drain timeout must not be negative")
        at = time.monotonic() + drain_us / 1e6
        if self._stop_at is None or at < self._stop_at:
            self._stop_at = at
        lib.tito_worker_stop(self._handle, drain_us)

    def _is_over(self) -> bool:
        """Whether the time to drain has passed."""
        return self._stop_at is not None and time.monotonic() >= self._stop_at

    # ---- For the loops

    def _begin(self) -> Pending[None]:
        return Pending(lib.tito_worker_begin(self._handle), nothing, patient=True)

    def _join(self) -> Pending[bool]:
        return Pending(lib.tito_worker_join(self._handle), flag, patient=True)

    @staticmethod
    def _drained(drained: bool) -> None:
        if not drained:
            raise Timeout("the worker stopped before every handler had ended: the time to drain has passed")

    def _take(self, timeout_us: int, places: Any) -> Optional[Event]:
        """The next event, or None: there is none in time. Raises Closed when there will be none. places: an array that
        is the calling thread's own."""
        slot, count = error_slot(), ffi.new("size_t *")
        check(lib.tito_worker_take(self._handle, places, 1, timeout_us, count, slot), slot)
        return event_of(ffi.gc(places[0], lib.tito_event_free)) if count[0] else None

    def _set_leader(self, leads: Any) -> None:
        lib.tito_worker_set_leader(self._handle, 1 if leads else 0)

    def _leader_failed(self, error: BaseException) -> None:
        warnings.warn(f"tito: is_leader failed, so this worker rests: {error!r}", RuntimeWarning, stacklevel=2)
        self._set_leader(False)

    def _handler_of(self, event: Event) -> Optional[Handler]:
        return self._handlers.get(event.type)


def outcome_of(result: Any) -> Optional[str]:
    """What a handler's result means: None, it succeeded; else why not."""
    return "the handler returned False" if result is False else None


def no_handler(event: Event) -> str:
    return f"there is no handler for events of type '{event.type}'"


Fatal = List[BaseException]
