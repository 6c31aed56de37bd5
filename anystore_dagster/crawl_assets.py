"""Assets whose documents come from a remote listing."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Literal

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

from anystore import CrawlReport, Store, crawl
from anystore.crawling import Verify, check_options, documents
from anystore.keys import match_globs, parse_globs, private_key
from anystore_dagster.crawl_reports import (
    COMPLETE,
    FILES,
    NO_FAILURES,
    VERIFIED,
    check_crawl,
    check_specs,
    crawl_counts,
    crawl_metadata,
    documents_of,
    failure_text,
    log_progress,
    log_report,
)
from anystore_dagster.store_choice import StoreLike, asset_key, check_places, open_store, shown_store
from anystore_dagster.values.crawls import CrawledFiles, crawled_files
from anystore_dagster.values.known_stores import Places, remember_stores

_MOST_LOOKED_AT = 100
_CHECKS = {
    COMPLETE: "Every document of the listing that was wanted is stored.",
    NO_FAILURES: "No document and no folder of the listing has failed.",
    VERIFIED: "The crawl has read every stored document again, by verify='full', or fetched it, by verify='audit'.",
}


def crawl_asset(
    name: str,
    source: StoreLike,
    target: StoreLike,
    *,
    journal: StoreLike | None = None,
    glob: str | None = None,
    exclude: str | Collection[str] = (),
    max_depth: int = 40,
    max_entries: int | None = None,
    max_bytes: int | None = None,
    allow_hosts: Collection[str] = (),
    robots: bool = True,
    concurrency: int | None = None,
    follow: Literal["listings", "links"] = "listings",
    verify: Verify = "fast",
    prune: bool = False,
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
    """Make an asset that fetches every document of a listing into a store.

    Each materialization fetches what is new or changed; see :func:`anystore.crawl`. Its data version is a checksum over
    all documents, so that a crawl that finds nothing new leaves what is downstream fresh. Documents that fail
    are logged as warnings, listed in the metadata and told by the checks, and do not fail the asset, unless no document
    is there at all.

    Three asset checks come with it: ``complete``, ``no_failures``, and ``verified``, which passes if the crawl has
    read all documents again, and is a warning if it has not.

    The value is a small manifest, which the IO manager keeps. An input that is annotated :class:`FileCollection` opens
    it: going through it gives all documents, and ``new``, ``changed`` and ``gone`` those of all crawls since the asset
    that loads it was last materialized.

    Args:
        name: Name of the asset.
        source: The store to list, such as ``https://host/files/``.
        target: The store to fill.
        journal: Where the crawl's memory is kept, if not in the target.
        glob: A pattern for the keys to fetch, such as ``**/*.pdf``.
        exclude: A pattern, or several, for keys to leave out.
        max_depth: How many folders deep to go.
        max_entries: The most documents to look at.
        max_bytes: About how many bytes to fetch at most.
        allow_hosts: Hosts, beside the listing's own, to which redirects may lead.
        robots: Whether ``robots.txt`` is obeyed.
        concurrency: The most requests at a time for one host.
        follow: ``links`` takes any page for a listing of what it links to.
        verify: ``fast``, ``full`` or ``audit``: how far to trust what is there; see :func:`anystore.crawl`.
        prune: Whether the values of documents that vanished from the listing are deleted.
        fail_on_error: Whether one document that fails makes the asset fail, after all others were fetched.
        blocking: Whether what is downstream waits for the checks ``complete`` and ``no_failures``, and does not run if
            one fails.
        key_prefix: Folders of the asset's key.
        group_name: The group it is shown in.
        description: What the documents are.
        deps: Assets that have to be there before.
        io_manager_key: The IO manager that keeps the manifest.
        tags: Tags of the asset.
        owners: Its owners.
        automation_condition: When it is materialized by itself.
        retry_policy: How often a failed step is tried again; what was fetched is not fetched again.
        pool: The pool whose limit holds for it, such as one for each host that is not to be asked too much.

    Returns:
        The asset.

    Raises:
        InvalidOption: If ``source``, ``target`` or ``journal`` is no store, or another argument is not what it can be.
        InvalidUri: If one of them is a text that is no URI.
        InvalidKey: If a pattern is none.

    Example:
        >>> papers = crawl_asset("papers", "https://example.org/papers/", "./papers", glob="**/*.pdf")
        >>> papers.key.to_user_string()
        'papers'
    """
    check_places("crawl", source, target, journal)
    check_options(
        follow=follow,
        verify=verify,
        allow_hosts=allow_hosts,
        max_depth=max_depth,
        max_entries=max_entries,
        max_bytes=max_bytes,
        concurrency=concurrency,
    )
    excluded = parse_globs(glob, exclude)
    key = asset_key(name, key_prefix)

    def open_places() -> tuple[Store, Store | None]:
        return open_store(target), None if journal is None else open_store(journal)

    remember_stores(key.to_user_string(), open_places)

    @asset(
        key=key,
        group_name=group_name,
        description=description or f"Documents of {shown_store(source)}, fetched into {shown_store(target)}.",
        deps=deps,
        io_manager_key=io_manager_key,
        dagster_type=FILES,
        check_specs=crawl_check_specs(key, blocking=blocking),
        tags=tags,
        owners=owners,
        automation_condition=automation_condition,
        retry_policy=retry_policy,
        kinds={"anystore"},
        pool=pool,
    )
    def fetched(
        context: AssetExecutionContext,
    ) -> Iterator[AssetCheckResult | MaterializeResult[CrawledFiles]]:
        store, memory = open_places()
        report = crawl(
            open_store(source),
            store,
            journal=memory,
            glob=glob,
            exclude=excluded,
            max_depth=max_depth,
            max_entries=max_entries,
            max_bytes=max_bytes,
            allow_hosts=allow_hosts,
            robots=robots,
            concurrency=concurrency,
            follow=follow,
            verify=verify,
            prune=prune,
            progress=log_progress(context.log),
        )
        places = Places(store, memory)
        yield from crawl_result(
            context,
            key,
            report,
            places=places,
            covers=match_globs(glob, excluded),
            verify=verify,
            fail_on_error=fail_on_error,
        )

    return fetched


def crawl_check_specs(key: AssetKey, *, blocking: bool) -> list[AssetCheckSpec]:
    """Declare the checks of an asset that crawls; see :func:`check_specs`."""
    return check_specs(key, _CHECKS, blocking=blocking)


def crawl_result(
    context: AssetExecutionContext | OpExecutionContext,
    key: AssetKey,
    report: CrawlReport,
    *,
    places: Places,
    covers: Callable[[str], bool],
    verify: Verify,
    fail_on_error: bool,
) -> Iterator[AssetCheckResult | MaterializeResult[CrawledFiles]]:
    """Make what the step of an asset yields when its crawl has ended.

    Args:
        context: That of the step.
        key: Key of the asset.
        report: What the crawl did.
        places: The target, and the store of the journal.
        covers: Tells whether a key is one of those that are wanted.
        verify: How far the crawl trusted what was there.
        fail_on_error: Whether one document that fails makes the asset fail.

    Returns:
        The results of the checks, and of the asset.

    Raises:
        Failure: If no document is there, or one has failed and none may.
    """
    log_report(context.log, report, crawl_counts(report))
    journal = places.journal or places.store
    metadata = crawl_metadata(report, journal.backend.locate(private_key("crawl/journal.json")))
    checks = check_crawl(report, verify, kept=_kept_without_listing(report, places, covers))
    if report.failed and (fail_on_error or not documents_of(report)):
        yield from checks  # of a step that fails, Dagster keeps what came before
        raise Failure(description=failure_text(report), metadata=metadata)
    version = DataVersion(report.root)
    context.set_data_version(key, version)  # lest the IO manager takes the manifest's checksum for it
    yield MaterializeResult(
        asset_key=key,
        value=crawled_files(key.to_user_string(), report, places),
        metadata=metadata,
        data_version=version,
        check_results=checks,
    )


def _kept_without_listing(report: CrawlReport, places: Places, covers: Callable[[str], bool]) -> str | None:
    """Give a document that the target has, if the listing has none at all: it has become empty, or is away."""
    if report.listed or not report.complete:
        return None
    gone = (
        document.key
        for document in documents(places.store, status="gone", journal=places.journal)
        if document.source == report.source and document.sha256 is not None and covers(document.key)
    )
    # somebody may have deleted them all, which is no reason to ask for each
    return next((key for key in islice(gone, _MOST_LOOKED_AT) if places.store.exists(key)), None)
