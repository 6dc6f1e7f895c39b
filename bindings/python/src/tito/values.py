"""Python values as JSON and back, and the times that the library takes.

    dict (str keys) ⇄ object    list, tuple → array → list    str ⇄ string    int, float ⇄ number    bool    None ⇄ null

Refused, with the place named: ints outside 64 bits, NaN and infinities, keys that are no str, text that UTF-8 can not
hold (lone surrogates), more than DEPTH_MAX levels (so also what contains itself), and every other type. datetime and
Decimal are refused because JSON has neither: the error says what to write instead. Times that tito itself takes
(publish, reschedule, options) may be aware datetimes and timedeltas.

INVARIANTS
 1. Nothing is converted that would not come back equal (a tuple comes back as a list).
 2. An error names the path to a value, never the value.
"""

from __future__ import annotations

import datetime
import decimal
import json
import math
import uuid as uuid_module
from typing import Any, Dict, Mapping, Optional, Tuple, Union

from tito.errors import InvalidArgument, LimitExceeded, WrongType

DEPTH_MAX = 64
INT_MIN, INT_MAX = -(1 << 63), (1 << 63) - 1

#: A point in time: seconds since the epoch, or an aware datetime.
Time = Union[int, float, datetime.datetime]
#: A length of time: seconds, or a timedelta.
Duration = Union[int, float, datetime.timedelta]

_ADVICE: Tuple[Tuple[type, str], ...] = (
    (datetime.datetime, "store value.timestamp() (seconds) or value.isoformat(), or declare the field as datetime"),
    (datetime.date, "store value.isoformat()"),
    (datetime.time, "store value.isoformat()"),
    (datetime.timedelta, "store value.total_seconds()"),
    (decimal.Decimal, "JSON numbers are not decimal: store str(value), or an int of the smallest unit"),
    (uuid_module.UUID, "store str(value)"),
    ((bytes), "store text, for instance base64"),
    (bytearray, "store text, for instance base64"),
    (set, "store a list"),
    (frozenset, "store a list"),
    (complex, "store a list of two numbers"),
)


class _Refused(Exception):
    """What is wrong with a value, and on the way up: where."""

    def __init__(self, kind: type, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason
        self.path = ""


def _refuse_type(value: object) -> _Refused:
    name = type(value).__name__
    for kind, advice in _ADVICE:
        if isinstance(value, kind):
            return _Refused(WrongType, f"a {name} can not be stored: {advice}")
    return _Refused(WrongType, f"a {name} can not be stored")


def _check_int(value: int) -> None:
    if not INT_MIN <= value <= INT_MAX:
        raise _Refused(InvalidArgument, "an int outside 64 bits can not be stored: store str(value)")


def _check_float(value: float) -> None:
    if not math.isfinite(value):
        raise _Refused(InvalidArgument, "NaN and infinities can not be stored")


def _check_members(value: Mapping[Any, Any], depth: int) -> None:
    for name, member in value.items():
        kind = type(member)
        if kind is str and type(name) is str:
            continue
        if not isinstance(name, str):
            raise _Refused(WrongType, f"a key must be a str, not {type(name).__name__}")
        try:
            _check(member, depth)
        except _Refused as refused:
            refused.path = f".{name}{refused.path}"
            raise


def _check_items(value: Any, depth: int) -> None:
    for i, item in enumerate(value):
        try:
            _check(item, depth)
        except _Refused as refused:
            refused.path = f"[{i}]{refused.path}"
            raise


def _check(value: Any, depth: int) -> None:
    """Raises _Refused for what json.dumps would refuse, change or never end with."""
    if value is None or isinstance(value, (str, bool)):
        return
    if isinstance(value, int):
        _check_int(value)
    elif isinstance(value, float):
        _check_float(value)
    elif depth >= DEPTH_MAX:
        raise _Refused(LimitExceeded, f"more than {DEPTH_MAX} levels, or a value that contains itself")
    elif isinstance(value, dict):
        _check_members(value, depth + 1)
    elif isinstance(value, (list, tuple)):
        _check_items(value, depth + 1)
    else:
        raise _refuse_type(value)


_dumps = json.JSONEncoder(ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":")).encode


