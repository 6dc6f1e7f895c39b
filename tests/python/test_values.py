"""Values: what is stored comes back equal; what can not be stored is refused with its place, in Python's manner."""

import collections
import datetime
import decimal
import math
import pickle
import uuid

import hypothesis
import hypothesis.strategies as st
import pytest
import tito
from conftest import scaled

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SCALAR = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | TEXT
VALUE = st.recursive(SCALAR, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=20)


@pytest.fixture(scope="module")
def things():
    with tito.connect("memory:") as database:
        yield database.model({"table": "thing"})


@pytest.fixture(scope="module")
def untouched():
    """A model that no other test stores into: random keys may be any."""
    with tito.connect("memory:") as database:
        yield database.model({"table": "thing"})


@hypothesis.settings(max_examples=scaled(2000, 50), deadline=None)
@hypothesis.given(value=VALUE, key=TEXT.filter(lambda text: 0 < len(text.encode()) <= 1000))
def test_round_trip(things, value, key):
    document = {"id": key, "value": value}
    assert things.save(document) == document
    found = things.find_by_id(key)
    assert found == document
    assert repr(found["value"]) == repr(value) or value != value  # 1, 1.0 and True stay apart


class Text(str):
    pass


class Number(int):
    pass


def test_subclasses(things):
    ordered = collections.OrderedDict(id="sub", text=Text("t"), number=Number(5), items=(1, (2,)))
    things.save(ordered)
    assert things.find_by_id("sub") == {"id": "sub", "text": "t", "number": 5, "items": [1, [2]]}


REFUSED = [
    (2**63, tito.InvalidArgument, "64 bits"),
    (-(2**63) - 1, tito.InvalidArgument, "64 bits"),
    (10**5000, tito.InvalidArgument, "64 bits"),
    (math.nan, tito.InvalidArgument, "NaN"),
    (math.inf, tito.InvalidArgument, "infinities"),
    ("\ud800", tito.InvalidArgument, "surrogate"),
    ({"\udfff": 1}, tito.InvalidArgument, "surrogate"),
    ({1: 2}, tito.WrongType, "key must be a str"),
    ({None: 2}, tito.WrongType, "key must be a str"),
    (b"bytes", tito.WrongType, "base64"),
    ({1, 2}, tito.WrongType, "list"),
    (decimal.Decimal("1.5"), tito.WrongType, "str"),
    (datetime.datetime(2024, 1, 1), tito.WrongType, "timestamp"),
    (datetime.date(2024, 1, 1), tito.WrongType, "isoformat"),
    (datetime.timedelta(1), tito.WrongType, "total_seconds"),
    (uuid.uuid4(), tito.WrongType, "str"),
    (1j, tito.WrongType, "complex"),
    (object(), tito.WrongType, "object"),
    (lambda: None, tito.WrongType, "function"),
    ((x for x in ()), tito.WrongType, "generator"),
]


@pytest.mark.parametrize("value, kind, text", REFUSED, ids=[f"{i}" for i in range(len(REFUSED))])
def test_refused(untouched, value, kind, text):
    for document, path in (
        ({"id": "1", "a": {"b": [0, value]}}, ".a.b[1]"),
        ({"id": "1", "a": [value]}, ".a[0]"),
        ({"id": "1", "x": value}, ".x"),
    ):
        with pytest.raises(kind) as failure:
            untouched.build(document)
        assert text in str(failure.value) and path in str(failure.value)
        assert isinstance(failure.value, ValueError)
        assert kind is not tito.WrongType or isinstance(failure.value, TypeError)
    assert untouched.find_by_id("1") is None


def test_deep_and_cyclic(things):
    deep = value = []
    for _ in range(62):
        deep.append([])
        deep = deep[0]
    things.save({"id": "deep", "v": value})
    deep.append([[]])
    cyclic = {}
    cyclic["self"] = [cyclic]
    looped = []
    looped.append(looped)
    for bad in (value, cyclic, looped):
        with pytest.raises(tito.LimitExceeded):
            things.save({"id": "x", "v": bad})


def test_sizes(things):
    with pytest.raises(tito.LimitExceeded):
        things.save({"id": "big", "v": "x" * 2**20})
    with pytest.raises(tito.Error):
        things.save({"id": "i" * 2000})
    things.save({"id": "many", "v": list(range(100_000))})
    assert len(things.find_by_id("many")["v"]) == 100_000


@pytest.mark.parametrize("bad", [None, 5, b"x", [], 1.5])
def test_ids(things, bad):
    for call in (
        lambda: things.find_by_id(bad),
        lambda: things.delete_by_id(bad),
        lambda: things.patch(bad, {}),
        lambda: things.find_many([bad]) if bad is not None else things.find_many(None),
        lambda: things.query_by_index(bad) if bad is not None else things.query_by_index(5),
    ):
        with pytest.raises((tito.InvalidArgument, TypeError)):
            call()


def test_ids_of_any_text(things):
    with pytest.raises(tito.InvalidArgument):
        things.find_by_id("\ud83d")
    assert things.find_by_id("nul\x00x") is None
    things.save({"id": "nul\x00x"})
    assert things.find_by_id("nul\x00x") == {"id": "nul\x00x"}
    assert things.find_by_id("nul") is None


@pytest.mark.parametrize("document", [None, [], "text", 5, {}, {"id": 5}, {"id": None}, {"id": ""}, {"id": ["x"]}])
def test_documents(things, document):
    with pytest.raises(tito.InvalidArgument):
        things.build(document)


def test_integers_of_other_programs():
    from tito.values import decode

    assert decode(b'{"n": 123456789012345678901234567890}') == {"n": 123456789012345678901234567890}
    assert decode(b"[" + b"9" * 5000 + b"]")[0] in (math.inf, 10**5000 - 1)


@pytest.mark.parametrize(
    "options, name",
    [
        ({"nope": 1}, "nope"),
        ({"timeout": "x"}, "timeout"),
        ({"timeout": math.nan}, "timeout"),
        ({"timeout": 1e300}, "timeout"),
        ({"threads": 1.5}, "threads"),
        ({"threads": True}, "threads"),
        ({"threads": 2**70}, "threads"),
        ({"threads": -1}, "threads"),
        ({"namespace": 5}, "namespace"),
        ({"namespace": "a b"}, "namespace"),
        ({"durability": "maybe"}, "durability"),
        ({"tls": {"cert": "x"}}, "tls"),
    ],
)
def test_options(options, name):
    with pytest.raises(tito.InvalidArgument, match=name):
        tito.connect("memory:", **options)


def test_targets(tmp_path):
    for target in (None, 5, [], [5], "", "tikv://", "x://y", "\ud800"):
        with pytest.raises(tito.Error):
            tito.connect(target)
    tito.connect(tmp_path / "memory:", timeout=datetime.timedelta(seconds=5)).close()
    assert (tmp_path / "memory:").is_dir()


def test_errors_are_python_objects():
    error = tito.UniqueViolation("text", table="t", index="i")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is tito.UniqueViolation and (copy.table, copy.index, str(copy)) == ("t", "i", str(error))
    kinds = [kind for kind in vars(tito).values() if isinstance(kind, type) and issubclass(kind, tito.Error)]
    codes = {kind.code for kind in kinds if kind not in (tito.Error, tito.WrongType)}
    assert len(codes) == 23 and issubclass(tito.Timeout, TimeoutError)
