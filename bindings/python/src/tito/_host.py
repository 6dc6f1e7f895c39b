"""What a model's functions (conditions, events, partition_key, references) say of a document, as the library takes it.

    document ── as it will be stored: destinations removed, defaults added ──> functions ──> tito_write_t

They run in the calling thread before the operation is made. One that raises fails the write, and the error names it.
While one runs, this thread can not call tito.
"""

from __future__ import annotations

import inspect
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

from tito._lib import NULL, ffi, lib
from tito._ops import local
from tito.errors import HandlerFailed, InvalidArgument, WrongType, check, error_slot
from tito.values import encode, text_bytes

Document = Dict[str, Any]
Function = Callable[[Any], Any]

_MEMBERS = (
    "table",
    "indexes",
    "unique_indexes",
    "relationships",
    "fields",
    "timestamps",
    "events",
    "partition_key",
    "references",
)


# ---- The document as it will be stored


def _without(document: Any, steps: List[str], at: int) -> Any:
    """document without the path; shared with the original where nothing changes."""
    if isinstance(document, (list, tuple)):
        items = [_without(item, steps, at) for item in document]
        same = all(new is old for new, old in zip(items, document))
        return document if same else items
    if not isinstance(document, dict) or steps[at] not in document:
        return document
    name = steps[at]
    if at + 1 == len(steps):
        return {key: value for key, value in document.items() if key != name}
    changed = _without(document[name], steps, at + 1)
    return document if changed is document[name] else {**document, name: changed}


def _with_default(document: Document, steps: List[str], at: int, value: Any) -> Document:
    """document with value at the path when nothing is there."""
    name = steps[at]
    if at + 1 == len(steps):
        return document if name in document else {**document, name: value}
    member = document.get(name, {})
    if not isinstance(member, dict):
        return document
    changed = _with_default(member, steps, at + 1, value)
    return document if changed is member and name in document else {**document, name: changed}


def _defaults_of(fields: Any) -> List[Tuple[List[str], Any]]:
    out: List[Tuple[List[str], Any]] = []
    if isinstance(fields, Mapping):
        for path, field in fields.items():
            if isinstance(path, str) and isinstance(field, Mapping) and field.get("default") is not None:
                out.append((path.split("."), field["default"]))
    return out


def _list_of(spec: Mapping[str, Any], name: str) -> List[Any]:
    value = spec.get(name)
    if value is None:
        return []
    if not isinstance(value, (list, tuple)):
        raise WrongType(f"model: {name} must be a list, not {type(value).__name__}")
    return list(value)


