"""What a crawl did."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from anystore.legible import readable_size
from anystore.markup import html_report

MOST_FAILURES = 1000
"""How many failures a report holds; all of them are in the log."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One document that could not be fetched, or a part of the listing that could not be read.

    Attributes:
        key: The document's key, or the folder's with its ``/``; ``""`` for the listing as a whole.
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
        run: Number of this run in the journal, from 1 on.
        started: When it began; aware, in UTC.
        listed: Documents in the listing.
        fetched: Documents that were new or changed, and are stored now.
        unchanged: Documents that the target had already.
        gone: Documents that were fetched by an earlier crawl, and are not in the listing any more.
        pruned: Those of them whose values were deleted.
        skipped: Documents that were passed over: by ``robots.txt``, or since the target cannot hold their names.
        healed: Stored values that were not as they were fetched any more, and were fetched again.
        failed: How much could not be fetched or listed, or looks wrong.
        failures: The same, with its reasons; of more than 1,000, the first 1,000. Each is also a line of the logger
            ``anystore.crawling`` at level ``INFO``, and documents that failed are in the journal.
        limits: The limits that ended the crawl early, such as ``max_bytes``.
        bytes: Bytes of the fetched documents.
        seconds: How long it took.
        root: Checksum over the keys and checksums of all documents that crawls have stored; equal ones mean equal
            documents.
    """

    source: str
    target: str
    run: int
    started: datetime
    listed: int = 0
    fetched: int = 0
    unchanged: int = 0
    gone: int = 0
    pruned: int = 0
    skipped: int = 0
    healed: int = 0
    failed: int = 0
    failures: tuple[Failure, ...] = ()
    limits: tuple[str, ...] = ()
    bytes: int = 0
    seconds: float = 0.0
    root: str = ""

    @property
    def complete(self) -> bool:
        """Whether every document of the listing that was wanted is in the target."""
        return not self.failed and not self.limits

    def _repr_html_(self) -> str:
        """Show the report in a notebook."""
        return html_report(
            f"crawl of {self.source} to {self.target}",
            {
                "listed": self.listed,
                "fetched": self.fetched,
                "unchanged": self.unchanged,
                "gone": self.gone,
                "skipped": self.skipped,
                "failed": self.failed,
                "bytes": readable_size(self.bytes),
                "seconds": round(self.seconds, 1),
                "limits": ", ".join(self.limits) or "none reached",
            },
            [(failure.key, failure.reason) for failure in self.failures],
        )

    def to_dict(self) -> dict[str, Any]:
        """Give the report as plain values."""
        return asdict(self) | {
            "started": self.started.isoformat(),
            "failures": [asdict(failure) for failure in self.failures],
            "limits": list(self.limits),
            "complete": self.complete,
        }
