"""Which values an output or input stands for: their keys, and whether there is one or one for each partition."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from dagster import (
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

from anystore.errors import CodecError
from anystore_dagster.asset_keys import output_value_key, parse_value_key
from anystore_dagster.dagster_internals import (
    collects_outputs,
    consumer_of,
    has_partition_key,
    output_policy,
    step_of,
)
from anystore_dagster.key_templates import KeyTemplate
from anystore_dagster.partitioned import PartitionStream, streamed_item
from anystore_dagster.values import annotation_text, is_frame, partitioned_item
from anystore_dagster.values.annotations import without_none

SHAPE = "anystore/partitions"
"""Metadata of an asset or an ``AssetIn``: ``one`` or ``many``, where the rules would choose the other."""

Shape = Literal["one", "dict", "table", "stream"]
"""What an input is given: one value, a dict by partition, one table of all partitions, or a stream of them."""

_MOST_LISTED = 10


@dataclass(frozen=True, slots=True)
class Slot:
    """The place of one value.

    Attributes:
        title: What it is, for messages and logs.
        key: Its key in the store.
        partition: The key of its partition, or None.
        is_shortened: Whether the key no longer tells the names it was made of.
    """

    title: str
    key: str
    partition: str | None = None
    is_shortened: bool = False


@dataclass(frozen=True, slots=True)
class KeyRule:
    """How the keys of one asset are made.

    Attributes:
        template: The template.
        extension: What ``{extension}`` stands for.
    """

    template: KeyTemplate
    extension: str


def titles(slots: Sequence[Slot]) -> str:
    """Name slots in a log line.

    Example:
        >>> titles([Slot("asset 'orders'", "orders.value")])
        "asset 'orders'"
    """
    if len(slots) == 1:
        return slots[0].title
    return f"{len(slots)} values ({slots[0].title} … {slots[-1].title})" if slots else "no values"


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
    if get_origin(annotation) is list and isinstance(context, InputContext) and collects_outputs(context):
        return get_args(annotation)[0]
    return annotation


def _asset_slots(
    path: Sequence[str], partitions: Sequence[str | None], definition: PartitionsDefinition | None, rule: KeyRule
) -> list[Slot]:
    name = "/".join(path)
    slots = []
    for partition in partitions:
        dimensions = None if partition is None else _dimensions(partition, definition)
        made = rule.template.key(path, partition=dimensions, extension=rule.extension)
        title = f"asset {name!r}" if partition is None else f"partition {str(partition)!r} of asset {name!r}"
        slots.append(Slot(title, made.key, partition, made.is_shortened))
    return slots


def _in_order(partitions: Sequence[str], definition: PartitionsDefinition | None) -> list[str]:
    """Put partitions, which Dagster gives as a set, in the order of their definition, else of their names."""
    if isinstance(definition, TimeWindowPartitionsDefinition):
        return list(partitions)  # these come by time, which their names need not follow
    if isinstance(definition, StaticPartitionsDefinition):
        places = {name: place for place, name in enumerate(definition.get_partition_keys())}
        return sorted(partitions, key=lambda name: places.get(name, len(places)))
    return sorted(partitions)


def _dimensions(partition: str, definition: PartitionsDefinition | None) -> list[tuple[str | None, str]]:
    """Give the name and text of each dimension.

    A partition's text is all that ``migrate_io_storage`` tells, so the key follows from it alone: where dimensions are
    not known, a bar stands between them, as Dagster puts it there.
    """
    if isinstance(definition, MultiPartitionsDefinition) and not isinstance(partition, MultiPartitionKey):
        partition = definition.get_partition_key_from_str(partition)
    if isinstance(partition, MultiPartitionKey):
        return [*partition.keys_by_dimension.items()]
    return [(None, text) for text in partition.split("|")]


def _definition(context: InputContext | OutputContext) -> PartitionsDefinition | None:
    try:
        return context.asset_partitions_def
    except DagsterInvariantViolationError:
        return None


def output_slots(context: OutputContext, rule: KeyRule) -> list[Slot]:
    """List the values that an output is to be stored as.

    Args:
        context: Dagster's, of the output.
        rule: How keys of assets are made.

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
        return _asset_slots(path, _in_order(context.asset_partition_keys, definition), definition, rule)
    if definition is not None:
        raise CodecError(
            f"asset {'/'.join(path)!r} is partitioned, and this run has no partition; choose one for the run"
        )
    return _asset_slots(path, [None], None, rule)


def input_slots(context: InputContext, rule: KeyRule) -> list[Slot]:
    """List the values that an input is loaded from.

    Args:
        context: Dagster's, of the input.
        rule: How keys of assets are made.

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
        return _asset_slots(path, _in_order(context.asset_partition_keys, definition), definition, rule)
    if definition is not None:
        raise CodecError(
            f"asset {'/'.join(path)!r} is partitioned; say which partition to load, as in partition_key='…'"
        )
    return _asset_slots(path, [None], None, rule)


def _op_slot(context: OutputContext) -> Slot:
    identifier = context.get_identifier()
    key = output_value_key(identifier)
    title = f"output {'.'.join(identifier[1:])!r} of run {identifier[0]}"
    return Slot(title, key, is_shortened=parse_value_key(key) is None)


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
    if annotation not in (Any, object) and partitioned_item(annotation) is None:
        return False
    if step_of(context) is None:
        return len(context.asset_partition_keys) > 1
    return _takes_many(output_policy(context)) or not has_partition_key(context)


def _takes_many(policy: BackfillPolicy | None) -> bool:
    return policy is not None and policy.max_partitions_per_run != 1


def input_shape(context: InputContext, annotation: Any) -> Shape:
    """Tell what an input is given: its annotation and the partition mapping say so, never the number of partitions.

    Args:
        context: Dagster's, of the input.
        annotation: The annotated type.

    Returns:
        The shape; ``one`` where the upstream asset has no partitions.

    Raises:
        CodecError: If a stream is annotated, and the upstream asset has no partitions.
    """
    is_stream = streamed_item(annotation, PartitionStream) is not None
    if not (context.has_asset_key and context.has_asset_partitions):
        if is_stream:
            raise CodecError(
                f"the input {annotation.__name__} streams partitions, and its upstream asset or output has none; "
                "annotate the type of the value"
            )
        return "one"
    if is_stream:
        return "stream"
    wanted = _shape(context.definition_metadata)
    if wanted is not None and not (wanted and is_frame(without_none(annotation))):
        return "dict" if wanted else "one"
    if is_frame(without_none(annotation)):
        return "table"
    if annotation is not Any and partitioned_item(annotation) is None:
        return "one"
    if step_of(context) is None:
        return "one" if context.has_partition_key else "dict"  # a range was asked for, outside of any step
    return "dict" if _many_are_mapped(context) else "one"


def _many_are_mapped(context: InputContext) -> bool:
    consumer = consumer_of(context)
    if consumer is None:
        return True
    definition, policy, mapping = consumer
    if definition != context.asset_partitions_def:
        return True
    if _takes_many(policy) or not has_partition_key(context):
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
        f"annotate dict[str, {kind}] for a value of each (with metadata={{{SHAPE!r}: 'many'}} on the AssetIn where the "
        f"rules say 'one'), or a PartitionStream, or choose a partition mapping that gives one"
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
    if obj is None:
        problem = "None (annotate -> None if it stores nothing)"
    elif not isinstance(obj, Mapping):
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
