"""A whole listing, folder by folder, as lazily as it is read."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from anystore.errors import AnystoreError, BackendError, DoesNotExist
from anystore.keys import PRIVATE_FOLDER, is_key
from anystore.web.client import Client
from anystore.web.listing import ListedEntry, Listing, is_cut_off, parse_listing
from anystore.web.urls import decoded_path, join_url, masked_url, origin_of, undecoded_url

MAX_DEPTH = 40
"""Folders in folders; deeper ones are nearly always a link that leads back up."""

MAX_FOLDERS = 1_000_000
"""The most folders of one walk."""

_MAX_PAGE_BYTES = 32 << 20
_ACCEPT = {"Accept": "application/json, text/html;q=0.9, application/xml;q=0.8, */*;q=0.1"}
_WEBDAV = {"Depth": "1"}
_INDEX = "index.html"


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file that was met on the way.

    Attributes:
        key: Its path below the URL where the walk began.
        url: Its URL.
        size: Length in bytes, if the listing tells it exactly.
        modified: Time of the last change, aware, in UTC, if the listing tells it exactly.
        shown_size: Length as the listing shows it, perhaps rounded.
        shown_modified: Time as the listing shows it, perhaps to the minute and in an unknown zone.
        hides_folder: Whether the server shows this file in place of its folder, so that
            whatever lies beside it cannot be seen.
    """

    key: str
    url: str
    size: int | None = None
    modified: datetime | None = None
    shown_size: int | None = None
    shown_modified: datetime | None = None
    hides_folder: bool = False


@dataclass(frozen=True, slots=True)
class Problem:
    """A part of the listing that could not be read; the walk goes on behind it.

    Attributes:
        key: The folder, ending in ``/``, or the name.
        error: What went wrong.
        foreign: Whether it is a name that cannot be a key, and not a folder that failed.
    """

    key: str
    error: AnystoreError
    foreign: bool = False


def walk(
    client: Client, url: str, *, prefix: str = "", max_depth: int = MAX_DEPTH, max_folders: int = MAX_FOLDERS
) -> Iterator[ListedFile | Problem]:
    """Walk a listing depth first; each folder is fetched once, and only when the walk gets there.

    Names are sorted inside each folder, a folder as if its name ended in ``/``, so that
    keys come in byte order.

    Args:
        client: Fetches the pages.
        url: Where keys begin.
        prefix: The folder to start in, ``""`` or ending in ``/``.
        max_depth: How deep to go below ``url``; a deeper folder is a problem, not a silence.
        max_folders: The most folders to fetch; the next one is a problem, and ends the walk.

    Returns:
        Every file, and every folder or name that could not be read.

    Raises:
        DoesNotExist: If there is no page for the first folder; raised by the first step.
        BackendError: If the first page cannot be fetched, or the page at ``url`` is no listing.
    """
    pending: list[tuple[str, ListedEntry | None, str | None]] = [(prefix, None, None)]  # a stack, the next one last
    fetched, by_webdav = 0, False
    while pending:
        folder, file, page = pending.pop()
        if file is not None:
            yield _listed_file(folder, file)
            continue
        problem = _limit(url, folder, fetched, max_depth=max_depth, max_folders=max_folders)
        if problem:
            yield problem
            if fetched >= max_folders:
                return
            continue
        fetched += 1
        try:
            if fetched == 1:
                listing, by_webdav = _fetch_first(client, url, folder)
            else:
                listing = _fetch_folder(client, url, folder, page, by_webdav=by_webdav)
        except AnystoreError as error:
            if fetched == 1:
                raise
            yield Problem(folder, error)
            continue
        if listing is not None:
            yield from _foreign_names(url, folder, listing)
            pending += [(folder, None, one) for one in reversed(listing.more) if origin_of(one) == origin_of(url)]
            pending += _below(folder, listing)
        elif not folder:
            raise BackendError(
                f"{masked_url(join_url(url, folder))} is a page, but no listing that can be read: "
                "give the URL of a folder that the server lists (Apache, nginx, lighttpd, Caddy, Python)"
            )
        else:
            key = folder + _INDEX
            yield ListedFile(key, join_url(url, key), hides_folder=True)


