"""Backups: made, verified, restored; with a function that is told how far they are.

    future ── a moment passes ──> progress(done, total) ── False, or it raises: cancel ──┐
                 ^────────────────────┘                                                  v
                                                          told once more <── waited for to the end

INVARIANT: what progress raises, and a cancellation, is raised when the operation has ended: nothing half made is left.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any, Callable, Dict, Optional, Union

from tito._core import BaseDatabase
from tito._lib import ffi, lib
from tito._ops import Pending, allow, options_handle, pump_of, raw
from tito.errors import WrongType
from tito.values import decode, text_bytes

Path = Union[str, "os.PathLike[str]"]
#: Told (done, total), in bytes; total is 0 until it is known. False ends the operation.
Progress = Callable[[int, int], object]

_LOOK_S = 0.1


class Backup(Pending[Dict[str, Any]]):
    """An operation on a backup of a database, which it keeps from being freed, and who is told of it."""

    __slots__ = ("_database", "_place", "_progress")

    def __init__(self, database: BaseDatabase, future: Any, progress: Optional[Progress], what: str) -> None:
        super().__init__(future, lambda ready: decode(raw(ready)), patient=True)
        if progress is not None and not callable(progress):
            raise WrongType(f"{what}: progress must be a function, not {type(progress).__name__}")
        self._database, self._progress = database, progress
        self._place = ffi.new("int64_t[2]")

    def _tell(self) -> None:
        if self._progress is None:
            return
        lib.tito_future_progress(self.future, self._place, self._place + 1)
        if self._progress(self._place[0], self._place[1]) is False:
            self._progress = None
            lib.tito_future_cancel(self.future)

    def _end(self) -> None:
        """Ends it and waits for that, since it takes part of a directory with it."""
        lib.tito_future_cancel(self.future)
        lib.tito_future_wait(self.future, -1, ffi.NULL)
        self.free()

    def wait(self) -> Dict[str, Any]:
        try:
            while True:
                status = lib.tito_future_wait(self.future, int(_LOOK_S * 1e6), ffi.NULL)
                over = status != lib.TITO_TIMEOUT or lib.tito_future_ready(self.future)
                self._tell()
                if over:
                    return self.settle(status)
        except BaseException:
            if self.future != ffi.NULL:
                self._end()
            raise

    async def _told_while(self, ended: "asyncio.Future[None]") -> None:
        while not ended.done():
            await asyncio.wait({ended}, timeout=_LOOK_S)
            self._tell()

    async def wait_async(self) -> Dict[str, Any]:
        def watch(queue: Any, tag: int, slot: Any) -> int:
            status: int = lib.tito_future_watch(self.future, queue, tag, slot)
            return status

        ended = asyncio.ensure_future(pump_of(asyncio.get_running_loop()).told(watch))
        try:
            await self._told_while(ended)
        except BaseException:
            lib.tito_future_cancel(self.future)
            await asyncio.wait({ended})
            self.free()
            raise
        ended.result()
        return self.settle(lib.tito_future_wait(self.future, 0, ffi.NULL))


def _bytes_of(path: Any, what: str) -> bytes:
    if not isinstance(path, (str, os.PathLike)):
        raise WrongType(f"{what} must be a path, not {type(path).__name__}")
    return text_bytes(os.fspath(path), what)


def backup(database: BaseDatabase, dir: Path, base: Optional[Path], progress: Optional[Progress]) -> Backup:
    allow("backup")
    where = _bytes_of(dir, "backup: the directory")
    options = options_handle({} if base is None else {"base": _bytes_of(base, "backup: the base").decode()})
    return Backup(database, lib.tito_db_backup(database._handle, where, len(where), options), progress, "backup")


def verify(database: BaseDatabase, dir: Path, progress: Optional[Progress]) -> Backup:
    """database: any."""
    where = _bytes_of(dir, "verify_backup: the directory")
    return Backup(database, lib.tito_db_verify_backup(database._handle, where, len(where)), progress, "verify_backup")


def restore(database: BaseDatabase, dir: Path, progress: Optional[Progress]) -> Backup:
    """database: not open; what its target names is made."""
    where = _bytes_of(dir, "restore: the directory of the backup")
    return Backup(database, lib.tito_db_restore(database._handle, where, len(where)), progress, "restore")
