"""Values under keys, anywhere: one small interface over files, servers and memory."""

from importlib import import_module
from typing import Any

_MODULE_OF_NAME = {
    "AlreadyExists": "errors",
    "AnystoreError": "errors",
    "BackendError": "errors",
    "CodecError": "errors",
    "DoesNotExist": "errors",
    "ForeignNameWarning": "errors",
    "InvalidKey": "errors",
    "InvalidOption": "errors",
    "InvalidUri": "errors",
    "IsAFolder": "errors",
    "KeyConflict": "errors",
    "MissingExtra": "errors",
    "NotAFolder": "errors",
    "ReadOnlyError": "errors",
    "Unsupported": "errors",
    "VersionMismatch": "errors",
    "Backend": "backend",
    "Entry": "backend",
    "Feature": "backend",
    "Reader": "backend",
    "Writer": "backend",
    "anycache": "caching",
    "Codec": "codecs",
    "CrawlReport": "crawling",
    "crawl": "crawling",
    "Lock": "locks",
    "MirrorReport": "mirroring",
    "mirror": "mirroring",
    "Store": "store",
    "get_store": "store",
    "local_path": "virtual",
    "open_virtual": "virtual",
    "open_uri": "single_values",
    "read_uri": "single_values",
    "stream_uri": "single_values",
    "write_uri": "single_values",
}

__all__ = sorted(_MODULE_OF_NAME)  # noqa: PLE0605 - the table is the one list of names


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used."""
    if name not in _MODULE_OF_NAME:
        raise AttributeError(f"module 'anystore' has no attribute {name!r}")
    value = getattr(import_module(f"anystore.{_MODULE_OF_NAME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
