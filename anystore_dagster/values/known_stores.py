"""Which store a manifest speaks of: one that the code of this process names, with its credentials, or a plain URI.

A manifest is data, and may have been written by anybody who can write where values are kept. So it names a store by
its masked URI alone, and no variable and no credential is ever sent to where a manifest says.
"""

from collections.abc import Callable
from dataclasses import dataclass

from anystore import Store, get_store
from anystore.errors import AnystoreError, CodecError
from anystore.uris import MASK

Opener = Callable[[], tuple[Store, Store | None]]
"""Opens the store that an asset fills, and the one that holds its journal, if that is another one."""

_OPENERS: dict[str, Opener] = {}


@dataclass(frozen=True, slots=True)
class Places:
    """The stores of a manifest.

    Attributes:
        store: Where the values are.
        journal: Where the journal is, if not there.
        is_bare: Whether the store was opened by its URI alone.
    """

    store: Store
    journal: Store | None = None
    is_bare: bool = False


def remember_stores(asset: str, opener: Opener) -> None:
    """Keep how the stores of an asset are opened; every process that loads the definitions does so.

    Args:
        asset: Its key, as text.
        opener: Opens them when they are needed.
    """
    _OPENERS[asset] = opener


def find_stores(asset: str, store: str, journal: str | None) -> Places:
    """Open the stores that a manifest names.

    Args:
        asset: The asset that has made it.
        store: The masked URI of the store.
        journal: That of the journal's store, if it is another one.

    Returns:
        The asset's own stores where this process has its definition, also a folder in the store that it names; else
        what the URI says, with the credentials that the environment gives to any program.

    Raises:
        CodecError: If the URI does not say enough; the message tells what to write.
    """
    opener = _OPENERS.get(asset)
    if opener is not None:
        own, memory = opener()
        found = _inside(own, store)
        if found is not None and (None if memory is None else memory.uri) == journal:
            return Places(found, memory)
    if MASK in store or journal is not None:
        what = "a credential that is not stored" if MASK in store else f"a journal of its own, {journal}"
        raise CodecError(
            f"the asset {asset!r} keeps its values in {store}, which has {what}, and no code of this process defines "
            "that asset with that store; open the store here, and pass it on as files.at(store)"
        )
    try:
        return Places(get_store(store), is_bare=True)
    except AnystoreError as error:
        raise not_opened(asset, store, error) from error


def not_opened(asset: str, store: str, error: AnystoreError) -> CodecError:
    """Make the error for a store that needs more than its URI.

    Args:
        asset: The asset that has made the manifest.
        store: The masked URI.
        error: What went wrong.

    Returns:
        An error that tells what to write.
    """
    return CodecError(
        f"the asset {asset!r} keeps its values in {store}, which no code of this process defines, and which cannot be "
        f"opened by its address alone: {error}; open the store with its credentials, and pass it on as files.at(store)"
    )


def _inside(store: Store, uri: str) -> Store | None:
    """Give the store, or the folder of it, that has a URI."""
    if store.uri == uri:
        return store
    base = store.uri.rstrip("/") + "/"
    if not uri.startswith(base):
        return None
    folder = store.under(uri.removeprefix(base))
    return folder if folder.uri == uri else None
