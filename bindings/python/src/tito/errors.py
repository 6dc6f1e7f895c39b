"""Errors: one hierarchy for what the library reports and for what is found here.

    Error                       code, message, retryable, outcome_unknown, table, index
      NotFound … HandlerFailed  one class for each code; those that Python has a word for are of that kind as well
                                (InvalidArgument is a ValueError, WrongType a TypeError, Timeout a TimeoutError)

INVARIANTS
 1. code is the lower-case name of a status of tito.h; message is never empty and carries no document values.
 2. Every error that comes from the library is made by raise_status.
"""

from __future__ import annotations

from typing import Any, ClassVar, Dict, NoReturn, Optional, Tuple, Type

from tito._lib import NULL, ffi, lib, text_of


class Error(Exception):
    """Whatever tito reports. code is stable, message is for people."""

    code: str = "internal"
    #: The whole transaction may be run again.
    retryable: bool = False
    #: The commit may be durable all the same.
    outcome_unknown: bool = False
    #: The table and the index it is about, where there is one.
    table: Optional[str] = None
    index: Optional[str] = None
    _class: ClassVar[int] = 5

    def __init__(self, message: str, *, table: Optional[str] = None, index: Optional[str] = None) -> None:
        super().__init__(message)
        self.message = message
        self.table = table
        self.index = index

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"

    def __reduce__(self) -> Tuple[Any, ...]:
        # Errors cross processes (multiprocessing, concurrent.futures): the keyword arguments go with them.
        return (_rebuild, (type(self), self.message, dict(self.__dict__)))


def _rebuild(kind: Type[Error], message: str, state: Dict[str, Any]) -> Error:
    error = kind(message)
    error.__dict__.update(state)
    return error


class NotFound(Error):
    code = "not_found"


class InvalidArgument(Error, ValueError):
    code = "invalid_argument"


class WrongType(InvalidArgument, TypeError):
    """A value of a Python type that does not belong there."""


class InvalidState(Error):
    code = "invalid_state"


class AlreadyExists(Error):
    code = "already_exists"


class UniqueViolation(Error):
    code = "unique_violation"


class VersionMismatch(Error):
    code = "version_mismatch"


class LimitExceeded(Error):
    code = "limit_exceeded"


class SchemaMismatch(Error):
    code = "schema_mismatch"


class Unsupported(Error):
    code = "unsupported"


class Forked(Error):
    code = "forked"


class Closed(Error):
    code = "closed"


class Cancelled(Error):
    code = "cancelled"


class Conflict(Error):
    code = "conflict"
    retryable = True


class Deadlock(Error):
    code = "deadlock"
    retryable = True


class Unavailable(Error):
    code = "unavailable"
    retryable = True


class Timeout(Error, TimeoutError):
    code = "timeout"
    retryable = True


class Busy(Error):
    code = "busy"
    retryable = True


class OutcomeUnknown(Error):
    code = "outcome_unknown"
    outcome_unknown = True


class Corrupt(Error):
    code = "corrupt"


class InputOutput(Error):
    """Reading or writing failed (code "io")."""

    code = "io"


class OutOfMemory(Error, MemoryError):
    code = "out_of_memory"


class Internal(Error):
    code = "internal"


class HandlerFailed(Error):
    """A function of the program failed; __cause__ is what it raised."""

    code = "handler_failed"


_KINDS: Dict[int, Type[Error]] = {
    lib.TITO_NOT_FOUND: NotFound,
    lib.TITO_INVALID_ARGUMENT: InvalidArgument,
    lib.TITO_INVALID_STATE: InvalidState,
    lib.TITO_ALREADY_EXISTS: AlreadyExists,
    lib.TITO_UNIQUE_VIOLATION: UniqueViolation,
    lib.TITO_VERSION_MISMATCH: VersionMismatch,
    lib.TITO_LIMIT_EXCEEDED: LimitExceeded,
    lib.TITO_SCHEMA_MISMATCH: SchemaMismatch,
    lib.TITO_UNSUPPORTED: Unsupported,
    lib.TITO_FORKED: Forked,
    lib.TITO_CLOSED: Closed,
    lib.TITO_CANCELLED: Cancelled,
    lib.TITO_CONFLICT: Conflict,
    lib.TITO_DEADLOCK: Deadlock,
    lib.TITO_UNAVAILABLE: Unavailable,
    lib.TITO_TIMEOUT: Timeout,
    lib.TITO_BUSY: Busy,
    lib.TITO_OUTCOME_UNKNOWN: OutcomeUnknown,
    lib.TITO_CORRUPT: Corrupt,
    lib.TITO_IO: InputOutput,
    lib.TITO_OUT_OF_MEMORY: OutOfMemory,
    lib.TITO_INTERNAL: Internal,
    lib.TITO_HANDLER_FAILED: HandlerFailed,
}

_STATUSES: Dict[str, int] = {kind.code: status for status, kind in _KINDS.items()}


def status_of(error: Error) -> int:
    """The status of tito.h that an error's code names."""
    return _STATUSES.get(error.code, int(lib.TITO_INTERNAL))


def _from_library(status: int, error: Any) -> Error:
    kind = _KINDS.get(status, Internal)
    if error == NULL:
        return kind("no more is known")
    made = kind(
        text_of(lib.tito_error_message(error)) or "no more is known",
        table=text_of(lib.tito_error_table(error)) or None,
        index=text_of(lib.tito_error_index(error)) or None,
    )
    made.retryable = lib.tito_error_retryable(error) != 0
    made.outcome_unknown = lib.tito_error_outcome_unknown(error) != 0
    if made.code == "forked":
        made.message += FORK_ADVICE
        made.args = (made.message,)
    return made


FORK_ADVICE = (
    ". A database does not survive os.fork, multiprocessing's 'fork' or a preloading server: connect in the child only "
    "(gunicorn: post_fork; multiprocessing: an initializer, or the start method 'spawn')"
)


def raise_status(status: int, slot: Any) -> NoReturn:
    """Raises what a status and the error in slot (tito_error_t **, freed) say. status is not TITO_OK."""
    error = slot[0]
    try:
        made = _from_library(status, error)
    finally:
        slot[0] = NULL
        lib.tito_error_free(error)
    raise made


def check(status: int, slot: Any) -> None:
    """Raises unless status is TITO_OK."""
    if status != 0:
        raise_status(status, slot)


def error_slot() -> Any:
    """A place for an error that the library gives."""
    return ffi.new("tito_error_t **")
