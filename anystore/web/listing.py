"""The page on which a web server lists a folder -> its entries; pure.

Each kind of server has an adapter. A page is only taken for a listing if an adapter
knows it: an ordinary page with links is none, lest its links are taken for files.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from html import unescape

from selectolax.lexbor import LexborHTMLParser, LexborNode

from anystore.web.headers import parse_http_date
from anystore.web.urls import child_of, join_url


@dataclass(frozen=True, slots=True)
class ListedEntry:
    """One line of a listing.

    Attributes:
        name: The name, decoded, without a slash.
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
        entries: Files and folders, each name once, in the order of the page.
        foreign: Names that are no text, as they stand in the links.
    """

    adapter: str
    entries: tuple[ListedEntry, ...]
    foreign: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Row:
    """What a page says of one name, before the name is decoded."""

    name: bytes
    is_folder: bool
    size: int | None = None
    size_exact: bool = False
    modified: datetime | None = None
    modified_exact: bool = False

    def sized(self, size: object, *, exact: bool) -> "_Row":
        """Add a size, if it is one, and if this is no folder."""
        if self.is_folder or type(size) is not int or size < 0:
            return self
        return _Row(self.name, self.is_folder, size, exact, self.modified, self.modified_exact)


def parse_listing(body: bytes, *, url: str, content_type: str = "") -> Listing | None:
    """Read the listing of a folder.

    Args:
        body: The page.
        url: Where it was found, behind all redirects; links are resolved against it.
        content_type: The header of that name.

    Returns:
        What lies directly in the folder; None if the page is no listing that is known.

    Example:
        >>> page = b'<title>Index of /f/</title><h1>Index of /f/</h1><hr><pre><a href="a%20b">a b</a></pre>'
        >>> [entry.name for entry in parse_listing(page, url="https://host/f/").entries]
        ['a b']
    """
    kind = content_type.partition(";")[0].strip().lower()
    start = body[:512].lstrip(b"\xef\xbb\xbf \t\r\n")
    if kind == "application/json" or (not kind and start.startswith(b"[")):
        return _parse_json(body, url)
    if kind in ("text/xml", "application/xml") or (not kind and start.startswith(b"<?xml")):
        return _parse_xml(body, url)
    if kind in ("text/html", "application/xhtml+xml") or (not kind and start.startswith(b"<")):
        return _parse_html(body, url)
    return None


def _listing(adapter: str, rows: Iterator[_Row], url: str) -> Listing:
    """Decode the names; of a name that stands twice, the line that says more counts."""
    entries: dict[str, ListedEntry] = {}
    foreign: dict[str, None] = {}
    for row in rows:
        try:
            name = row.name.decode()
        except UnicodeDecodeError:
            foreign[row.name.decode("ascii", "backslashreplace")] = None
            continue
        target = join_url(url, name + "/" if row.is_folder else name)
        entry = ListedEntry(name, target, row.is_folder, row.size, row.size_exact, row.modified, row.modified_exact)
        known = entries.get(name)
        if known is None or (known.size is None and known.modified is None):
            entries[name] = entry
    return Listing(adapter, tuple(entries.values()), tuple(foreign))


def _is_plain(name: bytes) -> bool:
    """Tell whether a name that was not taken from a link is one segment."""
    return name not in (b"", b".", b"..") and b"/" not in name and b"\0" not in name


# -- JSON and XML ---------------------------------------------------------------

_INVALID_BYTE = re.compile("[\udc80-\udcff]")


def _name_bytes(text: str) -> bytes:
    """Give the bytes of a name that was read with ``surrogateescape``; what is no text stays no text."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _parse_json(body: bytes, url: str) -> Listing | None:
    try:
        # Not orjson: nginx writes names that are not UTF-8 as they are, and one must not cost the whole folder.
        items = json.loads(body.decode("utf-8", "surrogateescape").removeprefix("\ufeff"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(items, list):
        return None
    if not all(isinstance(item, dict) and isinstance(item.get("name"), str) for item in items):
        return None
    if all("type" in item and "mtime" in item for item in items):
        return _listing("nginx-json", _nginx_rows(items), url)
    if all("url" in item and "mod_time" in item for item in items):
        return _listing("caddy-json", _caddy_rows(items, url), url)
    return None


def _nginx_rows(items: list[dict[str, object]]) -> Iterator[_Row]:
    for item in items:
        name = _name_bytes(str(item["name"]))
        if not _is_plain(name) or item["type"] not in ("file", "directory"):
            continue  # "other" is a socket, a pipe or a dangling link: nothing that could be fetched
        moment = parse_http_date(str(item["mtime"]))
        yield _Row(name, item["type"] == "directory", modified=moment, modified_exact=moment is not None).sized(
            item.get("size"), exact=True
        )


def _caddy_rows(items: list[dict[str, object]], url: str) -> Iterator[_Row]:
    for item in items:
        child = child_of(url, str(item.get("url")))  # in the name, bytes that are no text are replaced
        if child is None:
            continue
        exact = not item.get("is_symlink")  # what is said of a link may be said of the link itself
        moment = _parse_iso(str(item["mod_time"]))
        row = _Row(child[0], child[1], modified=moment, modified_exact=exact and moment is not None)
        yield row.sized(item.get("size"), exact=exact)


_XML_PAGE = re.compile(rb"(?:\xef\xbb\xbf)?\s*<\?xml[^>]*\?>\s*<list>(.*)</list>\s*", re.DOTALL)
_XML_ROW = re.compile(
    rb'\s*<(?P<type>directory|file|other) mtime="(?P<mtime>[^"<]*)"(?: size="(?P<size>\d{1,19})")?>'
    rb"(?P<name>[^<]*)</(?P=type)>"
)


def _parse_xml(body: bytes, url: str) -> Listing | None:
    """Read nginx's XML.

    It is no XML as soon as a name holds a control character or is not UTF-8, and an XML parser would refuse
    the whole folder; so its few forms are matched as they are. There are no entities or DOCTYPEs to fear.
    """
    page = _XML_PAGE.fullmatch(body)
    if not page:
        return None
    rows, position = [], 0
    while match := _XML_ROW.match(page[1], position):
        position = match.end()
        name = unescape(match["name"].decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
        if match["type"] == b"other" or not _is_plain(name):
            continue
        moment = _parse_iso(match["mtime"].decode("latin-1"))
        row = _Row(name, match["type"] == b"directory", modified=moment, modified_exact=moment is not None)
        rows.append(row.sized(int(match["size"]) if match["size"] else None, exact=True))
    if page[1][position:].strip():
        return None
    return _listing("nginx-xml", iter(rows), url)


def _parse_iso(text: str) -> datetime | None:
    """Read an ISO time with its zone, cut to seconds like ``Last-Modified``."""
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC).replace(microsecond=0) if moment.tzinfo else None
    except (ValueError, OverflowError):  # the latter at the ends of the calendar
        return None


# -- HTML -----------------------------------------------------------------------

_TITLE = re.compile(r"\s*(?:index of|directory listing (?:for|of|:)|directory:|listing of)\s*:?\s*/", re.IGNORECASE)
_TIME = re.compile(
    r"\b(?:(?P<day>\d\d)-(?P<month>[A-Z][a-z]{2})-(?P<year>\d{4})"
    r"|(?P<year2>\d{4})-(?P<month2>\d\d|[A-Z][a-z]{2})-(?P<day2>\d\d))"
    r" (?P<hour>\d\d):(?P<minute>\d\d)(?::(?P<second>\d\d))?\b"
)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_SIZE = re.compile(r"(?:^|\s)(\d{1,19}(?:\.\d{1,9})?)\s*([KMGTP])?(?:i?B|bytes)?(?=\s|$)", re.IGNORECASE)
_UNITS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5}


def _parse_html(body: bytes, url: str) -> Listing | None:
    # A byte that is no text becomes %FF, in a link as elsewhere, so that the name is known as foreign.
    text = body.decode("utf-8", "surrogateescape")
    page = LexborHTMLParser(_INVALID_BYTE.sub(lambda sign: f"%{ord(sign[0]) - 0xDC00:02X}", text))
    adapter = next((name for name, knows in _ADAPTERS if knows(page)), None)
    if adapter is None:
        return None
    return _listing(adapter, _html_rows(page, url, adapter), url)


def _title(page: LexborHTMLParser) -> str:
    node = page.css_first("title")
    return node.text() if node else ""


def _heading(page: LexborHTMLParser) -> str:
    node = page.css_first("h1")
    return node.text() if node else ""


def _is_index(page: LexborHTMLParser) -> bool:
    """Title and heading of a listing; a book's ``Index of plants`` names no path and is none."""
    return bool(_TITLE.match(_title(page)))


def _knows_nginx(page: LexborHTMLParser) -> bool:
    if not _is_index(page) or _heading(page) != _title(page):
        return False
    first = page.css_first("h1 + hr + pre > a")
    return first is not None and first.attributes.get("href") == "../"


def _knows_python(page: LexborHTMLParser) -> bool:
    return _title(page).startswith("Directory listing for ") and page.css_first("h1 + hr + ul") is not None


def _knows_apache(page: LexborHTMLParser) -> bool:
    if not _is_index(page) or not _heading(page).startswith("Index of"):
        return False
    sorts = page.css_first("a[href^='?C=']") is not None
    return sorts or page.css_first("table#indexlist, pre > img, h1 + ul, h1 + table, h1 + pre") is not None


def _knows_lighttpd(page: LexborHTMLParser) -> bool:
    return _is_index(page) and page.css_first("div.list > table td.n") is not None


def _knows_caddy(page: LexborHTMLParser) -> bool:
    return page.css_first("div.listing table, main .listing, div.listing") is not None and (
        page.css_first("tr.file time[datetime], a[href^='./?sort='], a[href^='?sort=']") is not None
    )


_ADAPTERS: tuple[tuple[str, Callable[[LexborHTMLParser], bool]], ...] = (
    ("nginx", _knows_nginx),
    ("python", _knows_python),
    ("lighttpd", _knows_lighttpd),
    ("apache", _knows_apache),
    ("caddy", _knows_caddy),
    ("generic", _is_index),
)
_EXACT_SIZES = frozenset({"nginx", "apache", "caddy"})  # a number without a unit counts bytes there


def _html_rows(page: LexborHTMLParser, url: str, adapter: str) -> Iterator[_Row]:
    for link in page.css("a[href]"):
        child = child_of(url, link.attributes.get("href") or "")
        if child is None:
            continue
        name, is_folder = child
        size, size_exact, moment = _details(link)
        row = _Row(name, is_folder, modified=moment)
        yield row.sized(size, exact=size_exact and adapter in _EXACT_SIZES)


def _details(link: LexborNode) -> tuple[int | None, bool, datetime | None]:
    """Find size and time behind a link: in its row of a table, or in the text that follows it.

    No time of an HTML page counts as exact: most have no zone or no seconds, and Caddy's is that of a link itself.
    """
    parent = link.parent
    row = parent.parent if parent is not None and parent.tag == "td" else None
    if row is None or row.tag != "tr":
        behind = link.next
        text = behind.text(deep=False) if behind is not None and behind.tag == "-text" else ""
        return _parse_details(text)
    stamp = row.css_first("time[datetime]")
    moment = _parse_iso(stamp.attributes.get("datetime") or "") if stamp is not None else None
    bare = row.css_first("td[data-size]")
    counted = (bare.attributes.get("data-size") or "") if bare is not None else ""
    texts, cell = [], parent.next if parent is not None else None
    while cell is not None:
        if cell.tag == "td":
            texts.append(cell.text())
        cell = cell.next
    size, exact, shown = _parse_details(" \n ".join(texts))
    if re.fullmatch(r"[0-9]{1,19}", counted):
        size, exact = int(counted), True
    return size, exact, moment or shown


def _parse_details(text: str) -> tuple[int | None, bool, datetime | None]:
    """Read ``23-Nov-2026 02:07   1.2K`` in the ways that servers write it; the zone is taken for UTC."""
    moment, stamp = None, _TIME.search(text)
    if stamp:
        moment = _moment(stamp)
        text = text[stamp.end() :]
    match = _SIZE.match(text.strip().replace("\xa0", " "))
    if not match:
        return None, False, moment
    unit = (match[2] or "").upper()
    return int(float(match[1]) * 1024 ** _UNITS[unit]), not unit and "." not in match[1], moment


def _moment(stamp: re.Match[str]) -> datetime | None:
    """Make a time of its parts; ``strptime`` would read the months in the language of the process."""
    month = stamp["month"] or stamp["month2"]
    try:
        return datetime(
            int(stamp["year"] or stamp["year2"]),
            int(month) if month.isdecimal() else _MONTHS.index(month) + 1,
            int(stamp["day"] or stamp["day2"]),
            int(stamp["hour"]),
            int(stamp["minute"]),
            int(stamp["second"] or 0),
            tzinfo=UTC,
        )
    except ValueError:
        return None
