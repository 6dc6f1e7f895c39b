"""The blocking interface: databases, transactions, models, queries, queues. tito.aio is its twin.

A call waits in the calling thread, with Python's lock released. Every method takes an optional transaction; without it
the operation is a transaction of its own.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Callable, Dict, Generator, Generic, Iterable, Iterator, List, Mapping, Optional, Sequence
from typing import Tuple, Type, TypeVar, Union, cast, overload

from tito import _backup
from tito._backup import Path, Progress
from tito._core import BaseDatabase, BaseModel, BaseTx, Page, begin, check_options, run_transaction
from tito._lib import lib
from tito._ops import Steps, drive
from tito._query import BaseQuery
from tito._queue import BaseQueue
from tito.document import Document
from tito.errors import WrongType
from tito.transaction import Transaction
from tito.values import Duration, Time
from tito.worker import Worker

D = TypeVar("D")
T = TypeVar("T")
DocumentT = TypeVar("DocumentT", bound=Document)
DictModel = "Model[Dict[str, Any]]"


class Query(BaseQuery[D], Generic[D]):
    """A query. Iterating over it yields every document, page by page."""

    def keys_only(self) -> "Query[Dict[str, Any]]":
        """Items are {"id": …}."""
        self._keys_only = True
        return cast("Query[Dict[str, Any]]", self)

    def execute(self, tx: Optional[BaseTx] = None) -> Page[D]:
        return drive(self._execute("execute", tx))

    def execute_reverse(self, tx: Optional[BaseTx] = None) -> Page[D]:
        return drive(self._execute("execute_reverse", tx, flip=True))

    def execute_tx(self, tx: BaseTx) -> Page[D]:
        return drive(self._execute_tx(tx))

    def first(self, tx: Optional[BaseTx] = None) -> Optional[D]:
        """The first document, None when there is none."""
        return drive(self._first(tx))

    def count(self, tx: Optional[BaseTx] = None) -> int:
        """How many documents in all, whatever limit and cursor."""
        return drive(self._count(tx))

    def explain(self) -> Dict[str, Any]:
        """How it would be executed."""
        return drive(self._explain())

    def each(self, tx: Optional[BaseTx] = None) -> Iterator[D]:
        """All documents. Without a transaction each page has a snapshot of its own."""
        pages = self._pages(tx)
        pending = next(pages)
        while True:
            page = drive(pending)
            yield from page.items
            try:
                pending = pages.send(page)
            except StopIteration:
                return

    def __iter__(self) -> Iterator[D]:
        return self.each()


class Model(BaseModel[D], Generic[D]):
    """The records of one table."""

    # ---- Writing. events: the operation whose events are wanted; if_version: VersionMismatch unless it is the record's;
    # version=True: returns (document, version).

    def build(
        self,
        document: D,
        tx: Optional[BaseTx] = None,
        *,
        events: Optional[str] = None,
        if_version: Optional[int] = None,
    ) -> D:
        """Inserts: the document as stored. AlreadyExists, UniqueViolation."""
        return cast(D, drive(self._write("build", lib.tito_model_build, document, tx, events, if_version, False)))

    def update(
        self,
        document: D,
        tx: Optional[BaseTx] = None,
        *,
        events: Optional[str] = None,
        if_version: Optional[int] = None,
    ) -> D:
        """Replaces; NotFound."""
        return cast(D, drive(self._write("update", lib.tito_model_update, document, tx, events, if_version, False)))

    def save(
        self,
        document: D,
        tx: Optional[BaseTx] = None,
        *,
        events: Optional[str] = None,
        if_version: Optional[int] = None,
    ) -> D:
        """Inserts or replaces."""
        return cast(D, drive(self._write("save", lib.tito_model_save, document, tx, events, if_version, False)))

    def patch(
        self,
        id: str,
        changes: Mapping[str, Any],
        tx: Optional[BaseTx] = None,
        *,
        events: Optional[str] = None,
        if_version: Optional[int] = None,
    ) -> D:
        """Merges changes (RFC 7396: None removes a member) into the record; NotFound."""
        return cast(D, drive(self._patch(id, changes, tx, events, if_version, False)))

    def delete_by_id(
        self,
        id: str,
        tx: Optional[BaseTx] = None,
        *,
        events: Optional[str] = None,
        if_version: Optional[int] = None,
    ) -> bool:
        """Whether the record was there. Its events are about the record as it was."""
        return drive(self._delete("delete_by_id", id, tx, events, if_version))

    # ---- The same with options as a dict: with_events(…), {"if_version": v}, {"version": True} (returns the version too)

    def build_with_options(self, document: D, options: "WriteOptions", tx: Optional[BaseTx] = None) -> Any:
        arguments = write_options(options, "build_with_options")
        return drive(self._write("build_with_options", lib.tito_model_build, document, tx, *arguments))

    def update_with_options(self, document: D, options: "WriteOptions", tx: Optional[BaseTx] = None) -> Any:
        arguments = write_options(options, "update_with_options")
        return drive(self._write("update_with_options", lib.tito_model_update, document, tx, *arguments))

    def save_with_options(self, document: D, options: "WriteOptions", tx: Optional[BaseTx] = None) -> Any:
        arguments = write_options(options, "save_with_options")
        return drive(self._write("save_with_options", lib.tito_model_save, document, tx, *arguments))

    def patch_with_options(
        self, id: str, changes: Mapping[str, Any], options: "WriteOptions", tx: Optional[BaseTx] = None
    ) -> Any:
        return drive(self._patch(id, changes, tx, *write_options(options, "patch_with_options")))

    def delete_by_id_with_options(self, id: str, options: "WriteOptions", tx: Optional[BaseTx] = None) -> bool:
        events, if_version, _ = write_options(options, "delete_by_id_with_options")
        return drive(self._delete("delete_by_id_with_options", id, tx, events, if_version))

    def assert_current(self, id: str, tx: BaseTx) -> None:
        """Makes the commit of tx raise Conflict when the record changes before it; NotFound."""
        drive(self._assert_current(id, tx))

    # ---- Reading

    def find_by_id(
        self,
        id: str,
        relationships: Optional[Sequence[str]] = None,
        tx: Optional[BaseTx] = None,
        *,
        lock: Union[bool, str] = False,
        wait: Optional[Duration] = None,
    ) -> Optional[D]:
        """The record, None when there is none. lock: True, or "nowait" (Busy); wait: how long for the lock."""
        return cast(Optional[D], drive(self._find(id, relationships, tx, lock, wait, False)))

    def find_with_version(
        self,
        id: str,
        relationships: Optional[Sequence[str]] = None,
        tx: Optional[BaseTx] = None,
        *,
        lock: Union[bool, str] = False,
        wait: Optional[Duration] = None,
    ) -> Optional[Tuple[D, int]]:
        """The record and its version, for if_version."""
        return cast(Optional[Tuple[D, int]], drive(self._find(id, relationships, tx, lock, wait, True)))

    def find_many(
        self, ids: Iterable[str], relationships: Optional[Sequence[str]] = None, tx: Optional[BaseTx] = None
    ) -> List[D]:
        """The records that exist, in the order of ids."""
        return drive(self._find_many(ids, relationships, tx))

    def query_by_index(self, name: str) -> Query[D]:
        return Query(self, name)

    def scan(
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
        return Query(self, None)._take_options(options).execute(tx)


class Queue(BaseQueue):
    """A type of events."""

    def publish(
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
        return drive(self._publish(key, payload, timestamp, delay, options, tx))

    def history(
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
        return drive(self._history(given))

    def replay(
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
        return drive(self._replay(given))

    def purge(
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
        return drive(self._purge(given))

    def pause(self) -> None:
        """From now on no worker of any process is given events of this type; resume lets them go on."""
        drive(self._set_paused(True))

    def resume(self) -> None:
        drive(self._set_paused(False))

    def repartition(self, partitions: int) -> int:
        """Gives the type another partition count while it is in use: how many events were moved. Nothing of it is delivered
        until this ends; one that was cut short goes on when it is called again."""
        return drive(self._repartition(partitions))

    def stats(self) -> Dict[str, Any]:
        """How the type is now."""
        return drive(self._stats())

    def partitions(self) -> Dict[str, Any]:
        """How each partition is, seen from outside of the workers: partitions, complete, now, items."""
        return drive(self._partitions())

    def retry(self, id: str) -> None:
        """Makes a failed event pending again."""
        drive(self._retry(id))

    def drop(self, id: str) -> None:
        """Removes a failed or pending event."""
        drive(self._drop(id))


class Database(BaseDatabase):
    """A database. As a context manager it closes at the end of the block."""

    @overload
    def model(self, spec: Type[DocumentT]) -> Model[DocumentT]: ...

    @overload
    def model(self, spec: Mapping[str, Any]) -> Model[Dict[str, Any]]: ...

    def model(self, spec: Any) -> Model[Any]:
        """Declares a model: a class of Document, or a dict (documents are dicts then)."""
        return Model(self, spec)

    def begin(self, **options: Any) -> Transaction:
        """A transaction that the caller ends: `with db.begin() as tx:`. Options as of transaction."""
        return Transaction(begin(self, options))

    def transaction(self, work: Callable[[Transaction], T], **options: Any) -> T:
        """Runs work(tx), commits, and returns what work returned; runs it again when it met a conflict. When work raises,
        rolls back and raises the same. Options: timeout (of all attempts), attempts, age, read_only, causal."""
        if not callable(work):
            raise WrongType(f"transaction: a function expected, not {type(work).__name__}")

        def steps(tx: Transaction) -> Steps[T]:
            result: T = yield work(tx)
            return result

        return drive(run_transaction(self, options, Transaction, steps))

    def now(self) -> float:
        """The database's time, in seconds."""
        return drive(self._now())

    def queue(self, type: str, **options: Any) -> Queue:
        """A type of events. Options: partitions, retention, ordering ("key", "partition", "none")."""
        return Queue(self, type, options)

    def worker(self, **options: Any) -> Worker:
        """Options: see tito.worker."""
        return Worker(self, options)

    def reindex(
        self, table: Any, progress: Optional[Callable[[Dict[str, Any]], object]] = None
    ) -> Dict[str, Any]:
        """Fills the indexes of a table that are not readable yet. progress(info) is called after each step."""
        return drive(self._steps("reindex", table, {}, progress))

    def check(
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
        return drive(self._steps("check", table, check_options(repair, cursor), progress))

    def drop_index(self, table: str, index: str) -> None:
        drive(self._drop_index(table, index))

    def drop_table(self, table: str) -> None:
        drive(self._drop_table(table))

    def backup(
        self, dir: Path, *, base: Optional[Path] = None, progress: Optional[Progress] = None
    ) -> Dict[str, Any]:
        """Makes a backup of an embedded database in a directory that is new or empty: {"time", "files", "size", "shared"}.
        base: an earlier backup whose files may be shared; progress(done, total) is told bytes, and ends it by False."""
        return drive(_backup.backup(self, dir, base, progress))

    def stats(self) -> Dict[str, Any]:
        """Statistics of engine, catalog and queues."""
        return drive(self._stats())

    def schedule(
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
        drive(self._schedule(spec, payload))

    def unschedule(self, name: str) -> None:
        drive(self._unschedule(name))

    def schedules(self) -> List[Dict[str, Any]]:
        """All recurring events, each with next, its next tick."""
        return drive(self._schedules())

    def queues(self) -> List[Dict[str, Any]]:
        """The types of events of the database: type, partitions, paused."""
        return drive(self._queues())

    def metrics(self) -> str:
        """Counters, lags and handler times of the event types that this process has met, as Prometheus text."""
        return drive(self._metrics())

    def schema(self) -> List[Dict[str, Any]]:
        """The catalog: tables with their indexes, versions and states."""
        return drive(self._schema())

    def cluster(self, regions: bool = False, locks: Optional[Duration] = None, resolve: bool = False) -> Dict[str, Any]:
        """What the cluster looks like (TiKV): members, stores, regions, gc, locks, rounds. locks: those of transactions
        that old; resolve: clears those of them whose owner is gone."""
        return drive(self._cluster(regions, locks, resolve))

    def gc(self, retention: Duration) -> None:
        """Removes old versions (TiKV)."""
        drive(self._gc(retention))

    def close(self) -> None:
        """Ends everything made from this database. Safe to call again."""
        self._close()

    def __enter__(self) -> "Database":
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()


WriteOptions = Mapping[str, Any]
_WRITE_OPTIONS = {"events": str, "if_version": int, "version": bool}


def write_options(options: Any, what: str) -> Tuple[Optional[str], Optional[int], bool]:
    """events, if_version, version of a dict of options."""
    if not isinstance(options, Mapping):
        raise WrongType(f"{what}: the options must be a dict, not {type(options).__name__}")
    for name, value in options.items():
        kind = _WRITE_OPTIONS.get(name)
        if kind is None:
            raise WrongType(f"{what}: there is no option '{name}'")
        if value is not None and not isinstance(value, kind):
            raise WrongType(f"{what}: the option '{name}' must be {kind.__name__}")
    return options.get("events"), options.get("if_version"), bool(options.get("version"))


def connect(target: Any, **options: Any) -> Database:
    """Opens a database. target: a directory, "rocksdb:path", "memory:", "tikv://pd1:2379,pd2:2379", or a list of PD
    endpoints."""
    database = Database(target, options)
    drive(database._open())
    return database


def connect_with_partitions(endpoints: Any, n: int) -> Database:
    """Connects to TiKV with n partitions as the default of its queues."""
    return connect(endpoints, partitions=n)


def verify_backup(dir: Path, *, progress: Optional[Progress] = None) -> Dict[str, Any]:
    """Compares the backup in a directory with the digests that were taken when it was made: {"time", "files", "size"};
    Corrupt names the file. progress as of Database.backup."""
    return drive(_backup.verify(Database("memory:", {}), dir, progress))


def restore(dir: Path, target: Any, *, progress: Optional[Progress] = None) -> Dict[str, Any]:
    """Copies the backup in a directory to the target (a directory that is new or empty), verifying it on the way."""
    return drive(_backup.restore(Database(target, {}), dir, progress))


__all__ = [
    "Database",
    "Generator",
    "Model",
    "Query",
    "Queue",
    "Transaction",
    "connect",
    "connect_with_partitions",
    "restore",
    "verify_backup",
]
