"""Redis, Valkey and Kvrocks: one value, one plain string that any client reads."""

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from hashlib import sha1
from itertools import islice
from typing import Any

from redis.exceptions import ResponseError

from anystore.backend import Backend, Entry, Feature, Reader, Writer, read_and_close, warn_of_foreign
from anystore.backends.redis.address import Address, parse_address
from anystore.backends.redis.client import PIECE_BYTES, Client, Command
from anystore.backends.redis.entries import entry_of, milliseconds, wants_version
from anystore.backends.redis.listing import Seen, measure, scan_pages
from anystore.backends.redis.names import Names
from anystore.backends.redis.reading import WatchingReader, WholeReader, whole_entry
from anystore.backends.redis.scripts import PART, STAT, SWAP, TAKE
from anystore.backends.redis.writing import RedisWriter
from anystore.errors import AnystoreError, Unsupported
from anystore.keys import Key, is_private
from anystore.uris import StoreUri

_BATCH_KEYS = 1000
_BATCH_BYTES = 4 << 20
_FIRST_BATCH_KEYS = 8
_MISSING = -2  # what PTTL says of a key that is not there


def from_uri(uri: StoreUri, config: Mapping[str, Any]) -> "RedisBackend":
    """Make the backend of a ``redis://``, ``rediss://``, ``valkey://``, ``valkeys://`` or ``unix://`` URI."""
    address, prefix = parse_address(uri, config)
    return RedisBackend(address, prefix=prefix)


