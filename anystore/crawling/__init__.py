"""Fetch every document of a remote listing into a store, again and again.

A journal below ``.anystore/`` of the target remembers what was fetched, so that an unchanged
document costs one conditional request or none, and one that vanished is marked and kept.
"""

import logging
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Literal, get_args

from anystore.backend import Backend
from anystore.crawling.index import Index, room_for_index
from anystore.crawling.journal import Journal, Run
from anystore.crawling.records import Document, Status, document_of
from anystore.crawling.report import CrawlReport, Failure
from anystore.crawling.run import CrawlRun, Limits, Verify
from anystore.crawling.sharding import Part, ShardOfCrawl, begin_shards, end_shards, forget_runs, held_part
from anystore.errors import InvalidOption
from anystore.extras import load
from anystore.keys import match_glob, match_globs, parse_globs, private_key
from anystore.progress import ProgressOption, Tracker
from anystore.store import Store, get_store

__all__ = [
    "CrawlReport",
    "Document",
    "Failure",
    "Run",
    "ShardOfCrawl",
    "Status",
    "Verify",
    "begin_shards",
    "crawl",
    "documents",
    "end_shards",
    "runs",
]

_log = logging.getLogger(__name__)

_MAX_DEPTH = 40
_WEB = ("http://", "https://")


def crawl(
    source: Store | str | os.PathLike[str],
    target: Store | str | os.PathLike[str],
    *,
    journal: Store | str | os.PathLike[str] | None = None,
    glob: str | None = None,
    exclude: str | Collection[str] = (),
    max_depth: int = _MAX_DEPTH,
    max_entries: int | None = None,
    max_bytes: int | None = None,
    allow_hosts: Collection[str] = (),
    robots: bool = True,
    concurrency: int | None = None,
    follow: Literal["listings", "links"] = "listings",
    verify: Verify = "fast",
    prune: bool = False,
    progress: ProgressOption = None,
    shard: ShardOfCrawl | None = None,
) -> CrawlReport:
    """Fetch each document of a listing that the target does not have yet.

    One failure never stops the rest: it is in the report. Each document is stored whole or not at
    all. Memory is bounded, whatever the size of the listing and of its documents.

    Args:
        source: The store to list, or its URI, such as ``https://host/files/``.
        target: The store to fill, or its URI.
        journal: Where the crawl's memory is kept, if not in the target.
        glob: A pattern for the keys to fetch.
        exclude: A pattern, or several, for keys to leave out.
        max_depth: How many folders deep to go.
        max_entries: The most documents to look at; those are fetched.
        max_bytes: About how many bytes to fetch at most; what has begun is ended.
        allow_hosts: Hosts, beside the listing's own, to which redirects may lead.
        robots: Whether ``robots.txt`` and its ``Crawl-delay`` are obeyed.
        concurrency: The most requests at a time for one host: 8 unless told otherwise, 32 on this machine.
        follow: ``links`` takes any page of a web server for a listing of what it links to, below its own folder.
        verify: ``fast`` trusts a listing that proves a document unchanged; ``full`` also reads each stored value, and
            fetches what is not as it was stored; ``audit`` fetches everything again.
        prune: Whether the values of documents that vanished from the listing are deleted.
        progress: True for a bar on a terminal or in a notebook, or a function; see :mod:`anystore.progress`.
        shard: Which part of a crawl to do, between :func:`begin_shards` and :func:`end_shards`; other processes or
            machines do the others. What ``max_entries`` and ``max_bytes`` allow is divided among them.

    Returns:
        What was done.

    Raises:
        Unsupported: If the source cannot list, or the target cannot write.
        InvalidOption: If an argument is not what it can be, or the target lies in the source.
        BackendError: If the target or its journal fails, or another crawl is writing it. What the source does wrong is
            in the report, and a warning in the log.

    Example:
        >>> source, target = get_store("memory://listing"), get_store("memory://archive")
        >>> entry = source.put("a.txt", "hello")
        >>> crawl(source, target).fetched, crawl(source, target).fetched
        (1, 0)
    """
    check_options(
        follow=follow,
        verify=verify,
        allow_hosts=allow_hosts,
        max_depth=max_depth,
        max_entries=max_entries,
        max_bytes=max_bytes,
        concurrency=concurrency,
    )
    if shard is not None and follow == "links":
        raise InvalidOption("follow='links' cannot be done in shards, since a page may link into any of them")
    listing, store = _open(source), _open(target)
    excluded = parse_globs(glob, exclude)
    _check_apart(listing, store, excluded)
    memory = store if journal is None else _open(journal)
    for written in (store, memory):
        written.backend.require_write(private_key("crawl"))
    covers = match_globs(glob, excluded)
    with (
        room_for_index(),
        Tracker(f"crawling {listing.uri}", progress) as tracker,
        Index() as index,
        _held(memory.backend, listing.uri, shard) as part,
    ):
        if part.report is not None:
            return part.report
        part.load(index)
        limits = Limits(max_depth=max_depth, max_entries=part.share_of(max_entries), max_bytes=part.share_of(max_bytes))
        run = CrawlRun(
            listing.uri,
            part.view(store),
            journal=part.log,
            index=index,
            covers=part.covers(covers),
            limits=limits,
            verify=verify,
            prune=prune,
            tracker=tracker,
            shard=part.shard,
            is_elsewhere=lambda: part.shard is not None and next(listing.backend.scan(""), None) is not None,
        )
        try:
            run.begin()
            run.learn_stored("")
            if type(listing.backend).__module__ == "anystore.backends.http":
                walk = load("anystore.crawling.web").WebCrawl(
                    run,
                    listing.backend,
                    allow_hosts=allow_hosts,
                    robots=robots,
                    concurrency=concurrency,
                    follow_links=follow == "links",
                    spacing=shard.spacing if shard else 0.0,
                    sharers=part.sharers,
                )
            else:
                walk = load("anystore.crawling.stores").StoreCrawl(
                    run, part.view(listing).backend, concurrency=concurrency
                )
            walk.go()
        except BaseException:
            run.save()  # what was fetched before an interruption need not be fetched again
            raise
        report = run.end()
        part.keep(report, walked=run.walked and not run.ended_by)
    if not report.complete:
        first = report.failures[0].reason if report.failures else f"it was ended by {', '.join(report.limits)}"
        _log.warning(
            "the crawl of %s is incomplete, %s of its documents and folders failed: %s",
            report.source,
            f"{report.failed:,}",
            first,
        )
    return report


