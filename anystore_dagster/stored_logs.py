"""What steps print, as values in a store: whole once it is complete, and in parts until then.

The output of the log key ``("RUN", "compute_logs", "STEP")`` lies in the folder ``RUN/compute_logs/STEP.logs``: as
``stdout`` and ``stderr``, beside an empty value ``complete``. While it is being written, ``stdout.parts/N`` holds what
begins at byte N, so that nothing is uploaded twice before the end.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote

from anystore import DoesNotExist, Store
from anystore.backend import CHUNK_BYTES
from anystore.keys import parse_key
from anystore_dagster.asset_keys import MAX_KEY_BYTES, escape_name, shorten_key

STREAMS = ("stdout", "stderr")
"""The names of the values in the folder of a log key."""

_ENDING = ".logs"
_OUR_ENDING = re.compile(r"\.(?=(?:logs|hashed)\Z)", re.IGNORECASE)
_COMPLETE = "complete"
_PARTS = ".parts/"
_PART_BYTES = 8 << 20
_FOLDER_BYTES = MAX_KEY_BYTES - 64  # room for the names in the folder
_DIGITS = 15  # names of parts sort as their numbers do, up to a petabyte


class StoredLogs:
    """The output of steps in a store.

    Args:
        store: The store.

    Example:
        >>> from anystore import get_store
        >>> logs = StoredLogs(get_store("memory://logs"))
        >>> logs.is_complete(["run", "compute_logs", "step"])
        False
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def location(self, log_key: Sequence[str], stream: str) -> str:
        """Say where the output is once it is complete, as a URI with secrets masked."""
        return self._store.backend.locate(parse_key(f"{log_folder(log_key)}/{stream}"))

    def is_complete(self, log_key: Sequence[str]) -> bool:
        """Tell whether the capture has ended."""
        return self._store.exists(f"{log_folder(log_key)}/{_COMPLETE}")

    def has_logs(self, log_key: Sequence[str], stream: str, *, partial: bool) -> bool:
        """Tell whether there is output: the whole of it, or a part."""
        key = f"{log_folder(log_key)}/{stream}"
        if partial:
            return next(self._store.iterate_keys(key + _PARTS), None) is not None
        return self._store.exists(key)

    def add_part(self, log_key: Sequence[str], stream: str, *, start: int, file: IO[bytes]) -> int:
        """Store what a file holds from a byte on.

        Args:
            log_key: Dagster's name of the output.
            stream: ``stdout`` or ``stderr``.
            start: Where the part begins that is not stored yet.
            file: What was captured so far.

        Returns:
            Where the next part will begin.
        """
        file.seek(start)
        while data := file.read(_PART_BYTES):
            key = f"{log_folder(log_key)}/{stream}{_PARTS}{start:0{_DIGITS}d}"
            self._store.put(key, data, serialization_mode="raw")
            start += len(data)
        return start

    def finish(self, log_key: Sequence[str], files: dict[str, Path]) -> None:
        """Store the whole output, say that it is complete, and forget the parts.

        Args:
            log_key: Dagster's name of the output.
            files: What was captured, by stream; a file that is empty or not there leaves no value.
        """
        folder = log_folder(log_key)
        for stream, path in files.items():
            if not path.exists() or not path.stat().st_size:
                continue
            with path.open("rb") as source, self._store.open(f"{folder}/{stream}", "wb") as target:
                while data := source.read(CHUNK_BYTES):
                    target.write(data)
        self._store.put(f"{folder}/{_COMPLETE}", b"", serialization_mode="raw")
        for stream in files:
            self._store.delete_prefix(f"{folder}/{stream}{_PARTS}")

    def read(self, log_key: Sequence[str], stream: str, *, start: int, most: int | None) -> bytes | None:
        """Read output from a byte on, whole or not.

        Args:
            log_key: Dagster's name of the output.
            stream: ``stdout`` or ``stderr``.
            start: The first byte.
            most: The most bytes, or None for all.

        Returns:
            The bytes, or None if there is no output yet.
        """
        key = f"{log_folder(log_key)}/{stream}"
        stop = None if most is None else start + most
        whole = self._read_whole(key, start, stop)
        if whole is None:
            whole = self._read_parts(key, start, stop)
        # complete meanwhile: the parts are deleted after the whole was stored
        return self._read_whole(key, start, stop) if whole is None else whole

    def download(self, log_key: Sequence[str], stream: str, path: Path) -> None:
        """Copy output into a file; what is not there leaves an empty one.

        Args:
            log_key: Dagster's name of the output.
            stream: ``stdout`` or ``stderr``.
            path: The file.
        """
        start = 0
        with path.open("wb") as file:
            while data := self.read(log_key, stream, start=start, most=_PART_BYTES):
                start += file.write(data)

    def delete(self, log_key: Sequence[str]) -> None:
        """Delete the output of one log key."""
        self._store.delete_prefix(log_folder(log_key))

    def delete_below(self, prefix: Sequence[str]) -> None:
        """Delete the output of every log key that begins so; the last name is whole, not the head of longer ones."""
        self._store.delete_prefix(_folder(prefix))

    def keys_below(self, prefix: Sequence[str], stream: str) -> list[list[str]]:
        """List the log keys that begin so and have one name more.

        Args:
            prefix: The names that they share.
            stream: ``stdout`` or ``stderr``.

        Returns:
            The log keys that have output, sorted. A name that was too long for a key is not found.
        """
        folder = _folder(prefix) + "/"
        pattern = re.compile(rf"([^/]+){re.escape(_ENDING)}/{stream}(?:{re.escape(_PARTS)}.*)?\Z", re.DOTALL)
        matches = (pattern.match(key[len(folder) :]) for key in self._store.iterate_keys(folder))
        names = {match[1] for match in matches if match and not match[1].endswith(".hashed")}
        return sorted([*prefix, unquote(name, errors="surrogatepass")] for name in names)

    def _read_whole(self, key: str, start: int, stop: int | None) -> bytes | None:
        try:
            return b"".join(self._store.backend.read(parse_key(key), start, stop))
        except DoesNotExist:
            return None

    def _read_parts(self, key: str, start: int, stop: int | None) -> bytes | None:
        begins = sorted(int(name.rpartition("/")[2]) for name in self._store.iterate_keys(key + _PARTS))
        if not begins:
            return None
        try:
            return b"".join(self._pieces(key, begins, start, stop))
        except DoesNotExist:
            return None

    def _pieces(self, key: str, begins: Sequence[int], start: int, stop: int | None) -> Iterator[bytes]:
        for begin, following in zip(begins, [*begins[1:], None], strict=True):
            if (following is not None and following <= start) or (stop is not None and begin >= stop):
                continue
            name = parse_key(f"{key}{_PARTS}{begin:0{_DIGITS}d}")
            # by their places, so that a part that was written twice at different lengths is not read twice
            end: Any = min((bound - begin for bound in (following, stop) if bound is not None), default=None)
            yield from self._store.backend.read(name, max(0, start - begin), end)


def log_folder(log_key: Sequence[str]) -> str:
    """Name the folder of one log key.

    Args:
        log_key: Dagster's name of the output, whose parts may be any text.

    Returns:
        A folder of its own for each log key.

    Example:
        >>> log_folder(["4f1c", "compute_logs", "../step"])
        '4f1c/compute_logs/%2E.%2Fstep.logs'
    """
    folder = _folder(log_key) + _ENDING
    return folder if len(folder.encode()) <= _FOLDER_BYTES else shorten_key("long", folder, ending=_ENDING)


def _folder(names: Sequence[str]) -> str:
    return "/".join(escape_name(name, endings=_OUR_ENDING) for name in names)
