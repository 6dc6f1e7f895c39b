"""Workers: threads and tasks handle events in order, failures are stored and tried again, stopping drains."""

import asyncio
import signal
import threading
import time

import pytest
import tito
import tito.aio
import uvloop
from conftest import scaled

FAST = {"max_retries": 3, "base": 0.01, "factor": 1, "cap": 0.01}


def stop_when(worker, condition):
    """Stops worker when condition() is true; a program that hangs ends by its test's time."""

    def watch():
        while not condition():
            time.sleep(0.01)
        worker.stop()

    threading.Thread(target=watch, daemon=True).start()


def test_order_and_parallel_keys(db):
    queue, count = db.queue("job", partitions=4), scaled(200, 50)
    with db.begin() as tx:
        for i in range(count):
            queue.publish(f"key{i % 5}", {"n": i}, tx)
    worker, seen, lock = db.worker(concurrency=4, signals=False), {}, threading.Lock()

    @worker.on("job")
    def handle(event):
        with lock:
            seen.setdefault(event.key, []).append(event.payload["n"])

    stop_when(worker, lambda: sum(map(len, seen.values())) == count)
    worker.run()
    assert {key: sorted(ns) for key, ns in seen.items()} == seen and len(seen) == 5
    assert len(queue.history(state="completed", limit=1000)) == count
    with pytest.raises(tito.InvalidState):
        worker.run()


def test_outcomes(db):
    queue, model = db.queue("job", partitions=1), db.model({"table": "done"})
    worker, log = db.worker(concurrency=2, retry=FAST, signals=False), []

    def raises(event, tx):
        model.save({"id": "half"}, tx)
        raise ValueError("not today \ud800")

    def later(event, tx):
        if sum(name == "later" for name, *_ in log) == 1:
            event.reschedule(tito.now() + 0.05)

    def steps(event, tx):
        model.save({"id": f"step{event.payload}"}, tx)
        if event.payload < 3:
            event.advance(event.payload + 1)

    handlers = {"ok": lambda event, tx: model.save({"id": "ok"}, tx), "raises": raises, "false": lambda e, tx: False,
                "later": later, "steps": steps, "true": lambda e, tx: True, "odd": lambda e, tx: object()}  # fmt: skip

    @worker.on("job")
    def handle(event, tx):
        log.append((event.key, event.attempts, event.last_error))
        return handlers[event.key](event, tx)

    for key in handlers:
        queue.publish(key, 1)
    failed = lambda: len(queue.history(state="failed"))  # noqa: E731
    stop_when(worker, lambda: len(log) >= 16 and failed() == 2)
    worker.run()
    keys = [key for key, *_ in log]
    assert {key: keys.count(key) for key in handlers} == {
        "ok": 1, "raises": 4, "false": 4, "later": 2, "steps": 3, "true": 1, "odd": 1}  # fmt: skip
    errors = {event["key"]: event["last_error"] for event in queue.history(state="failed")}
    assert errors["raises"].startswith("ValueError: not today ?") and "test_worker.py" in errors["raises"]
    assert errors["false"] == "the handler returned False"
    assert [text for key, n, text in log if key == "raises" and n == 1][0].startswith("ValueError")
    assert [d["id"] for d in model.scan()] == ["ok", "step1", "step2", "step3"]
    event = queue.history(state="failed").items[0]
    queue.retry(event["id"])
    assert failed() == 1
    event = queue.history(state="failed").items[0]
    queue.drop(event["id"])
    with pytest.raises(tito.NotFound):
        queue.drop(event["id"])
    with pytest.raises(tito.Error):
        queue.retry("nonsense")


def test_transaction_of_an_event_ends_with_it(memory):
    queue, worker, kept = memory.queue("job"), memory.worker(signals=False), []
    queue.publish("k", {"x": [1]})

    @worker.on("job")
    def handle(event, tx):
        for end in (tx.commit, tx.rollback):
            with pytest.raises(tito.InvalidState, match="handler"):
                end()
        with tx:
            pass  # ends nothing
        kept.extend((event, tx))
        worker.stop()

    worker.run()
    event, tx = kept
    assert event.payload == {"x": [1]} and not event.expired  # copied: it may be kept
    with pytest.raises(tito.InvalidState):
        memory.model({"table": "t"}).save({"id": "1"}, tx)


