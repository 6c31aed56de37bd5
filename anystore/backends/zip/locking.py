"""Locks on files, which a fork neither shares nor leaves behind."""

import fcntl
import os

_HELD: set[int] = set()
_watching: list[int] = []  # the processes that let go of their locks when they are forked


def lock(path: str, flags: int, *, shared: bool) -> int:
    """Open a file, and wait for its lock.

    Returns:
        A file descriptor of the file that has the name once the lock is held: another one
        may have taken its place in the meantime.

    Raises:
        OSError: If the file cannot be opened.
    """
    if not _watching:
        # A lock belongs to all copies of a descriptor: a child that kept one would keep its dead parent's lock.
        _watching.append(os.getpid())
        os.register_at_fork(after_in_child=_close_all)
    while True:
        descriptor = os.open(path, flags, 0o666)
        _HELD.add(descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
            if _has_name(descriptor, path):
                return descriptor
        except BaseException:
            release(descriptor)
            raise
        release(descriptor)


def unlock(descriptor: int) -> None:
    """Let the lock go, and keep the file open."""
    _HELD.discard(descriptor)
    fcntl.flock(descriptor, fcntl.LOCK_UN)  # closing alone would not, while a forked child has a copy


def release(descriptor: int) -> None:
    """Let the lock go, and close the file."""
    unlock(descriptor)
    os.close(descriptor)


def _has_name(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _close_all() -> None:
    while _HELD:
        os.close(_HELD.pop())
