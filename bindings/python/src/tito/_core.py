"""Handles and operations under both interfaces: what is blocking and what is awaited are made of these.

Every method here returns a Pending or steps (_ops.py), and never waits.

INVARIANTS
 1. A handle is freed with the Python object that owns it, in any thread; the library allows that in any order.
 2. BaseTx.pointer answers only while the transaction is open; of an event's transaction it is lent.
 3. A write that fails here (bad document, a model's function that raises) dooms its transaction, as one that fails in
    the library does.
"""

from __future__ import annotations

import atexit
import os
import weakref
from typing import Any, Callable, Dict, Generic, Iterable, List, Mapping, Optional, Sequence, Tuple, TypeVar, Union

from tito._host import Host
from tito._lib import NULL, ffi, lib
from tito._log import attach, sink_of
from tito._ops import Owned, Pending, Steps, allow, drive, flag, integer, nothing, options_handle, raw, seconds
from tito.document import Codec, codec_of
from tito.errors import Error, InvalidArgument, InvalidState, WrongType, check, error_slot, status_of
from tito.values import Duration, decode, duration_us, encode, options_of, text_bytes

D = TypeVar("D")
T = TypeVar("T")

CONNECT_OPTIONS = {
    "namespace": "str",
    "partitions": "int",
    "timeout": "seconds",
    "txn_age": "seconds",
    "durability": "str",
    "open_wait": "seconds",
    "block_cache_size": "int",
    "write_buffer_size": "int",
    "threads": "int",
    "log_level": "str",
    "ca": "str",
    "cert": "str",
    "key": "str",
    "server_name": "str",
}
TRANSACTION_OPTIONS = {
    "age": "seconds",
    "timeout": "seconds",
    "attempts": "int",
    "read_only": "bool",
    "causal": "bool",
}


TLS_OPTIONS = {"ca": "str", "cert": "str", "key": "str", "server_name": "str"}


# ---- Databases


def connect_options(given: Mapping[str, Any]) -> Dict[str, Any]:
    """The library's options; those in `tls` stand beside the others there."""
    options = {name: value for name, value in given.items() if name != "tls"}
    out = options_of(options, CONNECT_OPTIONS, "connect")
    tls = given.get("tls")
    if tls is None:
        return out
    if not isinstance(tls, Mapping):
        raise WrongType(f"connect: tls must be a dict, not {type(tls).__name__}")
    found = options_of(tls, TLS_OPTIONS, "connect: tls")
    if not found.get("ca"):
        raise InvalidArgument("connect: tls needs ca, the authority of the servers' certificates")
    return {**out, **found}


def target_of(target: Any) -> bytes:
    """The library's text of a target: a path, a URI, or a list of PD endpoints."""
    if isinstance(target, (list, tuple)):
        if not target:
            raise InvalidArgument("connect: the list of endpoints is empty")
        ends = [text_bytes(endpoint, "connect: an endpoint") for endpoint in target]
        return b"tikv://" + b",".join(ends)
    if isinstance(target, os.PathLike):
        path = os.fspath(target)
        # A path is a path, whatever its name looks like.
        return b"rocksdb:" + (os.fsencode(path))
    return text_bytes(target, "connect: the target")


_open_databases: "weakref.WeakSet[BaseDatabase]" = weakref.WeakSet()


