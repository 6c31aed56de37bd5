"""How far a long run is: one protocol for bars on a terminal, bars in a notebook, and a caller's own function.

What runs long takes ``progress=`` and tells a :class:`Tracker`; whoever watches is a
function that is called with a :class:`Progress`, at most ten times a second.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Lock
from types import TracebackType
from typing import Any, Self

from anystore.errors import InvalidOption
from anystore.extras import load

_SECONDS_BETWEEN = 0.1


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is.

    Attributes:
        title: What is done, in a few words, with secrets masked.
        done: Values that are finished, those that failed included.
        failed: Values that could not be done.
        total: Values there are to do, as far as they are known.
        bytes: Bytes that were moved.
        total_bytes: Bytes there are to move, as far as they are known; None if a value does not tell its size.
        listing: Whether more values may still be found, so that the totals may grow.
        finished: Whether the run has ended, well or not; it is set in the last call, and only there.
    """

    title: str
    done: int = 0
    failed: int = 0
    total: int = 0
    bytes: int = 0
    total_bytes: int | None = 0
    listing: bool = True
    finished: bool = False


Watcher = Callable[[Progress], object]
"""What is called as a run goes on: by one thread at a time, which need not be the caller's."""

ProgressOption = bool | Watcher | None
"""What ``progress=`` takes: True for bars where someone sees them, a function, or None or False for silence."""


class Tracker:
    """The run's end of the protocol: counts, and tells the watcher.

    A tracker may be shared between threads. Leaving its ``with`` block tells the watcher, a
    last time, that the run has ended. An exception of the watcher ends the run.

    Args:
        title: What is done, with secrets masked.
        progress: What the caller passed as ``progress=``.

    Raises:
        InvalidOption: If ``progress`` is nothing of the kind.
        MissingExtra: If bars are wanted, would be seen, and their library is not installed.

    Example:
        >>> seen = []
        >>> with Tracker("copying", seen.append) as tracker:
        ...     tracker.expect(size=10)
        ...     tracker.listed()
        ...     tracker.moved(10)
        ...     tracker.advance()
        >>> seen[-1].done, seen[-1].bytes, seen[-1].finished
        (1, 10, True)
    """

    def __init__(self, title: str, progress: ProgressOption = None) -> None:
        self._watcher = _choose_watcher(progress)
        self._state = Progress(title)
        self._lock = Lock()
        self._tell_at = 0.0

    def expect(self, values: int = 1, *, size: int | None = 0) -> None:
        """Count values that are to be done.

        Args:
            values: How many.
            size: Their bytes together; None if that is not known.
        """
        if self._watcher is not None:
            with self._lock:
                known = self._state.total_bytes
                total = None if known is None or size is None else known + size
                self._tell(replace(self._state, total=self._state.total + values, total_bytes=total))

    def listed(self) -> None:
        """Tell that every value was expected, so that the totals are final."""
        if self._watcher is not None:
            with self._lock:
                self._tell(replace(self._state, listing=False))

    def moved(self, size: int) -> None:
        """Count bytes as they are moved."""
        if self._watcher is not None:
            with self._lock:
                self._tell(replace(self._state, bytes=self._state.bytes + size))

    def advance(self, values: int = 1, *, failed: int = 0) -> None:
        """Count values that are finished.

        Args:
            values: How many, those that failed included.
            failed: How many of them failed.
        """
        if self._watcher is not None:
            with self._lock:
                state = self._state
                self._tell(replace(state, done=state.done + values, failed=state.failed + failed))

    def __enter__(self) -> Self:
        """Tell the watcher that the run begins."""
        if self._watcher is not None:
            with self._lock:
                self._tell(self._state)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Tell the watcher that the run has ended."""
        if self._watcher is not None:
            with self._lock:
                self._state = replace(self._state, finished=True)
                self._watcher(self._state)

    def _tell(self, state: Progress) -> None:
        self._state = state
        now = time.monotonic()
        if self._watcher is not None and now >= self._tell_at:
            self._watcher(state)
            self._tell_at = now + _SECONDS_BETWEEN


def in_notebook() -> bool:
    """Tell whether this process is the kernel of a notebook."""
    shell: Any = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def _choose_watcher(progress: ProgressOption) -> Watcher | None:
    if progress is None or progress is False:
        return None
    if progress is True:
        if in_notebook():
            notebook: Watcher = load("anystore.notebook_bars").NotebookBar()
            return notebook
        if sys.stderr is not None and sys.stderr.isatty():
            terminal: Watcher = load("anystore.terminal_bars").TerminalBar()
            return terminal
        return None
    if not callable(progress):
        raise InvalidOption(
            f"progress={progress!r} is neither True, False nor None, nor a function; "
            "pass True for bars, or a function that takes an anystore.progress.Progress"
        )
    return progress
