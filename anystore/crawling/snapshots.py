"""What the crawls of a store have fetched, as its journal says it at one moment; it may be more than memory holds."""

import os
import sqlite3
import weakref
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from threading import Lock
from typing import Any

from anystore.crawling.index import room_for_index
from anystore.crawling.journal import Journal, Run
from anystore.crawling.records import Document, Record, document_of, read_record
from anystore.store import Store

_CACHE_KIB = 8_000
_PAGE = 1000
_SCHEMA = f"""
PRAGMA journal_mode = OFF;
PRAGMA temp_store = FILE;
PRAGMA cache_size = -{_CACHE_KIB};
CREATE TABLE documents (
    key TEXT PRIMARY KEY, source TEXT NOT NULL, status TEXT NOT NULL, has_value INTEGER NOT NULL,
    had_value INTEGER NOT NULL, run INTEGER NOT NULL, added INTEGER NOT NULL, changed INTEGER NOT NULL,
    line BLOB NOT NULL
) WITHOUT ROWID;
BEGIN;
"""
_THERE = "status <> 'gone' AND has_value"


class Documents(Collection[Document]):
    """Documents of a snapshot, read page by page as they are asked for, in the order of their keys.

    They can be counted and gone through again and again, by several threads at the same time.

    Args:
        snapshot: Where they are read.
        which: The condition, in SQL.
        after: What stands in it for ``:after``.
        until: What stands in it for ``:until``.
    """

    def __init__(self, snapshot: "Snapshot", which: str, after: int = 0, until: int = 0) -> None:
        self._snapshot = snapshot
        self._where = f"(:source IS NULL OR source = :source) AND {which}"
        self._runs = {"after": after, "until": until}

    def __iter__(self) -> Iterator[Document]:
        """Read the documents."""
        last = ""
        query = f"SELECT key, line FROM documents WHERE key > :key AND {self._where} ORDER BY key LIMIT {_PAGE}"  # noqa: S608 - our own text
        while rows := self._snapshot.ask(query, key=last, **self._runs):
            for _, line in rows:
                yield self._snapshot.document(line)
            last = rows[-1][0]

    def __len__(self) -> int:
        """Count them."""
        query = f"SELECT count(*) FROM documents WHERE {self._where}"  # noqa: S608 - our own text
        return int(self._snapshot.ask(query, **self._runs)[0][0])

    def __contains__(self, document: object) -> bool:
        """Tell whether a document, or the one of a key, is among them."""
        return self.find(document.key if isinstance(document, Document) else document) is not None

    def find(self, key: object) -> Document | None:
        """Give the one with a key; None if none of them has it."""
        if not isinstance(key, str):
            return None
        query = f"SELECT line FROM documents WHERE key = :key AND {self._where}"  # noqa: S608 - our own text
        rows = self._snapshot.ask(query, key=key, **self._runs)
        return self._snapshot.document(rows[0][0]) if rows else None

    def __repr__(self) -> str:
        """Tell their number."""
        return f"<{len(self):,} documents>"


class Snapshot:
    """The documents of a target as its journal has them when this is made.

    The journal is read once, into a temporary file. Threads may share a snapshot, processes may not.

    Args:
        target: The store that crawls have filled.
        journal: Where their memory is kept, if not in the target.
        source: URI of a listing, with secrets masked; only what came from there is looked at.

    Attributes:
        runs: The crawls that have ended, the oldest first.
        process: The process that may use it.

    Raises:
        BackendError: If the journal is broken.

    Example:
        >>> from anystore import crawl, get_store
        >>> source, target = get_store("memory://snapshot-listing"), get_store("memory://snapshot-archive")
        >>> source.put_many({"a.txt": "hello", "b.txt": "world"})
        >>> report = crawl(source, target)
        >>> [document.key for document in Snapshot(target).documents]
        ['a.txt', 'b.txt']
    """

    def __init__(self, target: Store, *, journal: Store | None = None, source: str | None = None) -> None:
        self.process = os.getpid()
        self._target = target
        self._source = source
        self._lock = Lock()
        # SQLite's own temporary file, which is gone with the process; threads take turns by the lock
        self._connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        weakref.finalize(self, self._connection.close)
        log = Journal((target if journal is None else journal).backend)
        with room_for_index():
            self._connection.executescript(_SCHEMA)
            log.load(self)
        self.runs: list[Run] = log.runs
        self._seen: dict[str, datetime] = {run.source: run.started for run in log.runs if run.complete}

    def load(self, records: Iterable[tuple[Record, bytes]]) -> None:
        """Take what the journal says; later lines take the place of earlier ones."""
        rows = (
            (
                *(one.key, one.source, one.status, one.sha256 is not None, one.fetched is not None),
                *(one.run, one.added, one.changed, line),
            )
            for one, line in records
        )
        self._connection.executemany("INSERT OR REPLACE INTO documents VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)

    @property
    def documents(self) -> Documents:
        """Every document that has a value and is not gone, even if the last crawl could not fetch it anew."""
        return Documents(self, _THERE)

    def new(self, after: int | None, until: int) -> Documents:
        """Give the documents that are there, and were not there after an earlier run.

        Args:
            after: Number of the earlier run; None takes all that are there.
            until: Number of the last run to look at; what later ones have added is left out.

        Returns:
            Those that were stored for the first time, or that came back.
        """
        which = f"{_THERE} AND added > :after AND added <= :until"
        return Documents(self, which, -1 if after is None else after, until)

    def changed(self, after: int | None, until: int) -> Documents:
        """Give the documents that were there after an earlier run, and have other bytes now.

        Args:
            after: Number of the earlier run; None gives none.
            until: Number of the last run to look at; what later ones have changed is left out.

        Returns:
            The documents.
        """
        which = f"{_THERE} AND added <= :after AND changed > :after AND changed <= :until"
        return Documents(self, which, -1 if after is None else after, until)

    def gone(self, after: int | None, until: int) -> Documents:
        """Give the documents that were there after an earlier run, and have gone from the listing since.

        Args:
            after: Number of the earlier run; None gives none.
            until: Number of the last run to look at.

        Returns:
            The documents. Unless it was pruned, the value of each is still there.
        """
        which = "status = 'gone' AND had_value AND added <= :after AND run > :after AND run <= :until"
        return Documents(self, which, -1 if after is None else after, until)

    def document(self, line: bytes) -> Document:
        """Make a document of a line of the journal."""
        record = read_record(line)
        return document_of(record, store=self._target, seen=self._seen.get(record.source))

    def ask(self, query: str, **values: str | int) -> list[tuple[Any, ...]]:
        """Ask the temporary file, in SQL."""
        with self._lock, room_for_index():
            return self._connection.execute(query, {"source": self._source, **values}).fetchall()
