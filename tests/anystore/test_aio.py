"""A store for asyncio: the same calls as the store's, bounded, and never half done."""

import asyncio
import contextvars
import gc
import inspect
import os
import pickle
import subprocess
import sys
import textwrap
import threading
from contextlib import aclosing
from pathlib import Path

import pytest

from anystore import CodecError, DoesNotExist, Entry, InvalidKey, InvalidOption, ReadOnlyError, Store, get_store
from anystore.aio import AsyncStore
from anystore.backends.memory import MemoryBackend
from anystore.keys import parse_key
from anystore.worker_threads import _Source, threads_of
from tests.object_servers import BUCKET

ROOT = Path(__file__).parents[2]
PUBLIC = [name for name, value in vars(AsyncStore).items() if not name.startswith("_") and inspect.isfunction(value)]
LONG = 30  # seconds; what a test waits for happens at once, or not at all


@pytest.fixture(params=["memory", "local", "sqlite", "zip", "redis", "postgres", "seaweedfs"])
def store(request, tmp_path):
    name, config = f"aio_{os.urandom(4).hex()}", None
    match request.param:
        case "redis":
            uri = f"redis://127.0.0.1:{request.getfixturevalue('redis_server').port}/0/{name}"
        case "postgres":
            uri, config = request.getfixturevalue("postgres_server").url, {"table": name}
        case "seaweedfs":
            uri, config = f"s3://{BUCKET}/{name}", request.getfixturevalue("seaweedfs_server").config
        case kind:
            uri = {
                "memory": f"memory://{name}",
                "local": str(tmp_path),
                "sqlite": f"sqlite:///{tmp_path}/x.db",
                "zip": f"{tmp_path}/x.zip",
            }[kind]
    return get_store(uri, backend_config=config)


class Gated(MemoryBackend):
    """A backend whose reads and writes wait at a gate."""

    def __init__(self, name):
        super().__init__(name)
        self.gate, self.arrived = threading.Event(), threading.Semaphore(0)
        self.inside = self.most_inside = 0
        self.lock = threading.Lock()

    def pass_gate(self):
        with self.lock:
            self.inside += 1
            self.most_inside = max(self.most_inside, self.inside)
        self.arrived.release()
        assert self.gate.wait(LONG)
        with self.lock:
            self.inside -= 1

    def get(self, key):
        self.pass_gate()
        return super().get(key)

    def put(self, key, data, *, create=False, version=None, ttl=None):
        self.pass_gate()
        return super().put(key, data, create=create, version=version, ttl=ttl)

    async def wait_for(self, number=1):
        for _ in range(number):
            assert await asyncio.to_thread(self.arrived.acquire, timeout=LONG)


class Sourced(MemoryBackend):
    """A backend whose listing and values come from an iterator of the test, and tell when they are closed."""

    def __init__(self, name, items):
        super().__init__(name)
        self.items, self.given, self.closed = items, 0, threading.Event()

    def scan(self, prefix="", after=None):
        return self._give()

    def read(self, key, start=0, stop=None):
        return self._give()

    def _give(self):
        try:
            for item in self.items:
                self.given += 1
                yield item
        finally:
            self.closed.set()


def forever(item):
    while True:
        yield item


@pytest.mark.parametrize("name", PUBLIC)
def test_signatures_are_those_of_the_store(name):
    ours, theirs = inspect.signature(getattr(AsyncStore, name)), inspect.signature(getattr(Store, name))
    names = [(p.name, p.kind, p.default) for p in ours.parameters.values()]
    assert names == [(p.name, p.kind, p.default) for p in theirs.parameters.values()]
    streaming = "AsyncGenerator" in str(ours.return_annotation)
    assert streaming == ("Iterator" in str(theirs.return_annotation))
    assert streaming != inspect.iscoroutinefunction(getattr(AsyncStore, name))
    if not streaming:
        assert ours.return_annotation == theirs.return_annotation


def test_what_was_promised_is_there():
    assert set(PUBLIC) >= {"get", "put", "delete", "exists", "info", "entries", "get_many", "put_many", "stream"}


