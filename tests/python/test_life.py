"""Ends: after close, after fork, at interpreter exit, in the middle of collecting garbage."""

import gc
import os
import threading
import weakref

import pytest
import tito
import tito.aio
from conftest import scaled

SPEC = {
    "table": "thing",
    "indexes": [{"name": "by_n", "fields": [{"name": "n", "type": "number"}], "condition": lambda thing: True}],
    "events": lambda thing: [{"name": "job"}],
}


def world(db):
    """One of everything."""
    things = db.model(SPEC)
    things.save({"id": "1", "n": 1})
    return things, db.begin(), things.query_by_index("by_n"), db.queue("job"), db.worker()


def uses(db, things, tx, query, queue, worker):
    return [
        lambda: things.find_by_id("1"),
        lambda: things.save({"id": "2", "n": 1}),
        lambda: things.save({"id": "2", "n": 1}, tx),
        lambda: things.patch("1", {}),
        lambda: things.delete_by_id("1"),
        lambda: things.find_many(["1"]),
        lambda: things.scan(),
        lambda: query.execute(),
        lambda: list(query),
        lambda: query.count(),
        lambda: query.explain(),
        lambda: queue.publish("k"),
        lambda: queue.history(),
        lambda: queue.drop("0000.1.x"),
        lambda: tx.commit(),
        lambda: db.begin(),
        lambda: db.transaction(lambda tx: None),
        lambda: db.now(),
        lambda: db.stats(),
        lambda: db.schema(),
        lambda: db.check("thing"),
        lambda: db.reindex("thing"),
        lambda: db.model(SPEC),
        lambda: db.queue("other"),
        lambda: db.worker(),
        lambda: worker.on("job", print),
        lambda: worker.run(),
        lambda: db.drop_table("thing"),
    ]


def codes_of(calls):
    out = set()
    for call in calls:
        try:
            call()
            out.add("none")
        except tito.Error as error:
            out.add(error.code)
    return out


def test_after_close(db):
    objects = world(db)
    db.close()
    db.close()
    assert codes_of(uses(db, *objects)) <= {"closed", "invalid_state"}
    with pytest.raises(tito.Closed):
        objects[0].find_by_id("1")


def test_any_order_of_freeing(memory):
    for order in range(scaled(20, 5)):
        db = tito.connect("memory:")
        objects = [db, *world(db)]
        db = None
        while objects:
            objects.pop(order % len(objects))
            gc.collect()


def test_nothing_is_kept():
    db = tito.connect("memory:")
    objects = world(db)
    references = [weakref.ref(thing) for thing in (db, *objects)]
    db.close()
    db = objects = None
    gc.collect()
    assert [reference() for reference in references] == [None] * len(references)


