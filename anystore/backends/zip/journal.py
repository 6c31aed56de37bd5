"""The rollback journal: what an archive's end was, until a change of it is complete.

A value is written over the directory, and the new directory behind it. Were the process
killed in between, the archive would have none; whoever opens it next puts the old one back.
"""

import os
from contextlib import suppress
from struct import Struct
from typing import NamedTuple
from zlib import crc32

_HEAD = Struct("<16s3Q2L")
_SIGN = b"anystore-journal"
_FINGERPRINT_BYTES = 4096


class Kept(NamedTuple):
    """The end of an archive as it was.

    Attributes:
        start: Where it begins.
        tail: Its bytes.
        inode: The file that it is of.
        fingerprint: Checksum of what stands before it.
    """

    start: int
    tail: bytes
    inode: int
    fingerprint: int

    def belongs_to(self, descriptor: int) -> bool:
        """Tell whether an archive is the one that was being changed, not another one put in its place."""
        status = os.fstat(descriptor)
        if status.st_size < self.start or fingerprint(descriptor, self.start) != self.fingerprint:
            return False
        return self.start > 0 or status.st_ino == self.inode

    def put_back(self, descriptor: int) -> None:
        """Make the archive what it was."""
        os.ftruncate(descriptor, min(self.start + len(self.tail), os.fstat(descriptor).st_size))
        write_all(descriptor, self.tail, self.start)


def fingerprint(descriptor: int, stop: int) -> int:
    """Give the checksum of the bytes before a position."""
    start = max(stop - _FINGERPRINT_BYTES, 0)
    return crc32(os.pread(descriptor, stop - start, start))


def write_all(descriptor: int, data: bytes, position: int) -> int:
    """Write all of the bytes at a position, and give the one behind them."""
    rest = memoryview(data)
    while rest:
        done = os.pwrite(descriptor, rest, position)
        position += done
        rest = rest[done:]
    return position


def sync_folder(path: str) -> None:
    """Flush the names in a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_journal(path: str, kept: Kept, *, mode: int, durable: bool) -> None:
    """Write the journal; it counts only if it is whole."""
    checked = crc32(kept.tail, crc32(_HEAD.pack(_SIGN, kept.start, len(kept.tail), kept.inode, kept.fingerprint, 0)))
    head = _HEAD.pack(_SIGN, kept.start, len(kept.tail), kept.inode, kept.fingerprint, checked)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        write_all(descriptor, head + kept.tail, 0)
        if durable:
            os.fsync(descriptor)
            sync_folder(os.path.dirname(path))
    except BaseException:
        with suppress(OSError):
            os.unlink(path)
        raise
    finally:
        os.close(descriptor)


def read_journal(path: str) -> Kept | None:
    """Read the journal.

    Returns:
        None if it is not whole: then the archive was not touched yet.
    """
    with open(path, "rb") as file:
        head = file.read(_HEAD.size)
        if len(head) < _HEAD.size:
            return None
        sign, start, size, inode, before, checked = _HEAD.unpack(head)
        tail = file.read(size) if sign == _SIGN else b""
    if (
        sign != _SIGN
        or len(tail) != size
        or crc32(tail, crc32(_HEAD.pack(sign, start, size, inode, before, 0))) != checked
    ):
        return None
    return Kept(start, tail, inode, before)
