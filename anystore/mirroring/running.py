"""One run of a mirror, from the first listing to the last deletion."""

import time
import warnings
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import islice

from anystore.backend import Entry, Feature
from anystore.errors import AnystoreError, BackendError, ForeignNameWarning
from anystore.keys import Selection
from anystore.listings import why_missing
from anystore.mirroring.comparing import Verdict
from anystore.mirroring.copying import Item, Job, Unit, Way
from anystore.mirroring.crew import Crew, Hopeless
from anystore.mirroring.extras import Extras, why_not_delete
from anystore.mirroring.listing import Disorder, Listing
from anystore.mirroring.packing import Packer
from anystore.mirroring.planning import Pair, look_up, merge
from anystore.mirroring.report import MirrorFailure, MirrorReport, Outcome
from anystore.progress import Tracker

_DELETED_TOGETHER = 250
_REQUESTS_SHARE = 4  # with a limit, a unit takes a quarter of a second, lest all comes in one gust


@dataclass(frozen=True, slots=True)
class Deletion:
    """What may be deleted in the target.

    Attributes:
        wanted: Whether anything may.
        most: How many values; None is without limit.
        force: Whether an empty source is meant.
    """

    wanted: bool
    most: int | None
    force: bool


class Run:
    """One run.

    Args:
        job: What it is all about.
        selection: Which keys are mirrored.
        deletion: What may be deleted.
        workers: How many units are worked on at the same time.
        executor: Runs the workers; None for threads of our own.
        tracker: Told of what is done.
    """

    def __init__(
        self,
        job: Job,
        selection: Selection,
        deletion: Deletion,
        *,
        workers: int,
        executor: Executor | None,
        tracker: Tracker,
    ) -> None:
        self._job = job
        self._selection = selection
        self._deletion = deletion
        self._tracker = tracker
        self._started = time.monotonic()
        self._whole: list[str] = []
        self._extras = Extras()
        self._unchanged = 0
        self._told = 0
        self._listings: tuple[Listing, Listing] | None = None
        self._crew = Crew(job, executor, workers=workers, tracker=tracker, is_up=self._is_up)
        self._packer = Packer(job.source, job.target, self._submit, most=self._most_together())

    def go(self) -> None:
        """Do everything; what goes wrong is in the report.

        Raises:
            KeyboardInterrupt: If the user ends it; the report tells what was done until then.
        """
        try:
            with self._crew as crew:
                self._compare()
                crew.finish()
                self._delete()
        except Hopeless as error:
            self._whole.append(f"the mirror was stopped: {error}")
        except BackendError as error:  # of the index: the services' own are in the listings
            self._whole.append(str(error))
        finally:
            self._extras.close()

    def report(self) -> MirrorReport:
        """Tell what was done."""
        outcome = self._crew.outcome
        whole = [MirrorFailure("", reason) for reason in self._whole]
        return MirrorReport(
            self._job.source.uri,
            self._job.target.uri,
            copied=outcome.copied,
            skipped=max(0, outcome.skipped + self._unchanged),
            deleted=outcome.deleted,
            failed=outcome.failed,
            failures=(*whole, *sorted(outcome.failures, key=lambda failure: failure.key)),
            bytes=outcome.bytes,
            seconds=time.monotonic() - self._started,
            dry_run=self._job.dry_run,
        )

    # -- comparing ---------------------------------------------------------------

    def _compare(self) -> None:
        """Hand out what is missing or different."""
        both = self._job.target, self._job.source
        ordered = all(Feature.SORTED in backend.features for backend in both)
        if ordered:
            try:
                self._hand_out(*self._list(), ordered=True)
            except Disorder:
                self._begin_again()
                ordered = False
        if not ordered:
            self._hand_out(*self._list(), ordered=False)
        self._tracker.listed()
        source, _ = self._listings or self._list()
        if source.complete and not source.count:
            source.failure = why_missing(self._job.source)
            source.complete = source.failure is None
        for listing in self._listings or ():
            if listing.failure is not None:
                self._whole.append(listing.failure)

    def _list(self) -> tuple[Listing, Listing]:
        retries, hook = self._job.retries, self._before_waiting
        self._listings = (
            Listing(self._job.source, self._selection, retries=retries, before_waiting=hook),
            Listing(self._job.target, self._selection, retries=retries, before_waiting=hook),
        )
        return self._listings

    def _hand_out(self, source: Listing, target: Listing, *, ordered: bool) -> None:
        pairs: Iterator[Pair] = merge(source, target) if ordered else look_up(source, target)
        for ours, theirs in pairs:
            if ours is not None:
                self._consider(ours, theirs)
            elif theirs is not None and self._deletion.wanted:
                self._extras.add(theirs)
        self._packer.flush(self._crew.free)
        self._tell_unchanged()
        self._whole += source.foreign
        if self._deletion.wanted:
            self._whole += target.foreign
        else:
            for text in target.foreign:  # no harm is done by what lies beside the copies
                warnings.warn(text, ForeignNameWarning, stacklevel=2)

    def _consider(self, entry: Entry, there: Entry | None) -> None:
        verdict = Verdict.COPY if there is None else self._job.comparison.judge(entry, there)
        if verdict is Verdict.SAME:
            self._unchanged += 1
            return
        self._tracker.expect(size=entry.size)
        self._packer.add(Item(entry, there if verdict is Verdict.LOOK else None))

    def _begin_again(self) -> None:
        """Forget what was seen of a listing in disorder, but for what was copied.

        The second look finds that as unchanged, and it is to be counted once.
        """
        self._packer.flush()
        self._crew.finish()
        self._extras.clear()
        copied = self._crew.outcome
        again = Outcome() if self._job.dry_run else Outcome(copied=copied.copied, bytes=copied.bytes)
        self._crew.outcome = again
        self._unchanged = -again.copied

    def _before_waiting(self) -> None:
        """Use the time in which a listing is waited for."""
        self._crew.collect()
        self._tell_unchanged()
        if self._crew.free:
            self._packer.flush(self._crew.free)

    def _tell_unchanged(self) -> None:
        news, self._told = self._unchanged - self._told, self._unchanged
        if news > 0:
            self._tracker.expect(news)
            self._tracker.advance(news)

    def _submit(self, unit: Unit) -> None:
        self._crew.submit(unit)

    def _most_together(self) -> int | None:
        requests = self._job.limits.requests
        return None if requests is None else max(1, int(requests / _REQUESTS_SHARE))

    # -- deleting ----------------------------------------------------------------

    def _delete(self) -> None:
        """Delete what the source has not, if nothing speaks against it."""
        if not self._deletion.wanted or self._listings is None:
            return
        source, target = self._listings
        reason = why_not_delete(
            self._extras, source, target, max_delete=self._deletion.most, force=self._deletion.force
        )
        if reason is not None:
            self._whole.append(reason)
            return
        self._tracker.expect(self._extras.count)
        items = (Item(entry) for entry in self._extras.entries())
        while batch := tuple(islice(items, _DELETED_TOGETHER)):
            self._crew.submit(Unit(Way.DELETE, batch))
        self._crew.finish()
        self._try_conflicts_again()

    def _try_conflicts_again(self) -> None:
        """Copy what could not be beside a value that is deleted by now, such as ``a/b`` beside ``a``."""
        outcome = self._crew.outcome
        conflicts, outcome.conflicts = outcome.conflicts, set()
        if not outcome.deleted or not conflicts or self._job.dry_run:
            return
        outcome.forgive(conflicts)
        for key in sorted(conflicts):
            self._crew.submit(Unit(Way.STREAM, (Item(Entry(key, None, None)),)))
        self._crew.finish()

    def _is_up(self) -> bool:
        """Ask both services for one key, as a sign of life."""
        for backend in (self._job.source, self._job.target):
            try:
                next(iter(backend.keys(self._selection.folder)), None)
            except AnystoreError:
                return False
        return True
