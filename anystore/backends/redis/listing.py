"""Listing names by one pass of SCAN."""

import sqlite3
from collections.abc import Iterator
from functools import partial
from typing import Any

from redis.exceptions import NoPermissionError

from anystore.backends.redis.client import Client, Command
from anystore.backends.redis.names import glob_of, literal_glob_of
from anystore.backends.redis.scripts import MEASURE
from anystore.errors import BackendError

_PAGE = 1000
_SET_ITEM_BYTES = 90  # of the object around a name, and of its place in a set
_INFO: Command = (b"INFO", b"server")


def scan_pages(client: Client, head: bytes, *, prefix: str) -> Iterator[list[bytes]]:
    """List the names of strings that begin with something, page by page.

    Args:
        client: The server.
        head: What the names begin with.
        prefix: The folder that is listed, for messages.

    Yields:
        Names; one may come twice, when the server shrinks its table.

    Raises:
        BackendError: If the server is restarted, or another answers: a cursor is worth
            nothing there, and the listing would be silently short.
    """
    kvrocks = client.is_kvrocks(prefix)
    pattern = literal_glob_of(head) if kvrocks else glob_of(head)
    options: Command = (b"MATCH", pattern, b"COUNT", _PAGE) if head else (b"COUNT", _PAGE)
    if not kvrocks:
        options += (b"TYPE", b"string")
    cursor, run = b"0", None
    while True:
        info, page = client.ask_all("list", prefix, [_INFO, (b"SCAN", cursor, *options)], again=True)
        client.check("list", prefix, [page])
        run = _same_run(run, info, client, prefix)
        cursor, names = client.take_apart("list", prefix, page, _cursor_and_names)
        yield [name for name in names if name.startswith(head)] if kvrocks else names
        if cursor == b"0":
            return


def measure(client: Client, names: list[bytes], *, prefix: str) -> Iterator[tuple[bytes, int, int]]:
    """Ask for the sizes of strings, a page in one go.

    Args:
        client: The server.
        names: Names; what is gone, or no string, is left out.
        prefix: The folder that is listed, for messages.

    Yields:
        The name, the size, and the milliseconds left or -1.
    """
    if not names:
        return
    answer: bytes = client.ask_again("list", prefix, b"EVAL", MEASURE, len(names), *names)
    told = client.take_apart("list", prefix, answer, partial(_sizes, names))
    for name, size, left in told:
        if size >= 0:
            yield name, size, left


def _sizes(names: list[bytes], answer: bytes) -> list[tuple[bytes, int, int]]:
    numbers = map(int, answer.split())
    return list(zip(names, numbers, numbers, strict=True))


def _cursor_and_names(page: Any) -> tuple[bytes, list[bytes]]:
    cursor, names = page
    if not isinstance(names, list):
        raise TypeError("a page is a list of names")
    return cursor, names


class Seen:
    """The names that a listing has shown; what does not fit into memory lies in a file that SQLite deletes.

    Args:
        memory: How many bytes the names may take in memory.
    """

    def __init__(self, memory: int = 32 << 20) -> None:
        self._free = memory
        self._names: set[bytes] = set()
        self._file: sqlite3.Connection | None = None

    def add(self, names: list[bytes]) -> list[bytes]:
        """Remember names; give those that are new, each once."""
        if self._file is not None:
            insert = "INSERT OR IGNORE INTO seen VALUES (?)"
            return [name for name in names if self._file.execute(insert, (name,)).rowcount == 1]
        new = list(dict.fromkeys(names)) if self._names.isdisjoint(names) else self._not_seen(names)
        self._names.update(new)
        self._free -= sum(map(len, new)) + len(new) * _SET_ITEM_BYTES
        if self._free < 0:
            self._file = _fill_file(self._names)
            self._names = set()
        return new

    def _not_seen(self, names: list[bytes]) -> list[bytes]:
        return [name for name in dict.fromkeys(names) if name not in self._names]

    def close(self) -> None:
        """Delete the file."""
        if self._file is not None:
            self._file.close()


def _fill_file(names: set[bytes]) -> sqlite3.Connection:
    # the empty name is a temporary file; whoever iterates a listing may do so in several threads, one after the other
    file = sqlite3.connect("", check_same_thread=False)
    file.execute("PRAGMA journal_mode = OFF")
    file.execute("CREATE TABLE seen (name BLOB PRIMARY KEY) WITHOUT ROWID")
    file.executemany("INSERT INTO seen VALUES (?)", ((name,) for name in sorted(names)))
    return file


def _same_run(run: bytes | None, info: Any, client: Client, prefix: str) -> bytes:
    """Check that the server is still the one that gave out the cursor, where it says which it is."""
    if isinstance(info, NoPermissionError):
        return b""
    client.check("list", prefix, [info])
    _, _, rest = info.partition(b"run_id:")
    current: bytes = rest.partition(b"\r\n")[0]
    if run is not None and run != current:
        raise BackendError(
            f"cannot list {prefix!r} in {client.address.uri}: the server was restarted, or another one "
            "answered; list again"
        )
    return current
