"""Models as classes: a Document's annotations say which members its records have.

    class Post(tito.Document, table="post"):
        title: str
        published_at: int = 0
        tag_ids: List[str] = tito.field(default_factory=list)
        tags: Optional[List[Tag]] = None                       # filled by the relationship

        indexes = [tito.index("by_date", "published_at")]
        relationships = [tito.relationship("tag_ids", "tags", Tag)]

        def events(self) -> List[tito.EventSpec]:
            return [{"name": "post", "payload": {"title": self.title}}]

    class ── annotations ──> converters (dump, load) and "fields"    ── attributes ──> the spec of a dict model

A Document is a dataclass whose first field is id. Members that a record has and the class has not are kept and written
back, so that two versions of a program can share a table. A field that is None is left out when None is its default.

Converted: datetime ⇄ seconds since the epoch (aware, comes back in UTC), Enum ⇄ its value, dataclasses ⇄ objects, and
lists, tuples, dicts and Optionals of these. Refused when the class is declared: Decimal, UUID, date, bytes, sets.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import sys
import typing
import uuid
from typing import TYPE_CHECKING, Any, Callable, ClassVar, Dict, Generic, List, Mapping, Optional, Sequence, Tuple, Type
from typing import TypeVar, Union

from tito.errors import InvalidArgument, SchemaMismatch, WrongType
from tito.values import datetime_of_us, datetime_us

if TYPE_CHECKING:
    from typing_extensions import NotRequired, TypedDict, dataclass_transform

    class EventSpec(TypedDict):
        """What a model's events returns, in a list."""

        name: str
        payload: NotRequired[Any]
        timestamp: NotRequired[float]
        key: NotRequired[str]

else:
    EventSpec = Dict[str, Any]

    def dataclass_transform(**_options: Any) -> Callable[[Any], Any]:
        return lambda kind: kind


D = TypeVar("D")
Convert = Optional[Callable[[Any], Any]]
field = dataclasses.field

_REFUSED: Dict[type, str] = {
    decimal.Decimal: "JSON numbers are not decimal: use str, or an int of the smallest unit",
    uuid.UUID: "use str",
    datetime.date: "use datetime or str",
    datetime.time: "use str",
    datetime.timedelta: "use float (seconds)",
    bytes: "use str, for instance base64",
    bytearray: "use str, for instance base64",
    set: "use a list",
    frozenset: "use a list",
    complex: "use a list of two floats",
}
_PLAIN = (str, int, float, bool, object, type(None))
_MEMBER_TYPES: Dict[Any, str] = {str: "string", int: "integer", float: "number", bool: "boolean"}
_INDEX_TYPES: Dict[Any, str] = {str: "string", int: "number", float: "number", bool: "boolean"}


# ---- Saying what a model has


def index(
    name: str,
    *fields: Union[str, Mapping[str, Any]],
    condition: Union[Callable[[Any], object], bool, None] = None,
    where: Optional[Mapping[str, Any]] = None,
    sparse: Optional[bool] = None,
    covering: Optional[bool] = None,
    version: Optional[int] = None,
) -> Dict[str, Any]:
    """An index over fields: paths ("author", "address.city"), "-path" for descending order, or { name, type, order }.
    Types that are not said come from the class's annotations."""
    given = {"condition": condition, "where": where, "sparse": sparse, "covering": covering, "version": version}
    spec: Dict[str, Any] = {"name": name, "fields": [_index_field(f) for f in fields]}
    spec.update({key: value for key, value in given.items() if value is not None})
    return spec


def _index_field(given: Union[str, Mapping[str, Any]]) -> Dict[str, Any]:
    if not isinstance(given, str):
        return dict(given)
    return {"name": given[1:], "order": "desc"} if given.startswith("-") else {"name": given}


def relationship(source: str, destination: str, model: Any) -> Dict[str, Any]:
    """The records whose ids are at source are put at destination. model: a Document class, a model, or a table."""
    return {"source_field_name": source, "destination_field_name": destination, "model": model}


@dataclass_transform(field_specifiers=(dataclasses.field,))
class _Dataclass:
    """Makes a dataclass of each subclass."""

    __tito_table__: ClassVar[str] = ""

    def __init_subclass__(cls, *, table: Optional[str] = None, **options: Any) -> None:
        super().__init_subclass__(**options)
        dataclasses.dataclass(cls)
        if table is not None:
            cls.__tito_table__ = table


