"""How many requests one server gets at a time: few at first, more while it keeps up, fewer when it complains.

To list a folder costs a server more than to send a file: some make one listing at a time, and refuse whoever asks for
another one meanwhile. Listings have a limit of their own for that, below the one that they share with documents.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

_FIRST = 2
_PATIENCE = 100  # listings in a row that come well, before one more of them is asked for at a time
_NEVER = float("-inf")


@dataclass
class HostLimit:
    """The requests to one host: how many run, how many may, and from when on.

    The limit grows by one with each answer, so that it doubles in each round trip, up to the most that was
    allowed; a complaint halves it, once for all the requests that were on their way at that time.

    Args:
        most: The most requests at a time, at least 1.
        spacing: Seconds from the start of one request to the next, as ``Crawl-delay`` asks.
        clock: Tells monotonic seconds.

    Example:
        >>> limit = HostLimit(8, clock=lambda: 0.0)
        >>> for _ in range(3):
        ...     limit.started(), limit.answered()
        (None, None)
        (None, None)
        (None, None)
        >>> limit.allowed
        5
    """

    most: int
    clock: Callable[[], float]
    spacing: float = 0.0
    running: int = 0
    allowed: int = field(init=False)
    _not_before: float = field(default=_NEVER, init=False)
    _grown_until: float = field(default=_NEVER, init=False)

    def __post_init__(self) -> None:
        self.allowed = min(_FIRST, self.most)

    def wait(self) -> float | None:
        """Say how many seconds a request has to wait: 0.0 for none, None until another one has ended."""
        if self.running >= (1 if self.spacing else self.allowed):
            return None
        return max(self._not_before - self.clock(), 0.0)

    def started(self) -> None:
        """Count a request."""
        self.running += 1
        if self.spacing:
            self._not_before = max(self._not_before, self.clock() + self.spacing)

    def take_turn(self) -> float:
        """Say how many seconds a further request has to wait that somebody makes who is counted already."""
        if not self.spacing:
            return 0.0
        now = self.clock()
        turn = max(self._not_before, now)
        self._not_before = turn + self.spacing
        return turn - now

    def joined(self) -> None:
        """Count somebody who makes several requests, and takes a turn for each."""
        self.running += 1

    def answered(self) -> None:
        """Count an answer."""
        self.running -= 1
        self.allowed = min(self.allowed + 1, self.most)

    def complained(self, *, began: float, wait: float = 0.0) -> None:
        """Count an answer that asks for fewer requests, or none at all.

        Args:
            began: When the request was sent, by the same clock.
            wait: Seconds in which the host wants no request.
        """
        self.running -= 1
        self.hold(began=began, wait=wait)

    def hold(self, *, began: float, wait: float = 0.0) -> None:
        """Count a complaint of a request that runs on; as :meth:`complained` otherwise."""
        now = self.clock()
        if began >= self._grown_until:  # those that were sent before the last complaint have nothing new to say
            self.allowed = max(self.allowed // 2, 1)
            self._grown_until = now
        self._not_before = max(self._not_before, now + wait)


@dataclass
class ListingLimit:
    """The listings that one host makes at a time: any number, until it refuses one beside others.

    From then on it is asked for one at a time. After many that came well it is asked for one more, and refuses again or
    does not; each time that it does, the next attempt is put off for twice as many.

    Args:
        clock: Tells monotonic seconds.

    Example:
        >>> limit = ListingLimit(clock=lambda: 0.0)
        >>> limit.started(), limit.started(), limit.has_room
        (None, None, True)
        >>> limit.ended(), limit.is_crowded(began=0.0), limit.has_room
        (None, True, False)
    """

    clock: Callable[[], float]
    running: int = 0
    allowed: int | None = field(default=None, init=False)
    _good: int = field(default=0, init=False)
    _patience: int = field(default=_PATIENCE, init=False)
    _shared_at: float = field(default=_NEVER, init=False)
    _refused_at: float = field(default=_NEVER, init=False)

    @property
    def has_room(self) -> bool:
        """Whether one more may be asked for."""
        return self.allowed is None or self.running < self.allowed

    def take_singly(self) -> None:
        """Ask for one at a time at first, since this server is known to refuse a second one."""
        if self.allowed is None:
            self.allowed = 1

    def started(self) -> None:
        """Count a request."""
        if self.running:
            self._shared_at = self.clock()
        self.running += 1

    def ended(self) -> None:
        """Count an answer of any kind."""
        self.running -= 1
        self._good += 1
        if self.allowed is not None and self._good >= self._patience:
            self.allowed, self._good = self.allowed + 1, 0

    def is_crowded(self, *, began: float) -> bool:
        """Count the answer that ended last as a refusal, and tell whether other listings were made beside it.

        Args:
            began: When it was asked for, by the same clock.
        """
        self._good = 0
        if began > self._shared_at:
            return False
        if began >= self._refused_at:  # those that were asked for before the last refusal have nothing new to say
            self._patience *= 1 if self.allowed is None else 2
            self.allowed, self._refused_at = 1, self.clock()
        return True
