"""The contract of every backend: bytes under keys, and nothing else.

A backend is immutable once built, safe to share between threads, picklable by
its configuration, and opens its connections lazily, once per process.
``anystore.testing.BackendSuite`` tests each promise that is made here.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Flag, auto
from types import TracebackType
from typing import NoReturn, Self

from anystore.errors import AlreadyExists, DoesNotExist, ForeignNameWarning, Unsupported, VersionMismatch
from anystore.extras import load
from anystore.keys import Key

CHUNK_BYTES = 1 << 20
"""Length of the pieces in which values are streamed, in bytes."""

_PASSED_BEFORE_JUMP = 500  # a new listing costs about as much as so many keys of an old one
_LAST = "\U0010ffff"


class Feature(Flag):
    """What a backend can do beyond reading; anything undeclared raises ``Unsupported``."""

    NONE = 0
    WRITE = auto()
    """Store values: ``put``, ``writer``, ``delete``."""
    LIST = auto()
    """List keys: ``scan``, ``keys``."""
    SORTED = auto()
    """List in byte order, and start after a key."""
    CREATE = auto()
    """Write only if there is no value, atomically."""
    SWAP = auto()
    """Write only if the version is still the one that was read, atomically."""
    TAKE = auto()
    """Read and delete in one step, so that one caller gets the value."""
    EXPIRE = auto()
    """Keep a time to live, by the service's own clock."""
    APPEND = auto()
    """Append, atomically per call."""
    MOVE = auto()
    """Move a value inside the backend, atomically."""
    OVERLAP = auto()
    """Hold both ``a`` and ``a/b``."""
    ATOMIC = auto()
    """Writes are whole or absent for concurrent readers too, and after a killed process."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of a value without reading it.

    Attributes:
        key: The whole key.
        size: Length in bytes; None where the source does not say.
        modified: Aware, in UTC; None where the source does not say, never invented.
        version: An opaque token of this one value; compared, never ordered. A token
            derived from the content, such as an ETag, can come back.
        mimetype: The media type that the source names.
        expires: When the value will be gone; aware, in UTC.
    """

    key: str
    size: int | None
    modified: datetime | None
    version: str | None = None
    mimetype: str | None = None
    expires: datetime | None = None

    def _repr_html_(self) -> str:
        """Show the entry in a notebook."""
        html: str = load("anystore.notebook").entry_html(self)
        return html


class Writer(ABC):
    """One value being written, piece by piece; nobody sees it before ``commit``."""

    @abstractmethod
    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Add bytes to the value.

        Returns:
            How many bytes were taken: all of them.
        """

    @abstractmethod
    def commit(self) -> Entry:
        """Publish the value, whole.

        Returns:
            The entry of the value as it is stored now.

        Raises:
            AlreadyExists: If the write was to create, and a value is there.
            VersionMismatch: If the write was bound to a version, and the value has another.
        """

    @abstractmethod
    def abort(self) -> None:
        """Forget what was written; after ``commit``, or a second time, do nothing."""

    def __enter__(self) -> Self:
        """Enter a block; leaving it with an exception aborts, else commits."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Commit after a block that ended well; abort after one that did not."""
        if kind is None:
            self.commit()
        else:
            self.abort()


