"""Listing a container, page by page."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import obstore
from obstore.exceptions import InvalidPathError

from anystore.backend import Entry
from anystore.backends.objects.service import ERRORS, Service
from anystore.backends.objects.values import entry_of
from anystore.errors import BackendError
from anystore.keys import is_private

_PAGE = 1000
_LOOKS_AT_ONCE = 16


def scan(service: Service, prefix: str, after: str | None) -> Iterator[Entry]:
    """List what lies below a prefix.

    An object of no bytes may be the mark of a folder, ``folder/``, which other tools leave and obstore lists as
    ``folder``; so each one is looked at, and marks, which hold no value, are passed over.

    Args:
        service: The container.
        prefix: ``""``, or a folder ending in ``/``.
        after: Start behind this key.

    Returns:
        An entry for each key.

    Raises:
        InvalidKey: If obstore cannot ask for the prefix.
        BackendError: If the listing fails; also if obstore cannot read a name in it, since it then goes no further.
    """
    folder = service.folder(prefix)
    if folder is None:
        return
    offset = None if after is None else service.name(after)
    kind, cut = service.configuration.kind, len(service.root)
    for page in _pages(service, folder, offset):
        objects = [meta for meta in page if meta["path"].startswith(folder)]
        marks = _find_marks(service, [meta["path"] for meta in objects if not meta["size"]])
        for meta in objects:
            key = meta["path"][cut:]
            if meta["size"]:
                yield_it = True
            else:
                yield_it = meta["path"] not in marks
                marks.add(meta["path"])  # beside a value without bytes, its folder may be marked, too
            if yield_it and not is_private(key):
                yield entry_of(key, meta, kind=kind)


def list_folder(service: Service, prefix: str) -> Iterator[Entry | str]:
    """List one folder; what lies deeper is not asked for.

    Args:
        service: The container.
        prefix: ``""``, or a folder ending in ``/``.

    Returns:
        An entry for each value in it, and the prefix of each folder.

    Raises:
        InvalidKey: If obstore cannot ask for the prefix.
        BackendError: If the listing fails.
    """
    folder = service.folder(prefix)
    if folder is None:
        return
    with service.errors("list", key=folder):
        service.check_process()
        found = obstore.list_with_delimiter(service.store, folder or None)
    kind, cut = service.configuration.kind, len(service.root)
    objects = [meta for meta in found["objects"] if meta["path"].startswith(folder)]
    marks = _find_marks(service, [meta["path"] for meta in objects if not meta["size"]])
    for meta in objects:
        if meta["size"] or meta["path"] not in marks:
            yield entry_of(meta["path"][cut:], meta, kind=kind)
    names = [name[cut:] + "/" for name in found["common_prefixes"]]
    yield from _drop_empty(service, [name for name in names if not is_private(name)])


def _drop_empty(service: Service, folders: list[str]) -> list[str]:
    """Leave out folders in which no value lies: services with files below go on listing those that were emptied."""
    if not folders or not service.configuration.endpoint:
        return folders

    def holds_value(folder: str) -> bool:
        return next(scan(service, folder, None), None) is not None

    with ThreadPoolExecutor(min(_LOOKS_AT_ONCE, len(folders))) as pool:
        return [folder for folder, holds in zip(folders, pool.map(holds_value, folders), strict=True) if holds]


def _pages(service: Service, folder: str, offset: str | None) -> Iterator[Sequence[Any]]:
    pages: Any = None
    while True:
        try:
            service.check_process()
            with service.errors("list", key=folder):
                pages = pages or iter(obstore.list(service.store, folder or None, offset=offset, chunk_size=_PAGE))
                page = next(pages, None)
        except BackendError as error:
            if isinstance(error.__cause__, InvalidPathError):
                raise BackendError(
                    f"{service.configuration.uri}: the listing meets a name that is no key, and cannot go on: "
                    f"{str(error.__cause__).partition(chr(10) * 2)[0]!a}; rename or delete that object by other means, "
                    "or list a folder without it, or open the store through fsspec ('fsspec+s3://…')"
                ) from error.__cause__
            raise
        if page is None:
            return
        yield page


def _find_marks(service: Service, names: list[str]) -> set[str]:
    """Find the names that no object has: it is the name with a ``/`` behind it that is there."""
    if not names:
        return set()

    def is_there(name: str) -> bool:
        try:
            obstore.head(service.store, name)
        except FileNotFoundError:
            return False
        except ERRORS as error:
            raise service.failure(error, "look at", key=name) from service.cause(error)
        return True

    with ThreadPoolExecutor(min(_LOOKS_AT_ONCE, len(names))) as pool:
        return {name for name, there in zip(names, pool.map(is_there, names), strict=True) if not there}
