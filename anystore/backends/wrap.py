"""Views of another backend: one that only reads, and one of a single folder."""

from collections.abc import Hashable, Iterable, Iterator
from typing import NoReturn

from anystore.backend import Backend, Entry, Feature, Reader, Writer
from anystore.errors import ReadOnlyError
from anystore.keys import PRIVATE_FOLDER, Key, is_private, join_key, parse_prefix

_CHANGES = Feature.WRITE | Feature.CREATE | Feature.SWAP | Feature.TAKE | Feature.EXPIRE | Feature.APPEND | Feature.MOVE


class ReadonlyBackend(Backend):
    """A backend that reads another one, and refuses to change it.

    Args:
        inner: The backend to read.

    Example:
        >>> from anystore.backends.memory import MemoryBackend
        >>> ReadonlyBackend(MemoryBackend("shown")).uri
        'memory://shown'
    """

    def __init__(self, inner: Backend) -> None:
        self._inner = inner
        self.uri = inner.uri
        self.at_once = inner.at_once

    @property
    def inner(self) -> Backend:
        """The backend that is read."""
        return self._inner

    @property
    def features(self) -> Feature:
        """What the inner backend can do without changing a value."""
        return self._inner.features & ~_CHANGES

    def sure_features(self) -> tuple[Feature, Feature]:
        sure, unsure = self._inner.sure_features()
        return sure & ~_CHANGES, unsure & ~_CHANGES

    def reach(self) -> bool:
        return self._inner.reach()

    def get(self, key: Key) -> bytes:
        return self._inner.get(key)

    def read(self, key: Key, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        return self._inner.read(key, start, stop)

    def reader(self, key: Key) -> Reader:
        return self._inner.reader(key)

    def stat(self, key: Key) -> Entry:
        return self._inner.stat(key)

    def local_file(self, key: Key) -> str | None:
        return self._inner.local_file(key)

    def exists(self, key: Key) -> bool:
        return self._inner.exists(key)

    def scan(self, prefix: str = "", after: Key | None = None) -> Iterator[Entry]:
        return self._inner.scan(prefix, after)

    def keys(self, prefix: str = "", after: Key | None = None) -> Iterator[str]:
        return self._inner.keys(prefix, after)

    def children(self, prefix: str = "") -> Iterator[Entry | str]:
        return self._inner.children(prefix)

    def get_many(self, keys: Iterable[Key]) -> Iterator[tuple[str, bytes | None]]:
        return self._inner.get_many(keys)

    def extent(self) -> tuple[Hashable, str]:
        return self._inner.extent()

    def digest_algorithm(self, size: int | None) -> str | None:
        return self._inner.digest_algorithm(size)

    def digest_of(self, entry: Entry, *, doubted: bool = False) -> str | None:
        return self._inner.digest_of(entry, doubted=doubted)

    def writer(self, key: Key, *, create: bool = False, version: str | None = None, ttl: float | None = None) -> Writer:
        self._deny(f"write {key!r}")

    def put(
        self,
        key: Key,
        data: bytes,
        *,
        create: bool = False,
        version: str | None = None,
        ttl: float | None = None,
    ) -> Entry:
        self._deny(f"write {key!r}")

    def put_many(self, items: Iterable[tuple[Key, bytes]], *, ttl: float | None = None) -> None:
        self._deny("write values")

    def delete(self, key: Key) -> None:
        self._deny(f"delete {key!r}")

    def delete_many(self, keys: Iterable[Key]) -> None:
        self._deny("delete values")

    def append(self, key: Key, data: bytes) -> None:
        self._deny(f"append to {key!r}")

    def move(self, source: Key, target: Key) -> None:
        self._deny(f"move {source!r}")

    def take(self, key: Key) -> bytes:
        self._deny(f"take {key!r}")

    def copy(self, source: Key, target: Key) -> None:
        self._deny(f"write {target!r}")

    def copy_from(self, other: Backend, source: Key, target: Key) -> bool:
        self._deny(f"write {target!r}")

    def close(self) -> None:
        self._inner.close()

    def require_write(
        self, key: Key, *, create: bool = False, version: str | None = None, ttl: float | None = None
    ) -> None:
        self._deny(f"write {key!r}")

    def require_append(self, key: Key) -> None:
        self._deny(f"append to {key!r}")

    def _deny(self, what: str) -> NoReturn:
        raise ReadOnlyError(f"cannot {what}: {self.uri} is opened read-only; open it without readonly=True")


class PrefixBackend(Backend):
    """A folder of another backend, as a backend of its own.

    Keys are those below the folder. Errors name the whole key.

    Args:
        inner: The backend that holds the folder.
        prefix: The folder, such as ``tenants/one``.

    Raises:
        InvalidKey: If the folder is not a key. A method raises it for a key that is
            too long together with the folder.

    Example:
        >>> from anystore.backends.memory import MemoryBackend
        >>> tenant = PrefixBackend(MemoryBackend("all"), "tenants/one")
        >>> tenant.put("a.txt", b"x").key
        'a.txt'
        >>> MemoryBackend("all").get("tenants/one/a.txt")
        b'x'
    """

    def __init__(self, inner: Backend, prefix: str) -> None:
        self._inner = inner
        self._prefix = parse_prefix(prefix)
        self.uri = _uri_below(inner.uri, self._prefix)
        self.at_once = inner.at_once

    @property
    def inner(self) -> Backend:
        """The backend that holds the folder."""
        return self._inner

    @property
    def prefix(self) -> str:
        """The folder, ending in ``/``."""
        return self._prefix

    @property
    def features(self) -> Feature:
        """What the inner backend can do."""
        return self._inner.features

    def sure_features(self) -> tuple[Feature, Feature]:
        return self._inner.sure_features()

    def reach(self) -> bool:
        return self._inner.reach()

    def get(self, key: Key) -> bytes:
        return self._inner.get(join_key(self._prefix, key))

    def read(self, key: Key, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        return self._inner.read(join_key(self._prefix, key), start, stop)

    def reader(self, key: Key) -> Reader:
        return _PrefixReader(self._inner.reader(join_key(self._prefix, key)), key)

    def stat(self, key: Key) -> Entry:
        return _renamed(self._inner.stat(join_key(self._prefix, key)), key)

    def local_file(self, key: Key) -> str | None:
        return self._inner.local_file(join_key(self._prefix, key))

    def exists(self, key: Key) -> bool:
        return self._inner.exists(join_key(self._prefix, key))

    def scan(self, prefix: str = "", after: Key | None = None) -> Iterator[Entry]:
        whole = self._inner.scan(self._prefix + prefix, self._whole_after(after))
        length = len(self._prefix)
        return (_renamed(entry, entry.key[length:]) for entry in whole if not _is_ours(entry.key[length:]))

    def keys(self, prefix: str = "", after: Key | None = None) -> Iterator[str]:
        whole = self._inner.keys(self._prefix + prefix, self._whole_after(after))
        length = len(self._prefix)
        return (key[length:] for key in whole if not _is_ours(key[length:]))

    def children(self, prefix: str = "") -> Iterator[Entry | str]:
        length = len(self._prefix)
        for child in self._inner.children(self._prefix + prefix):
            key = child[length:] if isinstance(child, str) else child.key[length:]
            if not _is_ours(key):
                yield key if isinstance(child, str) else _renamed(child, key)

    def get_many(self, keys: Iterable[Key]) -> Iterator[tuple[str, bytes | None]]:
        found = self._inner.get_many(join_key(self._prefix, key) for key in keys)
        return ((self._below(key), data) for key, data in found)

    def writer(self, key: Key, *, create: bool = False, version: str | None = None, ttl: float | None = None) -> Writer:
        whole = join_key(self._prefix, key)
        return _PrefixWriter(self._inner.writer(whole, create=create, version=version, ttl=ttl), key)

    def put(
        self,
        key: Key,
        data: bytes,
        *,
        create: bool = False,
        version: str | None = None,
        ttl: float | None = None,
    ) -> Entry:
        whole = join_key(self._prefix, key)
        return _renamed(self._inner.put(whole, data, create=create, version=version, ttl=ttl), key)

    def put_many(self, items: Iterable[tuple[Key, bytes]], *, ttl: float | None = None) -> None:
        self._inner.put_many(((join_key(self._prefix, key), data) for key, data in items), ttl=ttl)

    def delete(self, key: Key) -> None:
        self._inner.delete(join_key(self._prefix, key))

    def delete_many(self, keys: Iterable[Key]) -> None:
        self._inner.delete_many(join_key(self._prefix, key) for key in keys)

    def append(self, key: Key, data: bytes) -> None:
        self._inner.append(join_key(self._prefix, key), data)

    def move(self, source: Key, target: Key) -> None:
        self._inner.move(join_key(self._prefix, source), join_key(self._prefix, target))

    def take(self, key: Key) -> bytes:
        return self._inner.take(join_key(self._prefix, key))

    def copy(self, source: Key, target: Key) -> None:
        self._inner.copy(join_key(self._prefix, source), join_key(self._prefix, target))

    def copy_from(self, other: Backend, source: Key, target: Key) -> bool:
        return self._inner.copy_from(other, source, join_key(self._prefix, target))

    def extent(self) -> tuple[Hashable, str]:
        medium, folder = self._inner.extent()
        return medium, folder + self._prefix

    def digest_algorithm(self, size: int | None) -> str | None:
        return self._inner.digest_algorithm(size)

    def digest_of(self, entry: Entry, *, doubted: bool = False) -> str | None:
        return self._inner.digest_of(_renamed(entry, self._prefix + entry.key), doubted=doubted)

    def close(self) -> None:
        self._inner.close()

    def _whole_after(self, after: Key | None) -> Key | None:
        return None if after is None else join_key(self._prefix, after)

    def _below(self, whole: str) -> str:
        """Undo :func:`join_key`."""
        if not is_private(whole):
            return whole[len(self._prefix) :]
        folder = f"{PRIVATE_FOLDER}/"
        return folder + whole[len(folder) + len(self._prefix) :]


def unwrap(backend: Backend) -> tuple[Backend, str]:
    """Give the backend behind all views of it, and the folder that they show: ``""`` or ending in ``/``."""
    folder = ""
    while isinstance(backend, (PrefixBackend, ReadonlyBackend)):
        folder = backend.prefix + folder if isinstance(backend, PrefixBackend) else folder
        backend = backend.inner
    return backend, folder


class _PrefixReader(Reader):
    """A reader whose entry has the key below the folder."""

    def __init__(self, inner: Reader, key: Key) -> None:
        self._inner = inner
        self.entry = _renamed(inner.entry, key)
        self.seekable = inner.seekable

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        return self._inner.read(start, stop)

    def close(self) -> None:
        self._inner.close()


class _PrefixWriter(Writer):
    """A writer whose entry has the key below the folder."""

    def __init__(self, inner: Writer, key: Key) -> None:
        self._inner = inner
        self._key = key

    def write(self, data: bytes | bytearray | memoryview) -> int:
        return self._inner.write(data)

    def commit(self) -> Entry:
        return _renamed(self._inner.commit(), self._key)

    def abort(self) -> None:
        self._inner.abort()


def _renamed(entry: Entry, key: str) -> Entry:
    return Entry(key, entry.size, entry.modified, entry.version, entry.mimetype, entry.expires)


def _is_ours(key: str) -> bool:
    """Tell whether a name in the folder is none of its keys, although it is a key of the whole store."""
    return key.startswith(PRIVATE_FOLDER) and (key == PRIVATE_FOLDER or is_private(key))


def _uri_below(uri: str, prefix: str) -> str:
    """Write a folder behind the path of a masked URI, before its options."""
    path, mark, query = uri.partition("?") if "://" in uri else (uri, "", "")
    return f"{path.rstrip('/')}/{prefix.rstrip('/')}{mark}{query}" if prefix else uri