def documents(
    target: Store | str | os.PathLike[str],
    *,
    status: Status | None = None,
    since: int | datetime | None = None,
    journal: Store | str | os.PathLike[str] | None = None,
) -> Iterator[Document]:
    """Read what the crawls of a store have fetched.

    Args:
        target: The store, or its URI.
        status: Only documents of this status.
        since: Only documents that changed after a run of this number, or after a time.
        journal: Where the crawls' memory is kept, if not in the target.

    Returns:
        The documents, in the order of their keys, those that are gone included.

    Raises:
        InvalidOption: If the status is unknown.
        BackendError: If the journal is broken.
    """
    if status is not None and status not in get_args(Status):
        raise InvalidOption(f"status={status!r} is unknown; use one of {', '.join(map(repr, get_args(Status)))}")
    store = _open(target)
    log = Journal((store if journal is None else _open(journal)).backend)
    return _documents(log, store, status, since)


def _documents(log: Journal, store: Store, status: Status | None, since: int | datetime | None) -> Iterator[Document]:
    with room_for_index(), Index() as index:
        log.load(index)
        seen = {run.source: run.started for run in log.runs if run.complete}
        for record in index.records():
            newer = since is None or (record.run > since if isinstance(since, int) else record.seen > since)
            if newer and status in (None, record.status):
                yield document_of(record, store=store, seen=seen.get(record.source))


def runs(target: Store | str | os.PathLike[str], *, journal: Store | str | os.PathLike[str] | None = None) -> list[Run]:
    """Read which crawls a store has seen.

    Args:
        target: The store, or its URI.
        journal: Where the crawls' memory is kept, if not in the target.

    Returns:
        The runs, the oldest first.
    """
    log = Journal(_open(target if journal is None else journal).backend)
    with room_for_index(), Index() as index:
        log.load(index)
    return log.runs


@contextmanager
def _held(journal: Backend, source: str, shard: ShardOfCrawl | None) -> Iterator[Part]:
    """Hold the whole journal, or that of a shard."""
    if shard is not None:
        with held_part(journal, source, shard) as part:
            yield part
        return
    log = Journal(journal)
    try:
        log.hold()
        forget_runs(journal)
        yield Part(log=log)
    finally:
        log.release()


def _open(store: Store | str | os.PathLike[str]) -> Store:
    return store if isinstance(store, Store) else get_store(store)


def check_options(
    *,
    verify: str,
    allow_hosts: object,
    max_depth: int,
    max_entries: int | None,
    max_bytes: int | None,
    concurrency: int | None,
    follow: str = "listings",
) -> None:
    """Refuse what :func:`crawl` would refuse, before there is anything to crawl.

    Args:
        verify: How far to trust what is there.
        allow_hosts: Hosts to which redirects may lead.
        max_depth: How many folders deep to go.
        max_entries: The most documents to look at.
        max_bytes: About how many bytes to fetch.
        concurrency: The most requests at a time.
        follow: What is taken for a listing.

    Raises:
        InvalidOption: If one of them is not what it can be.
    """
    if follow not in ("listings", "links"):
        raise InvalidOption(f"follow={follow!r} is unknown; use 'listings' or 'links'")
    if verify not in get_args(Verify):
        raise InvalidOption(f"verify={verify!r} is unknown; use 'fast', 'full' or 'audit'")
    if isinstance(allow_hosts, str):  # whose letters would be taken for hosts
        raise InvalidOption(f"allow_hosts={allow_hosts!r}: it is a list of hosts; write [{allow_hosts!r}]")
    counts = {
        "max_depth": max_depth,
        "max_entries": max_entries,
        "max_bytes": max_bytes,
        "concurrency": concurrency,
    }
    for name, count in counts.items():
        if (count is not None or name == "max_depth") and (type(count) is not int or count < 1):
            raise InvalidOption(f"{name}={count!r}: it is a whole number of at least 1")


def _check_apart(source: Store, target: Store, exclude: Collection[str]) -> None:
    """Refuse to fill what is being listed, which would list and fetch its own documents again with each crawl."""
    (medium, listed), (other, filled) = source.backend.extent(), target.backend.extent()
    if medium != other or not filled.startswith(listed):
        return
    inner = filled[len(listed) :]
    if not inner:
        raise InvalidOption(f"{source.uri} and {target.uri} are the same store; there is nothing to fetch")
    if not any(match_glob(pattern)(f"{inner}any/key") for pattern in exclude):
        raise InvalidOption(
            f"{target.uri} lies in {source.uri}: what is fetched would be listed and fetched again; choose a folder "
            f"beside it, or leave it out by exclude={inner + '**'!r}"
        )
