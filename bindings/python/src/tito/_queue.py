"""Queues: events of one type, published here or by models, kept in order by key."""

from __future__ import annotations

from typing import Any, Dict, Mapping, Optional

from tito._core import BaseDatabase, BaseTx, Page, pointer_of, read_page
from tito._lib import ffi, lib
from tito._ops import Owned, Pending, allow, integer, nothing, options_handle, raw
from tito.errors import InvalidArgument, check, error_slot
from tito.values import Duration, Time, decode, duration_us, encode, options_of, text_bytes, time_us

OPTIONS = {"partitions": "int", "retention": "seconds", "ordering": "str"}
PUBLISH_OPTIONS = {"unique": "str", "on_duplicate": "str"}


def _same(value: Any) -> Any:
    return value


def _id_of(future: Any) -> Optional[str]:
    """The id of a published event; None: it gets one when its transaction commits."""
    return raw(future).decode() or None


def _filter(what: str, given: Mapping[str, Any]) -> bytes:
    """A filter of events as JSON; None means: not given."""
    out: Dict[str, Any] = {}
    for name, value in given.items():
        if value is not None and name in ("from_", "to"):
            value = time_us(value, f"{what}: {name}") / 1e6
        if value is not None:
            out["from" if name == "from_" else name] = value
    return encode(out, f"{what}: the filter")


class BaseQueue:
    """A type of events on one database. Subclasses: the blocking and the awaited interface."""

    def __init__(self, database: BaseDatabase, type: str, options: Mapping[str, Any]) -> None:
        allow("queue")
        name = text_bytes(type, "queue: the type")
        handle = options_handle(options_of(options, OPTIONS, "queue"))
        slot, out = error_slot(), ffi.new("tito_queue_t **")
        check(lib.tito_queue_open(database._handle, name, len(name), handle, out, slot), slot)
        self._owned = Owned(out[0], lib.tito_queue_free)
        self._database = database
        self.type = type

    @property
    def _handle(self) -> Any:
        return self._owned.get()

    def __repr__(self) -> str:
        return f"<tito queue of type '{self.type}'>"

    def _publish(
        self,
        key: str,
        payload: Any,
        timestamp: Optional[Time],
        delay: Optional[Duration],
        options: Mapping[str, Any],
        tx: Optional[BaseTx],
    ) -> Pending[Optional[str]]:
        allow("publish")
        name = text_bytes(key, "publish: the key")
        text = encode(payload, "publish: the payload")
        if timestamp is not None and delay is not None:
            raise InvalidArgument("publish: timestamp or delay, not both")
        due = 0 if timestamp is None else time_us(timestamp, "publish: timestamp")
        later = 0 if delay is None else duration_us(delay, "publish: delay")
        extra = options_handle(options_of(options, PUBLISH_OPTIONS, "publish"))
        txn = pointer_of(tx, "publish")
        future = lib.tito_queue_publish(self._handle, txn, name, len(name), text, len(text), due, later, extra)
        return Pending(future, _id_of)

    def _history(self, given: Mapping[str, Any]) -> Pending[Page[Dict[str, Any]]]:
        allow("history")
        text = _filter("history", {**given, "state": given.get("state") or "pending"})
        future = lib.tito_queue_history(self._handle, text, len(text))
        return Pending(future, lambda ready: read_page(ready, _same))

    def _replay(self, given: Mapping[str, Any]) -> Pending[int]:
        allow("replay")
        text = _filter("replay", {**given, "state": given.get("state") or "completed"})
        return Pending(lib.tito_queue_replay(self._handle, text, len(text)), integer, patient=True)

    def _purge(self, given: Mapping[str, Any]) -> Pending[int]:
        allow("purge")
        if all(value is None for value in given.values()):
            raise InvalidArgument("purge: say which: state, key, owner, from_ or to")
        text = _filter("purge", given)
        return Pending(lib.tito_queue_purge(self._handle, text, len(text)), integer, patient=True)

    def _set_paused(self, paused: bool) -> Pending[None]:
        allow("pause")
        return Pending(lib.tito_queue_set_paused(self._handle, 1 if paused else 0), nothing)

    def _repartition(self, partitions: int) -> Pending[int]:
        allow("repartition")
        if isinstance(partitions, bool) or not isinstance(partitions, int) or not 0 < partitions <= 9999:
            raise InvalidArgument("repartition: 1 to 9999 partitions expected")
        return Pending(lib.tito_queue_repartition(self._handle, partitions), integer, patient=True)

    def _stats(self) -> Pending[Dict[str, Any]]:
        allow("stats")
        return Pending(lib.tito_queue_stats(self._handle), lambda ready: decode(raw(ready)))

    def _partitions(self) -> Pending[Dict[str, Any]]:
        allow("partitions")
        return Pending(lib.tito_queue_partitions(self._handle), lambda ready: decode(raw(ready)))

    def _retry(self, id: str) -> Pending[None]:
        allow("retry")
        text = text_bytes(id, "retry: the id")
        return Pending(lib.tito_queue_retry(self._handle, text, len(text)), nothing)

    def _drop(self, id: str) -> Pending[None]:
        allow("drop")
        text = text_bytes(id, "drop: the id")
        return Pending(lib.tito_queue_drop(self._handle, text, len(text)), nothing)
