"""Listings as XML: nginx, S3, WebDAV and sitemaps; pure.

Nothing is taken that declares entities of its own, and a long page is read piece by piece.
"""

import re
from collections.abc import Iterator
from html import unescape
from io import BytesIO
from urllib.parse import parse_qsl, unquote_plus, unquote_to_bytes, urlencode
from xml.etree.ElementTree import Element, ParseError, iterparse

from anystore.web.headers import parse_http_date
from anystore.web.rows import Listing, Row, is_plain, listing_of, parse_iso
from anystore.web.urls import child_of, is_url, link_url, odd_name_of, path_below, resolved

_START_BYTES = 4096
_INDEX = b"index.html"
_LISTING_QUERY = frozenset(
    {"prefix", "delimiter", "list-type", "marker", "continuation-token", "max-keys", "start-after", "encoding-type"}
)
_ROOT = re.compile(rb"<(?:[A-Za-z0-9_-]+:)?(ListBucketResult|multistatus|urlset|sitemapindex)[\s>]")
_NEVER = re.compile(rb"<!(?:DOCTYPE|ENTITY)")


def parse_xml(body: bytes, url: str) -> Listing | None:
    """Read a page of XML; None if it is no listing."""
    if b"\0" in body[:_START_BYTES]:  # in UTF-16 the patterns below would not see a DOCTYPE
        return None
    root = _ROOT.search(body[:_START_BYTES])
    if root is None:
        return _parse_nginx(body, url)
    if _NEVER.search(body):
        return None
    try:
        match root[1]:
            case b"ListBucketResult":
                return _parse_bucket(body, url)
            case b"multistatus":
                return listing_of("webdav", _webdav_rows(body, url), url)
            case b"urlset":
                return listing_of("sitemap", _sitemap_rows(body, url), url)
            case _:
                return _parse_sitemaps(body, url)
    except ParseError:
        return None


# -- what all have in common ----------------------------------------------------


def _elements(body: bytes, *names: str) -> Iterator[Element]:
    """Yield the elements of some names right below the root, and forget each one after it was used."""
    depth, root = 0, None
    for event, element in _events(body):
        if event == "start":
            depth += 1
            root = element if depth == 1 else root
            continue
        depth -= 1
        if depth == 1 and _plain(element) in names:
            yield element
        if depth == 1 and root is not None:
            root.clear()


def _events(body: bytes) -> Iterator[tuple[str, Element]]:
    """Parse a page; an encoding that Python does not know, or cannot read here, is like any other fault of a page."""
    try:
        yield from iterparse(BytesIO(body), events=("start", "end"))  # noqa: S314 - parse_xml() lets no entities come here
    except (LookupError, ValueError) as error:
        raise ParseError(str(error)) from error


