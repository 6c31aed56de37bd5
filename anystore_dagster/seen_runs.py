"""Which crawl an asset has seen: noted when it is materialized, and looked up when it loads the documents again.

The note belongs to the materialization, so that a run that fails has seen nothing. It says what was really loaded,
which Dagster's own record of the inputs' versions does not, if a crawl ends between the two.
"""

from typing import Any

from dagster import AssetKey, AssetRecordsFilter, InputContext, MetadataValue

from anystore_dagster.dagster_internals import materializing
from anystore_dagster.values.file_collections import FileCollection, SeenRun

SEEN = "anystore/seen_runs"
"""Metadata of an asset that has loaded the value of a crawl asset: which crawl that was, by asset and partition."""

_PAGE = 50
_MOST = 1000  # materializations that are looked through for a note

Notes = dict[str, dict[str, Any]]


class RunNotes:
    """The notes of the assets that an input is loaded for.

    Args:
        context: Dagster's, of the input.
    """

    def __init__(self, context: InputContext) -> None:
        self._context = context
        self._found: list[Notes] | None = None

    def follow(self, value: Any, partition: str | None) -> Any:
        """Tell the documents of a crawl what is new in them, and note that they are seen.

        Args:
            value: What was loaded.
            partition: Its partition, or None.

        Returns:
            The value; of a crawl, with what is new counted from the crawl that was seen last. In a run of several
            partitions that is the oldest that one of them has seen.
        """
        if not isinstance(value, FileCollection) or not value.counts_runs:
            return value
        consumer = materializing(self._context)
        if consumer is None:
            return value
        step, keys, partitions = consumer
        upstream, part = self._context.asset_key.to_user_string(), partition or ""
        if self._found is None:
            self._found = [_last_notes(step, key, one, upstream) for key in keys for one in partitions]
        for key in keys:
            noted = (step.get_asset_metadata(key) or {}).get(SEEN)
            notes: Notes = {} if noted is None else dict(noted.value)
            notes[upstream] = {**notes.get(upstream, {}), part: {"run": value.run.run, "root": value.run.root}}
            step.add_asset_metadata({SEEN: MetadataValue.json(notes)}, key)
        seen = [_seen(notes.get(upstream, {}).get(part)) for notes in self._found]
        oldest = min(seen, key=lambda one: -1 if one is None else one.run, default=None)
        return value.since(oldest)


def _last_notes(step: Any, key: AssetKey, partition: str | None, upstream: str) -> Notes:
    """Give the notes of the last materialization that has some of an upstream asset.

    One without is of somebody else, such as a person who reported it, and has seen no documents. One of the same run is
    of the same step, which an executor such as Celery's may run twice: both are to see the same.
    """
    wanted = AssetRecordsFilter(asset_key=key, asset_partitions=None if partition is None else [partition])
    cursor, looked, size = None, 0, 1
    while looked < _MOST:
        page = step.instance.fetch_materializations(wanted, limit=size, cursor=cursor)
        for record in page.records:
            materialization = record.asset_materialization
            noted = None if materialization is None else materialization.metadata.get(SEEN)
            is_other = record.event_log_entry.run_id != step.run_id
            if is_other and noted is not None and isinstance(noted.value, dict) and upstream in noted.value:
                return noted.value
        if not page.has_more:
            break
        cursor, looked, size = page.cursor, looked + size, _PAGE
    return {}


def _seen(note: Any) -> SeenRun | None:
    try:
        return SeenRun(int(note["run"]), str(note["root"]))
    except (TypeError, KeyError, ValueError):
        return None