class Document(_Dataclass):
    """A record with an id. Subclasses declare its members by annotations."""

    id: str

    #: As in the spec of a dict model.
    indexes: ClassVar[Sequence[Mapping[str, Any]]] = ()
    unique_indexes: ClassVar[Sequence[Mapping[str, Any]]] = ()
    relationships: ClassVar[Sequence[Mapping[str, Any]]] = ()
    timestamps: ClassVar[bool] = False


# ---- Converters


class Codec(Generic[D]):
    """How documents of one model become dicts for JSON and back. spec: of the model, as a dict."""

    def __init__(
        self,
        spec: Mapping[str, Any],
        dump: Callable[[D, str], Dict[str, Any]],
        load: Callable[[Any], D],
        dump_changes: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    ) -> None:
        self.spec = spec
        self.dump = dump
        self.load = load
        self.dump_changes = dump_changes


def _dump_dict(document: Any, what: str) -> Dict[str, Any]:
    if not isinstance(document, dict):
        raise WrongType(f"{what}: the document must be a dict, not {type(document).__name__}")
    return document


def _check_changes(changes: Any) -> Mapping[str, Any]:
    if not isinstance(changes, dict):
        raise WrongType(f"patch: the changes must be a dict, not {type(changes).__name__}")
    return changes


def _same(value: Any) -> Any:
    return value


def codec_of(spec: Any) -> Codec[Any]:
    """Of a Document class, or of a spec as a dict (documents are dicts then)."""
    if isinstance(spec, type) and issubclass(spec, Document):
        return _class_codec(spec)
    if not isinstance(spec, Mapping):
        raise WrongType(f"model: a spec is a dict or a class of tito.Document, not {type(spec).__name__}")
    return Codec(spec, _dump_dict, _same, _check_changes)


def _dump_datetime(value: Any) -> Any:
    if not isinstance(value, datetime.datetime):
        raise WrongType(f"a datetime expected, not {type(value).__name__}")
    return datetime_us(value, "a field") / 1e6


def _load_datetime(value: Any) -> Any:
    return datetime_of_us(round(value * 1e6))


def _dump_enum(value: Any) -> Any:
    return value.value


class _Record:
    """The converters of one dataclass."""

    def __init__(self, kind: type) -> None:
        self.kind = kind
        # (name, dump, load, the default is None, it has no default)
        self.members: List[Tuple[str, Convert, Convert, bool, bool]] = []
        self.names: "frozenset[str]" = frozenset()
        self.hints: Dict[str, Any] = {}

    def fill(self, known: Dict[type, "_Record"]) -> None:
        self.hints = typing.get_type_hints(self.kind)
        for member in dataclasses.fields(self.kind):
            dump, load = _converters(self.hints[member.name], known, f"{self.kind.__name__}.{member.name}")
            none = member.default is None
            missing = member.default is dataclasses.MISSING and member.default_factory is dataclasses.MISSING
            self.members.append((member.name, dump, load, none, missing))
        self.names = frozenset(member[0] for member in self.members)

    def dump(self, value: Any, what: str = "a field") -> Dict[str, Any]:
        if not isinstance(value, self.kind):
            raise WrongType(f"{what}: a {self.kind.__name__} expected, not {type(value).__name__}")
        out: Dict[str, Any] = dict(getattr(value, "_tito_more", ()))
        for name, dump, _, none, _ in self.members:
            member = getattr(value, name)
            if member is None:
                if not none:
                    out[name] = None
            elif dump is None:
                out[name] = member
            else:
                try:
                    out[name] = dump(member)
                except InvalidArgument as error:
                    raise type(error)(f"{what}: {self.kind.__name__}.{name}: {error.message}") from None
        return out

    def load(self, value: Any) -> Any:
        if not isinstance(value, dict):
            raise SchemaMismatch(f"a stored {self.kind.__name__} is no object")
        members: Dict[str, Any] = {}
        for name, _, load, _, missing in self.members:
            if name in value:
                member = value[name]
                members[name] = member if load is None or member is None else self._convert(load, member, name)
            elif missing:
                raise SchemaMismatch(f"a stored {self.kind.__name__} has no '{name}', and the class no default for it")
        if len(members) < len(value):
            members["_tito_more"] = {name: member for name, member in value.items() if name not in self.names}
        if len(members) < len(self.members) + ("_tito_more" in members):
            self._add_defaults(members)
        return self._make(members)

    def _make(self, members: Dict[str, Any]) -> Any:
        made: Any = object.__new__(self.kind)
        try:
            made.__dict__.update(members)
        except AttributeError:  # a dataclass with slots
            for name in self.names:
                object.__setattr__(made, name, members[name])
        return made

    def _convert(self, load: Callable[[Any], Any], member: Any, name: str) -> Any:
        try:
            return load(member)
        except (TypeError, ValueError, OverflowError) as error:
            raise SchemaMismatch(
                f"what is stored as '{name}' does not fit {self.kind.__name__}: it is a {type(member).__name__}"
            ) from error

    def _add_defaults(self, members: Dict[str, Any]) -> None:
        for member in dataclasses.fields(self.kind):
            if member.name in members:
                continue
            if member.default_factory is not dataclasses.MISSING:
                members[member.name] = member.default_factory()
            else:
                members[member.name] = member.default


