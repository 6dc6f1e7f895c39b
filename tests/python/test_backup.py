"""Backups: they are databases, their files are shared, and other engines refuse."""

import pathlib

import pytest

import tito


def test_a_backup_is_a_database(tmp_path: pathlib.Path) -> None:
    with tito.connect(str(tmp_path / "db")) as db:
        thing = db.model({"table": "thing"})
        thing.save({"id": "a", "n": 1})
        first = db.backup(tmp_path / "one")
        assert first["files"] > 3
        thing.save({"id": "b", "n": 2})
        second = db.backup(str(tmp_path / "two"), base=tmp_path / "one")
        assert second["shared"] > 0
        assert second["time"] >= first["time"]
        with pytest.raises(tito.InvalidArgument):
            db.backup(tmp_path / "two")
    with tito.connect(str(tmp_path / "one")) as db:
        thing = db.model({"table": "thing"})
        assert thing.find_by_id("a") == {"id": "a", "n": 1}
        assert thing.find_by_id("b") is None


@pytest.fixture
def made(tmp_path: pathlib.Path) -> pathlib.Path:
    """A backup."""
    with tito.connect(str(tmp_path / "db")) as db:
        thing = db.model({"table": "thing"})
        for i in range(20):
            thing.save({"id": str(i), "text": "x" * 1000})
        db.backup(tmp_path / "made")
    return tmp_path / "made"


def count_of(path: pathlib.Path) -> int:
    with tito.connect(path) as db:
        return len(list(db.model({"table": "thing"}).scan(limit=1000)))


def test_verified_and_restored(made: pathlib.Path) -> None:
    verified = tito.verify_backup(made)
    assert verified["files"] > 3 and tito.restore(str(made), str(made.parent / "again"))["size"] == verified["size"]
    assert count_of(made.parent / "again") == 20
    with pytest.raises(tito.InvalidArgument):  # it is there
        tito.restore(made, made.parent / "again")
    for wrong, kind in ((5, tito.WrongType), (b"x", tito.WrongType), ("a\0b", tito.InvalidArgument)):
        with pytest.raises(kind):
            tito.verify_backup(wrong)  # type: ignore[arg-type]
    with pytest.raises(tito.Unsupported):
        tito.restore(made, "memory:")
    with pytest.raises(tito.WrongType):
        tito.verify_backup(made, progress=1)  # type: ignore[arg-type]


def test_damage_is_found(made: pathlib.Path) -> None:
    (made / "CURRENT").write_text("X")
    with pytest.raises(tito.Corrupt, match="CURRENT"):
        tito.verify_backup(made)
    with pytest.raises(tito.Corrupt, match="CURRENT"):
        tito.restore(made, made.parent / "again")
    assert not (made.parent / "again").exists()


def test_progress(made: pathlib.Path) -> None:
    seen = []
    tito.verify_backup(made, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] > 0
    assert tito.verify_backup(made, progress=lambda done, total: False)["size"] > 0  # it has ended already

    def raises(done: int, total: int) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError):
        tito.restore(made, made.parent / "again", progress=raises)
    with tito.connect(str(made.parent / "db")) as db:
        db.backup(made.parent / "told", progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] > 0


def test_awaited_and_told(made: pathlib.Path) -> None:
    import asyncio

    import tito.aio

    async def run() -> None:
        seen = []
        verified = await tito.aio.verify_backup(made, progress=lambda done, total: seen.append((done, total)))
        assert seen[-1] == (verified["size"], verified["size"])
        await tito.aio.restore(made, made.parent / "again")
        assert count_of(made.parent / "again") == 20

        def raises(done: int, total: int) -> None:
            raise KeyError("mine")

        with pytest.raises(KeyError):
            await tito.aio.verify_backup(made, progress=raises)
        task = asyncio.ensure_future(tito.aio.verify_backup(made))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())


def test_a_database_in_memory_has_none(tmp_path: pathlib.Path) -> None:
    with tito.connect("memory:") as db, pytest.raises(tito.Unsupported):
        db.backup(tmp_path / "one")
    assert not (tmp_path / "one").exists()


def test_awaited(tmp_path: pathlib.Path) -> None:
    import asyncio

    import tito.aio

    async def run() -> None:
        async with await tito.aio.connect(str(tmp_path / "db")) as db:
            await db.model({"table": "thing"}).save({"id": "a"})
            made = await db.backup(tmp_path / "one")
            assert made["size"] > 0

    asyncio.run(run())
