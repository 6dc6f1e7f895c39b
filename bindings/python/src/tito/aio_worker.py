"""Transactions and workers for asyncio (tito.aio has them).

    worker's descriptor ── add_reader ──> take what may run now ──> a task each: handler, settle
                                          no free place: the reader rests until a task has ended

INVARIANTS
 1. At most `concurrency` handlers run at once; an event is taken just before its task starts.
 2. Handlers whose time has passed, and those that run when the time to drain has passed, are cancelled.
 3. All of it runs in the loop's thread; stop may be called from any.
"""

from __future__ import annotations

import asyncio
import inspect
import signal
import threading
from types import TracebackType
from typing import Any, Callable, Dict, List, Mapping, Optional, Set, Tuple, Type, overload

from tito._core import BaseDatabase, BaseTx
from tito._lib import lib
from tito._ops import allow, drive_async
from tito._worker import LEADER_INTERVAL_S, BaseWorker, F, no_handler, outcome_of
from tito.errors import Closed, InvalidState
from tito.event import Event, LentTx, failure_of
from tito.values import Duration

_POLL_S = 0.2
_WATCHED = (signal.SIGINT, signal.SIGTERM)
_START_MAX = 64  # events started in one turn of the loop


class Transaction(BaseTx):
    """A transaction. `async with` commits at the end of the block, and rolls back when the block raises."""

    async def commit(self) -> int:
        """The commit's version. The transaction has ended, also when this raises."""
        return await drive_async(self._commit())

    async def rollback(self) -> None:
        await drive_async(self._rollback())

    async def start_version(self) -> int:
        """The snapshot's timestamp; takes the snapshot when there is none yet."""
        return await drive_async(self._start_version())

    async def __aenter__(self) -> "Transaction":
        self._pointer("async with")
        return self

    async def __aexit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        if self._handle is None or self._managed is not None:
            return
        if kind is None:
            await self.commit()
        else:
            self._release()


class _EventTransaction(LentTx, Transaction):
    """The transaction that a handler gets."""


