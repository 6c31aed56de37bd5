"""The page on which a web server lists a folder -> its entries; pure.

Each kind of server has an adapter, which is chosen by the type of the page and by what stands
on it.
"""

import re
from collections.abc import Mapping

from anystore.web.headers import tells_end
from anystore.web.html_listing import parse_html, parse_links
from anystore.web.json_listing import parse_json
from anystore.web.rows import ListedEntry, Listing
from anystore.web.xml_listing import parse_xml

__all__ = ["ListedEntry", "Listing", "is_cut_off", "parse_listing"]


_CLOSED = re.compile(rb"</(?:pre|table|ul|ol|div|body|html)\b", re.IGNORECASE)
_FIRST_TAG = re.compile(rb"<([A-Za-z_][^\s/>]*)")


def is_cut_off(body: bytes, headers: Mapping[str, str]) -> bool:
    """Tell whether a page may be a part of one: the server told no length, and nothing is closed at its end.

    Example:
        >>> page = b'<pre><a href="a">a</a>'
        >>> is_cut_off(page, {"content-type": "text/html"}), is_cut_off(page + b"</pre>", {"content-type": "text/html"})
        (True, False)
    """
    kind, end = headers.get("content-type", ""), body[-512:].rstrip()
    if tells_end(headers):
        return False
    if "json" in kind:
        return not end.endswith(b"}" if body[:512].lstrip().startswith(b"{") else b"]")
    if "xml" in kind and "html" not in kind:
        first = _FIRST_TAG.search(body[:4096])
        return first is None or not end.endswith(b"</" + first[1] + b">")
    if "html" not in kind:
        return False
    last_link = max(body.rfind(b"<a "), body.rfind(b"<A "), 0)
    return _CLOSED.search(body, last_link) is None


def parse_listing(body: bytes, *, url: str, content_type: str = "", follow_links: bool = False) -> Listing | None:
    """Read the listing of a folder.

    Args:
        body: The page.
        url: Where it was found, behind all redirects; links are resolved against it.
        content_type: The header of that name.
        follow_links: Whether any HTML page is taken for a listing of what its links lead to, below its own folder.

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
        return parse_json(body, url)
    if kind in ("text/xml", "application/xml") or (not kind and start.startswith(b"<?xml")):
        return parse_xml(body, url)
    if kind in ("text/html", "application/xhtml+xml") or (not kind and start.startswith(b"<")):
        return parse_html(body, url) or (parse_links(body, url) if follow_links else None)
    return None
