"""What is read of an archive, wherever it is."""

import warnings
from abc import abstractmethod
from collections.abc import Iterator

from anystore.backend import Backend, Entry, Reader
from anystore.backends.zip.directory import Directory
from anystore.backends.zip.records import Record
from anystore.backends.zip.values import ZipReader
from anystore.errors import ForeignNameWarning
from anystore.keys import Key, is_private


class ZipView(Backend):
    """The entries of an archive as values."""

    @abstractmethod
    def directory(self) -> Directory:
        """Give what the archive holds now."""

    def reader(self, key: Key) -> Reader:
        return self.open(key)

    def open(self, key: Key) -> ZipReader:
        """Bind an entry."""
        return self.open_in(self.directory(), key)

    def open_in(self, directory: Directory, key: Key) -> ZipReader:
        """Bind an entry of one version of the archive."""
        record = directory.find(key)
        if record is None or directory.source is None:
            raise self.missing(key)
        return ZipReader(self.uri, key, source=directory.source, record=record, base=directory.base)

    def get(self, key: Key) -> bytes:
        return b"".join(self.open(key).read())

    def read(self, key: Key, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        return self.open(key).read(start, stop)

    def stat(self, key: Key) -> Entry:
        record = self.directory().find(key)
        if record is None:
            raise self.missing(key)
        return record.entry(key)

    def exists(self, key: Key) -> bool:
        return key in self.directory().records

    def scan(self, prefix: str = "", after: Key | None = None) -> Iterator[Entry]:
        directory = self.directory()
        for key in self._listed(directory, prefix, after):
            yield Record.parse(directory.records[key]).entry(key)

    def keys(self, prefix: str = "", after: Key | None = None) -> Iterator[str]:
        return self._listed(self.directory(), prefix, after)

    def _listed(self, directory: Directory, prefix: str, after: Key | None) -> Iterator[str]:
        if is_private(prefix):
            return
        yield from directory.below(prefix, after)
        if directory.others:
            warnings.warn(
                f"{self.uri}: left out {len(directory.others):,} entries that are no values, "
                f"such as {directory.others[0].name!a}",
                ForeignNameWarning,
                stacklevel=2,
            )