class Host:
    """The functions of one model, and the spec without them."""

    def __init__(self, spec: Mapping[str, Any], load: Callable[[Document], Any]) -> None:
        for name in spec:
            if name not in _MEMBERS:
                raise InvalidArgument(f"model: a spec has no member '{name}'")
        table = spec.get("table")
        if not isinstance(table, str):
            raise WrongType("model: the member 'table' must be a str")
        self.table = table
        self._load = load
        self._conditions: List[Tuple[str, Function]] = []
        self._functions: Dict[str, Function] = {}
        self.plain = self._take(spec)
        self._defaults = _defaults_of(spec.get("fields"))
        self._destinations = [
            relationship["destination_field_name"].split(".")
            for relationship in _list_of(spec, "relationships")
            if isinstance(relationship, Mapping) and isinstance(relationship.get("destination_field_name"), str)
        ]
        self.for_events = bool(self._functions)
        self.any = self.for_events or bool(self._conditions)

    def _take(self, spec: Mapping[str, Any]) -> Document:
        """The spec as the library reads it."""
        plain = {name: value for name, value in spec.items() if value is not None}
        for name in ("indexes", "unique_indexes"):
            if name in plain:
                plain[name] = [self._plain_index(index) for index in _list_of(spec, name)]
        if "relationships" in plain:
            plain["relationships"] = [_plain_relationship(r) for r in _list_of(spec, "relationships")]
        for name in ("events", "partition_key", "references"):
            function = plain.get(name)
            if callable(function):
                self._functions[name] = function
                plain[name] = "host"
        return plain

    def _plain_index(self, index: Any) -> Any:
        if not isinstance(index, Mapping) or not callable(index.get("condition")):
            return index
        self._conditions.append((str(index.get("name")), index["condition"]))
        return {**index, "condition": "host"}

    def as_stored(self, document: Document) -> Document:
        for steps in self._destinations:
            document = _without(document, steps, 0)
        for steps, value in self._defaults:
            document = _with_default(document, steps, 0, value)
        return document

    # ---- Calling

    def _failed(self, what: str, index: Optional[str], reason: str) -> HandlerFailed:
        message = f"table '{self.table}': {what} failed: {reason}; nothing was written"
        return HandlerFailed(message, table=self.table, index=index)

    def _call(self, function: Function, document: Any, what: str, index: Optional[str] = None) -> Any:
        outer, local.in_host = local.in_host, True
        try:
            result = function(document)
        except Exception as error:
            raise self._failed(what, index, _text_of(error)) from error
        finally:
            local.in_host = outer
        if inspect.isawaitable(result):
            if inspect.iscoroutine(result):
                result.close()
            raise self._failed(what, index, "it is a coroutine function, and a model's functions can not wait")
        return result

    def _view(self, document: Document) -> Any:
        """The document as the functions get it."""
        outer, local.in_host = local.in_host, True
        try:
            return self._load(document)
        finally:
            local.in_host = outer

    def conditions(self, document: Document) -> int:
        """The condition bits of a stored document."""
        bits, view = 0, self._view(document)
        for k, (name, function) in enumerate(self._conditions):
            what = f"the condition of index '{name}'"
            result = self._call(function, view, what, name)
            try:
                holds = bool(result)
            except Exception as error:
                raise self._failed(what, name, _text_of(error)) from error
            bits |= holds << k
        return bits

    def _events(self, document: Document, write: Any) -> None:
        view = self._view(document)
        for name, (kind, setter) in _RESULTS.items():
            function = self._functions.get(name)
            if function is None:
                continue
            what = f"the function {name}"
            result = self._call(function, view, what)
            if result is None:
                continue
            if not isinstance(result, (list, tuple) if kind is list else kind):
                raise self._failed(what, None, f"it returned a {type(result).__name__}, not a {kind.__name__}")
            if kind is list and not result:
                continue
            told = f"what {name} returned"
            text = encode(result, told) if kind is list else text_bytes(result, told)
            check(setter(write, text, len(text)), error_slot())

    def evaluate(
        self,
        document: Optional[Document],
        operation: Optional[str],
        if_version: Optional[int],
        skip_conditions: bool = False,
    ) -> Any:
        """What the library needs for a write: a tito_write_t * (freed with the object), or NULL. document None: nothing
        is asked of it."""
        if operation is None and if_version is None and (document is None or not self._conditions):
            return NULL
        made = lib.tito_write_new()
        if made == NULL:
            raise MemoryError("there is no memory for a write")
        write = ffi.gc(made, lib.tito_write_free)
        if operation is not None:
            text = text_bytes(operation, "the operation of events")
            check(lib.tito_write_operation(write, text, len(text)), error_slot())
        if if_version is not None:
            check(lib.tito_write_if_version(write, _version(if_version)), error_slot())
        if document is None:
            return write
        if self.any:
            document = self.as_stored(document)
        if self._conditions and not skip_conditions:
            check(lib.tito_write_conditions(write, self.conditions(document)), error_slot())
        if operation is not None and self.for_events:
            self._events(document, write)
        return write


_RESULTS: Dict[str, Tuple[type, Any]] = {
    "events": (list, lib.tito_write_events),
    "partition_key": (str, lib.tito_write_partition_key),
    "references": (list, lib.tito_write_references),
}


def _version(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise WrongType(f"if_version must be an int, not {type(value).__name__}")
    if not 0 < value < 1 << 64:
        raise InvalidArgument("if_version must be the version that a read has returned")
    return value


def _text_of(error: BaseException) -> str:
    """What an exception says; never raises."""
    try:
        text = str(error)
    except Exception:
        text = "an error that can not be shown"
    name = type(error).__name__
    return f"{name}: {text}" if text else name


def _plain_relationship(relationship: Any) -> Any:
    """Relationships may name a model by its table or by the model itself (or its class)."""
    if not isinstance(relationship, Mapping):
        return relationship
    model = relationship.get("model")
    table = getattr(model, "__tito_table__", None) or getattr(model, "table", None)
    return {**relationship, "model": table} if isinstance(table, str) else relationship
