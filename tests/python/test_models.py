"""Records: written, read, indexed, hydrated; by dicts and by classes; on each engine."""

import datetime
import enum
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Tuple

import pytest
import tito

USER = {
    "table": "user",
    "indexes": [
        {"name": "by_age", "fields": [{"name": "age", "type": "number"}]},
        {
            "name": "adults",
            "fields": [{"name": "name", "type": "string"}],
            "condition": lambda user: user.get("age", 0) >= 18,
        },
        {"name": "active", "fields": [{"name": "name", "type": "string"}], "where": {"status": "active"}},
    ],
    "unique_indexes": [{"name": "by_email", "fields": [{"name": "email", "type": "string"}]}],
}


def test_life_of_a_record(db):
    users = db.model(USER)
    document = {"id": "1", "name": "Jörg \U0001f600\x00", "age": 30, "ratio": 1.0, "list": [], "none": None, "deep": {"a": [{}]}}
    assert users.build(document) == document
    assert users.find_by_id("1") == document
    assert isinstance(users.find_by_id("1")["ratio"], float) and isinstance(users.find_by_id("1")["age"], int)
    with pytest.raises(tito.AlreadyExists) as failure:
        users.build({"id": "1"})
    assert (failure.value.code, failure.value.table, failure.value.retryable) == ("already_exists", "user", False)
    assert users.update({"id": "1", "name": "B"}) == {"id": "1", "name": "B"}
    assert users.patch("1", {"age": 4, "name": None}) == {"id": "1", "age": 4}
    assert users.save({"id": "2", "n": 1}) == {"id": "2", "n": 1}
    assert users.find_many(["2", "3", "1"]) == [{"id": "2", "n": 1}, {"id": "1", "age": 4}]
    assert users.find_by_id("3") is None
    with pytest.raises(tito.NotFound):
        users.update({"id": "3"})
    with pytest.raises(tito.NotFound):
        users.patch("3", {})
    assert users.delete_by_id("1") is True
    assert users.delete_by_id("1") is False
    assert [user["id"] for user in users.scan()] == ["2"]


def test_unique(db):
    users = db.model(USER)
    users.build({"id": "1", "email": "a"})
    with pytest.raises(tito.UniqueViolation) as failure:
        users.build({"id": "2", "email": "a"})
    assert failure.value.index == "by_email"
    users.delete_by_id("1")
    users.build({"id": "2", "email": "a"})


def test_versions(db):
    users = db.model(USER)
    users.build({"id": "1"})
    document, version = users.find_with_version("1")
    document, newer = users.update_with_options(document, {"if_version": version, "version": True})
    assert newer > version
    for write in (
        lambda: users.update(document, if_version=version),
        lambda: users.patch("1", {"a": 1}, if_version=version),
        lambda: users.save(document, if_version=version),
        lambda: users.delete_by_id("1", if_version=version),
    ):
        with pytest.raises(tito.VersionMismatch):
            write()
    users.delete_by_id("1", if_version=newer)
    assert users.find_with_version("1") is None


def test_queries(db):
    users = db.model(USER)
    with db.begin() as tx:
        for i in range(25):
            status = "active" if i % 5 == 0 else "gone"
            users.build({"id": f"{i:02}", "name": f"n{i:02}", "age": i, "email": f"{i}", "status": status}, tx)
    by_age = lambda: users.query_by_index("by_age")  # noqa: E731
    ids = lambda page: [user["id"] for user in page]  # noqa: E731
    assert ids(by_age().value(7).execute()) == ["07"]
    assert ids(by_age().gt(20).lte(23).execute()) == ["21", "22", "23"]
    assert ids(by_age().between(3, 5).execute_reverse()) == ["05", "04", "03"]
    assert ids(by_age().gte(20).lt(22).reverse().execute()) == ["21", "20"]
    assert ids(users.query_by_index("active").execute()) == ["00", "05", "10", "15", "20"]
    assert ids(users.query_by_index("adults").limit(3)) == [f"{i}" for i in range(18, 25)]
    assert ids(users.query_by_index("adults").starts_with("n2").each()) == ["20", "21", "22", "23", "24"]
    assert users.query_by_index("by_email").value("9").first()["id"] == "09"
    assert users.query_by_index("by_email").value("none").first() is None
    assert by_age().gte(10).count() == 15
    assert by_age().limit(2).keys_only().execute().items == [{"id": "00"}, {"id": "01"}]
    assert by_age().limit(2).keys_only().first() == {"id": "00"}
    page, seen = by_age().limit(7).execute(), []
    while True:
        seen += ids(page)
        if page.cursor is None:
            break
        page = by_age().limit(7).cursor(page.cursor).execute()
    assert seen == [f"{i:02}" for i in range(25)]
    assert len(users.scan(limit=4)) == 4 and users.scan(reverse=True).items[0]["id"] == "24"
    assert isinstance(by_age().explain(), dict)
    forged = by_age().limit(7).execute().cursor[:-2] + "AA"
    for refused in (
        lambda: by_age().cursor(forged).execute(),
        lambda: by_age().value("x").execute(),
        lambda: by_age().value(1).value(2).execute(),
        lambda: users.query_by_index("nope").execute(),
        lambda: by_age().value(None).gt(None),
        lambda: by_age().value([1]),
        lambda: by_age().limit(0),
        lambda: by_age().limit(True),
        lambda: by_age().relationship("tags").execute(),
    ):
        with pytest.raises(tito.InvalidArgument):
            refused()


