"""A listing on disk: for one that is in no order, and too long for memory."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import islice

from anystore.backend import Entry
from anystore.errors import BackendError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_BATCH = 1000
_TABLE = """
CREATE TABLE entries (
    key TEXT PRIMARY KEY, size INTEGER, modified INTEGER, version TEXT, expires INTEGER, seen INTEGER NOT NULL
) WITHOUT ROWID
"""


class Index:
    """The target's entries in a private temporary file, and which of them the source has.

    The source may list a key twice: it is found once.
    """

    def __init__(self) -> None:
        """Make the file; it has no name, so that it is gone with the process, however that ends.

        Raises:
            BackendError: If there is no room for temporary files.
        """
        try:
            self._database = sqlite3.connect("", isolation_level=None)  # SQLite's own temporary file
            for statement in ("PRAGMA temp_store=FILE", "PRAGMA journal_mode=OFF", _TABLE, "BEGIN"):
                self._database.execute(statement)
        except sqlite3.Error as error:
            raise _full(error) from error

    def load(self, entries: Iterable[Entry]) -> None:
        """Take the entries of the target."""
        rows = (
            (one.key, one.size, _to_number(one.modified), one.version, _to_number(one.expires), 0) for one in entries
        )
        with _Guard():
            while batch := list(islice(rows, _BATCH)):
                self._database.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?, ?)", batch)

    def find(self, key: str) -> tuple[Entry | None, bool]:
        """Look for the entry of a key that the source has.

        Returns:
            The target's entry, or None, and whether this key was looked for before.
        """
        with _Guard():
            row = self._database.execute(
                "SELECT size, modified, version, expires, seen FROM entries WHERE key = ?", (key,)
            ).fetchone()
            if row is None:
                self._database.execute("INSERT INTO entries VALUES (?, NULL, NULL, NULL, NULL, 1)", (key,))
                return None, False
            size, modified, version, expires, seen = row
            if seen:
                return None, True
            self._database.execute("UPDATE entries SET seen = 1 WHERE key = ?", (key,))
        return Entry(key, size, _to_time(modified), version, None, _to_time(expires)), False

    def rest(self) -> Iterator[Entry]:
        """Give the entries that the source has not."""
        with _Guard():
            for key, size in self._database.execute("SELECT key, size FROM entries WHERE seen = 0"):
                yield Entry(key, size, None)

    def close(self) -> None:
        """Delete the file."""
        with suppress(sqlite3.Error):
            self._database.close()


class _Guard:
    """A block in which an error of the index becomes one of ours."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if isinstance(error, sqlite3.Error):
            raise _full(error) from error


def _full(error: Exception) -> BackendError:
    return BackendError(
        f"the temporary index of a mirror cannot be written ({type(error).__name__}: {error}); "
        "make room in the folder for temporary files, or set TMPDIR to another one"
    )


def _to_number(moment: datetime | None) -> int | None:
    return None if moment is None else (moment - _EPOCH) // _MICROSECOND


def _to_time(number: int | None) -> datetime | None:
    return None if number is None else _EPOCH + number * _MICROSECOND