async def use_each_call(store):
    aio = store.aio
    entry = await aio.put("a", {"x": 1})
    assert isinstance(entry, Entry)
    assert await aio.get("a") == store.get("a") == {"x": 1}
    assert await aio.exists("a")
    assert (await aio.info("a")).size == store.info("a").size
    await aio.put_many({"b/1": "one", "b/2": "two"})
    await aio.put_many(iter([("b/3", "three")]))
    assert [pair async for pair in aio.get_many(["b/2", "none", "b/1"])] == [("b/2", "two"), ("b/1", "one")]
    assert sorted([entry.key async for entry in aio.entries("b", glob="[12]")]) == ["b/1", "b/2"]
    store.put("lines", "1\n2\r\n3", serialization_mode="text")
    assert [line async for line in aio.stream("lines", serialization_mode="json")] == [1, 2, 3]
    await aio.delete("a")
    await aio.delete("a")
    assert not await aio.exists("a")
    assert await aio.get("a", raise_on_nonexist=False) is None
    assert [line async for line in aio.stream("a", raise_on_nonexist=False)] == []


def test_each_call_does_what_the_store_does(store):
    asyncio.run(use_each_call(store))


def test_errors_are_those_of_the_store():
    async def main():
        aio = get_store("memory://aio-errors").aio
        with pytest.raises(DoesNotExist):
            await aio.get("nothing")
        with pytest.raises(InvalidKey):
            await aio.put("../x", 1)
        with pytest.raises(CodecError):
            await aio.put("x", object())
        for broken in (aio.stream("nothing"), aio.entries("/x"), aio.get_many("abc"), aio.get_many(["/"])):
            with pytest.raises((DoesNotExist, InvalidKey, InvalidOption)):
                await anext(broken)
        with pytest.raises(ReadOnlyError):
            await get_store("memory://aio-errors", readonly=True).aio.put("x", 1)

    asyncio.run(main())


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, "4"])
def test_a_limit_that_is_none(limit):
    with pytest.raises(InvalidOption, match="limit"):
        AsyncStore(get_store("memory://aio-limit"), limit=limit)


def test_no_more_calls_run_at_once_than_the_limit():
    async def main():
        backend = Gated("aio-bounded")
        aio = AsyncStore(Store(backend), limit=3)
        calls = [asyncio.create_task(aio.put(f"{number}", number)) for number in range(20)]
        await backend.wait_for(3)
        assert backend.inside == 3
        backend.gate.set()
        await asyncio.gather(*calls)
        assert backend.most_inside == 3

    asyncio.run(main())


def test_stores_of_one_backend_share_the_limit(tmp_path):
    store = get_store(tmp_path)
    again = get_store(tmp_path, readonly=True)
    threads = {threads_of(one.backend, 32) for one in (store, again, store.under("a"), store.under("a").under("b"))}
    assert len(threads) == 1
    assert threads_of(get_store(tmp_path / "other").backend, 32) not in threads


def test_the_loop_goes_on_meanwhile():
    async def main():
        backend = Gated("aio-loop")
        call = asyncio.create_task(Store(backend).aio.put("a", 1))
        await backend.wait_for()
        for _ in range(100):
            await asyncio.sleep(0)
        assert not call.done()
        backend.gate.set()
        await call

    asyncio.run(main())


def test_a_read_that_is_cancelled_is_not_waited_for():
    async def main():
        backend = Gated("aio-read")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await Store(backend).aio.get("a")
        assert not backend.gate.is_set()
        backend.gate.set()

    asyncio.run(main())


def test_a_write_that_has_begun_is_done_before_a_cancelled_caller_goes_on():
    async def main():
        backend = Gated("aio-begun")
        call = asyncio.create_task(Store(backend).aio.put("a", 1))
        await backend.wait_for()
        call.cancel()
        for _ in range(100):
            await asyncio.sleep(0)
        assert not call.done()
        backend.gate.set()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert Store(backend).get("a") == 1

    asyncio.run(main())


