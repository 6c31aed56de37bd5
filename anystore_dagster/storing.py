"""Storing the values of one output: encoded first, then written, then described to Dagster."""

import shutil
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Self

from dagster import OutputContext

from anystore import AnystoreError, CodecError, Store
from anystore.keys import parse_key
from anystore.virtual.folders import Hold, local_errors, make_held
from anystore.virtual.watching import watched_prefix
from anystore_dagster.dagster_internals import add_partition_metadata, run_times_of, set_content_version
from anystore_dagster.extensions import EXTENSION
from anystore_dagster.metadata import PREVIEW, value_metadata, without_users_own
from anystore_dagster.retention import delete_replaced_files, files_lock, has_files, prune_versions
from anystore_dagster.slots import KeyRule, Slot, titles
from anystore_dagster.stored import Encoded, Form
from anystore_dagster.writing import WriteRules, Written, store_encoded, threads_for

_AHEAD = 4  # so many values of a stream are written while the next one is made
_ROWS, _PARTITION_ROWS = "dagster/row_count", "dagster/partition_row_count"


@dataclass(frozen=True, slots=True)
class Storing:
    """What is common to all values of an output.

    Attributes:
        context: Dagster's, of the output.
        store: Where they go.
        form: How they become bytes.
        rules: How they are written.
        keys: How their keys are made.
        versions_to_keep: How many older values of each key stay; None to keep none.
        previews: Whether Dagster shows what is in the values.
    """

    context: OutputContext
    store: Store
    form: Form
    rules: WriteRules
    keys: KeyRule
    versions_to_keep: int | None = None
    previews: bool = True

    def store_all(self, slots: Sequence[Slot], values: Mapping[Any, Any]) -> None:
        """Encode all values, and only then write them, many at a time.

        Raises:
            CodecError: If one does not fit; nothing was written.
        """
        with _PrivateFolder() as folder:
            encoded = [self._encode(slot, values[slot.partition], folder) for slot in slots]
            if len(slots) == 1:
                written = [self._write(slots[0], encoded[0])]
            else:
                with ThreadPoolExecutor(
                    min(threads_for(self.store), len(slots)), thread_name_prefix="anystore-store"
                ) as pool:
                    written = list(pool.map(self._write, slots, encoded))
        self._describe({slot: (made.metadata, done) for slot, made, done in zip(slots, encoded, written, strict=True)})

    def store_stream(self, slots: Sequence[Slot], pairs: Iterable[tuple[str, Any]]) -> None:
        """Write values as they come, each whole, a few at a time.

        Raises:
            CodecError: If a value does not fit, or a partition is not of the run, comes twice or not at all; what
                came before is stored.
        """
        waiting = {slot.partition: slot for slot in slots}
        done: dict[Slot, tuple[Mapping[str, Any], Written]] = {}
        running: deque[tuple[Slot, Mapping[str, Any], Future[Written]]] = deque()

        def finish_one() -> None:
            slot, metadata, future = running.popleft()
            done[slot] = (metadata, future.result())

        with _PrivateFolder() as folder, ThreadPoolExecutor(_AHEAD, thread_name_prefix="anystore-store") as pool:
            for partition, value in self._checked(pairs):
                slot = waiting.pop(partition, None)
                if slot is None:
                    raise self._misfit(
                        f"came with a value for {str(partition)!r}", slots, [*done, *(r[0] for r in running)]
                    )
                encoded = self._encode(slot, value, folder)
                running.append((slot, encoded.metadata, pool.submit(self._write_and_remove, slot, encoded)))
                if len(running) >= _AHEAD:
                    finish_one()
            while running:
                finish_one()
        if waiting:
            absent = ", ".join(repr(str(partition)) for partition in waiting)
            raise self._misfit(f"ended without a value for {absent}", slots, list(done))
        self._describe({slot: done[slot] for slot in slots})

    def _checked(self, pairs: Any) -> Iterator[tuple[str, Any]]:
        for pair in pairs:
            if not isinstance(pair, tuple) or len(pair) != 2 or not isinstance(pair[0], str):  # noqa: PLR2004 - a pair
                raise CodecError(
                    f"a PartitionedOutput is made of pairs (partition, value), not of {type(pair).__name__}"
                )
            yield pair

    def _misfit(self, problem: str, slots: Sequence[Slot], stored: Sequence[Slot]) -> CodecError:
        name = self.context.asset_key.to_user_string()
        return CodecError(
            f"the PartitionedOutput of asset {name!r} {problem}; it has to give each of the {len(slots)} partitions of "
            f"the run once, as context.partition_keys names them. {len(stored)} of them were stored, and stay"
        )

    def _encode(self, slot: Slot, value: Any, folder: PathLike[str]) -> Encoded:
        try:
            return self.form.encode(value, folder)
        except CodecError as error:
            raise CodecError(f"cannot store {slot.title} as {slot.key!r} in {self.store.uri}: {error}") from error

    def _write(self, slot: Slot, encoded: Encoded) -> Written:
        touches_files = encoded.files or (self.versions_to_keep is not None and has_files(self.store, slot.key))
        with files_lock(self.store, slot.key, retries=self.rules.retries) if touches_files else nullcontext():
            written = store_encoded(self.store, slot.key, encoded, self.rules)
            self._tidy(slot, written)
        return written

    def _write_and_remove(self, slot: Slot, encoded: Encoded) -> Written:
        written = self._write(slot, encoded)
        for data in (encoded.data, *encoded.files.values()):
            if isinstance(data, Path):
                data.unlink(missing_ok=True)
        return written

    def _tidy(self, slot: Slot, written: Written) -> None:
        """Take away what is replaced; the value is stored, so that no trouble here fails the step."""
        if written.is_unchanged:
            return
        try:
            if written.replaced is not None:
                delete_replaced_files(self.store, slot.key, written.replaced)
            if self.versions_to_keep is not None:
                prune_versions(self.store, slot.key, keep=self.versions_to_keep, run_times=run_times_of(self.context))
        except AnystoreError as error:
            self.context.log.warning("Stored %s, and could not delete what is older: %s", slot.title, error)

    def _describe(self, stored: Mapping[Slot, tuple[Mapping[str, Any], Written]]) -> None:
        """Show each value's metadata beside the user's own, those of a partition with that partition."""
        described = {slot.partition: self._metadata(slot, *found) for slot, found in stored.items()}
        unchanged = sum(written.is_unchanged for _, written in stored.values())
        self.context.log.debug(
            "Stored %s in %s%s",
            titles(list(stored)),
            self.store.uri,
            f"; {unchanged} had the same content already" if unchanged else "",
        )
        if len(stored) == 1:
            (metadata,) = described.values()
            ((_, written),) = stored.values()
            self.context.add_output_metadata(without_users_own(metadata, self.context.output_metadata))
            set_content_version(self.context, written.checksum)
        else:
            add_partition_metadata(self.context, {str(name): metadata for name, metadata in described.items()})

    def _metadata(self, slot: Slot, content: Mapping[str, Any], written: Written) -> dict[str, Any]:
        place = value_metadata(
            uri=self.store.backend.locate(parse_key(slot.key)),
            key=slot.key,
            size=written.size,
            checksum=written.checksum,
        )
        if slot.is_shortened:
            place["anystore/shortened_from"] = slot.title
        if written.is_unchanged:
            place["anystore/unchanged"] = True
        if self.keys.template.has_extension and self.context.has_asset_key:
            place[EXTENSION] = self.keys.extension
        described = {name: value for name, value in content.items() if self.previews or name != PREVIEW}
        if slot.partition is not None and _ROWS in described:
            described[_PARTITION_ROWS] = described.pop(_ROWS)
        # Dagster shows them in this order, and people look for what a value is before they ask where.
        preview = {name: described.pop(name) for name in [PREVIEW] if name in described}
        return preview | described | place


class _PrivateFolder(PathLike[str]):
    """A folder that only this user reads, and that is gone afterwards, also if the process is killed.

    It is made when its path is first asked for, which small values never do.
    """

    def __init__(self) -> None:
        self._held: Hold | None = None

    def __fspath__(self) -> str:
        if self._held is None:
            with local_errors("make a temporary folder"):
                self._held = make_held(watched_prefix())
        return self._held.path

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._held is None:
            return
        if self._held.is_mine:
            shutil.rmtree(self._held.path, ignore_errors=True)
        self._held.release()
