"""Queues: events of one type, published here or by models, kept in order by key."""

from __future__ import annotations

from typing import Any, Dict, Mapping, Optional

from tito._core import BaseDatabase, BaseTx, Page, pointer_of, read_page
from tito._lib import ffi, lib
from tito._ops import Pending, allow, nothing, options_handle
from tito.errors import InvalidArgument, check, error_slot
from tito.values import Duration, Time, duration_us, encode, options_of, text_bytes, time_us

OPTIONS = {"partitions": "int", "retention": "seconds", "ordering": "str"}
FILTER = ("state", "key", "from_", "to", "limit", "cursor")


def _same(value: Any) -> Any:
    return value


class BaseQueue:
    """A type of events on one database. Subclasses: the blocking and the awaited interface."""

    def __init__(self, database: BaseDatabase, type: str, options: Mapping[str, Any]) -> None:
        allow("queue")
        name = text_bytes(type, "queue: the type")
        handle = options_handle(options_of(options, OPTIONS, "queue"))
        slot, out = error_slot(), ffi.new("tito_queue_t **")
        check(lib.tito_queue_open(database._handle, name, len(name), handle, out, slot), slot)
        self._handle = ffi.gc(out[0], lib.tito_queue_free)
        self._database = database
        self.type = type

    def __repr__(self) -> str:
        return f"<tito queue of type '{self.type}'>"

    def _publish(
        self, key: str, payload: Any, timestamp: Optional[Time], delay: Optional[Duration], tx: Optional[BaseTx]
    ) -> Pending[None]:
        allow("publish")
        name = text_bytes(key, "publish: the key")
        text = encode(payload, "publish: the payload")
        if timestamp is not None and delay is not None:
            raise InvalidArgument("publish: timestamp or delay, not both")
        due = 0 if timestamp is None else time_us(timestamp, "publish: timestamp")
        later = 0 if delay is None else duration_us(delay, "publish: delay")
        txn = pointer_of(tx, "publish")
        future = lib.tito_queue_publish(self._handle, txn, name, len(name), text, len(text), due, later, ffi.NULL)
        return Pending(future, nothing)

    def _history(self, given: Mapping[str, Any]) -> Pending[Page[Dict[str, Any]]]:
        allow("history")
        asked: Dict[str, Any] = {}
        for name, value in given.items():
            if value is None:
                continue
            if name in ("from_", "to"):
                value = time_us(value, f"history: {name}") / 1e6
            asked["from" if name == "from_" else name] = value
        text = encode(asked or {"state": "pending"}, "history: the filter")
        future = lib.tito_queue_history(self._handle, text, len(text))
        return Pending(future, lambda ready: read_page(ready, _same))

    def _retry(self, id: str) -> Pending[None]:
        allow("retry")
        text = text_bytes(id, "retry: the id")
        return Pending(lib.tito_queue_retry(self._handle, text, len(text)), nothing)

    def _drop(self, id: str) -> Pending[None]:
        allow("drop")
        text = text_bytes(id, "drop: the id")
        return Pending(lib.tito_queue_drop(self._handle, text, len(text)), nothing)
