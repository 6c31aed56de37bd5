"""How values are read and written over each protocol."""

from collections.abc import Callable
from dataclasses import dataclass

from anystore.backend import Feature, Reader, Writer
from anystore.backends.fsspec.files import Files
from anystore.backends.fsspec.values import FileWriter, get_whole, open_reader
from anystore.keys import Key


@dataclass(frozen=True)
class Medium:
    """The way values take over one protocol.

    Attributes:
        files: Class of the folder that holds them.
        get: Reads a whole value.
        open_reader: Opens one version of a value.
        open_writer: Starts a new one.
        features: What the protocol is known to do.
    """

    files: type[Files] = Files
    get: Callable[[Files, Key], bytes] = get_whole
    open_reader: Callable[[Files, Key], Reader] = open_reader
    open_writer: Callable[[Files, Key], Writer] = FileWriter
    features: Feature = Feature.WRITE | Feature.LIST


ANY = Medium()
"""The way over a protocol of which nothing is known but what fsspec says."""
