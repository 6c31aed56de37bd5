"""The value of a crawl asset: a small manifest, and the documents that the journal in its store tells of."""

import os
from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from dataclasses import asdict, dataclass, field, fields
from os import PathLike
from threading import Lock
from typing import Any, ClassVar

from pydantic import TypeAdapter, ValidationError

from anystore import CrawlReport, Store
from anystore.crawling import Document
from anystore.crawling.snapshots import Documents, Snapshot
from anystore.errors import AnystoreError, CodecError
from anystore_dagster.stored import BlobRef, Encoded
from anystore_dagster.values.file_collections import FileCollection, SeenRun, write_manifest
from anystore_dagster.values.known_stores import Places, find_stores, not_opened

_KIND = "anystore.crawl"
_IN_MEMORY = "; memory:// is seen only in the process that wrote it, and steps may run in others"


@dataclass(frozen=True, slots=True, kw_only=True)
class CrawlManifest:
    """What is stored of a crawl, beside its documents and its journal; nothing of it is secret.

    Attributes:
        asset: The asset that crawls, as text.
        source: URI of the listing, with secrets masked.
        store: URI of the store that has the documents, with secrets masked.
        journal: That of the store that has the journal; None if it is the same.
        run: Number of the crawl in the journal.
        root: The journal's checksum over all documents after it.
        counts: What the crawl has counted: ``documents`` that are up to date, ``fetched``, ``failed`` and others.
    """

    asset: str
    source: str
    store: str
    journal: str | None = None
    run: int
    root: str
    counts: dict[str, int] = field(default_factory=dict)


_MANIFEST = TypeAdapter(CrawlManifest)
_OF_MANIFEST = [one.name for one in fields(CrawlManifest)]


class CrawledFiles(FileCollection):
    """The documents that a crawl asset has fetched.

    Going through it gives each document as an :class:`anystore.crawling.Document`, in the order of their keys: those
    that have a value, and are not gone. ``files[key]`` gives one. They are read from the journal when they are asked
    for, page by page, so that a million of them take no room in memory.

    ``new``, ``changed`` and ``gone`` are counted from the crawl that the asset which loads this saw when it was last
    materialized successfully, however many crawls there were since. The first time, and where no asset loads it, all
    documents are new. What later crawls than that of the manifest have done is left for the next time.

    Args:
        manifest: What is stored.
        places: Its stores, if they are open; they are found when they are needed.
        seen: The crawl that was seen by whoever loads it.
    """

    counts_runs: ClassVar[bool] = True

    def __init__(self, manifest: CrawlManifest, *, places: Places | None = None, seen: SeenRun | None = None) -> None:
        super().__init__({})
        self.manifest = manifest
        self.seen = seen
        self._places = places
        self._snapshot: Snapshot | None = None
        self._lock = Lock()

    @property
    def run(self) -> SeenRun:
        """The crawl that this is about."""
        return SeenRun(self.manifest.run, self.manifest.root)

    def at(self, store: Store, journal: Store | None = None) -> "CrawledFiles":
        """Give the same documents from a store that the caller has opened.

        Args:
            store: The store that holds them, with its credentials, or at another address.
            journal: The one that holds the journal, if that is another one.

        Returns:
            A collection beside this one.
        """
        return CrawledFiles(self.manifest, places=Places(store, journal), seen=self.seen)

    def since(self, seen: SeenRun | None) -> "CrawledFiles":
        """Give the same documents, with what is new counted from another crawl.

        Args:
            seen: The crawl, such as the ``run`` of a collection that was loaded before; None makes all new.

        Returns:
            A collection beside this one.
        """
        return CrawledFiles(self.manifest, places=self._places, seen=seen)

    @property
    def new(self) -> Documents:
        """The documents that were not there when whoever loads this saw them last."""
        return self._open().new(self._after(), self.manifest.run)

    @property
    def changed(self) -> Documents:
        """Those that were there, and have other bytes now."""
        return self._open().changed(self._after(), self.manifest.run)

    @property
    def gone(self) -> Documents:
        """Those that were there, and have gone from the listing; what was not pruned can still be read."""
        return self._open().gone(self._after(), self.manifest.run)

    @property
    def documents(self) -> Documents:
        """All documents that are there."""
        return self._open().documents

    def __iter__(self) -> Iterator[Document]:  # type: ignore[override] # keys() gives the names
        """Go through the documents."""
        return iter(self.documents)

    def __len__(self) -> int:
        """Count the documents."""
        return len(self.documents)

    def __getitem__(self, name: str) -> Document:  # type: ignore[override] # a document is more than a reference
        """Give the document of a key.

        Raises:
            KeyError: If none is there.
        """
        found = self.documents.find(name)
        if found is None:
            raise KeyError(name)
        return found

    def __contains__(self, name: object) -> bool:
        """Tell whether a document, or one of this key, is there."""
        return name in self.documents

    def __eq__(self, other: object) -> bool:
        """Tell whether both are the same crawl, seen from the same one."""
        return isinstance(other, CrawledFiles) and (self.manifest, self.seen) == (other.manifest, other.seen)

    __hash__ = None  # type: ignore[assignment] # as of any mapping

    def __repr__(self) -> str:
        """Tell which crawl it is; nothing is read for that."""
        return f"<CrawledFiles of {self.manifest.store} after its run {self.manifest.run}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the manifest, and no store with its credentials: they are found anew."""
        return _remake, (asdict(self.manifest), self.seen)

    def keys(self) -> KeysView[str]:
        """Give the keys of the documents."""
        return KeysView(_ByKey(self))

    def values(self) -> ValuesView[Any]:
        """Give the documents."""
        return ValuesView(_ByKey(self))

    def items(self) -> ItemsView[str, Any]:
        """Give keys and documents."""
        return ItemsView(_ByKey(self))

    def reference(self, name: str) -> BlobRef:
        """Give the reference to a value."""
        return BlobRef(self._stores().store, self[name].key)

    def to_encoded(self, folder: PathLike[str]) -> Encoded:  # noqa: ARG002 - as of any collection
        """Make the manifest."""
        return Encoded(write_manifest(_KIND, asdict(self.manifest)))

    def _stores(self) -> Places:
        if self._places is None:
            self._places = find_stores(self.manifest.asset, self.manifest.store, self.manifest.journal)
        return self._places

    def _open(self) -> Snapshot:
        """Read the journal, once for all threads of a process."""
        with self._lock:
            if self._snapshot is None or self._snapshot.process != os.getpid():
                places = self._stores()
                snapshot = self._read(places)
                if not _knows(snapshot, self.run):
                    where = (places.journal or places.store).uri
                    advice = _IN_MEMORY if where.startswith("memory://") else ""
                    raise CodecError(
                        f"the journal in {where} does not know the crawl that "
                        f"{self.manifest.asset!r} speaks of, run {self.manifest.run}: it is another journal, or a new "
                        "one; materialize that asset again, or open the right store, and pass it on as files.at(store)"
                        f"{advice}"
                    )
                self._snapshot = snapshot
            return self._snapshot

    def _read(self, places: Places) -> Snapshot:
        try:
            return Snapshot(places.store, journal=places.journal, source=self.manifest.source)
        except AnystoreError as error:
            if not places.is_bare:
                raise
            raise not_opened(self.manifest.asset, self.manifest.store, error) from error

    def _after(self) -> int | None:
        """Give the number of the crawl that was seen; None if this journal does not know it."""
        if self.seen is None or not _knows(self._open(), self.seen):
            return None
        return self.seen.run


