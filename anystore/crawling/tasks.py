"""What a crawl does with one document: how it is listed, what is to be done, and what came of it."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from anystore.backend import Entry
from anystore.crawling.records import Record
from anystore.errors import AnystoreError, KeyConflict

What = Literal["fetched", "unchanged", "kept", "healed", "error", "skipped", "suspicious"]
"""What was done with a document; ``kept``: its stored value was looked at, and is as it was fetched."""


@dataclass(slots=True, kw_only=True)
class Listed:
    """A document, as a listing has it; not frozen, since that costs more than all else that is done with most of them.

    Attributes:
        key: Its key.
        url: Where it is, with secrets masked.
        shown: What the listing says of its size and time, or its version, in one text; None if it says nothing that
            would be another text after a change.
        size: Length in bytes, if it is told exactly.
        time: The time that the listing tells, perhaps in a zone of its own.
        fine: Whether times are told to the second; to the minute otherwise.
        entry: What another store than a web server knows of it.
    """

    key: str
    url: str
    shown: str | None
    size: int | None = None
    time: datetime | None = None
    fine: bool = True
    entry: Entry | None = None


@dataclass(slots=True, kw_only=True)
class Task:
    """A document to look after.

    Attributes:
        listed: The document.
        known: What the journal says of it, if it was this source's before.
        held: Whether the target has the value that the journal speaks of, as far as its size tells.
        proven: Whether the listing proves that it is unchanged, so that only the stored value is to be looked at.
        rehashes: Whether the stored value is to be looked at before anything else, and fetched if it has rotted.
        adopts: Since when a crawl that was killed may have stored the value of that size which the target has, and the
            journal does not know; None if there is none.
        rival: What the journal says of a document of another source that the target has under this key.
        audits: Whether it is to be fetched even if the source says that it is unchanged.
        expected: Checksums that a file beside it tells.
    """

    listed: Listed
    known: Record | None
    held: bool = False
    proven: bool = False
    rehashes: bool = False
    adopts: datetime | None = None
    rival: Record | None = None
    audits: bool = False
    expected: dict[str, bytes] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What came of a task; nobody changes it.

    Attributes:
        what: What was done.
        size: Length of the stored value.
        sha256: Its checksum.
        etag: The source's token of the version.
        last_modified: The source's own word for the time.
        modified: The time.
        mimetype: The media type.
        settled: Whether the listing's text proves the same bytes from now on.
        error: Why it was not fetched.
        by_target: Whether it was the target that did not take it.
    """

    what: What
    size: int | None = None
    sha256: str | None = None
    etag: str | None = None
    last_modified: str | None = None
    modified: datetime | None = None
    mimetype: str | None = None
    settled: bool = False
    error: AnystoreError | None = None
    by_target: bool = False


def check_rival(task: Task, sha256: str) -> None:
    """Refuse to put a document in the place of another one, of another source; the same bytes may stand for both.

    Raises:
        KeyConflict: If the target has other bytes under the key.
    """
    rival = task.rival
    if rival is not None and rival.sha256 != sha256:
        raise KeyConflict(
            f"{task.listed.url} has the key of another document, {rival.url} of {rival.source}, and was left out; give "
            "each source a target or a folder of its own, or delete the value if this one is to take its place"
        )
