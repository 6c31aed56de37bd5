"""Fetch every document of a remote listing into a store, again and again.

A journal below ``.anystore/`` of the target remembers what was fetched, so that an
unchanged document is not fetched twice, and one that vanished is marked and kept.
"""

import hashlib
import time
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from anystore.backend import Backend, Entry, Feature
from anystore.errors import (
    AlreadyExists,
    AnystoreError,
    BackendError,
    DoesNotExist,
    ForeignNameWarning,
    InvalidOption,
    VersionMismatch,
)
from anystore.keys import Key, Selection, private_key
from anystore.store import Store, get_store
from anystore.streams import iterate_lines

_JOURNAL = private_key("documents.jsonl")
_SAVE_SECONDS = 1.0
_SAVE_SHARE = 20  # at most a twentieth of the time goes into saving
_PENDING_PER_WORKER = 4


@dataclass(frozen=True, slots=True)
class Document:
    """What the journal knows of one document.

    Attributes:
        key: Its key, in the listing and in the target.
        url: Where it came from, with secrets masked.
        source: URI of the listing, with secrets masked.
        size: Length in bytes.
        modified: When the source says that it was changed; aware, in UTC, or None.
        version: The source's token of this version, such as an ETag, or None.
        mimetype: The media type that the source names, or None.
        sha256: Checksum of the bytes that were stored, in hexadecimal.
        status: ``present``, or ``gone`` when the listing no longer has it; its value is kept.
        fetched: When it was stored; aware, in UTC.
    """

    key: str
    url: str
    source: str
    size: int
    modified: datetime | None
    version: str | None
    mimetype: str | None
    sha256: str
    status: Literal["present", "gone"]
    fetched: datetime


_LINE = TypeAdapter(Document)


@dataclass(frozen=True, slots=True)
class Failure:
    """One document that could not be fetched, or a part of the listing that could not be read.

    Attributes:
        key: The document's key, or ``""`` for the listing itself.
        reason: What went wrong.
    """

    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class CrawlReport:
    """What a crawl did.

    Attributes:
        source: URI of the listing, with secrets masked.
        target: URI of the store, with secrets masked.
        listed: Documents in the listing.
        fetched: Documents that were new or changed, and are stored now.
        unchanged: Documents that the target had already.
        gone: Documents that were fetched by an earlier crawl, and are not in the listing any more.
        failures: What could not be fetched or listed.
        bytes: Bytes of the fetched documents.
        seconds: How long it took.
    """

    source: str
    target: str
    listed: int = 0
    fetched: int = 0
    unchanged: int = 0
    gone: int = 0
    failures: tuple[Failure, ...] = ()
    bytes: int = 0
    seconds: float = 0.0

    @property
    def complete(self) -> bool:
        """Whether every document of the listing is in the target."""
        return not self.failures

    def to_dict(self) -> dict[str, Any]:
        """Give the report as plain values."""
        return asdict(self) | {"failures": [asdict(failure) for failure in self.failures], "complete": self.complete}


