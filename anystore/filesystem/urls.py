"""URLs that name a store and a key together, for libraries that take nothing but a URL."""

import os

from anystore.errors import InvalidKey, InvalidUri
from anystore.uris import parse_uri

PROTOCOL = "anystore"
"""``anystore://KEY`` is a key of the store that the options name, or of the default store."""

MARK = "!/"
"""Stands between the store and the key; the first one counts, so a key may hold others."""

# Where a store begins by itself: so many segments of the path belong to it, the rest is the key.
_SEGMENTS_OF_STORE = {
    "az": 0,
    "gcs": 0,
    "gs": 0,
    "http": 0,
    "https": 0,
    "mariadb": 1,
    "memory": 0,
    "mysql": 1,
    "postgres": 1,
    "postgresql": 1,
    "redis": 1,
    "rediss": 1,
    "s3": 0,
    "s3a": 0,
    "valkey": 1,
    "valkeys": 1,
}


def split_url(url: str) -> tuple[str | None, str]:
    """Tell the store and the key of a URL apart.

    Args:
        url: ``anystore://KEY``, ``anystore+STORE!/KEY``, or ``anystore+STORE/KEY`` where the store ends by itself:
            behind the database of ``redis`` and SQL servers, behind the bucket of ``s3``, ``gs`` and ``az``,
            behind the host of ``http`` and the name of ``memory``. A key alone is taken as it is.

    Returns:
        The URI of the store, or None where the URL names none, and the key; without slashes around it.

    Raises:
        InvalidUri: If nothing tells where the store ends.

    Example:
        >>> split_url("anystore+redis://host/0/prefix/key")
        ('redis://host/0', 'prefix/key')
        >>> split_url("anystore+sqlite:///data.db!/sales/2024.parquet")
        ('sqlite:///data.db', 'sales/2024.parquet')
        >>> split_url("anystore://sales/2024.parquet")
        (None, 'sales/2024.parquet')
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return None, url.strip("/")
    if scheme == PROTOCOL:
        return None, rest.strip("/")
    store = url.removeprefix(f"{PROTOCOL}+")
    if store == url:
        shown = parse_uri(url).masked
        raise InvalidUri(f"{shown!r} is no URL of a store; write it like 'anystore+redis://host/0/folder/key'")
    if MARK in store:
        store, _, key = store.partition(MARK)
        return store, key.strip("/")
    if store.endswith("!"):  # libraries cut off slashes at the end
        return store[:-1], ""
    scheme = scheme.removeprefix(f"{PROTOCOL}+")
    count = _SEGMENTS_OF_STORE.get(scheme.partition("+")[0] if scheme not in _SEGMENTS_OF_STORE else scheme)
    if count is None:
        shown = parse_uri(store).masked
        raise InvalidUri(
            f"'anystore+{shown}' does not tell where the store ends and the key begins; write '{MARK}' between them, "
            f"like 'anystore+sqlite:///data.db{MARK}folder/key'"
        )
    authority, *segments = rest.split("/")
    return "/".join([f"{scheme}://{authority}", *segments[:count]]), "/".join(segments[count:]).strip("/")


def join_url(store: str, key: str) -> str:
    """Write the URL of a key; :func:`split_url` takes it apart again.

    Args:
        store: The URI of the store, or its path, which becomes absolute.
        key: The key, or ``""``.

    Returns:
        The URL, with the mark between store and key.

    Example:
        >>> join_url("sqlite:///data.db", "a/b")
        'anystore+sqlite:///data.db!/a/b'
        >>> join_url("/data", "a/b")
        'anystore+file:///data!/a/b'
    """
    whole = store if "://" in store else f"file://{os.path.abspath(parse_uri(store).path)}"  # noqa: PTH100 - pure text
    return f"{PROTOCOL}+{whole}{MARK}{key}"


def strip_url(path: str, protocol: str, store: str | None) -> str:
    """Give the key that a path names in a filesystem.

    Args:
        path: A key, perhaps with slashes around it, or a URL.
        protocol: The protocol that the filesystem is registered under.
        store: The URI that the filesystem was opened with, if any.

    Returns:
        The key, or ``""`` for the top.

    Raises:
        InvalidKey: If the path is no text.
        InvalidUri: If the URL is one of another store.
    """
    if not isinstance(path, str):
        raise InvalidKey(f"a path is a str, not {type(path).__name__}; write it like 'folder/name.txt'")
    if "://" not in path:
        return path.strip("/")
    if path.startswith(f"{protocol}://"):
        return path.removeprefix(f"{protocol}://").strip("/")
    found, key = split_url(path)
    if found is not None and (store is None or join_url(found, "") != join_url(store, "")):
        raise InvalidUri(f"{parse_uri(found).masked!r} is another store; open it with fsspec.open or get_store(...).fs")
    return key
