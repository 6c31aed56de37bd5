"""Which values an output or input stands for: their keys, and whether there is one or one for each partition.

What Dagster does not tell its IO managers publicly is asked here: the backfill policy, the partition mapping, and
whether an input collects many outputs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from dagster import (
    AllPartitionMapping,
    BackfillPolicy,
    DagsterInvariantViolationError,
    IdentityPartitionMapping,
    InputContext,
    MultiPartitionKey,
    MultiPartitionsDefinition,
    OutputContext,
    PartitionsDefinition,
    StaticPartitionsDefinition,
    TimeWindowPartitionMapping,
    TimeWindowPartitionsDefinition,
)
from dagster._core.execution.plan.inputs import FromMultipleSources

from anystore.errors import CodecError
from anystore_dagster.asset_keys import asset_value_key, output_value_key
from anystore_dagster.values import annotation_text, partitioned_item

SHAPE = "anystore/partitions"
"""Metadata of an asset or an ``AssetIn``: ``one`` or ``many``, where the rules would choose the other."""

_MOST_LISTED = 10


@dataclass(frozen=True, slots=True)
class Slot:
    """The place of one value.

    Attributes:
        title: What it is, for messages and logs.
        key: Its key in the store.
        partition: The key of its partition, or None.
    """

    title: str
    key: str
    partition: str | None = None


def annotation_of(context: InputContext | OutputContext) -> Any:
    """Give the annotated type of what is stored or loaded; ``Any`` where there is none.

    Args:
        context: Dagster's, of the input or output.

    Returns:
        The type. For an input that collects a list from many outputs, that of one of them.
    """
    try:
        annotation = context.dagster_type.typing_type
    except DagsterInvariantViolationError:
        return Any
    if get_origin(annotation) is list and isinstance(context, InputContext) and _collects(context):
        return get_args(annotation)[0]
    return annotation


def _collects(context: InputContext) -> bool:
    """Tell whether Dagster makes a list of what is loaded here, one output after the other."""
    try:
        step_input = context.step_context.step.step_input_named(context.name)
    except DagsterInvariantViolationError:
        return False
    return isinstance(step_input.source, FromMultipleSources)


def _asset_slots(
    path: Sequence[str], partitions: Sequence[str | None], definition: PartitionsDefinition | None
) -> list[Slot]:
    name = "/".join(path)
    slots = []
    for partition in partitions:
        if partition is None:
            slots.append(Slot(f"asset {name!r}", asset_value_key(path)))
        else:
            key = asset_value_key(path, _dimensions(partition, definition))
            slots.append(Slot(f"partition {str(partition)!r} of asset {name!r}", key, partition))
    return slots


def _in_order(partitions: Sequence[str], definition: PartitionsDefinition | None) -> list[str]:
    """Put partitions, which Dagster gives as a set, in the order of their definition, else of their names."""
    if isinstance(definition, TimeWindowPartitionsDefinition):
        return list(partitions)  # these come by time, which their names need not follow
    if isinstance(definition, StaticPartitionsDefinition):
        places = {name: place for place, name in enumerate(definition.get_partition_keys())}
        return sorted(partitions, key=lambda name: places.get(name, len(places)))
    return sorted(partitions)


def _dimensions(partition: str, definition: PartitionsDefinition | None) -> list[str]:
    """Give the part of each dimension, in the order of the dimensions' names."""
    if isinstance(definition, MultiPartitionsDefinition) and not isinstance(partition, MultiPartitionKey):
        partition = definition.get_partition_key_from_str(partition)
    if isinstance(partition, MultiPartitionKey):
        return [part for _, part in sorted(partition.keys_by_dimension.items())]
    return [partition]


def _definition(context: InputContext | OutputContext) -> PartitionsDefinition | None:
    try:
        return context.asset_partitions_def
    except DagsterInvariantViolationError:
        return None


def output_slots(context: OutputContext) -> list[Slot]:
    """List the values that an output is to be stored as.

    Args:
        context: Dagster's, of the output.

    Returns:
        One slot, or one for each partition of the run.

    Raises:
        CodecError: If the asset is partitioned, and the run has no partition.
    """
    if not context.has_asset_key:
        return [_op_slot(context)]
    path = context.asset_key.path
    definition = _definition(context)
    if context.has_asset_partitions:
        return _asset_slots(path, _in_order(context.asset_partition_keys, definition), definition)
    if definition is not None:
        raise CodecError(
            f"asset {'/'.join(path)!r} is partitioned, and this run has no partition; choose one for the run"
        )
    return _asset_slots(path, [None], None)


def input_slots(context: InputContext) -> list[Slot]:
    """List the values that an input is loaded from.

    Args:
        context: Dagster's, of the input.

    Returns:
        One slot, or one for each partition that is mapped.

    Raises:
        CodecError: If there is nothing upstream, or no partition of it was asked for.
    """
    if not context.has_asset_key:
        if context.upstream_output is None:
            raise CodecError(
                f"the input {context.name!r} has no upstream output or asset to be loaded; add AssetIn or a dependency"
            )
        return [_op_slot(context.upstream_output)]
    path = context.asset_key.path
    definition = _definition(context)
    if context.has_asset_partitions:
        return _asset_slots(path, _in_order(context.asset_partition_keys, definition), definition)
    if definition is not None:
        raise CodecError(
            f"asset {'/'.join(path)!r} is partitioned; say which partition to load, as in partition_key='…'"
        )
    return _asset_slots(path, [None], None)


