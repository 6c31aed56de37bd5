"""How many requests one server gets at a time: few at first, more while it keeps up, fewer when it complains."""

from collections.abc import Callable
from dataclasses import dataclass, field

_FIRST = 2
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
