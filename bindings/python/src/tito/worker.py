"""Workers whose handlers are functions, run in threads.

    worker = db.worker(concurrency=5)

    @worker.on("user")
    def handle(event, tx): ...

    worker.run()                       # until worker.stop(), SIGINT or SIGTERM

    run ── this thread: signals, is_leader, the end ──┬── thread: take, handle, settle, again
                                                      └── thread …  (one more while all are busy, up to concurrency)

INVARIANTS
 1. An event is taken just before its handler starts, by the thread that runs it: its transaction belongs there.
 2. Handlers' threads end when the library says CLOSED: the worker has stopped and nothing is left.
 3. A thread that is still in a handler when the time to drain has passed is left alone: Python can not end it.
"""

from __future__ import annotations

import inspect
import signal
import threading
import time
from typing import Any, Callable, List, Mapping, Optional, Tuple, overload

from tito._core import BaseDatabase
from tito._lib import ffi, lib
from tito._ops import Pending, allow, drive
from tito._worker import LEADER_INTERVAL_S, BaseWorker, F, Handler, no_handler, outcome_of
from tito.errors import Closed, InvalidState
from tito.event import Event, LentTx, failure_of
from tito.transaction import Transaction

_POLL_S = 0.2
_WATCHED = (signal.SIGINT, signal.SIGTERM)


