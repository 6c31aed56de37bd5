"""A process that is killed while it writes: every value is the whole old or the whole new one, and work goes on.

Steps of the zip backend one by one, private files of `virtual` and single moments of a crawl are killed in the tests
of those modules; here the moment is left to chance.
"""

import pytest

from tests.reliability.effort import pairs
from tests.reliability.grounds import KINDS, new_place
from tests.reliability.killing import work_and_kill
from tests.reliability.works import WORKS, begin

SHORT, LONG = 2, 50


@pytest.fixture
def place(kind, request, tmp_path):
    return new_place(kind, request.getfixturevalue, tmp_path)


@pytest.mark.parametrize(("name", "kind"), pairs(WORKS, KINDS))
def test_killed_at_a_random_moment(name, kind, place, effort, chance, tally):  # noqa: PLR0917 - fixtures
    work = begin(name, place)
    if work is None:
        return
    done, pending, kills, lost = [0], set(), 0, 0
    for _ in effort.turns(SHORT, LONG):
        killed = work_and_kill(name, place, first=done[-1] + 1, chance=chance)
        done += killed.done
        pending |= killed.pending
        losses = list(work.losses(done, pending))
        if not losses:  # the next one completes its work
            following = max({done[-1], *pending}) + 1
            work.do(following)
            done.append(following)
            losses = list(work.losses(done, pending))
        kills += 1
        lost += bool(losses)
        print(f"killed in {killed.pending or 'no turn'}: {losses}")
        if losses:
            break
    tally(f"{name}, killed", kind, tried=kills, lost=lost)
