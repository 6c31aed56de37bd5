"""What a service can do beyond storing and listing: declared where its makers say so, else tried out once.

Many services speak the language of S3, and some only seem to: they take a conditional write and drop the condition,
list folder by folder, or store a name under another one. So a service that is not known is asked to do each thing
once, in a folder of ours that no listing shows, which is emptied again.
"""

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

from anystore.backend import Feature

ODD_NAMES: Mapping[str, re.Pattern[str]] = {
    "a backslash": re.compile(r"\\"),
    "a segment that ends with a dot": re.compile(r"\.(?:/|\Z)"),
}
"""What some services rewrite in a name."""

_SAMPLES = {"a backslash": "c\\d", "a segment that ends with a dot": "e./f."}
# By folders, by UTF-16 or by locale these come in other orders.
_ORDERED = ("a-b", "a/b", "a0", "b/\uffee", "b/\U00010000")
_DIRECTORY_BUCKET = "--x-s3"


@dataclass(frozen=True, slots=True)
class Traits:
    """What a service can do.

    Attributes:
        features: ``CREATE``, ``SWAP`` and ``SORTED``, where it can.
        kept: What of ``ODD_NAMES`` it keeps as it is.
        lasting: Whether this is true of the service for everyone, and not of these credentials only.
    """

    features: Feature
    kept: frozenset[str]
    lasting: bool = True


_ALL = Traits(Feature.CREATE | Feature.SWAP | Feature.SORTED, frozenset(ODD_NAMES))


def declared_traits(kind: str, endpoint: str, container: str) -> Traits | None:
    """Give what the makers of a service document.

    Args:
        kind: The cloud whose language is spoken.
        endpoint: URL of the service, or ``""`` for the cloud's own.
        container: The bucket; directory buckets of S3 are listed in no order.

    Returns:
        The traits, or None for a service that has to be tried out. Azure is one: whether it lists in byte
        order depends on the account.

    Source:
        Amazon S3 User Guide, "Add preconditions to S3 operations with conditional requests" and "Listing object
        keys programmatically"; Google Cloud Storage, "Request preconditions" and "List objects".
    """
    host = urlsplit(endpoint).hostname or ""
    if kind == "s3" and (not endpoint or host.endswith((".amazonaws.com", ".amazonaws.com.cn"))):
        return None if is_directory_bucket(container) else _ALL
    return _ALL if kind == "gcs" and not endpoint else None


def is_directory_bucket(container: str) -> bool:
    """Tell whether this is a directory bucket of S3, by its name; it lists in no order, and its ETags are random."""
    return container.endswith(_DIRECTORY_BUCKET)


def probe(store: Any, folder: str) -> Traits:
    """Try out a service.

    Args:
        store: The obstore.
        folder: Where to, ending in ``/``; nothing is there before, and nothing afterwards.

    Returns:
        What it can do. Credentials that may only read find out nothing.

    Raises:
        BaseError: If the service does not work, or refuses the credentials.
        FileNotFoundError: If there is no such container.
    """
    names = [folder + name for name in ("value", "new", *_ORDERED, *_SAMPLES.values())]
    try:
        first = obstore.put(store, names[0], b"1", use_multipart=False)
    except BaseError:
        next(iter(obstore.list(store, folder)), None)  # if this works, it is writing that does not
        return Traits(Feature.NONE, frozenset(ODD_NAMES), lasting=False)
    try:
        features = Feature.NONE
        if _creates(store, folder):
            features |= Feature.CREATE
        if _swaps(store, names[0], {name: value for name, value in first.items() if value is not None}):
            features |= Feature.SWAP
        if _sorts(store, folder):
            features |= Feature.SORTED
        return Traits(features, frozenset(_kept(store, folder)))
    finally:
        for name in names:
            with contextlib.suppress(BaseError, FileNotFoundError):
                obstore.delete(store, name)


def _creates(store: Any, folder: str) -> bool:
    try:
        obstore.put(store, folder + "new", b"1", mode="create", use_multipart=False)
        obstore.put(store, folder + "new", b"2", mode="create", use_multipart=False)
    except AlreadyExistsError:
        return bytes(obstore.get(store, folder + "new").bytes()) == b"1"
    except BaseError:
        return False
    return False


def _swaps(store: Any, name: str, first: Any) -> bool:
    try:
        obstore.put(store, name, b"2", mode=first, use_multipart=False)
        obstore.put(store, name, b"3", mode=first, use_multipart=False)
    except PreconditionError:
        return bytes(obstore.get(store, name).bytes()) == b"2"
    except (BaseError, FileNotFoundError):
        return False
    return False


def _sorts(store: Any, folder: str) -> bool:
    wanted = [f"{folder}order/{name}" for name in _ORDERED]
    try:
        for name in reversed(wanted):
            obstore.put(store, name, b"", use_multipart=False)
        whole = _listed(store, folder + "order/")
        rest = _listed(store, folder + "order/", offset=wanted[1])
    except BaseError:
        return False
    finally:
        for name in wanted:
            with contextlib.suppress(BaseError, FileNotFoundError):
                obstore.delete(store, name)
    return whole == wanted and rest == wanted[2:]


def _kept(store: Any, folder: str) -> Iterator[str]:
    for oddity, sample in _SAMPLES.items():
        inside = f"{folder}odd/{sample}"
        try:
            obstore.put(store, inside, b"", use_multipart=False)
            if inside in _listed(store, folder + "odd/"):
                yield oddity
            obstore.delete(store, inside)
        except (BaseError, FileNotFoundError):
            continue


def _listed(store: Any, folder: str, *, offset: str | None = None) -> list[str]:
    return [entry["path"] for page in obstore.list(store, folder, offset=offset) for entry in page]
