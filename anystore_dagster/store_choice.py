"""What definitions name: stores, by their URI, by themselves or by a resource, and the key of an asset."""

import os
from collections.abc import Sequence

from dagster import AssetKey

from anystore import InvalidOption, Store, get_store
from anystore.uris import parse_uri
from anystore_dagster.resource import AnystoreResource
from anystore_dagster.variables import variable_name

StoreLike = str | os.PathLike[str] | Store | AnystoreResource
"""A store: its URI or path, or ``EnvVar("NAME")`` of it, itself, or a resource; variables are read when it is used."""


def check_store(role: str, store: StoreLike) -> None:
    """Refuse what is no store, when definitions load.

    Args:
        role: What it is for, for the message.
        store: The store.

    Raises:
        InvalidOption: If it is none.
        InvalidUri: If it is a text or a path that is no URI.
    """
    if variable_name(store) is not None:
        return
    if isinstance(store, str | os.PathLike):
        parse_uri(store)
    elif not isinstance(store, Store | AnystoreResource):
        raise InvalidOption(f"{role} is a URI, a path, a Store or an AnystoreResource, not {type(store).__name__}")


def check_places(work: str, source: StoreLike, target: StoreLike, journal: StoreLike | None = None) -> None:
    """Refuse a source, a target or a journal that is no store, when definitions load.

    Args:
        work: What they are for: ``crawl`` or ``mirror``.
        source: The store to read.
        target: The store to fill.
        journal: The store of the journal, if it has one of its own.

    Raises:
        InvalidOption: If one of them is no store.
        InvalidUri: If one of them is a text that is no URI.
    """
    check_store(f"source of a {work}", source)
    check_store(f"target of a {work}", target)
    if journal is not None:
        check_store(f"journal of a {work}", journal)


def asset_key(name: str, key_prefix: str | Sequence[str] | None) -> AssetKey:
    """Make the key of an asset as ``@asset`` does.

    Args:
        name: Its name.
        key_prefix: The folders of its key: one, several or none.

    Returns:
        The key.

    Example:
        >>> asset_key("papers", "raw").to_user_string()
        'raw/papers'
    """
    return AssetKey([*([key_prefix] if isinstance(key_prefix, str) else key_prefix or ()), name])


def open_store(store: StoreLike) -> Store:
    """Open a store; nothing is connected yet.

    Args:
        store: The store.

    Returns:
        The store.
    """
    if isinstance(store, AnystoreResource):
        return store.store
    if isinstance(store, str) and variable_name(store) is not None:  # EnvVar("URI")
        return AnystoreResource(uri=store).store
    return store if isinstance(store, Store) else get_store(store)


def shown_store(store: StoreLike) -> str:
    """Say where a store is, as far as that is known before anything runs, with secrets masked.

    Args:
        store: The store.

    Returns:
        Its masked URI, or what stands for it.

    Example:
        >>> shown_store("https://me:secret@host/files/")
        'https://me:***@host/files/'
    """
    name = variable_name(store)
    if name is not None:
        return f"the store that {name} names"
    if isinstance(store, AnystoreResource):
        place = "the default store" if store.uri is None else shown_store(store.uri)
        folder = variable_name(store.prefix) or store.prefix
        return f"{place}, folder {folder}" if folder else place
    return store.uri if isinstance(store, Store) else parse_uri(store).masked
