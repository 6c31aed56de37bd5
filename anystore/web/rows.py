"""What every adapter makes of a listing: rows, which become entries with names and URLs; pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

from anystore.web.urls import join_url


@dataclass(slots=True)
class ListedEntry:
    """One line of a listing; not frozen, which would make it five times as dear, and there are as many as documents.

    Attributes:
        name: The name, decoded; of a bucket, a sitemap or a page of links a path, with slashes inside.
        url: Its URL, in our own spelling; a folder's ends in ``/``.
        is_folder: Whether it is a folder.
        size: Length in bytes, as far as the page tells it.
        size_exact: Whether the size is exact, and not rounded to ``1.2K``.
        modified: Time of the last change, aware, in UTC.
        modified_exact: Whether it is exact to the second, and its time zone known.
    """

    name: str
    url: str
    is_folder: bool
    size: int | None = None
    size_exact: bool = False
    modified: datetime | None = None
    modified_exact: bool = False


@dataclass(frozen=True, slots=True)
class Listing:
    """A folder, as a server lists it.

    Attributes:
        adapter: Name of the adapter that knew the page, such as ``nginx``.
        entries: Files and folders, each once, in the order of the page.
        foreign: Names that no key can have: with a slash or a backslash inside, and the like.
        undecoded: Files and folders whose names are no text; what is no text in them is left percent-encoded.
        more: URLs of further pages of the same listing.
    """

    adapter: str
    entries: tuple[ListedEntry, ...]
    foreign: tuple[str, ...]
    more: tuple[str, ...] = ()
    undecoded: tuple[ListedEntry, ...] = ()


@dataclass(slots=True)
class Row:
    """What a page says of one name, before the name is decoded.

    Attributes:
        name: The name.
        is_folder: Whether it is a folder.
        size: As in :class:`ListedEntry`.
        size_exact: As there.
        modified: As there.
        modified_exact: As there.
        url: Its URL, where that is not made of the name.
        odd: Whether no file can have this name, so that it is only to be reported.
    """

    name: bytes
    is_folder: bool
    size: int | None = None
    size_exact: bool = False
    modified: datetime | None = None
    modified_exact: bool = False
    url: str | None = None
    odd: bool = False

    def sized(self, size: object, *, exact: bool) -> "Row":
        """Add a size, if it is one, and if this is no folder; give the row."""
        if not self.is_folder and type(size) is int and size >= 0:
            self.size, self.size_exact = size, exact
        return self


def listing_of(adapter: str, rows: Iterable[Row], url: str, *, more: tuple[str, ...] = ()) -> Listing:
    """Decode the names; of a name that stands twice, the line that says more counts.

    Args:
        adapter: Who read the page.
        rows: What it says.
        url: Where it was found.
        more: URLs of further pages.
    """
    entries: dict[tuple[str, bool], ListedEntry] = {}  # a bucket may have a value and a folder of one name
    foreign: dict[str, None] = {}
    undecoded: dict[str, ListedEntry] = {}
    for row in rows:
        if row.odd:
            foreign[row.name.decode("utf-8", "backslashreplace")] = None
            continue
        if b"\\" in row.name:  # a separator on some systems, and to some servers
            foreign[row.name.decode("utf-8", "backslashreplace")] = None
            continue
        try:
            name = row.name.decode()
        except UnicodeDecodeError:
            entry = _undecoded(row, url)
            undecoded.setdefault(entry.name, entry)
            continue
        target = row.url or join_url(url, name + "/" if row.is_folder else name)
        entry = ListedEntry(name, target, row.is_folder, row.size, row.size_exact, row.modified, row.modified_exact)
        known = entries.get((name, row.is_folder))
        if known is None or (known.size is None and known.modified is None):
            entries[name, row.is_folder] = entry
    return Listing(adapter, tuple(entries.values()), tuple(foreign), more, tuple(undecoded.values()))


def _undecoded(row: Row, url: str) -> ListedEntry:
    r"""Name a file whose name is no text, so that no two of them become one: ``caf\xe9`` is ``caf%E9``."""
    name = "/".join(map(_escaped, row.name.split(b"/")))
    head, mark, query = url.partition("?")
    encoded = quote(row.name, safe="/") + "/" * row.is_folder
    target = row.url or f"{head.rstrip('/')}/{encoded}{mark}{query}"
    return ListedEntry(name, target, row.is_folder, row.size, row.size_exact, row.modified, row.modified_exact)


def _escaped(segment: bytes) -> str:
    try:
        return segment.decode()
    except UnicodeDecodeError:
        text = segment.replace(b"%", b"%25").decode("utf-8", "surrogateescape")
        return "".join(f"%{ord(sign) - 0xDC00:02X}" if "\udc80" <= sign <= "\udcff" else sign for sign in text)


def is_plain(name: bytes) -> bool:
    """Tell whether a name that was not taken from a link is one segment."""
    return name not in (b"", b".", b"..") and b"/" not in name and b"\0" not in name


def parse_iso(text: str) -> datetime | None:
    """Read an ISO time with its zone, cut to seconds like ``Last-Modified``."""
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC).replace(microsecond=0) if moment.tzinfo else None
    except (ValueError, OverflowError):  # the latter at the ends of the calendar
        return None