class BaseDatabase:
    """A database handle. Subclasses: the blocking and the awaited interface."""

    def __init__(self, target: Any, options: Mapping[str, Any]) -> None:
        allow("connect")
        text = target_of(target)
        options = dict(options)
        log = options.pop("log", None)
        sink = None if log is None else sink_of(log)
        handle = options_handle(connect_options(options))
        slot, out = error_slot(), ffi.new("tito_db_t **")
        check(lib.tito_db_new(text, len(text), handle, out, slot), slot)
        self._owned = Owned(out[0], lib.tito_db_free)
        if sink is not None:
            attach(self, out[0], sink, options.get("log_level"))
        self._process = os.getpid()
        self._has_ended = False
        self._models: Dict[str, BaseModel[Any]] = {}

    @property
    def _handle(self) -> Any:
        return self._owned.get()

    def _open(self) -> Pending[None]:
        _open_databases.add(self)
        return Pending(lib.tito_db_open(self._handle), nothing, patient=True)

    def _close(self) -> None:
        """Blocks until everything made from this database has ended."""
        allow("close")
        slot = error_slot()
        check(lib.tito_db_close(self._handle, slot), slot)
        self._ended()

    def _ended(self) -> None:
        self._has_ended = True
        _open_databases.discard(self)

    def _simple(self, what: str, function: Any, finish: Callable[[Any], T], *arguments: Any) -> Pending[T]:
        allow(what)
        return Pending(function(self._handle, *arguments), finish)

    def _now(self) -> Pending[float]:
        return self._simple("now", lib.tito_db_now, seconds)

    def _stats(self) -> Pending[Dict[str, Any]]:
        return self._simple("stats", lib.tito_db_stats, _value)

    def _schema(self) -> Pending[List[Dict[str, Any]]]:
        return self._simple("schema", lib.tito_db_schema, _value)

    def _metrics(self) -> Pending[str]:
        return self._simple("metrics", lib.tito_db_metrics, lambda ready: raw(ready).decode())

    def _schedule(self, spec: Mapping[str, Any], payload: Any) -> Pending[None]:
        given = {name: value for name, value in spec.items() if value is not None}
        if payload is not None:
            given["payload"] = payload
        text = encode(given, "schedule")
        return self._simple("schedule", lib.tito_db_schedule, nothing, text, len(text))

    def _unschedule(self, name: str) -> Pending[None]:
        text = text_bytes(name, "unschedule: the name")
        return self._simple("unschedule", lib.tito_db_unschedule, nothing, text, len(text))

    def _schedules(self) -> Pending[List[Dict[str, Any]]]:
        return self._simple("schedules", lib.tito_db_schedules, _value)

    def _queues(self) -> Pending[List[Dict[str, Any]]]:
        return self._simple("queues", lib.tito_db_queues, _value)

    def _gc(self, retention: Duration) -> Pending[None]:
        return self._simple("gc", lib.tito_db_gc, nothing, duration_us(retention, "gc: retention"))

    def _cluster(self, regions: bool, locks: Optional[Duration], resolve: bool) -> Pending[Dict[str, Any]]:
        given: Dict[str, Any] = {"regions": regions, "resolve": resolve}
        if locks is not None:
            given["locks_us"] = duration_us(locks, "cluster: locks")
        options = options_handle(given)
        allow("cluster")
        return Pending(lib.tito_db_cluster(self._handle, options), _value, patient=True)

    def _drop_index(self, table: str, index: str) -> Pending[None]:
        name, of = text_bytes(index, "drop_index: the index"), text_bytes(table, "drop_index: the table")
        return self._simple("drop_index", lib.tito_db_drop_index, nothing, of, len(of), name, len(name))

    def _drop_table(self, table: str) -> Pending[None]:
        name = text_bytes(table, "drop_table: the table")
        return self._simple("drop_table", lib.tito_db_drop_table, nothing, name, len(name))

    def _model_of(self, table: Any, what: str) -> "BaseModel[Any]":
        name = getattr(table, "__tito_table__", None) or getattr(table, "table", table)
        if not isinstance(name, str):
            raise WrongType(f"{what}: the table must be a str or a model, not {type(table).__name__}")
        model = self._models.get(name)
        if model is None:
            raise InvalidArgument(f"{what}: no model of table '{name}' is declared here")
        return model

    def _steps(
        self,
        kind: str,
        table: Any,
        options: Dict[str, Any],
        progress: Optional[Callable[[Dict[str, Any]], object]],
    ) -> Steps[Dict[str, Any]]:
        """Reindex and check: work in steps, the conditions evaluated here when the library asks for them."""
        allow(kind)
        model = self._model_of(table, kind)
        return _run_steps(model, kind, options, progress)


@atexit.register
def _close_all() -> None:
    """Databases that the program left open are closed while Python can still wait for it."""
    for database in list(_open_databases):
        if database._process == os.getpid():
            try:
                database._close()
            except Error:
                pass


def check_options(repair: bool, cursor: Optional[str]) -> Dict[str, Any]:
    """Those of a check that were given."""
    options: Dict[str, Any] = {"repair": True} if repair else {}
    if cursor is not None:
        options["cursor"] = cursor
    return options


