"""The table of schemes: which file opens which URI."""

from collections.abc import Mapping
from typing import Any

from anystore.backend import Backend
from anystore.extras import load
from anystore.uris import StoreUri

_MODULE_OF_SCHEME = {
    "file": "local",
    "http": "http",
    "https": "http",
    "memory": "memory",
    "redis": "redis",
    "redis+cluster": "redis",
    "rediss": "redis",
    "rediss+cluster": "redis",
    "unix": "redis",
    "valkey": "redis",
    "valkeys": "redis",
}
_FALLBACK = "fsspec"


def open_backend(uri: StoreUri, config: Mapping[str, Any]) -> Backend:
    """Make the backend that a URI names; nothing is connected yet.

    Args:
        uri: The store's URI; ``fsspec+NAME://`` asks for fsspec's own filesystem.
        config: Options of the backend; an unknown one is refused.

    Returns:
        The backend.

    Raises:
        InvalidUri: If the URI or an option is not what the backend takes.
        MissingExtra: If the library that the scheme needs is not installed.
    """
    name = _MODULE_OF_SCHEME.get(uri.scheme, _FALLBACK)
    backend: Backend = load(f"anystore.backends.{name}").from_uri(uri, config)
    return backend