class Worker(BaseWorker):
    __doc__ = BaseWorker.__doc__

    def __init__(self, database: BaseDatabase, options: Mapping[str, Any]) -> None:
        super().__init__(database, options)
        self._tasks: Dict[asyncio.Task[None], Event] = {}
        self._late: Set[asyncio.Task[None]] = set()
        self._reading = False
        self._closed = False
        self._gave_up = False
        self._fatal: Optional[BaseException] = None
        self._fd = -1
        self._loop: Optional[asyncio.AbstractEventLoop] = None
        self._wake: Optional[asyncio.Event] = None

    @overload
    def on(self, type: str, handler: Callable[..., Any], **options: Any) -> "Worker": ...

    @overload
    def on(self, type: str, **options: Any) -> Callable[[F], F]: ...

    def on(self, type: str, handler: Optional[Callable[..., Any]] = None, **options: Any) -> Any:
        """Handles the events of a type with handler(event, tx) or handler(event), coroutine functions or plain ones;
        without a handler: a decorator. It acknowledges by returning, and fails the event by raising (or returning
        False). Options: retry, handler_timeout,
        concurrency, key_concurrency, rate, batch: with batch=N it is handler(events, tx), of up to N events of different
        keys that commit together; a batch that fails comes again in smaller ones, down to one event."""
        if handler is not None:
            self._on(type, handler, options)
            return self

        def decorate(function: F) -> F:
            self._on(type, function, options)
            return function

        return decorate

    def stop(self, drain_timeout: Optional[Duration] = None) -> None:
        super().stop(drain_timeout)
        loop, wake = self._loop, self._wake
        if loop is not None and wake is not None:
            try:
                loop.call_soon_threadsafe(wake.set)
            except RuntimeError:
                pass  # the loop has ended, and with it run

    # ---- Handling

    def _read(self, on: bool) -> None:
        loop = self._loop
        if loop is None:
            return
        if on and not self._reading and not self._closed:
            loop.add_reader(self._fd, self._ready)
            self._reading = True
        elif not on and self._reading:
            loop.remove_reader(self._fd)
            self._reading = False

    def _ready(self) -> None:
        """Takes events and starts their tasks, while there is room."""
        try:
            for _ in range(_START_MAX):
                if len(self._tasks) >= self._concurrency:
                    self._read(False)
                    return
                event = self._take(0, self._events)
                if event is None:
                    return
                self._spawn(event)
        except Closed:
            self._finish_reading()
        except BaseException as error:
            self._fatal = error
            self._finish_reading()

    def _finish_reading(self) -> None:
        self._read(False)
        self._closed = True
        assert self._wake is not None
        self._wake.set()

    def _spawn(self, event: Event) -> None:
        assert self._loop is not None
        task = self._loop.create_task(self._serve(event), name=f"tito {event.type} {event.id}")
        self._tasks[task] = event
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        event = self._tasks.pop(task)
        if event._handle is not None:  # cancelled before its first step
            event._settle(BaseTx(None), self._why_cancelled(task))
        self._late.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._fatal = task.exception()
            self.stop(0)
        if self._closed and self._wake is not None:
            self._wake.set()
        elif not self._closed and self._wake is not None:
            self._read(True)

    def _why_cancelled(self, task: Optional[asyncio.Task[None]]) -> str:
        if task in self._late:
            return "the handler was cancelled: its time has passed"
        if self._gave_up:
            return "the worker stopped before the handler had ended"
        return "the handler was cancelled"

    async def _serve(self, event: Event) -> None:
        tx = _EventTransaction(event)
        handler, failure = self._handler_of(event), None
        try:
            if handler is None:
                failure = no_handler(event)
            else:
                result = handler.call(event, tx)
                failure = outcome_of(await result if inspect.isawaitable(result) else result)
        except asyncio.CancelledError:
            failure = self._why_cancelled(asyncio.current_task())
        except Exception as error:
            failure = failure_of(error)
        except BaseException as error:
            failure = failure_of(error)
            raise
        finally:
            event._settle(tx, failure)

    # ---- run

    async def run(self) -> None:
        """Runs until the worker is stopped and everything that had started has ended. Raises Timeout when it had not
        within the time to drain. SIGINT and SIGTERM drain; a second one ends at once. Cancelled: ends at once."""
        allow("run")
        if self._running or self._started:
            raise InvalidState("run: the worker runs already, or has run")
        self._running = self._started = True
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        before: List[Tuple[int, Any]] = []
        try:
            await drive_async(self._begin())
            before = self._watch_signals()
            self._fd = lib.tito_worker_fd(self._handle)
            self._read(True)
            await self._supervise()
            await self._cancel_all()
            drained = await drive_async(self._join())
        except BaseException:
            self.stop(0)
            await self._cancel_all()
            raise
        finally:
            self._read(False)
            self._restore_signals(before)
            self._running = False
            self._loop = self._wake = None
        if self._fatal is not None:
            raise self._fatal
        self._drained(drained and not self._gave_up)

    async def _supervise(self) -> None:
        """Until the library has no more and the last handler has ended."""
        loop, leader_at = asyncio.get_running_loop(), 0.0
        assert self._wake is not None
        while not (self._closed and not self._tasks):
            if self._is_leader is not None and loop.time() >= leader_at:
                await self._ask_leader()
                leader_at = loop.time() + LEADER_INTERVAL_S
            for task, event in list(self._tasks.items()):
                if task not in self._late and event.expired:
                    self._late.add(task)
                    task.cancel()
            if self._is_over():
                return
            try:
                await asyncio.wait_for(self._wake.wait(), _POLL_S)
                self._wake.clear()
            except asyncio.TimeoutError:
                pass

    async def _cancel_all(self) -> None:
        self._read(False)
        if not self._tasks:
            return
        self._gave_up = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=_POLL_S)

    async def _ask_leader(self) -> None:
        assert self._is_leader is not None
        try:
            leads = self._is_leader()
            self._set_leader(await leads if inspect.isawaitable(leads) else leads)
        except Exception as error:
            self._leader_failed(error)

    # ---- Signals

    def _watch_signals(self) -> List[Tuple[int, Any]]:
        before: List[Tuple[int, Any]] = []
        if not self._signals or threading.current_thread() is not threading.main_thread():
            return before
        assert self._loop is not None
        for number in _WATCHED:
            known = signal.getsignal(number)
            if known in (signal.SIG_IGN, None):
                continue
            self._loop.add_signal_handler(number, self._on_signal)
            before.append((number, known))
        return before

    def _restore_signals(self, before: List[Tuple[int, Any]]) -> None:
        assert self._loop is not None
        for number, handler in before:
            self._loop.remove_signal_handler(number)
            signal.signal(number, handler)

    def _on_signal(self) -> None:
        if self._stop_at is None:
            self.stop()
        else:
            self.stop(0)

    # ---- For those who watch it themselves

    def fd(self) -> int:
        """A descriptor that is readable while events wait or the worker has ended."""
        fd: int = lib.tito_worker_fd(self._handle)
        return fd


__all__ = ["Transaction", "Worker"]
