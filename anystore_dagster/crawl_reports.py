"""What Dagster shows of a crawl or a mirror: counts, a table of what failed, and checks that say why they fail."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from dagster import (
    AssetCheckResult,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetKey,
    MetadataValue,
    PythonObjectDagsterType,
    TableColumn,
    TableRecord,
    TableSchema,
)

from anystore import CrawlReport
from anystore.crawling import Verify
from anystore.legible import readable_size
from anystore.progress import Progress
from anystore_dagster.values import FileCollection

FILES = PythonObjectDagsterType(FileCollection)
"""The type of the values of crawl and mirror assets."""

COMPLETE, NO_FAILURES, VERIFIED = "complete", "no_failures", "verified"
"""The names of the checks."""

_MOST_SHOWN = 1000
_MOST_LOGGED = 20
_LOG_SECONDS = 30.0
_WHOLE = "(listing)"


class SomeFailure(Protocol):
    """A failure of a crawl or a mirror."""

    @property
    def key(self) -> str:
        """The key, or ``""`` for the listing as a whole."""

    @property
    def reason(self) -> str:
        """What went wrong."""


class SomeReport(Protocol):
    """What the reports of crawls and mirrors have in common."""

    @property
    def source(self) -> str:
        """URI of what was read."""

    @property
    def failed(self) -> int:
        """How much has failed."""

    @property
    def failures(self) -> Sequence[SomeFailure]:
        """The first of these."""


def check_specs(asset: AssetKey, descriptions: Mapping[str, str], *, blocking: bool) -> list[AssetCheckSpec]:
    """Declare the checks of an asset.

    Args:
        asset: Its key.
        descriptions: What each check says, by its name.
        blocking: Whether what is downstream waits for those that can fail, and does not run if one does.

    Returns:
        What ``@asset(check_specs=…)`` takes.
    """
    return [
        AssetCheckSpec(name, asset=asset, description=text, blocking=blocking and name != VERIFIED)
        for name, text in descriptions.items()
    ]


def failed_check(name: str, reason: str, **metadata: Any) -> AssetCheckResult:
    """Make the result of a check that failed."""
    return AssetCheckResult(check_name=name, passed=False, description=reason, metadata=named(metadata))


def passed_check(name: str, reason: str, **metadata: Any) -> AssetCheckResult:
    """Make the result of a check that passed."""
    return AssetCheckResult(check_name=name, passed=True, description=reason, metadata=named(metadata))


def doubtful_check(name: str, reason: str, **metadata: Any) -> AssetCheckResult:
    """Make the result of a check that has not found what it looks for, which is worth a warning and no error."""
    return AssetCheckResult(
        check_name=name,
        passed=False,
        severity=AssetCheckSeverity.WARN,
        description=reason,
        metadata=named(metadata),
    )


def check_failures(report: SomeReport) -> AssetCheckResult:
    """Tell whether anything has failed."""
    failed = max(report.failed, len(report.failures))  # a listing that broke off is a failure, and no value
    if not failed:
        return passed_check(NO_FAILURES, "nothing has failed", failed=0)
    return failed_check(
        NO_FAILURES,
        f"{failed:,} failed; the first: {first_failure(report)}",
        failed=failed,
        failures=failures_table(report),
    )


def check_crawl(report: CrawlReport, verify: Verify, *, kept: str | None) -> list[AssetCheckResult]:
    """Make the results of the checks of a crawl.

    Args:
        report: What it did.
        verify: How far it trusted what was there.
        kept: A document that the target has, though the listing has become empty.

    Returns:
        A result for each check.
    """
    return [_check_complete(report, kept), check_failures(report), _check_verified(report, verify)]


def _check_complete(report: CrawlReport, kept: str | None) -> AssetCheckResult:
    counts = {"listed": report.listed, "documents": documents_of(report)}
    if kept is not None:
        return failed_check(
            COMPLETE,
            f"nothing is listed any more, and what was there counts as gone, such as {kept!r}: check that the source "
            "is whole, since a folder that is not mounted looks like that; if it is to be empty, delete what "
            f"{report.target} has of it",
            **counts,
        )
    if report.complete:
        text = f"all {documents_of(report):,} documents of the listing that were wanted are stored"
        skipped = f"; {report.skipped:,} were passed over, by robots.txt or for their names" if report.skipped else ""
        return passed_check(COMPLETE, text + skipped, **counts, skipped=report.skipped)
    reasons = []
    if report.limits:
        reasons.append(f"the crawl was ended by {', '.join(report.limits)}, before it had seen all")
    if report.failed:
        reasons.append(f"{report.failed:,} of its documents and folders failed; the first: {first_failure(report)}")
    return failed_check(COMPLETE, "not all of the listing is stored: " + "; ".join(reasons), **counts)


def _check_verified(report: CrawlReport, verify: Verify) -> AssetCheckResult:
    count = f"{documents_of(report):,} documents"
    if report.complete and not report.unchanged:
        return passed_check(VERIFIED, f"all {count} were fetched by this crawl, and hashed on the way")
    if verify == "fast" and report.unchanged:
        return doubtful_check(
            VERIFIED,
            f"the {report.unchanged:,} documents that were there already were not read again: verify='fast' trusts the "
            "listing and the sizes; once in a while, let a second asset of the same source and target read them, by "
            "verify='full' and a schedule of its own",
        )
    if not report.complete:
        return doubtful_check(VERIFIED, f"{count} were verified, and others are not stored: see the check 'complete'")
    what = "fetched again" if verify == "audit" else "read again, and are as they were stored"
    if verify == "full" and report.fetched:
        count, what = f"{report.unchanged:,} documents", f"{what}; {report.fetched:,} were fetched by this crawl"
    healed = f"; {report.healed:,} had rotted, and were fetched again" if report.healed else ""
    return passed_check(VERIFIED, f"{count} were {what}{healed}", healed=report.healed)


def documents_of(report: CrawlReport) -> int:
    """Count the documents of the listing that are in the target as the source has them."""
    return report.fetched + report.unchanged + report.healed


def crawl_metadata(report: CrawlReport, journal: str) -> dict[str, Any]:
    """Describe a crawl: counts first, and a table of what failed, then where everything is.

    Args:
        report: What it did.
        journal: URI of its journal.

    Returns:
        Metadata of the materialization.
    """
    shown: dict[str, Any] = {"documents": documents_of(report)}
    shown |= {name: getattr(report, name) for name in ("listed", "fetched", "unchanged", "gone", "failed")}
    if report.failures:
        shown["failures"] = failures_table(report)
    if report.limits:
        shown["limits"] = ", ".join(report.limits)
    shown |= {
        "complete": report.complete,
        **{name: getattr(report, name) for name in ("skipped", "healed", "pruned")},
        "fetched_bytes": report.bytes,
        "seconds": round(report.seconds, 3),
        "run": report.run,
        "source": place(report.source),
        "target": place(report.target),
        "journal": place(journal),
    }
    return named(shown)


def failures_table(report: SomeReport) -> MetadataValue[Any]:
    """Show what failed, and why."""
    return MetadataValue.table(
        [
            TableRecord({"key": failure.key or _WHOLE, "reason": failure.reason})
            for failure in report.failures[:_MOST_SHOWN]
        ],
        schema=TableSchema(columns=[TableColumn("key", "string"), TableColumn("reason", "string")]),
    )


def first_failure(report: SomeReport) -> str:
    """Tell the first failure in one line."""
    if not report.failures:
        return "see the log"
    return f"{report.failures[0].key or 'the listing'}: {report.failures[0].reason}"


def place(uri: str) -> MetadataValue[Any]:
    """Let Dagster show an address as a link, where a browser could follow it."""
    return MetadataValue.url(uri) if uri.startswith(("http://", "https://")) else MetadataValue.text(uri)


def log_report(log: Any, report: SomeReport, counts: str) -> None:
    """Log what was done, and the first failures as warnings.

    Args:
        log: Dagster's log of the run.
        report: The report.
        counts: Its counts in words.
    """
    log.info("%s: %s", report.source, counts)
    for failure in report.failures[:_MOST_LOGGED]:
        log.warning("failed: %s: %s", failure.key or "a part of the listing", failure.reason)
    if report.failed > _MOST_LOGGED:
        log.warning("failed: %s more; see the table anystore/failures", f"{report.failed - _MOST_LOGGED:,}")


def crawl_counts(report: CrawlReport) -> str:
    """Tell the counts of a crawl in one line."""
    return (
        f"{report.listed:,} documents listed, {report.fetched:,} fetched ({readable_size(report.bytes)}), "
        f"{report.unchanged:,} unchanged, {report.gone:,} gone, {report.failed:,} failed"
    )


def failure_text(report: CrawlReport) -> str:
    """Say what failed, and what that means: what an earlier crawl stored is there whatever happens now."""
    if not report.listed:
        return (
            f"the documents of {report.source} could not be listed, so nothing was fetched; "
            f"what {report.target} has is unchanged: {report.failures[0].reason}"
        )
    return (
        f"of the {report.listed:,} documents of {report.source}, {documents_of(report):,} are up to date in "
        f"{report.target}, and there were {report.failed:,} failures; the first: {first_failure(report)}"
    )


def log_progress(log: Any, clock: Callable[[], float] = time.monotonic) -> Callable[[Progress], None]:
    """Make a watcher that logs how far a run is, twice a minute.

    Args:
        log: Dagster's log of the run.
        clock: Tells monotonic seconds.

    Returns:
        What ``progress=`` takes.
    """
    told_at = clock()

    def watch(progress: Progress) -> None:
        nonlocal told_at
        if progress.finished or clock() < told_at + _LOG_SECONDS:
            return
        told_at = clock()
        total = f"{progress.total:,}{' or more' if progress.listing else ''}"
        failed = f", {progress.failed:,} failed" if progress.failed else ""
        log.info("%s of %s done, %s%s", f"{progress.done:,}", total, readable_size(progress.bytes), failed)

    return watch


def named(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Put ``anystore/`` before the names of metadata."""
    return {f"anystore/{name}": value for name, value in metadata.items()}