def test_a_second_cancellation_ends_the_wait():
    async def main():
        backend = Gated("aio-twice")
        call = asyncio.create_task(Store(backend).aio.put("a", 1))
        await backend.wait_for()
        for _ in range(2):
            call.cancel()
            for _ in range(10):
                await asyncio.sleep(0)
        assert call.cancelled()
        backend.gate.set()

    asyncio.run(main())


def test_a_write_that_waits_for_its_turn_is_never_done_once_cancelled():
    async def main():
        backend = Gated("aio-queued")
        aio = AsyncStore(Store(backend), limit=1)
        first = asyncio.create_task(aio.put("a", 1))
        await backend.wait_for()
        second = asyncio.create_task(aio.put("b", 2))
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        backend.gate.set()
        await first
        await aio.put("c", 3)
        assert sorted(Store(backend).iterate_keys()) == ["a", "c"]

    asyncio.run(main())


def test_a_failure_after_a_cancellation_is_not_shouted_about(caplog):
    class Failing(Gated):
        def put(self, key, data, *, create=False, version=None, ttl=None):
            self.pass_gate()
            raise OSError("the disk is full")

    async def main():
        backend = Failing("aio-failing")
        calls = [asyncio.create_task(Store(backend).aio.put("a", 1)) for _ in range(2)]
        await backend.wait_for(2)
        calls[0].cancel()
        await asyncio.sleep(0)
        backend.gate.set()
        with pytest.raises(asyncio.CancelledError):
            await calls[0]
        with pytest.raises(OSError, match="full"):
            await calls[1]

    asyncio.run(main())
    assert caplog.text == ""


@pytest.mark.parametrize("begun", [0, 3])
def test_many_writes_that_are_cancelled_stop(tmp_path, begun):
    store = get_store(tmp_path)

    async def main():
        gate, given = threading.Event(), threading.Semaphore(0)

        def items():
            for number in range(1000):
                if number == begun:
                    given.release()
                    assert gate.wait(LONG)
                yield f"{number:04}", "x" * 1000

        call = asyncio.create_task(store.aio.put_many(items()))
        assert await asyncio.to_thread(given.acquire, timeout=LONG)
        call.cancel()
        await asyncio.sleep(0)
        gate.set()
        with pytest.raises(asyncio.CancelledError):
            await call

    asyncio.run(main())
    found = list(store.entries())
    assert len(found) <= begun + 1
    assert {entry.size for entry in found} <= {1000}
    assert {path.name for path in tmp_path.iterdir()} - {".anystore"} == {entry.key for entry in found}


def test_a_stream_that_is_left_closes_its_value():
    async def main():
        backend = Sourced("aio-left", forever(b"line\n"))
        async with aclosing(Store(backend).aio.stream("a", serialization_mode="text")) as lines:
            assert await anext(lines) == "line"
            assert not backend.closed.is_set()
        assert backend.closed.is_set()

    asyncio.run(main())


def test_a_stream_that_is_cancelled_closes_its_value():
    async def main():
        backend = Sourced("aio-cancelled", forever(b"line\n"))

        async def read():
            async for _ in Store(backend).aio.stream("a", serialization_mode="text"):
                await asyncio.sleep(0)

        call = asyncio.create_task(read())
        while not backend.given:  # noqa: ASYNC110 - a thread counts it
            await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await asyncio.to_thread(backend.closed.wait, LONG)

    asyncio.run(main())


def test_a_listing_that_is_forgotten_is_closed_when_the_loop_ends():
    backend = Sourced("aio-forgotten", forever(Entry("a", 1, None)))

    async def main():
        async for entry in Store(backend).aio.entries():
            assert entry.key == "a"
            break

    asyncio.run(main())
    assert backend.closed.wait(LONG)


def test_a_stream_that_hangs_can_be_left():
    gate = threading.Event()

    def hanging():
        yield b"first\n"
        assert gate.wait(LONG)
        yield b"second\n"

    async def main():
        backend = Sourced("aio-hangs", hanging())
        seen = []
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                async for line in Store(backend).aio.stream("a", serialization_mode="text"):
                    seen.append(line)  # noqa: PERF401 - what came before the end is looked at
        assert seen == ["first"]
        assert not gate.is_set()
        gate.set()
        assert await asyncio.to_thread(backend.closed.wait, LONG)

    asyncio.run(main())


