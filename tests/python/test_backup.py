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
