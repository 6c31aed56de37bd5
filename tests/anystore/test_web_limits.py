"""How many requests a host gets, by a clock of the test's own."""

import pytest

from anystore.web.limits import HostLimit


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def round_trip(limit):
    """Start as many requests as may run, then answer them all."""
    started = 0
    while limit.wait() == 0.0:
        limit.started()
        started += 1
    for _ in range(started):
        limit.answered()
    return started


def test_it_starts_low_and_doubles_each_round_trip(clock):
    limit = HostLimit(32, clock=clock)
    assert [round_trip(limit) for _ in range(7)] == [2, 4, 8, 16, 32, 32, 32]
    assert round_trip(HostLimit(1, clock=clock)) == 1


def test_a_complaint_halves_it_once_for_all_that_ran(clock):
    limit = HostLimit(16, clock=clock)
    for _ in range(4):
        round_trip(limit)
    for _ in range(16):
        limit.started()
    clock.now = 1.0
    for _ in range(8):
        limit.complained(began=0.0)
    assert limit.allowed == 8
    limit.complained(began=1.5)  # this one was sent after the first complaint
    assert limit.allowed == 4
    for began in (2.0, 3.0, 4.0, 5.0):
        clock.now = began
        limit.complained(began=began)
    assert limit.allowed == 1
    for _ in range(3):
        limit.answered()
    assert (limit.running, limit.allowed) == (0, 4)


def test_a_host_that_wants_no_requests_gets_none(clock):
    limit = HostLimit(8, clock=clock)
    limit.started()
    limit.complained(began=0.0, wait=30.0)
    assert limit.wait() == 30.0
    clock.now = 29.0
    assert limit.wait() == 1.0
    limit.hold(began=29.0, wait=0.5)  # a shorter wait does not end a longer one
    assert limit.wait() == 1.0
    clock.now = 30.0
    assert limit.wait() == 0.0


def test_a_spaced_host_gets_one_request_after_the_other(clock):
    limit = HostLimit(8, clock=clock, spacing=2.0)
    assert limit.wait() == 0.0
    limit.started()
    assert limit.wait() is None
    limit.answered()
    assert limit.wait() == 2.0
    clock.now = 2.0
    assert limit.wait() == 0.0
