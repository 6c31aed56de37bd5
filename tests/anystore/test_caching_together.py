"""Many callers at once: one computes, the others wait for it, and nobody waits for ever."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from anystore import Feature, anycache, get_store
from anystore.backends.memory import MemoryBackend
from anystore.caching import claims
from anystore.store import Store

LONG = 60


@pytest.fixture(params=["memory", "local", "sqlite", "without claims"])
def store(request, tmp_path):
    if request.param == "without claims":
        return Store(Simple(f"{uuid.uuid4()}"))
    uris = {"memory": f"memory://{uuid.uuid4()}", "local": tmp_path / "store", "sqlite": f"sqlite:///{tmp_path}/s.db"}
    return get_store(uris[request.param])


class Simple(MemoryBackend):
    """A store that cannot create and swap."""

    features = Feature.WRITE | Feature.LIST


def together(function, arguments):
    """Call a function in as many threads as there are arguments, all at once."""
    barrier = threading.Barrier(len(arguments))

    def run(argument):
        barrier.wait(LONG)
        return function(argument)

    with ThreadPoolExecutor(len(arguments)) as pool:
        return [future.result(LONG) for future in [pool.submit(run, argument) for argument in arguments]]


def test_threads_wait_for_the_first(store):
    calls = []

    @anycache(store=store, name="slow")
    def run(a):
        calls.append(a)
        time.sleep(0.2)
        return [a]

    results = together(run, [1, 2] * 8)
    assert results == [[1], [2]] * 8
    assert sorted(calls) == [1, 2]
    assert len({id(result) for result in results}) == 16  # nobody sees what another one does to the list
    assert run.cache.stats().hits == 14


def test_late_threads_do_not_compute_again(store):
    calls = []

    @anycache(store=store, name="quick")
    def run(a):
        calls.append(a)
        return a

    for number in range(100):
        together(run, [number] * 3)
    assert sorted(calls) == list(range(100))


def test_after_a_failure_one_at_a_time_computes(store):
    running, most, calls = [], [], []

    @anycache(store=store, name="failing")
    def run(a):
        running.append(1)
        most.append(len(running))
        calls.append(a)
        time.sleep(0.05)
        running.pop()
        if len(calls) < 3:
            raise ZeroDivisionError
        return a

    def call(a):
        try:
            return run(a)
        except ZeroDivisionError:
            return "failed"

    results = together(call, [1] * 6)
    assert sorted(map(str, results)) == ["1"] * 4 + ["failed"] * 2
    assert set(most) == {1}
    assert len(calls) == 3


def test_a_call_inside_itself_computes(store):
    depth = []

    @anycache(store=store, name="inside")
    def run(a):
        depth.append(a)
        return run(a) + 1 if len(depth) < 4 else 0

    assert run(1) == 3
    assert run(1) == 3
    assert len(depth) == 4


def test_recursion_over_other_calls_is_cached(store):
    calls = []

    @anycache(store=store, name="fibonacci")
    def fibonacci(n):
        calls.append(n)
        return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

    assert fibonacci(25) == 75025
    assert len(calls) == 26


def test_calls_that_need_each_other_do_not_wait_for_ever(store):
    inside = threading.Barrier(2)

    @anycache(store=store, name="circle")
    def run(a):
        path = PATH.setdefault(threading.get_ident(), [])
        path.append(a)
        if len(path) == 1:
            inside.wait(LONG)  # each thread is in its own call before it asks for the other's
        return a if len(path) > 1 else run(1 - a)

    PATH = {}  # noqa: N806 - what the threads have come through
    started = time.monotonic()
    together(run, [0, 1])
    assert time.monotonic() - started < LONG / 2


def test_a_hung_computation_is_waited_for_no_longer_than_asked(store):
    hang, hung = threading.Event(), threading.Event()
    calls = []

    @anycache(store=store, name="hanging", wait=0.3)
    def run(a):
        calls.append(a)
        if len(calls) == 1:
            hung.set()
            hang.wait(LONG)
        return a

    first = threading.Thread(target=run, args=(1,))
    first.start()
    hung.wait(LONG)
    assert run(1) == 1
    assert run(1) == 1
    assert len(calls) == 2
    hang.set()
    first.join()


def test_calls_that_are_not_to_wait_compute_each(store):
    calls, barrier = [], threading.Barrier(4)

    @anycache(store=store, name="waitless", wait=0)
    def run(a):
        calls.append(a)
        barrier.wait(LONG)
        return [a]

    @anycache(store=store, name="waitless-tasks", wait=0, serialization_mode="json")
    async def later(a):
        calls.append(a)
        return (a,)

    assert together(run, [1] * 4) == [[1]] * 4
    assert run(1) == [1]
    assert asyncio.run(later(2)) == asyncio.run(later(2)) == [2]
    assert calls == [1] * 4 + [2]


def test_tasks_wait_for_the_first(store):
    calls = []

    @anycache(store=store, name="tasks")
    async def run(a):
        calls.append(a)
        await asyncio.sleep(0.1)
        return [a]

    async def main():
        results = await asyncio.gather(*(run(number % 2) for number in range(100)))
        assert results == [[0], [1]] * 50
        assert len({id(result) for result in results}) == 100

    asyncio.run(main())
    assert sorted(calls) == [0, 1]


def test_tasks_after_a_failure_or_a_cancellation(store):
    calls = []

    @anycache(store=store, name="cancelled")
    async def run(a):
        calls.append(a)
        await asyncio.sleep(LONG if len(calls) == 1 else 0)
        if len(calls) == 2:
            raise ZeroDivisionError
        return a

    async def main():
        first = asyncio.create_task(run(1))
        while not calls:  # noqa: ASYNC110 - the call itself is to know of no event
            await asyncio.sleep(0.01)
        others = [asyncio.create_task(run(1)) for _ in range(4)]
        await asyncio.sleep(0.05)
        others.pop().cancel()
        first.cancel()
        results = await asyncio.gather(first, *others, return_exceptions=True)
        kinds = sorted(type(result).__name__ for result in results)
        assert kinds == ["CancelledError", "ZeroDivisionError", "int", "int"]

    asyncio.run(main())
    assert len(calls) == 3


def test_a_task_inside_of_another_ones_call_does_not_wait_for_it(store):
    calls = []

    @anycache(store=store, name="inner-task")
    async def run(a):
        calls.append(a)
        if len(calls) < 3:
            return (await asyncio.gather(run(a), run(a)))[0]
        return a

    assert asyncio.run(asyncio.wait_for(run(1), LONG)) == 1


class Slow(MemoryBackend):
    """Each call takes a while, as over a network."""

    def get(self, key):
        time.sleep(0.1)
        return super().get(key)

    def put(self, key, data, **options):
        time.sleep(0.1)
        return super().put(key, data, **options)


def test_a_claim_that_comes_after_a_cancellation_is_given_back():
    slow = Store(Slow(f"{uuid.uuid4()}"))

    @anycache(store=slow, name="late-claim")
    async def run(a):
        return a

    async def main():
        task = asyncio.create_task(run(1))
        await asyncio.sleep(0.15)  # it has been looked for, and is being claimed
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())  # waits for the threads
    assert list(slow.iterate_keys()) == []
    assert not claims._Keeper.claims


def test_the_event_loop_is_never_blocked():
    slow = Store(Slow(f"{uuid.uuid4()}"))

    @anycache(store=lambda: slow, name="unblocked")
    async def run(a):
        return a

    async def main():
        longest, last, done = 0.0, time.monotonic(), False

        async def tick():
            nonlocal longest, last
            while not done:
                await asyncio.sleep(0.001)
                now = time.monotonic()
                longest, last = max(longest, now - last), now

        ticking = asyncio.create_task(tick())
        await asyncio.sleep(0)
        for _ in range(2):
            await run(1)
        await run.cache.invalidate(1)
        await run.cache.clear()
        done = True
        await ticking
        return longest

    threads = set()
    original = Slow.get
    Slow.get = lambda self, key: (threads.add(threading.current_thread()), original(self, key))[1]
    try:
        asyncio.run(main())
    finally:
        Slow.get = original
    assert threads
    assert threading.main_thread() not in threads


def test_a_forked_child_does_not_wait_for_its_parents_threads(store, tmp_path):
    if store.uri.startswith("memory"):
        store = get_store(tmp_path)
    begun, finish = threading.Event(), threading.Event()

    @anycache(store=store, name="forked", wait=LONG, use_cache=True)
    def run(a):
        if a == "slow" and not IS_CHILD:
            begun.set()
            finish.wait(LONG)
        return a

    IS_CHILD = []  # noqa: N806 - what the child fills
    thread = threading.Thread(target=run, args=("slow",))
    thread.start()
    begun.wait(LONG)
    child = os.fork()
    if not child:
        IS_CHILD.append(1)
        signal.alarm(LONG)
        claims.LEASE = 0.5
        good = run("quick") == "quick" and run("quick") == "quick"
        os._exit(not good)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finish.set()
    thread.join()
    assert run("slow") == "slow"


WORKER = """
import sys, time
from anystore import anycache
from anystore.caching import claims
claims.LEASE = float(sys.argv[3])