def _list_converters(item: Any, known: Dict[type, _Record], where: str, make: type) -> Tuple[Convert, Convert]:
    dump, load = _converters(item, known, where)
    if dump is None and load is None and make is list:
        return None, None
    return (
        None if dump is None else lambda values: [None if v is None else dump(v) for v in values],
        lambda values: make(v if v is None or load is None else load(v) for v in values),
    )


def _dict_converters(arguments: Sequence[Any], known: Dict[type, _Record], where: str) -> Tuple[Convert, Convert]:
    if len(arguments) != 2:
        return None, None
    if arguments[0] not in (str, Any):
        raise WrongType(f"{where}: the keys of a dict must be str")
    dump, load = _converters(arguments[1], known, where)
    return (
        None if dump is None else lambda value: {k: None if v is None else dump(v) for k, v in value.items()},
        None if load is None else lambda value: {k: None if v is None else load(v) for k, v in value.items()},
    )


def _is_union(origin: Any) -> bool:
    return origin is Union or (sys.version_info >= (3, 10) and type(origin) is type and origin.__name__ == "UnionType")


def _union_converters(arguments: Sequence[Any], known: Dict[type, _Record], where: str) -> Tuple[Convert, Convert]:
    rest = [argument for argument in arguments if argument is not type(None)]
    if len(rest) == 1:
        return _converters(rest[0], known, where)
    for argument in rest:
        if _converters(argument, known, where) != (None, None):
            raise WrongType(f"{where}: of a Union only one type may need a conversion, and then nothing but None with it")
    return None, None


def _class_converters(hint: type, known: Dict[type, _Record], where: str) -> Tuple[Convert, Convert]:
    if issubclass(hint, datetime.datetime):
        return _dump_datetime, _load_datetime
    for kind, advice in _REFUSED.items():
        if issubclass(hint, kind):
            raise WrongType(f"{where}: a {hint.__name__} can not be stored: {advice}")
    if issubclass(hint, enum.Enum):
        return _dump_enum, hint
    if dataclasses.is_dataclass(hint):
        record = known.get(hint)
        if record is None:
            record = known[hint] = _Record(hint)
            record.fill(known)
        return record.dump, record.load
    if hint in _PLAIN or issubclass(hint, (str, int, float, list, dict)):
        return None, None
    if hint is tuple:
        return None, tuple
    raise WrongType(f"{where}: a {hint.__name__} can not be stored")


def _converters(hint: Any, known: Dict[type, _Record], where: str) -> Tuple[Convert, Convert]:
    """(dump, load) for values of a type; None: they are stored as they are."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or isinstance(hint, TypeVar) or origin is typing.Literal:
        return None, None
    if _is_union(origin):
        return _union_converters(arguments, known, where)
    if origin in (list, typing.get_origin(Sequence[int])):
        return _list_converters(arguments[0], known, where, list)
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return _list_converters(arguments[0], known, where, tuple)
        raise WrongType(f"{where}: of tuples only Tuple[X, ...] can be stored")
    if origin in (dict, typing.get_origin(Mapping[str, int])):
        return _dict_converters(arguments, known, where)
    if isinstance(hint, type):
        return _class_converters(hint, known, where)
    if isinstance(origin, type):
        return _class_converters(origin, known, where)
    raise WrongType(f"{where}: {hint!r} can not be stored")


# ---- The spec of a class


def _bare(hint: Any) -> Tuple[Any, bool]:
    """hint without None, and whether None was allowed."""
    if not _is_union(typing.get_origin(hint)):
        return hint, hint is Any
    rest = [argument for argument in typing.get_args(hint) if argument is not type(None)]
    return (rest[0] if len(rest) == 1 else Any), len(rest) < len(typing.get_args(hint))


def _scalar(hint: Any, table: Dict[Any, str]) -> Optional[str]:
    """The library's type of a scalar annotation."""
    if not isinstance(hint, type):
        return None
    if issubclass(hint, datetime.datetime):
        return "number"
    if issubclass(hint, enum.Enum):
        kinds = {type(member.value) for member in hint}
        return table.get(kinds.pop()) if len(kinds) == 1 else None
    return next((table[kind] for kind in (bool, str, int, float) if issubclass(hint, kind)), None)