def test_step(memory):
    queue, worker, seen = memory.queue("job"), memory.worker(), []
    worker.on("job", lambda event: seen.append(event.payload))
    assert worker.step() is True and worker.fd() >= 0
    queue.publish("a", 1)
    while not seen:
        assert worker.step(100) is True
    worker.stop()
    while worker.step(100):
        pass
    assert seen == [1]


def test_drain(memory):
    queue, worker = memory.queue("job"), memory.worker(signals=False, drain_timeout=0.2)
    queue.publish("k")
    began, release = threading.Event(), threading.Event()

    @worker.on("job")
    def handle(event):
        began.set()
        release.wait(30)

    stop_when(worker, began.is_set)
    with pytest.raises(tito.Timeout, match="drain"):
        worker.run()
    release.set()


def test_what_ends_the_program_ends_the_worker(memory):
    queue, worker = memory.queue("job"), memory.worker(signals=False, retry=FAST)
    queue.publish("k")

    @worker.on("job")
    def handle(event):
        raise SystemExit(5)

    with pytest.raises(SystemExit):
        worker.run()


def test_leader(memory):
    queue, leads, asked, seen = memory.queue("job"), [False], [], []

    def is_leader():
        asked.append(1)
        if len(asked) == 1:
            raise RuntimeError("unknown")
        return leads[0]

    worker = memory.worker(is_leader=is_leader, signals=False)
    worker.on("job", seen.append)
    queue.publish("k")

    def later():
        while len(asked) < 3:
            time.sleep(0.02)
        assert seen == []
        leads[0] = True
        while not seen:
            time.sleep(0.02)
        worker.stop()

    threading.Thread(target=later, daemon=True).start()
    with pytest.warns(RuntimeWarning, match="is_leader"):
        worker.run()
    assert len(seen) == 1


def batches_of(db):
    """A worker's handlers of batches, and what they have seen."""
    model, seen = db.model({"table": "done"}), []

    def handle(events, tx):
        keys = [event.key for event in events]
        assert len(set(keys)) == len(keys) <= 8
        if "k3" in keys:
            assert len(events) == 1 or all(event.attempts == 0 for event in events)
            raise ValueError("poison")
        for event in events:
            if event.key == "k1" and event.attempts == 0:
                event.fail("not this one")
            elif event.key == "k2" and event.payload["n"] != 9:
                event.advance({"n": 9})
        seen.extend((event.key, event.attempts) for event in events)
        return [model, tx, [event.key for event in events]]

    return handle, seen, model


def test_batches(db):
    queue = db.queue("job", partitions=2)
    with db.begin() as tx:
        for i in range(8):
            queue.publish(f"k{i}", {"n": i}, tx)
    handle, seen, model = batches_of(db)
    worker = db.worker(retry=FAST, signals=False, batch=8)

    @worker.on("job")
    def run(events, tx):
        _, _, keys = handle(events, tx)
        for key in keys:
            model.save({"id": key}, tx)

    stop_when(worker, lambda: len(queue.history(state="completed")) == 7 and len(queue.history(state="failed")) == 1)
    worker.run()
    assert ("k1", 0) in seen and ("k1", 1) in seen and "k3" not in {key for key, _ in seen}
    assert model.find_by_id("k3") is None and model.find_by_id("k2") is not None
    assert "poison" in queue.history(state="failed").items[0]["last_error"]


def test_batches_of_tasks(run):
    async def main():
        async with await tito.aio.connect("memory:") as db:
            queue, sizes = db.queue("job", partitions=2), []
            worker = db.worker(retry=FAST, signals=False)

            @worker.on("job", batch=8)
            async def handle(events, tx):
                sizes.append(len(events))
                if sum(sizes) >= 8:
                    worker.stop()

            await asyncio.gather(*[queue.publish(f"k{i}", str(i)) for i in range(8)])
            await worker.run()
            assert sum(sizes) == 8 and max(sizes) <= 8
            assert len(await queue.history(state="completed")) == 8

    run(main())


@pytest.mark.parametrize("size", [0, -1, 1001])
def test_bad_batches(memory, size):
    with pytest.raises(tito.InvalidArgument, match="tito_worker_new: option batch must be an integer from 1 to 1000"):
        memory.worker(batch=size)
    with pytest.raises(tito.InvalidArgument, match="tito_worker_on: option batch must be an integer from 1 to 1000"):
        memory.worker().on("job", print, batch=size)


