"""Backends of other packages, which name the scheme they open by an entry point in the group ``anystore.backends``."""

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

from anystore.backend import Backend
from anystore.errors import InvalidUri
from anystore.extras import missing
from anystore.uris import StoreUri

GROUP = "anystore.backends"
"""The group of the entry points. The name of each is a scheme, its value a function like those of our own backends."""


def open_registered(uri: StoreUri, config: Mapping[str, Any]) -> Backend | None:
    """Make the backend of a scheme that an installed package opens.

    The package says so in its ``pyproject.toml``; the function gets the URI in parts and the ``backend_config``, and
    gives the backend, without connecting to anything::

        [project.entry-points."anystore.backends"]
        table = "table_backend:from_uri"

    Args:
        uri: The URI in parts.
        config: The options of the backend.

    Returns:
        The backend, or None where no package opens the scheme.

    Raises:
        InvalidUri: If several packages open the scheme, or what is named there gives no backend.
        MissingExtra: If a library that the package imports is not installed.
    """
    named = {entry.value: entry for entry in entry_points(group=GROUP, name=uri.scheme)}
    if not named:
        return None
    if len(named) > 1:
        raise InvalidUri(f"{uri.scheme}:// is opened by several packages: {', '.join(sorted(named))}; uninstall one")
    value, entry = named.popitem()
    try:
        make = entry.load()
    except ModuleNotFoundError as error:
        raise missing(error.name or value, needed_by=f"{uri.scheme}://") from error
    except AttributeError as error:
        raise InvalidUri(f"{uri.scheme}:// is opened by {value}, which is not there; reinstall its package") from error
    backend = make(uri, config)
    if not isinstance(backend, Backend):
        raise InvalidUri(f"{uri.scheme}:// is opened by {value}, which gave {type(backend).__name__}, and no Backend")
    return backend
