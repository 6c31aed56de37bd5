"""Where bodies are stored: here, or by threads."""

import threading
from datetime import timedelta

import pytest

from anystore.crawling.keeping import AT_ONCE_BYTES, Job
from anystore.crawling.storers import Storers
from anystore.crawling.tasks import Listed, Outcome, Task
from anystore.web.fetcher import Fetch, Fetched
from anystore.web.headers import Headers


class Keeping:
    """Stands for a target that takes as many seconds for a body as it says."""

    def __init__(self):
        self.seconds = 0.0
        self.threads = []
        self.goes_on = threading.Event()
        self.goes_on.set()

    def store_all(self, batch, *, together=False):
        self.goes_on.wait(30)
        self.threads += [threading.current_thread()] * len(batch)
        return self.seconds * len(batch), [(job.task, Outcome(what="fetched")) for job, _ in batch]


def came(number, size=10):
    url = f"http://host/{number}"
    task = Task(listed=Listed(key=f"{number}", url=url, shown=None), known=None)
    fetch = Fetch(url=url, tag=None, limit=100)
    answer = Fetched(
        fetch=fetch, url=url, status=200, headers=Headers(), body=bytes(size), error=None, elapsed=timedelta()
    )
    return Job(task, url, 0), answer


@pytest.fixture
def storing():
    keeping, told, woken = Keeping(), [], threading.Semaphore(0)
    with Storers(keeping, done=lambda task, _: told.append(task.listed.key), wake=woken.release) as storers:

        def store(*bodies):
            storers.store(bodies)
            while storers.busy:
                assert woken.acquire(timeout=30)
                storers.reap()

        yield keeping, store, told, storers


def test_a_quick_target_costs_no_thread(storing):
    keeping, store, told, _ = storing
    store(*(came(number) for number in range(50)))
    assert set(keeping.threads) == {threading.main_thread()}
    assert told == [f"{number}" for number in range(50)]


def test_a_slow_target_is_left_to_threads(storing):
    keeping, store, told, _ = storing
    keeping.seconds = 0.1
    store(*(came(number) for number in range(50)))
    assert keeping.threads.count(threading.main_thread()) == 5
    assert sorted(told, key=int) == [f"{number}" for number in range(50)]


def test_one_that_is_late_at_times_is_not_slow(storing):
    keeping, store, _, _ = storing
    for number in range(50):
        keeping.seconds = 0.1 if number % 5 else 0.0
        store(came(number))
    assert set(keeping.threads) == {threading.main_thread()}


def test_one_that_has_become_quick_is_noticed(storing):
    keeping, store, _, _ = storing
    keeping.seconds = 0.1
    store(*(came(number) for number in range(20)))
    keeping.seconds = 0.0001
    for number in range(600):
        store(came(number))
    assert keeping.threads[-100:] == [threading.main_thread()] * 100


def test_a_large_body_never_keeps_the_others_waiting(storing):
    keeping, store, _, _ = storing
    store(came(1), came(2, AT_ONCE_BYTES + 1), came(3))
    assert keeping.threads.count(threading.main_thread()) == 2
    assert len(keeping.threads) == 3


def test_what_waits_is_bounded(storing):
    keeping, store, _, storers = storing
    keeping.goes_on.clear()
    storers.store([came(number, 1 << 20) for number in range(15)])
    assert storers.busy
    assert not storers.full
    storers.store([came(number, 1 << 20) for number in range(2)])
    assert storers.full
    keeping.goes_on.set()
    store()
    assert not storers.full
