"""One crawl in several parts, which processes or machines do at the same time, each with a journal of its own.

Whoever begins the crawl gives it a number. A shard that was looked after under a number is not looked after again
under it, so that a part of the work may be asked for twice, at once or one after the other. Whoever ends the crawl
writes its one line into the journal of the whole.
"""

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from secrets import token_hex
from typing import Any

import orjson

from anystore.backend import Backend, Feature
from anystore.crawling.index import Index, room_for_index
from anystore.crawling.journal import Journal, Run
from anystore.crawling.layout import Layout, RunOfShards, read_layout, shard_backend, write_layout
from anystore.crawling.records import Record, write_record
from anystore.crawling.report import MOST_FAILURES, CrawlReport, Failure
from anystore.errors import BackendError, DoesNotExist, InvalidOption, Unsupported
from anystore.keys import private_key
from anystore.locks import Lock
from anystore.mirroring.limits import check_limit
from anystore.shards import Shard, check_cut, shard_of
from anystore.store import Store, get_store

_REPORT = private_key("crawl/report.json")
_TURN_SECONDS = 6.0
_POLL = 0.2
_PORTION = 50_000  # lines that are held in memory while a journal is cut
_SUMS = ("listed", "fetched", "unchanged", "gone", "pruned", "skipped", "healed", "failed", "bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardOfCrawl:
    """Which part of a crawl a call of :func:`anystore.crawl` is to do.

    Attributes:
        run: The number that :func:`begin_shards` gave.
        number: Which shard, from 1 on.
        at_once: How many shards may be at work at the same time, over all processes and machines; those that are
            over wait. The most requests at a time, and the pause that ``robots.txt`` asks for, are shared by so many.
        max_requests_per_second: How many requests the host of the listing gets in a second, from all shards together.
    """

    run: int
    number: int
    at_once: int = 8
    max_requests_per_second: float | None = None

    def __post_init__(self) -> None:
        if type(self.at_once) is not int or self.at_once < 1:
            raise InvalidOption(f"at_once={self.at_once!r}: it is a whole number of at least 1")
        check_limit("max_requests_per_second", self.max_requests_per_second)

    @property
    def spacing(self) -> float:
        """Seconds between the requests of one shard."""
        return self.at_once / self.max_requests_per_second if self.max_requests_per_second else 0.0


def begin_shards(
    source: Store | str | os.PathLike[str],
    target: Store | str | os.PathLike[str],
    *,
    shards: int,
    depth: int = 1,
    label: str = "",
    journal: Store | str | os.PathLike[str] | None = None,
) -> int:
    """Begin a crawl that is done in parts.

    The journal is cut first, if it was cut otherwise before, or not at all; that reads and writes all of it, once.

    Args:
        source: The store to list, or its URI.
        target: The store to fill, or its URI.
        shards: How many parts there are.
        depth: How many folders deep they are told apart; see :class:`anystore.shards.Shard`.
        label: A name for this run. If the last one of the source has the same, it is not begun again.
        journal: Where the crawl's memory is kept, if not in the target.

    Returns:
        The number of the run: give it to :func:`anystore.crawl` for each part, and to :func:`end_shards`.

    Raises:
        InvalidOption: If there can be no such shards.
        Unsupported: If the journal's store has no leases, without which two could write one journal.
        BackendError: If another crawl is at work there.

    Example:
        >>> from anystore import crawl
        >>> source, target = get_store("memory://in-parts"), get_store("memory://from-parts")
        >>> source.put_many({f"{folder}/{name}": "text" for folder in "abcd" for name in "xy"})
        >>> run = begin_shards(source, target, shards=2)
        >>> for number in (1, 2):
        ...     part = crawl(source, target, shard=ShardOfCrawl(run=run, number=number))
        >>> end_shards(source, target, run=run).fetched
        8
    """
    check_cut(shards, depth)
    listing, backend = _open(source), _open(target if journal is None else journal).backend
    backend.require_write(private_key("crawl"))
    _require_leases(backend)
    log, started = Journal(backend, whole=False), datetime.now(UTC)
    log.hold(waits=bool(label))  # who asks twice, waits for the first
    try:
        begun = begun_run(listing, backend)
        if begun is not None and label and begun.label == label:
            return begun.number
        with room_for_index(), Index() as index:
            log.load(index)
            layout = read_layout(backend)
            if layout is None or (layout.shards, layout.depth) != (shards, depth) or len(index):
                layout = _cut(backend, layout, shards=shards, depth=depth)
            number = max(log.last_run, layout.last_run) + 1
            runs = layout.runs | {listing.uri: RunOfShards(number=number, started=started, label=label)}
            write_layout(backend, layout.model_copy(update={"last_run": number, "runs": runs}))
    finally:
        log.release()
    return number


def begun_run(source: Store, journal: Backend) -> RunOfShards | None:
    """Tell which run of a source was begun last; None if there is none that can go on."""
    layout = read_layout(journal)
    return None if layout is None else layout.runs.get(source.uri)


def end_shards(
    source: Store | str | os.PathLike[str],
    target: Store | str | os.PathLike[str],
    *,
    run: int,
    journal: Store | str | os.PathLike[str] | None = None,
) -> CrawlReport:
    """End a crawl that was done in parts, so that the journal has it as one run.

    A part that nobody has ended is a failure of the report; whatever it has fetched is there.

    Args:
        source: The store that was listed, or its URI.
        target: The store that was filled, or its URI.
        run: The number that :func:`begin_shards` gave.
        journal: Where the crawl's memory is kept, if not in the target.

    Returns:
        What was done, by all parts together.

    Raises:
        BackendError: If a later run has begun, or the journal fails.
    """
    listing, store = _open(source), _open(target)
    backend = (store if journal is None else _open(journal)).backend
    log = Journal(backend, whole=False)
    log.hold()
    try:
        with room_for_index(), Index() as index:
            log.load(index)
            layout = check_current(backend, listing.uri, run)
            found = [_read_report(backend, layout, number, run) for number in range(1, layout.shards + 1)]
            parts, walked = [part for part, _ in found], all(one for _, one in found)
            began = layout.runs[listing.uri].started
            report = _together(parts, source=listing.uri, target=store.uri, run=run, started=began)
            if not any(one.number == run for one in log.runs):  # asked for twice, it is written once
                log.end(_line_of(report, walked=walked), index)
    finally:
        log.release()
    return report


def check_current(backend: Backend, source: str, run: int) -> Layout:
    """Refuse to work for a run that is not the last one of its source.

    Returns:
        How the journal is cut.

    Raises:
        BackendError: If another crawl came between.
    """
    layout = read_layout(backend)
    if layout is None or source not in layout.runs or layout.runs[source].number != run:
        raise BackendError(
            f"run {run} of the crawl of {source} was given up, since another crawl with the same journal, "
            f"{backend.uri}, has begun after it; what it has stored is there, and the other one goes on with that"
        )
    return layout


def forget_runs(backend: Backend) -> None:
    """Give up the runs of shards that are not at work, before a crawl of the whole."""
    layout = read_layout(backend)
    if layout is not None and layout.runs:
        write_layout(backend, layout.model_copy(update={"runs": {}}))


# -- one part --------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one call of :func:`anystore.crawl` does: all of a crawl, or a shard that this process holds.

    Attributes:
        log: The journal.
        shard: The keys; None for all.
        wanted: What is to be done of a crawl in shards.
        place: Where a shard keeps its report.
        sharers: How many shards may be at work at the same time.
        report: What was done under this number already; None if it is to be done.
    """

    log: Journal
    shard: Shard | None = None
    wanted: ShardOfCrawl | None = None
    place: Backend | None = None
    sharers: int = 1
    report: CrawlReport | None = None

    def load(self, index: Index) -> None:
        """Read the journal."""
        self.log.load(index)
        if self.wanted is not None:
            self.log.last_run = self.wanted.run - 1  # an attempt that was killed may have begun under this number

    def view(self, store: Store) -> Store:
        """Give a store as far as this is about it."""
        return store if self.shard is None else self.shard.view(store)

    def covers(self, wanted: Callable[[str], bool]) -> Callable[[str], bool]:
        """Narrow what is wanted to what this is about."""
        shard = self.shard
        return wanted if shard is None else lambda key: shard.covers(key) and wanted(key)

    def share_of(self, limit: int | None) -> int | None:
        """Give a part of what a whole crawl may take; the first ones get what is left over."""
        if limit is None or self.shard is None:
            return limit
        return limit // self.shard.of + (self.shard.number <= limit % self.shard.of)

    def keep(self, report: CrawlReport, *, walked: bool) -> None:
        """Keep what a shard did, for whoever asks for it again and for the end of the crawl."""
        if self.place is not None:
            self.place.put(_REPORT, orjson.dumps(asdict(report) | {"walked": walked}))


@contextmanager
def held_part(backend: Backend, source: str, wanted: ShardOfCrawl) -> Iterator[Part]:
    """Wait for a shard, hold it, and wait for a turn among the shards that work at the same time.

    Raises:
        BackendError: If the run was given up.
        InvalidOption: If there is no such shard.
    """
    _require_leases(backend)
    layout = check_current(backend, source, wanted.run)
    shard = Shard(wanted.number, layout.shards, layout.depth)
    place = shard_backend(backend, layout.name, wanted.number)
    log = Journal(place, whole=False)
    log.hold(waits=True)
    with ExitStack() as held:
        held.callback(log.release)
        check_current(backend, source, wanted.run)  # what is waited for may be long
        report = _read_report(backend, layout, wanted.number, wanted.run)[0]
        if report is None and wanted.at_once < layout.shards:
            held.enter_context(_turn(backend, wanted.at_once))
        sharers = min(wanted.at_once, layout.shards)
        yield Part(log=log, shard=shard, wanted=wanted, place=place, sharers=sharers, report=report)


@contextmanager
def _turn(backend: Backend, at_once: int) -> Iterator[None]:
    turns = [Lock(backend, f"crawl-turns/{number}", ttl=_TURN_SECONDS) for number in range(at_once)]
    while not (mine := next((turn for turn in turns if turn.acquire(timeout=0)), None)):
        time.sleep(_POLL)
    try:
        yield
    finally:
        mine.release()


def _read_report(backend: Backend, layout: Layout, number: int, run: int) -> tuple[CrawlReport | None, bool]:
    """Give what a shard did under a number, if it has ended, and whether it read its listing to the end."""
    try:
        found = orjson.loads(shard_backend(backend, layout.name, number).get(_REPORT))
    except DoesNotExist:
        return None, False
    if found["run"] != run:
        return None, False
    walked = found.pop("walked")
    found["started"] = datetime.fromisoformat(found["started"])
    found["failures"] = tuple(Failure(**one) for one in found["failures"])
    found["limits"] = tuple(found["limits"])
    return CrawlReport(**found), walked


# -- all parts -------------------------------------------------------------------


def _together(parts: list[CrawlReport | None], *, source: str, target: str, run: int, started: datetime) -> CrawlReport:
    ended = [part for part in parts if part is not None]
    open_parts = [number for number, part in enumerate(parts, 1) if part is None]
    missing = [Failure("", f"shard {number} of {len(parts)} has not ended") for number in open_parts]
    sums: dict[str, Any] = {name: sum(getattr(part, name) for part in ended) for name in _SUMS}
    sums["failed"] += len(missing)
    failures = sorted((one for part in ended for one in part.failures), key=lambda failure: failure.key)
    # of one cut, equal documents make equal roots of all shards, and of these an equal root of the whole
    roots = hashlib.sha256("\n".join(part.root if part else "" for part in parts).encode()).hexdigest()
    return CrawlReport(
        source=source,
        target=target,
        run=run,
        started=started,
        failures=(*missing, *failures)[:MOST_FAILURES],
        limits=tuple(sorted({limit for part in ended for limit in part.limits})),
        seconds=(datetime.now(UTC) - started).total_seconds(),
        root=roots,
        **sums,
    )


def _line_of(report: CrawlReport, *, walked: bool) -> Run:
    return Run(
        number=report.run,
        source=report.source,
        target=report.target,
        started=report.started,
        ended=datetime.now(UTC),
        complete=report.complete,
        walked=walked,
        root=report.root,
        counts={name: getattr(report, name) for name in _SUMS},
        limits=report.limits,
    )


# -- how the journal is cut --------------------------------------------------------


def _cut(backend: Backend, old: Layout | None, *, shards: int, depth: int) -> Layout:
    """Cut the whole journal anew; until the new cut is named, the old one is what is read."""
    name = token_hex(6)
    garbage = dict(old.garbage) if old else {}
    whole = Journal(backend)
    with ExitStack() as held, Index() as index:
        if old:
            write_layout(backend, old.model_copy(update={"garbage": garbage | {name: shards}}))
            for number in range(1, old.shards + 1):
                log = Journal(shard_backend(backend, old.name, number), whole=False)
                log.hold()
                held.callback(log.release)
        whole.load(index)
        _write_shards(backend, name, index.records(), whole, shards=shards, depth=depth)
        if old:
            garbage[old.name] = old.shards
        layout = Layout(name=name, shards=shards, depth=depth, last_run=whole.last_run, garbage=garbage)
        write_layout(backend, layout)
        whole.keep_runs_only()
    for folder, number_of in garbage.items():
        _delete_shards(backend, folder, number_of)
    return layout.model_copy(update={"garbage": {}})


def _write_shards(
    backend: Backend, name: str, records: Iterable[Record], whole: Journal, *, shards: int, depth: int
) -> None:
    logs = [Journal(shard_backend(backend, name, number), whole=False) for number in range(1, shards + 1)]
    waiting: dict[int, list[bytes]] = {}
    for log in logs:
        log.begin_as(whole.interrupted)
    for count, record in enumerate(records, 1):
        waiting.setdefault(shard_of(record.key, of=shards, depth=depth) - 1, []).append(write_record(record))
        if count % _PORTION == 0:
            _write_lines(logs, waiting)
    _write_lines(logs, waiting)


def _write_lines(logs: list[Journal], waiting: dict[int, list[bytes]]) -> None:
    for place, lines in waiting.items():
        logs[place].add(lines)
        logs[place].flush()
    waiting.clear()


def _delete_shards(backend: Backend, name: str, shards: int) -> None:
    for number in range(1, shards + 1):
        place = shard_backend(backend, name, number)
        Journal(place, whole=False).delete()
        with suppress(DoesNotExist):
            place.delete(_REPORT)


def _require_leases(backend: Backend) -> None:
    if not {Feature.CREATE, Feature.SWAP} <= set(backend.features):
        raise Unsupported(
            f"{backend.uri} cannot hold leases (it has no CREATE and SWAP), so that two machines could write one "
            "journal: give the crawl another store for that, such as journal='postgresql://…' or a Redis"
        )


def _open(store: Store | str | os.PathLike[str]) -> Store:
    return store if isinstance(store, Store) else get_store(store)