class Reader(ABC):
    """One version of a value, open for reading any part of it.

    Attributes:
        entry: What is known of the value, read together with it.
        seekable: Whether reading from the middle costs no reading of what stands before.
    """

    entry: Entry
    seekable: bool = True

    @abstractmethod
    def read(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Read a part of the version that was opened.

        Args:
            start: First byte.
            stop: First byte not read, or None for all the rest. Beyond the end is no error.

        Returns:
            The bytes, in pieces; none is empty.

        Raises:
            VersionMismatch: If the version is gone, so that nothing mixed is ever returned.
        """

    @abstractmethod
    def close(self) -> None:
        """Let the version go."""

    def __enter__(self) -> Self:
        """Enter a block that closes the reader."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the reader."""
        self.close()


class Backend(ABC):
    """Bytes under keys.

    ``get``, ``read`` and ``stat`` are required. What ``features`` declares is
    implemented; everything else raises ``Unsupported`` and changes nothing.

    Attributes:
        uri: Where it is, with secrets masked; for messages.
        shareable: Whether stores of the same URI and configuration may use one backend; not where
            the values end with it.
        batches: Whether ``get_many`` and ``put_many`` take many values in one step; where they do
            not, who has threads of its own goes value by value.
        at_once: How many calls are served at the same time, while others wait; None where all are.
    """

    uri: str = ""
    shareable: bool = True
    batches: bool = False
    at_once: int | None = None

    def __repr__(self) -> str:
        """Show the class and the masked URI."""
        return f"<{type(self).__name__} {self.uri}>"

    @property
    def features(self) -> Feature:
        """What this backend can do beyond reading; a class whose answer is fixed has an attribute."""
        return Feature.NONE

    def sure_features(self) -> tuple[Feature, Feature]:
        """Say what is known of ``features`` without a question to the service.

        Returns:
            What the backend can surely do, and what only a few writes would tell.
        """
        return self.features, Feature.NONE

    # -- required ----------------------------------------------------------

    @abstractmethod
    def get(self, key: Key) -> bytes:
        """Read a whole value.

        Raises:
            DoesNotExist: If there is none.
        """

    @abstractmethod
    def read(self, key: Key, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Read a part of a value, of one version throughout, in bounded memory.

        Args:
            key: The key.
            start: First byte.
            stop: First byte not read, or None for all the rest. Beyond the end is no error.

        Returns:
            The bytes, in pieces; none is empty.

        Raises:
            DoesNotExist: If there is none; raised by this call, not by the first piece.
            VersionMismatch: If the value vanishes or changes before all was read.
        """

    @abstractmethod
    def stat(self, key: Key) -> Entry:
        """Say what is known of a value.

        Raises:
            DoesNotExist: If there is none.
        """

    # -- declared in `features` --------------------------------------------

    def writer(self, key: Key, *, create: bool = False, version: str | None = None, ttl: float | None = None) -> Writer:
        """Start writing a value (WRITE).

        Args:
            key: The key.
            create: Publish only if there is no value then (CREATE).
            version: Publish only if the value still has this version then (SWAP).
            ttl: Seconds to live from the publication on (EXPIRE).

        Returns:
            A writer; nothing is seen before its ``commit``.

        Raises:
            Unsupported: If the backend lacks a feature that is asked for.
        """
        self._refuse(Feature.WRITE, f"write {key!r}", instead="write to another store")

    def delete(self, key: Key) -> None:
        """Delete a value (WRITE); a missing key is no error."""
        self._refuse(Feature.WRITE, f"delete {key!r}", instead="leave it, or copy the others to another store")

    def scan(self, prefix: str = "", after: Key | None = None) -> Iterator[Entry]:
        """List what lies below a prefix (LIST), lazily.

        Args:
            prefix: ``""``, or a folder ending in ``/``.
            after: Start behind this key (SORTED).

        Returns:
            An entry for each key, those below ``.anystore/`` left out.
        """
        self._refuse(Feature.LIST, f"list {prefix!r}", instead="name each key")

    def append(self, key: Key, data: bytes) -> None:
        """Add bytes at the end of a value, or make it (APPEND); one call is one step."""
        self._refuse(Feature.APPEND, f"append to {key!r}", instead="read the value, and put the longer one")

    def move(self, source: Key, target: Key) -> None:
        """Move a value to another key (MOVE), in one step, its expiry included."""
        self._refuse(Feature.MOVE, f"move {source!r} in one step", instead="copy the value, then delete it")

    def take(self, key: Key) -> bytes:
        """Read and delete a value (TAKE) in one step."""
        self._refuse(Feature.TAKE, f"take {key!r} in one step", instead="get the value, then delete it")

    # -- correct as they stand, overridden where the service does better ----

    def put(
        self, key: Key, data: bytes, *, create: bool = False, version: str | None = None, ttl: float | None = None
    ) -> Entry:
        """Store a whole value; arguments and errors as for ``writer``."""
        with_writer = self.writer(key, create=create, version=version, ttl=ttl)
        try:
            with_writer.write(data)
            return with_writer.commit()
        except BaseException:
            with_writer.abort()
            raise

    def reader(self, key: Key) -> Reader:
        """Open one version of a value, to read parts of it.

        Raises:
            DoesNotExist: If there is none.
        """
        return _StatReader(self, key)

    def locate(self, key: Key) -> str:
        """Say where a value is, as a URI with secrets masked."""
        return f"{self.uri.rstrip('/')}/{key}"

    def extent(self) -> tuple[Hashable, str]:
        """Say which medium the values are in, and below which folder of it.

        Returns:
            What is equal for all backends of one medium, such as a bucket, and the folder: ``""`` or
            ending in ``/``. Two backends of one medium overlap if one's folder begins with the other's.
        """
        return self, ""

    def local_file(self, key: Key) -> str | None:
        """Give the path of the file that holds a value and nothing else, if there is one on this machine.

        Raises:
            DoesNotExist: If there is no value; raised only by backends that have such files.
        """
        return None

    def reach(self) -> bool:
        """Ask the service for a sign of life, without writing anything.

        Returns:
            Whether there is a place for values yet, such as a folder or a table; where there is none, the first
            use makes it.

        Raises:
            AnystoreError: If the service cannot be reached, or refuses us.
        """
        self.exists(Key("anystore-reach"))
        return True

    def exists(self, key: Key) -> bool:
        """Tell whether there is a value."""
        try:
            self.stat(key)
        except DoesNotExist:
            return False
        return True

    def keys(self, prefix: str = "", after: Key | None = None) -> Iterator[str]:
        """List keys like ``scan``, without paying for anything else."""
        return (entry.key for entry in self.scan(prefix, after))

    def children(self, prefix: str = "") -> Iterator[Entry | str]:
        """List one folder, without what lies deeper, where the backend can pass over it.

        Args:
            prefix: ``""``, or a folder ending in ``/``.

        Returns:
            An entry for each value in the folder, and the name of each folder in it, as a prefix ending in ``/``;
            in no order.
        """
        return _skip_deeper(self, prefix)

    def get_many(self, keys: Iterable[Key]) -> Iterator[tuple[str, bytes | None]]:
        """Read many values, in the order of the keys; None stands for a missing one."""
        for key in keys:
            try:
                yield key, self.get(key)
            except DoesNotExist:
                yield key, None

    def put_many(self, items: Iterable[tuple[Key, bytes]], *, ttl: float | None = None) -> None:
        """Store many values; each is whole or absent, all together are not one step."""
        for key, data in items:
            self.put(key, data, ttl=ttl)

    def delete_many(self, keys: Iterable[Key]) -> None:
        """Delete many values; missing keys are no error."""
        for key in keys:
            self.delete(key)

    def copy(self, source: Key, target: Key) -> None:
        """Copy a value inside the backend, its expiry included.

        Raises:
            DoesNotExist: If there is no value under ``source``.
        """
        with self.reader(source) as reader, self.writer(target, ttl=remaining_ttl(reader.entry)) as writer:
            for piece in reader.read():
                writer.write(piece)

    def copy_from(self, other: "Backend", source: Key, target: Key) -> bool:
        """Copy a value of another backend inside the service, where both are the same one.

        Args:
            other: The backend of the value.
            source: Its key there.
            target: The key of the copy here.

        Returns:
            Whether it was copied; if not, nothing was done, and the value has to be read and written.

        Raises:
            DoesNotExist: If there is no value under ``source``.
        """
        if other is not self:
            return False
        self.copy(source, target)
        return True

    def digest_algorithm(self, size: int | None) -> str | None:
        """Name what a version may be made of the content by: an algorithm of ``hashlib``, or None.

        Args:
            size: Length of the value that is to be written or read, or None if it is not known.

        Returns:
            The algorithm whose digests :meth:`digest_of` may give for such a value.
        """
        return None

    def digest_of(self, entry: Entry, *, doubted: bool = False) -> str | None:
        """Give the digest of a value that its entry's version is, so that bytes can be compared with it.

        Args:
            entry: What this backend said of the value.
            doubted: Whether the bytes have another digest: then the service is asked whether its version is a digest
                of this value at all, where it can tell.

        Returns:
            The digest in hexadecimal, or None where the version is no digest.
        """
        return None

    def close(self) -> None:  # noqa: B027 - most have nothing to close
        """Close what was opened; the backend opens it again when it is used again."""

    # -- for the backends themselves -----------------------------------------

    def require_write(
        self, key: Key, *, create: bool = False, version: str | None = None, ttl: float | None = None
    ) -> None:
        """Refuse a write that asks for a feature which is not declared.

        Raises:
            Unsupported: If it does; the message names what to use instead.
        """
        if Feature.WRITE not in self.features:
            self._refuse(Feature.WRITE, f"write {key!r}", instead="write to another store")
        if create and Feature.CREATE not in self.features:
            self._refuse(
                Feature.CREATE,
                f"write {key!r} only if it is absent",
                instead="ask exists() first, if one writer is enough",
            )
        if version is not None and Feature.SWAP not in self.features:
            self._refuse(Feature.SWAP, f"write {key!r} only over one version", instead="put without if_version")
        if ttl is not None and Feature.EXPIRE not in self.features:
            self._refuse(
                Feature.EXPIRE, f"let {key!r} expire", instead="anystore.anycache, which keeps an expiry in the value"
            )

    def require_append(self, key: Key) -> None:
        """Refuse an append before anything is collected for it.

        Raises:
            Unsupported: If APPEND is not declared.
        """
        if Feature.APPEND not in self.features:
            Backend.append(self, key, b"")

    def missing(self, key: str) -> DoesNotExist:
        """Make the error for a key without a value."""
        return DoesNotExist(f"there is no value under {key!r} in {self.uri}")

    def taken(self, key: str) -> AlreadyExists:
        """Make the error for a key that was to be created, and has a value."""
        return AlreadyExists(f"there is a value under {key!r} in {self.uri} already; nothing was written")

    def changed(self, key: str) -> VersionMismatch:
        """Make the error for a value that is not the version it was."""
        return VersionMismatch(f"the value under {key!r} in {self.uri} was changed by another writer; read it again")

    def _refuse(self, feature: Feature, what: str, *, instead: str = "") -> NoReturn:
        hint = f"; instead: {instead}" if instead else ""
        raise Unsupported(f"{self.uri} cannot {what} (it has no {feature.name}){hint}")


class _StatReader(Reader):
    """A reader for a backend that has only ``read`` and ``stat``.

    Each part is read at once between two looks at the version, so that a value which
    was replaced in between is noticed; without versions only the first part is to be had.
    """

    def __init__(self, backend: Backend, key: Key) -> None:
        self._backend = backend
        self._key = key
        self._used = False
        self.entry = backend.stat(key)
        self.seekable = self.entry.version is not None

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        if self._used and not self.seekable:
            raise self._backend.changed(self._key)
        self._used = True
        try:
            pieces = self._backend.read(self._key, start, stop)
            if self.seekable and self._backend.stat(self._key).version != self.entry.version:
                raise self._backend.changed(self._key)
        except DoesNotExist:
            raise self._backend.changed(self._key) from None
        return pieces

    def close(self) -> None:
        """There is nothing to close."""


def _skip_deeper(backend: Backend, prefix: str) -> Iterator[Entry | str]:
    """List a folder by a listing of all below it, jumping over folders where it can start behind a key."""
    jumps = Feature.SORTED in backend.features
    seen: set[str] = set()
    pending: Iterator[Entry] | None = backend.scan(prefix)
    while pending is not None:
        entries, pending = pending, None
        passed = 0
        for entry in entries:
            slash = entry.key.find("/", len(prefix))
            if slash < 0:
                yield entry
                continue
            folder = entry.key[: slash + 1]
            if folder not in seen:
                seen.add(folder)
                passed = 0
                yield folder
            passed += 1
            if jumps and passed == _PASSED_BEFORE_JUMP:
                close = getattr(entries, "close", None)
                if close is not None:  # a generator holds a connection
                    close()
                # The last text there is below the folder; should keys lie behind it, they are passed over one by one.
                pending = backend.scan(prefix, Key(folder + _LAST))
                break


def read_and_close(reader: Reader, start: int, stop: int | None) -> Iterator[bytes]:
    """Read a part of a value by a reader of its own; for a ``read`` that is made of ``reader``.

    Args:
        reader: The reader, which is open: what is missing was noticed by the call.
        start: First byte.
        stop: First byte not read, or None for all the rest.

    Yields:
        The bytes, in pieces.
    """
    with reader:
        yield from reader.read(start, stop)


def warn_of_foreign(uri: str, names: Sequence[str | bytes], *, stacklevel: int) -> None:
    """Warn of names in a medium that are no keys, and were left out of a listing; of none, say nothing.

    Args:
        uri: The masked URI.
        names: The names.
        stacklevel: As for :func:`warnings.warn`, from the caller on.
    """
    if names:
        text = f"{uri}: left out {len(names):,} names that are no keys, such as {names[0]!a}"
        warnings.warn(text, ForeignNameWarning, stacklevel=stacklevel + 1)


def remaining_ttl(entry: Entry) -> float | None:
    """Give the seconds a value has left, for a copy that is to expire with it.

    Returns:
        Seconds, at least a millisecond, or None for a value that does not expire.
    """
    if entry.expires is None:
        return None
    return max((entry.expires - datetime.now(UTC)).total_seconds(), 0.001)
