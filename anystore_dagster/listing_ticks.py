"""One tick of a sensor: what it asks for, and what is known afterwards."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, cast

from dagster import (
    AddDynamicPartitionsRequest,
    AssetKey,
    AssetObservation,
    DeleteDynamicPartitionsRequest,
    DynamicPartitionsDefinition,
    MetadataValue,
    RunRequest,
    SensorEvaluationContext,
    SensorResult,
)

from anystore.crawling.ordered import ListedDocument, UnreadFolder
from anystore.errors import AnystoreError, BackendError, InvalidOption
from anystore_dagster.crawl_partitions import MANY_PARTITIONS, CrawlPartitions
from anystore_dagster.listing_changes import Change, Compared, compare
from anystore_dagster.listing_memory import Head, ListingMemory, Row, Segment, Step, Waiting, digest_of
from anystore_dagster.timed_walks import TimedWalk

TIMEOUT_VARIABLE = "DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS"
"""The variable that says after how many seconds Dagster ends a tick."""

_MOST_LOGGED = 10


@dataclass(frozen=True, slots=True)
class ListingPlan:
    """What is asked for when something has changed.

    Attributes:
        partitions: The partitions of what runs, if there are some.
        request_for: Makes the request of a document.
        existing: Whether documents that are there at the beginning are asked for.
        removes: Whether partitions are removed.
        most: The most runs of one tick.
        tags: Tags of each run.
    """

    partitions: CrawlPartitions | None
    request_for: Callable[[ListedDocument], RunRequest] | None
    existing: bool
    removes: bool
    most: int
    tags: dict[str, str]

    @property
    def about(self) -> str:
        """What runs are about, in a text: with another one, every document counts as new."""
        return "" if self.partitions is None else f"{self.partitions.by} {self.partitions.name}"

    @property
    def is_by_document(self) -> bool:
        """Whether a run is about one document."""
        return self.request_for is not None or (self.partitions is not None and self.partitions.by == "document")

    @property
    def is_by_folder(self) -> bool:
        """Whether a run is about one folder."""
        return self.partitions is not None and self.partitions.by == "folder"


class ListingTick:
    """One tick: what it asks for, and what is known afterwards.

    Args:
        plan: What is asked for.
        head: What is known before.

    Attributes:
        head: What is known by now.
    """

    def __init__(self, plan: ListingPlan, head: Head) -> None:
        self._plan = plan
        self.head = head.for_partitions(plan.about)
        self._asks = plan.existing or self.head.walk > self.head.began
        self._requests: list[RunRequest] = []
        self._added: dict[str, ListedDocument | None] = {}
        self._removed: dict[str, None] = {}
        self.ask_for_waiting()

    # -- what a walk finds -------------------------------------------------------

    def walk(
        self,
        walk: TimedWalk[ListedDocument | UnreadFolder],
        memory: ListingMemory,
        step: Step,
        where: str,
        context: SensorEvaluationContext,
    ) -> str:
        """Walk as far as time allows.

        Args:
            walk: What is listed.
            memory: What is known.
            step: Takes what is known afterwards.
            where: The source's URI, for messages.
            context: Dagster's.

        Returns:
            In words, how far it came.

        Raises:
            AnystoreError: If nothing was found because of an error.
        """
        before = self.head.model_copy(deep=True)
        failure: list[AnystoreError] = []

        def items() -> Any:
            try:
                yield from walk
            except AnystoreError as error:  # what came before it counts, and the next tick meets it at once
                failure.append(error)

        rows = _Rows(memory, step)
        found = compare(before, items(), rows=rows, observer=self, ended=lambda: walk.ended and not failure)
        ended = walk.ended and not failure and not found.stopped
        if not ended and not found.after:
            failure = failure or [
                BackendError(
                    f"{where} has listed nothing within the seconds= of a tick; give it more, up to what Dagster "
                    f"allows ({TIMEOUT_VARIABLE}), or list less, by glob= and exclude="
                )
            ]
            if not self._requests:
                raise failure[0]
        self._warn(found, failure, context)
        return self._take(found, before, where, ended=ended, context=context)

    def _take(self, found: Compared, before: Head, where: str, *, ended: bool, context: SensorEvaluationContext) -> str:
        listed = before.listed + found.listed
        if ended and not listed and before.documents:
            self._forget(before)
            text = f"{where} lists nothing now, and {before.documents:,} documents were there before"
            context.log.warning("%s; they count as there until it lists something again", text)
            return text
        self.head.segments = found.segments
        if ended:
            self.head.after, self.head.listed = "", 0
            if before.walk == before.began or self.head != before:
                self.head.walk += 1
            return f"{listed:,} documents are listed, and there is nothing to ask for"
        self.head.after, self.head.listed = found.after or before.after, listed
        return f"{listed:,} documents are listed so far, up to {self.head.after!r}; the next tick goes on there"

    def _forget(self, before: Head) -> None:
        """Take back what the end of an empty listing seemed to tell."""
        self.head = before.model_copy(update={"after": "", "listed": 0}, deep=True)
        self._removed.clear()

    @staticmethod
    def _warn(found: Compared, failure: Sequence[AnystoreError], context: SensorEvaluationContext) -> None:
        for folder in found.unread[:_MOST_LOGGED]:
            context.log.warning("not listed: %s: %s; what was known of it is known still", folder.key, folder.reason)
        if len(found.unread) > _MOST_LOGGED:
            context.log.warning("not listed: %d more folders", len(found.unread) - _MOST_LOGGED)
        for error in failure:
            context.log.warning("the listing broke off behind %r: %s", found.after, error)

    @property
    def has_enough(self) -> bool:
        """Whether nothing more should be found in this tick."""
        return max(len(self._requests), len(self._added)) + len(self._removed) >= self._plan.most

    def changed(self, document: ListedDocument, change: Change) -> None:
        """Take a document that is new or changed."""
        partitions = self._plan.partitions
        partition = "" if partitions is None else partitions.partition_of(document.key)
        if self._plan.is_by_document:
            if partition:
                self._added[partition] = document
            if self._asks:
                self._requests.append(self._document_request(document, partition, change))
            return
        if self._plan.is_by_folder and change == "new":
            before = self.head.folders.get(partition, 0)
            self.head.folders[partition] = before + 1
            if not before:
                self._added[partition] = None
        if self._asks:
            folder = document.key[: document.key.find("/") + 1] if self._plan.is_by_folder else ""
            waiting = self.head.waiting.setdefault(partition, Waiting(walk=self.head.walk, folder=folder))
            waiting.add(document.key, document.shown)

    def gone(self, key: str) -> None:
        """Take a key that is not listed any more."""
        partitions = self._plan.partitions
        if partitions is None or not partitions.is_dynamic:
            return
        partition = partitions.partition_of(key)
        if partitions.by == "folder":
            left = self.head.folders[partition] = self.head.folders.get(partition, 1) - 1
            if left > 0:
                return
            del self.head.folders[partition]
            self.head.waiting.pop(partition, None)
        self._removed[partition] = None

    # -- what it asks for --------------------------------------------------------

    def ask_for_waiting(self) -> None:
        """Ask for runs that are about whole partitions, as far as the walk has passed all of them."""
        after = self.head.after
        for partition, waiting in list(self.head.waiting.items()):
            if len(self._requests) >= self._plan.most:
                return
            is_passed = waiting.folder and after > waiting.folder and not after.startswith(waiting.folder)
            if after and not is_passed:
                continue
            if self._plan.is_by_folder:
                self._added.setdefault(partition, None)  # somebody may have removed it
            del self.head.waiting[partition]
            key = f"{self.head.lineage}-{waiting.walk}-{digest_of(partition, waiting.digest)}"
            tags = {**self._plan.tags, "anystore/documents": str(waiting.documents)}
            self._requests.append(RunRequest(run_key=key, partition_key=partition or None, tags=tags))

    def _document_request(self, document: ListedDocument, partition: str, change: Change) -> RunRequest:
        key = f"{self.head.lineage}-{self.head.walk}-{digest_of(document.key, document.shown)}"
        tags = {
            **self._plan.tags,
            "anystore/key": document.key,
            "anystore/url": document.url,
            "anystore/change": change,
        }
        if self._plan.request_for is None:
            return RunRequest(run_key=key, partition_key=partition, tags=tags)
        made = self._plan.request_for(document)
        if not isinstance(made, RunRequest):
            raise InvalidOption(f"request_for= gives a RunRequest for each document, not {type(made).__name__}")
        return made.with_replaced_attrs(
            run_key=key, tags={**tags, **(made.tags or {})}, partition_key=made.partition_key or partition or None
        )

    def result(
        self, context: SensorEvaluationContext, text: str, *, cursor: str, assets: Collection[AssetKey]
    ) -> SensorResult:
        """Give everything to Dagster, in one answer.

        Args:
            context: Dagster's.
            text: What to say where nothing is asked for.
            cursor: The pointer to what is known.
            assets: The assets that run, as far as they are known.

        Returns:
            The answer.
        """
        partitions = self._plan.partitions
        changes: list[AddDynamicPartitionsRequest | DeleteDynamicPartitionsRequest] = []
        if partitions is not None and partitions.is_dynamic:
            definition = cast("DynamicPartitionsDefinition", partitions.definition)
            if self._added:
                changes.append(definition.build_add_request(list(self._added)))
            removed = [partition for partition in self._removed if partition not in self._added]
            if removed and self._plan.removes:
                changes.append(definition.build_delete_request(removed))
            known = self.head.documents if partitions.by == "document" else len(self.head.folders)
            if self._added and known > MANY_PARTITIONS:
                context.log.warning(
                    "%s has %s partitions, each of which costs events and time in every run and page: from a few "
                    "thousand on, use CrawlPartitions.folders() or .buckets()", partitions.name, f"{known:,}"
                )  # fmt: skip
        return SensorResult(
            run_requests=self._requests,
            skip_reason=None if self._requests else text or "what was found before is asked for",
            cursor=cursor or None,
            dynamic_partitions_requests=changes,
            asset_events=[
                AssetObservation(asset, partition=partition, metadata=_metadata(document))
                for partition, document in self._added.items()
                if document is not None
                for asset in assets
            ],
        )


@dataclass(frozen=True, slots=True)
class _Rows:
    """Segments of the memory, for a comparison."""

    memory: ListingMemory
    step: Step

    def read(self, segment: Segment) -> list[Row]:
        return self.memory.rows(segment)

    def write(self, rows: Sequence[Row]) -> Segment:
        return self.step.put_rows(rows)


def _metadata(document: ListedDocument) -> dict[str, Any]:
    is_web = document.url.startswith(("http://", "https://"))
    return {
        "anystore/key": document.key,
        "anystore/url": MetadataValue.url(document.url) if is_web else MetadataValue.text(document.url),
    }
