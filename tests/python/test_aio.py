"""The asyncio twin: the same results, on any loop, without threads; cancelling; many at once."""

import asyncio
import inspect
import threading

import pytest
import tito
import tito.aio
import uvloop
from conftest import ENGINES, place_of, scaled

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(params=LOOPS)
def run(request):
    """Runs a coroutine on a loop of its own."""

    def run(coroutine):
        loop = LOOPS[request.param]()
        try:
            return loop.run_until_complete(asyncio.wait_for(coroutine, 60))
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    return run


@pytest.mark.parametrize("engine", ENGINES)
def test_life_of_a_record(run, engine, tmp_path):
    async def main():
        target, options = place_of(engine, tmp_path)
        async with await tito.aio.connect(target, **options) as db:
            users = db.model({
                "table": "user",
                "indexes": [{"name": "by_n", "fields": [{"name": "n", "type": "number"}],
                             "condition": lambda user: user["n"] != 3}],
                "events": lambda user: [{"name": "user"}],
            })  # fmt: skip
            assert await users.build({"id": "1", "n": 1}, events="INSERT") == {"id": "1", "n": 1}
            assert await users.find_by_id("2") is None
            document, version = await users.find_with_version("1")
            assert await users.update({**document, "n": 2}, if_version=version) == {"id": "1", "n": 2}
            with pytest.raises(tito.VersionMismatch):
                await users.save(document, if_version=version)
            assert await users.patch("1", {"n": 4}, events="UPDATE") == {"id": "1", "n": 4}
            _, version = await users.save_with_options({"id": "1", "n": 5}, {"version": True})
            async with db.begin() as tx:
                for i in range(2, 30):
                    await users.save({"id": f"{i:02}", "n": i}, tx)
                assert await tx.start_version() > 0
            with pytest.raises(ZeroDivisionError):
                async with db.begin() as tx:
                    await users.save({"id": "x", "n": 0}, tx)
                    1 / 0
            query = users.query_by_index("by_n").gte(6).limit(7)
            assert [user["n"] async for user in query] == list(range(6, 30))
            assert await query.count() == 24 and (await query.first())["n"] == 6
            assert len((await query.execute()).items) == 7 and (await query.execute_reverse()).items[0]["n"] == 29
            assert (await users.query_by_index("by_n").value(3).first()) is None
            assert len((await users.scan(limit=3)).items) == 3
            assert [user["id"] for user in await users.find_many(["05", "no", "06"])] == ["05", "06"]
            assert await users.delete_by_id("05", events="DELETE")
            queue = db.queue("user")
            await queue.publish("k", {"x": 1}, delay=3600)
            actions = [event["action"] for event in await queue.history() if "action" in event]
            assert sorted(actions) == ["DELETE", "INSERT", "UPDATE"]
            assert (await db.check("user"))["findings"] == [] and await db.now() > 0
            assert isinstance(await db.stats(), dict) and [t["table"] for t in await db.schema()] == ["user"]
            assert isinstance(await query.explain(), dict)
            await db.drop_index("user", "by_n")
            await db.drop_table("user")
        with pytest.raises(tito.Closed):
            await users.find_by_id("1")
        await db.close()

    run(main())


def test_transactions(run):
    async def main():
        async with await tito.aio.connect("memory:") as db:
            counters = db.model({"table": "counter"})
            await counters.save({"id": "1", "n": 0})

            async def add(tx):
                found = await counters.find_by_id("1", None, tx)
                await asyncio.sleep(0)
                await counters.save({"id": "1", "n": found["n"] + 1}, tx)
                return found["n"]

            results = await asyncio.gather(*[db.transaction(add) for _ in range(30)])
            assert sorted(results) == list(range(30))

            async def fails(tx):
                await counters.save({"id": "1", "n": -1}, tx)
                raise KeyError("mine")

            with pytest.raises(KeyError):
                await db.transaction(fails)
            assert (await counters.find_by_id("1"))["n"] == 30
            with pytest.raises(tito.InvalidState, match="coroutine function"):
                await db.transaction(lambda tx: None)

    run(main())


def test_a_thousand_at_once(run):
    async def main():
        before = threading.active_count()
        async with await tito.aio.connect("memory:") as db:
            things, count = db.model({"table": "thing"}), scaled(1000, 1000)
            await asyncio.gather(*[things.build({"id": str(i), "n": i}) for i in range(count)])
            found = await asyncio.gather(*[things.find_by_id(str(i)) for i in range(count)])
            assert [thing["n"] for thing in found] == list(range(count))
            assert threading.active_count() == before  # none of Python's

    run(main())


