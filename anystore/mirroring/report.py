"""What a mirror did: the report, and the count that is kept on the way."""

from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from anystore.legible import readable_size
from anystore.markup import html_report

MOST_FAILURES = 1000
"""How many failures a report holds; all of them are in the log."""


@dataclass(frozen=True, slots=True)
class MirrorFailure:
    """One value that is not in the target as it is in the source, or what kept the whole from being in step.

    Attributes:
        key: The key, or ``""`` for what is about the whole, such as a listing that broke off.
        reason: What went wrong, and what to do.
    """

    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class MirrorReport:
    """What a mirror did, or would do.

    Attributes:
        source: URI of the store that was read, with secrets masked.
        target: URI of the store that was filled, with secrets masked.
        copied: Values that were missing or different in the target, and are there now.
        skipped: Values that needed nothing.
        deleted: Values that the source has not, and the target has no more.
        failed: Values that could not be copied or deleted.
        failures: The failures with their reasons, those about the whole first; of more than 1,000 failed values, the
            first 1,000. Each failure is also a line of the logger ``anystore.mirroring`` at level ``INFO``.
        bytes: Bytes of the values that were copied.
        seconds: How long it took.
        dry_run: Whether this only tells what would happen.
    """

    source: str
    target: str
    copied: int = 0
    skipped: int = 0
    deleted: int = 0
    failed: int = 0
    failures: tuple[MirrorFailure, ...] = ()
    bytes: int = 0
    seconds: float = 0.0
    dry_run: bool = False

    @property
    def complete(self) -> bool:
        """Whether everything was done that was to be done."""
        return not self.failures and not self.failed

    def to_dict(self) -> dict[str, Any]:
        """Give the report as plain values."""
        return asdict(self) | {"failures": [asdict(failure) for failure in self.failures], "complete": self.complete}

    def _repr_html_(self) -> str:
        what = "what a mirror would do" if self.dry_run else "mirror"
        facts = {
            "copied": self.copied,
            "skipped": self.skipped,
            "deleted": self.deleted,
            "failed": self.failed,
            "bytes": readable_size(self.bytes),
            "seconds": self.seconds,
        }
        failures = [(failure.key, failure.reason) for failure in self.failures]
        return html_report(f"{what} of {self.source} to {self.target}", facts, failures)


class MirrorInterrupted(KeyboardInterrupt):
    """Ctrl-C ended a mirror; the next run completes it.

    Attributes:
        report: What was done until then.
    """

    def __init__(self, report: MirrorReport) -> None:
        """Tell in one line what was done."""
        super().__init__(
            f"the mirror was interrupted after {report.copied:,} values were copied; run it again to complete it"
        )
        self.report = report

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the report."""
        return type(self), (self.report,)


@dataclass(slots=True)
class Outcome:
    """What came of some values; plain, so that it comes back from other processes.

    Attributes:
        copied: Values that were copied.
        skipped: Values that needed nothing.
        deleted: Values that were deleted.
        bytes: Bytes of the values that were copied.
        failed: How many values failed.
        failures: Those that failed; the first ones, where outcomes are added up.
        conflicts: Keys of those that failed because of another key, which a deletion may take away.
        service_failures: How many of the last values failed by the fault of a service, one after the other.
        changes: What was done to which key, and a digest of what was copied; for the log, and not kept.
    """

    copied: int = 0
    skipped: int = 0
    deleted: int = 0
    bytes: int = 0
    failed: int = 0
    failures: list[MirrorFailure] = field(default_factory=list)
    conflicts: set[str] = field(default_factory=set)
    service_failures: int = 0
    changes: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def values(self) -> int:
        """How many values this is about."""
        return self.copied + self.skipped + self.deleted + self.failed

    def add(self, other: "Outcome") -> None:
        """Count what came of other values."""
        self.copied += other.copied
        self.skipped += other.skipped
        self.deleted += other.deleted
        self.bytes += other.bytes
        self.failed += other.failed
        kept = other.failures[: MOST_FAILURES - len(self.failures)]
        self.failures += kept
        if len(kept) == len(other.failures):  # what is not shown has failed for good, until the next run
            self.conflicts |= other.conflicts
        # a value that went well ends the series
        done = other.copied or other.skipped or other.deleted
        self.service_failures = other.service_failures + (0 if done else self.service_failures)

    def fail(self, keys: Iterable[str], reason: str) -> None:
        """Count values that failed for one reason."""
        fresh = [MirrorFailure(key, reason) for key in keys]
        self.failures += fresh
        self.failed += len(fresh)

    def forgive(self, keys: Collection[str]) -> None:
        """Count some failures no more, since their values are tried again."""
        kept = [failure for failure in self.failures if failure.key not in keys]
        self.failed -= len(self.failures) - len(kept)
        self.failures = kept