def crawl(
    source: Store | str,
    target: Store | str,
    *,
    prefix: str | None = None,
    exclude_prefix: str | None = None,
    glob: str | None = None,
    workers: int = 8,
) -> CrawlReport:
    """Fetch each document of a listing that the target does not have yet.

    One failure never stops the rest: it is in the report. Each document is stored whole or
    not at all. The journal holds about half a kilobyte of memory for each document.

    Args:
        source: The store to list, or its URI, such as ``https://host/files/``.
        target: The store to fill, or its URI.
        prefix: A folder to fetch.
        exclude_prefix: A folder to leave out.
        glob: A pattern for the keys relative to the prefix.
        workers: How many documents are fetched at the same time, at least 1.

    Returns:
        What was done.

    Raises:
        Unsupported: If the source cannot list, or the target cannot write.
        InvalidOption: If ``workers`` is below 1.

    Example:
        >>> source, target = get_store("memory://listing"), get_store("memory://archive")
        >>> entry = source.put("a.txt", "hello")
        >>> crawl(source, target).fetched, crawl(source, target).fetched
        (1, 0)
    """
    if workers < 1:
        raise InvalidOption(f"crawl needs at least 1 worker, not {workers}")
    listing, store = _open(source), _open(target)
    store.backend.require_write(_JOURNAL)
    selection = Selection(prefix, exclude_prefix, glob)
    entries = listing.backend.scan(selection.folder)
    started = time.monotonic()
    run = _Run(listing.backend, store.backend, selection)
    try:
        with ThreadPoolExecutor(workers, thread_name_prefix="anystore-crawl") as pool:
            run.visit_all(entries, pool, workers * _PENDING_PER_WORKER)
        run.mark_gone()
    finally:
        run.save()  # what was fetched before an interruption need not be fetched again
    return run.report(time.monotonic() - started)


def documents(target: Store | str) -> Iterator[Document]:
    """Read what the crawls of a store have fetched.

    Args:
        target: The store, or its URI.

    Returns:
        Its documents, in the order of their keys, those that are gone included.
    """
    return iter(sorted(_read_journal(_open(target).backend)[0].values(), key=lambda document: document.key))


class _Run:
    """One crawl: what was seen so far, and what came of it. Only the caller's thread changes it."""

    def __init__(self, source: Backend, target: Backend, selection: Selection) -> None:
        self._source = source
        self._target = target
        self._selection = selection
        self._known, _ = _read_journal(target)
        self._changes: dict[str, Document] = {}
        self._seen: set[str] = set()
        self._failures: list[Failure] = []
        self._counts = {"listed": 0, "fetched": 0, "unchanged": 0, "gone": 0, "bytes": 0}
        self._listed_all = False
        self._save_at = time.monotonic() + _SAVE_SECONDS
        self._started = datetime.now(UTC)

    def visit_all(self, entries: Iterator[Entry], pool: Executor, most_pending: int) -> None:
        """Visit each entry of a listing, a bounded number of them at the same time."""
        pending: dict[Future[Document | None], str] = {}
        for entry in self._list(entries):
            if not self._selection.covers(entry.key) or entry.key in self._seen:
                continue
            self._counts["listed"] += 1
            self._seen.add(entry.key)
            pending[pool.submit(self._visit, entry)] = entry.key
            if len(pending) >= most_pending:
                self._collect(pending, wait(pending, return_when=FIRST_COMPLETED).done)
        self._collect(pending, wait(pending).done)

    def mark_gone(self) -> None:
        """Mark what vanished from the listing, if it was read to its end."""
        if self._listed_all:
            for key, document in self._known.items():
                ours = document.source == self._source.uri and self._selection.covers(key)
                if ours and key not in self._seen and document.status == "present":
                    self._changes[key] = replace(document, status="gone")
                    self._counts["gone"] += 1

    def report(self, seconds: float) -> CrawlReport:
        """Give the report."""
        failures = tuple(sorted(self._failures, key=lambda failure: failure.key))
        return CrawlReport(self._source.uri, self._target.uri, failures=failures, seconds=seconds, **self._counts)

    def _list(self, entries: Iterator[Entry]) -> Iterator[Entry]:
        """Yield the entries of a listing; what keeps it from its end becomes a failure."""
        try:
            while True:
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always", ForeignNameWarning)
                    entry = next(entries, None)
                for warning in caught:
                    # names that cannot be keys are documents that were not fetched
                    if issubclass(warning.category, ForeignNameWarning):
                        self._failures.append(Failure("", str(warning.message)))
                    else:
                        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
                if entry is None:
                    self._listed_all = True
                    return
                yield entry
        except AnystoreError as error:
            self._failures.append(Failure("", f"the listing is incomplete: {error}"))

    def _collect(self, pending: dict[Future[Document | None], str], done: Iterable[Future[Document | None]]) -> None:
        for future in done:
            key = pending.pop(future)
            try:
                document = future.result()
            except AnystoreError as error:
                self._failures.append(Failure(key, str(error)))
                continue
            if document is None:
                self._counts["unchanged"] += 1
                continue
            if document.fetched >= self._started:
                self._counts["fetched"] += 1
                self._counts["bytes"] += document.size
            else:
                self._counts["unchanged"] += 1
            self._changes[key] = document
        if time.monotonic() >= self._save_at:
            self.save()  # what was fetched before a kill need not be fetched again

    def _visit(self, entry: Entry) -> Document | None:
        """Fetch a document, unless the target has it; runs in a worker's thread."""
        key = Key(entry.key)
        known = self._known.get(key)
        if known is not None and known.source == self._source.uri and self._is_stored(key, known):
            exact = entry if entry.version or (entry.size is not None and entry.modified) else self._source.stat(key)
            if _is_same(exact, known):
                return None if known.status == "present" else replace(known, status="present")
        return self._fetch(key)

    def _is_stored(self, key: Key, known: Document) -> bool:
        try:
            return self._target.stat(key).size == known.size
        except DoesNotExist:
            return False

    def _fetch(self, key: Key) -> Document:
        digest, size = hashlib.sha256(), 0
        with self._source.reader(key) as reader:
            entry = reader.entry
            with self._target.writer(key) as writer:
                for piece in reader.read():
                    digest.update(piece)
                    size += writer.write(piece)
                if entry.size not in (None, size):
                    raise BackendError(
                        f"{self._source.locate(key)} has {entry.size:,} bytes, and {size:,} came; crawl again"
                    )
        return Document(
            key=key,
            url=self._source.locate(key),
            source=self._source.uri,
            size=size,
            modified=entry.modified,
            version=entry.version,
            mimetype=entry.mimetype,
            sha256=digest.hexdigest(),
            status="present",
            fetched=datetime.now(UTC),
        )

    def save(self) -> None:
        """Write the journal."""
        begun = time.monotonic()
        _write_journal(self._target, self._changes)
        ended = time.monotonic()
        self._save_at = ended + max(_SAVE_SECONDS, _SAVE_SHARE * (ended - begun))


