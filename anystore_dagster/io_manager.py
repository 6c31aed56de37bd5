"""The IO manager: what assets and ops return goes into a store, and comes back to whoever asks for it."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import NoneType
from typing import Any, Self, cast

from dagster import (
    ConfigurableIOManager,
    DagsterInvalidDefinitionError,
    InputContext,
    OutputContext,
    ResourceDependency,
)
from pydantic import Field, PrivateAttr, model_validator

from anystore import CodecError, InvalidOption, Store
from anystore_dagster.dagster_internals import run_id_of
from anystore_dagster.extensions import input_extension, output_extension
from anystore_dagster.key_templates import DEFAULT_TEMPLATE, KeyTemplate
from anystore_dagster.local_cache import cached_store
from anystore_dagster.partitioned import PartitionedOutput, streamed_item
from anystore_dagster.reading import Source, concatenate, load_slots, missing_values, open_stream, selection_of
from anystore_dagster.resource import AnystoreResource, StoreSettings
from anystore_dagster.retention import version_name
from anystore_dagster.seen_runs import RunNotes
from anystore_dagster.slots import (
    KeyRule,
    Slot,
    annotation_of,
    input_shape,
    input_slots,
    many_are_wanted,
    not_one_is_mapped,
    output_is_many,
    output_slots,
    partitions_differ,
)
from anystore_dagster.storing import Storing
from anystore_dagster.values import form_for, partitioned_item, takes_none
from anystore_dagster.variables import resolve_variables, variable_name
from anystore_dagster.writing import WriteRules

_parsed_template = lru_cache(maxsize=64)(KeyTemplate)


class AnystoreIOManager(StoreSettings, ConfigurableIOManager):
    """Keeps what assets and ops return in a store, and loads it for whoever depends on it.

    Give it the fields of a store, or ``store=AnystoreResource(…)``, not both. The annotation of
    an output or input decides how its value is stored; see :mod:`anystore_dagster.values`.

    A run of one partition stores one value. An asset whose backfill policy puts several partitions into a run returns
    ``dict[str, T]``, a value for each partition of the run, or a :class:`PartitionedOutput`, which is stored piece by
    piece. An input ``dict[str, T]`` of a partitioned asset is keyed by partition, unless its step has one partition
    that is mapped to the same one; so is an input without annotation. A bare ``dict`` is one value. A table of many
    partitions is all of them, one below the other; a :class:`PartitionStream` loads one after the other; any other
    annotation is the value of one partition.
    ``metadata={"anystore/partitions": "one" | "many"}`` on the ``AssetIn`` or asset decides otherwise.

    ``-> None`` stores nothing; a None that is returned under any other annotation is stored.

    Attributes:
        store: The store as a resource of its own, instead of the fields above.
        key_template: How the keys of assets are made.
        write_if_changed: Whether bytes that are there already are left as they are.
        ttl: Seconds for values to live.
        versions_to_keep: How many older values of each key stay.
        retries: How often a call to the store is tried again.
        fallback_store: A store that is read where this one has no value.
        local_cache: A folder on the local disk that keeps what was read of a remote store.
        local_cache_bytes: The most bytes that are kept there.

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
    key_template: str = Field(
        default=DEFAULT_TEMPLATE,
        description=(
            "How the keys of assets are made: {asset}, {partition} or {partition[NAME]} for one of its dimensions, "
            "{extension} by the annotated type; what stands in [brackets] is for partitioned assets. Names are "
            "escaped, so that each value has a key of its own."
        ),
    )
    write_if_changed: bool = Field(
        default=False,
        description=(
            "Whether a value whose bytes are in the store already is left untouched there; its time stays, and no "
            "older value is kept. Bytes of the same size are read to compare them."
        ),
    )
    ttl: float | None = Field(
        default=None,
        description=(
            "Seconds for values to live, on backends that let values expire; any other refuses to store. "
            "Without it, values stay."
        ),
    )
    versions_to_keep: int | None = Field(
        default=None,
        description=(
            "How many older values of each key stay: one that is replaced is first copied to KEY.versions/RUN, where "
            "RUN is the run that replaces it. Without it, none."
        ),
    )
    previews: bool = Field(
        default=True,
        description=(
            "Whether Dagster shows the first rows of tables, the heads of texts and small pictures. What is shown is "
            "kept in its event log, which may have other readers than the store."
        ),
    )
    retries: int = Field(
        default=4,
        description=(
            "How often a call to the store that failed by what can pass, such as a lost connection, is tried again, "
            "with growing pauses; the code of the asset does not run again for it."
        ),
    )
    fallback_store: ResourceDependency[AnystoreResource | None] = Field(
        default=cast("Any", None),
        description=(
            "A store that is read, and never written, where this one has no value: production, while this one is for "
            "development."
        ),
    )
    local_cache: str | None = Field(
        default=None,
        description=(
            "A folder on the local disk that keeps what was read of a remote store, and is asked first as long as the "
            "value has not changed there."
        ),
    )
    local_cache_bytes: int | None = Field(
        default=None, description="The most bytes that are kept in local_cache; 10 GiB if nothing is said."
    )

    _sources: tuple[Store, ...] | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _check_one_store(self) -> Self:
        """Refuse two descriptions of the store, of which one would be ignored."""
        resource: Any = self.store
        _check_resource("fallback_store", self.fallback_store)
        _check_resource("store", resource)
        if resource is None:
            return self
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

    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)
        self._check_options()  # no validator of pydantic's: to these, variables of the environment are texts and zeros

    def _check_options(self) -> None:
        """Refuse what cannot work when the definitions load; variables of the environment are read later."""
        try:
            if variable_name(self.key_template) is None:
                _parsed_template(self.key_template)
            _check_number("ttl", self.ttl, above=0)
            _check_number("versions_to_keep", self.versions_to_keep, least=0)
            _check_number("retries", self.retries, least=0)
            _check_number("local_cache_bytes", self.local_cache_bytes, least=1)
            if self.ttl is not None and self.write_if_changed is True:
                raise InvalidOption("ttl and write_if_changed exclude each other: what is not written again expires")
            if self.local_cache_bytes is not None and self.local_cache is None:
                raise InvalidOption("local_cache_bytes limits local_cache; give the folder, too")
        except InvalidOption as error:
            raise DagsterInvalidDefinitionError(f"AnystoreIOManager: {error}") from error

    def open_store(self) -> Store:
        """Open the store, or give the one that was opened before.

        Returns:
            The store of the resource, or of the fields.
        """
        return super().open_store() if self.store is None else self.store.open_store()

    def owns_key(self, key: str) -> bool:
        """Tell whether a key may be one that this IO manager has made for a value.

        Args:
            key: A key of the store.

        Returns:
            Whether it begins and ends as ``key_template`` does.
        """
        return self._template().owns(key)

    def handle_output(self, context: OutputContext, obj: Any) -> None:
        """Store what an asset or op returned; each value is whole or absent.

        Args:
            context: Dagster's, of the output.
            obj: What was returned.

        Raises:
            CodecError: If the value does not fit its annotation or its partitions; nothing was written, but of a
                ``PartitionedOutput`` what came before.
        """
        annotation = annotation_of(context)
        if annotation is NoneType:
            return
        rule = KeyRule(
            self._template(),
            output_extension(context, annotation, template=self._template(), mode=self._mode()),
        )
        slots = output_slots(context, rule)
        item = streamed_item(annotation, PartitionedOutput)
        if item is not None or isinstance(obj, PartitionedOutput):
            if not isinstance(obj, PartitionedOutput) or not context.has_asset_partitions:
                raise _no_partitioned_output(context, obj)
            self._storing(context, obj.item, rule).store_stream(slots, obj)
            return
        if not output_is_many(context, annotation):
            if len(slots) != 1:
                raise many_are_wanted(context, annotation, len(slots))
            self._storing(context, annotation, rule).store_all(slots, {slots[0].partition: obj})
            return
        partitions = [slot.partition for slot in slots]
        if not isinstance(obj, Mapping) or set(obj) != set(partitions):
            raise partitions_differ(context, obj, partitions)
        self._storing(context, partitioned_item(annotation) or Any, rule).store_all(slots, obj)

    def load_input(self, context: InputContext) -> Any:
        """Load what an upstream asset or op returned.

        Args:
            context: Dagster's, of the input; a step is not needed.

        Returns:
            The value, or the values of partitions in the shape that the annotation asks for.

        Raises:
            DoesNotExist: If a value is missing; the message names all that are.
            CodecError: If the stored bytes do not fit the annotation, or the annotation not the partitions.
        """
        annotation = annotation_of(context)
        if annotation is NoneType:
            return None
        rule = KeyRule(self._template(), input_extension(context, template=self._template(), mode=self._mode()))
        slots = input_slots(context, rule)
        shape = input_shape(context, annotation)
        if shape == "stream":
            return open_stream(context, self._source(context, annotation.item), slots, annotation)
        if shape == "dict":
            source, notes = self._source(context, partitioned_item(annotation) or Any), RunNotes(context)
            found = load_slots(context, source, slots)
            return {slot.partition: notes.follow(value, slot.partition) for slot, value in found}
        if not slots and takes_none(annotation):
            return None  # as before the first partition of an asset that depends on its own last one
        if not slots or (shape == "one" and len(slots) > 1):
            raise not_one_is_mapped(context, annotation, len(slots))
        return self._load_one(context, annotation, slots)

    def _load_one(self, context: InputContext, annotation: Any, slots: Sequence[Slot]) -> Any:
        """Load one value, or one table of all partitions."""
        source = self._source(context, annotation)
        found = [value for _, value in load_slots(context, source, slots)]
        if not found and not takes_none(annotation):
            raise missing_values(slots, 1, source.stores)  # all may be missing, but there is no value for that
        tables = [value for value in found if value is not None]
        if len(tables) > 1:
            return concatenate(tables)
        return RunNotes(context).follow(next(iter(tables), None), slots[0].partition)

    def _mode(self) -> str:
        mode: str = self.serialization_mode if self.store is None else self.store.serialization_mode
        return mode

    def _template(self) -> KeyTemplate:
        return _parsed_template(resolve_variables(self.key_template, where="key_template"))

    def _storing(self, context: OutputContext, annotation: Any, rule: KeyRule) -> Storing:
        store = self.open_store()
        return Storing(
            context,
            store if self.ttl is None else store.using(default_ttl=self.ttl),
            form_for(annotation, self._mode()),
            WriteRules(
                self.retries,
                if_changed=self.write_if_changed,
                version=None if self.versions_to_keep is None else version_name(run_id_of(context)),
            ),
            rule,
            self.versions_to_keep,
            previews=self.previews,
        )

    def _source(self, context: InputContext, annotation: Any) -> Source:
        if self._sources is None:
            stores = [self.open_store()]
            if self.fallback_store is not None:
                stores.append(self.fallback_store.open_store())
            folder = resolve_variables(self.local_cache, where="local_cache")
            if folder is not None:
                stores = [cached_store(store, folder, self.local_cache_bytes) for store in stores]
            self._sources = tuple(stores)
        return Source(self._sources, form_for(annotation, self._mode()), selection_of(context), self.retries)


