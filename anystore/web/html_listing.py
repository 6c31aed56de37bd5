"""Listings as HTML: nginx, Apache, lighttpd, Caddy, Python, IIS, and pages of links; pure.

A page is only taken for a listing if an adapter knows it: an ordinary page with links is none,
lest its links are taken for files.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import lru_cache
from itertools import chain

from selectolax.lexbor import LexborHTMLParser, LexborNode

from anystore.web.rows import Listing, Row, listing_of, parse_iso
from anystore.web.slices import SLICE_BYTES, sliced
from anystore.web.urls import child_of, link_url, odd_name_of, path_below, resolved

_INVALID_BYTE = re.compile("[\udc80-\udcff]")

_TITLE = re.compile(r"\s*(?:index of|directory listing (?:for|of|:)|directory:|listing of)\s*:?\s*/", re.IGNORECASE)
# What nginx and Apache write: the one pattern spares all others
_USUAL = re.compile(
    r"\s*(?P<time>(?:\d\d-[A-Z][a-z]{2}-\d{4}|\d{4}-\d\d-\d\d) \d\d:\d\d)\s+(?:-|(?P<size>\d{1,19}))\s*",
    re.ASCII,
)
_TIME = re.compile(
    r"\b(?:(?P<day>\d\d)-(?P<month>[A-Z][a-z]{2})-(?P<year>\d{4})"
    r"|(?P<year2>\d{4})-(?P<month2>\d\d|[A-Z][a-z]{2})-(?P<day2>\d\d))"
    r" (?P<hour>\d\d):(?P<minute>\d\d)(?::(?P<second>\d\d))?\b"
)
_IIS_TITLE = re.compile(r"\S+ - /.*", re.DOTALL)
_IIS_BEFORE = re.compile(
    r"(?P<month>\d{1,2})/(?P<day>\d{1,2})/(?P<year>\d{4})\s+(?P<hour>\d{1,2}):(?P<minute>\d\d)\s+(?P<half>[AP])M\s+"
    r"(?:<dir>|(?P<size>\d{1,19}))\s*$"
)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_SIZE = re.compile(r"(?:^|\s)(\d{1,19}(?:\.\d{1,9})?)\s*([KMGTP])?(?:i?B|bytes)?(?=\s|$)", re.IGNORECASE)
_MOST_LINKS_A_ROW = 8  # each is looked up in the whole of its row: a row of all links would take for ever
_TAG = re.compile(rb"<(?!(?:li|tr|td|th|br|hr|img|input|meta|link|dt|dd|col|path|use|option)\b)(/?[a-z][a-z0-9]*)")
_MOST_OPEN = 5000
_SHORT = 128  # characters behind a time that are worth remembering
_UNITS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5}


def parse_html(body: bytes, url: str) -> Listing | None:
    """Read a page of HTML; None if it is no listing."""
    if _is_too_deep(body):
        return None
    slices = sliced(body)
    page = _page(next(slices, b""))
    adapter = next((name for name, knows in _ADAPTERS if knows(page)), None)
    if adapter is None:
        return None
    here, pages = _base(page, url), chain([page], map(_page, slices))
    return listing_of(adapter, chain.from_iterable(_html_rows(one, url, adapter, here) for one in pages), url)


def parse_links(body: bytes, url: str) -> Listing | None:
    """Read any page of HTML: every link below the page's own folder is an entry; None if it is too deep to be read."""
    if _is_too_deep(body):
        return None
    return listing_of("links", _link_rows(_page(body), url), url)


def _is_too_deep(body: bytes) -> bool:
    """Tell whether elements lie in each other as no page has them: a parser needs a time that grows by the square."""
    if body.count(b"<") <= _MOST_OPEN:
        return False
    opened: Counter[bytes] = Counter()
    for start in range(0, len(body), SLICE_BYTES):
        opened.update(_TAG.findall(body[start : start + SLICE_BYTES].lower()))
    return sum(max(count - opened[b"/" + tag], 0) for tag, count in opened.items() if tag[:1] != b"/") > _MOST_OPEN


def _link_rows(page: LexborHTMLParser, url: str) -> Iterator[Row]:
    here = _base(page, url) or url
    folder = url.partition("?")[0].rpartition("/")[0] + "/"
    for link in page.css("a[href]"):
        href = resolved(here, link.attributes.get("href") or "")
        found = path_below(folder, href)
        if found is not None:
            yield Row(found[0], found[1], url=href.partition("#")[0])


def _base(page: LexborHTMLParser, url: str) -> str | None:
    """Give the URL against which the links of a page are resolved, if it says so itself."""
    base = page.css_first("base[href]")
    return resolved(url, base.attributes.get("href") or "") or None if base is not None else None


def _page(body: bytes) -> LexborHTMLParser:
    try:
        return LexborHTMLParser(body.decode())
    except UnicodeDecodeError:
        # A byte that is no text becomes %FF, in a link as elsewhere, so that the name is known as foreign.
        text = body.decode("utf-8", "surrogateescape")
        return LexborHTMLParser(_INVALID_BYTE.sub(lambda sign: f"%{ord(sign[0]) - 0xDC00:02X}", text))


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


def _knows_iis(page: LexborHTMLParser) -> bool:
    if not _IIS_TITLE.fullmatch(_title(page)) or _heading(page) != _title(page):
        return False
    return page.css_first("h1 + hr + pre, body > pre, pre") is not None


