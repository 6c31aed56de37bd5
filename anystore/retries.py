"""What is worth another try, and when."""

import errno
import random
from collections.abc import Callable, Iterator
from typing import TypeVar

from anystore.errors import BackendError, VersionMismatch

T = TypeVar("T")

FIRST_PAUSE = 0.25
"""Seconds before the second try; each further pause is twice as long, up to a limit."""

_LONGEST_PAUSE = 10.0
_LASTING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.ENOTDIR})


def can_pass(error: Exception) -> bool:
    """Tell whether an error may be gone the next time.

    A value that was changed while it was copied may stand still now, and a service that failed may
    be back. A full disk, a key that cannot be held or a right that is missing stay what they are.
    """
    if isinstance(error, VersionMismatch):
        return True
    cause = error.__cause__
    lasting = isinstance(cause, PermissionError) or (isinstance(cause, OSError) and cause.errno in _LASTING)
    return isinstance(error, BackendError) and not lasting


def pauses(retries: int) -> Iterator[float]:
    """Give the seconds to wait before each further try, scattered so that many do not come at once."""
    pause = FIRST_PAUSE
    for _ in range(retries):
        yield pause * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        pause = min(2 * pause, _LONGEST_PAUSE)


def attempt(call: Callable[[], T], *, retries: int, wait: Callable[[float], None]) -> T:
    """Do something, and again if it fails by what can pass.

    Args:
        call: Does it.
        retries: How often it is tried again.
        wait: Waits for so many seconds.

    Returns:
        What ``call`` returns.

    Raises:
        AnystoreError: What the last try raised.
    """
    waits: Iterator[float] | None = None
    while True:
        try:
            return call()
        except (BackendError, VersionMismatch) as error:
            waits = pauses(retries) if waits is None else waits  # nearly every first try succeeds
            pause = next(waits, None) if can_pass(error) else None
            if pause is None:
                raise
        wait(pause)
