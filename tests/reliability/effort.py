"""How much a reliability test does: a little in `make test`, a lot in `make soak`, and when it has to end."""

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

SOAK = "ANYSTORE_SOAK"
"""How many minutes the long form takes; unset in the short one."""

UNTIL = "ANYSTORE_SOAK_UNTIL"
"""The monotonic time, of the whole machine, after which every test does as little as in the short form."""

WHOLE_MINUTES = 60.0
"""The length of the long form that does all that its tests ask for; a shorter one does its part of it."""


@dataclass(frozen=True)
class Effort:
    """What one run may do.

    Attributes:
        long: Whether it is the long form.
    """

    long: bool
    part: float = 1.0
    until: float = float("inf")

    def times(self, short: int, long: int) -> int:
        """How often to do something: `short`, or up to `long` times if there is time for it."""
        return max(short, round(long * self.part)) if self._more else short

    def seconds(self, short: float, long: float) -> float:
        """For how many seconds to do something."""
        return max(short, long * self.part) if self._more else short

    def turns(self, short: int, long: int) -> Iterator[int]:
        """Count turns: `short` of them, and up to `long` of them until the time is over."""
        for turn in range(self.times(short, long)):
            if turn >= short and not self._more:
                return
            yield turn

    @property
    def _more(self) -> bool:
        return self.long and time.monotonic() < self.until


def pairs(works: Iterable[str], kinds: Iterable[str]) -> list[tuple[str, str]]:
    """Choose what is tried on which kind of backend: everything everywhere in the long form, a third in the short one.

    The third holds each work on several kinds, and several works on each kind.
    """
    long = effort_of_this_run().long
    numbered = list(enumerate(kinds))
    return [
        (work, kind)
        for number, work in enumerate(works)
        for place, kind in numbered
        if long or (number + place) % 3 == 0
    ]


def effort_of_this_run() -> Effort:
    """Read what the run was started with; before a fixture takes our variables out of the environment."""
    minutes = os.environ.get(SOAK)
    if not minutes:
        return Effort(long=False)
    until = float(os.environ.get(UNTIL, "inf"))
    return Effort(long=True, part=min(1.0, float(minutes) / WHOLE_MINUTES), until=until)