def _surrogate_path(value: Any) -> str:
    """Where the first text is that UTF-8 can not hold."""
    if isinstance(value, dict):
        for name, member in value.items():
            if not _is_text(name):
                return ", in a key"
            if not _is_clean(member):
                return f".{name}{_surrogate_path(member)}"
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            if not _is_clean(item):
                return f"[{i}]{_surrogate_path(item)}"
    return ""


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_clean(value: Any) -> bool:
    return _is_text(_dumps(value))


def encode(value: Any, what: str = "the value") -> bytes:
    """value as JSON; what names it in errors."""
    try:
        _check(value, 0)
    except _Refused as refused:
        place = f"{what}{refused.path}"
        raise refused.kind(f"{place}: {refused.reason}") from None
    text: str = _dumps(value)
    try:
        return text.encode()
    except UnicodeEncodeError:
        place = f"{what}{_surrogate_path(value)}"
        raise InvalidArgument(f"{place}: the text has a lone surrogate, which UTF-8 can not hold") from None


def _parse_long_int(text: str) -> Union[int, float]:
    """Another program's integer: exact while Python would convert it, else the nearest float."""
    try:
        return int(text)
    except ValueError:
        return float(text)


def decode(data: bytes) -> Any:
    """The value of JSON that the library gave. An integer outside 64 bits (another program's) is exact."""
    text = data.decode()
    try:
        return json.loads(text)
    except ValueError:
        return json.loads(text, parse_int=_parse_long_int)


def text_bytes(value: Any, what: str) -> bytes:
    """A str as UTF-8. what names it in errors ("find_by_id: the id")."""
    if not isinstance(value, str):
        raise WrongType(f"{what} must be a str, not {type(value).__name__}")
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise InvalidArgument(f"{what} has a lone surrogate, which UTF-8 can not hold") from None


# ---- Times


def _number_us(seconds: Any, what: str) -> int:
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise WrongType(f"{what} must be a number of seconds, not {type(seconds).__name__}")
    if isinstance(seconds, float) and not math.isfinite(seconds):
        raise InvalidArgument(f"{what} must be a finite number of seconds")
    us = seconds * 1_000_000 if isinstance(seconds, int) else round(seconds * 1e6)
    if not INT_MIN < us < INT_MAX:
        raise InvalidArgument(f"{what}: the time is out of range")
    return us


_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


def datetime_us(value: datetime.datetime, what: str) -> int:
    """Microseconds since the epoch of an aware datetime."""
    if value.utcoffset() is None:
        raise InvalidArgument(f"{what}: the datetime has no time zone; use datetime.now(timezone.utc) or the like")
    return (value - _EPOCH) // datetime.timedelta(microseconds=1)


def datetime_of_us(us: int) -> datetime.datetime:
    """The datetime (in UTC) of microseconds since the epoch."""
    return _EPOCH + datetime.timedelta(microseconds=us)


def time_us(value: Time, what: str) -> int:
    """A point in time in microseconds."""
    if isinstance(value, datetime.datetime):
        return datetime_us(value, what)
    return _number_us(value, what)


def duration_us(value: Duration, what: str) -> int:
    """A length of time in microseconds."""
    if isinstance(value, datetime.timedelta):
        return value // datetime.timedelta(microseconds=1)
    return _number_us(value, what)


# ---- Options


def options_of(given: Mapping[str, Any], known: Mapping[str, str], what: str) -> Dict[str, Any]:
    """The library's names and values of options. known: name → "seconds" (becomes microseconds under the name with
    _us), "int", "bool", "str", or "ours" (left out). None means: not given."""
    out: Dict[str, Any] = {}
    for name, value in given.items():
        kind = known.get(name)
        if kind is None:
            raise InvalidArgument(f"{what}: there is no option '{name}'")
        if kind == "ours" or value is None:
            continue
        if kind == "seconds":
            out[name + "_us"] = duration_us(value, f"{what}: {name}")
        else:
            out[name] = _option(value, kind, f"{what}: {name}")
    return out


_OPTION_KINDS: Dict[str, type] = {"int": int, "bool": bool, "str": str}


def _option(value: Any, kind: str, what: str) -> Any:
    if not isinstance(value, _OPTION_KINDS[kind]) or (kind == "int" and isinstance(value, bool)):
        raise WrongType(f"{what} must be {kind}, not {type(value).__name__}")
    if isinstance(value, int) and not INT_MIN <= value <= INT_MAX:
        raise InvalidArgument(f"{what} is an int outside 64 bits")
    return value


def optional_text(value: Optional[str], what: str) -> Optional[bytes]:
    return None if value is None else text_bytes(value, what)
