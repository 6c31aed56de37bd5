"""One side's listing, read with suspicion: what it left out, whether it came to its end, and in which order."""

import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from itertools import islice

from anystore.backend import Backend, Entry
from anystore.errors import AnystoreError, ForeignNameWarning
from anystore.keys import Key, Selection, is_private
from anystore.retries import can_pass, pauses

_LARGEST_BATCH = 1000

# Recording warnings changes what the process does with all of them, so that two must not do it at once.
_RECORDING = threading.Lock()


def _renew_lock() -> None:
    global _RECORDING  # noqa: PLW0603 - a held lock cannot be released in a forked child
    _RECORDING = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)


class Disorder(Exception):
    """A listing that was to be in byte order is not."""


class Listing:
    """The entries of one side.

    Args:
        backend: The side.
        selection: Which keys it is about.
        retries: How often one that broke off is gone on with, where it can be.
        before_waiting: Called before more of the listing is asked for.

    Attributes:
        complete: Whether the listing was read to its end.
        failure: What kept it from its end, or None.
        foreign: What it said about names that it left out.
        count: How many entries there were.
    """

    def __init__(
        self, backend: Backend, selection: Selection, *, retries: int, before_waiting: Callable[[], object]
    ) -> None:
        self.complete = False
        self.failure: str | None = None
        self.foreign: list[str] = []
        self.count = 0
        self._backend = backend
        self._selection = selection
        self._retries = retries
        self._before_waiting = before_waiting
        self._entries = backend.scan(selection.folder)

    def entries(self, *, ordered: bool) -> Iterator[Entry]:
        """Give the entries; after an error there are no more.

        Args:
            ordered: Whether they have to be in byte order.

        Raises:
            Disorder: If they have to, and are not.
        """
        last, covers = "", self._selection.covers
        for batch in self._batches(ordered=ordered):
            for entry in batch:
                key = entry.key
                if ordered:
                    if key <= last:
                        raise Disorder(f"{self._backend.uri} lists {key!r} behind {last!r}")
                    last = key
                if covers(key) and not is_private(key):
                    self.count += 1
                    yield entry

    def _batches(self, *, ordered: bool) -> Iterator[list[Entry]]:
        """Read the listing in batches that grow, so that a slow one is worked on from its start."""
        size, last, waits = 1, "", pauses(self._retries)
        while True:
            batch, error = self._next(size)
            if batch:
                last, waits = batch[-1].key, pauses(self._retries)
                yield batch
            elif error is None:
                self.complete = True
                return
            if error is not None:
                # where there is an order, the rest is behind the last key; else all would come once more
                pause = next(waits, None) if can_pass(error) and (ordered or not last) else None
                if pause is None:
                    self.failure = f"the listing of {self._backend.uri} broke off: {error}"
                    return
                time.sleep(pause)
                self._entries = self._backend.scan(self._selection.folder, Key(last) if last else None)
            size = min(2 * size, _LARGEST_BATCH)
            self._before_waiting()

    def _next(self, size: int) -> tuple[list[Entry], AnystoreError | None]:
        """Read some entries, and what keeps the listing from going on."""
        batch: list[Entry] = []
        failure: AnystoreError | None = None
        with _RECORDING:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", ForeignNameWarning)
                try:
                    batch.extend(islice(self._entries, size))  # keeps what came before an error
                except AnystoreError as error:
                    failure = error
            for warning in caught:
                if issubclass(warning.category, ForeignNameWarning):
                    self.foreign.append(str(warning.message))
                else:
                    warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        return batch, failure