def _run_steps(
    model: "BaseModel[Any]",
    kind: str,
    options: Dict[str, Any],
    progress: Optional[Callable[[Dict[str, Any]], object]],
) -> Steps[Dict[str, Any]]:
    slot, out = error_slot(), ffi.new("tito_steps_t **")
    function = lib.tito_reindex_open if kind == "reindex" else lib.tito_check_open
    check(function(model._handle, options_handle(options), out, slot), slot)
    steps = ffi.gc(out[0], lib.tito_steps_free)
    findings: List[Any] = []
    while True:
        step, info = yield Pending(lib.tito_steps_next(steps), _step)
        findings += info.get("findings") or ()
        if step == lib.TITO_STEP_HOST:
            for i in range(lib.tito_steps_count(steps)):
                piece = lib.tito_steps_document(steps, i)
                bits = model._host.conditions(decode(ffi.buffer(piece.data, piece.len)[:]))
                check(lib.tito_steps_reply(steps, i, bits), error_slot())
        elif progress is not None:
            progress(info)
        if step == lib.TITO_STEP_DONE:
            info["findings"] = findings
            summary: Dict[str, Any] = info
            return summary


def _step(future: Any) -> Tuple[int, Dict[str, Any]]:
    return integer(future), decode(raw(future))


def _value(future: Any) -> Any:
    return decode(raw(future))


# ---- Transactions


class BaseTx:
    """A transaction that operations take."""

    def __init__(self, handle: Any, managed: Optional[str] = None) -> None:
        self._handle = handle
        self._managed = managed

    def _pointer(self, what: str) -> Any:
        if self._handle is None:
            raise InvalidState(f"{what}: the transaction has ended")
        return self._handle.get()

    def _end(self) -> None:
        """No operation takes it any more. Whoever owns the handle goes on having it."""
        self._handle = None

    def _own(self, what: str) -> Owned:
        self._pointer(what)
        if self._managed is not None:
            raise InvalidState(f"{what}: this transaction is ended by {self._managed}")
        owned: Owned = self._handle
        return owned

    def _commit(self) -> Pending[int]:
        allow("commit")
        handle = self._own("commit")
        self._end()
        return _Last(lib.tito_txn_commit(handle.get()), integer, handle)

    def _rollback(self) -> Pending[None]:
        allow("rollback")
        handle = self._own("rollback")
        self._end()
        return _Last(lib.tito_txn_rollback(handle.get()), nothing, handle)

    def _start_version(self) -> Pending[int]:
        allow("start_version")
        return Pending(lib.tito_txn_start_version(self._pointer("start_version")), integer)

    def _release(self) -> None:
        """Rolls back what is open and frees it at once."""
        handle = self._handle
        if handle is not None and self._managed is None:
            self._end()
            handle.release()

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__name__}{' (ended)' if self._handle is None else ''}>"


class _Last(Pending[T]):
    """The future that ends a transaction: keeps the handle until it is settled."""

    __slots__ = ("_txn",)

    def __init__(self, future: Any, finish: Callable[[Any], T], txn: Any) -> None:
        super().__init__(future, finish)
        self._txn = txn


def begin(database: BaseDatabase, options: Mapping[str, Any]) -> Owned:
    """A tito_txn_t * of its own."""
    allow("transaction")
    handle = options_handle(options_of(options, TRANSACTION_OPTIONS, "transaction"))
    slot, out = error_slot(), ffi.new("tito_txn_t **")
    check(lib.tito_txn_begin(database._handle, handle, out, slot), slot)
    return Owned(out[0], lib.tito_txn_free)


def pointer_of(tx: Optional[BaseTx], what: str) -> Any:
    """The library's transaction for an operation; NULL for none."""
    if tx is None:
        return NULL
    if not isinstance(tx, BaseTx):
        raise WrongType(f"{what}: a transaction expected, not {type(tx).__name__}")
    return tx._pointer(what)


def run_transaction(
    database: BaseDatabase,
    options: Mapping[str, Any],
    make: Callable[[Any, str], BaseTx],
    work: Callable[[Any], Steps[T]],
) -> Steps[T]:
    """Runs work(tx) and commits; again, with a fresh snapshot, when it met a conflict."""
    handle = begin(database, options)
    try:
        while True:
            tx = make(handle, "transaction()")
            try:
                result = yield from work(tx)
                tx._end()
                yield Pending(lib.tito_txn_commit(handle.get()), integer)
                return result
            except Error as error:
                tx._end()
                if not error.retryable:
                    raise
                try:
                    yield Pending(lib.tito_txn_retry(handle.get(), status_of(error)), nothing)
                except Error:
                    raise error  # noqa: B904  (the budget is used up: what failed is told)
            finally:
                tx._end()
    finally:
        handle.release()


def doom(txn: Any, error: BaseException) -> None:
    """Makes the commit of txn (or NULL) fail as the write of it has."""
    if txn == NULL:
        return
    status = status_of(error) if isinstance(error, Error) else int(lib.TITO_HANDLER_FAILED)
    message = str(getattr(error, "message", None) or type(error).__name__).encode("utf-8", "replace")
    lib.tito_txn_doom(txn, status, message, len(message))


