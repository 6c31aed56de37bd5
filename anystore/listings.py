"""A listing: an iterator of entries that a notebook shows as a table."""

from collections.abc import Iterator

from anystore.backend import Backend, Entry
from anystore.extras import load
from anystore.keys import Selection


class Entries(Iterator[Entry]):
    """The entries of a listing, read as they are asked for, once.

    Args:
        backend: What is listed.
        selection: The keys that are wanted.

    Example:
        >>> from anystore.backends.memory import MemoryBackend
        >>> from anystore.keys import Key
        >>> backend = MemoryBackend("listed")
        >>> entry = backend.put(Key("a.txt"), b"hello")
        >>> [entry.key for entry in Entries(backend, Selection())]
        ['a.txt']
    """

    def __init__(self, backend: Backend, selection: Selection) -> None:
        self._backend = backend
        self._selection = selection
        covers = selection.covers
        self._entries = (entry for entry in backend.scan(selection.folder) if covers(entry.key))

    def __next__(self) -> Entry:
        """Give the next entry."""
        return next(self._entries)

    def __repr__(self) -> str:
        """Show what is listed."""
        return f"<Entries of {self._backend.uri}>"

    def close(self) -> None:
        """End the listing, and let its connection go."""
        self._entries.close()

    def _repr_html_(self) -> str:
        """Show the first entries of a new listing; this one stays where it is."""
        html: str = load("anystore.notebook").entries_html(self._backend, self._selection)
        return html