def test_an_embedded_database_has_no_cluster():
    with tito.connect("memory:") as db, pytest.raises(tito.Unsupported):
        db.cluster(regions=True, locks=60, resolve=True)


def test_reindex_and_check(db):
    db.model({"table": "user"}).save({"id": "0", "name": "a", "age": 20})
    users = db.model(USER)
    with pytest.raises(tito.SchemaMismatch):
        users.query_by_index("adults").execute()
    steps: List[Dict[str, Any]] = []
    db.reindex("user", steps.append)
    assert steps and [user["id"] for user in users.query_by_index("adults")] == ["0"]
    assert db.check(users, repair=True)["findings"] == []
    cursors = []
    whole = db.check(users, progress=lambda info: cursors.append(info.get("cursor")))
    assert cursors[0] and cursors[-1] is None
    assert db.check(users, cursor=cursors[0])["done"] < whole["done"]
    with pytest.raises(tito.InvalidArgument):
        db.check(users, cursor="wrong")
    assert [table["table"] for table in db.schema()] == ["user"]
    db.drop_index("user", "adults")
    with pytest.raises(tito.Error):
        users.query_by_index("adults").execute()
    db.drop_table("user")
    assert db.model({"table": "user"}).scan().items == []


def test_functions_of_a_model(db):
    seen: List[Tuple[str, str]] = []

    def note(name, result):
        def function(document):
            seen.append((name, document["id"]))
            return result(document)

        return function

    posts = db.model({
        "table": "post",
        "relationships": [{"source_field_name": "tag_ids", "destination_field_name": "tags", "model": "tag"}],
        "fields": {"kind": {"type": "string", "default": "note"}},
        "indexes": [{"name": "notes", "fields": [{"name": "id", "type": "string"}],
                     "condition": lambda post: post["kind"] == "note" and "tags" not in post}],
        "events": note("events", lambda post: [{"name": "post", "payload": {"title": post["title"]}}]),
        "partition_key": note("key", lambda post: post["author"]),
        "references": note("references", lambda post: post.get("tag_ids")),
    })  # fmt: skip
    db.model({"table": "tag"}).build({"id": "t", "name": "T"})
    posts.build({"id": "1", "title": "x", "author": "A", "tag_ids": ["t"], "tags": ["ignored"]}, events="INSERT")
    posts.patch("1", {"title": "y"}, events="UPDATE")
    assert posts.find_by_id("1", ["tags"])["tags"] == [{"id": "t", "name": "T"}]
    assert [post["id"] for post in posts.query_by_index("notes")] == ["1"]
    assert posts.delete_by_id("1", events="DELETE") and not posts.delete_by_id("1", events="DELETE")
    assert seen == [(name, "1") for _ in range(3) for name in ("events", "key", "references")]
    found = db.queue("post").history()
    assert [event["action"] for event in found] == ["INSERT", "UPDATE", "DELETE"]
    assert [event["payload"] for event in found] == [{"title": "x"}, {"title": "y"}, {"title": "y"}]
    assert found.items[0]["key"] == "A" and found.items[0]["references"] == ["t"]


def test_functions_that_fail(memory):
    def broken(document):
        raise KeyError("why")

    async def waits(document):
        return True

    class Weird:
        def __bool__(self):
            raise RuntimeError("no truth")

    index = {"name": "i", "fields": [{"name": "id", "type": "string"}]}
    reenter = lambda document: things.find_by_id("1")  # noqa: E731
    things = memory.model({"table": "thing"})
    for function in (broken, waits, reenter, lambda document: Weird()):
        model = memory.model({"table": "thing2", "indexes": [{**index, "condition": function}]})
        with pytest.raises(tito.HandlerFailed) as failure:
            model.build({"id": "1"})
        assert failure.value.index == "i" and "thing2" in str(failure.value)
        assert model.find_by_id("1") is None
        with pytest.raises(tito.HandlerFailed), memory.begin() as tx:
            things.save({"id": "kept?"}, tx)
            with pytest.raises(tito.HandlerFailed):
                model.build({"id": "1"}, tx)  # caught, but the transaction is doomed
        assert things.find_by_id("kept?") is None
    for result in ("text", 5, {"name": "x"}, object()):
        model = memory.model({"table": "thing3", "events": lambda document, result=result: result})
        with pytest.raises((tito.HandlerFailed, tito.InvalidArgument)):
            model.build({"id": "1"}, events="INSERT")
    assert things.find_by_id("1") is None  # calling is allowed again