class Worker(BaseWorker):
    __doc__ = BaseWorker.__doc__

    def __init__(self, database: BaseDatabase, options: Mapping[str, Any]) -> None:
        super().__init__(database, options)
        self._lock = threading.Lock()
        self._threads: List[threading.Thread] = []
        self._idle = 0
        self._alive = 0
        self._ended = threading.Event()
        self._fatal: Optional[BaseException] = None
        self._leader_at = 0.0
        self._joining: Optional[Pending[bool]] = None

    @overload
    def on(self, type: str, handler: Callable[..., Any], **options: Any) -> "Worker": ...

    @overload
    def on(self, type: str, **options: Any) -> Callable[[F], F]: ...

    def on(self, type: str, handler: Optional[Callable[..., Any]] = None, **options: Any) -> Any:
        """Handles the events of a type with handler(event, tx) or handler(event); without a handler: a decorator. It
        acknowledges by returning, and fails the event by raising (or returning False). Options: retry, handler_timeout,
        concurrency, key_concurrency, rate, batch: with batch=N it is handler(events, tx), of up to N events of different
        keys that commit together; a batch that fails comes again in smaller ones, down to one event.
        """
        if handler is not None:
            self._on_checked(type, handler, options)
            return self

        def decorate(function: F) -> F:
            self._on_checked(type, function, options)
            return function

        return decorate

    def _on_checked(self, type: str, handler: Callable[..., Any], options: Mapping[str, Any]) -> None:
        if inspect.iscoroutinefunction(handler):
            raise InvalidState("on: a coroutine function needs the worker of tito.aio")
        self._on(type, handler, options)

    def _start(self, what: str) -> None:
        allow(what)
        if not self._started:
            drive(self._begin())
            self._started = True

    # ---- Handling

    def _serve(self, event: Event) -> None:
        """Runs the handler of an event and settles it. What ends the program ends the worker instead."""
        tx = _EventTransaction(event)
        handler, failure = self._handler_of(event), None
        try:
            failure = self._call(handler, event, tx) if handler is not None else no_handler(event)
        except Exception as error:
            failure = failure_of(error)
        except BaseException as error:
            failure = failure_of(error)
            self._fatal = error
            self.stop()
        finally:
            event._settle(tx, failure)

    def _call(self, handler: Handler, event: Event, tx: Any) -> Optional[str]:
        result = handler.call(event, tx)
        if inspect.isawaitable(result):
            if inspect.iscoroutine(result):
                result.close()
            return "the handler is a coroutine function: use the worker of tito.aio"
        return outcome_of(result)

    def _main(self) -> None:
        """A handlers' thread."""
        places = ffi.new("tito_event_t *[1]")
        try:
            while True:
                event = self._take(-1, places)
                if event is None:
                    continue
                with self._lock:
                    self._idle -= 1
                    if self._idle == 0 and self._alive < self._concurrency:
                        self._spawn()
                self._serve(event)
                with self._lock:
                    self._idle += 1
        except Closed:
            pass
        except BaseException as error:
            self._fatal = error
            self.stop(0)
        finally:
            with self._lock:
                self._alive -= 1
                if self._alive == 0:
                    self._ended.set()

    def _spawn(self) -> None:
        """One more thread. The lock is held (or nobody else runs yet)."""
        thread = threading.Thread(target=self._main, name=f"tito-worker-{self._alive}", daemon=True)
        self._alive += 1
        self._idle += 1
        try:
            thread.start()
        except RuntimeError:  # no more threads: the others do the work
            self._alive -= 1
            self._idle -= 1
            if self._alive == 0:
                raise

    # ---- run

    def run(self) -> None:
        """Runs until the worker is stopped and everything that had started has ended. Raises Timeout when it had not
        within the time to drain. SIGINT and SIGTERM drain; a second one ends at once."""
        if self._running or self._ended.is_set():
            raise InvalidState("run: the worker runs already, or has run")
        self._start("run")
        self._running = True
        before = self._watch_signals()
        try:
            with self._lock:
                self._spawn()
            while not self._ended.wait(_POLL_S):
                self._ask_leader()
                if self._is_over():
                    break
            drained = drive(self._join())
        except BaseException:
            self.stop(0)
            raise
        finally:
            for number, handler in before:
                signal.signal(number, handler)
            self._running = False
        if self._fatal is not None:
            raise self._fatal
        self._drained(drained and self._ended.wait(_POLL_S))

    def _watch_signals(self) -> List[Tuple[int, Any]]:
        """Installs the handlers; what was there before. A signal that is ignored stays ignored."""
        before: List[Tuple[int, Any]] = []
        if not self._signals or threading.current_thread() is not threading.main_thread():
            return before
        for number in _WATCHED:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                before.append((number, signal.signal(number, self._on_signal)))
        return before

    def _on_signal(self, _number: int, _frame: Any) -> None:
        if self._stop_at is None:
            self.stop()
        else:
            self.stop(0)

    def _ask_leader(self) -> None:
        if self._is_leader is None or time.monotonic() < self._leader_at:
            return
        try:
            self._set_leader(self._is_leader())
        except Exception as error:
            self._leader_failed(error)
        self._leader_at = time.monotonic() + LEADER_INTERVAL_S

    # ---- For other event loops

    def fd(self) -> int:
        """A descriptor that is readable when step has something to do."""
        self._start("fd")
        fd: int = lib.tito_worker_fd(self._handle)
        return fd

    def step(self, ms: float = 0) -> bool:
        """One turn in this thread that waits at most ms milliseconds for a first event: True while the worker goes on,
        False when it has ended."""
        if self._running:
            raise InvalidState("step: a handler can not run the worker that runs it")
        self._start("step")
        self._ask_leader()
        timeout_us = max(0, int(ms * 1000))
        self._running = True
        try:
            for _ in range(self._concurrency):
                event = self._take(timeout_us, self._events)
                if event is None:
                    break
                self._serve(event)
                timeout_us = 0
        except Closed:
            return self._step_to_end(timeout_us)
        finally:
            self._running = False
        return True

    def _step_to_end(self, timeout_us: int) -> bool:
        """True while commits are under way; raises what join says."""
        if self._joining is None:
            self._joining = self._join()
        status = lib.tito_future_wait(self._joining.future, timeout_us, ffi.NULL)
        if status == lib.TITO_TIMEOUT and not lib.tito_future_ready(self._joining.future):
            return True
        joining, self._joining = self._joining, None
        drained = joining.settle(status)
        if self._fatal is not None:
            raise self._fatal
        self._drained(drained)
        return False


class _EventTransaction(LentTx, Transaction):
    """The transaction that a handler gets."""
