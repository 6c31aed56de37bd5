"""Listings as JSON: nginx and Caddy; pure."""

import json
from collections.abc import Iterator

from anystore.web.headers import parse_http_date
from anystore.web.rows import Listing, Row, is_plain, listing_of, parse_iso
from anystore.web.urls import child_of, odd_name_of


def _name_bytes(text: str) -> bytes:
    """Give the bytes of a name that was read with ``surrogateescape``; what is no text stays no text."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def parse_json(body: bytes, url: str) -> Listing | None:
    """Read a page of JSON; None if it is no listing."""
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
        return listing_of("nginx-json", _nginx_rows(items), url)
    if all("url" in item and "mod_time" in item for item in items):
        return listing_of("caddy-json", _caddy_rows(items, url), url)
    return None


def _nginx_rows(items: list[dict[str, object]]) -> Iterator[Row]:
    for item in items:
        name = _name_bytes(str(item["name"]))
        if item["type"] not in ("file", "directory"):
            continue  # "other" is a socket, a pipe or a dangling link: nothing that could be fetched
        if not is_plain(name):
            yield Row(name, is_folder=False, odd=True)
            continue
        moment = parse_http_date(str(item["mtime"]))
        yield Row(name, item["type"] == "directory", modified=moment, modified_exact=moment is not None).sized(
            item.get("size"), exact=True
        )


def _caddy_rows(items: list[dict[str, object]], url: str) -> Iterator[Row]:
    for item in items:
        href = str(item["url"])  # in the name, bytes that are no text are replaced
        child = child_of(url, href)
        if child is None:
            yield Row(odd_name_of(url, href) or _name_bytes(str(item["name"])), is_folder=False, odd=True)
            continue
        exact = not item.get("is_symlink")  # what is said of a link may be said of the link itself
        moment = parse_iso(str(item["mod_time"]))
        row = Row(child[0], child[1], modified=moment, modified_exact=exact and moment is not None)
        yield row.sized(item.get("size"), exact=exact)
