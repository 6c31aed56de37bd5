"""A part of a store, cut out by its keys alone, so that several machines can do one job at the same time.

A shard holds whole folders: those whose names hash to its number. So a machine lists the folders of its own shard and
no others, and new folders find their shard without anybody keeping a table of them.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from anystore.backend import Backend, Entry
from anystore.backends.wrap import PrefixBackend
from anystore.errors import InvalidOption
from anystore.keys import Key
from anystore.store import Store

MOST_SHARDS = 10_000


@dataclass(frozen=True, slots=True)
class Shard:
    """One of several parts of all keys: each key is in exactly one of them.

    Attributes:
        number: Which one, from 1 on.
        of: How many there are.
        depth: How many folders deep keys are told apart: with 1, all that is in one folder of the first level is in
            one shard, with 2 in one folder of the second. 0 tells them apart by the whole key: that is even, but each
            shard has to list everything.

    Raises:
        InvalidOption: If a number is out of range.

    Example:
        >>> first, second = Shard(1, 2), Shard(2, 2)
        >>> keys = [f"{folder}/{name}" for folder in "efgh" for name in "xy"]
        >>> [key for key in keys if first.covers(key)]
        ['g/x', 'g/y', 'h/x', 'h/y']
        >>> all(first.covers(key) != second.covers(key) for key in keys)
        True
    """

    number: int
    of: int
    depth: int = 1

    def __post_init__(self) -> None:
        check_cut(self.of, self.depth)
        if type(self.number) is not int or not 1 <= self.number <= self.of:
            raise InvalidOption(f"number={self.number!r}: shards are numbered from 1 to {self.of}")

    def covers(self, key: str) -> bool:
        """Tell whether a key is in the shard."""
        return shard_of(key, of=self.of, depth=self.depth) == self.number

    def enters(self, folder: str) -> bool:
        """Tell whether a folder, ``""`` or ending in ``/``, may have keys of the shard."""
        return self.depth == 0 or folder.count("/") < self.depth or self.covers(folder[:-1])

    def holds(self, folder: str) -> bool:
        """Tell whether all keys of a folder are in the shard."""
        return self.depth > 0 and folder.count("/") >= self.depth and self.covers(folder[:-1])

    def view(self, store: Store) -> Store:
        """Give a store as if it had the keys of this shard alone; it reads and writes as before.

        Example:
            >>> from anystore import get_store
            >>> store = get_store("memory://cut")
            >>> store.put_many({f"{folder}/x": 1 for folder in "fgh"})
            >>> list(Shard(1, 2).view(store).iterate_keys())
            ['g/x', 'h/x']
        """
        return Store(ShardBackend(store.backend, self))


def shard_of(key: str, *, of: int, depth: int = 1) -> int:
    """Tell which shard a key is in.

    Args:
        key: The key.
        of: How many shards there are.
        depth: How many folders deep they are told apart.

    Returns:
        Its number, from 1 on.

    Example:
        >>> shard_of("b/x.txt", of=2) == shard_of("b/y/z.txt", of=2)
        True
    """
    # a folder and a value of its name are in one shard: some servers list folders as if they were values
    name = key if depth == 0 else "/".join(key.split("/", depth)[:depth])
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % of + 1


def check_cut(of: int, depth: int) -> None:
    """Refuse a number of shards, or a depth, that cannot be.

    Raises:
        InvalidOption: If it is not.
    """
    if type(of) is not int or not 1 <= of <= MOST_SHARDS:
        raise InvalidOption(f"{of!r} shards: it is a whole number from 1 to {MOST_SHARDS:,}")
    if type(depth) is not int or depth < 0:
        raise InvalidOption(f"depth={depth!r}: it is a whole number from 0 on")


class ShardBackend(PrefixBackend):
    """Another backend, of which listings give one shard alone.

    Args:
        inner: The backend that has all of it.
        shard: The shard.
    """

    def __init__(self, inner: Backend, shard: Shard) -> None:
        super().__init__(inner, "")
        self._shard = shard

    def __repr__(self) -> str:
        """Show the shard and the URI."""
        return f"<ShardBackend {self._shard.number} of {self._shard.of} of {self.uri}>"

    def scan(self, prefix: str = "", after: Key | None = None) -> Iterator[Entry]:
        """List the shard."""
        shard = self._shard
        if shard.depth <= prefix.count("/"):  # of one folder all is in the shard, or nothing
            return (entry for entry in self.inner.scan(prefix, after) if shard.covers(entry.key))
        return self._walk(prefix, after)

    def keys(self, prefix: str = "", after: Key | None = None) -> Iterator[str]:
        """List the keys of the shard."""
        return (entry.key for entry in self.scan(prefix, after))

    def children(self, prefix: str = "") -> Iterator[Entry | str]:
        """List one folder, as far as it is in the shard."""
        for child in self.inner.children(prefix):
            if self._shard.enters(child) if isinstance(child, str) else self._shard.covers(child.key):
                yield child

    def _walk(self, folder: str, after: Key | None) -> Iterator[Entry]:
        """List folder by folder where shards are told apart, in byte order, and whole folders below."""
        shard = self._shard
        if shard.holds(folder):
            yield from self.inner.scan(folder, after if after is not None and after.startswith(folder) else None)
            return
        found = sorted(self.children(folder), key=lambda child: child if isinstance(child, str) else child.key)
        for child in found:
            if isinstance(child, Entry):
                if after is None or child.key > after:
                    yield child
            elif after is None or child > after or after.startswith(child):
                yield from self._walk(child, after)