def _fetch_first(client: Client, url: str, folder: str) -> tuple[Listing | None, bool]:
    """Fetch the page of the first folder, if need be by WebDAV; tell whether it took that."""
    listing: Listing | None = None
    failure: AnystoreError | None = None
    try:
        listing = _fetch_folder(client, url, folder, None)
    except (BackendError, DoesNotExist) as error:  # the latter is what Apache says of a folder that WebDAV lists
        failure = error
    if listing is not None:
        return listing, False
    with suppress(AnystoreError):  # then the first answer tells more
        listing = _fetch_folder(client, url, folder, None, by_webdav=True)
    if listing is None and failure is not None:
        raise failure
    return listing, listing is not None


def _fetch_folder(
    client: Client, url: str, folder: str, page: str | None, *, by_webdav: bool = False
) -> Listing | None:
    """Fetch the page of a folder; one whose name is no text has another URL than its key tells."""
    try:
        return fetch_listing(client, page or join_url(url, folder), moved=not folder, by_webdav=by_webdav)
    except DoesNotExist:
        other = undecoded_url(url, folder) if page is None else None
        if other is None:
            raise
        return fetch_listing(client, other, moved=False, by_webdav=by_webdav)


def fetch_listing(client: Client, url: str, *, moved: bool = True, by_webdav: bool = False) -> Listing | None:
    """Fetch the page of one folder, and read it.

    Args:
        client: Fetches the page.
        url: URL of the folder, ending in ``/``, but for a query.
        moved: Whether the server may answer from another path.
        by_webdav: Whether it is asked by ``PROPFIND``.

    Returns:
        The listing, or None if the page is none.

    Raises:
        DoesNotExist: If there is no such page.
        BackendError: If it cannot be fetched, or was moved.
    """
    method, headers = ("PROPFIND", _WEBDAV) if by_webdav else ("GET", _ACCEPT)
    answer = client.request(method, url, headers=headers)
    try:
        if not moved and decoded_path(answer.url) != decoded_path(url):
            moved_to = masked_url(answer.url)
            raise BackendError(f"{masked_url(url)} is a folder that redirects to {moved_to}; list that one")
        body = answer.read(limit=_MAX_PAGE_BYTES)
    finally:
        answer.close()
    if is_cut_off(body, answer.headers):
        raise BackendError(f"{masked_url(answer.url)} told no length, and its page has no end; it may be cut off")
    return parse_listing(body, url=answer.url, content_type=answer.headers.get("content-type", ""))


def _below(folder: str, listing: Listing) -> list[tuple[str, ListedEntry | None, str | None]]:
    """Give what a folder holds, for a stack: the last name first; of equal names, the one that is text as it stands."""
    names = {
        (entry.name, entry.is_folder): entry
        for entry in (*listing.undecoded, *listing.entries)
        if is_key(folder + entry.name)
    }
    ordered = sorted(names.values(), key=lambda entry: entry.name + "/" * entry.is_folder, reverse=True)
    return [
        (f"{folder}{entry.name}/", None, entry.url) if entry.is_folder else (folder, entry, None) for entry in ordered
    ]


def _foreign_names(url: str, folder: str, listing: Listing) -> Iterator[Problem]:
    """Report names that are not text, or make no key; what is ours is passed over."""
    refused = [
        entry.name
        for entry in (*listing.entries, *listing.undecoded)
        if not is_key(folder + entry.name) and folder + entry.name != PRIVATE_FOLDER
    ]
    plain = {entry.name for entry in listing.entries}
    twins = [entry.name for entry in listing.undecoded if entry.name in plain]  # one key would stand for two files
    for name in (*listing.foreign, *twins, *refused):
        shown = f"{folder}{name}"
        where = masked_url(join_url(url, folder))
        yield Problem(shown, BackendError(f"{where} lists a name that cannot be a key: {name!a}"), foreign=True)


def _limit(url: str, folder: str, fetched: int, *, max_depth: int, max_folders: int) -> Problem | None:
    where = masked_url(join_url(url, folder))
    if folder.count("/") > max_depth:
        return Problem(folder, BackendError(f"{where} is over {max_depth} folders deep; probably a link leads back up"))
    if fetched >= max_folders:
        return Problem(folder, BackendError(f"{where} and the rest are left out: {max_folders:,} folders are the most"))
    return None


def _listed_file(folder: str, entry: ListedEntry) -> ListedFile:
    return ListedFile(
        key=folder + entry.name,
        url=entry.url,
        size=entry.size if entry.size_exact else None,
        modified=entry.modified if entry.modified_exact else None,
        shown_size=entry.size,
        shown_modified=entry.modified,
    )
