"""Assets that keep one store in step with another."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dagster import (
    AssetCheckResult,
    AssetCheckSpec,
    AssetDep,
    AssetExecutionContext,
    AssetKey,
    AssetsDefinition,
    AutomationCondition,
    DataVersion,
    Failure,
    MaterializeResult,
    OpExecutionContext,
    RetryPolicy,
    asset,
)

from anystore import MirrorReport, Store, mirror
from anystore.keys import Selection
from anystore.legible import readable_size
from anystore.mirroring import Compare, Verify, check_options
from anystore_dagster.crawl_reports import (
    COMPLETE,
    FILES,
    NO_FAILURES,
    VERIFIED,
    check_failures,
    check_specs,
    doubtful_check,
    failed_check,
    failures_table,
    first_failure,
    log_progress,
    log_report,
    named,
    passed_check,
    place,
)
from anystore_dagster.dagster_internals import latest_metadata
from anystore_dagster.store_choice import StoreLike, asset_key, check_places, open_store, shown_store
from anystore_dagster.values.known_stores import Places, remember_stores
from anystore_dagster.values.mirrors import MirroredFiles, MirrorManifest

_CONTENT = "anystore/content"
_MOST_DELETE = 1000
_CHECKS = {
    COMPLETE: "Both stores were listed to the end, and everything was done that was to be done.",
    NO_FAILURES: "No value and no listing has failed.",
    VERIFIED: "Every value was compared with its source by its bytes, as compare='checksum' does.",
}


def mirror_asset(
    name: str,
    source: StoreLike,
    target: StoreLike,
    *,
    prefix: str | None = None,
    exclude_prefix: str | None = None,
    glob: str | None = None,
    compare: Compare = "auto",
    delete: bool = False,
    max_delete: int | None = _MOST_DELETE,
    force: bool = False,
    verify: Verify = "fast",
    workers: int = 16,
    max_requests_per_second: float | None = None,
    max_bytes_per_second: float | None = None,
    retries: int = 3,
    fail_on_error: bool = False,
    blocking: bool = False,
    key_prefix: str | Sequence[str] | None = None,
    group_name: str | None = None,
    description: str | None = None,
    deps: Sequence[AssetKey | AssetsDefinition | AssetDep | str] | None = None,
    io_manager_key: str | None = None,
    tags: Mapping[str, str] | None = None,
    owners: Sequence[str] | None = None,
    automation_condition: AutomationCondition[Any] | None = None,
    retry_policy: RetryPolicy | None = None,
    pool: str | None = None,
) -> AssetsDefinition:
    """Make an asset that copies what one store has, and another has not, or not so.

    See :func:`anystore.mirror`. Values that fail are logged as warnings, listed in the metadata and told by the checks,
    and do not fail the asset, unless nothing is in step at all. The data version is made of the target's listing: of
    keys, sizes and versions or times. A mirror that has copied and deleted nothing leaves it as it was.

    Three asset checks come with it: ``complete``, ``no_failures``, and ``verified``, which passes if the bytes of all
    values were compared, and is a warning if they were not.

    The value is a small manifest, which the IO manager keeps. An input that is annotated :class:`FileCollection` opens
    it: a reference for each key of the target. For what is new since the last time, use a :func:`crawl_asset`, whose
    source can be any store.

    Args:
        name: Name of the asset.
        source: The store to read. It is never changed.
        target: The store to fill.
        prefix: A folder to mirror.
        exclude_prefix: A folder to leave out, on both sides.
        glob: A pattern for the keys relative to the prefix.
        compare: What makes a value of both sides another one: ``auto``, ``size``, ``version``, ``checksum`` or
            ``missing``; see :func:`anystore.mirror`.
        delete: Whether values of the target that the source has not are deleted.
        max_delete: How many values may be deleted; if there are more, none is. None is without limit.
        force: Whether the values of the target are deleted even if the source is empty.
        verify: ``full`` also reads each copy back.
        workers: How many values are copied at the same time.
        max_requests_per_second: How many values may be asked for, written, looked at or deleted in a second.
        max_bytes_per_second: How many bytes may be read in a second.
        retries: How often what can pass, such as a lost connection, is tried again.
        fail_on_error: Whether one failure makes the asset fail, after all others were copied.
        blocking: Whether what is downstream waits for the checks ``complete`` and ``no_failures``, and does not run if
            one fails.
        key_prefix: Folders of the asset's key.
        group_name: The group it is shown in.
        description: What the values are.
        deps: Assets that have to be there before.
        io_manager_key: The IO manager that keeps the manifest.
        tags: Tags of the asset.
        owners: Its owners.
        automation_condition: When it is materialized by itself.
        retry_policy: How often a failed step is tried again; what was copied is not copied again.
        pool: The pool whose limit holds for it.

    Returns:
        The asset.

    Raises:
        InvalidOption: If ``source`` or ``target`` is no store, or another argument is not what it can be.
        InvalidUri: If one of them is a text that is no URI.
        InvalidKey: If a prefix or the pattern is none.

    Example:
        >>> backup = mirror_asset("backup", "./reports", "s3://bucket/reports", delete=True)
        >>> backup.key.to_user_string()
        'backup'
    """
    check_places("mirror", source, target)
    Selection(prefix, exclude_prefix, glob)  # refuses now what the mirror would refuse
    check_options(
        compare=compare,
        verify=verify,
        workers=workers,
        retries=retries,
        max_delete=max_delete,
        max_requests_per_second=max_requests_per_second,
        max_bytes_per_second=max_bytes_per_second,
    )
    key = asset_key(name, key_prefix)
    remember_stores(key.to_user_string(), lambda: (open_store(target), None))

    @asset(
        key=key,
        group_name=group_name,
        description=description or f"What {shown_store(source)} has, copied to {shown_store(target)}.",
        deps=deps,
        io_manager_key=io_manager_key,
        dagster_type=FILES,
        check_specs=mirror_check_specs(key, blocking=blocking),
        tags=tags,
        owners=owners,
        automation_condition=automation_condition,
        retry_policy=retry_policy,
        kinds={"anystore"},
        pool=pool,
    )
    def values(context: AssetExecutionContext) -> Iterator[AssetCheckResult | MaterializeResult[MirroredFiles]]:
        store = open_store(target)
        report = mirror(
            open_store(source),
            store,
            prefix=prefix,
            exclude_prefix=exclude_prefix,
            glob=glob,
            compare=compare,
            delete=delete,
            max_delete=max_delete,
            force=force,
            verify=verify,
            workers=workers,
            max_requests_per_second=max_requests_per_second,
            max_bytes_per_second=max_bytes_per_second,
            retries=retries,
            progress=log_progress(context.log),
        )
        yield from mirror_result(
            context,
            key,
            report,
            store=store,
            read_content=lambda: read_content(store, prefix, exclude_prefix, glob),
            selection=(prefix, exclude_prefix, glob),
            compare=compare,
            verify=verify,
            fail_on_error=fail_on_error,
        )

    return values


def mirror_check_specs(key: AssetKey, *, blocking: bool) -> list[AssetCheckSpec]:
    """Declare the checks of an asset that mirrors; see :func:`check_specs`."""
    return check_specs(key, _CHECKS, blocking=blocking)


def mirror_result(
    context: AssetExecutionContext | OpExecutionContext,
    key: AssetKey,
    report: MirrorReport,
    *,
    store: Store,
    read_content: Callable[[], "Content"],
    selection: tuple[str | None, str | None, str | None],
    compare: Compare,
    verify: Verify,
    fail_on_error: bool,
) -> Iterator[AssetCheckResult | MaterializeResult[MirroredFiles]]:
    """Make what the step of an asset yields when its mirror has ended.

    Args:
        context: That of the step.
        key: Key of the asset.
        report: What the mirror did.
        store: The target.
        read_content: Tells what the target has.
        selection: The prefix, the prefix that is left out, and the pattern of what was mirrored.
        compare: What made values different.
        verify: Whether copies were read back.
        fail_on_error: Whether one failure makes the asset fail.

    Returns:
        The results of the checks, and of the asset.

    Raises:
        Failure: If nothing is in step, or something has failed and nothing may.
    """
    log_report(context.log, report, mirror_counts(report))
    checks = [_check_complete(report), check_failures(report), _check_verified(report, compare, verify)]
    if not report.complete and (fail_on_error or not report.copied + report.skipped):
        yield from checks  # of a step that fails, Dagster keeps what came before
        raise Failure(description=_failure_text(report), metadata=_metadata(report))
    content = read_content()
    before = latest_metadata(context.instance, key).get(_CONTENT)
    version = _version(content, report, before, context.run.run_id)
    context.set_data_version(key, DataVersion(version))  # lest the IO manager takes the manifest's checksum for it
    prefix, exclude_prefix, glob = selection
    manifest = MirrorManifest(
        asset=key.to_user_string(),
        source=report.source,
        store=report.target,
        prefix=prefix,
        exclude_prefix=exclude_prefix,
        glob=glob,
        counts={"values": content.values, "bytes": content.bytes, **_numbers(report)},
    )
    yield MaterializeResult(
        asset_key=key,
        value=MirroredFiles(manifest, places=Places(store)),
        metadata={
            **named({"values": content.values, "bytes": content.bytes}),
            **_metadata(report),
            _CONTENT: version,
        },
        data_version=DataVersion(version),
        check_results=checks,
    )


@dataclass(frozen=True, slots=True)
class Content:
    """What a listing tells of the values of a store.

    Attributes:
        values: How many there are.
        bytes: Their size together, as far as it is told.
        digest: Made of their keys, sizes and versions or times, in any order.
        is_blind: Whether a change of equal size may be missing in it.
    """

    values: int
    bytes: int
    digest: str
    is_blind: bool


def read_content(store: Store, prefix: str | None, exclude_prefix: str | None, glob: str | None) -> Content:
    """List what a store has.

    Args:
        store: The store.
        prefix: A folder, if not all.
        exclude_prefix: A folder that is left out.
        glob: A pattern of keys relative to the prefix.

    Returns:
        What the listing tells.
    """
    values = size = total = 0
    is_blind = False
    for entry in store.entries(prefix=prefix, exclude_prefix=exclude_prefix, glob=glob):
        values += 1
        size += entry.size or 0
        mark = entry.version or (entry.modified and entry.modified.isoformat())
        is_blind = is_blind or mark is None
        # a sum, since not every store lists in order, and there may be more keys than memory holds
        total += int.from_bytes(hashlib.sha256(f"{entry.key}\0{entry.size}\0{mark}".encode()).digest())
    return Content(values, size, f"{total % (1 << 256):064x}", is_blind)


def _version(content: Content, report: MirrorReport, before: Any, run_id: str) -> str:
    """Make the data version: that of the listing, and of the run where a listing does not tell what has changed."""
    if not (report.copied or report.deleted) and isinstance(before, str) and before[:64] == content.digest:
        return before
    return f"{content.digest}-{run_id}" if content.is_blind and report.copied else content.digest


def _numbers(report: MirrorReport) -> dict[str, int]:
    return {name: getattr(report, name) for name in ("copied", "skipped", "deleted", "failed")}


def _metadata(report: MirrorReport) -> dict[str, Any]:
    shown = {
        **_numbers(report),
        "copied_bytes": report.bytes,
        "seconds": round(report.seconds, 3),
        "complete": report.complete,
        "source": place(report.source),
        "target": place(report.target),
    }
    if report.failures:
        shown["failures"] = failures_table(report)
    return named(shown)


def mirror_counts(report: MirrorReport) -> str:
    """Tell the counts of a mirror in one line."""
    return (
        f"{report.copied:,} values copied ({readable_size(report.bytes)}), {report.skipped:,} were there already, "
        f"{report.deleted:,} deleted, {report.failed:,} failed"
    )


def _check_complete(report: MirrorReport) -> AssetCheckResult:
    if report.complete:
        return passed_check(COMPLETE, f"{report.target} is in step with {report.source}", **_numbers(report))
    return failed_check(
        COMPLETE, f"{report.target} is not in step; the first failure: {first_failure(report)}", **_numbers(report)
    )


def _check_verified(report: MirrorReport, compare: Compare, verify: Verify) -> AssetCheckResult:
    if not report.complete:
        return doubtful_check(VERIFIED, "not every value was compared: see the check 'complete'")
    if compare == "checksum" or (verify == "full" and not report.skipped):
        return passed_check(
            VERIFIED, f"the bytes of all {report.copied + report.skipped:,} values are those of the source"
        )
    read = f"the {report.copied:,} values that were copied were read back" if verify == "full" else ""
    return doubtful_check(
        VERIFIED,
        (f"{read}, and " if read else "")
        + f"{report.skipped:,} values were taken for equal by compare={compare!r}, without reading them"
        + ("" if read else f"; {report.copied:,} were copied, and not read back")
        + "; once in a while, let a second asset of the same source and target compare them, by compare='checksum' and "
        "a schedule of its own",
    )


def _failure_text(report: MirrorReport) -> str:
    return (
        f"{report.target} is not in step with {report.source}: {report.copied:,} values were copied, "
        f"{report.skipped:,} were there already, and there were {max(report.failed, len(report.failures)):,} failures; "
        f"the first: {first_failure(report)}"
    )
