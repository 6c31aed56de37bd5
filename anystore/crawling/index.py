"""What a journal knows, in order of keys, on disk: a million documents cost a few megabytes of memory."""

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Self

from anystore.crawling.records import Record, read_record
from anystore.errors import BackendError

_CACHE_KIB = 16_000
_SCHEMA = """
CREATE TABLE documents (
    key TEXT PRIMARY KEY, status TEXT NOT NULL, sha256 TEXT, line BLOB NOT NULL, seen INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE stored (key TEXT PRIMARY KEY, size INTEGER) WITHOUT ROWID;
"""
_PUT = """
INSERT INTO documents (key, status, sha256, line, seen) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET status = excluded.status, sha256 = excluded.sha256, line = excluded.line,
seen = max(seen, excluded.seen)
"""
_MOST_NAMES = 500  # SQLite takes a limited number of variables
_MOST_WAITING = 200  # rows to write; one statement for each would take as long again


class Index:
    """The latest record of each document, in a temporary file without a name: it is gone with the process."""

    def __init__(self) -> None:
        self._connection = sqlite3.connect("", isolation_level=None)  # SQLite's own temporary file
        self._connection.executescript(
            f"PRAGMA journal_mode = OFF; PRAGMA temp_store = FILE; PRAGMA cache_size = -{_CACHE_KIB}; {_SCHEMA} BEGIN;"
        )
        self._waiting: list[tuple[str, str, str | None, bytes, int]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Forget everything."""
        self._connection.close()

    def __len__(self) -> int:
        self._write()
        return int(self._connection.execute("SELECT count(*) FROM documents").fetchone()[0])

    # -- what the journal says -------------------------------------------------

    def load(self, records: Iterable[tuple[Record, bytes]]) -> None:
        """Take records from the journal; later ones take the place of earlier ones."""
        rows = ((one.key, one.status, one.sha256, line, 0) for one, line in records)
        self._connection.executemany(_PUT, rows)

    def put(self, records: Iterable[tuple[Record, bytes]]) -> None:
        """Take records that this crawl has made."""
        self._waiting += [(one.key, one.status, one.sha256, line, 1) for one, line in records]
        if len(self._waiting) >= _MOST_WAITING:
            self._write()

    def _write(self) -> None:
        """Write what waits; whatever reads does this first."""
        if self._waiting:
            self._connection.executemany(_PUT, self._waiting)
            self._waiting.clear()

    def find(self, keys: Sequence[str]) -> dict[str, tuple[bytes, bool]]:
        """Give the records of some keys, as lines of the journal, and whether this crawl has seen each before."""
        self._write()
        found: dict[str, tuple[bytes, bool]] = {}
        for names in _portions(keys):
            marks = ",".join("?" * len(names))
            query = f"SELECT key, line, seen FROM documents WHERE key IN ({marks})"  # noqa: S608 - question marks alone
            found.update((key, (line, bool(seen))) for key, line, seen in self._connection.execute(query, names))
        return found

    def mark_seen(self, keys: Sequence[str]) -> None:
        """Note that the listing has some keys."""
        self._write()
        for names in _portions(keys):
            marks = ",".join("?" * len(names))
            self._connection.execute(f"UPDATE documents SET seen = 1 WHERE key IN ({marks})", names)  # noqa: S608 - as above

    def unseen(self) -> Iterator[Record]:
        """Give the documents that the listing does not have."""
        query = "SELECT key, line FROM documents WHERE seen = 0 AND key > ? ORDER BY key LIMIT 1000"
        yield from self._pages(query)

    def records(self) -> Iterator[Record]:
        """Give all records, in the order of their keys."""
        yield from self._pages("SELECT key, line FROM documents WHERE key > ? ORDER BY key LIMIT 1000")

    def root(self) -> str:
        """Compute one checksum over the keys and checksums of all documents that are there."""
        self._write()
        digest = hashlib.sha256()
        query = "SELECT key, sha256 FROM documents WHERE status IN ('ok', 'error') AND sha256 NOT NULL ORDER BY key"
        for key, checksum in self._connection.execute(query):
            digest.update(f"{key}\0{checksum}\n".encode())
        return digest.hexdigest()

    def _pages(self, query: str) -> Iterator[Record]:
        """Read page by page, so that records may be changed meanwhile."""
        last = ""
        while rows := self._page(query, last):
            for last, line in rows:  # noqa: B007 - where the next page begins
                yield read_record(line)

    def _page(self, query: str, last: str) -> list[tuple[str, bytes]]:
        self._write()
        return self._connection.execute(query, (last,)).fetchall()

    # -- what the target holds -------------------------------------------------

    def load_stored(self, sizes: Iterable[tuple[str, int | None]]) -> None:
        """Note which values the target has."""
        self._connection.executemany("INSERT OR REPLACE INTO stored (key, size) VALUES (?, ?)", sizes)

    def stored(self, keys: Sequence[str]) -> dict[str, int | None]:
        """Give the sizes of those keys that the target has."""
        found: dict[str, int | None] = {}
        for names in _portions(keys):
            marks = ",".join("?" * len(names))
            query = f"SELECT key, size FROM stored WHERE key IN ({marks})"  # noqa: S608 - question marks alone
            found.update(self._connection.execute(query, names))
        return found


@contextmanager
def room_for_index() -> Iterator[None]:
    """Turn what goes wrong with the temporary file, in a block, into an error of ours.

    Raises:
        BackendError: If it cannot be written.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise BackendError(
            f"the temporary index of a crawl cannot be written ({type(error).__name__}: {error}); make room in the "
            "folder for temporary files, or set TMPDIR to another one"
        ) from error


def _portions(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    return (keys[start : start + _MOST_NAMES] for start in range(0, len(keys), _MOST_NAMES))
