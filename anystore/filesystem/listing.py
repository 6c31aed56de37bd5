"""What a filesystem is asked about names: is it there, what lies in it, how long is it, has it changed."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from glob import has_magic
from typing import Any, TypeVar

from anystore.backend import Entry
from anystore.errors import DoesNotExist, InvalidKey, InvalidOption, IsAFolder, Unsupported
from anystore.filesystem.identity import StoreIdentity
from anystore.keys import PRIVATE_FOLDER, Key, is_key, parse_key, parse_prefix

Found = TypeVar("Found")
Info = dict[str, Any]


class ListingFileSystem(StoreIdentity):
    """Everything but the values themselves.

    Listings are asked for each time: nothing is remembered, so nothing is ever stale; but for folders that this very
    object was told to make, which no key tells of.
    """

    # -- what is there -----------------------------------------------------------

    def info(self, path: str, *, refresh: bool = True) -> Info:  # noqa: ARG002 - nothing is kept
        """Say what is known of a value or a folder.

        A folder is there as long as a value lies in it, or this object has made it. Where both ``a`` and ``a/b`` are
        values, ``a`` is a file.

        Args:
            path: A key, or a folder.
            refresh: For other filesystems; nothing is remembered here.

        Returns:
            ``name``, ``size`` and ``type`` (``file`` or ``directory``); of a value also ``modified``, ``mtime``,
            ``version``, ``mimetype`` and ``expires``, where the source tells them.

        Raises:
            DoesNotExist: If there is neither.
        """
        name = self._strip_protocol(path)
        if not name:
            return _folder_info("")
        key = _parse(name, self._backend.uri)
        try:
            return _file_info(self._backend.stat(key))
        except DoesNotExist:
            if name not in self._made and not self._is_folder(name):
                raise
            return _folder_info(name)

    def exists(self, path: str, **kwargs: Any) -> bool:
        """Tell whether there is a value or a folder; unlike fsspec's own, a store that is down raises."""
        return self._find_info(path, **kwargs) is not None

    def isdir(self, path: str) -> bool:
        """Tell whether it is a folder: whether a value lies in it, and none is called so."""
        found = self._find_info(path)
        return found is not None and found["type"] == "directory"

    def isfile(self, path: str) -> bool:
        """Tell whether it is a value."""
        name = self._strip_protocol(path)
        return is_key(name) and self._backend.exists(Key(name))

    def ls(self, path: str, detail: bool = True, *, refresh: bool = True) -> list[Any]:  # noqa: ARG002, FBT001, FBT002 - as fsspec calls it
        """List one folder, or the value itself.

        Args:
            path: A folder or a key.
            detail: Whether to give what ``info`` gives, or names alone.
            refresh: For other filesystems; nothing is remembered here.

        Returns:
            Infos or names, in order.

        Raises:
            DoesNotExist: If there is neither.
        """
        name = self._strip_protocol(path)
        found = sorted(self._children(name), key=lambda info: info["name"])
        if not found and name and name not in self._made:
            found = [self.info(name)]
        return found if detail else [info["name"] for info in found]

    def find(
        self,
        path: str,
        maxdepth: int | None = None,
        withdirs: bool = False,  # noqa: FBT001, FBT002 - as fsspec calls it
        detail: bool = False,  # noqa: FBT001, FBT002
        *,
        refresh: bool = True,  # noqa: ARG002
    ) -> Any:
        """List everything below a folder, in one listing.

        Args:
            path: A folder, or a key.
            maxdepth: How many levels to go down; None for all.
            withdirs: Whether folders are listed, too.
            detail: Whether to give what ``info`` gives, or names alone.
            refresh: For other filesystems; nothing is remembered here.

        Returns:
            Names in order, or a dictionary from names to infos.

        Raises:
            InvalidOption: If ``maxdepth`` is below 1.
        """
        if maxdepth is not None and maxdepth < 1:
            raise InvalidOption(f"maxdepth has to be at least 1, not {maxdepth!r}")
        name = self._strip_protocol(path)
        found: dict[str, Info] = {}
        if maxdepth is None:
            for entry in self._backend.scan(_prefix(name)):
                found.setdefault(entry.key, _file_info(entry))
                if withdirs:
                    _add_folders(entry.key, len(name) + 1 if name else 0, found)
        else:
            self._descend(name, maxdepth, found, withdirs=withdirs)
        if withdirs:
            start, most = (len(name) + 1 if name else 0), (maxdepth or 0) - 1
            for folder in self._made.below(name):
                if maxdepth is None or folder.count("/", start) <= most:
                    found.setdefault(folder, _folder_info(folder))
            if name and (found or name in self._made):
                found.setdefault(name, _folder_info(name))
        if name and (not found or withdirs) and self.isfile(name):
            found[name] = self.info(name)
        names = sorted(found)
        return {each: found[each] for each in names} if detail else names

    def expand_path(
        self,
        path: Any,
        recursive: bool = False,  # noqa: FBT001, FBT002 - as fsspec calls it
        maxdepth: int | None = None,
        assume_literal: bool = False,  # noqa: FBT001, FBT002
    ) -> list[str]:
        """Give the names that a path, a pattern or a list of them means.

        A name with ``*``, ``?`` or ``[`` in it is a pattern only where nothing is called so: who deletes the value
        ``a*`` does not mean ``ab``.

        Args:
            path: What is meant.
            recursive: Whether everything below is meant, too.
            maxdepth: How many levels to go down.
            assume_literal: Whether nothing is a pattern.

        Returns:
            Names, in order.

        Raises:
            FileNotFoundError: If a pattern, or a folder to go down, means nothing.
        """
        paths = [path] if isinstance(path, str) or not isinstance(path, Iterable) else list(path)
        names = [self._strip_protocol(each) for each in paths]
        literal = [name for name in names if assume_literal or self._is_literal(name)]
        patterns = [name for name in names if name not in literal]
        found: list[str] = []
        if literal or not patterns:
            found += super().expand_path(literal, recursive, maxdepth, assume_literal=True)
        if patterns:
            try:
                found += super().expand_path(patterns, recursive, maxdepth)
            except FileNotFoundError:
                if not found:
                    raise
        return sorted(set(found))

    def _is_literal(self, name: str) -> bool:
        return not has_magic(name) or self._find_info(name) is not None

    def _needs_aim(self, path: Any) -> bool:
        """Tell whether fsspec would not know what becomes of a path: a key like a pattern, or a name at the top."""
        if not isinstance(path, str) or path.endswith("/"):
            return False
        return self.isfile(path) if has_magic(path) else "/" not in self._strip_protocol(path)

    def walk(
        self,
        path: str,
        maxdepth: int | None = None,
        topdown: bool = True,  # noqa: FBT001, FBT002 - as fsspec calls it
        on_error: Any = "omit",
        **kwargs: Any,
    ) -> Iterator[tuple[str, Any, Any]]:
        """Walk folder by folder, like ``os.walk``; unlike fsspec's own, a store that is down raises.

        Args:
            path: Where to begin.
            maxdepth: How many levels to go down; None for all.
            topdown: Whether a folder comes before what is in it.
            on_error: ``omit`` for nothing where there is no such folder, ``raise``, or a function of the error.
            **kwargs: ``detail`` for infos in place of names.

        Yields:
            A folder, the folders in it, and the values in it.
        """
        yield from super().walk(
            path, maxdepth, topdown, on_error=_raise_unless_missing if on_error == "omit" else on_error, **kwargs
        )

    def du(
        self,
        path: str,
        total: bool = True,  # noqa: FBT001, FBT002 - as fsspec calls it
        maxdepth: int | None = None,
        withdirs: bool = False,  # noqa: FBT001, FBT002
        **kwargs: Any,
    ) -> Any:
        """Sum the sizes below a folder, from one listing.

        Args:
            path: A folder, or a key.
            total: Whether to give the sum, or each size.
            maxdepth: How many levels to go down; None for all.
            withdirs: Whether folders are counted, with a size of 0.
            **kwargs: As for ``find``.

        Returns:
            Bytes, or a dictionary from names to bytes.

        Raises:
            Unsupported: If the source does not say how long a value is.
        """
        found = self.find(path, maxdepth=maxdepth, withdirs=withdirs, detail=True, **kwargs)
        sizes: dict[str, int] = {}
        for name, info in found.items():
            size = info["size"] if info["size"] is not None else self.size(name)
            if size is None:
                raise Unsupported(f"{self._backend.uri} does not say how long {name!r} is; read the value to count")
            sizes[name] = size
        return sum(sizes.values()) if total else sizes

    def modified(self, path: str) -> datetime:
        """Give the time of the last change, aware, in UTC.

        Where the source keeps none, as Redis does, it is the present: the latest there can be, so that nobody takes
        the value for unchanged. DuckDB reads no file without such a time. ``info`` tells none then.

        Raises:
            DoesNotExist: If there is no value.
        """
        found = self._store.info(self._strip_protocol(path)).modified
        return datetime.now(UTC) if found is None else found

    def created(self, path: str) -> datetime:
        """Refuse: values are replaced whole, and no store keeps when the first one was written."""
        raise Unsupported(f"{self._backend.uri} keeps no time of creation of {path!r}; use modified()")

    def sign(self, path: str, expiration: int = 100, **kwargs: Any) -> str:  # noqa: ARG002 - as fsspec calls it
        """Refuse: a store gives no URL that lets others in."""
        raise Unsupported(f"{self._backend.uri} signs no URL for {path!r}; use the service's own tools")

    def ukey(self, path: str) -> str:
        """Give a text that changes with the value.

        It is made of size, time and version. Where the source tells neither time nor version, the value is read.

        Raises:
            DoesNotExist: If there is no value.
        """
        entry = self._store.info(self._strip_protocol(path))
        if entry.version is None and entry.modified is None:
            return self._store.checksum(entry.key)
        return hashlib.sha256(repr((entry.key, entry.size, entry.modified, entry.version)).encode()).hexdigest()

    def checksum(self, path: str) -> int:
        """Give ``ukey`` as a number."""
        return int(self.ukey(path), 16)

    # -- steps -----------------------------------------------------------------------

    def _key(self, path: str) -> Key:
        """Give the key of a path that is to be read or written."""
        name = self._strip_protocol(path)
        if not name:
            raise IsAFolder(f"{self._backend.uri} is a folder, and a value is wanted; name one in it")
        return parse_key(name)

    def _finding(self, key: Key, find: Callable[[], Found]) -> Found:
        """Say that it is a folder, where a value was looked for."""
        try:
            return find()
        except DoesNotExist:
            if key in self._made or self._is_folder(key):
                raise self._why_missing(key, is_folder=True) from None
            raise

    def _why_missing(self, key: Key, *, is_folder: bool | None = None) -> DoesNotExist | IsAFolder:
        if self._is_folder(key) if is_folder is None else is_folder:
            return IsAFolder(f"{key!r} in {self._backend.uri} is a folder, and a value is wanted; list it with ls()")
        return self._backend.missing(key)

    def _is_folder(self, name: str) -> bool:
        try:
            return next(iter(self._backend.keys(_prefix(name))), None) is not None
        except Unsupported:  # without listings there are no folders
            return False

    def _find_info(self, path: str, **kwargs: Any) -> Info | None:
        try:
            return self.info(path, **kwargs)
        except DoesNotExist:
            return None

    def _children(self, name: str) -> Iterator[Info]:
        if name and not is_key(name):
            return
        start = len(name) + 1 if name else 0
        made = {folder for folder in self._made.below(name) if "/" not in folder[start:]}
        for child in self._backend.children(_prefix(name)):
            if isinstance(child, str):
                made.discard(child[:-1])
                yield _folder_info(child[:-1])
            else:
                yield _file_info(child)
        yield from map(_folder_info, made)

    def _descend(self, name: str, depth: int, found: dict[str, Info], *, withdirs: bool) -> None:
        for info in self._children(name):
            is_folder = info["type"] == "directory"
            if not is_folder:
                found[info["name"]] = info
            elif withdirs:
                found.setdefault(info["name"], info)
            if is_folder and depth > 1:
                self._descend(info["name"], depth - 1, found, withdirs=withdirs)


def _parse(name: str, uri: str) -> Key:
    """Check a name that is looked for; what cannot be a key is not there."""
    try:
        return parse_key(name)
    except InvalidKey as error:
        raise DoesNotExist(f"there is nothing under {name!r} in {uri}: {error}") from error


def _prefix(name: str) -> str:
    return "" if not name else parse_prefix(name) if is_key(name) else f"{PRIVATE_FOLDER}/"  # where nothing is listed


def _file_info(entry: Entry) -> Info:
    info: Info = {"name": entry.key, "size": entry.size, "type": "file"}
    if entry.modified is not None:
        info |= {"modified": entry.modified, "mtime": entry.modified.timestamp()}
    told = {"version": entry.version, "mimetype": entry.mimetype, "expires": entry.expires}
    return info | {name: value for name, value in told.items() if value is not None}


def _folder_info(name: str) -> Info:
    return {"name": name, "size": 0, "type": "directory"}


def _add_folders(key: str, start: int, found: dict[str, Info]) -> None:
    """Add the folders between a key and the one that is listed, the innermost first."""
    slash = key.rfind("/")
    while slash > start and key[:slash] not in found:
        found[key[:slash]] = _folder_info(key[:slash])
        slash = key.rfind("/", 0, slash)


def _raise_unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
