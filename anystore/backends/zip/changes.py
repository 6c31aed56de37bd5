"""One change of an archive: values are written over its directory, and a new directory behind them."""

import os
import stat
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

from anystore.backends.zip.archive import Archive, stamp_of
from anystore.backends.zip.directory import Directory
from anystore.backends.zip.journal import Kept, fingerprint, sync_folder, write_all, write_journal
from anystore.backends.zip.records import Malformed, Record, write_end
from anystore.backends.zip.sources import FileSource, Shortened, value_start
from anystore.errors import AlreadyExists, AnystoreError, BackendError, KeyConflict, VersionMismatch
from anystore.keys import Key


class Addition(NamedTuple):
    """A value to be added.

    Attributes:
        key: Its key.
        record: Its record; the offset counts from the first byte that is added together with it.
    """

    key: Key
    record: Record


class Change:
    """An archive that is locked, and may be changed once.

    Attributes:
        directory: What the archive holds.
    """

    def __init__(self, archive: Archive, descriptor: int) -> None:
        self.directory = archive.directory_of(descriptor)
        self._archive = archive
        self._descriptor = descriptor

    def check(self, key: Key, *, create: bool, version: str | None) -> None:
        """Check the conditions of a write.

        Raises:
            AlreadyExists: If it was to create, and there is a value.
            VersionMismatch: If the value has another version.
        """
        record = self.directory.find(key)
        if create and record is not None:
            raise AlreadyExists(f"there is a value under {key!r} in {self._archive.uri} already; nothing was written")
        if version is not None and (record is None or record.entry(key).version != version):
            raise VersionMismatch(
                f"the value under {key!r} in {self._archive.uri} was changed by another writer; read it again"
            )

    def add(self, additions: Sequence[Addition], pieces: Iterable[bytes], size: int) -> None:
        """Add values.

        Args:
            additions: What the pieces are.
            pieces: The bytes to add: of each value the header and the value.
            size: How many bytes they are.

        Raises:
            KeyConflict: If a key cannot stand beside another one; nothing was changed.
        """
        old = self.directory
        shift = old.start - old.base
        added = [(one.key, one.record._replace(offset=one.record.offset + shift)) for one in additions]
        new = old.changed(added, (), start=old.start + size)
        for key, _ in added:
            if key not in old.records and (other := new.conflict(key)) is not None:
                raise KeyConflict(
                    f"{key!r} cannot stand in {self._archive.uri} beside {other!r}: one would be a folder and a value "
                    "at once, which cannot be unpacked; choose another key, or delete that one"
                )
        self._write(new, pieces)

    def remove(self, keys: Collection[str]) -> None:
        """Drop values from the directory."""
        old = self.directory
        self._write(old.changed((), [key for key in keys if key in old.records], start=old.start), ())

    def _write(self, new: Directory, pieces: Iterable[bytes]) -> None:
        """Write behind the last value, and put the old directory back if that fails."""
        archive, descriptor = self._archive, self._descriptor
        kept = self._keep()
        status = os.fstat(descriptor)
        write_journal(archive.journal_path, kept, mode=stat.S_IMODE(status.st_mode), durable=archive.durable)
        try:
            position = self.directory.start
            for piece in pieces:
                position = write_all(descriptor, piece, position)
            if position != new.start:
                raise BackendError(f"{archive.uri}: a value has changed its length while it was written; try again")
            position = write_all(descriptor, new.to_bytes(), position)
            if position < status.st_size:
                os.ftruncate(descriptor, position)
            # The system's own clock ticks every few milliseconds, too seldom to tell two changes apart.
            os.utime(descriptor, ns=(time.time_ns(),) * 2)
            if archive.durable:
                os.fsync(descriptor)
        except BaseException:
            kept.put_back(descriptor)  # if this fails too, the journal stays for whoever opens the archive next
            os.unlink(archive.journal_path)
            raise
        os.unlink(archive.journal_path)  # from here on the change counts
        self._publish(new)
        if archive.durable:
            sync_folder(archive.folder)

    def _keep(self) -> Kept:
        descriptor, start = self._descriptor, self.directory.start
        size = os.fstat(descriptor).st_size
        # an archive that was just made has no end yet, and is to have one
        tail = os.pread(descriptor, size - start, start) if size else write_end(0, 0, 0, b"")
        return Kept(start, tail, os.fstat(descriptor).st_ino, fingerprint(descriptor, start))

    def _publish(self, new: Directory) -> None:
        new.source = self.directory.source
        new.stamp = stamp_of(os.fstat(self._descriptor))
        self._archive.know(new)
        if new.is_wasteful:
            # The change itself is done. What keeps the archive from becoming smaller may be over at the next one.
            with suppress(OSError, Malformed, Shortened):
                self._archive.know(_compact(self._archive, self._descriptor, new))


@contextmanager
def changing(archive: Archive, key: str, what: str = "write") -> Iterator[Change]:
    """Lock an archive to change it, and translate the system's errors."""
    try:
        with archive.locked() as descriptor:
            yield Change(archive, descriptor)
    except AnystoreError:
        raise
    except OSError as error:
        archive.fail(error, what, key)


def _compact(archive: Archive, descriptor: int, old: Directory) -> Directory:
    """Copy what is alive into a file that takes the archive's place."""
    status = os.fstat(descriptor)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    replacement = FileSource(os.open(archive.replacement_path, flags, stat.S_IMODE(status.st_mode)))
    try:
        new = _copy_living(FileSource(os.dup(descriptor)), old, replacement.descriptor)
        with suppress(OSError):  # only root may give files away
            os.fchown(replacement.descriptor, status.st_uid, status.st_gid)
        os.fchmod(replacement.descriptor, stat.S_IMODE(status.st_mode))
        os.utime(replacement.descriptor, ns=(time.time_ns(),) * 2)
        if archive.durable:
            os.fsync(replacement.descriptor)
        new.source = replacement
        new.stamp = stamp_of(os.fstat(replacement.descriptor))
        os.replace(archive.replacement_path, archive.path)
        if archive.durable:
            sync_folder(archive.folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(archive.replacement_path)
        raise
    return new


def _copy_living(source: FileSource, old: Directory, target: int) -> Directory:
    """Copy what stands before the first entry, and every entry, in the order they have in the archive."""
    position, stub = 0, old.stub
    for piece in source.pieces(0, stub):
        position = write_all(target, piece, position)
    moved: dict[bytes, bytes] = {}
    base = min(old.base, stub)
    for raw in sorted(old.raw_records(), key=lambda raw: Record.parse(raw).offset):
        record = Record.parse(raw)
        begin = value_start(source, record, old.base)
        # the sizes may have stood behind the value, which is not copied
        record = record.without_descriptor()._replace(offset=position - base)
        position = write_all(target, record.local(), position)
        for piece in source.pieces(begin, begin + record.packed):
            position = write_all(target, piece, position)
        moved[raw] = record.central()
    new = Directory(
        records={key: moved[raw] for key, raw in old.records.items()},
        folders={name: moved[raw] for name, raw in old.folders.items()},
        others=tuple(other._replace(raw=moved[other.raw]) for other in old.others),
        start=position,
        base=base,
        first=stub,
        live=position - stub,
        comment=old.comment,
        names=old.names,
    )
    write_all(target, new.to_bytes(), position)
    return new
