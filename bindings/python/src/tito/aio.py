"""tito for asyncio: the twin of the blocking interface, with the same names.

    import tito.aio
    db = await tito.aio.connect("./data")
    post = await Post.find_by_id("p1")
    async for post in Post.query_by_index("by_author").value("Alice"): ...

Every call that can wait is a coroutine that waits on the running loop by the library's completion queue (_ops.py): no
thread of Python's, any loop with add_reader (asyncio's on Unix, uvloop). What never waits (model, query_by_index, queue,
worker, begin) is a plain call.

Cancelling a call asks the library to end the operation and drops its result: a cancelled write may have been done, and
its transaction is to be rolled back (`async with db.begin()` and db.transaction do).

INVARIANT: a database and what is made from it may be used by several loops; a transaction belongs to one thread.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, AsyncIterator, Awaitable, Callable, Dict, Generic, Iterable, List, Mapping, Optional, Sequence
from typing import Tuple, Type, TypeVar, Union, cast, overload

from tito import _backup
from tito._backup import Path, Progress
from tito._core import BaseDatabase, BaseModel, BaseTx, Page, begin, check_options, run_transaction
from tito._lib import lib
from tito._ops import Steps, allow, drive_async, pump_of
from tito._query import BaseQuery
from tito._queue import BaseQueue
from tito.aio_worker import Transaction, Worker
from tito.database import WriteOptions, write_options
from tito.document import Document
from tito.errors import InvalidState, WrongType
from tito.values import Duration, Time

D = TypeVar("D")
T = TypeVar("T")
DocumentT = TypeVar("DocumentT", bound=Document)


class Query(BaseQuery[D], Generic[D]):
    """A query. `async for` over it yields every document, page by page."""

    def keys_only(self) -> "Query[Dict[str, Any]]":
        """Items are {"id": …}."""
        self._keys_only = True
        return cast("Query[Dict[str, Any]]", self)

    async def execute(self, tx: Optional[BaseTx] = None) -> Page[D]:
        return await drive_async(self._execute("execute", tx))

    async def execute_reverse(self, tx: Optional[BaseTx] = None) -> Page[D]:
        return await drive_async(self._execute("execute_reverse", tx, flip=True))

    async def execute_tx(self, tx: BaseTx) -> Page[D]:
        return await drive_async(self._execute_tx(tx))

    async def first(self, tx: Optional[BaseTx] = None) -> Optional[D]:
        """The first document, None when there is none."""
        return await drive_async(self._first(tx))

    async def count(self, tx: Optional[BaseTx] = None) -> int:
        """How many documents in all, whatever limit and cursor."""
        return await drive_async(self._count(tx))

    async def explain(self) -> Dict[str, Any]:
        """How it would be executed."""
        return await drive_async(self._explain())

    async def each(self, tx: Optional[BaseTx] = None) -> AsyncIterator[D]:
        """All documents. Without a transaction each page has a snapshot of its own."""
        pages = self._pages(tx)
        pending = next(pages)
        while True:
            page = await drive_async(pending)
            for item in page.items:
                yield item
            try:
                pending = pages.send(page)
            except StopIteration:
                return

    def __aiter__(self) -> AsyncIterator[D]:
        return self.each()


class Model(BaseModel[D], Generic[D]):
    """The records of one table."""

    # ---- Writing. events: the operation whose events are wanted; if_version: VersionMismatch unless it is the record's.

    async def build(
        self,
        document: D,
        tx: Optional[BaseTx] = None,
        *,
        events: Optional[str] = None,
        if_version: Optional[int] = None,
    ) -> D:
        """Inserts: the document as stored. AlreadyExists, UniqueViolation."""
        work = self._write("build", lib.tito_model_build, document, tx, events, if_version, False)
        return cast(D, await drive_async(work))

    async def update(
        self,
        document: D,
        tx: Optional[BaseTx] = None,
        *,
        events: Optional[str] = None,
        if_version: Optional[int] = None,
    ) -> D:
        """Replaces; NotFound."""
        work = self._write("update", lib.tito_model_update, document, tx, events, if_version, False)
        return cast(D, await drive_async(work))

    async def save(
        self,
        document: D,
        tx: Optional[BaseTx] = None,
        *,
        events: Optional[str] = None,
        if_version: Optional[int] = None,
    ) -> D:
        """Inserts or replaces."""
        work = self._write("save", lib.tito_model_save, document, tx, events, if_version, False)
        return cast(D, await drive_async(work))

    async def patch(
        self,
        id: str,
        changes: Mapping[str, Any],
        tx: Optional[BaseTx] = None,
        *,
        events: Optional[str] = None,
        if_version: Optional[int] = None,
    ) -> D:
        """Merges changes (RFC 7396: None removes a member) into the record; NotFound."""
        return cast(D, await drive_async(self._patch(id, changes, tx, events, if_version, False)))

    async def delete_by_id(
        self,
        id: str,
        tx: Optional[BaseTx] = None,
        *,
        events: Optional[str] = None,
        if_version: Optional[int] = None,
    ) -> bool:
        """Whether the record was there. Its events are about the record as it was."""
        return await drive_async(self._delete("delete_by_id", id, tx, events, if_version))

    # ---- The same with options as a dict: with_events(…), {"if_version": v}, {"version": True} (returns the version too)

    async def build_with_options(self, document: D, options: WriteOptions, tx: Optional[BaseTx] = None) -> Any:
        arguments = write_options(options, "build_with_options")
        return await drive_async(self._write("build_with_options", lib.tito_model_build, document, tx, *arguments))

    async def update_with_options(self, document: D, options: WriteOptions, tx: Optional[BaseTx] = None) -> Any:
        arguments = write_options(options, "update_with_options")
        return await drive_async(self._write("update_with_options", lib.tito_model_update, document, tx, *arguments))

    async def save_with_options(self, document: D, options: WriteOptions, tx: Optional[BaseTx] = None) -> Any:
        arguments = write_options(options, "save_with_options")
        return await drive_async(self._write("save_with_options", lib.tito_model_save, document, tx, *arguments))

    async def patch_with_options(
        self, id: str, changes: Mapping[str, Any], options: WriteOptions, tx: Optional[BaseTx] = None
    ) -> Any:
        return await drive_async(self._patch(id, changes, tx, *write_options(options, "patch_with_options")))

    async def delete_by_id_with_options(self, id: str, options: WriteOptions, tx: Optional[BaseTx] = None) -> bool:
        events, if_version, _ = write_options(options, "delete_by_id_with_options")
        return await drive_async(self._delete("delete_by_id_with_options", id, tx, events, if_version))

    async def assert_current(self, id: str, tx: BaseTx) -> None:
        """Makes the commit of tx raise Conflict when the record changes before it; NotFound."""
        await drive_async(self._assert_current(id, tx))

    # ---- Reading

    async def find_by_id(
        self,
        id: str,
        relationships: Optional[Sequence[str]] = None,
        tx: Optional[BaseTx] = None,
        *,
        lock: Union[bool, str] = False,
        wait: Optional[Duration] = None,
    ) -> Optional[D]:
        """The record, None when there is none. lock: True, or "nowait" (Busy); wait: how long for the lock."""
        return cast(Optional[D], await drive_async(self._find(id, relationships, tx, lock, wait, False)))

    async def find_with_version(
        self,
        id: str,
        relationships: Optional[Sequence[str]] = None,
        tx: Optional[BaseTx] = None,
        *,
        lock: Union[bool, str] = False,
        wait: Optional[Duration] = None,
    ) -> Optional[Tuple[D, int]]:
        """The record and its version, for if_version."""
        work = self._find(id, relationships, tx, lock, wait, True)
        return cast(Optional[Tuple[D, int]], await drive_async(work))

    async def find_many(
        self, ids: Iterable[str], relationships: Optional[Sequence[str]] = None, tx: Optional[BaseTx] = None
    ) -> List[D]:
        """The records that exist, in the order of ids."""
        return await drive_async(self._find_many(ids, relationships, tx))

    def query_by_index(self, name: str) -> Query[D]:
        return Query(self, name)

    async def scan(
        self,
        tx: Optional[BaseTx] = None,
        *,
        limit: Optional[int] = None,
        cursor: Optional[str] = None,
        reverse: bool = False,
        keys_only: bool = False,
        relationships: Optional[Sequence[str]] = None,
    ) -> Page[D]:
        """A page of the whole table, by id."""
        options = {
            "limit": limit,
            "cursor": cursor,
            "reverse": reverse,
            "keys_only": keys_only,
            "relationships": relationships,
        }
        return await Query(self, None)._take_options(options).execute(tx)


class Queue(BaseQueue):
    """A type of events."""

    async def publish(
        self,
        key: str,
        payload: Any = None,
        tx: Optional[BaseTx] = None,
        *,
        timestamp: Optional[Time] = None,
        delay: Optional[Duration] = None,
        unique: Optional[str] = None,
        on_duplicate: Optional[str] = None,
    ) -> Optional[str]:
        """Publishes an event in a transaction of its own: its id; or in tx: None, it gets one at the commit. unique: a
        token that no other unfinished event of the type may have (AlreadyExists, or with on_duplicate="return" its id).
        """
        options = {"unique": unique, "on_duplicate": on_duplicate}
        return await drive_async(self._publish(key, payload, timestamp, delay, options, tx))

    async def history(
        self,
        *,
        state: Optional[str] = None,
        key: Optional[str] = None,
        owner: Optional[str] = None,
        from_: Optional[Time] = None,
        to: Optional[Time] = None,
        limit: Optional[int] = None,
        cursor: Optional[str] = None,
    ) -> Page[Dict[str, Any]]:
        """A page of events. state: pending (when nothing is said), parked, completed, failed. owner: an entity or its id.
        """
        given = {"state": state, "key": key, "owner": owner, "from_": from_, "to": to, "limit": limit, "cursor": cursor}
        return await drive_async(self._history(given))

    async def replay(
        self,
        *,
        state: Optional[str] = None,
        key: Optional[str] = None,
        owner: Optional[str] = None,
        from_: Optional[Time] = None,
        to: Optional[Time] = None,
        into: Optional[str] = None,
    ) -> int:
        """Publishes completed events again (or failed ones, by state), as new ones that are due now: how many. from_, to:
        when they were finished; into: another type."""
        given = {"state": state, "key": key, "owner": owner, "from_": from_, "to": to, "into": into}
        return await drive_async(self._replay(given))

    async def purge(
        self,
        *,
        state: Optional[str] = None,
        key: Optional[str] = None,
        owner: Optional[str] = None,
        from_: Optional[Time] = None,
        to: Optional[Time] = None,
    ) -> int:
        """Deletes every event that fits (without a state those of every state): how many."""
        given = {"state": state, "key": key, "owner": owner, "from_": from_, "to": to}
        return await drive_async(self._purge(given))

    async def pause(self) -> None:
        """From now on no worker of any process is given events of this type; resume lets them go on."""
        await drive_async(self._set_paused(True))

    async def resume(self) -> None:
        await drive_async(self._set_paused(False))

    async def repartition(self, partitions: int) -> int:
        """Gives the type another partition count while it is in use: how many events were moved. Nothing of it is delivered
        until this ends; one that was cut short goes on when it is called again."""
        return await drive_async(self._repartition(partitions))

    async def stats(self) -> Dict[str, Any]:
        """How the type is now."""
        return await drive_async(self._stats())

    async def partitions(self) -> Dict[str, Any]:
        """How each partition is, seen from outside of the workers: partitions, complete, now, items."""
        return await drive_async(self._partitions())

    async def retry(self, id: str) -> None:
        """Makes a failed event pending again."""
        await drive_async(self._retry(id))

    async def drop(self, id: str) -> None:
        """Removes a failed or pending event."""
        await drive_async(self._drop(id))


class Database(BaseDatabase):
    """A database. `async with` closes it at the end of the block."""

    @overload
    def model(self, spec: Type[DocumentT]) -> Model[DocumentT]: ...

    @overload
    def model(self, spec: Mapping[str, Any]) -> Model[Dict[str, Any]]: ...

    def model(self, spec: Any) -> Model[Any]:
        """Declares a model: a class of Document, or a dict (documents are dicts then)."""
        return Model(self, spec)

    def begin(self, **options: Any) -> Transaction:
        """A transaction that the caller ends: `async with db.begin() as tx:`. Options as of transaction."""
        return Transaction(begin(self, options))

    async def transaction(self, work: Callable[[Transaction], Awaitable[T]], **options: Any) -> T:
        """Awaits work(tx), commits, and returns what work returned; again when it met a conflict. When work raises (or is
        cancelled), rolls back and raises the same. Options: timeout, attempts, age, read_only, causal."""
        if not callable(work):
            raise WrongType(f"transaction: a coroutine function expected, not {type(work).__name__}")

        def steps(tx: Transaction) -> Steps[T]:
            result: T = yield _awaitable(work(tx))
            return result

        return await drive_async(run_transaction(self, options, Transaction, steps))

    async def now(self) -> float:
        """The database's time, in seconds."""
        return await drive_async(self._now())

    def queue(self, type: str, **options: Any) -> Queue:
        """A type of events. Options: partitions, retention, ordering ("key", "partition", "none")."""
        return Queue(self, type, options)

    def worker(self, **options: Any) -> Worker:
        """Options: see tito.worker."""
        return Worker(self, options)

    async def reindex(
        self, table: Any, progress: Optional[Callable[[Dict[str, Any]], object]] = None
    ) -> Dict[str, Any]:
        """Fills the indexes of a table that are not readable yet. progress(info) is called after each step."""
        return await drive_async(self._steps("reindex", table, {}, progress))

    async def check(
        self,
        table: Any,
        *,
        repair: bool = False,
        cursor: Optional[str] = None,
        progress: Optional[Callable[[Dict[str, Any]], object]] = None,
    ) -> Dict[str, Any]:
        """Compares every record with its index entries: {"done", "found", "repaired", "findings"}.

        cursor: what progress was told as "cursor" by an earlier check of the table, to go on there.
        """
        return await drive_async(self._steps("check", table, check_options(repair, cursor), progress))

    async def drop_index(self, table: str, index: str) -> None:
        await drive_async(self._drop_index(table, index))

    async def drop_table(self, table: str) -> None:
        await drive_async(self._drop_table(table))

    async def backup(
        self, dir: Path, *, base: Optional[Path] = None, progress: Optional[Progress] = None
    ) -> Dict[str, Any]:
        """Makes a backup of an embedded database in a directory that is new or empty: {"time", "files", "size", "shared"}.
        base: an earlier backup whose files may be shared; progress(done, total) is told bytes, and ends it by False."""
        return await drive_async(_backup.backup(self, dir, base, progress))

    async def stats(self) -> Dict[str, Any]:
        """Statistics of engine, catalog and queues."""
        return await drive_async(self._stats())

    async def schedule(
        self,
        name: str,
        type: str,
        cron: str,
        *,
        key: Optional[str] = None,
        timezone: Optional[str] = None,
        payload: Any = None,
        catch_up: Optional[str] = None,
    ) -> None:
        """Makes or replaces a recurring event. cron: five fields, or @hourly, @daily, @weekly, @monthly, @yearly; catch_up:
        "one", "all" or "none" of the ticks that nobody was there for."""
        spec = {"name": name, "type": type, "cron": cron, "key": key, "timezone": timezone, "catch_up": catch_up}
        await drive_async(self._schedule(spec, payload))

    async def unschedule(self, name: str) -> None:
        await drive_async(self._unschedule(name))

    async def schedules(self) -> List[Dict[str, Any]]:
        """All recurring events, each with next, its next tick."""
        return await drive_async(self._schedules())

    async def queues(self) -> List[Dict[str, Any]]:
        """The types of events of the database: type, partitions, paused."""
        return await drive_async(self._queues())

    async def metrics(self) -> str:
        """Counters, lags and handler times of the event types that this process has met, as Prometheus text."""
        return await drive_async(self._metrics())

    async def schema(self) -> List[Dict[str, Any]]:
        """The catalog: tables with their indexes, versions and states."""
        return await drive_async(self._schema())

    async def cluster(self, regions: bool = False, locks: Optional[Duration] = None, resolve: bool = False) -> Dict[str, Any]:
        """What the cluster looks like (TiKV): members, stores, regions, gc, locks, rounds. locks: those of transactions
        that old; resolve: clears those of them whose owner is gone."""
        return await drive_async(self._cluster(regions, locks, resolve))

    async def gc(self, retention: Duration) -> None:
        """Removes old versions (TiKV)."""
        await drive_async(self._gc(retention))

    async def close(self) -> None:
        """Ends everything made from this database. Safe to call again. Cancelled, it goes on closing."""
        allow("close")
        if self._has_ended:
            return
        try:
            await pump_of(asyncio.get_running_loop()).told(self._begin_close)
            self._ended()
        except InvalidState:  # somebody else does it, or did: a thread waits for the end of that
            await asyncio.get_running_loop().run_in_executor(None, self._close)

    def _begin_close(self, queue: Any, tag: int, slot: Any) -> int:
        status: int = lib.tito_db_close_watch(self._handle, queue, tag, slot)
        return status

    async def __aenter__(self) -> "Database":
        return self

    async def __aexit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        await self.close()


