"""tito: models, transactions and queues over TiKV or an embedded RocksDB.

    import tito
    db = tito.connect("./data")

tito.aio has the same for asyncio. Every failure is a tito.Error.
"""

from __future__ import annotations

from typing import Any, Callable, Dict

from tito._core import Page
from tito._lib import ffi, lib
from tito.database import Database, Model, Query, Queue, Transaction, connect, connect_with_partitions, restore, verify_backup
from tito.document import Document, EventSpec, field, index, relationship
from tito.errors import (
    AlreadyExists,
    Busy,
    Cancelled,
    Closed,
    Conflict,
    Corrupt,
    Deadlock,
    Error,
    Forked,
    HandlerFailed,
    InputOutput,
    Internal,
    InvalidArgument,
    InvalidState,
    LimitExceeded,
    NotFound,
    OutcomeUnknown,
    OutOfMemory,
    SchemaMismatch,
    Timeout,
    Unavailable,
    UniqueViolation,
    Unsupported,
    VersionMismatch,
    WrongType,
)
from tito.event import Event
from tito.worker import Worker

INSERT = "INSERT"
UPDATE = "UPDATE"
DELETE = "DELETE"

#: The version of the library.
version: str = ffi.string(lib.tito_version_string()).decode()


def uuid() -> str:
    """A random UUID."""
    out = ffi.new("char[37]")
    lib.tito_uuid(out)
    text: str = ffi.string(out).decode()
    return text


def now() -> float:
    """The host's clock, in seconds. For the database's time: Database.now."""
    us: int = lib.tito_now_us()
    return us / 1e6


def with_events(operation: str) -> Dict[str, Any]:
    """Options of a write that asks for the model's events: "INSERT", "UPDATE", "DELETE" or a name of your own."""
    if not isinstance(operation, str) or not operation:
        raise InvalidArgument("with_events needs the name of an operation, such as tito.INSERT")
    return {"events": operation}


def run_worker(queue: Queue, handler: Callable[..., Any], **options: Any) -> None:
    """Runs a worker that handles the events of one queue, until it is stopped or SIGTERM comes."""
    if not isinstance(queue, Queue):
        raise WrongType(f"run_worker needs a queue, not {type(queue).__name__}")
    worker = Worker(queue._database, options)
    worker.on(queue.type, handler)
    worker.run()


__all__ = [
    "DELETE",
    "INSERT",
    "UPDATE",
    "AlreadyExists",
    "Busy",
    "Cancelled",
    "Closed",
    "Conflict",
    "Corrupt",
    "Database",
    "Deadlock",
    "Document",
    "Error",
    "Event",
    "EventSpec",
    "Forked",
    "HandlerFailed",
    "InputOutput",
    "Internal",
    "InvalidArgument",
    "InvalidState",
    "LimitExceeded",
    "Model",
    "NotFound",
    "OutOfMemory",
    "OutcomeUnknown",
    "Page",
    "Query",
    "Queue",
    "SchemaMismatch",
    "Timeout",
    "Transaction",
    "Unavailable",
    "UniqueViolation",
    "Unsupported",
    "VersionMismatch",
    "Worker",
    "WrongType",
    "connect",
    "connect_with_partitions",
    "field",
    "index",
    "now",
    "relationship",
    "restore",
    "run_worker",
    "uuid",
    "verify_backup",
    "version",
    "with_events",
]
