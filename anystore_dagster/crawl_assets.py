"""Assets whose documents come from a remote listing."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from dagster import (
    AssetDep,
    AssetExecutionContext,
    AssetKey,
    AssetsDefinition,
    AutomationCondition,
    Failure,
    MetadataValue,
    Output,
    RetryPolicy,
    TableColumn,
    TableRecord,
    TableSchema,
    asset,
)

from anystore import CrawlReport, InvalidOption, Store, crawl
from anystore.crawling import Verify
from anystore.uris import parse_uri
from anystore_dagster.resource import AnystoreResource

StoreLike = str | Store | AnystoreResource
"""A store: its URI or path, itself, or a resource, whose variables are read when the asset runs."""

_MOST_SHOWN = 1000
_MOST_LOGGED = 20


def crawl_asset(
    name: str,
    *,
    source: StoreLike,
    target: StoreLike,
    glob: str | None = None,
    exclude: str | Collection[str] = (),
    max_entries: int | None = None,
    max_bytes: int | None = None,
    robots: bool = True,
    concurrency: int | None = None,
    verify: Verify = "fast",
    prune: bool = False,
    fail_on_error: bool = False,
    key_prefix: str | Sequence[str] | None = None,
    group_name: str | None = None,
    description: str | None = None,
    deps: Sequence[AssetKey | AssetsDefinition | AssetDep | str] | None = None,
    io_manager_key: str | None = None,
    tags: Mapping[str, str] | None = None,
    owners: Sequence[str] | None = None,
    automation_condition: AutomationCondition[Any] | None = None,
    retry_policy: RetryPolicy | None = None,
) -> AssetsDefinition:
    """Make an asset that fetches every document of a listing into a store.

    Each materialization fetches what is new or changed; see :func:`anystore.crawl`. Documents that fail
    are logged as warnings and listed in the metadata, and do not fail the asset, unless no document
    is there at all. The value of the asset is a manifest: a dict with ``source``, ``target`` (both
    masked) and ``documents``, ``listed``, ``fetched``, ``unchanged``, ``gone`` and ``failed`` as numbers.

    Args:
        name: Name of the asset.
        source: The store to list, such as ``https://host/files/``.
        target: The store to fill.
        glob: A pattern for the keys to fetch, such as ``**/*.pdf``.
        exclude: A pattern, or several, for keys to leave out.
        max_entries: The most documents to look at.
        max_bytes: About how many bytes to fetch at most.
        robots: Whether ``robots.txt`` is obeyed.
        concurrency: The most requests at a time for one host.
        verify: ``fast``, ``full`` or ``audit``: how far to trust what is there; see :func:`anystore.crawl`.
        prune: Whether the values of documents that vanished from the listing are deleted.
        fail_on_error: Whether one document that fails makes the asset fail, after all others were fetched.
        key_prefix: Folders of the asset's key.
        group_name: The group it is shown in.
        description: What the documents are.
        deps: Assets that have to be there before.
        io_manager_key: The IO manager that keeps the manifest.
        tags: Tags of the asset.
        owners: Its owners.
        automation_condition: When it is materialized by itself.
        retry_policy: How often a failed step is tried again; what was fetched is not fetched again.

    Returns:
        The asset.

    Raises:
        InvalidOption: If ``source`` or ``target`` is no store.
        InvalidUri: If one of them is a text that is no URI.

    Example:
        >>> papers = crawl_asset("papers", source="https://example.org/papers/", target="./papers", glob="**/*.pdf")
        >>> papers.key.to_user_string()
        'papers'
    """
    _check_store("source", source)
    _check_store("target", target)

    @asset(
        name=name,
        key_prefix=key_prefix,
        group_name=group_name,
        description=description or f"Documents of {_shown(source)}, fetched into {_shown(target)}.",
        deps=deps,
        io_manager_key=io_manager_key,
        tags=tags,
        owners=owners,
        automation_condition=automation_condition,
        retry_policy=retry_policy,
        kinds={"anystore"},
    )
    def documents(context: AssetExecutionContext) -> Output[dict[str, Any]]:
        report = crawl(
            _open(source),
            _open(target),
            glob=glob,
            exclude=exclude,
            max_entries=max_entries,
            max_bytes=max_bytes,
            robots=robots,
            concurrency=concurrency,
            verify=verify,
            prune=prune,
        )
        _log(context, report)
        metadata = _report_metadata(report)
        if report.failures and (fail_on_error or not _documents(report)):
            raise Failure(description=_failure_text(report), metadata=metadata)
        return Output(_manifest(report), metadata=metadata)

    return documents


def _check_store(role: str, store: StoreLike) -> None:
    if isinstance(store, str):
        parse_uri(store)
    elif not isinstance(store, Store | AnystoreResource):
        raise InvalidOption(f"{role} of a crawl is a URI, a Store or an AnystoreResource, not {type(store).__name__}")


def _open(store: StoreLike) -> Store | str:
    return store.store if isinstance(store, AnystoreResource) else store


def _shown(store: StoreLike) -> str:
    """Say where a store is, as far as that is known before anything runs, with secrets masked."""
    if isinstance(store, AnystoreResource):
        return "a configured store"
    return parse_uri(store).masked if isinstance(store, str) else store.uri


def _documents(report: CrawlReport) -> int:
    return report.fetched + report.unchanged


def _manifest(report: CrawlReport) -> dict[str, Any]:
    return {
        "source": report.source,
        "target": report.target,
        "documents": _documents(report),
        "listed": report.listed,
        "fetched": report.fetched,
        "unchanged": report.unchanged,
        "gone": report.gone,
        "failed": len(report.failures),
    }


def _report_metadata(report: CrawlReport) -> dict[str, Any]:
    """Describe a crawl: counts first, then where, and a table of what failed."""
    metadata: dict[str, Any] = {
        "anystore/documents": _documents(report),
        "anystore/fetched": report.fetched,
        "anystore/unchanged": report.unchanged,
        "anystore/gone": report.gone,
        "anystore/failed": len(report.failures),
        "anystore/listed": report.listed,
        "anystore/fetched_bytes": report.bytes,
        "anystore/seconds": round(report.seconds, 3),
        "anystore/source": _place(report.source),
        "anystore/target": _place(report.target),
    }
    if report.failures:
        metadata["anystore/failures"] = MetadataValue.table(
            [
                TableRecord({"key": failure.key or "(listing)", "reason": failure.reason})
                for failure in report.failures[:_MOST_SHOWN]
            ],
            schema=TableSchema(columns=[TableColumn("key", "string"), TableColumn("reason", "string")]),
        )
    return metadata


def _place(uri: str) -> MetadataValue:
    """Let Dagster show an address as a link, where a browser could follow it."""
    return MetadataValue.url(uri) if uri.startswith(("http://", "https://")) else MetadataValue.text(uri)


def _log(context: AssetExecutionContext, report: CrawlReport) -> None:
    counts = (
        f"{report.listed:,} documents listed, {report.fetched:,} fetched ({report.bytes:,} bytes), "
        f"{report.unchanged:,} unchanged, {report.gone:,} gone, {len(report.failures):,} failed"
    )
    context.log.info("%s: %s", report.source, counts)
    for failure in report.failures[:_MOST_LOGGED]:
        context.log.warning("not fetched: %s: %s", failure.key or "a part of the listing", failure.reason)
    if len(report.failures) > _MOST_LOGGED:
        more = len(report.failures) - _MOST_LOGGED
        context.log.warning("not fetched: %s more; see the table anystore/failures", f"{more:,}")


def _failure_text(report: CrawlReport) -> str:
    """Say what failed, and what that means: what an earlier crawl stored is there whatever happens now."""
    first = report.failures[0]
    if not report.listed:
        return (
            f"the documents of {report.source} could not be listed, so nothing was fetched; "
            f"what {report.target} has is unchanged: {first.reason}"
        )
    return (
        f"of the {report.listed:,} documents of {report.source}, {_documents(report):,} are up to date in "
        f"{report.target}, and there were {len(report.failures):,} failures; "
        f"the first: {first.key or 'the listing'}: {first.reason}"
    )