def test_bad_arguments(memory):
    for options in ({"concurrency": 0}, {"concurrency": "x"}, {"nope": 1}, {"retry": 5}, {"retry": {"factor": "x"}},
                    {"partition_range": (3, 1)}, {"partition_range": 5}, {"is_leader": 5}, {"drain_timeout": "x"}):  # fmt: skip
        with pytest.raises(tito.InvalidArgument):
            memory.worker(**options)
    worker = memory.worker()
    for handler in (5, lambda: None, lambda a, b, c: None):
        with pytest.raises(tito.WrongType):
            worker.on("job", handler)
    with pytest.raises(tito.WrongType):
        worker.on(5, print)
    worker.on("job", lambda event: None)
    with pytest.raises(tito.AlreadyExists):
        worker.on("job", lambda event: None)
    with pytest.raises(tito.InvalidState, match=r"tito\.aio"):

        @worker.on("other")
        async def handle(event):
            pass

    with pytest.raises(tito.InvalidArgument):
        worker.stop(-1)
    queue = memory.queue("job")
    for bad in (
        lambda: queue.publish(5),
        lambda: queue.publish("k", object()),
        lambda: queue.publish("k", delay=1, timestamp=1),
        lambda: queue.publish("k", delay="soon"),
        lambda: queue.history(state="nope"),
        lambda: queue.history(limit="x"),
        lambda: memory.queue("a b"),
        lambda: memory.queue("q", partitions=0),
        lambda: tito.run_worker(None, print),
        lambda: tito.with_events(""),
    ):
        with pytest.raises(tito.InvalidArgument):
            bad()


# ---- asyncio

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(params=LOOPS)
def run(request):
    def run(coroutine):
        loop = LOOPS[request.param]()
        try:
            return loop.run_until_complete(asyncio.wait_for(coroutine, 60))
        finally:
            loop.close()

    return run


def test_tasks(run):
    async def main():
        async with await tito.aio.connect("memory:") as db:
            queue, model, count = db.queue("job"), db.model({"table": "done"}), scaled(300, 100)
            worker, running, most, seen = db.worker(concurrency=20, signals=False), 0, 0, []

            @worker.on("job")
            async def handle(event, tx):
                nonlocal running, most
                running += 1
                most = max(most, running)
                await model.save({"id": event.payload}, tx)
                await asyncio.sleep(0.001)
                running -= 1
                seen.append(event.payload)
                if len(seen) == count:
                    worker.stop()

            await asyncio.gather(*[queue.publish(f"k{i}", str(i)) for i in range(count)])
            before = threading.active_count()
            await worker.run()
            assert threading.active_count() == before and 1 < most <= 20
            assert sorted(seen, key=int) == [str(i) for i in range(count)]
            assert len((await model.scan(limit=1000)).items) == count

    run(main())


def test_tasks_that_fail(run):
    async def main():
        async with await tito.aio.connect("memory:") as db:
            queue, log = db.queue("job"), []
            worker = db.worker(concurrency=5, retry={**FAST, "max_retries": 0}, handler_timeout=0.3, signals=False)

            async def raises(event):
                raise ValueError("no")

            async def slow(event):
                await asyncio.sleep(60)

            async def dangling(event, tx):
                asyncio.ensure_future(db.model({"table": "t"}).save({"id": "1"}, tx))
                await asyncio.sleep(0)

            async def cancels(event):
                asyncio.current_task().cancel()
                await asyncio.sleep(1)

            handlers = {"raises": raises, "slow": slow, "cancels": cancels}

            @worker.on("job")
            async def handle(event, tx):
                log.append(event.key)
                return await handlers[event.key](event)

            for key in handlers:
                await queue.publish(key)

            async def watch():
                while len((await queue.history(state="failed")).items) < len(handlers):
                    await asyncio.sleep(0.02)
                worker.stop()

            await asyncio.gather(worker.run(), watch())
            errors = {event["key"]: event.get("last_error") for event in await queue.history(state="failed")}
            assert errors["raises"].startswith("ValueError: no") and sorted(log) == sorted(handlers)
            assert "cancelled" in errors["cancels"] and errors["slow"]

    run(main())