class RedisBackend(Backend):
    """Strings of a Redis server, below a prefix of its keys.

    The version of a value is its SHA-1, so it comes back with the same content. A value of
    over 1 MiB has none. A user whose keys are restricted to the prefix needs those below
    ``.anystore/`` and the prefix as well.

    Args:
        address: The server.
        prefix: The folder of the server's keys that is the store: ``""`` or ending in ``/``.
    """

    features = ~Feature.SORTED
    batches = True

    def __init__(self, address: Address, *, prefix: str = "") -> None:
        self.uri = address.uri
        self._prefix = prefix
        self._names = Names(prefix)
        self._client = Client(address)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the configuration."""
        return _restore, (self._client.address, self._prefix)

    # -- one value -----------------------------------------------------------

    def get(self, key: Key) -> bytes:
        answer = self._client.ask_again("read", key, b"GET", self._names.name(key))
        data = self._client.take_apart("read", key, answer, _value)
        if data is None:
            raise self.missing(key)
        return data

    def read(self, key: Key, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        _, _, part = self._part(key, start, stop)
        if part is not None:
            return iter((part,) if part else ())
        return read_and_close(self._watch(key), start, stop)

    def reader(self, key: Key) -> Reader:
        """Fetch a short value whole, or watch a long one; then the reader holds two connections of its own."""
        _, left, part = self._part(key, 0, None)
        if part is not None:
            return WholeReader(whole_entry(key, part, left), part)
        return self._watch(key)

    def _part(self, key: Key, start: int, stop: int | None) -> tuple[int, int, bytes | None]:
        """Ask for size, time left, and a part unless it is long: in one step, so of one version."""
        limits = (start, "" if stop is None else stop, PIECE_BYTES)
        answer = self._client.ask_again("read", key, b"EVAL", PART, 1, self._names.name(key), *limits)
        size, left, data = self._client.take_apart("read", key, answer, _size_left_and_more)
        if left == _MISSING:
            raise self.missing(key)
        return size, left, data

    def _watch(self, key: Key) -> Reader:
        name = self._names.name(key)
        return WatchingReader(self._client, key, name=name, missing=self.missing(key), changed=self.changed(key))

    def stat(self, key: Key) -> Entry:
        answer = self._client.ask_again("look at", key, b"EVAL", STAT, 1, self._names.name(key))
        size, left, version = self._client.take_apart("look at", key, answer, _size_left_and_more)
        if left == _MISSING:
            raise self.missing(key)
        return entry_of(key, size, left, version=None if version is None else version.decode("ascii", "replace"))

    def digest_algorithm(self, size: int | None) -> str | None:
        return "sha1" if size is not None and wants_version(size) else None

    def digest_of(self, entry: Entry, *, doubted: bool = False) -> str | None:
        return entry.version  # None above that length, and in listings

    def exists(self, key: Key) -> bool:
        return bool(self._client.ask_again("look at", key, b"EXISTS", self._names.name(key)))

    def put(
        self, key: Key, data: bytes, *, create: bool = False, version: str | None = None, ttl: float | None = None
    ) -> Entry:
        self.check_size(key, len(data))
        left = -1 if ttl is None else milliseconds(ttl)
        name = self._names.name(key)
        if version is not None:
            if create:  # both at once can never be met
                raise self.taken(key) if self.exists(key) else self.changed(key)
            answer = self._client.ask("write", key, b"EVAL", SWAP, 1, name, version, data, "" if ttl is None else left)
            if answer != b"done":
                raise self.refuse(key, answer)
        else:
            options: Command = () if ttl is None else (b"PX", left)
            if create:
                options += (b"NX",)
            if self._client.ask("write", key, b"SET", name, data, *options) is None:
                raise self.taken(key)
        made = sha1(data, usedforsecurity=False).hexdigest() if wants_version(len(data)) else None
        return entry_of(key, len(data), left, version=made)

    def writer(self, key: Key, *, create: bool = False, version: str | None = None, ttl: float | None = None) -> Writer:
        return RedisWriter(self, self._client, self._names, key=key, create=create, version=version, ttl=ttl)

    def delete(self, key: Key) -> None:
        self._client.ask("delete", key, b"UNLINK", self._names.name(key))

    def take(self, key: Key) -> bytes:
        name = self._names.name(key)
        (data,) = self._client.ask_all("take", key, [(b"GETDEL", name)])
        if isinstance(data, ResponseError) and "unknown command" in str(data):  # Redis before 6.2
            (data,) = self._client.ask_all("take", key, [(b"EVAL", TAKE, 1, name)])
        self._client.check("take", key, [data])
        taken = self._client.take_apart("take", key, data, _value)
        if taken is None:
            raise self.missing(key)
        return taken

    def append(self, key: Key, data: bytes) -> None:
        self.check_size(key, len(data))
        self._client.ask("append to", key, b"APPEND", self._names.name(key), data)

    def move(self, source: Key, target: Key) -> None:
        if source == target:
            self._require(source)
            return
        command: Command = (b"RENAME", self._names.name(source), self._names.name(target))
        (answer,) = self._client.ask_all("move", source, [command])
        if isinstance(answer, ResponseError) and "no such key" in str(answer):
            raise self.missing(source)
        self._client.check("move", source, [answer])

    def copy(self, source: Key, target: Key) -> None:
        if source == target:
            self._require(source)
            return
        if not self.copy_from(self, source, target):
            super().copy(source, target)

    def copy_from(self, other: Backend, source: Key, target: Key) -> bool:
        if not isinstance(other, RedisBackend) or not self._is_beside(other):
            return False
        old = other._names.name(source)  # noqa: SLF001 - of this class
        command: Command = (b"COPY", old, self._names.name(target), b"REPLACE")
        (answer,) = self._client.ask_all("copy", source, [command])
        if isinstance(answer, ResponseError) and "unknown command" in str(answer):
            return False  # Redis before 6.2
        self._client.check("copy", source, [answer])
        if not answer:
            raise other.missing(source)
        return True

    def _is_beside(self, other: "RedisBackend") -> bool:
        """Tell whether another backend is of the same server and database, with the same login."""
        mine = self._client.address
        theirs = other._client.address  # noqa: SLF001 - of this class
        return mine == replace(theirs, uri=mine.uri)

    def extent(self) -> tuple[Hashable, str]:
        address = self._client.address
        return ("redis", address.host, address.port, address.socket, address.db), self._prefix

    def _require(self, key: Key) -> None:
        if not self.exists(key):
            raise self.missing(key)

    # -- many values ---------------------------------------------------------

    def get_many(self, keys: Iterable[Key]) -> Iterator[tuple[str, bytes | None]]:
        """Ask for a few, then for as many at once as their size allows."""
        rest, count = iter(keys), _FIRST_BATCH_KEYS
        while batch := list(islice(rest, count)):
            names = [self._names.name(key) for key in batch]
            answer = self._client.ask_again("read", batch[0], b"MGET", *names)
            values = self._client.take_apart("read", batch[0], answer, partial(_as_many_values, len(batch)))
            longest = max((len(value) for value in values if value is not None), default=0)
            yield from zip(batch, values, strict=True)
            count = max(1, min(_BATCH_BYTES // max(1, longest), count * 4, _BATCH_KEYS))

    def put_many(self, items: Iterable[tuple[Key, bytes]], *, ttl: float | None = None) -> None:
        batch: list[tuple[Key, bytes]] = []
        size = 0
        for key, data in items:
            self.check_size(key, len(data))
            if batch and (size + len(data) > _BATCH_BYTES or len(batch) == _BATCH_KEYS):
                self._put_batch(batch, ttl)
                batch, size = [], 0
            batch.append((key, data))
            size += len(data)
        if batch:
            self._put_batch(batch, ttl)

    def _put_batch(self, batch: list[tuple[Key, bytes]], ttl: float | None) -> None:
        first = batch[0][0]
        if ttl is None:
            pairs = [text for key, data in batch for text in (self._names.name(key), data)]
            self._client.ask("write", first, b"MSET", *pairs)
            return
        left = milliseconds(ttl)
        commands: list[Command] = [(b"SET", self._names.name(key), data, b"PX", left) for key, data in batch]
        answers = self._client.ask_all("write", first, commands)
        for (key, _), answer in zip(batch, answers, strict=True):
            self._client.check("write", key, [answer])

    def delete_many(self, keys: Iterable[Key]) -> None:
        rest = iter(keys)
        while batch := list(islice(rest, _BATCH_KEYS)):
            self._client.ask("delete", batch[0], b"UNLINK", *(self._names.name(key) for key in batch))

    # -- listing -------------------------------------------------------------

    def scan(self, prefix: str = "", after: Key | None = None) -> Iterator[Entry]:
        """Ask for names page by page, and for the sizes of each page in one go."""
        if after is not None:
            self._refuse(Feature.SORTED, "start a listing behind a key")
        return self._scan(prefix)

    def _scan(self, prefix: str) -> Iterator[Entry]:
        for page in self._pages(prefix):
            for name, size, left in measure(self._client, list(page), prefix=prefix):
                yield entry_of(page[name], size, left)

    def keys(self, prefix: str = "", after: Key | None = None) -> Iterator[str]:
        """Ask for names page by page, and for nothing else."""
        if after is not None:
            self._refuse(Feature.SORTED, "start a listing behind a key")
        return self._keys(prefix)

    def _keys(self, prefix: str) -> Iterator[str]:
        for page in self._pages(prefix):
            if self._client.is_kvrocks(prefix):  # its SCAN does not leave out what is no string
                yield from (page[name] for name, _, _ in measure(self._client, list(page), prefix=prefix))
            else:
                yield from page.values()

    def _pages(self, prefix: str) -> Iterator[dict[bytes, str]]:
        """List the keys by their names, each once."""
        if is_private(prefix):
            return
        seen = Seen()
        foreign: list[bytes] = []
        try:
            for names in scan_pages(self._client, self._names.head(prefix), prefix=prefix):
                yield self._names.keys(seen.add(names), foreign)
        finally:
            seen.close()
        warn_of_foreign(self.uri, foreign, stacklevel=2)

    # -- for writers, and the rest -------------------------------------------

    def check_size(self, key: str, size: int) -> None:
        """Refuse a value that is too long for a string of the server, before any of it is sent.

        Raises:
            Unsupported: If it is.
        """
        if size > PIECE_BYTES and size > (longest := self._client.max_string_bytes(key)):
            raise Unsupported(
                f"cannot write {key!r} in {self.uri}: it has {size:,} bytes or more, and a string of the server "
                f"at most {longest:,}; keep it in a folder or a bucket"
            )

    def refuse(self, key: str, answer: bytes) -> AnystoreError:
        """Make the error for what a script refused.

        Args:
            key: The key.
            answer: The script's word for the reason.
        """
        if answer == b"long":
            return Unsupported(
                f"{self.uri} cannot write {key!r} only over one version: a value of over 1 MiB has none here; "
                "put without if_version, or keep it in a folder or a database"
            )
        return self.taken(key) if answer == b"taken" else self.changed(key)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _size_left_and_more(answer: Any) -> tuple[int, int, bytes | None]:
    """Read what a script says of a value: its size, the milliseconds left, and perhaps bytes."""
    size, left, *more = answer
    return size + 0, left + 0, bytes(more[0]) if more else None


def _as_many_values(count: int, answer: Any) -> list[bytes | None]:
    """Read values, or None for those that are missing."""
    if not isinstance(answer, list) or len(answer) != count:
        raise ValueError(f"{count} values were asked for")
    return [_value(one) for one in answer]


def _value(answer: Any) -> bytes | None:
    """Read a value, or None for a missing one."""
    if answer is not None and not isinstance(answer, bytes):
        raise TypeError(f"a value is bytes, and no {type(answer).__name__}")
    return answer


def _restore(address: Address, prefix: str) -> RedisBackend:
    return RedisBackend(address, prefix=prefix)
