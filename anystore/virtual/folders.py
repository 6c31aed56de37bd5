"""Folders of our own, locked as long as someone uses them.

A lock ends with the process that holds it, however that ends, so that a folder nobody
holds is litter, and may be taken away by whoever comes next.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from secrets import token_hex

from anystore.errors import AnystoreError, BackendError

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NUMBERS = count(1)


class Hold:
    """A lock on a folder, as :func:`hold` gives it.

    Args:
        path: The folder.
        descriptor: The open folder, or -1 on file systems without locks.
    """

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._process = os.getpid()

    @property
    def is_mine(self) -> bool:
        """Whether this process made the lock; a forked one must leave the folder alone."""
        return self._process == os.getpid()

    def touch(self) -> None:
        """Note that the folder was used just now."""
        with suppress(OSError):
            os.utime(self._descriptor)

    def release(self) -> None:
        """Give the lock back; a second time, do nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with suppress(OSError):
                if self.is_mine:  # closing is not enough: a process that was forked meanwhile holds the lock as well
                    fcntl.flock(descriptor, fcntl.LOCK_UN)
            with suppress(OSError):
                os.close(descriptor)


def hold(path: str, *, alone: bool = False, wait: bool = True) -> Hold | None:
    """Lock a folder.

    Args:
        path: The folder.
        alone: Whether nobody else may hold it.
        wait: Whether to wait for others.

    Returns:
        The lock; None if the folder is gone, or held by others and not to be waited for.

    Raises:
        OSError: If the folder cannot be opened or locked.
    """
    try:
        descriptor = os.open(path, _FLAGS)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | (0 if wait else fcntl.LOCK_NB))
        if os.path.samestat(os.fstat(descriptor), os.lstat(path)):
            return Hold(path, descriptor)
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def make_held(prefix: str) -> Hold:
    """Make a folder that its owner alone can read, and hold it.

    Args:
        prefix: The start of its path; a number and a random text are added.

    Returns:
        The lock.

    Raises:
        OSError: If there can be no such folder.
    """
    while True:
        path = f"{prefix}{next(_NUMBERS)}-{token_hex(8)}"
        os.mkdir(path, 0o700)
        try:
            held = hold(path)
        except OSError:  # no locks here, so that nobody can take it for litter either
            return Hold(path, -1)
        if held is not None:  # else someone who tidies up was faster
            return held


def discard(path: str) -> bool:
    """Remove a folder that nobody holds.

    Returns:
        Whether it is gone.
    """
    try:
        held = hold(path, alone=True, wait=False)
    except OSError:
        return False
    if held is None:
        return not os.path.lexists(path)
    try:
        shutil.rmtree(path, ignore_errors=True)
    finally:
        held.release()
    return not os.path.lexists(path)


@contextmanager
def local_errors(what: str) -> Iterator[None]:
    """Turn errors of the local file system into ours.

    Args:
        what: What is being done, for the message.

    Raises:
        BackendError: If the file system fails.
    """
    try:
        yield
    except AnystoreError:
        raise
    except OSError as error:
        raise BackendError(f"cannot {what}: {error.strerror or error}; see to its space and permissions") from error