def _member_type(hint: Any) -> str:
    origin = typing.get_origin(hint) or hint
    scalar = _scalar(hint, _MEMBER_TYPES)
    if scalar is not None:
        return scalar
    if isinstance(origin, type) and issubclass(origin, (list, tuple)) or origin is typing.get_origin(Sequence[int]):
        return "array"
    if isinstance(origin, type) and (issubclass(origin, dict) or dataclasses.is_dataclass(origin)):
        return "object"
    return "object" if origin is typing.get_origin(Mapping[str, int]) else "any"


def _fields_of(kind: Type[Document], hints: Dict[str, Any], skip: "frozenset[str]") -> Dict[str, Any]:
    out: Dict[str, Any] = {}
    for member in dataclasses.fields(kind):
        if member.name in skip:
            continue
        hint, optional = _bare(hints[member.name])
        required = (
            not optional
            and member.default is dataclasses.MISSING
            and member.default_factory is dataclasses.MISSING
        )
        out[member.name] = {"type": _member_type(hint), "required": required}
    return out


def _field_type(hints: Dict[str, Any], path: str) -> Optional[str]:
    """The index type of what an annotated path leads to."""
    steps = path.split(".")
    hint: Any = hints.get(steps[0])
    for i in range(len(steps)):
        hint, _ = _bare(hint)
        if typing.get_origin(hint) in (list, tuple, typing.get_origin(Sequence[int])):
            hint, _ = _bare(typing.get_args(hint)[0])
        if i + 1 < len(steps):
            hint = typing.get_type_hints(hint).get(steps[i + 1]) if dataclasses.is_dataclass(hint) else None
    return _scalar(hint, _INDEX_TYPES)


def _typed_index(kind: Type[Document], hints: Dict[str, Any], given: Mapping[str, Any]) -> Dict[str, Any]:
    out, fields = dict(given), []
    for member in given.get("fields", ()):
        member = _index_field(member)
        if "type" not in member:
            found = _field_type(hints, str(member.get("name")))
            if found is None:
                raise InvalidArgument(
                    f"model: index '{given.get('name')}' of {kind.__name__}: the annotations do not say the type of "
                    f"'{member.get('name')}'; write it as {{'name': …, 'type': …}}"
                )
            member["type"] = found
        fields.append(member)
    out["fields"] = fields
    return out


def _class_codec(kind: Type[Document]) -> Codec[Any]:
    if not kind.__tito_table__:
        raise InvalidArgument(f"model: {kind.__name__} names no table: class {kind.__name__}(tito.Document, table=…)")
    record = _Record(kind)
    record.fill({kind: record})
    destinations = {str(r.get("destination_field_name")).split(".")[0] for r in kind.relationships}
    destinations -= {str(r.get("source_field_name")).split(".")[0] for r in kind.relationships}
    stamps = ("created_at", "updated_at") if kind.timestamps else ()
    spec: Dict[str, Any] = {
        "table": kind.__tito_table__,
        "indexes": [_typed_index(kind, record.hints, i) for i in kind.indexes],
        "unique_indexes": [_typed_index(kind, record.hints, i) for i in kind.unique_indexes],
        "relationships": list(kind.relationships),
        "fields": _fields_of(kind, record.hints, frozenset(("id", *destinations, *stamps))),
        "timestamps": True if kind.timestamps else None,
    }
    for name in ("events", "partition_key", "references"):
        given = getattr(kind, name, None)
        if name not in record.names and given is not None:
            spec[name] = _method(kind, name) if callable(given) else given
    return Codec(spec, record.dump, record.load, lambda changes: _dump_changes(record, changes))


def _method(kind: type, name: str) -> Callable[[Any], Any]:
    return lambda document: getattr(document, name)()


def _dump_changes(record: _Record, changes: Any) -> Mapping[str, Any]:
    """Changes of a patch, with the members that the class converts converted."""
    out = dict(_check_changes(changes))
    for name, dump, _, _, _ in record.members:
        if dump is not None and out.get(name) is not None and not isinstance(out[name], dict):
            out[name] = dump(out[name])
    return out
