"""The folders that a walk has met and not read yet, in their order; those that are many wait on disk."""

import json
import tempfile
from collections import deque
from dataclasses import dataclass, field
from typing import IO

from anystore.errors import BackendError

_IN_MEMORY = 5000


@dataclass(frozen=True, slots=True)
class Page:
    """A folder of which the listing is to be read.

    Attributes:
        folder: Its key, ``""`` or ending in ``/``.
        url: Its URL, with whatever secrets that holds.
        depth: How many folders deep it is.
        trail: What tells the listings above it apart.
        is_seed: Whether the walk begins here.
    """

    folder: str
    url: str = field(repr=False)
    depth: int
    trail: tuple[bytes, ...] = ()
    is_seed: bool = False


class Frontier:
    """A queue of folders: the first and the last of them in memory, the others in a temporary file.

    Args:
        most: How many at each end are in memory.

    Example:
        >>> frontier = Frontier(most=1)
        >>> for depth in range(4):
        ...     frontier.add(Page("a/", "https://host/a/", depth))
        >>> [frontier.take().depth for _ in range(len(frontier))]
        [0, 1, 2, 3]
    """

    def __init__(self, *, most: int = _IN_MEMORY) -> None:
        self._most = most
        self._first: deque[Page] = deque()
        self._last: deque[Page] = deque()
        self._file: IO[bytes] | None = None
        self._on_disk = 0
        self._read_to = 0

    def __len__(self) -> int:
        return len(self._first) + self._on_disk + len(self._last)

    def add(self, page: Page) -> None:
        """Put a folder behind all others.

        Raises:
            BackendError: If there is no room for the temporary file.
        """
        if not self._on_disk and not self._last and len(self._first) < self._most:
            self._first.append(page)
            return
        self._last.append(page)
        if len(self._last) >= self._most:
            self._write()

    def take(self) -> Page:
        """Give the first folder, which is then forgotten.

        Raises:
            IndexError: If there is none.
        """
        if not self._first:
            self._first = self._read() if self._on_disk else self._last
            if self._first is self._last:
                self._last = deque()
        return self._first.popleft()

    def clear(self) -> None:
        """Forget all folders."""
        self._first.clear()
        self._last.clear()
        self._on_disk = self._read_to = 0
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self) -> None:
        lines = [json.dumps((one.folder, one.url, one.depth, [mark.hex() for mark in one.trail])) for one in self._last]
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by clear
            self._file.seek(0, 2)
            self._file.write(b"".join(line.encode() + b"\n" for line in lines))
            self._file.flush()
        except OSError as error:
            raise BackendError(
                f"the folders that are still to be read cannot be written down ({error}); make room in the folder for "
                "temporary files, or set TMPDIR to another one"
            ) from error
        self._on_disk += len(lines)
        self._last.clear()

    def _read(self) -> deque[Page]:
        if self._file is None:
            raise AssertionError(self._on_disk)
        self._file.seek(self._read_to)
        pages: deque[Page] = deque()
        while self._on_disk and len(pages) < self._most:
            folder, url, depth, trail = json.loads(self._file.readline())
            pages.append(Page(folder, url, depth, tuple(map(bytes.fromhex, trail))))
            self._on_disk -= 1
        self._read_to = self._file.tell() if self._on_disk else 0
        if not self._on_disk:
            self._file.truncate(0)
        return pages