# ---- Classes


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Address:
    city: str
    zip: Optional[int] = None


class Tag(tito.Document, table="tag"):
    name: str


class Post(tito.Document, table="post"):
    title: str
    at: datetime.datetime
    color: Color = Color.RED
    address: Optional[Address] = None
    places: List[Address] = tito.field(default_factory=list)
    pair: Tuple[int, ...] = ()
    by_name: Dict[str, Address] = tito.field(default_factory=dict)
    five: Optional[int] = 5
    tag_ids: List[str] = tito.field(default_factory=list)
    tags: Optional[List[Tag]] = None

    indexes = [
        tito.index("by_at", "-at", condition=lambda post: post.color is Color.RED),
        tito.index("by_city", "address.city"),
        tito.index("by_zip", "places.zip", sparse=True),
    ]
    unique_indexes = [tito.index("by_title", "title")]
    relationships = [tito.relationship("tag_ids", "tags", Tag)]

    def events(self):
        return [{"name": "post", "payload": self.title}]

    def partition_key(self):
        return self.title

    def references(self):
        return self.tag_ids


NOON = datetime.datetime(2024, 5, 6, 12, 0, 0, 123457, tzinfo=datetime.timezone.utc)


def test_classes(db):
    tags, posts = db.model(Tag), db.model(Post)
    tags.build(Tag("t", "T"))
    post = Post("1", "x", NOON, Color.RED, Address("Bonn"), [Address("A", 1), Address("B")], (1, 2), {"k": Address("C")})
    post.tag_ids, post.five = ["t"], None
    assert posts.build(post, events="INSERT") == post
    found = posts.find_by_id("1", ["tags"])
    assert found.tags == [Tag("t", "T")]
    found.tags = None
    assert found == post and isinstance(found.pair, tuple)
    assert posts.query_by_index("by_at").value(NOON).first() == post
    assert posts.query_by_index("by_at").gt(NOON).first() is None
    assert posts.query_by_index("by_city").value("Bonn").count() == 1
    assert posts.query_by_index("by_zip").value(1).count() == 1
    assert posts.query_by_index("by_title").keys_only().execute().items == [{"id": "1"}]
    assert posts.patch("1", {"color": Color.BLUE, "at": NOON, "five": 6}).color is Color.BLUE
    assert posts.query_by_index("by_at").count() == 0
    assert [event["key"] for event in db.queue("post").history()] == ["x"]
    assert db.check("post")["findings"] == []
    assert posts.delete_by_id("1", events="DELETE")


def test_members_of_others_are_kept(db):
    db.model({"table": "tag"}).save({"id": "1", "name": "n", "more": {"x": 1}})
    tags = db.model(Tag)
    tag = tags.find_by_id("1")
    tag.name = "m"
    tags.update(tag)
    assert db.model({"table": "tag"}).find_by_id("1") == {"id": "1", "name": "m", "more": {"x": 1}}
    db.model({"table": "tag"}).save({"id": "2"})
    with pytest.raises(tito.SchemaMismatch, match="no 'name'"):
        tags.find_by_id("2")


def test_classes_are_checked(memory):
    import decimal
    import uuid

    for hint in (decimal.Decimal, uuid.UUID, datetime.date, bytes, Optional[decimal.Decimal], List[bytes], Tuple[int, str]):
        kind = type("Bad", (tito.Document,), {"__annotations__": {"x": hint}, "x": None}, table="bad")
        with pytest.raises(tito.WrongType, match=r"Bad\.x"):
            memory.model(kind)
    with pytest.raises(tito.InvalidArgument, match="table"):
        memory.model(type("NoTable", (tito.Document,), {}))
    with pytest.raises(tito.InvalidArgument, match="annotations do not say"):
        memory.model(type("NoType", (tito.Document,), {"indexes": [tito.index("i", "y")]}, table="notype"))
    posts = memory.model(Post)
    with pytest.raises(tito.WrongType, match="a Post expected"):
        posts.build({"id": "1"})
    with pytest.raises(tito.InvalidArgument, match="time zone"):
        posts.build(Post("1", "x", datetime.datetime(2024, 1, 1)))
    with pytest.raises(tito.InvalidArgument):
        posts.build(Post("1", 5, NOON))  # the library checks "fields"
    for spec in (5, None, [], {"table": 5}, {}, {"table": "a", "nope": 1}, {"table": "a b"}, {"table": "a", "indexes": 5}):
        with pytest.raises(tito.InvalidArgument):
            memory.model(spec)