def _awaitable(value: Any) -> Any:
    if not hasattr(value, "__await__"):
        raise InvalidState("transaction: the function must be a coroutine function (async def)")
    return value


async def connect(target: Any, **options: Any) -> Database:
    """Opens a database: as tito.connect."""
    database = Database(target, options)
    await drive_async(database._open())
    return database


async def connect_with_partitions(endpoints: Any, n: int) -> Database:
    """Connects to TiKV with n partitions as the default of its queues."""
    return await connect(endpoints, partitions=n)


async def verify_backup(dir: Path, *, progress: Optional[Progress] = None) -> Dict[str, Any]:
    """Compares the backup in a directory with the digests that were taken when it was made: {"time", "files", "size"};
    Corrupt names the file. progress as of Database.backup."""
    return await drive_async(_backup.verify(Database("memory:", {}), dir, progress))


async def restore(dir: Path, target: Any, *, progress: Optional[Progress] = None) -> Dict[str, Any]:
    """Copies the backup in a directory to the target (a directory that is new or empty), verifying it on the way."""
    return await drive_async(_backup.restore(Database(target, {}), dir, progress))


async def run_worker(queue: Queue, handler: Callable[..., Any], **options: Any) -> None:
    """Runs a worker that handles the events of one queue, until it is stopped or SIGTERM comes."""
    if not isinstance(queue, Queue):
        raise WrongType(f"run_worker needs a queue of tito.aio, not {type(queue).__name__}")
    worker = Worker(queue._database, options)
    worker.on(queue.type, handler)
    await worker.run()


__all__ = [
    "Database",
    "Model",
    "Query",
    "Queue",
    "Transaction",
    "Worker",
    "connect",
    "connect_with_partitions",
    "restore",
    "run_worker",
    "verify_backup",
]
