"""What a notebook shows of a store, a listing and an entry.

Only the first keys are read, in a thread that nobody waits for long: showing a store of
a billion values costs what a small one costs, and one that is down shows its error.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from datetime import datetime
from itertools import islice
from threading import Event, Thread

from anystore.backend import Backend, Entry, Feature
from anystore.errors import AnystoreError, ForeignNameWarning
from anystore.keys import Key, Selection
from anystore.legible import readable_size, readable_time
from anystore.markup import MUTED, html_box, html_note, html_problem, html_table, html_text, html_title

_PATIENCE_SECONDS = 3.0
_FIRST_SECONDS = 5.0  # while nothing came: backends try again for a while before they tell what is wrong
_MOST_ENTRIES = 200
_MOST_IN_FOLDER = 10
_MOST_SKIPPED = 20
_MOST_OPEN = 12  # entries of a tree that is shown open
_DEEPEST = 8
_SCROLLED = "max-height:36em;overflow:auto"  # two hundred keys would push the next cell pages away
_LAST = "\U0010ffff"  # no key below a folder comes after it, but for keys that begin with it


def store_html(backend: Backend) -> str:
    """Show where a store is, what it can do, and its first keys as a tree.

    Args:
        backend: The backend of the store.

    Returns:
        HTML; it tells what went wrong, if anything did.

    Example:
        >>> from anystore.backends.memory import MemoryBackend
        >>> backend = MemoryBackend("shown-as-html")
        >>> entry = backend.put(Key("reports/may.txt"), b"fine")
        >>> "may.txt" in store_html(backend)
        True
    """
    sample = _Sample(backend)
    look = _Look(sample.read)
    if sample.features is None:
        features = "features are not known yet"
    else:
        features = " ".join((feature.name or "").lower() for feature in sample.features) or "read"
    entries = look.entries
    tree = _Folder()
    for entry in entries:
        tree.add(entry)
    skipped = tuple(sample.skipped)
    for folder in skipped:
        tree.cut(folder)
    is_complete = len(entries) + len(skipped) < _MOST_ENTRIES
    ending = look.ending(is_complete=is_complete)
    shown = tree.html(is_open=len(entries) <= _MOST_OPEN, is_counted=is_complete and look.has_ended)
    return html_box(
        html_title(backend.uri, note=features), f'<div style="max-width:46em;{_SCROLLED}">{shown}</div>', ending
    )


def entries_html(backend: Backend, selection: Selection) -> str:
    """Show the first entries of a listing as a table.

    Args:
        backend: What is listed.
        selection: The keys that are wanted.

    Returns:
        HTML; it tells what went wrong, if anything did.
    """
    look = _Look(lambda: backend.scan(selection.folder), selection.covers)
    entries = look.entries
    columns = {"key": "left", "size": "right", "modified": "left"}
    rows = [(entry.key, readable_size(entry.size), entry.modified) for entry in entries]
    return html_box(
        html_title(backend.uri, note=selection.folder),
        f'<div style="{_SCROLLED}">{html_table(columns, rows)}</div>' if rows else "",
        look.ending(is_complete=len(entries) < _MOST_ENTRIES),
    )


def entry_html(entry: Entry) -> str:
    """Show what is known of a value.

    Args:
        entry: The entry.

    Returns:
        A table of two columns.
    """
    known = ((field.name, getattr(entry, field.name)) for field in fields(entry))
    rows = [
        (name, value.isoformat(sep=" ", timespec="seconds") if isinstance(value, datetime) else value)
        for name, value in known
        if value is not None
    ]
    return html_table({"entry": "left", "": "left"}, rows)


class _Look:
    """The beginning of a listing: what a thread could read of it in a few seconds."""

    def __init__(self, listing: Callable[[], Iterable[Entry]], covers: Callable[[str], bool] | None = None) -> None:
        self._listing = listing
        self._covers = covers
        self._found: list[Entry] = []
        self._read = 0
        self._problem = "the listing broke off"
        self._is_done, self._is_late = Event(), Event()
        Thread(target=self._run, name="anystore-look", daemon=True).start()
        begun = time.monotonic()
        if not self._is_done.wait(_PATIENCE_SECONDS) and not self._found:
            self._is_done.wait(_FIRST_SECONDS - _PATIENCE_SECONDS)
        self._seconds = time.monotonic() - begun
        if not self._is_done.is_set():
            self._is_late.set()
        self.entries = list(self._found)

    @property
    def has_ended(self) -> bool:
        """Whether the listing came to its end, or to as many entries as are wanted."""
        return self._is_done.is_set() and not self._problem

    def ending(self, *, is_complete: bool) -> str:
        """Tell below the entries why there are no more of them."""
        if not self._is_done.is_set():
            took = f"{self._seconds:.0f} seconds"
            if self._read:
                return html_problem(f"the listing takes longer than {took}; {self._read:,} keys were looked at so far")
            return html_problem(f"no answer in {took}: it may be down; next(store.entries()) waits for the reason")
        if self._problem:
            return html_problem(self._problem)
        if not is_complete:
            return html_note("… and more: only the first keys are shown")
        return "" if self.entries else html_note("no values")

    def _run(self) -> None:
        try:
            for entry in self._listing():
                self._read += 1
                if self._covers is None or self._covers(entry.key):
                    self._found.append(entry)
                if self._is_late.is_set() or len(self._found) == _MOST_ENTRIES:
                    break
            self._problem = ""
        except (AnystoreError, OSError, ForeignNameWarning) as error:
            self._problem = f"{type(error).__name__}: {error}"
        finally:
            self._is_done.set()


class _Sample:
    """The first entries of a store, and of each of its folders, where the backend can skip the rest of one."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.features: Feature | None = None
        self.skipped: list[str] = []

    def read(self) -> Iterator[Entry]:
        """Read entries; the features first, which may take a question to the service."""
        self.features = self._backend.features
        skips = Feature.SORTED in self.features
        after: Key | None = None
        left = _MOST_ENTRIES
        while left > 0:
            folder, inside = "", 0
            listing = self._backend.scan("", after) if after else self._backend.scan()
            for entry in islice(listing, left):
                left -= 1
                top, slash, _ = entry.key.partition("/")
                folder, inside = (top, inside + 1) if top == folder or not inside else (top, 1)
                if slash and skips and inside > _MOST_IN_FOLDER and len(self.skipped) < _MOST_SKIPPED:
                    self.skipped.append(folder)
                    after = Key(f"{folder}/{_LAST}")
                    break
                yield entry
            else:
                return


