"""Which part of a URI is the archive, and which a folder in it; pure but for a look at local folders."""

import os
from urllib.parse import unquote, unquote_to_bytes

from anystore.errors import InvalidUri
from anystore.uris import StoreUri, parse_uri

SUFFIX = ".zip"
"""How the names of archives end that have a folder behind them in a URI."""

_ENCODED = ("http", "https", "file", "webdav", "webdavs")


def split_folder(uri: StoreUri) -> tuple[StoreUri, str]:
    """Take the folder inside the archive off a URI.

    Args:
        uri: Such as ``zip:///data/books.zip/novels`` or ``zip+https://host/books.zip``. Without a
            segment that ends in ``.zip``, the whole URI is that of the archive.

    Returns:
        The URI of the archive, and the folder in it or ``""``.

    Example:
        >>> archive, folder = split_folder(parse_uri("zip:///data/books.zip/novels/new"))
        >>> archive.path, folder
        ('/data/books.zip', 'novels/new')
    """
    scheme, colon, rest = uri.text.partition("://")
    if not colon or not uri.scheme.startswith("zip"):
        return uri, ""
    address, mark, query = rest.partition("?")
    segments = address.split("/")
    for number in range(1, len(segments)):
        above = "/".join(segments[: number + 1])
        if not segments[number].lower().endswith(SUFFIX):
            continue
        if uri.scheme == "zip" and os.path.isdir(_file_name(above)):
            continue
        folder = "/".join(segments[number + 1 :]).strip("/")
        return parse_uri(f"{scheme}://{above}{mark}{query}"), unquote(folder)
    return uri, ""


def local_path(uri: StoreUri) -> str:
    """Give the path of the archive that a URI names.

    Raises:
        InvalidUri: If it names no file of this machine.
    """
    if "://" not in uri.text or (uri.path and uri.text.startswith(uri.path)):
        return uri.path
    if uri.host not in ("", "localhost") or not uri.path.strip("/") or uri.username is not None or uri.query:
        raise InvalidUri(f"{uri.masked} does not name a file of this machine: write 'zip:///folder/name.zip'")
    return _file_name(uri.path)


def _file_name(path: str) -> str:
    """Decode a path, whose bytes need be no UTF-8."""
    return os.fsdecode(unquote_to_bytes(os.fsencode(path)))


def split_archive(uri: StoreUri) -> tuple[str, str]:
    """Split the URI of an archive in another store into that store's, with its secrets, and the key in it.

    Args:
        uri: A ``zip+SCHEME://`` URI.

    Raises:
        InvalidUri: If it names no archive.

    Example:
        >>> split_archive(parse_uri("zip+https://host/a%20b/books%202.zip"))
        ('https://host/a%20b/', 'books 2.zip')
    """
    address, mark, query = uri.text.partition("+")[2].partition("?")
    folder, slash, name = address.rpartition("/")
    if not slash or not name or folder.endswith(":/"):
        raise InvalidUri(f"{uri.masked} names no archive; write it like 'zip+https://host/folder/name.zip'")
    encoded = parse_uri(f"{folder}/").scheme in _ENCODED
    return f"{folder}/{mark}{query}", unquote(name) if encoded else name
