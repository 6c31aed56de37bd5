"""A listing in the order of its keys, whatever it lists, from any key on: what a walk needs that stops and goes on."""

import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from anystore.backend import Backend, Entry, Feature
from anystore.errors import AnystoreError, BackendError
from anystore.extras import load
from anystore.keys import Key, Selection, match_glob
from anystore.store import Store

_TABLE = "CREATE TABLE entries (key TEXT PRIMARY KEY, size INTEGER, time TEXT, version TEXT) WITHOUT ROWID"
_MAX_DEPTH = 40
_BATCH = 1000


@dataclass(frozen=True, slots=True)
class ListedDocument:
    """A document, as its listing tells of it.

    Attributes:
        key: Its key.
        url: Where it is, with secrets masked.
        shown: What the listing says of its version, size and time, in one text that is another one after a change, as
            far as the listing tells; empty where it tells nothing.
        size: Length in bytes, if it is told exactly.
        time: The time that the listing tells, perhaps in a zone of its own.
    """

    key: str
    url: str
    shown: str
    size: int | None = None
    time: datetime | None = None


@dataclass(frozen=True, slots=True)
class UnreadFolder:
    """A folder whose listing cannot be read, so that nobody knows what is in it.

    Attributes:
        key: The folder, ending in ``/``.
        reason: Why.
    """

    key: str
    reason: str


FolderLister = Callable[[str], Iterable[ListedDocument | UnreadFolder | str]]
"""Lists one folder: documents, folders in it as prefixes, and the folder itself where a part of its listing fails."""


