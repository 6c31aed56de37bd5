"""One crawl, whatever its source: what was seen, what is to be done, and what came of it.

Only one thread changes it. A document counts as unchanged when the listing proves it, or the
source says so when it is asked; everything else is fetched.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Literal

import orjson

from anystore.crawling.index import Index
from anystore.crawling.journal import Journal, Run
from anystore.crawling.records import Record, Status, read_record, write_record
from anystore.crawling.report import MOST_FAILURES, CrawlReport, Failure
from anystore.crawling.tasks import Listed, Outcome, Task
from anystore.errors import AnystoreError, BackendError, DoesNotExist, InvalidKey, KeyConflict
from anystore.keys import Key
from anystore.progress import Tracker
from anystore.shards import Shard
from anystore.store import Store

Verify = Literal["fast", "full", "audit"]
"""How far a crawl trusts what is there: see :func:`anystore.crawl`."""

_log = logging.getLogger("anystore.crawling")

_STORED_SLACK = 100_000  # keys of a target that are listed, beside ten for each document, before it is asked one by one
_BATCH = 1000
_MOST_TARGET_FAILURES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a crawl may take.

    Attributes:
        max_depth: Folders in folders.
        max_entries: Documents of the listing.
        max_bytes: Bytes that are fetched.
    """

    max_depth: int
    max_entries: int | None
    max_bytes: int | None


def folders_of(key: str) -> Iterator[str]:
    """Give the folders that a key is in, the outermost first.

    Example:
        >>> list(folders_of("a/b/c"))
        ['a/', 'a/b/']
    """
    return (key[: place + 1] for place, sign in enumerate(key) if sign == "/")