def test_drain_of_tasks(run):
    async def main():
        async with await tito.aio.connect("memory:") as db:
            queue, worker, ended = db.queue("job"), db.worker(signals=False, drain_timeout=0.1), []
            await queue.publish("k")

            @worker.on("job")
            async def handle(event):
                worker.stop()
                try:
                    await asyncio.sleep(60)
                finally:
                    ended.append(True)

            with pytest.raises(tito.Timeout, match="drain"):
                await worker.run()
            assert ended == [True]

            worker = db.worker(signals=False)
            worker.on("other", print)
            task = asyncio.ensure_future(worker.run())
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    run(main())


# ---- Signals, in programs of their own

BLOCKING = """
import os, signal, sys, threading, time, tito
db = tito.connect("memory:")
queue = db.queue("job")
queue.publish("k")
worker = db.worker(drain_timeout=float(sys.argv[2]))
before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

@worker.on("job")
def handle(event):
    for number in sys.argv[1].split(","):
        os.kill(os.getpid(), getattr(signal, number))
        time.sleep(0.3)
    print("handled", flush=True)

try:
    worker.run()
    print("drained")
except tito.Timeout:
    print("gave up")
assert before == (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))
print(len(queue.history(state="completed")))
"""
AWAITED = """
import asyncio, os, signal, sys, tito, tito.aio
async def main():
    async with await tito.aio.connect("memory:") as db:
        queue = db.queue("job")
        await queue.publish("k")
        worker = db.worker(drain_timeout=float(sys.argv[2]))
        before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

        @worker.on("job")
        async def handle(event):
            for number in sys.argv[1].split(","):
                os.kill(os.getpid(), getattr(signal, number))
                await asyncio.sleep(0.3)
            print("handled", flush=True)

        try:
            await worker.run()
            print("drained")
        except tito.Timeout:
            print("gave up")
        assert before == (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))
        print(len((await queue.history(state="completed")).items))
asyncio.run(main())
"""


@pytest.mark.parametrize("text", [BLOCKING, AWAITED], ids=["threads", "tasks"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_drains(run_program, text, number):
    assert run_program(text, number.name, "30").stdout.split() == ["handled", "drained", "1"]


@pytest.mark.parametrize("text", [BLOCKING, AWAITED], ids=["threads", "tasks"])
def test_a_second_signal_ends(run_program, text):
    """The time to drain is over at once: the handler's outcome does not count."""
    words = run_program(text, "SIGINT,SIGINT,SIGINT", "60").stdout.split("\n")
    assert "gave up" in words and "1" not in words


# ---- Tending queues


def test_tending(db):
    queue = db.queue("job", partitions=2)
    id = queue.publish("k", 1, unique="token")
    assert queue.publish("k", 2, unique="token", on_duplicate="return") == id
    with pytest.raises(tito.AlreadyExists):
        queue.publish("k", 2, unique="token")
    with db.begin() as tx:
        assert queue.publish("other", 3, tx) is None
    assert queue.stats()["pending"] == 2 and "job" in db.metrics()
    assert sum(item["pending"] for item in queue.partitions()["items"]) == 2
    assert [known["type"] for known in db.queues()] == ["job"]
    assert queue.repartition(9) >= 1 and queue.repartition(9) == 0 and db.queues()[0]["partitions"] == 9
    with pytest.raises(tito.InvalidArgument):
        queue.repartition(0)
    queue.pause()
    assert queue.stats()["paused"] is True
    queue.resume()
    worker, seen = db.worker(signals=False, concurrency=2, leased=False, retry={"jitter": 0.5}), []
    worker.on("job", lambda event: seen.append(event.payload), concurrency=1, rate=1000)
    stop_when(worker, lambda: len(seen) == 2)
    worker.run()
    assert sorted(seen) == [1, 3] and queue.replay() == 2
    with pytest.raises(tito.InvalidArgument):
        queue.purge()
    assert queue.purge(key="k") == 2 and queue.purge(state="pending") == 1
    db.schedule("nightly", "job", "0 3 * * *", key="k", timezone="Europe/Berlin", payload={"x": 1}, catch_up="none")
    (found,) = db.schedules()
    assert found["name"] == "nightly" and found["next"] > tito.now()
    db.unschedule("nightly")
    with pytest.raises(tito.NotFound):
        db.unschedule("nightly")
    for bad in (lambda: db.schedule("x", "job", "nonsense"), lambda: db.schedule(5, "job", "@daily"), lambda: queue.replay(state="x")):
        with pytest.raises(tito.InvalidArgument):
            bad()
