"""The table of schemes: which file opens which URI, and one backend for all who open the same."""

import os
import re
from collections.abc import Hashable, Mapping
from typing import Any
from weakref import WeakValueDictionary

from anystore.backend import Backend
from anystore.extras import load
from anystore.uris import StoreUri, misspelt, parse_uri

_MODULE_OF_SCHEME = {
    "abfs": "objects",
    "abfss": "objects",
    "az": "objects",
    "file": "local",
    "gcs": "objects",
    "gs": "objects",
    "http": "http",
    "https": "http",
    "mariadb": "sql",
    "memory": "memory",
    "mysql": "sql",
    "postgres": "sql",
    "postgresql": "sql",
    "redis": "redis",
    "redis+cluster": "redis",
    "rediss": "redis",
    "rediss+cluster": "redis",
    "s3": "objects",
    "s3a": "objects",
    "sqlite": "sql",
    "unix": "redis",
    "valkey": "redis",
    "valkeys": "redis",
    "zip": "zip",
}
_FALLBACK = "fsspec"
_READ_ENVIRONMENT = ("fsspec", "objects", "sql")
# A folder may be called file:x, and an archive zip:x.zip.
_NO_PATHS = "|".join(re.escape(name) for name in _MODULE_OF_SCHEME if name not in ("file", "zip"))
_SLIP = re.compile(rf"(?:{_NO_PATHS})(:(?!/)|//)")

# Weakly, so that connections end with the last store that uses them.
_OPEN: "WeakValueDictionary[Hashable, Backend]" = WeakValueDictionary()


def open_backend(uri: str | os.PathLike[str], config: Mapping[str, Any]) -> Backend:
    """Make the backend that a URI names, or give the one that is in use; nothing is connected yet.

    Args:
        uri: The store's URI or path; ``fsspec+NAME://`` asks for fsspec's own filesystem. A scheme that is none of
            ours is opened by the package that names it, see :func:`anystore.backends.registered.open_registered`,
            and by fsspec where there is none.
        config: Options of the backend; an unknown one is refused.

    Returns:
        The backend. Two configurations, two folders to start from, or two environments that
        the backend would read differently never share one.

    Raises:
        InvalidUri: If the URI is not what the backend takes.
        InvalidOption: If an option is not what the backend takes.
        MissingExtra: If the library that the scheme needs is not installed.
    """
    identity = _identity(uri, config)
    backend = None if identity is None else _OPEN.get(identity)
    if backend is None:
        backend = _make(_parse(uri), config)
        if identity is not None and backend.shareable:
            backend = _OPEN.setdefault(identity, backend)
    return backend


def _parse(uri: str | os.PathLike[str]) -> StoreUri:
    """Take a URI apart; ``redis:host`` and ``s3//bucket`` are no folders of these names."""
    slip = _SLIP.match(uri) if isinstance(uri, str) else None
    if slip:
        raise misspelt(str(uri), slip[1])
    return parse_uri(uri)


def _make(uri: StoreUri, config: Mapping[str, Any]) -> Backend:
    """Make the backend of a URI."""
    if _is_archive(uri):
        return _make_archive(uri, config)
    name = _name_of(uri.scheme)
    backend: Backend | None = None
    if name == _FALLBACK:
        backend = load("anystore.backends.registered").open_registered(uri, config)
    return load(f"anystore.backends.{name}").from_uri(uri, config) if backend is None else backend


def _is_archive(uri: StoreUri) -> bool:
    """Tell a zip archive, by its scheme or the end of its name; a folder may have such a name, too."""
    if uri.scheme == "file":
        return uri.path.lower().endswith(".zip") and not os.path.isdir(uri.path)  # noqa: PTH112 - pure text so far
    return uri.scheme == "zip" or uri.scheme.startswith("zip+")


def _make_archive(uri: StoreUri, config: Mapping[str, Any]) -> Backend:
    """Make the backend of an archive, or of a folder in it; one that is elsewhere is read through its own backend."""
    archive, folder = load("anystore.backends.zip").split_folder(uri)
    backend: Backend
    if archive.scheme.startswith("zip+"):
        backend = load("anystore.backends.zip.remote").from_uri(archive, config, open_inner=open_backend)
    else:
        backend = load("anystore.backends.zip").from_uri(archive, config)
    if folder:
        backend = load("anystore.backends.wrap").PrefixBackend(backend, folder)
    return backend


def _name_of(scheme: str) -> str:
    """Give the name of the file for a scheme."""
    if scheme in _MODULE_OF_SCHEME:
        return _MODULE_OF_SCHEME[scheme]
    dialect = _MODULE_OF_SCHEME.get(scheme.partition("+")[0])
    return dialect if dialect == "sql" else _FALLBACK  # SQLAlchemy's `dialect+driver`


def _identity(uri: str | os.PathLike[str], config: Mapping[str, Any]) -> Hashable | None:
    """Give what makes a backend another one; None for what cannot be compared."""
    text: object = os.fspath(uri) if isinstance(uri, os.PathLike) else uri
    if not isinstance(text, str) or text.startswith("~"):
        return None
    try:
        frozen = _frozen(config) if config else ()
        hash(frozen)
        folder = os.getcwd()  # noqa: PTH109 - a Path costs more than all the rest
    except (TypeError, OSError):
        return None
    return (text, isinstance(uri, str), folder, os.getpid(), frozen, _environment(text))


def _frozen(value: Any) -> Hashable:
    """Turn an option into something to compare by, types included: 1 is not True."""
    if isinstance(value, Mapping):
        return ("mapping", *sorted((str(name), _frozen(item)) for name, item in value.items()))
    if isinstance(value, list | tuple):
        return ("sequence", *map(_frozen, value))
    return (type(value).__name__, value)


def _environment(text: str) -> Hashable:
    """Give the variables that a backend reads when it is made."""
    scheme, separator, _ = text.partition("://")
    if separator and _name_of(scheme.lower()) in _READ_ENVIRONMENT:
        # Nobody knows which of them a library reads. What `environ` wraps is taken where it can be had: to
        # decode each variable would cost more than everything else.
        return tuple(getattr(os.environ, "_data", os.environ).items())
    return ()