def test_garbage_in_any_thread(memory):
    """Cycles that hold handles are collected in whatever thread collects."""
    things = memory.model(SPEC)

    def make():
        for i in range(scaled(100, 20)):
            tx = memory.begin()
            things.save({"id": f"{threading.get_ident()}-{i}", "n": i}, tx)
            ring = [tx]
            ring.append(ring)

    threads = [threading.Thread(target=make) for _ in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        gc.collect()
    gc.collect()
    assert things.scan().items == []


def test_collecting_at_every_step(memory):
    """gc.collect() after every call, and with a threshold of one."""
    before = gc.get_threshold()
    gc.set_threshold(1)
    try:
        things, tx, query, queue, worker = world(memory)
        for i in range(scaled(30, 10)):
            things.save({"id": str(i), "n": i, "v": [{"x": [i]}]}, events="INSERT")
            gc.collect()
            assert things.find_by_id(str(i))["n"] == i
            gc.collect()
            list(query.limit(2))
            gc.collect()
        seen = []
        worker.on("job", lambda event, tx: (gc.collect(), seen.append(things.find_by_id(event.entity_id, None, tx))))
        while len(seen) < scaled(30, 10):
            worker.step(100)
            gc.collect()
        worker.stop()
        while worker.step(50):
            pass
    finally:
        gc.set_threshold(*before)


def test_finalizers_that_call(memory):
    """An object that uses the database when it is collected, also in the middle of a call."""
    things = memory.model(SPEC)
    things.save({"id": "1", "n": 1})
    seen = []

    class Caller(dict):
        def __del__(self):
            seen.append(things.find_by_id("1"))

    for _ in range(50):
        things.save({"id": "2", "n": 2, "inner": Caller()})
    gc.collect()
    assert len(seen) == 50


def test_abandoned_iterators(memory):
    things = memory.model(SPEC)
    for i in range(30):
        things.save({"id": str(i), "n": i})
    for _ in range(5):
        iterator = iter(things.query_by_index("by_n").limit(3))
        next(iterator)
    del iterator
    with pytest.raises(tito.Closed):
        for _ in things.query_by_index("by_n").limit(3):
            memory.close()


# ---- Interpreter exit


@pytest.mark.parametrize("how", ["pass", "sys.exit(0)", "1/0", "os._exit(0)"])
def test_exit_without_close(run_program, how):
    text = f"""
    import os, sys, threading, time, tito, asyncio, tito.aio
    db = tito.connect("memory:")
    things = db.model({{"table": "thing"}})
    tx = db.begin()
    things.save({{"id": "1"}}, tx)
    queue = db.queue("job")
    queue.publish("k")
    worker = db.worker(signals=False)
    worker.on("job", lambda event: time.sleep(100))
    threading.Thread(target=worker.run, daemon=True).start()
    def busy():
        while True:
            things.save({{"id": "2"}})
    for _ in range(3):
        threading.Thread(target=busy, daemon=True).start()
    async def main():
        twin = await tito.aio.connect("memory:")
        model = twin.model({{"table": "thing"}})
        for i in range(20):
            asyncio.ensure_future(model.save({{"id": str(i)}}))
        await asyncio.sleep(0)
    asyncio.run(main())
    time.sleep(0.1)
    {how}
    """
    for _ in range(scaled(5, 2)):
        result = run_program(text, check=False, timeout=60)
        assert result.returncode == (1 if how == "1/0" else 0), result.stderr
        assert "Fatal" not in result.stderr and "Aborted" not in result.stderr, result.stderr


def test_uses_at_exit(run_program):
    run_program("""
    import atexit, tito
    db = tito.connect("memory:")
    things = db.model({"table": "thing"})
    class Late:
        def __del__(self):
            try:
                things.find_by_id("1")
            except Exception as error:
                assert type(error).__name__ in ("Closed", "TypeError", "NameError", "AttributeError"), repr(error)
    late = Late()
    atexit.register(lambda: things.save({"id": "1"}))  # registered later, so it runs before the close
    """)


# ---- Fork


def in_child(work):
    """Runs work in a forked child: its exit status."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = work() or 0
        except BaseException as error:
            os.write(2, f"child: {error!r}\n".encode())
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_fork(db, memory):
    objects = world(db)

    def child():
        codes = codes_of(uses(db, *objects))
        if not codes <= {"forked", "invalid_state"} or "forked" not in codes:
            os.write(2, f"{codes}\n".encode())
            return 2
        try:
            db.now()
        except tito.Forked as error:
            if "post_fork" not in str(error):
                return 3
        try:
            tito.connect("memory:")  # not even another one, once the parent has used an embedded database
        except tito.Forked:
            return 0
        return 4

    if hasattr(os, "waitstatus_to_exitcode"):
        assert in_child(child) == 0
    assert objects[0].find_by_id("1") == {"id": "1", "n": 1}  # the parent goes on
    objects[1].commit()


@pytest.mark.parametrize("closed", ["", "db.close()"])
def test_exit_of_a_forked_child(run_program, tmp_path, closed):
    """By its own sys.exit, with its output: what RocksDB's threads were for does not keep it."""
    result = run_program(
        f"""
    import os, sys, tito
    db = tito.connect(sys.argv[1])
    db.model({{"table": "thing"}}).save({{"id": "1"}})
    {closed}
    child = os.fork()
    if child == 0:
        sys.stdout.write("of the child")
        sys.exit(7)
    assert os.waitpid(child, 0)[1] == 7 << 8
    """,
        str(tmp_path / "data"),
    )
    assert result.stdout == "of the child"


def test_fork_in_a_loop(run_program):
    run_program("""
    import asyncio, os, tito, tito.aio
    async def main():
        db = await tito.aio.connect("memory:")
        things = db.model({"table": "thing"})
        await things.save({"id": "1"})
        child = os.fork()
        if child == 0:
            try:
                await things.find_by_id("1")
            except (tito.Forked, RuntimeError):  # asyncio itself may say that the loop is another process's
                os._exit(0)
            os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        assert await things.find_by_id("1") == {"id": "1"}
        await db.close()
    asyncio.run(main())
    """)


def test_multiprocessing(run_program, tmp_path):
    """The pattern of the README: each process connects for itself; what is inherited is refused."""
    run_program(
        """
    import multiprocessing, sys, tito
    inherited = None
    def start():
        global things
        things = tito.connect("memory:").model({"table": "thing"})
    def work(i):
        assert things.save({"id": str(i)}) == {"id": str(i)}
        return tito.Busy("errors cross processes", table="t")
    def refused(i):
        try:
            inherited.find_by_id("1")
        except tito.Forked as error:
            return error
    if __name__ == "__main__":
        with multiprocessing.get_context("fork").Pool(3, start) as pool:
            errors = pool.map(work, range(20))
        assert all(type(error) is tito.Busy and error.table == "t" for error in errors)
        db = tito.connect("memory:")
        inherited = db.model({"table": "thing"})
        with multiprocessing.get_context("fork").Pool(3) as pool:
            errors = pool.map(refused, range(20))
        assert all(type(error) is tito.Forked and "multiprocessing" in str(error) for error in errors)
        process = multiprocessing.get_context("spawn").Process(target=start)
        process.start()
        process.join()
        assert process.exitcode == 0
        assert inherited.find_by_id("1") is None
    """
    )


GUNICORN = '''
import os, tito
opened = None
things = None

def app(environ, start_response):
    found = things.save({"id": str(os.getpid())})
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [found["id"].encode()]
'''
GUNICORN_CONFIG = """
bind = "127.0.0.1:0"
workers = 2
preload_app = True

def post_fork(server, worker):
    import app, tito
    app.things = tito.connect("memory:").model({"table": "thing"})
"""


def test_gunicorn(tmp_path):
    pytest.importorskip("gunicorn")
    import re
    import signal
    import subprocess
    import sys
    import time
    import urllib.request

    (tmp_path / "app.py").write_text(GUNICORN)
    (tmp_path / "conf.py").write_text(GUNICORN_CONFIG)
    log = open(tmp_path / "log", "w")
    server = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "-c", "conf.py", "app:app"], cwd=tmp_path, stdout=log, stderr=log
    )
    try:
        for _ in range(300):
            found = re.search(r"http://127\.0\.0\.1:(\d+)", (tmp_path / "log").read_text())
            if found:
                break
            time.sleep(0.1)
        port = found.group(1)
        answers = {urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60).read() for _ in range(10)}
        assert answers and str(server.pid).encode() not in answers
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0
    assert "Traceback" not in (tmp_path / "log").read_text()
