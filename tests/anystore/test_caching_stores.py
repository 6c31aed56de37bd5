"""``anycache`` on every kind of store: the same program, only the URI changes."""

import json
import logging
import subprocess
import sys
import threading
from datetime import UTC, datetime

import numpy as np
import pytest

from anystore import Feature, anycache, get_store
from tests.database_servers import postgres
from tests.places import make_place

KINDS = ["memory", "folder", "fsspec", "zip", "sqlite", "postgres", "redis", "seaweedfs", "moto"]


@pytest.fixture(params=KINDS)
def place(request, tmp_path):
    return make_place(request.param, request.getfixturevalue, tmp_path)


@pytest.fixture
def store(place):
    uri, config = place
    with get_store(uri, backend_config=config) as store:
        yield store


VALUES = ["1", 1, b"1", None, (1, [2, {3}]), datetime(2024, 1, 1, tzinfo=UTC), np.arange(100_000), b"x" * 3_000_000]


def test_results_come_back_everywhere(store):
    calls = []
    now = [1_000_000.0]

    @anycache(store=store, name="values", ttl=60, clock=lambda: now[0])
    def run(number):
        calls.append(number)
        return VALUES[number]

    for _ in range(2):
        for number, value in enumerate(VALUES):
            back = run(number)
            assert type(back) is type(value)
            assert np.array_equal(back, value) if isinstance(value, np.ndarray) else back == value
    assert calls == list(range(len(VALUES)))
    assert len(list(store.iterate_keys("anycache"))) == len(VALUES)
    now[0] += 61
    assert run(7) == VALUES[7]  # a large value that has expired is replaced, too
    assert run(7) == VALUES[7]
    run.cache.invalidate(0)
    run(0)
    assert calls[len(VALUES) :] == [7, 0]
    with pytest.raises(ZeroDivisionError):
        anycache(store=store, name="fails")(lambda: 1 / 0)()
    run.cache.clear()
    assert list(store.iterate_keys()) == []
    entry = run(1)
    assert entry == 1
    assert (store.info(run.cache.key(1)).expires is not None) == (Feature.EXPIRE in store.features)


WORKER = """
import json, sys
from anystore import anycache, get_store
store = get_store(sys.argv[1], backend_config=json.loads(sys.argv[2]))
@anycache(store=store, name="worker")
def run(a):
    print("computed", flush=True)
    import time; time.sleep(0.3)
    return (a,)
sys.stdin.readline()
for a in range(3):
    assert run(a) == (a,)
"""


def test_one_process_computes_wherever_claims_can_be_kept(store, place):
    uri, config = place
    if uri.startswith("memory"):  # of one process
        return
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, uri, json.dumps(config)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    printed = "".join(one.communicate("go\n")[0] for one in workers)
    assert [one.returncode for one in workers] == [0] * 3
    computed = printed.count("computed")
    if {Feature.CREATE, Feature.SWAP} <= set(store.features):
        assert computed == 3
    else:
        assert 3 <= computed <= 9


def test_threads_compute_each_call_once(store):
    calls = []

    @anycache(store=store, name="threads")
    def run(a):
        calls.append(a)
        return [a]

    def work():
        for number in range(10):
            assert run(number) == [number]

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(calls) == list(range(10))


def test_a_stopped_server_is_logged_and_used_again(caplog):
    with postgres() as server:
        store = get_store(server.url)
        calls = []

        @anycache(store=store, name="stopping")
        def run(a):
            calls.append(a)
            return a

        run(1)
        server.stop()
        with caplog.at_level(logging.WARNING, "anystore.caching"):
            assert [run(1), run(1), run(2)] == [1, 1, 2]
        assert len(caplog.records) == 1
        assert server.password not in caplog.text
        server.start()
        assert [run(1), run(2), run(2)] == [1, 2, 2]
        assert calls == [1, 1, 1, 2, 2]
