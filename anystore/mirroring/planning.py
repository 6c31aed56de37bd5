"""Two listings side by side, in memory that does not grow with them."""

from collections.abc import Iterator

from anystore.backend import Entry
from anystore.mirroring.index import Index
from anystore.mirroring.listing import Listing

Pair = tuple[Entry | None, Entry | None]
"""What source and target have under one key; one of both may be None."""


def merge(source: Listing, target: Listing) -> Iterator[Pair]:
    """Merge two listings that are in byte order, in constant memory.

    A key without a value on the other side is given only while the other listing is known to be
    whole up to there, so that a listing that broke off makes nothing look missing.

    Args:
        source: What is to be.
        target: What there is.

    Returns:
        A pair for each key.

    Raises:
        Disorder: If one of them is in another order; what was given until then may be wrong about what is missing.
    """
    ours, theirs = source.entries(ordered=True), target.entries(ordered=True)
    theirs_next = next(theirs, None)
    for entry in ours:
        while theirs_next is not None and theirs_next.key < entry.key:
            yield None, theirs_next
            theirs_next = next(theirs, None)
        if theirs_next is None and not target.complete:
            return
        if theirs_next is not None and theirs_next.key == entry.key:
            yield entry, theirs_next
            theirs_next = next(theirs, None)
        else:
            yield entry, None
    while source.complete and theirs_next is not None:
        yield None, theirs_next
        theirs_next = next(theirs, None)


def look_up(source: Listing, target: Listing) -> Iterator[Pair]:
    """Compare two listings in any order, by an index of the target on disk.

    Args:
        source: What is to be.
        target: What there is.

    Returns:
        A pair for each key; those that only the target has come last.

    Raises:
        BackendError: If the index cannot be written.
    """
    index = Index()
    try:
        index.load(target.entries(ordered=False))
        if not target.complete:
            return
        for entry in source.entries(ordered=False):
            found, seen_before = index.find(entry.key)
            if not seen_before:
                yield entry, found
        if source.complete:
            for entry in index.rest():
                yield None, entry
    finally:
        index.close()