def test_what_still_hangs_when_the_loop_ends_is_quiet_and_closed(caplog, capfd):
    gate = threading.Event()

    def hanging():
        yield b"first\n"
        assert gate.wait(LONG)
        yield b"second\n"

    streamed, written = Sourced("aio-hangs-on", hanging()), Gated("aio-hangs-on-too")

    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                async for _ in Store(streamed).aio.stream("a", serialization_mode="text"):
                    pass
        call = asyncio.create_task(Store(written).aio.put("a", 1))
        await written.wait_for()
        for _ in range(2):
            call.cancel()
            await asyncio.sleep(0)

    asyncio.run(main())
    gate.set()
    written.gate.set()
    assert streamed.closed.wait(LONG)
    for backend in (streamed, written):
        threads_of(backend, 32)._pool.shutdown()
    assert (caplog.text, *capfd.readouterr()) == ("", "", "")


def test_threads_end_with_their_store():
    before = set(threading.enumerate())
    store = get_store("memory://aio-ends")
    asyncio.run(store.aio.put("a", 1))
    own = AsyncStore(store, limit=1)
    asyncio.run(own.put("a", 1))
    started = [one for one in set(threading.enumerate()) - before if one.name.startswith("anystore-aio")]
    assert len(started) == 2
    del store, own
    gc.collect()
    for thread in started:
        thread.join(LONG)
        assert not thread.is_alive()


def test_reading_ahead_is_bounded():
    async def main():
        backend = Sourced("aio-ahead", (Entry(f"{number}", 1, None) for number in range(1_000_000)))
        async with aclosing(Store(backend).aio.entries()) as entries:
            await anext(entries)
            await asyncio.sleep(0.2)
            assert backend.given <= 512
            for _ in range(5000):
                await anext(entries)
            await asyncio.sleep(0.1)
            assert backend.given <= 5000 + 2 * 256 + 1

    asyncio.run(main())


def test_large_values_are_not_collected():
    async def main():
        store = get_store("memory://aio-large")

        class Slow(MemoryBackend):
            given = 0

            def get_many(self, keys):
                for key in keys:
                    threading.Event().wait(0.02)  # as long as a large value takes
                    self.given += 1
                    yield key, b"x"

        backend = Slow("aio-large")
        store = Store(backend)
        async with aclosing(store.aio.get_many(f"{number}" for number in range(1000))) as values:
            await anext(values)
            await asyncio.sleep(0.3)
            assert backend.given <= 2

    asyncio.run(main())


def test_what_came_before_an_error_is_given_first():
    async def main():
        store = get_store("memory://aio-broken-line")
        store.put("lines", "1\n2\n{broken\n4", serialization_mode="text")
        seen = []
        with pytest.raises(CodecError):
            async for line in store.aio.stream("lines", serialization_mode="json"):
                seen.append(line)  # noqa: PERF401 - what came before the error is looked at
        assert seen == [1, 2]

    asyncio.run(main())


def test_a_large_value_in_order(tmp_path):
    store = get_store(tmp_path)
    store.put("lines", "\n".join(map(str, range(100_000))), serialization_mode="text")

    async def main():
        return [line async for line in store.aio.stream("lines", serialization_mode="json")]

    assert asyncio.run(main()) == list(range(100_000))


def test_a_batch_that_is_taken_before_its_thread_is_done_is_not_the_end(monkeypatch):
    fill = _Source.fill

    def fill_and_rest(self):
        fill(self)
        threading.Event().wait(0.03)

    monkeypatch.setattr(_Source, "fill", fill_and_rest)
    store = get_store("memory://aio-rest")
    store.put("lines", "\n".join(map(str, range(1000))), serialization_mode="text")

    async def main():
        return [line async for line in store.aio.stream("lines", serialization_mode="json")]

    assert asyncio.run(main()) == list(range(1000))


