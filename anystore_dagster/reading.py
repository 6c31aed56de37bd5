"""Loading what was stored: one value, or those of many partitions at the same time, from one store or its fallback."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from dagster import InputContext

from anystore import CodecError, DoesNotExist, Store
from anystore_dagster.partitioned import PartitionStream
from anystore_dagster.seen_runs import RunNotes
from anystore_dagster.slots import Slot, titles
from anystore_dagster.stored import COLUMNS, FILTERS, BlobRef, Form, Selection
from anystore_dagster.values import annotation_text
from anystore_dagster.writing import THREADS, threads_for, with_retries

ALLOW_MISSING = "allow_missing_partitions"
"""Metadata of an ``AssetIn`` or of the upstream asset: partitions without a value are left out."""

_LISTED = 10
_STAGES = ((0.0005, 2, 16), (0.005, 16, THREADS))
"""Seconds, how many values are loaded in them where enough threads are at work, and the threads where they are not."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where values are loaded from, and how.

    Attributes:
        stores: The store, and behind it the one that is asked for what it does not have.
        form: How the bytes become values.
        selection: The columns and rows that are wanted.
        retries: How often a call that failed by what can pass is tried again.
    """

    stores: Sequence[Store]
    form: Form
    selection: Selection
    retries: int

    def find(self, slot: Slot) -> BlobRef | None:
        """Find the store that has a value; with one store, it is not asked.

        Returns:
            Where the value is; None if no store has it.
        """
        if len(self.stores) == 1:
            return BlobRef(self.stores[0], slot.key)
        has = next((store for store in self.stores if self._exists(store, slot)), None)
        return None if has is None else BlobRef(has, slot.key)

    def load(self, slot: Slot) -> Any:
        """Load a value.

        Raises:
            DoesNotExist: If no store has it.
            CodecError: If its bytes do not fit.
        """
        found = self.find(slot)
        if found is None:
            raise missing_values([slot], 1, self.stores)
        try:
            return with_retries(lambda: self.form.decode(found, self.selection), self.retries)
        except DoesNotExist as error:
            raise missing_values([slot], 1, self.stores) from error
        except CodecError as error:
            raise CodecError(f"cannot load {slot.title} from {slot.key!r} in {found.store.uri}: {error}") from error

    def try_load(self, slot: Slot) -> tuple[Slot, Any] | None:
        """Load a value, or give None if there is none."""
        try:
            return slot, self.load(slot)
        except DoesNotExist:
            return None

    def exists(self, slot: Slot) -> bool:
        """Tell whether a store has the value."""
        return any(self._exists(store, slot) for store in self.stores)

    def _exists(self, store: Store, slot: Slot) -> bool:
        return with_retries(lambda: store.exists(slot.key), self.retries)


def for_each(source: Source, call: Callable[[Slot], Any], slots: Sequence[Slot]) -> list[Any]:
    """Call something for each slot, in threads where it takes its time; in the order of the slots.

    Threads that have hardly anything to wait for hinder each other. So one begins, others help when it is slow, and
    more when these are, too.

    Args:
        source: Where the values are.
        call: Loads one.
        slots: What is wanted.

    Returns:
        What the calls returned.
    """
    if len(slots) <= 1:
        return [call(slot) for slot in slots]
    waiting, results = deque(enumerate(slots)), dict[int, Any]()

    def work() -> None:
        while True:
            try:
                number, slot = waiting.popleft()
            except IndexError:
                return
            try:
                results[number] = call(slot)
            except BaseException:
                waiting.clear()  # nobody asks for the others any more
                raise

    most = min(len(slots), *(threads_for(store) for store in source.stores))
    _work_together(work, most, is_waiting=lambda: bool(waiting), loaded=lambda: len(results))
    return [results[number] for number in range(len(slots))]


def _work_together(
    work: Callable[[], None], most: int, *, is_waiting: Callable[[], bool], loaded: Callable[[], int]
) -> None:
    """Work in one thread, and in more, up to ``most``, as long as there is something to do and they are slow."""
    with ThreadPoolExecutor(most, thread_name_prefix="anystore-load") as pool:
        workers, before = [pool.submit(work)], 0
        for seconds, enough, threads in _STAGES:
            while not wait(workers, seconds).done:
                fresh, before = loaded() - before, loaded()
                if fresh < enough:
                    break
            while is_waiting() and len(workers) < min(most, threads):  # to start one takes a while, too
                workers.append(pool.submit(work))
        for worker in workers:
            worker.result()


def concatenate(frames: Sequence[Any]) -> Any:
    """Put tables of one kind one below the other; a column that one does not have is empty there.

    Args:
        frames: The tables, at least one.

    Returns:
        One table.

    Raises:
        CodecError: If a column has types in two of them that do not go together.

    Example:
        >>> import pyarrow
        >>> concatenate([pyarrow.table({"n": [1]}), pyarrow.table({"n": [2]})])["n"].to_pylist()
        [1, 2]
    """
    kind = type(frames[0])
    library = import_module(kind.__module__.partition(".")[0])
    try:
        return _CONCATENATE[library.__name__](library, frames)
    except _type_errors(library) as error:
        raise CodecError(
            f"the tables of {len(frames)} partitions do not go together as {annotation_text(kind)}: {error}; "
            "load them apart, as dict[str, …], or store them with the same types"
        ) from error


def _concatenate_arrow(pyarrow: Any, tables: Sequence[Any]) -> Any:
    return pyarrow.concat_tables(tables, promote_options="permissive")


def _concatenate_pandas(pandas: Any, frames: Sequence[Any]) -> Any:
    plain = all(isinstance(frame.index, pandas.RangeIndex) for frame in frames)
    return pandas.concat(frames, ignore_index=plain)


def _concatenate_polars(polars: Any, frames: Sequence[Any]) -> Any:
    joined = polars.concat(frames, how="diagonal_relaxed")
    schema = joined.collect_schema()
    for frame in frames:
        for name, kind in frame.collect_schema().items():
            if _became_text(polars, kind, schema[name]):  # numbers, say, which Arrow and we refuse
                raise polars.exceptions.SchemaError(
                    f"the column {name!r} is {kind} in one, and {schema[name]} in others"
                )
    return joined


def _became_text(polars: Any, old: Any, new: Any) -> bool:
    """Tell whether polars wrote as text what was none, also inside of lists and structs."""
    texts = (polars.String, polars.Categorical, polars.Enum)
    if new in texts:
        return old not in texts and old != polars.Null
    if new in (polars.List, polars.Array) and old in (polars.List, polars.Array):
        return _became_text(polars, old.inner, new.inner)
    if new == polars.Struct and old == polars.Struct:
        kinds = {field.name: field.dtype for field in new.fields}
        return any(_became_text(polars, field.dtype, kinds[field.name]) for field in old.fields)
    return False


_CONCATENATE: dict[str, Callable[[Any, Sequence[Any]], Any]] = {
    "pyarrow": _concatenate_arrow,
    "pandas": _concatenate_pandas,
    "polars": _concatenate_polars,
}


def _type_errors(library: Any) -> tuple[type[Exception], ...]:
    if library.__name__ == "polars":
        return (library.exceptions.PolarsError,)
    return (library.ArrowException,) if library.__name__ == "pyarrow" else (TypeError, ValueError)


def missing_values(slots: Sequence[Slot], wanted: int, stores: Sequence[Store]) -> DoesNotExist:
    """Make the error for values that are not there.

    Args:
        slots: All that are missing.
        wanted: How many were wanted.
        stores: Where they were looked for.

    Returns:
        An error that names each, its key, the stores, and what to do.
    """
    shown = "; ".join(f"{slot.title}, key {slot.key!r}" for slot in slots[:_LISTED])
    more = f"; and {len(slots) - _LISTED} more" if len(slots) > _LISTED else ""
    advice = "materialize it first, or check that both steps use the same store and prefix"
    if wanted > 1:
        advice = f"materialize them first, or set metadata={{{ALLOW_MISSING!r}: True}} on the AssetIn to leave them out"
    if any(store.uri.startswith("memory://") for store in stores):
        advice += "; memory:// is seen only in the process that wrote it, and steps may run in others"
    where = ", nor in ".join(store.uri for store in stores)
    return DoesNotExist(f"no value of {shown}{more} in {where}: {advice}")


def selection_of(context: InputContext) -> Selection:
    """Read which columns and rows an input wants.

    Args:
        context: Dagster's, of the input.

    Returns:
        The selection.

    Raises:
        CodecError: If the columns are no list of names.
    """
    columns = _plain(context.definition_metadata.get(COLUMNS))
    if columns is not None and not (
        isinstance(columns, list | tuple) and all(isinstance(name, str) for name in columns)
    ):
        raise CodecError(f"the metadata {COLUMNS!r} of an input is a list of names, not {columns!r}")
    return Selection(columns, _plain(context.definition_metadata.get(FILTERS)))


def allows_missing(context: InputContext) -> bool:
    """Tell whether partitions without a value are left out: the input says so, or else the upstream asset."""
    upstream = context.upstream_output
    allowed = context.definition_metadata.get(ALLOW_MISSING)
    if allowed is None and upstream is not None:
        allowed = upstream.definition_metadata.get(ALLOW_MISSING)
    return bool(_plain(allowed))


def _plain(value: Any) -> Any:
    """Give what metadata says; it may be one of Dagster's own values."""
    return getattr(value, "value", value)