class _Folder:
    """A folder of the tree that is shown."""

    def __init__(self) -> None:
        self.folders: dict[str, _Folder] = {}
        self.entries: list[tuple[str, Entry]] = []
        self.is_cut = False

    def add(self, entry: Entry) -> None:
        """Put an entry in its place; what lies too deep keeps the rest of its key as its name."""
        *folders, name = entry.key.split("/", _DEEPEST)
        folder = self
        for segment in folders:
            folder = folder.folders.setdefault(segment, _Folder())
        folder.entries.append((name, entry))

    def cut(self, name: str) -> None:
        """Mark a folder of which only the first keys are known."""
        if name in self.folders:  # a listing that is late may have gone on meanwhile
            self.folders[name].is_cut = True

    def count(self) -> int:
        """Count the values that are known, at any depth."""
        return len(self.entries) + sum(folder.count() for folder in self.folders.values())

    def count_text(self) -> str:
        """Tell how many values there are, as far as it is known."""
        number = self.count()
        return f"more than {number:,} values" if self.is_cut else f"{number:,} value" + ("" if number == 1 else "s")

    def html(self, *, is_open: bool, is_counted: bool) -> str:
        """Write the folder's inside; what is known in part only is not counted."""
        parts = []
        for name, folder in sorted(self.folders.items()):
            parts.append(
                f'<details{" open" if is_open else ""} style="margin:0"><summary style="cursor:pointer;'
                f'white-space:nowrap;overflow:hidden;text-overflow:ellipsis">{html_text(name)}/ '
                f'<span style="{MUTED}">{folder.count_text() if is_counted else ""}</span></summary>'
                f'<div style="margin-left:6px;padding-left:12px;border-left:1px solid rgba(128,128,128,.25)">'
                f"{folder.html(is_open=is_open, is_counted=is_counted and not folder.is_cut)}</div></details>"
            )
        parts += [_row(name, entry) for name, entry in sorted(self.entries, key=lambda pair: pair[0])]
        if self.is_cut:
            parts.append(html_note("… and more"))
        return "".join(parts)


def _row(name: str, entry: Entry) -> str:
    style = "white-space:nowrap;overflow:hidden;text-overflow:ellipsis"
    return (
        f'<div style="display:flex;gap:1.5em"><span title="{html_text(entry.key)}" style="flex:1;min-width:0;{style}">'
        f'{html_text(name)}</span><span style="flex:none;width:6em;text-align:right;{style}">'
        f'{html_text(readable_size(entry.size))}</span><span style="flex:none;width:9.5em;{MUTED};{style}">'
        f"{html_text(readable_time(entry.modified))}</span></div>"
    )
