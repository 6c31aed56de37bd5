"""How many requests a host gets, by a clock of the test's own."""

import pytest

from anystore.web.limits import HostLimit, ListingLimit


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


def test_each_request_of_one_who_makes_several_takes_a_turn(clock):
    limit = HostLimit(8, clock=clock, spacing=2.0)
    limit.joined()
    assert limit.wait() is None
    assert limit.take_turn() == 0.0
    clock.now = 0.5
    assert limit.take_turn() == 1.5
    clock.now = 10.0
    assert limit.take_turn() == 0.0
    limit.answered()
    assert limit.wait() == 2.0
    assert HostLimit(8, clock=clock).take_turn() == 0.0


# -- listings ----------------------------------------------------------------------------


def refuse_beside_another(limit, clock):
    """Ask for two listings at once, of which the second is refused."""
    limit.started()
    limit.started()
    limit.ended()
    limit.ended()
    return limit.is_crowded(began=clock.now)


def list_well(limit, times):
    for _ in range(times):
        limit.started()
        limit.ended()


def test_any_number_of_listings_is_asked_for_until_one_is_refused_beside_others(clock):
    limit = ListingLimit(clock)
    for _ in range(50):
        assert limit.has_room
        limit.started()
    clock.now = 1.0
    limit.ended()
    assert limit.is_crowded(began=0.0)
    assert not limit.has_room
    for _ in range(49):
        limit.ended()
    assert limit.has_room
    limit.started()
    assert not limit.has_room


def test_a_listing_that_is_refused_alone_says_nothing_of_others(clock):
    limit = ListingLimit(clock)
    limit.started()
    limit.started()
    limit.ended()
    limit.ended()
    clock.now = 1.0
    limit.started()
    limit.ended()
    assert not limit.is_crowded(began=1.0)
    limit.started()
    assert limit.has_room


def test_the_first_of_two_was_beside_the_second(clock):
    limit = ListingLimit(clock)
    limit.started()
    clock.now = 1.0
    limit.started()
    limit.ended()
    assert limit.is_crowded(began=0.0)


def test_one_more_listing_is_asked_for_after_many_that_came_well_and_twice_as_many_each_time(clock):
    limit = ListingLimit(clock)
    assert refuse_beside_another(limit, clock)
    for patience in (100, 200, 400):
        clock.now += 1.0
        list_well(limit, patience - 1)
        assert limit.allowed == 1
        list_well(limit, 1)
        assert limit.allowed == 2
        assert refuse_beside_another(limit, clock)


def test_listings_that_were_refused_together_put_the_next_attempt_off_once(clock):
    limit = ListingLimit(clock)
    for _ in range(8):
        limit.started()
    clock.now = 1.0
    for _ in range(8):
        limit.ended()
        assert limit.is_crowded(began=0.0)
    list_well(limit, 100)
    assert limit.allowed == 2


def test_a_server_that_is_known_to_refuse_begins_with_one(clock):
    limit = ListingLimit(clock)
    limit.take_singly()
    list_well(limit, 100)
    assert limit.allowed == 2
    limit.take_singly()  # each of its listings says so
    assert limit.allowed == 2
