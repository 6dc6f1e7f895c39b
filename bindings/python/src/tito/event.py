"""An event in a handler: what is known of it, and how it may end besides success and failure.

    taken ──> Event + its transaction ──> handler ──> settle(outcome) ──> freed

INVARIANTS
 1. All texts are copied when the event is taken: an Event may be kept after its handler.
 2. settle is called once, by the worker, after the transaction was taken back.
"""

from __future__ import annotations

import traceback
from typing import Any, List, Optional

from tito._core import BaseTx
from tito._lib import NULL, ffi, lib
from tito.errors import InvalidState, WrongType, check, error_slot
from tito.values import Time, decode, encode, time_us

#: Of what is stored with a failed event (core keeps as much).
FAILURE_SIZE_MAX = 4096


def _bytes(handle: Any, field: int) -> bytes:
    piece = lib.tito_event_text(handle, field)
    data: bytes = ffi.buffer(piece.data, piece.len)[:] if piece.len else b""
    return data


def _text(handle: Any, field: int) -> Optional[str]:
    return _bytes(handle, field).decode("utf-8", "replace") or None


def _cut(text: str) -> bytes:
    """What of the text is stored."""
    return text.encode("utf-8", "replace")[:FAILURE_SIZE_MAX].decode("utf-8", "ignore").encode()


class Event:
    """An event. timestamp is its place in time, in seconds; attempts: how often it has failed."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self._outcome = "acknowledge"
        self._argument: Any = None
        self.id: str = _text(handle, lib.TITO_EVENT_ID) or ""
        self.type: str = _text(handle, lib.TITO_EVENT_TYPE) or ""
        self.key: str = _text(handle, lib.TITO_EVENT_KEY) or ""
        self.sequence: str = _text(handle, lib.TITO_EVENT_SEQUENCE) or ""
        self.action: Optional[str] = _text(handle, lib.TITO_EVENT_ACTION)
        self.entity: Optional[str] = _text(handle, lib.TITO_EVENT_ENTITY)
        self.entity_id: Optional[str] = _text(handle, lib.TITO_EVENT_ENTITY_ID)
        self.last_error: Optional[str] = _text(handle, lib.TITO_EVENT_LAST_ERROR)
        self.partition: int = lib.tito_event_int(handle, lib.TITO_EVENT_PARTITION)
        self.timestamp: float = lib.tito_event_int(handle, lib.TITO_EVENT_TIMESTAMP) / 1e6
        self.attempts: int = lib.tito_event_int(handle, lib.TITO_EVENT_ATTEMPTS)
        self._references = _bytes(handle, lib.TITO_EVENT_REFERENCES)
        self._payload = _bytes(handle, lib.TITO_EVENT_PAYLOAD)

    @property
    def payload(self) -> Any:
        """What was published; read anew each time."""
        return decode(self._payload) if self._payload else None

    @property
    def references(self) -> Optional[List[str]]:
        """Ids of other records, as the model's references returned them."""
        found: Optional[List[str]] = decode(self._references) if self._references else None
        return found

    def reschedule(self, timestamp: Time) -> None:
        """When the handler succeeds, the event comes again at timestamp, with its attempts."""
        self._argument = time_us(timestamp, "reschedule: the timestamp")
        self._outcome = "reschedule"

    def advance(self, payload: Any) -> None:
        """When the handler succeeds, the event stays in its place with another payload and runs next."""
        self._argument = encode(payload, "advance: the payload")
        self._outcome = "advance"

    def fail(self, why: str) -> None:
        """When the handler succeeds, the event has failed all the same: for one of a batch whose others are to commit."""
        if not isinstance(why, str):
            raise WrongType(f"fail: the reason must be a str, not {type(why).__name__}")
        self._argument = _cut(why)
        self._outcome = "fail"

    @property
    def expired(self) -> bool:
        """Its handler timeout has passed: whatever the handler does is too late."""
        return self._handle is not None and bool(lib.tito_event_expired(self._handle))

    def __repr__(self) -> str:
        return f"<tito event {self.id} of type '{self.type}'>"

    # ---- The worker's part

    def _settle(self, tx: BaseTx, failure: Optional[str]) -> None:
        """Tells the library the outcome and frees the event."""
        tx._end()
        handle, self._handle = self._handle, None
        try:
            if failure is None and self._succeed(handle) != 0:
                failure = "operations of the event's transaction had not ended when its handler returned"
            if failure is not None:
                text = _cut(failure)
                lib.tito_event_fail(handle, text, len(text))
        finally:
            ffi.release(handle)

    def _succeed(self, handle: Any) -> int:
        status: int
        if self._outcome == "reschedule":
            status = lib.tito_event_reschedule(handle, self._argument)
        elif self._outcome == "advance":
            status = lib.tito_event_advance(handle, self._argument, len(self._argument))
        elif self._outcome == "fail":
            status = lib.tito_event_fail(handle, self._argument, len(self._argument))
        else:
            status = lib.tito_event_acknowledge(handle)
        return status


class Batch(Event):
    """Events that a handler gets together; what it is as an event is its first one."""

    def __init__(self, handle: Any) -> None:
        super().__init__(handle)
        count: int = lib.tito_event_count(handle)
        self.events: List[Event] = [Event(lib.tito_event_member(handle, i)) for i in range(count)]

    def _settle(self, tx: BaseTx, failure: Optional[str]) -> None:
        try:
            super()._settle(tx, failure)
        finally:
            for event in self.events:
                event._handle = None

    def _succeed(self, handle: Any) -> int:
        for event in self.events:
            event._succeed(event._handle)
        return super()._succeed(handle)


def event_of(handle: Any) -> Event:
    """An event that was taken: a batch when its type has batches."""
    return Batch(handle) if lib.tito_event_count(handle) else Event(handle)


def lent_pointer(event: Event, what: str) -> Any:
    """The event's transaction, begun when it is first used."""
    if event._handle is None:
        raise InvalidState(f"{what}: the transaction has ended with the event's handler")
    slot, out = error_slot(), ffi.new("tito_txn_t **")
    check(lib.tito_event_txn(event._handle, out, slot), slot)
    return out[0]


class LentTx(BaseTx):
    """A mixin: the transaction of an event."""

    _event: Optional[Event]

    def __init__(self, event: Event) -> None:
        super().__init__(NULL, "the event's handler")
        self._event = event

    def _pointer(self, what: str) -> Any:
        if self._event is None:
            raise InvalidState(f"{what}: the transaction has ended with the event's handler")
        if self._handle == NULL:
            self._handle = lent_pointer(self._event, what)
        return self._handle

    def _end(self) -> None:
        self._event = None
        self._handle = None


def failure_of(error: BaseException) -> str:
    """What is stored with an event whose handler raised: the message, then where."""
    try:
        text = f"{type(error).__name__}: {error}"
        return text + "\n" + "".join(traceback.format_exception(type(error), error, error.__traceback__))
    except Exception:
        return f"{type(error).__name__}: an error that can not be shown"
