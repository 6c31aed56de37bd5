"""A listing: an iterator of entries that a notebook shows as a table; and what an empty one means."""

from collections.abc import Iterator
from contextlib import suppress

from anystore.backend import Backend, Entry
from anystore.errors import AnystoreError
from anystore.extras import load
from anystore.keys import Selection


def why_missing(backend: Backend) -> str | None:
    """Tell of a store that has listed nothing whether there is no such store; a path with a slip looks the same.

    Args:
        backend: The store.

    Returns:
        What is wrong, in a sentence; None if the store is there, and empty.
    """
    with suppress(AnystoreError):  # it has answered when it was listed
        if not backend.reach():
            return f"{backend.uri} is not there; look for a slip in the name, or for a missing https:// or s3://"
    return None


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