def _open(store: Store | str) -> Store:
    return store if isinstance(store, Store) else get_store(store)


def _is_same(entry: Entry, known: Document) -> bool:
    """Tell whether the source still has the version that was fetched, as far as it says."""
    if entry.size is not None and entry.size != known.size:
        return False
    if entry.version is not None and known.version is not None:
        return entry.version == known.version
    return entry.size is not None and entry.modified is not None and entry.modified == known.modified


def _read_journal(target: Backend) -> tuple[dict[str, Document], str | None]:
    """Read the journal of a store, and its version."""
    found: dict[str, Document] = {}
    try:
        with target.reader(_JOURNAL) as reader:
            for line in iterate_lines(reader.read()):
                document = _LINE.validate_json(line)
                found[document.key] = document
            return found, reader.entry.version
    except DoesNotExist:
        return {}, None
    except ValidationError as error:
        raise BackendError(
            f"the journal {_JOURNAL!r} of {target.uri} is broken ({error.error_count()} fields); "
            "delete it to fetch everything again"
        ) from error


def _write_journal(target: Backend, changes: dict[str, Document]) -> None:
    """Add to the journal of a store, beside what other crawls may have added to it."""
    if not changes:
        return
    swaps = Feature.SWAP in target.features and Feature.CREATE in target.features
    while True:
        found, version = _read_journal(target)
        try:
            with target.writer(
                _JOURNAL, create=swaps and version is None, version=version if swaps else None
            ) as writer:
                for document in (found | changes).values():
                    writer.write(_LINE.dump_json(document) + b"\n")
        except (AlreadyExists, VersionMismatch):
            continue
        return
