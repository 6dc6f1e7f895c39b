"""Queries: what is asked, collected step by step, executed as often as wanted.

    Post.query_by_index("by_author").value("Alice").gte(20230101).limit(10).relationship("tags").execute()

INVARIANT: a query holds encoded values only; each execution makes a tito_query_t of its own, so that one query object
may be executed by several threads.
"""

from __future__ import annotations

import datetime
from typing import Any, Dict, Generic, List, Mapping, Optional, Tuple, TypeVar

from tito._core import BaseModel, BaseTx, Page, _Find, pointer_of, read_page
from tito._lib import ffi, lib
from tito._ops import Pending, Steps, allow, integer, raw
from tito.errors import InvalidArgument, WrongType, check, error_slot
from tito.values import datetime_us, decode, encode, text_bytes

D = TypeVar("D")
Q = TypeVar("Q", bound="BaseQuery[Any]")

LIMIT_MAX = 10_000


def _value(value: Any, what: str) -> bytes:
    if isinstance(value, datetime.datetime):
        value = datetime_us(value, what) / 1e6
    if isinstance(value, (dict, list, tuple)):
        raise WrongType(f"{what}: a str, number, bool or None expected, not {type(value).__name__}")
    return encode(value, what)


class BaseQuery(Generic[D]):
    """A query of a model; index None: over the whole table."""

    def __init__(self, model: BaseModel[D], index: Optional[str]) -> None:
        self._model = model
        self._index = None if index is None else text_bytes(index, "query_by_index: the name of the index")
        self._values: List[bytes] = []
        self._bounds: List[Tuple[int, bytes]] = []
        self._relationships: List[bytes] = []
        self._limit: Optional[int] = None
        self._cursor: Optional[bytes] = None
        self._reverse = False
        self._keys_only = False

    # ---- Asking

    def value(self: Q, value: Any) -> Q:
        """The value of the next field of the index; None for records without one."""
        self._values.append(_value(value, "value"))
        return self

    def _bound(self: Q, bound: int, value: Any, what: str) -> Q:
        if value is None:
            raise WrongType(f"{what}: a value expected")
        self._bounds.append((bound, _value(value, what)))
        return self

    def gt(self: Q, value: Any) -> Q:
        """The field after the last value is greater."""
        return self._bound(lib.TITO_GT, value, "gt")

    def gte(self: Q, value: Any) -> Q:
        return self._bound(lib.TITO_GTE, value, "gte")

    def lt(self: Q, value: Any) -> Q:
        return self._bound(lib.TITO_LT, value, "lt")

    def lte(self: Q, value: Any) -> Q:
        return self._bound(lib.TITO_LTE, value, "lte")

    def between(self: Q, low: Any, high: Any) -> Q:
        """Both ends included."""
        return self._bound(lib.TITO_GTE, low, "between")._bound(lib.TITO_LTE, high, "between")

    def starts_with(self: Q, prefix: str) -> Q:
        if not isinstance(prefix, str):
            raise WrongType(f"starts_with: the prefix must be a str, not {type(prefix).__name__}")
        return self._bound(lib.TITO_STARTS_WITH, prefix, "starts_with")

    def limit(self: Q, count: int) -> Q:
        """At most so many items on a page (100 when not said)."""
        if isinstance(count, bool) or not isinstance(count, int):
            raise WrongType(f"limit: an int expected, not {type(count).__name__}")
        if not 1 <= count <= LIMIT_MAX:
            raise InvalidArgument(f"limit: 1 to {LIMIT_MAX} expected")
        self._limit = count
        return self

    def cursor(self: Q, cursor: Optional[str]) -> Q:
        """Goes on behind an earlier page; None begins anew."""
        self._cursor = None if cursor is None else text_bytes(cursor, "cursor: the cursor")
        return self

    def relationship(self: Q, path: str) -> Q:
        """Hydrates a relationship: the name of its destination, or a chain ("tags.category")."""
        self._relationships.append(text_bytes(path, "relationship: the path"))
        return self

    def reverse(self: Q) -> Q:
        self._reverse = not self._reverse
        return self

    def _take_options(self: Q, options: Mapping[str, Any]) -> Q:
        """The options of a scan."""
        for name, value in options.items():
            if name == "relationships":
                if isinstance(value, (str, bytes)):
                    raise WrongType("scan: relationships must be a list of str")
                for path in value or ():
                    self.relationship(path)
            elif name == "limit" and value is not None:
                self.limit(value)
            elif name == "cursor":
                self.cursor(value)
            elif name == "reverse" and value:
                self.reverse()
            elif name == "keys_only" and value:
                self._keys_only = True
        return self

    # ---- Executing

    def _make(self, flip: bool, cursor: Optional[bytes]) -> Any:
        """A tito_query_t * (freed with the object). What is wrong with its parts is told by the execution."""
        slot, out = error_slot(), ffi.new("tito_query_t **")
        if self._index is None:
            check(lib.tito_query_scan(self._model._handle, out, slot), slot)
        else:
            check(lib.tito_query_new(self._model._handle, self._index, len(self._index), out, slot), slot)
        query = ffi.gc(out[0], lib.tito_query_free)
        for value in self._values:
            lib.tito_query_value(query, value, len(value))
        for bound, value in self._bounds:
            lib.tito_query_bound(query, bound, value, len(value))
        for path in self._relationships:
            lib.tito_query_relationship(query, path, len(path))
        if self._limit is not None:
            lib.tito_query_limit(query, self._limit)
        if cursor is not None:
            lib.tito_query_cursor(query, cursor, len(cursor))
        if self._reverse != flip:
            lib.tito_query_reverse(query, 1)
        if self._keys_only:
            lib.tito_query_keys_only(query, 1)
        return query

    def _load(self) -> Any:
        return self._model._codec.load

    def _execute(
        self, what: str, tx: Optional[BaseTx], flip: bool = False, cursor: Optional[bytes] = None
    ) -> Pending[Page[D]]:
        allow(what)
        query = self._make(flip, self._cursor if cursor is None else cursor)
        load = self._load()
        return Pending(lib.tito_query_execute(query, pointer_of(tx, what)), lambda ready: read_page(ready, load))

    def _execute_tx(self, tx: Optional[BaseTx]) -> Pending[Page[D]]:
        if tx is None:
            raise WrongType("execute_tx: a transaction expected")
        return self._execute("execute_tx", tx)

    def _first(self, tx: Optional[BaseTx]) -> Pending[Optional[D]]:
        allow("first")
        query = self._make(False, self._cursor)
        load = (lambda found: found) if self._keys_only else self._load()
        return _Find(lib.tito_query_first(query, pointer_of(tx, "first")), lambda ready: load(decode(raw(ready))))

    def _count(self, tx: Optional[BaseTx]) -> Pending[int]:
        allow("count")
        query = self._make(False, None)
        return Pending(lib.tito_query_count(query, pointer_of(tx, "count")), integer)

    def _explain(self) -> Pending[Dict[str, Any]]:
        allow("explain")
        return Pending(lib.tito_query_explain(self._make(False, self._cursor)), lambda ready: decode(raw(ready)))

    def _pages(self, tx: Optional[BaseTx]) -> Steps[None]:
        """Yields the Pending of each page in turn; is sent the page."""
        cursor: Optional[bytes] = None
        while True:
            page = yield self._execute("each", tx, cursor=cursor)
            if page.cursor is None:
                return
            cursor = page.cursor.encode()