# ---- Pages


class Page(Generic[D]):
    """Some of a query's documents; cursor goes on behind them, None: there are no more."""

    __slots__ = ("cursor", "items")

    def __init__(self, items: List[D], cursor: Optional[str]) -> None:
        self.items = items
        self.cursor = cursor

    def __iter__(self) -> Any:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __repr__(self) -> str:
        return f"<tito.Page of {len(self.items)}{', more follow' if self.cursor else ''}>"


def _item(page: Any, i: int, load: Callable[[Any], Any]) -> Any:
    piece = lib.tito_page_document(page, i)
    if piece.len > 0:
        return load(decode(ffi.buffer(piece.data, piece.len)[:]))
    piece = lib.tito_page_id(page, i)
    return {"id": ffi.buffer(piece.data, piece.len)[:].decode()}


def read_page(future: Any, load: Callable[[Any], D]) -> Page[D]:
    page = lib.tito_future_page(future)
    if page == NULL:
        raise MemoryError("there is no memory for a page")
    try:
        items = [_item(page, i, load) for i in range(lib.tito_page_count(page))]
        piece = lib.tito_page_cursor(page)
        return Page(items, ffi.buffer(piece.data, piece.len)[:].decode() if piece.len else None)
    finally:
        lib.tito_page_free(page)


# ---- Models


class BaseModel(Generic[D]):
    """A model on one database. Subclasses: the blocking and the awaited interface."""

    def __init__(self, database: BaseDatabase, spec: Any) -> None:
        allow("model")
        self._codec: Codec[D] = codec_of(spec)
        self._host = Host(self._codec.spec, self._codec.load)
        text = encode(self._host.plain, "the spec")
        slot, out = error_slot(), ffi.new("tito_model_t **")
        check(lib.tito_model_declare(database._handle, text, len(text), out, slot), slot)
        self._owned = Owned(out[0], lib.tito_model_free)
        self._database = database
        self.table: str = self._host.table
        database._models[self.table] = self

    @property
    def _handle(self) -> Any:
        return self._owned.get()

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__name__} of table '{self.table}'>"

    def _document(self, future: Any) -> D:
        return self._codec.load(decode(raw(future)))

    def _versioned(self, future: Any) -> Tuple[D, int]:
        return self._document(future), integer(future)

    def _result(self, version: bool) -> Callable[[Any], Any]:
        return self._versioned if version else self._document

    def _write(
        self,
        what: str,
        function: Any,
        document: D,
        tx: Optional[BaseTx],
        events: Optional[str],
        if_version: Optional[int],
        version: bool,
    ) -> Pending[Any]:
        allow(what)
        txn = pointer_of(tx, what)
        try:
            plain = self._codec.dump(document, what)
            write = self._host.evaluate(plain, events, if_version)
            text = encode(plain, f"{what}: the document")
        except BaseException as error:
            doom(txn, error)
            raise
        return Pending(function(self._handle, txn, text, len(text), write), self._result(version))

    def _in_transaction(self, tx: Optional[BaseTx], work: Callable[[Any], Steps[T]]) -> Steps[T]:
        """work in the caller's transaction, or in one of its own."""
        if tx is not None:
            return (yield from work(tx))
        return (yield from run_transaction(self._database, {}, BaseTx, work))

    def _patch(
        self,
        id: str,
        changes: Mapping[str, Any],
        tx: Optional[BaseTx],
        events: Optional[str],
        if_version: Optional[int],
        version: bool,
    ) -> Union[Pending[Any], Steps[Any]]:
        allow("patch")
        txn = pointer_of(tx, "patch")
        try:
            key = text_bytes(id, "patch: the id")
            text = encode(self._codec.dump_changes(changes), "patch: the changes")
            write = NULL if self._host.any else self._host.evaluate(None, events, if_version)
        except BaseException as error:
            doom(txn, error)
            raise
        if not self._host.any:
            future = lib.tito_model_patch(self._handle, txn, key, len(key), text, len(text), write)
            return Pending(future, self._result(version))

        def work(own: BaseTx) -> Steps[Any]:
            txn = own._pointer("patch")
            try:
                merged = yield Pending(lib.tito_model_merge(self._handle, txn, key, len(key), text, len(text)), raw)
                write = self._host.evaluate(decode(merged), events, if_version)
            except BaseException as error:
                doom(txn, error)
                raise
            future = lib.tito_model_update(self._handle, txn, merged, len(merged), write)
            return (yield Pending(future, self._result(version)))

        return self._in_transaction(tx, work)

    def _delete(
        self, what: str, id: str, tx: Optional[BaseTx], events: Optional[str], if_version: Optional[int]
    ) -> Union[Pending[bool], Steps[bool]]:
        allow(what)
        txn = pointer_of(tx, what)
        key = text_bytes(id, f"{what}: the id")
        if events is None or not self._host.for_events:
            write = self._host.evaluate(None, events, if_version)
            return Pending(lib.tito_model_delete(self._handle, txn, key, len(key), write), flag)

        def work(own: BaseTx) -> Steps[bool]:
            txn = own._pointer(what)
            found = yield _Find(lib.tito_model_find(self._handle, txn, key, len(key), NULL), raw)
            if found is None:
                return False
            try:
                write = self._host.evaluate(decode(found), events, if_version, skip_conditions=True)
            except BaseException as error:
                doom(txn, error)
                raise
            was_there: bool = yield Pending(lib.tito_model_delete(self._handle, txn, key, len(key), write), flag)
            return was_there

        return self._in_transaction(tx, work)

    def _assert_current(self, id: str, tx: BaseTx) -> Pending[None]:
        allow("assert_current")
        key = text_bytes(id, "assert_current: the id")
        if tx is None:
            raise WrongType("assert_current: a transaction expected")
        txn = pointer_of(tx, "assert_current")
        return Pending(lib.tito_model_assert_current(self._handle, txn, key, len(key)), nothing)

    # ---- Reading

    def _find(
        self,
        id: str,
        relationships: Optional[Sequence[str]],
        tx: Optional[BaseTx],
        lock: Union[bool, str],
        wait: Optional[Duration],
        version: bool,
    ) -> Pending[Any]:
        allow("find_by_id")
        key = text_bytes(id, "find_by_id: the id")
        txn = pointer_of(tx, "find_by_id")
        wait_us = _lock_wait(lock, wait, tx)
        read = _read_handle(relationships, wait_us, "find_by_id")
        future = lib.tito_model_find(self._handle, txn, key, len(key), read)
        return _Find(future, self._result(version), wait_us is not None)

    def _find_many(
        self, ids: Iterable[str], relationships: Optional[Sequence[str]], tx: Optional[BaseTx]
    ) -> Pending[List[D]]:
        allow("find_many")
        if isinstance(ids, (str, bytes, Mapping)):
            raise WrongType("find_many: the ids must be a list of str")
        text = encode(list(ids), "find_many: the ids")
        txn = pointer_of(tx, "find_many")
        read = _read_handle(relationships, None, "find_many")
        future = lib.tito_model_find_many(self._handle, txn, text, len(text), read)
        return Pending(future, lambda ready: read_page(ready, self._codec.load).items)


