"""What a filesystem is asked for: values, whole or in parts, one or many."""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from glob import has_magic
from pathlib import Path
from secrets import token_hex
from typing import Any

from fsspec.callbacks import DEFAULT_CALLBACK

from anystore.errors import InvalidOption, IsAFolder, VersionMismatch
from anystore.filesystem.listing import ListingFileSystem
from anystore.keys import Key


class ReadingFileSystem(ListingFileSystem):
    """Values, in one version each."""

    def cat_file(self, path: str, start: int | None = None, end: int | None = None) -> bytes:
        """Read a value, or a part of it, of one version.

        Args:
            path: The key.
            start: First byte; below 0 from the end.
            end: First byte not read; below 0 from the end, None for all the rest.

        Returns:
            The bytes.

        Raises:
            DoesNotExist: If there is no value.
            IsAFolder: If it is a folder.
        """
        key = self._key(path)
        if not start and end is None:
            return self._finding(key, lambda: self._backend.get(key))
        if (start or 0) >= 0 and (end is None or end >= 0):
            return self._finding(key, lambda: b"".join(self._backend.read(key, start or 0, end)))
        return self._finding(key, lambda: self._read_ranges(key, [(start, end)])[0])

    def cat(
        self,
        path: Any,
        recursive: bool = False,  # noqa: FBT001, FBT002 - as fsspec calls it
        on_error: str = "raise",
        *,
        start: int | None = None,
        end: int | None = None,
    ) -> Any:
        """Read one value, or many at once.

        Args:
            path: A key, a pattern, or a list of them.
            recursive: Whether everything below is read.
            on_error: ``raise``, ``omit`` or ``return`` for values that cannot be read.
            start: As for ``cat_file``.
            end: As for ``cat_file``.

        Returns:
            The bytes; a dictionary from keys to bytes for a list, a pattern or a folder.

        Raises:
            DoesNotExist: If there is no value, and ``on_error`` is ``raise``.
            InvalidOption: If ``on_error`` is something else.
        """
        if on_error not in ("raise", "omit", "return"):
            raise InvalidOption(f"on_error is 'raise', 'omit' or 'return', not {on_error!r}")
        names = self.expand_path(path, recursive=recursive)
        if len(names) == 1 and not isinstance(path, list) and names[0] == self._strip_protocol(path):
            return self.cat_file(names[0], start, end)
        if recursive:  # the folders on the way are no values
            names = [name for name in names if name]
        whole = not start and end is None
        read = self._read_many(names) if whole else self._read_parts(names, start, end)
        found: dict[str, Any] = {}
        for name, data in read:
            if isinstance(data, bytes):
                found[name] = data
            elif recursive and isinstance(data, IsAFolder):
                continue
            elif on_error == "raise":
                raise data
            elif on_error == "return":
                found[name] = data
        return found

    def cat_ranges(
        self,
        paths: list[str],
        starts: Any,
        ends: Any,
        max_gap: int | None = None,  # noqa: ARG002 - what is read between two ranges is the backend's affair
        on_error: str = "return",
    ) -> list[Any]:
        """Read parts of values; all parts of one value are of one version.

        Args:
            paths: The keys; one for each part.
            starts: First bytes, or one for all.
            ends: First bytes not read, or one for all.
            max_gap: For other filesystems.
            on_error: ``return`` for errors in place of bytes, or ``raise``.

        Returns:
            The parts, in this order.

        Raises:
            InvalidOption: If there are not as many starts and ends as paths.
        """
        starts = starts if isinstance(starts, Iterable) else [starts] * len(paths)
        ends = ends if isinstance(ends, Iterable) else [ends] * len(paths)
        ranges = list(zip(starts, ends, strict=False))
        if len(ranges) != len(paths):
            raise InvalidOption(f"cat_ranges needs a start and an end for each of {len(paths):,} paths")
        wanted: dict[str, list[int]] = {}
        for number, path in enumerate(paths):
            wanted.setdefault(path, []).append(number)
        parts: list[Any] = [None] * len(paths)
        for path, numbers in wanted.items():
            try:
                found: list[Any] = list(self._find_ranges(path, [ranges[number] for number in numbers]))
            except (OSError, ValueError, RuntimeError) as error:
                if on_error != "return":
                    raise
                found = [error] * len(numbers)
            for number, part in zip(numbers, found, strict=True):
                parts[number] = part
        return parts

    def get(
        self,
        rpath: Any,
        lpath: Any,
        recursive: bool = False,  # noqa: FBT001, FBT002 - as fsspec calls it
        callback: Any = DEFAULT_CALLBACK,
        maxdepth: int | None = None,
    ) -> Any:
        """Copy values to local files.

        Args:
            rpath: A key, a folder, a pattern, or a list.
            lpath: The file, or the folder; or a list.
            recursive: Whether folders are copied.
            callback: Told of the progress.
            maxdepth: How many levels to go down.

        Raises:
            DoesNotExist: If there is nothing to copy.
        """
        if isinstance(lpath, str | os.PathLike) and self._needs_aim(rpath):
            lpath = os.fspath(lpath)
            if lpath.endswith(os.sep) or Path(lpath).is_dir():
                lpath = str(Path(lpath, self._strip_protocol(rpath).rpartition("/")[2]))
            if has_magic(rpath):
                rpath, lpath = [rpath], [lpath]
        return super().get(rpath, lpath, recursive, callback, maxdepth)

    def get_file(
        self,
        rpath: str,
        lpath: Any = None,
        callback: Any = DEFAULT_CALLBACK,
        outfile: Any = None,
    ) -> None:
        """Copy a value to a local file, which is there whole, or as it was.

        Args:
            rpath: The key.
            lpath: Path of the file, or a file object.
            callback: Told of the progress.
            outfile: A file object to write to.

        Raises:
            DoesNotExist: If there is no value.
        """
        target = lpath if outfile is None and hasattr(lpath, "write") else outfile
        if target is not None:
            self._copy_out(rpath, target, callback)
            return
        local = Path(lpath)
        if not self.isfile(rpath) and self.isdir(rpath):
            local.mkdir(parents=True, exist_ok=True)
            return
        local.parent.mkdir(parents=True, exist_ok=True)
        if local.exists() and not local.is_file():  # a device or a pipe is written as it is; a folder refuses
            with local.open("wb") as file:
                self._copy_out(rpath, file, callback)
            return
        temporary = local.with_name(f".{token_hex(8)}.part")
        try:
            with temporary.open("xb") as file:
                self._copy_out(rpath, file, callback)
            temporary.replace(os.path.realpath(local))
        finally:
            with suppress(FileNotFoundError):
                temporary.unlink()

    # -- steps -----------------------------------------------------------------------

    def _copy_out(self, rpath: str, target: Any, callback: Any) -> None:
        key = self._key(rpath)
        with self._finding(key, lambda: self._backend.reader(key)) as reader:
            callback.set_size(reader.entry.size)
            copied = 0
            for piece in reader.read():
                target.write(piece)
                copied += len(piece)
                callback.relative_update(len(piece))
            if reader.entry.size not in (None, copied):
                raise VersionMismatch(f"{key!r} in {self._backend.uri} changed while it was copied; copy it again")

    def _read_many(self, names: list[str]) -> Iterator[tuple[str, bytes | Exception]]:
        for name, data in self._backend.get_many(self._key(name) for name in names):
            yield name, self._why_missing(Key(name)) if data is None else data

    def _read_parts(
        self, names: list[str], start: int | None, end: int | None
    ) -> Iterator[tuple[str, bytes | Exception]]:
        for name in names:
            try:
                data: bytes | Exception = self.cat_file(name, start, end)
            except (OSError, ValueError, RuntimeError) as error:
                data = error
            yield name, data

    def _find_ranges(self, path: str, ranges: list[tuple[int | None, int | None]]) -> list[bytes]:
        key = self._key(path)
        return self._finding(key, lambda: self._read_ranges(key, ranges))

    def _read_ranges(self, key: Key, ranges: list[tuple[int | None, int | None]]) -> list[bytes]:
        with self._backend.reader(key) as reader:
            size = reader.entry.size
            if size is None or not reader.seekable:
                whole = b"".join(reader.read())
                return [whole[start:end] for start, end in ranges]
            found = []
            for start, end in ranges:
                first, last, _ = slice(start, end).indices(size)
                found.append(b"".join(reader.read(first, last)) if first < last else b"")
            return found