def test_one_loop_after_the_other_and_two_at_once(tmp_path):
    store = get_store(f"sqlite:///{tmp_path}/x.db")
    aio = store.aio

    async def count(name):
        for number in range(20):
            await aio.put(f"{name}/{number}", number)
        return len([entry async for entry in aio.entries(name)])

    assert [asyncio.run(count("a")), asyncio.run(count("b"))] == [20, 20]
    results = []
    runs = [threading.Thread(target=lambda n=name: results.append(asyncio.run(count(n)))) for name in ("c", "d")]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert results == [20, 20]


def test_a_task_group_that_fails_leaves_whole_values(tmp_path):
    store = get_store(tmp_path)

    async def main():
        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                for number in range(50):
                    group.create_task(store.aio.put(f"{number}", "x" * 100_000))
                group.create_task(store.aio.get("nothing"))
        assert caught.group_contains(DoesNotExist)

    asyncio.run(main())
    assert {entry.size for entry in store.entries()} <= {100_000}
    assert not [path for path in tmp_path.rglob(".anystore/*") if path.is_file()]


def test_context_variables_are_seen_by_the_call():
    user = contextvars.ContextVar("user", default="nobody")

    async def main():
        user.set("ann")
        await get_store("memory://aio-context").aio.put("a", 1, serialization_func=lambda _: user.get())

    asyncio.run(main())
    assert get_store("memory://aio-context").get("a") == "ann"


def test_pickles_by_configuration(tmp_path):
    aio = AsyncStore(get_store(tmp_path), limit=2)
    asyncio.run(aio.put("a", 1))
    again = pickle.loads(pickle.dumps(aio))
    assert asyncio.run(again.get("a")) == 1
    assert again.store.uri == aio.store.uri
    assert repr(again) == f"<AsyncStore {aio.store.uri}>"


def test_a_forked_process_has_threads_of_its_own(tmp_path):
    script = """
        import asyncio, os, sys
        from anystore import get_store
        aio = get_store(sys.argv[1]).aio
        asyncio.run(aio.put("parent", 1))
        if (child := os.fork()) == 0:
            asyncio.run(asyncio.wait_for(aio.put("child", 2), 20))
            os._exit(0)
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script), str(tmp_path)],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert get_store(tmp_path).get("child") == 2


def test_a_store_without_asyncio_does_not_load_it():
    script = "import sys; from anystore import get_store; get_store('memory://x').put('a', 1); print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True)
    loaded = run.stdout.split()
    assert "anystore.aio" in loaded
    assert "anystore.worker_threads" not in loaded
    assert "anystore.notebook" not in loaded
    assert parse_key("rich") not in loaded


def stop(_):
    return next(iter(()))


async def drain(items):
    return [item async for item in items]


@pytest.mark.parametrize(
    "call",
    [
        lambda aio: aio.get("a", deserialization_func=stop),
        lambda aio: aio.put("a", 2, serialization_func=stop),
        lambda aio: drain(aio.stream("a", deserialization_func=stop)),
    ],
    ids=["get", "put", "stream"],
)
def test_a_function_that_raises_stop_iteration_leaves_nobody_waiting(call):
    """Event loops take no such error from a thread, and whoever waits for it would wait for ever."""

    async def main():
        store = get_store("memory://aio-stop")
        await store.aio.put("a", "1")
        with pytest.raises(RuntimeError, match="StopIteration"):
            await asyncio.wait_for(call(store.aio), 30)
        assert await store.aio.get("a") == "1"

    asyncio.run(main())


async def pairs():
    yield "a", 1


@pytest.mark.parametrize("items", [pairs(), 5, None, ["ab"], [1, 2], [("a",)]], ids=lambda items: type(items).__name__)
def test_what_holds_no_pairs_is_refused(items):
    async def main():
        store = get_store("memory://aio-pairs")
        with pytest.raises(InvalidOption, match="pairs of key and value"):
            await store.aio.put_many(items)
        assert list(store.iterate_keys()) == []

    asyncio.run(main())