@anycache(uri=sys.argv[1], name="worker")
def run(seconds):
    with open(sys.argv[2], "a") as file:
        file.write("x")
    print("computing", flush=True)
    time.sleep(seconds)
    return {"answer": (seconds,)}

for seconds in map(float, sys.argv[4:]):
    assert run(seconds) == {"answer": (seconds,)}
print("done", flush=True)
"""


def worker(uri, log, lease, *seconds):
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, str(uri), str(log), str(lease), *map(str, seconds)],
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(params=["local", "sqlite"])
def shared(request, tmp_path):
    return tmp_path / "store" if request.param == "local" else f"sqlite:///{tmp_path}/s.db"


def test_processes_wait_for_the_first(shared, tmp_path):
    (tmp_path / "log").touch()
    workers = [worker(shared, tmp_path / "log", 30, 0.5, 0.01, 0.02, 0.03) for _ in range(4)]
    assert [one.communicate()[0].endswith("done\n") for one in workers] == [True] * 4
    assert (tmp_path / "log").read_text() == "xxxx"


def test_a_long_computation_keeps_its_claim(shared, tmp_path):
    first = worker(shared, tmp_path / "log", 0.6, 3)
    assert first.stdout.readline() == "computing\n"
    second = worker(shared, tmp_path / "log", 0.6, 3)
    assert second.communicate()[0] == "done\n"
    assert first.communicate()[0] == "done\n"
    assert (tmp_path / "log").read_text() == "x"


def test_the_claim_of_a_killed_process_runs_out(shared, tmp_path):
    first = worker(shared, tmp_path / "log", 0.5, LONG)
    assert first.stdout.readline() == "computing\n"
    first.kill()
    first.communicate()
    store, calls = get_store(shared), []

    @anycache(store=store, name="worker")
    def run(seconds):
        calls.append(seconds)
        return seconds

    assert run(float(LONG)) == float(LONG)
    assert run(float(LONG)) == float(LONG)
    assert calls == [LONG]


def test_a_paused_process_does_not_overwrite(shared, tmp_path):
    first = worker(shared, tmp_path / "log", 0.5, 1)
    assert first.stdout.readline() == "computing\n"
    first.send_signal(signal.SIGSTOP)
    store = get_store(shared)

    @anycache(store=store, name="worker")
    def run(seconds):
        return "the second"

    assert run(1.0) == "the second"
    first.send_signal(signal.SIGCONT)
    assert first.communicate()[0] == "done\n"
    assert run(1.0) == "the second"


def test_no_thread_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "_IDLE", 0.05)

    @anycache(uri=str(tmp_path), name="threads")
    def run(a):
        return a

    for number in range(5):
        run(number)
    deadline = time.monotonic() + LONG
    while any(thread.name == "anystore-caching-claims" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    run(9)


def test_a_function_that_raises_stop_iteration_leaves_no_task_waiting():
    """Event loops take no such error from a thread, and whoever waits for it would wait for ever."""

    @anycache(store=lambda: next(iter(())))
    async def compute(number):
        return number

    async def main():
        with pytest.raises(RuntimeError, match="StopIteration"):
            await asyncio.wait_for(compute(1), 30)

    asyncio.run(main())
