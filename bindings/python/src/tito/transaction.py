"""The blocking interface's transactions."""

from __future__ import annotations

from types import TracebackType
from typing import Optional, Type

from tito._core import BaseTx
from tito._ops import drive


class Transaction(BaseTx):
    """A transaction. As a context manager it commits at the end of the block, and rolls back when the block raises."""

    def commit(self) -> int:
        """The commit's version. The transaction has ended, also when this raises."""
        return drive(self._commit())

    def rollback(self) -> None:
        drive(self._rollback())

    @property
    def start_version(self) -> int:
        """The snapshot's timestamp; takes the snapshot when there is none yet."""
        return drive(self._start_version())

    def __enter__(self) -> "Transaction":
        self._pointer("with")
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        if self._handle is None or self._managed is not None:
            return
        if kind is None:
            self.commit()
        else:
            self._release()
