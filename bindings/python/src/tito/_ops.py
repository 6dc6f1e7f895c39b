"""Operations: written once, driven in two ways.

    Pending      one future of the library, and what becomes of its result
    steps        a generator that yields Pendings (and, of the program's functions, their results) and returns a value

    drive(…)  waits in the calling thread               await drive_async(…)  waits on the loop, by a completion queue

The loop's side: tito_future_watch puts a tag into the loop's completion queue, whose descriptor loop.add_reader
watches; drain wakes the waiters. No thread of Python's takes part.

INVARIANTS
 1. A future is freed exactly once: by settle, or by Pending.__del__.
 2. A waiter is in Pump.waiting from before its future is watched until it is woken or cancelled; a completion whose
    tag is not there any more is dropped.
 3. While a model's function runs (host.py), no operation can be made in that thread.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
import weakref
from typing import Any, Awaitable, Callable, Dict, Generator, Generic, TypeVar, Union

from tito._lib import NULL, ffi, lib
from tito.errors import FORK_ADVICE, Closed, Forked, InvalidState, check, error_slot, raise_status

T = TypeVar("T")

#: How long a wait that a signal must be able to end lasts at once.
_SLICE_US = 100_000
_DRAIN_MAX = 256


class _Local(threading.local):
    in_host = False
    in_log = False


local = _Local()


class Owned:
    """A pointer of the library's, freed with the last reference to this object.

    Not ffi.gc: where the collector ends a cycle its objects' finalizers run in any order, and one of them may still use what
    is freed already. It is told so here.
    """

    __slots__ = ("_pointer", "_free")

    def __init__(self, pointer: Any, free: Any) -> None:
        self._pointer, self._free = pointer, free

    def get(self) -> Any:
        if self._pointer is None:
            raise Closed("it is gone already: an object that is being collected uses another that is")
        return self._pointer

    def release(self) -> None:
        pointer, self._pointer = self._pointer, None
        if pointer is not None:
            self._free(pointer)

    __del__ = release


def allow(what: str) -> None:
    """Raises when this thread runs a model's function, or a log function."""
    if local.in_log:
        raise InvalidState(f"{what}: a log function can not call tito")
    if local.in_host:
        raise InvalidState(
            f"{what}: a model's functions (conditions, events, partition_key, references) can not call tito"
        )


class Pending(Generic[T]):
    """A future of the library, yours to settle once."""

    __slots__ = ("_finish", "future", "patient")

    def __init__(self, future: Any, finish: Callable[[Any], T], patient: bool = False) -> None:
        #: tito_future_t *; NULL when there was no memory, which waiting tells.
        self.future = future
        self._finish = finish
        #: It may take long: the wait looks for signals.
        self.patient = patient

    def free(self) -> None:
        future, self.future = self.future, NULL
        if future != NULL:
            lib.tito_future_free(future)

    __del__ = free

    def settle(self, status: int) -> T:
        """The result of a future that is ready with status, or raises its error; frees it."""
        try:
            if status == 0:
                return self._finish(self.future)
            slot = error_slot()
            raise_status(lib.tito_future_wait(self.future, 0, slot), slot)
        finally:
            self.free()

    def wait(self) -> T:
        """Waits in this thread."""
        if not self.patient:
            return self.settle(lib.tito_future_wait(self.future, -1, NULL))
        while True:
            status = lib.tito_future_wait(self.future, _SLICE_US, NULL)
            if status != lib.TITO_TIMEOUT or lib.tito_future_ready(self.future):
                return self.settle(status)

    async def wait_async(self) -> T:
        """Waits on the running loop. Cancelled: asks the operation to end and drops its result."""
        await pump_of(asyncio.get_running_loop()).completion(self)
        return self.settle(lib.tito_future_wait(self.future, 0, NULL))


# ---- Driving

Steps = Generator[Any, Any, T]


def drive(work: Union[Pending[T], Steps[T]]) -> T:
    """Runs work to its end in this thread."""
    if isinstance(work, Pending):
        return work.wait()
    steps: Any = work
    try:
        item = next(steps)
        while True:
            try:
                value = item.wait() if isinstance(item, Pending) else _not_awaitable(item)
            except BaseException as error:
                item = steps.throw(error)
            else:
                item = steps.send(value)
    except StopIteration as stop:
        result: T = stop.value
        return result