def test_the_loop_goes_on(run):
    """While operations wait for a lock, the loop and other operations do not."""

    async def main():
        async with await tito.aio.connect("memory:") as db:
            things = db.model({"table": "thing"})
            await things.save({"id": "1", "n": 0})

            async def waits(tx):
                found = await things.find_by_id("1", None, tx, lock=True)
                await things.save({"id": "1", "n": found["n"] + 1}, tx)

            holder = db.begin()
            await things.find_by_id("1", None, holder, lock=True)
            tasks = [asyncio.ensure_future(db.transaction(waits)) for _ in range(16)]
            for i in range(100):
                await things.save({"id": f"other{i}"})
            assert not any(task.done() for task in tasks)
            await holder.rollback()
            await asyncio.gather(*tasks)
            assert (await things.find_by_id("1"))["n"] == 16

    run(main())


def test_cancelling(run):
    async def main():
        async with await tito.aio.connect("memory:") as db:
            things = db.model({"table": "thing"})
            await things.save({"id": "1"})
            async with db.begin() as holder:
                await things.find_by_id("1", None, holder, lock=True)

                async def waits(tx):
                    await things.find_by_id("1", None, tx, lock=True)

                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(db.transaction(waits), 0.2)
                task = asyncio.ensure_future(db.transaction(waits))
                await asyncio.sleep(0.05)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            # at every moment, from before the first step on; what was cancelled may have been done or not
            tasks = []
            for i in range(scaled(300, 100)):
                tasks.append(asyncio.ensure_future(things.save({"id": f"c{i}"})))
                if i % 3:
                    await asyncio.sleep(0)
                if i % 2:
                    tasks[-1].cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(result, (dict, asyncio.CancelledError)) for result in results)
            done = {result["id"] for result in results if isinstance(result, dict)}
            found = await things.find_many(sorted(done))
            assert {thing["id"] for thing in found} == done
            from tito import _ops

            assert not _ops.pump_of(asyncio.get_running_loop()).waiting

    run(main())


def test_closing_under_operations(run):
    async def main():
        db = await tito.aio.connect("memory:")
        things = db.model({"table": "thing"})
        tasks = [asyncio.ensure_future(things.save({"id": str(i)})) for i in range(200)]
        await asyncio.sleep(0)
        await db.close()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(r, (dict, tito.Closed, tito.Cancelled, tito.OutcomeUnknown)) for r in results), results

    run(main())


def test_closing_takes_no_thread(run):
    """Nor does it hold up the loop; again, from another task too, and after it was cancelled, it waits for the same end."""

    async def main():
        before = threading.active_count()
        db = await tito.aio.connect("memory:")
        assert await asyncio.gather(db.close(), db.close()) == [None, None]
        await db.close()
        with pytest.raises(tito.Closed):
            await db.now()
        db = await tito.aio.connect("memory:")
        await db.close()
        assert threading.active_count() <= before + 1  # of the two at once, one
        db = await tito.aio.connect("memory:")
        task = asyncio.ensure_future(db.close())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await db.close()
        with pytest.raises(tito.Closed):
            await db.now()

    run(main())


def test_loop_closed_under_operations():
    """What is under way when a loop ends is dropped; the next loop has a completion queue of its own."""
    db = tito.connect("memory:")
    twin = tito.aio.Database("memory:", {})

    async def leaves():
        from tito._ops import drive_async

        await drive_async(twin._open())
        things = twin.model({"table": "thing"})
        for i in range(50):
            asyncio.ensure_future(things.save({"id": str(i)}))
        await asyncio.sleep(0)

    async def again():
        things = twin.model({"table": "thing"})
        await things.save({"id": "after"})
        assert await things.find_by_id("after")
        await twin.close()

    asyncio.run(leaves())
    asyncio.run(again())
    db.close()


def test_loops_in_threads():
    failures = []
    with tito.connect("memory:") as _:
        pass

    async def main(db, number):
        things = db.model({"table": "thing"})
        await asyncio.gather(*[things.save({"id": f"{number}-{i}"}) for i in range(50)])
        assert len((await things.scan(limit=1000)).items) >= 50

    async def opened():
        return await tito.aio.connect("memory:")

    db = asyncio.run(opened())

    def work(number):
        try:
            asyncio.run(main(db, number))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    asyncio.run(db.close())


def test_twins():
    """Every public name of the blocking interface is there, a coroutine function where it waits."""
    plain = {"model", "begin", "queue", "worker", "query_by_index", "on", "stop", "fd", "step"}
    pairs = [
        (tito.Database, tito.aio.Database),
        (tito.Model, tito.aio.Model),
        (tito.Query, tito.aio.Query),
        (tito.Queue, tito.aio.Queue),
        (tito.Transaction, tito.aio.Transaction),
        (tito.Worker, tito.aio.Worker),
    ]
    asking = set(dir(tito.database.BaseQuery)) | {"keys_only"}
    for blocking, awaited in pairs:
        for name in vars(blocking):
            if name.startswith("_") or name == "step":
                continue
            twin = getattr(awaited, name)
            waits = inspect.iscoroutinefunction(twin) or inspect.isasyncgenfunction(twin)
            assert waits == (name not in plain and name not in asking), f"{awaited.__name__}.{name}"
            method = getattr(blocking, name)
            if callable(method) and name not in ("on", "transaction"):
                assert list(inspect.signature(method).parameters) == list(inspect.signature(twin).parameters)