def _plain(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _child(element: Element, name: str) -> Element | None:
    return next((one for one in element.iter() if one is not element and _plain(one) == name), None)


def _text(element: Element, name: str) -> str:
    found = _child(element, name)
    return (found.text or "").strip() if found is not None else ""


def _size(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,19}", text) else None


# -- buckets --------------------------------------------------------------------


def _parse_bucket(body: bytes, url: str) -> Listing:
    """Read one page of S3's own listing of a bucket; all keys of the bucket are below its URL."""
    base, _, query = url.partition("?")
    asked = dict(parse_qsl(query, keep_blank_values=True))
    rest = urlencode({name: text for name, text in asked.items() if name not in _LISTING_QUERY})
    folder = base + (f"?{rest}" if rest else "")
    rows, said, last = [], {}, ""
    names = ("Contents", "CommonPrefixes", "IsTruncated", "NextContinuationToken", "NextMarker", "EncodingType")
    for element in _elements(body, *names):
        kind = _plain(element)
        if kind not in ("Contents", "CommonPrefixes"):
            said[kind] = (element.text or "").strip()
            continue
        is_folder = kind == "CommonPrefixes"
        found = _child(element, "Prefix" if is_folder else "Key")
        key = (found.text or "") if found is not None else ""
        last = key
        moment = parse_iso(_text(element, "LastModified"))
        row = Row(key.encode(), is_folder, modified=moment, modified_exact=moment is not None)
        rows.append(row.sized(_size(_text(element, "Size")), exact=True))
    encoded = said.get("EncodingType") == "url" or asked.get("encoding-type") == "url"
    more: tuple[str, ...] = ()
    if said.get("IsTruncated") == "true":
        marker = {"marker": said.get("NextMarker") or (unquote_plus(last) if encoded else last)}
        if "NextContinuationToken" in said:
            marker = {"list-type": "2", "continuation-token": said["NextContinuationToken"]}
        more = (f"{base}?{urlencode(asked | marker)}",)
    return listing_of("s3", (one for one in _bucket_rows(rows, encoded=encoded)), folder, more=more)


def _bucket_rows(rows: list[Row], *, encoded: bool) -> Iterator[Row]:
    for row in rows:
        name = unquote_to_bytes(row.name.replace(b"+", b" ")) if encoded else row.name
        if row.is_folder or not name.endswith(b"/"):  # an empty value that stands for a folder
            yield Row(
                name.removesuffix(b"/"), row.is_folder, row.size, row.size_exact, row.modified, row.modified_exact
            )


# -- WebDAV ---------------------------------------------------------------------


def _webdav_rows(body: bytes, url: str) -> Iterator[Row]:
    for element in _elements(body, "response"):
        href = _text(element, "href")
        child, odd = child_of(url, href), odd_name_of(url, href)
        if odd is not None:
            yield Row(odd, is_folder=False, odd=True)
        if child is None:
            continue
        is_folder = _child(element, "collection") is not None
        moment = parse_http_date(_text(element, "getlastmodified"))
        row = Row(
            child[0],
            is_folder,
            modified=moment,
            modified_exact=moment is not None,
            url=_webdav_url(url, href, is_folder),
        )
        yield row.sized(_size(_text(element, "getcontentlength")), exact=True)


def _webdav_url(url: str, href: str, is_folder: bool) -> str:  # noqa: FBT001 - a name and what it is
    """Give the URL of an entry; some servers leave the slash behind a folder out."""
    head, mark, query = link_url(url, href).partition("?")
    return head + "/" * (is_folder and not head.endswith("/")) + mark + query


# -- sitemaps -------------------------------------------------------------------


def _parse_sitemaps(body: bytes, url: str) -> Listing:
    """Read a list of sitemaps; what is no URL is reported like a name that no file can have."""
    pages, odd = [], []
    for element in _elements(body, "sitemap"):
        text = _text(element, "loc")
        page = resolved(url, text)
        if is_url(page):
            pages.append(page)
        elif text:
            odd.append(Row(text.encode(), is_folder=False, odd=True))
    return listing_of("sitemap", odd, url, more=tuple(pages))


def _sitemap_rows(body: bytes, url: str) -> Iterator[Row]:
    """Read a sitemap: a page is a document, whose name is its path below the sitemap's folder.

    The time of a sitemap is what its author says; it proves nothing of a document.
    """
    folder = url.partition("?")[0].rpartition("/")[0] + "/"
    for element in _elements(body, "url"):
        said = _text(element, "loc")
        href = resolved(url, said)
        if href.rstrip("/") == folder.rstrip("/"):
            yield Row(_INDEX, is_folder=False, url=folder)
            continue
        found = path_below(folder, href)
        if found is None:
            yield Row(said.encode("utf-8", "replace"), is_folder=False, odd=True)
        else:
            path, is_folder = found
            yield Row(path + b"/" + _INDEX if is_folder else path, is_folder=False, url=href.partition("#")[0])


# -- nginx ----------------------------------------------------------------------

_NGINX_PAGE = re.compile(rb"(?:\xef\xbb\xbf)?\s*<\?xml[^>]*\?>\s*<list>(.*)</list>\s*", re.DOTALL)
_NGINX_ROW = re.compile(
    rb'\s*<(?P<type>directory|file|other) mtime="(?P<mtime>[^"<]*)"(?: size="(?P<size>\d{1,19})")?>'
    rb"(?P<name>[^<]*)</(?P=type)>"
)


def _parse_nginx(body: bytes, url: str) -> Listing | None:
    """Read nginx's XML.

    It is no XML as soon as a name holds a control character or is not UTF-8, and an XML parser would refuse
    the whole folder; so its few forms are matched as they are. There are no entities or DOCTYPEs to fear.
    """
    page = _NGINX_PAGE.fullmatch(body)
    if not page:
        return None
    rows, position = [], 0
    while match := _NGINX_ROW.match(page[1], position):
        position = match.end()
        name = unescape(match["name"].decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
        if match["type"] == b"other":
            continue
        if not is_plain(name):
            rows.append(Row(name, is_folder=False, odd=True))
            continue
        moment = parse_iso(match["mtime"].decode("latin-1"))
        row = Row(name, match["type"] == b"directory", modified=moment, modified_exact=moment is not None)
        rows.append(row.sized(int(match["size"]) if match["size"] else None, exact=True))
    if page[1][position:].strip():
        return None
    return listing_of("nginx-xml", iter(rows), url)
