"""What a page of a web server's listing says, before the run sees it; pure."""

import hashlib
import zlib
from datetime import datetime
from functools import lru_cache

from anystore.crawling.tasks import Listed
from anystore.errors import BackendError
from anystore.web.fetcher import Fetched
from anystore.web.listing import ListedEntry, Listing
from anystore.web.urls import is_folder_of, masked_url, redirect_target

MAX_PAGE_BYTES = 32 << 20
"""The most that is taken of a listing, packed or not."""

_PIECE_BYTES = 1 << 20
_MOST_EQUAL = 3


def listed_of(key: str, entry: ListedEntry) -> Listed:
    """Give a line of a listing as the run takes it."""
    shown = None
    if entry.modified is not None:
        shown = f"{entry.size}{'' if entry.size_exact else '~'} {_shown(entry.modified)}"
    return Listed(
        key=key,
        url=masked_url(entry.url),
        shown=shown,
        size=entry.size if entry.size_exact else None,
        time=entry.modified,
        fine=entry.modified_exact or (entry.modified is not None and entry.modified.second != 0),
    )


@lru_cache(maxsize=1024)  # documents come in lots, and what is written together has one time
def _shown(moment: datetime) -> str:
    return moment.isoformat()[:19]


def signature(listing: Listing) -> bytes:
    """Give what tells two listings apart, in this process: equal times have equal hashes here alone."""
    lines = [f"{one.name}\0{one.is_folder:d}\0{one.size}\0{hash(one.modified)}" for one in listing.entries]
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=16).digest()


def is_loop(listing: Listing, times: int) -> bool:
    """Tell whether a listing that was met above some times means that a link leads back up.

    The same files, of the same sizes and times, are no coincidence. Folders alone may well lie in each other under
    one name, so that a single one is followed as deep as folders go.
    """
    if any(not entry.is_folder for entry in listing.entries):
        return times > 0
    return len(listing.entries) > 1 and times >= _MOST_EQUAL


def leads_into_folder(url: str, location: str) -> bool:
    """Tell whether a redirect leads from a document to a folder of the same name."""
    try:
        return is_folder_of(redirect_target(url, location), url)
    except BackendError:
        return False


def page_of(answer: Fetched) -> bytes:
    """Give the page of an answer, unpacked as far as it may go."""
    where, body = masked_url(answer.url), answer.body
    packed = answer.headers.get("content-encoding", "identity").strip().lower()
    if body is not None and packed in ("gzip", "x-gzip", "deflate"):
        try:
            body = _unpacked(body)
        except zlib.error as error:
            raise BackendError(f"{where} is packed as {packed}, and cannot be unpacked: {error}") from error
    elif packed not in ("", "identity"):
        raise BackendError(f"{where} is packed as {packed}, though it was asked for as it is")
    if body is None:
        raise BackendError(f"{where} is longer than {MAX_PAGE_BYTES:,} bytes, the most that is taken of a listing")
    return body


def _unpacked(body: bytes) -> bytes | None:
    """Unpack a page; None if it is too long."""
    unpacking = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    pieces, size = [], 0
    while piece := unpacking.decompress(body, _PIECE_BYTES):
        pieces.append(piece)
        size += len(piece)
        if size > MAX_PAGE_BYTES:
            return None
        body = unpacking.unconsumed_tail
    if not unpacking.eof:
        raise zlib.error("it ends too early")
    return b"".join(pieces)