def load_slots(context: InputContext, source: Source, slots: Sequence[Slot]) -> list[tuple[Slot, Any]]:
    """Load values at the same time; complain of all that are missing at once.

    Args:
        context: Dagster's, of the input.
        source: Where they are.
        slots: What is wanted.

    Returns:
        What was found, in the order of the slots.

    Raises:
        DoesNotExist: If one is missing, and that is not allowed.
    """
    results = for_each(source, source.try_load, slots)
    found = [result for result in results if result is not None]
    check_missing(context, source, slots, [slot for slot, result in zip(slots, results, strict=True) if result is None])
    context.log.debug("Loaded %s from %s", titles([slot for slot, _ in found]), source.stores[0].uri)
    return found


def check_missing(context: InputContext, source: Source, slots: Sequence[Slot], missing: Sequence[Slot]) -> None:
    """Raise for missing values, or say that they are left out, where that is allowed."""
    if missing and not allows_missing(context):
        raise missing_values(missing, len(slots), source.stores)
    if missing:
        context.log.warning("Left out %s: no value in %s", titles(missing), source.stores[0].uri)


def open_stream(
    context: InputContext, source: Source, slots: Sequence[Slot], annotation: type[PartitionStream]
) -> PartitionStream:
    """Give partitions as a stream, whose values are loaded one at a time; that they are there is checked now.

    Args:
        context: Dagster's, of the input.
        source: Where they are.
        slots: The partitions.
        annotation: The class of the stream.

    Returns:
        An instance of this class.

    Raises:
        DoesNotExist: If one is missing, and that is not allowed.
    """
    exists = for_each(source, source.exists, slots)
    check_missing(context, source, slots, [slot for slot, there in zip(slots, exists, strict=True) if not there])
    by_partition = {str(slot.partition): slot for slot, there in zip(slots, exists, strict=True) if there}
    notes = RunNotes(context)
    context.log.debug("Streams %s from %s", titles([*by_partition.values()]), source.stores[0].uri)
    return annotation([*by_partition], lambda partition: notes.follow(source.load(by_partition[partition]), partition))
