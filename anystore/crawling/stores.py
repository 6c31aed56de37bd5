"""A crawl of any store that can be listed: versions take the place of what HTTP says."""

import threading
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta
from itertools import islice

from anystore.backend import Backend, Entry
from anystore.crawling.run import CrawlRun
from anystore.crawling.storing import Refused, Storing
from anystore.crawling.tasks import Listed, Outcome, Task, What, check_rival
from anystore.errors import AnystoreError, BackendError, DoesNotExist, ForeignNameWarning, VersionMismatch
from anystore.keys import Key
from anystore.listings import why_missing
from anystore.web.digests import Checksums

_WORKERS = 16
_PAGE = 200
_PENDING_PER_WORKER = 4
_TRIES = 3
_GRANULE = timedelta(seconds=2)  # some file systems count by two seconds
_CLOCKS_DIFFER = timedelta(minutes=10)  # of the source, the target and this machine


class StoreCrawl:
    """Lists a store and fetches what the run wants of it.

    Args:
        run: Says what is wanted, and takes what came of it.
        source: The backend to list.
        concurrency: How many documents are fetched at a time, or None.
    """

    def __init__(self, run: CrawlRun, source: Backend, *, concurrency: int | None = None) -> None:
        self._run = run
        self._source = source
        self._target = run.target.backend
        self._workers = concurrency or _WORKERS
        self._pending: dict[Future[Outcome], Task] = {}
        self._given_up = threading.Event()
        self._latest: datetime | None = None

    def go(self) -> None:
        """List to the end, or to the first limit."""
        entries = self._list()
        with ThreadPoolExecutor(self._workers, thread_name_prefix="anystore-crawl") as pool:
            try:
                while not self._ended and (page := list(islice(entries, _PAGE))):
                    for task in self._run.sort(map(self._listed, page)):
                        self._pending[pool.submit(self._look_after, task)] = task
                        if len(self._pending) >= self._workers * _PENDING_PER_WORKER:
                            self._reap(wait(self._pending, return_when=FIRST_COMPLETED).done)
                self._reap(wait(self._pending).done)
            except BaseException:
                self._given_up.set()
                for future in self._pending:
                    future.cancel()
                raise

    @property
    def _ended(self) -> bool:
        return self._run.ended_by is not None or self._run.lists_no_more

    def _reap(self, done: set[Future[Outcome]]) -> None:
        for future in done:
            self._run.done(self._pending.pop(future), future.result())

    def _list(self) -> Iterator[Entry]:
        """Yield what is not too deep; what keeps the listing from its end becomes a failure."""
        entries, count = self._source.scan(""), 0
        try:
            while True:
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always", ForeignNameWarning)
                    entry = next(entries, None)
                for warning in caught:
                    # names that cannot be keys are documents that were not fetched
                    if issubclass(warning.category, ForeignNameWarning):
                        self._run.fail("", str(warning.message))
                    else:
                        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
                if entry is None:
                    missing = None if count else why_missing(self._source)
                    if missing is not None:
                        self._run.lose("", missing)
                    return
                count += 1
                if entry.key.count("/") > self._run.limits.max_depth:
                    self._run.lose(entry.key, f"it is more than max_depth={self._run.limits.max_depth} folders deep")
                else:
                    yield entry
        except AnystoreError as error:
            self._run.lose("", f"the listing is incomplete: {error}")

    def _listed(self, entry: Entry) -> Listed:
        shown = None
        if entry.modified is not None:
            self._latest = entry.modified if self._latest is None else max(self._latest, entry.modified)
        if entry.version is not None:
            shown = f"version {entry.version}"
        elif entry.size is not None and entry.modified is not None:
            shown = f"{entry.size} {entry.modified:%Y-%m-%dT%H:%M:%S.%f}"
        return Listed(
            key=entry.key,
            url=self._source.locate(Key(entry.key)),
            shown=shown,
            size=entry.size,
            time=entry.modified,
            entry=entry,
        )

    # -- in a worker's thread ------------------------------------------------------------

    def _look_after(self, task: Task) -> Outcome:
        try:
            if task.rehashes and not self._is_whole(task):
                return self._fetch(task, what="healed")
            if task.proven:
                return Outcome(what="kept")
            if task.held and not task.audits and task.known is not None and task.listed.shown is None:
                # the listing says too little
                entry = self._source.stat(Key(task.listed.key))
                if entry.version is not None and entry.version == task.known.etag:
                    return self._outcome(task, entry, "unchanged", task.known.size, task.known.sha256)
            if task.adopts is not None and (adopted := self._adopt(task, task.adopts)) is not None:
                return adopted
            return self._fetch(task, what="fetched")
        except Refused as refused:
            return Outcome(what="error", error=refused.error, by_target=True)
        except AnystoreError as error:
            return Outcome(what="error", error=error)

    def _is_whole(self, task: Task) -> bool:
        try:
            sums = self._sums(task, {})
        except (DoesNotExist, VersionMismatch):
            return False
        return task.known is not None and sums.sha256 == task.known.sha256

    def _sums(self, task: Task, expected: Mapping[str, bytes]) -> Checksums:
        sums = Checksums(expected)
        with self._target.reader(Key(task.listed.key)) as reader:
            for piece in reader.read():
                sums.update(piece)
        return sums

    def _adopt(self, task: Task, since: datetime) -> Outcome | None:
        """Take a value that a killed crawl has stored since some time: it is hashed, and not fetched again.

        The source has to tell the same digest, or else a time of its last change that was long over by then.
        """
        key, began = Key(task.listed.key), datetime.now(UTC)
        entry = self._source.stat(key)
        try:
            there = self._target.stat(key)
        except DoesNotExist:
            return None
        if there.modified is None or there.modified < since - _CLOCKS_DIFFER or there.size != entry.size:
            return None
        expected = self._expected(entry)
        if not expected and (entry.modified is None or entry.modified + _CLOCKS_DIFFER > there.modified):
            return None
        sums = self._sums(task, expected)
        if sums.size != entry.size or not sums.fits:
            return None
        return self._outcome(task, entry, "unchanged", sums.size, sums.sha256, began=began)

    def _fetch(self, task: Task, *, what: What) -> Outcome:
        for attempt in range(1, _TRIES + 1):
            try:
                return self._fetch_once(task, what)
            except VersionMismatch:  # it was changed while it came
                if attempt == _TRIES:
                    raise
        raise AssertionError

    def _fetch_once(self, task: Task, what: What) -> Outcome:
        key, began = Key(task.listed.key), datetime.now(UTC)
        with self._source.reader(key) as reader:
            sums = Checksums(self._expected(reader.entry))
            with Storing(self._target, key) as value:
                for piece in reader.read():
                    sums.update(piece)
                    value.write(piece)
                    if self._given_up.is_set():
                        raise BackendError(f"{task.listed.url} was given up, since the crawl has ended")
                if reader.entry.size not in (None, sums.size):
                    raise BackendError(f"{task.listed.url} has {reader.entry.size:,} bytes, and {sums.size:,} came")
                self._check_digest(task, reader.entry, sums)
                check_rival(task, sums.sha256)
            same = what == "fetched" and task.held and task.known is not None and task.known.sha256 == sums.sha256
            return self._outcome(task, reader.entry, "unchanged" if same else what, sums.size, sums.sha256, began=began)

    def _expected(self, entry: Entry) -> dict[str, bytes]:
        """Give the digest that the source tells of a value."""
        algorithm, digest = self._source.digest_algorithm(entry.size), self._source.digest_of(entry)
        return {algorithm: bytes.fromhex(digest)} if algorithm and digest else {}

    def _check_digest(self, task: Task, entry: Entry, sums: Checksums) -> None:
        """Refuse bytes that are not those of which the source tells a digest."""
        if not sums.fits and self._source.digest_of(entry, doubted=True) is not None:
            raise VersionMismatch(f"{task.listed.url} came with another digest than its service tells; crawl again")

    def _outcome(
        self,
        task: Task,
        entry: Entry,
        what: What,
        size: int | None,
        sha256: str | None,
        *,
        began: datetime | None = None,
    ) -> Outcome:
        listed = task.listed.entry
        same = listed is not None and listed.version == entry.version
        if listed is not None and listed.version is None:  # a listing may tell less than the value's own entry
            same = (listed.size, listed.modified) == (entry.size, entry.modified)
        over = began is not None and entry.modified is not None and self._is_over(entry.modified, began)
        return Outcome(
            what=what,
            size=size,
            sha256=sha256,
            etag=entry.version,
            modified=entry.modified,
            mimetype=entry.mimetype,
            settled=same and (listed is not None and (listed.version is not None or over)),
        )

    def _is_over(self, modified: datetime, began: datetime) -> bool:
        """Tell whether a later change must have another time.

        By the source's clock, if it has listed a later change before; else by this machine's, which may be wrong.
        """
        latest = self._latest
        return (latest is not None and modified + _GRANULE <= latest) or modified + _GRANULE + _CLOCKS_DIFFER <= began