class CrawlRun:
    """The state of one crawl.

    Args:
        source: URI of the listing, with secrets masked.
        target: The store to fill.
        journal: Its memory.
        index: What the journal knows.
        covers: Tells whether a key is wanted.
        limits: What the crawl may take.
        verify: How far it trusts what is there.
        prune: Whether values of documents that are gone are deleted.
        tracker: Is told what a progress bar shows.
        shard: Which of all keys this is about, if not about all.
        is_elsewhere: Tells whether the listing has something that is not in this shard.
    """

    def __init__(
        self,
        source: str,
        target: Store,
        *,
        journal: Journal,
        index: Index,
        covers: Callable[[str], bool],
        limits: Limits,
        verify: Verify,
        prune: bool,
        tracker: Tracker,
        shard: Shard | None = None,
        is_elsewhere: Callable[[], bool] = lambda: False,
    ) -> None:
        self.source = source
        self.target = target
        self.limits = limits
        self.verify = verify
        self.shard = shard
        self._is_elsewhere = is_elsewhere
        self._journal = journal
        self._index = index
        self._covers = covers
        self._prune = prune
        self._tracker = tracker
        self._number = journal.last_run + 1
        self._started = datetime.now(UTC)
        self._begun = time.monotonic()
        self._counts = dict.fromkeys(
            ("listed", "fetched", "unchanged", "gone", "pruned", "skipped", "healed", "bytes"), 0
        )
        self._failures: list[Failure] = []
        self._failed = 0
        self._interrupted: datetime | None = None
        self._reached: list[str] = []
        self._passed_over: set[str] = set()
        self._at_work: dict[str, str] = {}  # URLs of documents whose tasks were given and are not done, by their keys
        self._stored_all = False
        self._target_failures = 0
        self.walked = True
        """Whether the listing was read to its end so far."""
        self.lists_no_more = False
        """Whether enough documents were listed; those are still fetched."""
        self.ended_by: str | None = None
        """The limit, or the failure, that ends the crawl early."""

    # -- what is to be done ------------------------------------------------------

    def begin(self) -> None:
        """Note in the journal that the crawl begins."""
        self._interrupted = self._journal.begin(self.source, self._started)

    def learn_stored(self, prefix: str) -> None:
        """List what the target holds, unless it holds far more than what crawls have stored."""
        left = _STORED_SLACK + 10 * len(self._index)
        entries = self.target.backend.scan(prefix)
        while batch := [(entry.key, entry.size) for entry in islice(entries, _BATCH)]:
            self._index.load_stored(batch)
            left -= len(batch)
            if left <= 0:
                return
        self._stored_all = True

    def sort(self, listed: Iterable[Listed]) -> Iterator[Task]:
        """Take documents of the listing, and give those that need something to be done.

        Args:
            listed: Documents; those that are not wanted, or that came before, are left out.

        Returns:
            A task for each that the listing does not prove to be unchanged.
        """
        wanted: dict[str, Listed] = {}
        for one in listed:
            if self._covers(one.key) and wanted.setdefault(one.key, one).url != one.url:
                self.fail(one.key, f"{one.url} has the same key as {wanted[one.key].url}, and was left out")
        keys = list(wanted)
        known, stored = self._index.find(keys), self._index.stored(keys)
        self._index.mark_seen(list(known))
        for key, one in wanted.items():
            if self.ended_by or self.lists_no_more:
                return
            line, came_before = known.get(key, (None, False))
            # of most documents no more is asked than whether they are unchanged: no record is made for that
            facts = orjson.loads(line) if line is not None else {}
            if came_before or key in self._at_work:  # a listing has it twice, or two names that are one key
                other = self._at_work.get(key) or facts["url"]
                if other != one.url:
                    self.fail(key, f"{one.url} has the same key as {other}, which came before, and was left out")
                continue
            if self.limits.max_entries is not None and self._counts["listed"] >= self.limits.max_entries:
                self._reached.append(f"max_entries={self.limits.max_entries}")
                self.lists_no_more, self.walked = True, False
                return
            self._counts["listed"] += 1
            task = self._task(one, line, facts, self._stored_size(key, facts, stored))
            self._tracker.expect(size=one.size if task is not None else 0)
            if task is None:
                self._tracker.advance()
            else:
                self._at_work[key] = one.url
                yield task

    def withdraw(self, task: Task) -> None:
        """Take back a task that turned out to be about no document."""
        self._at_work.pop(task.listed.key, None)
        self._counts["listed"] -= 1
        self._tracker.advance()

    def _stored_size(self, key: str, facts: dict[str, Any], stored: dict[str, int | None]) -> int | None:
        if self._stored_all or not facts:
            return stored.get(key)
        try:
            return self.target.backend.stat(Key(key)).size
        except DoesNotExist:
            return None

    def _task(self, one: Listed, line: bytes | None, facts: dict[str, Any], size: int | None) -> Task | None:
        if facts.get("sha256") is None or facts["source"] != self.source:
            return self._task_anew(one, read_record(line) if line is not None else None, size)
        held = size == facts.get("size")
        proven = (
            held
            and facts.get("settled", False)
            and one.shown is not None
            and (facts["url"], facts.get("listed")) == (one.url, one.shown)
            and facts["status"] in ("ok", "gone")
            and self.verify != "audit"
        )
        if proven and self.verify == "fast" and facts["status"] == "ok":
            self._counts["unchanged"] += 1
            return None
        record = read_record(line or b"")
        if proven and self.verify == "fast":
            self._counts["unchanged"] += 1
            self._write(self._back(record))
            return None
        rehashes = held and self.verify != "fast"
        return Task(
            listed=one, known=record, held=held, proven=proven, rehashes=rehashes, audits=self.verify == "audit"
        )

    def _task_anew(self, one: Listed, record: Record | None, size: int | None) -> Task:
        """Make the task for a document that was not fetched from here before, as far as the journal knows."""
        if record is not None and record.source != self.source:
            return Task(listed=one, known=None, rival=record if record.sha256 and size is not None else None)
        # a killed crawl may have stored it, and not said so
        may_be = self.verify == "fast" and size is not None and one.size in (None, size)
        return Task(listed=one, known=record, adopts=self._interrupted if may_be else None)

    # -- what came of it -----------------------------------------------------------

    def done(self, task: Task, outcome: Outcome) -> None:
        """Take what came of a task into the journal and the counts."""
        one, known = task.listed, task.known
        now = datetime.now(UTC)
        self._at_work.pop(one.key, None)
        self._tracker.advance(failed=int(outcome.what in ("error", "suspicious")))
        if outcome.what in ("error", "skipped", "suspicious"):
            self._not_fetched(task, outcome, now)
            return
        if outcome.what == "kept":
            self._confirm(task)
            return
        self._target_failures = 0
        self._counts[outcome.what] += 1
        is_same = outcome.what == "unchanged" and known is not None and known.status == "ok"
        had_value = known is not None and known.sha256 is not None
        if outcome.what != "unchanged":
            self._counts["bytes"] += outcome.size or 0
            self._tracker.moved(outcome.size or 0)
        self._write(
            Record(
                key=one.key,
                source=self.source,
                url=one.url,
                status="ok",
                listed=one.shown,
                settled=outcome.settled,
                size=outcome.size,
                sha256=outcome.sha256,
                etag=outcome.etag,
                last_modified=outcome.last_modified,
                modified=outcome.modified,
                mimetype=outcome.mimetype,
                first_seen=known.first_seen if known else self._started,
                seen=now,
                fetched=known.fetched if known and outcome.what == "unchanged" else now,
                run=known.run if is_same and known else self._number,
                added=known.added if had_value and known and known.status != "gone" else self._number,
                changed=known.changed if had_value and known and known.sha256 == outcome.sha256 else self._number,
            )
        )
        if self.limits.max_bytes is not None and self._counts["bytes"] >= self.limits.max_bytes:
            self.reach(f"max_bytes={self.limits.max_bytes}")

    def _confirm(self, task: Task) -> None:
        self._counts["unchanged"] += 1
        if task.known is not None and task.known.status == "gone":
            self._write(self._back(task.known))

    def _back(self, record: Record) -> Record:
        """Make the record of a document that was gone, and is listed again as it was."""
        return replace(record, status="ok", seen=self._started, run=self._number, added=self._number)

    def _not_fetched(self, task: Task, outcome: Outcome, now: datetime) -> None:
        one, known = task.listed, task.known
        reason = str(outcome.error)
        status: Status = "error"
        if outcome.what == "skipped" or isinstance(outcome.error, InvalidKey | KeyConflict):
            status = "skipped"
            self._counts["skipped"] += 1
        elif outcome.what == "suspicious":
            status = "suspicious"
        if outcome.what != "skipped":
            self.fail(one.key, reason)
        if outcome.by_target and outcome.error is not None:
            self._target_failed(outcome.error)
        if task.rival is not None:  # the journal goes on speaking of the other source's document
            return
        before = known or Record(
            key=one.key,
            source=self.source,
            url=one.url,
            status=status,
            first_seen=self._started,
            seen=now,
            run=self._number,
        )
        self._write(
            replace(
                before,
                url=one.url,
                status=status,
                settled=False,
                seen=now,
                run=before.run if before.status == status else self._number,
                added=self._number if before.status == "gone" else before.added,
                attempts=before.attempts + 1,
                error=reason,
            )
        )

    def _target_failed(self, error: AnystoreError) -> None:
        """Count a value that the target did not take; after some of them in a row it is not asked any more."""
        if isinstance(error, InvalidKey | KeyConflict):
            return
        self._target_failures += 1
        if self._target_failures >= _MOST_TARGET_FAILURES and not self.ended_by:
            self.ended_by = f"{self.target.uri} took none of {_MOST_TARGET_FAILURES} values in a row"
            self._reached.append("target")

    def fail(self, key: str, reason: str) -> None:
        """Report a document, or a part of the listing, that is missing."""
        self._failed += 1
        _log.info("failed %s: %s", key, reason)
        if len(self._failures) < MOST_FAILURES:
            self._failures.append(Failure(key, reason))

    def lose(self, key: str, reason: str) -> None:
        """Report a part of the listing that could not be read, so that nothing counts as gone."""
        self.walked = False
        self.fail(key, reason)

    def pass_over(self, folder: str) -> None:
        """Leave out a folder that may not be read; what was fetched from there before does not count as gone."""
        self._counts["skipped"] += 1
        self._passed_over.add(folder)

    def reach(self, limit: str) -> None:
        """End the crawl, since it has taken as much as it may."""
        if self.ended_by is None:
            self.ended_by = limit
            self._reached.append(limit)
            self.walked = False

    # -- the end ---------------------------------------------------------------------

    def end(self) -> CrawlReport:
        """Mark what is gone, write the journal, and give the report."""
        self._tracker.listed()
        if self.walked and not self.ended_by:
            self._mark_gone()
        ended = datetime.now(UTC)
        report = CrawlReport(
            source=self.source,
            target=self.target.uri,
            run=self._number,
            started=self._started,
            failed=self._failed,
            failures=tuple(sorted(self._failures, key=lambda failure: failure.key)),
            limits=tuple(self._reached),
            seconds=time.monotonic() - self._begun,
            root=self._index.root(),
            **self._counts,
        )
        run = Run(
            number=self._number,
            source=self.source,
            target=self.target.uri,
            started=self._started,
            ended=ended,
            complete=report.complete,
            walked=self.walked and not self.ended_by,
            root=report.root,
            counts=self._counts | {"failed": report.failed},
            limits=report.limits,
        )
        self._journal.end(run, self._index)
        return report

    def save(self) -> None:
        """Write what was done so far, so that an interrupted crawl goes on where it was."""
        self._journal.flush()

    def _mark_gone(self) -> None:
        if self._prune and not self._counts["listed"] and len(self._index) and not self._is_elsewhere():
            self.fail("", "the listing is empty, so that nothing is deleted; prune once it lists something again")
            self._prune = False
        for record in self._index.unseen():
            was_gone, prunes = record.status == "gone", self._prune and record.sha256 is not None
            if record.source != self.source or not self._covers(record.key) or (was_gone and not prunes):
                continue
            if self._passed_over and not self._passed_over.isdisjoint(folders_of(record.key)):
                continue
            self._counts["gone"] += not was_gone
            gone = replace(record, status="gone", seen=self._started, run=self._number)
            if prunes:
                try:
                    self.target.backend.delete(Key(record.key))
                except BackendError as error:
                    self.fail(record.key, f"it is gone from the listing, and its value cannot be deleted: {error}")
                else:
                    self._counts["pruned"] += 1
                    gone = replace(gone, size=None, sha256=None, etag=None, last_modified=None, settled=False)
            self._write(gone)

    def _write(self, *records: Record) -> None:
        lines = [write_record(record) for record in records]
        self._index.put(zip(records, lines, strict=True))
        self._journal.add(lines)
