"""Crawls that many machines do at the same time, each as one asset.

Inside, it is a graph: one step cuts the work into shards, dynamic steps look after one each, and one step ends it.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from dagster import (
    AssetCheckResult,
    AssetsDefinition,
    AutomationCondition,
    MaterializeResult,
    OpExecutionContext,
    RetryPolicy,
)

from anystore import BackendError, CrawlReport, Store, crawl
from anystore.crawling import ShardOfCrawl, Verify, begin_shards, check_options, end_shards
from anystore.crawling.sharding import begun_run
from anystore.keys import match_globs, parse_globs
from anystore.shards import check_cut
from anystore_dagster.crawl_assets import crawl_check_specs, crawl_result
from anystore_dagster.crawl_reports import crawl_counts, log_progress
from anystore_dagster.shard_steps import ExecutorFactory, ShardSteps, SomeDeps, ancestors, wait_for_all
from anystore_dagster.store_choice import StoreLike, asset_key, check_places, open_store, shown_store
from anystore_dagster.values.known_stores import Places, remember_stores

_PER_HOST = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class _Crawl:
    """One crawl, as it can be sent to another process.

    Attributes:
        source: The store to list.
        target: The store to fill.
        journal: Where its memory is kept, if not in the target.
        shards: How many parts it has.
        depth: How many folders deep they are told apart.
        at_once: How many of them may be at work at the same time, if that was said.
        max_requests_per_second: How many requests all of them together may make.
        options: What :func:`anystore.crawl` is told besides.
    """

    source: Store
    target: Store
    journal: Store | None
    shards: int
    depth: int
    at_once: int | None
    max_requests_per_second: float | None
    options: Mapping[str, Any]

    def begin(self, label: str) -> int:
        """Begin it, and give its number."""
        return begin_shards(
            self.source, self.target, shards=self.shards, depth=self.depth, label=label, journal=self.journal
        )

    def look_after(self, number: int, run: int, progress: Any = None) -> CrawlReport:
        """Do one shard."""
        is_web = self.source.uri.startswith(("http://", "https://"))
        shard = ShardOfCrawl(
            run=run,
            number=number,
            at_once=self.at_once or (min(_PER_HOST, self.shards) if is_web else self.shards),
            max_requests_per_second=self.max_requests_per_second,
        )
        return crawl(
            self.source, self.target, journal=self.journal, shard=shard, progress=progress, **dict(self.options)
        )

    def end(self, labels: Collection[str]) -> CrawlReport:
        """End what was begun under one of some labels."""
        begun = begun_run(self.source, (self.journal or self.target).backend)
        if begun is None or begun.label not in labels:
            raise BackendError(
                f"this run's crawl of {self.source.uri} was given up, since another crawl with the same journal has "
                "begun after it; what it has stored is there, and the other one goes on with that"
            )
        return end_shards(self.source, self.target, run=begun.number, journal=self.journal)


def sharded_crawl_asset(
    name: str,
    source: StoreLike,
    target: StoreLike,
    *,
    shards: int = 16,
    depth: int = 1,
    at_once: int | None = None,
    max_requests_per_second: float | None = None,
    executor: ExecutorFactory | None = None,
    journal: StoreLike | None = None,
    glob: str | None = None,
    exclude: str | Collection[str] = (),
    max_depth: int = 40,
    max_entries: int | None = None,
    max_bytes: int | None = None,
    allow_hosts: Collection[str] = (),
    robots: bool = True,
    concurrency: int | None = None,
    verify: Verify = "fast",
    prune: bool = False,
    fail_on_error: bool = False,
    blocking: bool = False,
    key_prefix: str | Sequence[str] | None = None,
    group_name: str | None = None,
    description: str | None = None,
    deps: SomeDeps | None = None,
    io_manager_key: str | None = None,
    tags: Mapping[str, str] | None = None,
    owners: Sequence[str] | None = None,
    automation_condition: AutomationCondition[Any] | None = None,
    retry_policy: RetryPolicy | None = None,
    pool: str | None = None,
    op_tags: Mapping[str, Any] | None = None,
) -> AssetsDefinition:
    """Make an asset as :func:`crawl_asset` does, whose documents many machines fetch at the same time.

    The crawl is cut into shards by the names of folders; each is a dynamic step, which the executor of the job runs
    where it runs steps. A shard has a journal that no other writes. Together they are one crawl, with one number: what
    loads the asset sees no difference. The number of shards may be changed from run to run.

    A step that runs twice, at the same time or one after the other, is harmless: a shard is looked after by one process
    at a time, and once for each run. A shard whose process was killed is gone on with by whoever comes next.

    Args:
        name: Name of the asset.
        source: The store to list, such as ``https://host/files/``.
        target: The store to fill, which every machine reaches.
        shards: How many parts there are, each a step: some for each machine, so that none waits long for the last one.
        depth: How many folders deep they are told apart; 0 tells them apart by whole keys, so that each shard lists
            everything; see :class:`anystore.shards.Shard`.
        at_once: How many shards are at work at the same time, over all machines: the others wait. 8 for a web server
            unless told otherwise, and all for other sources.
        max_requests_per_second: How many requests the host of the listing gets in a second, from all machines together.
        executor: Instead of dynamic steps, one step hands the shards to what this function gives: any
            :class:`concurrent.futures.Executor`, such as that of a Dask cluster. Its processes need the same libraries.
        journal: Where the crawl's memory is kept, if not in the target. It has to be a store that can hold leases.
        glob: A pattern for the keys to fetch, such as ``**/*.pdf``.
        exclude: A pattern, or several, for keys to leave out.
        max_depth: How many folders deep to go.
        max_entries: The most documents to look at, divided among the shards.
        max_bytes: About how many bytes to fetch at most, divided among the shards.
        allow_hosts: Hosts, beside the listing's own, to which redirects may lead.
        robots: Whether ``robots.txt`` is obeyed; a ``Crawl-delay`` holds for all machines together.
        concurrency: The most requests at a time for one host from all machines together, of which each shard that is
            at work makes one at least.
        verify: ``fast``, ``full`` or ``audit``: how far to trust what is there; see :func:`anystore.crawl`.
        prune: Whether the values of documents that vanished from the listing are deleted.
        fail_on_error: Whether one document that fails makes the asset fail, after all others were fetched.
        blocking: Whether what is downstream waits for the checks, and does not run if one fails.
        key_prefix: Folders of the asset's key.
        group_name: The group it is shown in.
        description: What the documents are.
        deps: Assets that have to be there before.
        io_manager_key: The IO manager that keeps the manifest.
        tags: Tags of the asset.
        owners: Its owners.
        automation_condition: When it is materialized by itself.
        retry_policy: How often a failed step is tried again; what was fetched is not fetched again.
        pool: The pool whose limit holds for the steps of shards.
        op_tags: Tags of these steps, such as the queue of an executor.

    Returns:
        The asset.

    Raises:
        InvalidOption: If ``source``, ``target`` or ``journal`` is no store, there can be no such shards, or another
            argument is not what it can be.
        InvalidUri: If one of them is a text that is no URI.
        InvalidKey: If a pattern is none.

    Example:
        >>> papers = sharded_crawl_asset("papers", "https://example.org/papers/", "s3://bucket/papers", shards=32)
        >>> sorted(step.name for step in papers.node_def.nodes)
        ['papers_end', 'papers_shard', 'papers_shards']
    """
    check_cut(shards, depth)
    ShardOfCrawl(
        run=1, number=1, at_once=1 if at_once is None else at_once, max_requests_per_second=max_requests_per_second
    )
    check_places("crawl", source, target, journal)
    check_options(
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
    options: dict[str, Any] = {
        "glob": glob,
        "exclude": excluded,
        "max_depth": max_depth,
        "max_entries": max_entries,
        "max_bytes": max_bytes,
        "allow_hosts": allow_hosts,
        "robots": robots,
        "concurrency": concurrency,
        "verify": verify,
        "prune": prune,
    }

    def this_crawl() -> _Crawl:
        store, memory = open_places()
        return _Crawl(
            source=open_store(source),
            target=store,
            journal=memory,
            shards=shards,
            depth=depth,
            at_once=at_once,
            max_requests_per_second=max_requests_per_second,
            options=options,
        )

    def result(
        context: OpExecutionContext, work: _Crawl, report: CrawlReport
    ) -> Iterator[AssetCheckResult | MaterializeResult[Any]]:
        places = Places(work.target, work.journal)
        return crawl_result(
            context,
            key,
            report,
            places=places,
            covers=match_globs(glob, excluded),
            verify=verify,
            fail_on_error=fail_on_error,
        )

    def begin(context: OpExecutionContext) -> str:
        return str(this_crawl().begin(context.run_id))

    def look_after(context: OpExecutionContext, number: int, token: str) -> str:
        return crawl_counts(this_crawl().look_after(number, int(token), log_progress(context.log)))

    def end(context: OpExecutionContext) -> Iterator[Any]:
        work = this_crawl()
        return result(context, work, work.end(ancestors(context)))

    def do_all(context: OpExecutionContext, pool: Executor) -> Iterator[Any]:
        work = this_crawl()
        run = work.begin(context.run_id)
        wait_for_all([pool.submit(work.look_after, number, run) for number in range(1, shards + 1)])
        return result(context, work, work.end([context.run_id]))

    steps = ShardSteps(
        key=key,
        shards=shards,
        begin=begin,
        look_after=look_after,
        end=end,
        do_all=do_all,
        checks=crawl_check_specs(key, blocking=blocking),
        io_manager_key=io_manager_key,
        retry_policy=retry_policy,
        pool=pool,
        op_tags=op_tags,
        deps=deps or (),
    )
    return steps.make_asset(
        executor,
        group_name=group_name,
        description=description or f"Documents of {shown_store(source)}, fetched into {shown_store(target)}.",
        tags=tags,
        owners=owners,
        automation_condition=automation_condition,
    )
