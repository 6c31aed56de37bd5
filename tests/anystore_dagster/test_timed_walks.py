"""A walk gives what it has when the time is over, and never holds up who waits for it."""

import threading

import pytest

from anystore.errors import BackendError
from anystore_dagster.timed_walks import TimedWalk


def test_a_walk_to_its_end():
    walk = TimedWalk(range(50_000), seconds=60)
    assert list(walk) == list(range(50_000))
    assert walk.ended


def test_one_that_hangs():
    goes_on = threading.Event()

    def hanging():
        yield from range(3)
        goes_on.wait(60)
        yield 3

    walk = TimedWalk(hanging(), seconds=0.3)
    assert list(walk) == [0, 1, 2]
    assert not walk.ended
    goes_on.set()


def test_one_that_fails_gives_first_what_it_has():
    def failing():
        yield 1
        raise BackendError("no")

    walk = TimedWalk(failing(), seconds=60)
    got = []
    with pytest.raises(BackendError, match="no"):
        got.extend(walk)
    assert not walk.ended


def test_the_thread_ends_when_nobody_wants_more():
    ended = threading.Event()

    def endless():
        try:
            number = 0
            while True:
                number += 1
                yield number
        finally:
            ended.set()

    walk = TimedWalk(endless(), seconds=60)
    assert next(iter(walk)) == 1
    assert ended.wait(30)


def test_no_more_is_read_ahead_than_fits_into_memory():
    read = []

    def endless():
        while True:
            read.append(None)
            yield None

    walk = iter(TimedWalk(endless(), seconds=1))
    next(walk)
    threading.Event().wait(0.5)
    assert len(read) <= 10_001
    walk.close()
