"""One computation of a call at a time in this process: whoever comes second waits for the first.

A call that waits for one which, in the end, waits for it would wait for ever. So each computation knows what
computations it runs inside of (a context variable, which tasks inherit), and each waiting one what it waits for; a call
that would close such a circle is told to compute by itself.
"""

import os
import threading
from concurrent.futures import Future
from contextvars import ContextVar
from types import TracebackType
from typing import Self

Place = tuple[str, str]
"""A store and a key."""


class Flight:
    """One computation that others may wait for; entering it makes it the one that is computed here.

    Args:
        place: The store and key it is for.

    Attributes:
        future: Becomes the sealed value, or None if there will be none; made when somebody waits.
        dropped: Whether its value is no longer to be stored, since the entry was invalidated meanwhile.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self.future: Future[bytes | None] | None = None
        self.dropped = False
        self.waits_for: list[Flight] = []

    def __enter__(self) -> Self:
        """Say that what runs from now on runs for this computation."""
        self._token = _INSIDE.set((*_INSIDE.get(), self))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the computation; one that has not finished has failed."""
        _INSIDE.reset(self._token)
        self.finish(None)

    def finish(self, sealed: bytes | None) -> None:
        """Give the value to those who wait; a second time does nothing."""
        with _Board.lock:
            if _Board.flights.get(self.place) is self:
                del _Board.flights[self.place]
            future, self.future = self.future, None
        if future is not None:
            future.set_result(sealed)


class Waiting:
    """A block in which one computation is waited for.

    Args:
        flight: The one that is waited for.
        future: Its future.
    """

    def __init__(self, flight: Flight, future: "Future[bytes | None]") -> None:
        self.flight = flight
        self._future = future
        self._inside = _INSIDE.get()

    def __enter__(self) -> "Future[bytes | None]":
        """Give what becomes the sealed value."""
        return self._future

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait no longer."""
        with _Board.lock:
            for waiting in self._inside:
                if self.flight in waiting.waits_for:
                    waiting.waits_for.remove(self.flight)


class _Board:
    """What is computed in this process; a forked child starts with an empty one."""

    lock = threading.Lock()
    flights: dict[Place, Flight] = {}  # noqa: RUF012 - there is one

    @classmethod
    def renew(cls) -> None:
        cls.lock = threading.Lock()
        cls.flights = {}


_INSIDE: ContextVar[tuple[Flight, ...]] = ContextVar("anystore_caching_inside", default=())
os.register_at_fork(after_in_child=_Board.renew)


def join(place: Place, *, instead_of: Flight | None = None) -> Flight | Waiting | None:
    """Take part in the computation of a call.

    Args:
        place: The store and key.
        instead_of: A computation that was waited for long enough; it is no longer the one.

    Returns:
        A new ``Flight`` to compute in, or a ``Waiting`` for the one under way; None if waiting would never end.
    """
    inside = _INSIDE.get()
    with _Board.lock:
        present = _Board.flights.get(place)
        if present is None or present is instead_of:
            flight = _Board.flights[place] = Flight(place)
            return flight
        if inside and _reaches(present, inside):
            return None
        for waiting in inside:
            waiting.waits_for.append(present)
        if present.future is None:
            present.future = Future()
        return Waiting(present, present.future)


def drop(uri: str, folder: str) -> None:
    """Let no computation under way be stored whose key is this one or below it.

    Args:
        uri: The store's.
        folder: The key, or a folder of keys.
    """
    with _Board.lock:
        for place in [place for place in _Board.flights if place[0] == uri and _is_below(place[1], folder)]:
            _Board.flights.pop(place).dropped = True


def _is_below(key: str, folder: str) -> bool:
    return key == folder or key.startswith(f"{folder}/")


def _reaches(start: Flight, goals: tuple[Flight, ...]) -> bool:
    """Tell whether a computation is, or waits for, one of these."""
    pending, seen = [start], set()
    while pending:
        flight = pending.pop()
        if flight in goals:
            return True
        if id(flight) not in seen:
            seen.add(id(flight))
            pending.extend(flight.waits_for)
    return False
