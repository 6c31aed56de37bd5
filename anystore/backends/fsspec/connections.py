"""Which of the opened filesystems a call uses, and when another one is opened.

The connections of paramiko and ftplib answer one question at a time, so each call, open
file and listing has one of its own while it lasts; afterwards the next call uses it again.
"""

import os
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

_MOST_IDLE = 8
# OpenSSH turns away some of those who knock at the same time (MaxStartups 10:30:100).
_MOST_OPENING = 4


class Lease:
    """A filesystem that nobody else uses until it is released.

    Args:
        connections: Where it goes afterwards.
        fs: The filesystem.
    """

    def __init__(self, connections: "Connections", fs: Any) -> None:
        self.fs = fs
        self._connections = connections
        self._process = os.getpid()

    def release(self, *, sound: bool = True) -> None:
        """Give the filesystem back, once; one that is not sound is closed."""
        fs, self.fs = self.fs, None
        # What was opened before a fork is the parent's, who may be in the middle of a question.
        if fs is not None and self._process == os.getpid():
            self._connections.give_back(fs, sound=sound)

    def __del__(self) -> None:
        self.release(sound=False)


class Connections:
    """The filesystems that are open, those of each process apart.

    Args:
        connect: Opens a filesystem.
        is_alive: Tells, without asking the server, whether an idle one can be used.
        disconnect: Closes one.
        shared: Whether all threads use one at the same time.
    """

    def __init__(
        self,
        connect: Callable[[], Any],
        *,
        is_alive: Callable[[Any], bool],
        disconnect: Callable[[Any], None],
        shared: bool,
    ) -> None:
        self._connect = connect
        self._is_alive = is_alive
        self._disconnect = disconnect
        self._shared = shared
        # A parent's entry stays: a filesystem that is freed in the child could say good-bye in the parent's name.
        self._of_process: dict[int, _Opened] = {}

    def borrow(self) -> Lease:
        """Give a filesystem that can be used, opened if there is none."""
        here = self._here()
        if self._shared:
            with here.opening_shared:
                if here.shared is None:
                    here.shared = self._connect()
                return Lease(self, here.shared)
        while here.idle:
            try:
                fs = here.idle.pop()
            except IndexError:  # another thread was faster
                break
            if self._is_alive(fs):
                return Lease(self, fs)
            self._disconnect(fs)
        with here.opening:
            return Lease(self, self._connect())

    def give_back(self, fs: Any, *, sound: bool) -> None:
        """Keep a filesystem for the next call, or close it."""
        if self._shared:
            return
        here = self._here()
        if sound and len(here.idle) < _MOST_IDLE:
            here.idle.append(fs)
        else:
            self._disconnect(fs)

    def close(self) -> None:
        """Close what is open in this process and idle; the next call opens again."""
        here = self._of_process.pop(os.getpid(), None)
        if here is None:
            return
        if here.shared is not None:
            self._disconnect(here.shared)
        while here.idle:
            self._disconnect(here.idle.pop())

    def _here(self) -> "_Opened":
        return self._of_process.setdefault(os.getpid(), _Opened())


class _Opened:
    """What one process has opened."""

    def __init__(self) -> None:
        self.shared: Any = None
        self.opening_shared = threading.Lock()
        self.idle: deque[Any] = deque()
        self.opening = threading.BoundedSemaphore(_MOST_OPENING)
