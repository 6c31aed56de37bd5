"""How fast a mirror may be, and how it is stopped."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from anystore.errors import InvalidOption


class Stopped(Exception):
    """The run is to end; what was begun is left as it was before."""


class Stop:
    """Tells all threads of a run to end soon."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """Tell them."""
        self._event.set()

    def check(self) -> None:
        """Go on, or not.

        Raises:
            Stopped: If the run is to end.
        """
        if self._event.is_set():
            raise Stopped

    def wait(self, seconds: float) -> None:
        """Wait for a while.

        Raises:
            Stopped: If the run is to end; at once.
        """
        if self._event.wait(seconds):
            raise Stopped


@dataclass(frozen=True, slots=True)
class Limits:
    """What a run may use of both services in a second; None is without limit.

    Attributes:
        requests: Values that are asked for, written, looked at or deleted.
        bytes: Bytes that are read.
    """

    requests: float | None = None
    bytes: float | None = None

    def share(self, parts: int) -> "Limits":
        """Give the limits of one of many that run beside each other."""
        return Limits(
            None if self.requests is None else self.requests / parts, None if self.bytes is None else self.bytes / parts
        )


def check_limit(name: str, value: object) -> None:
    """Refuse a limit that is no rate.

    Raises:
        InvalidOption: If it is not above 0.
    """
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not value > 0):
        raise InvalidOption(f"{name} is a number above 0, or None for no limit, not {value!r}")


class Rate:
    """So much a second and no more, for all threads that share it.

    Args:
        per_second: The limit; None for none.
        clock: Tells the time in seconds.

    Example:
        >>> rate = Rate(10, clock=lambda: 100.0)
        >>> rate.reserve(5), rate.reserve(5), rate.reserve(1)
        (0.0, 0.5, 1.0)
    """

    def __init__(self, per_second: float | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._clock = clock
        self._lock = threading.Lock()
        self._free_at = 0.0

    def reserve(self, amount: float) -> float:
        """Book an amount.

        Returns:
            Seconds to wait before it is used.
        """
        if self._per_second is None:
            return 0.0
        with self._lock:
            now = self._clock()
            begin = max(now, self._free_at)
            self._free_at = begin + amount / self._per_second
            return begin - now


class Throttle:
    """Holds a run to its limits.

    Args:
        limits: The limits.
        stop: Ends the waiting.
    """

    def __init__(self, limits: Limits, stop: Stop) -> None:
        self._stop = stop
        self._requests = Rate(limits.requests)
        self._bytes = Rate(limits.bytes)

    def request(self, count: int = 1) -> None:
        """Wait until so many requests may be sent.

        Raises:
            Stopped: If the run is to end.
        """
        self._pass(self._requests.reserve(count))

    def read(self, size: int) -> None:
        """Wait until the next bytes may be read, after ``size`` were.

        Raises:
            Stopped: If the run is to end.
        """
        self._pass(self._bytes.reserve(size))

    def _pass(self, seconds: float) -> None:
        if seconds:
            self._stop.wait(seconds)
        else:
            self._stop.check()