def _not_awaitable(value: Any) -> Any:
    if inspect.isawaitable(value):
        if inspect.iscoroutine(value):
            value.close()
        raise InvalidState("a coroutine function was given to the blocking interface: use tito.aio")
    return value


async def drive_async(work: Union[Pending[T], Steps[T]]) -> T:
    """Runs work to its end on the running loop. What it yields besides Pendings is awaited."""
    if isinstance(work, Pending):
        return await work.wait_async()
    steps: Any = work
    try:
        item = next(steps)
        while True:
            try:
                value = await (item.wait_async() if isinstance(item, Pending) else item)
            except BaseException as error:
                item = steps.throw(error)
            else:
                item = steps.send(value)
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        steps.close()


# ---- The loop's side


class Pump:
    """The completion queue of one event loop."""

    def __init__(self) -> None:
        slot, out = error_slot(), ffi.new("tito_cq_t **")
        check(lib.tito_cq_new(out, slot), slot)
        self._queue = ffi.gc(out[0], lib.tito_cq_free)
        self._tags = ffi.new("uint64_t[]", _DRAIN_MAX)
        self._next = 0
        self._process = os.getpid()
        self.waiting: Dict[int, asyncio.Future[None]] = {}

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.add_reader(lib.tito_cq_fd(self._queue), self._drain)

    def _drain(self) -> None:
        while True:
            count = lib.tito_cq_drain(self._queue, self._tags, _DRAIN_MAX)
            for tag in self._tags[0:count]:
                waiter = self.waiting.pop(tag, None)
                if waiter is not None and not waiter.done():
                    waiter.set_result(None)
            if count < _DRAIN_MAX:
                return

    async def told(self, start: Callable[[Any, int, Any], int]) -> None:
        """Has start(queue, tag, error slot) begin something, and returns when the queue tells of it. Cancelled: it goes on."""
        if os.getpid() != self._process:
            raise Forked("the event loop was made before this process was forked" + FORK_ADVICE)
        waiter = asyncio.get_running_loop().create_future()
        self._next += 1
        tag, slot = self._next, error_slot()
        self.waiting[tag] = waiter
        try:
            check(start(self._queue, tag, slot), slot)
            await waiter
        finally:
            self.waiting.pop(tag, None)

    async def completion(self, pending: Pending[Any]) -> None:
        """Starts the future and returns when it is ready. Otherwise it is cancelled and freed."""
        try:
            await self.told(lambda queue, tag, slot: lib.tito_future_watch(pending.future, queue, tag, slot))
        except Forked:
            pending.free()
            raise
        except BaseException:
            lib.tito_future_cancel(pending.future)
            pending.free()
            raise


_pumps: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Pump]" = weakref.WeakKeyDictionary()


def pump_of(loop: asyncio.AbstractEventLoop) -> Pump:
    """The loop's pump, made at its first operation. It lives as long as the loop."""
    pump = _pumps.get(loop)
    if pump is None:
        pump = Pump()
        pump.attach(loop)
        _pumps[loop] = pump
    return pump


# ---- What futures have


def nothing(_future: Any) -> None:
    return None


def integer(future: Any) -> int:
    value: int = lib.tito_future_int(future)
    return value


def flag(future: Any) -> bool:
    return bool(lib.tito_future_int(future) != 0)


def seconds(future: Any) -> float:
    value: int = lib.tito_future_int(future)
    return value / 1e6


def raw(future: Any) -> bytes:
    piece = lib.tito_future_bytes(future)
    data: bytes = ffi.buffer(piece.data, piece.len)[:] if piece.len else b""
    return data


# ---- Options


def options_handle(options: Dict[str, Any]) -> Any:
    """tito_options_t * (freed with the object), or NULL for none."""
    if not options:
        return NULL
    made = lib.tito_options_new()
    if made == NULL:
        raise MemoryError("there is no memory for options")
    handle = ffi.gc(made, lib.tito_options_free)
    for name, value in options.items():
        if isinstance(value, bool):
            text = b"true" if value else b"false"
            status = lib.tito_options_set(handle, name.encode(), text, len(text))
        elif isinstance(value, int):
            status = lib.tito_options_set_int(handle, name.encode(), value)
        else:
            text = value.encode()
            status = lib.tito_options_set(handle, name.encode(), text, len(text))
        check(status, error_slot())
    return handle


Handler = Callable[..., Union[T, Awaitable[T]]]