class _Find(Pending[T]):
    """A read whose record may be absent: None."""

    __slots__ = ()

    def settle(self, status: int) -> T:
        if status == lib.TITO_NOT_FOUND:
            self.free()
            return None  # type: ignore[return-value]
        return super().settle(status)


def _lock_wait(lock: Union[bool, str], wait: Optional[Duration], tx: Optional[BaseTx]) -> Optional[int]:
    """The library's wait_us of a locking read; None: it does not lock."""
    if lock is False or lock is None:
        return None
    if tx is None:
        raise InvalidArgument("find_by_id: lock needs a transaction")
    if lock == "nowait":
        return 0
    if lock is not True:
        raise InvalidArgument("find_by_id: lock is True or 'nowait'")
    return -1 if wait is None else duration_us(wait, "find_by_id: wait")


def _read_handle(relationships: Optional[Sequence[str]], lock_us: Optional[int], what: str) -> Any:
    if not relationships and lock_us is None:
        return NULL
    if isinstance(relationships, (str, bytes)):
        raise WrongType(f"{what}: the relationships must be a list of str")
    made = lib.tito_read_new()
    if made == NULL:
        raise MemoryError("there is no memory for a read")
    read = ffi.gc(made, lib.tito_read_free)
    for path in relationships or ():
        text = text_bytes(path, f"{what}: a relationship")
        if lib.tito_read_relationship(read, text, len(text)) != 0:
            raise InvalidArgument(f"{what}: '{path}' can not be a relationship, or there are too many")
    if lock_us is not None:
        check(lib.tito_read_lock(read, lock_us), error_slot())
    return read


__all__ = ["BaseDatabase", "BaseModel", "BaseTx", "Page", "begin", "drive", "pointer_of", "run_transaction"]