class OrderedWalk:
    """A walk over a listing, in the order of its keys.

    Args:
        source: The store to list.
        glob: A pattern for the keys that are wanted.
        exclude: A pattern, or several, for keys to leave out. A folder that ``folder/**`` leaves out is not listed.
        after: The key behind which the walk begins.
        robots: Whether ``robots.txt`` is obeyed, where a web server lists.

    Raises:
        InvalidKey: If a pattern is no glob.
        Unsupported: If the source cannot list.

    Example:
        >>> from anystore import get_store
        >>> store = get_store("memory://walked")
        >>> store.put_many({"b.txt": "2", "a/c.txt": "1"})
        >>> [found.key for found in OrderedWalk(store)], [found.key for found in OrderedWalk(store, after="a/c.txt")]
        (['a/c.txt', 'b.txt'], ['b.txt'])
    """

    def __init__(
        self,
        source: Store,
        *,
        glob: str | None = None,
        exclude: str | Collection[str] = (),
        after: str = "",
        robots: bool = True,
    ) -> None:
        self._backend = source.backend
        self._selection = Selection(None, None, glob)
        self._excluded = [match_glob(one) for one in _several(exclude)]
        self._left_out = [match_glob(one) for one in _several(exclude) if one.endswith("/**")]
        self._after = after
        self._robots = robots

    def __iter__(self) -> Iterator[ListedDocument | UnreadFolder]:
        """Walk; each document is given as soon as it is known.

        Raises:
            BackendError: If the listing breaks off, or is in no order though it should be.
        """
        is_web = type(self._backend).__module__ == "anystore.backends.http"
        last = ""
        for one in self._scan_web(self._after) if is_web else self._scan_store(self._after):
            if one.key <= last:
                raise BackendError(f"{self._backend.uri} lists {one.key!r} behind {last!r}, and not in byte order")
            last = one.key
            if isinstance(one, UnreadFolder) or self._covers(one.key):
                yield one

    def _covers(self, key: str) -> bool:
        return self._selection.covers(key) and not any(matches(key) for matches in self._excluded)

    def _enters(self, folder: str) -> bool:
        """Tell whether something below a folder can be wanted."""
        head = self._selection.folder
        if not (folder.startswith(head) or head.startswith(folder)):
            return False
        return not any(matches(folder + "_") for matches in self._left_out)

    # -- the ways to list in order ---------------------------------------------

    def _scan_web(self, after: str) -> Iterator[ListedDocument | UnreadFolder]:
        lister = load("anystore.crawling.ordered_web").WebLister(self._backend, robots=self._robots)
        return self._walk(lister.list_folder, after)

    def _scan_store(self, after: str) -> Iterator[ListedDocument | UnreadFolder]:
        backend = self._backend
        if Feature.SORTED in backend.features:
            entries = backend.scan(self._selection.folder, Key(after) if after else None)
        elif type(backend).children is Backend.children:  # which would list everything for each folder
            entries = _sorted_on_disk(backend.scan(self._selection.folder), after)
        else:
            return self._walk(self._list_folder, after)
        return (self._found(entry) for entry in entries)

    def _list_folder(self, folder: str) -> Iterator[ListedDocument | UnreadFolder | str]:
        for one in self._backend.children(folder):
            if one == folder:  # how a backend names a folder of which a further page fails
                yield UnreadFolder(folder, "a part of its listing cannot be read")
            else:
                yield one if isinstance(one, str) else self._found(one)

    def _found(self, entry: Entry) -> ListedDocument:
        time = entry.modified
        told = entry.version if entry.version is not None else time and time.isoformat()
        shown = " ".join(str(part) for part in (entry.size, told) if part is not None)
        return ListedDocument(entry.key, self._backend.locate(Key(entry.key)), shown, entry.size, time)

    def _walk(self, list_folder: FolderLister, after: str) -> Iterator[ListedDocument | UnreadFolder]:
        """Go depth first, and into no folder that lies before the key to begin behind."""
        pending: list[ListedDocument | UnreadFolder | str] = [self._selection.folder]
        while pending:
            one = pending.pop()
            if not isinstance(one, str):
                yield one
            elif one.count("/") > _MAX_DEPTH:
                yield UnreadFolder(one, f"it is more than {_MAX_DEPTH} folders deep; probably a link leads back up")
            else:
                try:
                    found = self._behind(after, list_folder(one))
                except AnystoreError as error:
                    if one == self._selection.folder:
                        raise
                    found = [UnreadFolder(one, str(error))]
                if one == "" and found and isinstance(found[0], UnreadFolder):
                    raise BackendError(found[0].reason)
                pending += found

    def _behind(
        self, after: str, listed: Iterable[ListedDocument | UnreadFolder | str]
    ) -> list[ListedDocument | UnreadFolder | str]:
        """Give what lies behind a key, the last first; of a folder that fails in part no more than that it does."""
        found: list[ListedDocument | str] = []
        for one in listed:
            if isinstance(one, UnreadFolder):
                return [one]
            found.append(one)
        behind = [
            one
            for one in found
            if (one.key > after if isinstance(one, ListedDocument) else one > after or after.startswith(one))
            and (isinstance(one, ListedDocument) or self._enters(one))
        ]
        return sorted(behind, key=lambda one: one if isinstance(one, str) else one.key, reverse=True)


def _several(patterns: str | Collection[str]) -> Collection[str]:
    return [patterns] if isinstance(patterns, str) else patterns


def _sorted_on_disk(entries: Iterator[Entry], after: str) -> Iterator[Entry]:
    """Put a listing that is in no order into byte order, without holding it in memory."""
    try:
        with closing(sqlite3.connect("", isolation_level=None)) as database:  # SQLite's own temporary file
            for statement in ("PRAGMA temp_store=FILE", "PRAGMA journal_mode=OFF", _TABLE, "BEGIN"):
                database.execute(statement)
            while batch := list(islice(entries, _BATCH)):
                rows = [(one.key, one.size, one.modified and one.modified.isoformat(), one.version) for one in batch]
                database.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?)", rows)
            query = "SELECT key, size, time, version FROM entries WHERE key > ? ORDER BY key"
            for key, size, time, version in database.execute(query, (after,)):
                yield Entry(key, size, None if time is None else datetime.fromisoformat(time), version)
    except sqlite3.Error as error:
        raise BackendError(
            f"the temporary index of a listing cannot be written ({type(error).__name__}: {error}); make room in the "
            "folder for temporary files, or set TMPDIR to another one"
        ) from error