class _ByKey(Mapping[str, Document]):
    """The documents by their keys, as any mapping has its values."""

    def __init__(self, files: CrawledFiles) -> None:
        self._files = files

    def __getitem__(self, key: str) -> Document:
        return self._files[key]

    def __iter__(self) -> Iterator[str]:
        return (document.key for document in self._files)

    def __len__(self) -> int:
        return len(self._files)


def crawled_files(asset: str, report: CrawlReport, places: Places) -> CrawledFiles:
    """Make the value of an asset that has crawled.

    Args:
        asset: Its key, as text.
        report: What the crawl did.
        places: The stores that it has filled.

    Returns:
        The value.
    """
    counts = {
        "documents": report.fetched + report.unchanged + report.healed,
        **{
            name: getattr(report, name)
            for name in ("listed", "fetched", "unchanged", "gone", "skipped", "healed", "failed")
        },
    }
    manifest = CrawlManifest(
        asset=asset,
        source=report.source,
        store=report.target,
        journal=None if places.journal is None else places.journal.uri,
        run=report.run,
        root=report.root,
        counts=counts,
    )
    return CrawledFiles(manifest, places=places)


def open_crawl(content: Mapping[str, Any]) -> CrawledFiles:
    """Open what was stored.

    Args:
        content: Of the manifest.

    Returns:
        The documents; nothing is read yet.

    Raises:
        CodecError: If it is damaged.
    """
    try:
        manifest = _MANIFEST.validate_python({name: content[name] for name in _OF_MANIFEST if name in content})
    except ValidationError as error:
        raise CodecError("the manifest of the crawl is damaged; materialize the asset again") from error
    return CrawledFiles(manifest)


def _knows(snapshot: Snapshot, seen: SeenRun) -> bool:
    return any((run.number, run.root) == (seen.run, seen.root) for run in snapshot.runs)


def _remake(content: Mapping[str, Any], seen: SeenRun | None) -> CrawledFiles:
    return open_crawl(content).since(seen)
