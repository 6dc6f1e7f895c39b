"""Transactions: what ends them, what runs them again, who may use them."""

import threading

import pytest
import tito

COUNTER = {"table": "counter"}


def test_blocks(db):
    counters = db.model(COUNTER)
    with db.begin() as tx:
        counters.save({"id": "1", "n": 1}, tx)
        assert counters.find_by_id("1", None, tx) == {"id": "1", "n": 1}
        assert counters.find_by_id("1") is None
        assert tx.start_version > 0
    assert counters.find_by_id("1") == {"id": "1", "n": 1}
    with pytest.raises(ZeroDivisionError), db.begin() as tx:
        counters.save({"id": "2"}, tx)
        1 / 0
    assert counters.find_by_id("2") is None
    tx = db.begin()
    counters.save({"id": "3"}, tx)
    assert tx.commit() > 0
    tx2 = db.begin()
    counters.save({"id": "4"}, tx2)
    tx2.rollback()
    for ended in (tx, tx2):
        for use in (ended.commit, ended.rollback, lambda: ended.start_version, lambda: counters.save({"id": "5"}, ended)):
            with pytest.raises(tito.InvalidState, match="ended"):
                use()
        assert "ended" in repr(ended)
    assert [c["id"] for c in counters.scan()] == ["1", "3"]
    with db.begin() as tx:
        tx.rollback()  # ending it inside the block is fine


def test_functions(db):
    counters = db.model(COUNTER)
    assert db.transaction(lambda tx: counters.save({"id": "1", "n": 0}, tx)["n"]) == 0
    kept = []

    def fails(tx):
        kept.append(tx)
        counters.save({"id": "2"}, tx)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        db.transaction(fails)
    assert counters.find_by_id("2") is None
    with pytest.raises(tito.InvalidState, match="ended"):
        counters.find_by_id("1", None, kept[0])
    for end in ("commit", "rollback"):
        with pytest.raises(tito.InvalidState, match="transaction()"):
            db.transaction(lambda tx, end=end: getattr(tx, end)())
    with pytest.raises(tito.InvalidState, match=r"tito\.aio"):

        async def work(tx):
            pass

        db.transaction(work)
    with pytest.raises(tito.WrongType):
        db.transaction(None)
    with pytest.raises(tito.InvalidArgument, match="nope"):
        db.transaction(lambda tx: None, nope=1)


def test_doomed(db):
    counters = db.model(COUNTER)
    counters.save({"id": "1"})
    with pytest.raises(tito.AlreadyExists), db.begin() as tx:
        counters.save({"id": "2"}, tx)
        counters.build({"id": "3"}, tx)
        counters.build({"id": "1"}, tx)
    assert counters.find_by_id("2") is None
    with pytest.raises(tito.InvalidArgument), db.begin() as tx:
        counters.save({"id": "2"}, tx)
        with pytest.raises(tito.InvalidArgument):
            counters.save({"id": "3", "n": float("nan")}, tx)  # caught; half of it must not be stored
    assert counters.find_by_id("2") is None


def test_conflicts_run_again(db):
    counters = db.model(COUNTER)
    counters.save({"id": "1", "n": 0})
    attempts = []

    def add(tx):
        attempts.append(1)
        found = counters.find_by_id("1", None, tx)
        counters.save({"id": "1", "n": found["n"] + 1}, tx)

    threads = [threading.Thread(target=lambda: [db.transaction(add) for _ in range(10)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counters.find_by_id("1")["n"] == 40
    tx1, tx2 = db.begin(), db.begin()
    for tx in (tx1, tx2):
        counters.save({**counters.find_by_id("1", None, tx), "x": 1}, tx)
    tx1.commit()
    with pytest.raises(tito.Conflict) as failure:
        tx2.commit()
    assert failure.value.retryable


def test_locks(db):
    counters = db.model(COUNTER)
    counters.save({"id": "1"})
    with db.begin() as first, db.begin() as second:
        counters.find_by_id("1", None, first, lock=True)
        with pytest.raises(tito.Busy):
            counters.find_by_id("1", None, second, lock="nowait")
        second.rollback()
    for bad in (lambda: counters.find_by_id("1", lock=True), lambda: counters.find_by_id("1", None, db.begin(), lock="x")):
        with pytest.raises(tito.InvalidArgument):
            bad()
    with pytest.raises(tito.Conflict), db.begin() as tx:
        counters.assert_current("1", tx)
        counters.save({"id": "1", "n": 2})
        counters.save({"id": "other"}, tx)


def test_of_another_thread(db):
    counters = db.model(COUNTER)
    tx, failures = db.begin(), []

    def use():
        for call in (lambda: counters.find_by_id("1", None, tx), lambda: counters.save({"id": "1"}, tx)):
            try:
                call()
            except tito.Error as error:
                failures.append(error.code)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert failures == ["invalid_state", "invalid_state"]
    tx.rollback()
    with pytest.raises(tito.WrongType):
        counters.save({"id": "1"}, "tx")


def test_of_another_database(db):
    with tito.connect("memory:") as other:
        with pytest.raises(tito.InvalidArgument):
            db.model(COUNTER).save({"id": "1"}, other.begin())
