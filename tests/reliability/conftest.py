"""Fixtures of the reliability tests."""

import functools
import os
import random
from collections.abc import Callable

import pytest

from tests.reliability.effort import Effort, effort_of_this_run
from tests.reliability.tallies import ROWS, note

_EFFORT = effort_of_this_run()
_ROWS = os.environ.get(ROWS)


@pytest.fixture(scope="session")
def effort() -> Effort:
    """How much to do: a little in ``make test``, a lot in ``make soak``."""
    return _EFFORT


@pytest.fixture(scope="session")
def tally() -> Callable[..., None]:
    """Note what was tried, where, how often, and how many were lost; none may be.

    Each test calls ``tally(what, where, tried=…, lost=…)`` at its end. The rows of one ``(what, where)`` are added
    up. In ``make soak`` they become the table of docs/reliability.md.
    """

    return functools.partial(note, _ROWS)


@pytest.fixture
def chance(effort: Effort) -> random.Random:
    """A source of chance whose seed stands in the output of a test that fails; ANYSTORE_TEST_SEED sets it.

    The short form tries the same each time, so that a change is not blamed for what it has not done; the long one looks
    for what is new.
    """
    seed = int(os.environ.get("ANYSTORE_TEST_SEED") or (random.SystemRandom().randrange(1 << 32) if effort.long else 1))
    print(f"ANYSTORE_TEST_SEED={seed}")
    return random.Random(seed)
