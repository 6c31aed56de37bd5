"""The IO manager: what assets and ops return goes into a store, and comes back to whoever asks for it."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import NoneType
from typing import Any, Self, cast

from dagster import (
    ConfigurableIOManager,
    DagsterInvalidDefinitionError,
    DagsterInvariantViolationError,
    InputContext,
    OutputContext,
    ResourceDependency,
)
from pydantic import Field, model_validator

from anystore import CodecError, DoesNotExist, MissingExtra, Store
from anystore.codecs import Codec
from anystore.keys import parse_key
from anystore_dagster.asset_keys import parse_value_key
from anystore_dagster.metadata import table_metadata, value_metadata, without_users_own
from anystore_dagster.resource import AnystoreResource, StoreSettings
from anystore_dagster.slots import (
    Slot,
    annotation_of,
    input_is_many,
    input_slots,
    many_are_wanted,
    not_one_is_mapped,
    output_is_many,
    output_slots,
    partitions_differ,
)
from anystore_dagster.values import codec_for, is_parquet, partitioned_item, takes_none

ALLOW_MISSING = "allow_missing_partitions"
"""Metadata of an ``AssetIn`` or of the upstream asset: partitions without a value are left out."""

_LOADERS = 16
_LISTED = 10


class AnystoreIOManager(ConfigurableIOManager, StoreSettings):
    """Keeps what assets and ops return in a store, and loads it for whoever depends on it.

    Give it the fields of a store, or ``store=AnystoreResource(…)``, not both. The annotation of
    an output or input decides how its value is stored; see :mod:`anystore_dagster.values`.

    A run of one partition stores one value. An asset whose backfill policy puts several partitions into a
    run returns ``dict[str, T]``, a value for each partition of the run. An input ``dict[str, T]`` of a
    partitioned asset is keyed by partition, unless its step has one partition that is mapped to the same one;
    so is a bare ``dict``, unless a partition mapping other than ``AllPartitionMapping`` is given;
    any other annotation is the value of one partition. ``metadata={"anystore/partitions": "one" | "many"}``
    on the ``AssetIn`` or asset decides otherwise.

    ``-> None`` stores nothing; a None that is returned under any other annotation is stored.

    Attributes:
        store: The store as a resource of its own, instead of the fields above.

    Example:
        >>> from dagster import Definitions, asset
        >>> @asset
        ... def numbers() -> list[int]:
        ...     return [1, 2, 3]
        >>> defs = Definitions(assets=[numbers], resources={"io_manager": AnystoreIOManager(uri="./data")})
    """

    store: ResourceDependency[AnystoreResource | None] = Field(
        default=cast("Any", None),  # the type is Dagster's descriptor, which gives the value
        description="The store as a resource, instead of the fields that describe one here.",
    )

    @model_validator(mode="after")
    def _check_one_store(self) -> Self:
        """Refuse two descriptions of the store, of which one would be ignored."""
        resource: Any = self.store
        if resource is None:
            return self
        # what configure_at_launch() gives is no AnystoreResource yet, and names its class
        if not issubclass(getattr(resource, "resource_cls", type(resource)), AnystoreResource):
            raise DagsterInvalidDefinitionError(
                f"AnystoreIOManager(store=…) takes an AnystoreResource, not {type(resource).__name__}; "
                "write store=AnystoreResource(uri=…), or uri=… on the IO manager itself"
            )
        fields = StoreSettings.model_fields
        both = [
            name
            for name, field in fields.items()
            if getattr(self, name) != field.get_default(call_default_factory=True)
        ]
        if both:
            raise DagsterInvalidDefinitionError(
                "AnystoreIOManager takes store= or the fields of a store, not both: "
                f"move {', '.join(both)} to the AnystoreResource"
            )
        return self

    def open_store(self) -> Store:
        """Open the store, or give the one that was opened before.

        Returns:
            The store of the resource, or of the fields.
        """
        return super().open_store() if self.store is None else self.store.open_store()

    def handle_output(self, context: OutputContext, obj: Any) -> None:
        """Store what an asset or op returned; each value is whole or absent.

        Args:
            context: Dagster's, of the output.
            obj: What was returned.

        Raises:
            CodecError: If the value does not fit its annotation or its partitions; nothing was written.
        """
        annotation = annotation_of(context)
        if annotation is NoneType:
            return
        slots = output_slots(context)
        if not output_is_many(context, annotation):
            if len(slots) != 1:
                raise many_are_wanted(context, annotation, len(slots))
            self._store_values(context, slots, {slots[0].partition: obj}, annotation)
            return
        partitions = [slot.partition for slot in slots]
        if not isinstance(obj, Mapping) or set(obj) != set(partitions):
            raise partitions_differ(context, obj, partitions)
        self._store_values(context, slots, obj, partitioned_item(annotation) or Any)

    def load_input(self, context: InputContext) -> Any:
        """Load what an upstream asset or op returned.

        Args:
            context: Dagster's, of the input; a step is not needed.

        Returns:
            The value, or a dict of values by partition.

        Raises:
            DoesNotExist: If a value is missing; the message names all that are.
            CodecError: If the stored bytes do not fit the annotation, or the annotation not the partitions.
        """
        annotation = annotation_of(context)
        if annotation is NoneType:
            return None
        slots = input_slots(context)
        if input_is_many(context, annotation):
            found = self._load_values(context, slots, self._codec(partitioned_item(annotation) or Any))
            return {slot.partition: value for slot, value in found}
        if not slots and takes_none(annotation):
            return None  # as before the first partition of an asset that depends on its own last one
        if len(slots) != 1:
            raise not_one_is_mapped(context, annotation, len(slots))
        return next((value for _, value in self._load_values(context, slots, self._codec(annotation))), None)

    def _codec(self, annotation: Any) -> Codec:
        mode = self.serialization_mode if self.store is None else self.store.serialization_mode
        return codec_for(annotation, mode)

    def _store_values(
        self, context: OutputContext, slots: Sequence[Slot], values: Mapping[Any, Any], annotation: Any
    ) -> None:
        """Encode all values, and only then write them."""
        store, codec = self.open_store(), self._codec(annotation)
        encoded: list[tuple[Slot, bytes]] = []
        for slot in slots:
            try:
                encoded.append((slot, codec.encode(values[slot.partition])))
            except CodecError as error:
                raise CodecError(f"cannot store {slot.title} as {slot.key!r} in {store.uri}: {error}") from error
        described: dict[str | None, dict[str, Any]] = {}
        for slot, data in encoded:
            store.put(slot.key, data, serialization_mode="raw")
            described[slot.partition] = _describe(store, slot, data)
        context.log.debug("Stored %s in %s", _titles(slots), store.uri)
        _add_metadata(context, described)

    def _load_values(self, context: InputContext, slots: Sequence[Slot], codec: Codec) -> list[tuple[Slot, Any]]:
        """Load values at the same time; complain of all that are missing at once."""
        store = self.open_store()

        def load(slot: Slot) -> tuple[Slot, Any] | None:
            try:
                data = store.get(slot.key, serialization_mode="raw", raise_on_nonexist=True)
            except DoesNotExist:
                return None
            try:
                return slot, codec.decode(data)
            except CodecError as error:
                raise CodecError(f"cannot load {slot.title} from {slot.key!r} in {store.uri}: {error}") from error

        if len(slots) == 1:
            results = [load(slots[0])]
        else:
            with ThreadPoolExecutor(_LOADERS, thread_name_prefix="anystore-load") as pool:
                results = list(pool.map(load, slots))
        missing = [slot for slot, result in zip(slots, results, strict=True) if result is None]
        if missing and not _allows_missing(context):
            raise _missing(missing, len(slots), store)
        if missing:
            context.log.warning("Left out %s: no value in %s", _titles(missing), store.uri)
        found = [result for result in results if result is not None]
        context.log.debug("Loaded %s from %s", _titles([slot for slot, _ in found]), store.uri)
        return found


def _allows_missing(context: InputContext) -> bool:
    upstream = context.upstream_output
    allowed = context.definition_metadata.get(ALLOW_MISSING)
    if allowed is None and upstream is not None:
        allowed = upstream.definition_metadata.get(ALLOW_MISSING)
    return bool(getattr(allowed, "value", allowed))


def _describe(store: Store, slot: Slot, data: bytes) -> dict[str, Any]:
    described = value_metadata(uri=store.backend.locate(parse_key(slot.key)), key=slot.key, data=data)
    if parse_value_key(slot.key) is None:
        described["anystore/shortened_from"] = slot.title
    if is_parquet(data):
        # bytes of whatever origin: a broken file was stored as it is, and a whole one needs no pyarrow for that
        with suppress(CodecError, MissingExtra):
            described |= table_metadata(data, is_partition=slot.partition is not None)
    return described


def _add_metadata(context: OutputContext, described: Mapping[str | None, dict[str, Any]]) -> None:
    """Show each value's metadata beside the user's own, those of a partition with that partition."""
    users = dict(context.output_metadata)
    if len(described) == 1:
        context.add_output_metadata(without_users_own(next(iter(described.values())), users))
        return
    # private to Dagster: an IO manager has no way of its own to speak of one partition among many
    try:
        step = context.step_context
    except DagsterInvariantViolationError:
        return  # outside of any run, nobody keeps metadata
    for partition, metadata in described.items():
        known = users | dict(step.get_asset_metadata(context.asset_key, partition) or {})
        step.add_asset_metadata(without_users_own(metadata, known), context.asset_key, partition)


def _titles(slots: Sequence[Slot]) -> str:
    if len(slots) == 1:
        return slots[0].title
    return f"{len(slots)} values ({slots[0].title} … {slots[-1].title})" if slots else "no values"


def _missing(slots: Sequence[Slot], wanted: int, store: Store) -> DoesNotExist:
    shown = "; ".join(f"{slot.title}, key {slot.key!r}" for slot in slots[:_LISTED])
    more = f"; and {len(slots) - _LISTED} more" if len(slots) > _LISTED else ""
    advice = "materialize it first, or check that both steps use the same store and prefix"
    if wanted > 1:
        advice = f"materialize them first, or set metadata={{{ALLOW_MISSING!r}: True}} on the AssetIn to leave them out"
    if store.uri.startswith("memory://"):
        advice += "; memory:// is seen only in the process that wrote it, and steps may run in others"
    return DoesNotExist(f"no value of {shown}{more} in {store.uri}: {advice}")