_ADAPTERS: tuple[tuple[str, Callable[[LexborHTMLParser], bool]], ...] = (
    ("nginx", _knows_nginx),
    ("python", _knows_python),
    ("lighttpd", _knows_lighttpd),
    ("apache", _knows_apache),
    ("caddy", _knows_caddy),
    ("iis", _knows_iis),
    ("generic", _is_index),
)
_EXACT_SIZES = frozenset({"nginx", "apache", "caddy", "iis"})  # a number without a unit counts bytes there


def _html_rows(page: LexborHTMLParser, url: str, adapter: str, here: str | None) -> Iterator[Row]:
    last_row, links = 0, 0
    is_marked = page.css_first("tr time[datetime], td[data-size]") is not None
    for link in page.css("a[href]"):
        href = link.attributes.get("href") or ""
        row_of_table = _row_of(link)
        if row_of_table is not None:
            links = links + 1 if row_of_table.mem_id == last_row else 1
            last_row = row_of_table.mem_id
        if here is not None:
            href = resolved(here, href)
        child = child_of(url, href)
        if child is None:
            odd = odd_name_of(url, href)
            if odd is not None:
                yield Row(odd, is_folder=False, odd=True)
            continue
        name, is_folder = child
        if adapter == "iis":
            size, size_exact, moment = _details_before(link)
        elif row_of_table is None:
            size, size_exact, moment = _details_behind(link)
        elif links <= _MOST_LINKS_A_ROW:
            size, size_exact, moment = _details(link, row_of_table if is_marked else None)
        else:
            size, size_exact, moment = None, False, None
        row = Row(name, is_folder, modified=moment, url=link_url(url, href))
        yield row.sized(size, exact=size_exact and adapter in _EXACT_SIZES)


def _row_of(link: LexborNode) -> LexborNode | None:
    """Give the row of a table in which a link stands."""
    parent = link.parent
    row = parent.parent if parent is not None and parent.tag == "td" else None
    return row if row is not None and row.tag == "tr" else None


def _details_behind(link: LexborNode) -> tuple[int | None, bool, datetime | None]:
    """Find size and time in the text behind a link."""
    behind = link.next
    return _parse_details(behind.text(deep=False) if behind is not None and behind.tag == "-text" else "")


def _details(link: LexborNode, row: LexborNode | None) -> tuple[int | None, bool, datetime | None]:
    """Find size and time in the cells behind a link, and in what marks its row of a table, where marks are used.

    No time of an HTML page counts as exact: most have no zone or no seconds, and Caddy's is that of a link itself.
    """
    parent = link.parent
    texts, cell = [], parent.next if parent is not None else None
    while cell is not None:
        if cell.tag == "td":
            texts.append(cell.text())
        cell = cell.next
    size, exact, shown = _parse_details(" \n ".join(texts))
    if row is None:
        return size, exact, shown
    stamp = row.css_first("time[datetime]")
    moment = parse_iso(stamp.attributes.get("datetime") or "") if stamp is not None else None
    bare = row.css_first("td[data-size]")
    counted = (bare.attributes.get("data-size") or "") if bare is not None else ""
    if re.fullmatch(r"[0-9]{1,19}", counted):
        size, exact = int(counted), True
    return size, exact, moment or shown


def _details_before(link: LexborNode) -> tuple[int | None, bool, datetime | None]:
    """Find size and time before a link, as IIS writes them in the way of the United States."""
    before = link.prev
    match = _IIS_BEFORE.search(before.text(deep=False)) if before is not None and before.tag == "-text" else None
    if match is None:
        return None, False, None
    hour = int(match["hour"]) % 12 + 12 * (match["half"] == "P")
    try:
        day = datetime(int(match["year"]), int(match["month"]), int(match["day"]), tzinfo=UTC)
        moment = day.replace(hour=hour, minute=int(match["minute"]))
    except ValueError:
        return None, False, None
    return int(match["size"]) if match["size"] else None, True, moment


def _parse_details(text: str) -> tuple[int | None, bool, datetime | None]:
    """Read ``23-Nov-2026 02:07   1.2K`` in the ways that servers write it; the zone is taken for UTC."""
    usual = _USUAL.fullmatch(text)
    if usual:
        moment, size = _time_of(usual["time"]), usual["size"]
        return (None, False, moment) if size is None else (int(size), True, moment)
    moment, stamp = None, _TIME.search(text)
    if stamp:
        moment = _time_of(stamp[0])
        text = text[stamp.end() :]
    size, exact = _remembered_size(text) if len(text) < _SHORT else _size_of(text)
    return size, exact, moment


def _size_of(text: str) -> tuple[int | None, bool]:
    """Read the size at the start of a text, and tell whether it is exact."""
    match = _SIZE.match(text.strip().replace("\xa0", " "))
    if not match:
        return None, False
    unit = (match[2] or "").upper()
    return int(float(match[1]) * 1024 ** _UNITS[unit]), not unit and "." not in match[1]


_remembered_size = lru_cache(maxsize=1024)(_size_of)  # rounded sizes are few


@lru_cache(maxsize=1024)  # what was written together has one time
def _time_of(text: str) -> datetime | None:
    """Read a time; ``strptime`` would read the months in the language of the process."""
    stamp = _TIME.fullmatch(text)
    if stamp is None:
        return None
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
