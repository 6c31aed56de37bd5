"""What is known of one document: as a line of the journal, and as it is shown."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Literal

import orjson
from pydantic import TypeAdapter

from anystore.store import Store

Status = Literal["ok", "gone", "error", "skipped", "suspicious"]
"""What became of a document; see :class:`Document`."""


@dataclass(slots=True, kw_only=True)
class Record:
    """A line of the journal: a document as a crawl has left it.

    Attributes:
        key: Its key in the target.
        source: URI of the listing, with secrets masked.
        url: Where it comes from, as the listing spells it, with secrets masked.
        status: What became of it.
        listed: What the listing said of its size and time, in one text; None if it said nothing.
        settled: Whether that text proves, when it comes again, that the bytes are the same: the time it tells was over
            when they were fetched.
        size: Length of the stored value in bytes, or None if there is none.
        sha256: Checksum of the stored value.
        etag: The server's ETag, or the version of another store.
        last_modified: The server's ``Last-Modified``, word for word.
        modified: The same, or what the listing told exactly.
        mimetype: The media type that the source names.
        first_seen: When a listing first had it.
        seen: When a crawl last had something to say of it.
        fetched: When its value was stored.
        run: Number of the run that wrote this line.
        added: Number of the run since which the value is there: the one that first stored it, or that found it listed
            again after it was gone; 0 in journals of before.
        changed: Number of the run that stored other bytes than there were before; 0 in journals of before.
        attempts: How many runs in a row have failed to fetch it.
        error: Why, or why it was passed over.
    """

    key: str
    source: str
    url: str
    status: Status
    listed: str | None = None
    settled: bool = False
    size: int | None = None
    sha256: str | None = None
    etag: str | None = None
    last_modified: str | None = None
    modified: datetime | None = None
    mimetype: str | None = None
    first_seen: datetime
    seen: datetime
    fetched: datetime | None = None
    run: int
    added: int = 0
    changed: int = 0
    attempts: int = 0
    error: str | None = None


RECORD = TypeAdapter(Record)


def write_record(record: Record) -> bytes:
    """Make a line of the journal, without its end."""
    return orjson.dumps(record, option=orjson.OPT_UTC_Z)


def read_record(line: bytes) -> Record:
    """Read a line of the journal.

    Raises:
        ValidationError: If it is none.
    """
    # the adapter's own method takes half as long again to look at its options
    record: Record = RECORD.validator.validate_json(line)
    return record


@dataclass(frozen=True, slots=True)
class Document:
    """A document of a target, as the crawls have left it.

    Attributes:
        key: Its key in the target.
        url: Where it comes from, with secrets masked.
        source: URI of the listing, with secrets masked.
        status: ``ok``; ``gone`` when the listing no longer has it, whose value is kept unless it was pruned;
            ``error`` when the last crawl could not fetch it, whose older value is kept; ``skipped`` when it was passed
            over, by ``robots.txt`` or because the target cannot hold its name; ``suspicious`` when a web page came
            in its place.
        size: Length of the stored value in bytes, or None if there is none.
        modified: When the source says that it was changed; aware, in UTC, or None.
        sha256: Checksum of the stored value, in hexadecimal.
        mimetype: The media type that the source names, or None.
        etag: The source's token of the stored version, or None.
        first_seen: When a crawl first saw it; aware, in UTC.
        last_seen: When a crawl that was complete last saw it, or a crawl said something of it.
        fetched: When its value was stored, or None.
        run: Number of the run that last changed what is known of it.
        added: Number of the run since which its value is there: the one that first stored it, or that found it listed
            again after it was gone.
        changed: Number of the run that stored other bytes than there were before.
        attempts: How many runs in a row could not fetch it.
        error: Why, or None.
    """

    key: str
    url: str
    source: str
    status: Status
    size: int | None
    modified: datetime | None
    sha256: str | None
    mimetype: str | None
    etag: str | None
    first_seen: datetime
    last_seen: datetime
    fetched: datetime | None
    run: int
    added: int
    changed: int
    attempts: int
    error: str | None
    _store: Store = field(repr=False, compare=False)

    def open(self, mode: Literal["r", "rb"] = "rb") -> IO[Any]:
        """Open the stored value.

        Args:
            mode: ``rb`` for bytes, ``r`` for text.

        Returns:
            A file object.

        Raises:
            DoesNotExist: If there is no value, as of a document that could never be fetched.
        """
        return self._store.open(self.key, mode)

    def local_path(self) -> AbstractContextManager[Path]:
        """Give the stored value as a local file for the length of a ``with`` block.

        Raises:
            DoesNotExist: If there is no value.
        """
        return self._store.local_path(self.key)

    def to_dict(self) -> dict[str, Any]:
        """Give what is known as plain values, such as a row of a table is made of."""
        return {one.name: getattr(self, one.name) for one in fields(self) if not one.name.startswith("_")}


def document_of(record: Record, *, store: Store, seen: datetime | None) -> Document:
    """Show a record.

    Args:
        record: The record.
        store: The target.
        seen: When the last complete crawl of its source began, or None.
    """
    is_seen = record.status == "ok" and seen is not None and seen > record.seen
    return Document(
        key=record.key,
        url=record.url,
        source=record.source,
        status=record.status,
        size=record.size,
        modified=record.modified,
        sha256=record.sha256,
        mimetype=record.mimetype,
        etag=record.etag,
        first_seen=record.first_seen,
        last_seen=seen if is_seen and seen is not None else record.seen,
        fetched=record.fetched,
        run=record.run,
        added=record.added,
        changed=record.changed,
        attempts=record.attempts,
        error=record.error,
        _store=store,
    )