def _op_slot(context: OutputContext) -> Slot:
    identifier = context.get_identifier()
    return Slot(f"output {'.'.join(identifier[1:])!r} of run {identifier[0]}", output_value_key(identifier))


def _shape(metadata: Mapping[str, Any]) -> bool | None:
    """Read ``one`` or ``many`` from metadata, which may be one of Dagster's own values."""
    shape = metadata.get(SHAPE)
    shape = getattr(shape, "value", shape)
    if shape not in (None, "one", "many"):
        raise DagsterInvariantViolationError(f"the metadata {SHAPE!r} is 'one' or 'many', not {shape!r}")
    return None if shape is None else shape == "many"


def output_is_many(context: OutputContext, annotation: Any) -> bool:
    """Tell whether an output is a dict by partition: its annotation, and the asset's backfill policy, say so.

    Args:
        context: Dagster's, of the output.
        annotation: The annotated type.

    Returns:
        True if the asset's runs can have several partitions, or this one was started for a range.
    """
    if not (context.has_asset_key and context.has_asset_partitions):
        return False
    wanted = _shape(context.definition_metadata)
    if wanted is not None:
        return wanted
    if annotation not in (Any, object, dict) and partitioned_item(annotation) is None:
        return False
    try:
        step = context.step_context
    except DagsterInvariantViolationError:
        return len(context.asset_partition_keys) > 1
    # private to Dagster: the policy of an asset is not told to IO managers
    policy = step.job_def.asset_layer.get(context.asset_key).backfill_policy
    return _takes_many(policy) or not step.has_partition_key


def _takes_many(policy: BackfillPolicy | None) -> bool:
    return policy is not None and policy.max_partitions_per_run != 1


def input_is_many(context: InputContext, annotation: Any) -> bool:
    """Tell whether an input is a dict by partition: its annotation and the mapping say so, never the count.

    Args:
        context: Dagster's, of the input.
        annotation: The annotated type.

    Returns:
        False if the value of one partition is meant.
    """
    if not (context.has_asset_key and context.has_asset_partitions):
        return False
    wanted = _shape(context.definition_metadata)
    if wanted is not None:
        return wanted
    if annotation not in (Any, dict) and partitioned_item(annotation) is None:
        return False
    try:
        step = context.step_context
    except DagsterInvariantViolationError:
        return not context.has_partition_key  # a range was asked for, outside of any step
    # private to Dagster: the mapping is not told to IO managers
    layer = step.job_def.asset_layer
    consumer = layer.get_assets_def_for_node(step.node_handle)
    mapping = consumer.get_partition_mapping_for_dep(context.asset_key) if consumer else None
    if annotation is dict and not (mapping is None or isinstance(mapping, AllPartitionMapping)):
        return False  # such as the last partition: a bare dict can be its value
    if consumer is None or consumer.partitions_def != context.asset_partitions_def:
        return True
    if _takes_many(consumer.backfill_policy) or not step.has_partition_key:
        return True
    return not (
        mapping is None or isinstance(mapping, IdentityPartitionMapping) or mapping == TimeWindowPartitionMapping()
    )


def not_one_is_mapped(context: InputContext, annotation: Any, count: int) -> CodecError:
    """Make the error for several partitions, or none, where the annotation is the value of one."""
    name = "/".join(context.asset_key.path)
    kind = annotation_text(annotation)
    if not count:
        return CodecError(
            f"no partition of asset {name!r} is mapped to this input; annotate {kind} | None to be given None, "
            f"or dict[str, {kind}] for a value of each partition"
        )
    return CodecError(
        f"{count} partitions of asset {name!r} are mapped to an input annotated {kind}, which is the value of one; "
        f"annotate dict[str, {kind}] for a value of each, or choose a partition mapping that gives one"
    )


def many_are_wanted(context: OutputContext, annotation: Any, count: int) -> CodecError:
    """Make the error for one value where the run has several partitions."""
    name = "/".join(context.asset_key.path)
    kind = annotation_text(annotation)
    return CodecError(
        f"asset {name!r} returned one {kind} in a run of {count} partitions; annotate -> dict[str, {kind}], and return "
        "{partition: value} for each partition of the run; nothing was written"
    )


def partitions_differ(context: OutputContext, obj: Any, partitions: Sequence[str | None]) -> CodecError:
    """Make the error for a value that is no dict with exactly the partitions of the run."""
    name = "/".join(context.asset_key.path)
    if not isinstance(obj, Mapping):
        problem = f"a {type(obj).__name__}"
    else:
        absent = [str(partition) for partition in partitions if partition not in obj]
        foreign = [str(partition) for partition in obj if partition not in set(partitions)]
        parts = [f"no value for {_quoted(absent)}"] if absent else []
        parts += [f"values for {_quoted(foreign)}, which the run does not have"] if foreign else []
        problem = "a dict with " + " and ".join(parts)
    return CodecError(
        f"asset {name!r} has to return a dict with one value for each partition of the run ({_quoted(partitions)}), "
        f"and returned {problem}; nothing was written"
    )


def _quoted(names: Sequence[str | None]) -> str:
    shown = ", ".join(repr(str(name)) for name in names[:_MOST_LISTED])
    return f"{shown}, … ({len(names)} in all)" if len(names) > _MOST_LISTED else shown