def _check_resource(name: str, resource: Any) -> None:
    # what configure_at_launch() gives is no AnystoreResource yet, and names its class
    if resource is not None and not issubclass(getattr(resource, "resource_cls", type(resource)), AnystoreResource):
        raise DagsterInvalidDefinitionError(
            f"AnystoreIOManager({name}=…) takes an AnystoreResource, not {type(resource).__name__}; "
            f"write {name}=AnystoreResource(uri=…)" + (", or uri=… on the IO manager itself" if name == "store" else "")
        )


def _check_number(name: str, value: Any, *, least: float | None = None, above: float | None = None) -> None:
    if value is None or variable_name(value) is not None:
        return
    if (least is not None and value < least) or (above is not None and value <= above):
        raise InvalidOption(
            f"{name} is a number {f'from {least} on' if above is None else f'above {above}'}, not {value}"
        )


def _no_partitioned_output(context: OutputContext, obj: Any) -> CodecError:
    if not isinstance(obj, PartitionedOutput):
        return CodecError(
            f"a PartitionedOutput is annotated, and a {type(obj).__name__} was returned; return "
            "PartitionedOutput(…) of the annotated class, made of pairs (partition, value)"
        )
    return CodecError(
        f"output {context.name!r} is a PartitionedOutput, and is no asset with partitions; give the asset a "
        "partitions_def, or annotate the type of the value"
    )
