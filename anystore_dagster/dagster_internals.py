"""What we need of Dagster that has no public name, in one place, each with its reason."""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from datetime import datetime
from typing import Any, Self, cast

from dagster import (
    AssetKey,
    BackfillPolicy,
    DagsterInstance,
    DagsterInvariantViolationError,
    DataVersion,
    Field,
    InputContext,
    OpExecutionContext,
    OutputContext,
    PartitionMapping,
    PartitionsDefinition,
    RunsFilter,
)
from dagster._config import ConfigType
from dagster._config.field_utils import IntEnvVar
from dagster._config.pythonic_config import ConfigurableResourceFactory
from dagster._core.definitions.asset_selection import CoercibleToAssetSelection
from dagster._core.definitions.definition_config_schema import DefinitionConfigSchema
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster._core.execution.plan.inputs import FromMultipleSources

__all__ = [
    "CoercibleToAssetSelection",  # what Dagster takes for assets: keys, groups, assets, selections
    "ConfigType",  # of a field
    "CopiedResource",
    "DefinitionConfigSchema",  # what a schema has to be wrapped in
    "IntEnvVar",  # what EnvVar.int() gives
    "UnresolvedAssetJobDefinition",  # what define_asset_job() gives
    "replace_resource_types",
    "replace_types",
]


class CopiedResource(ConfigurableResourceFactory[Any]):
    """A resource that is copied for a run, where Dagster would construct it three times with the values that it has.

    That takes milliseconds each time, since Dagster makes a schema of the fields again.
    """

    def _with_updated_values(self, values: Mapping[str, Any] | None) -> ConfigurableResourceFactory[Any]:
        # a class of somebody else's may keep more than its fields, or make something of them
        is_ours = type(self).__module__.partition(".")[0] == __package__
        if is_ours and self._holds(values or {}):
            return self._copied()
        return super()._with_updated_values(values)

    def _holds(self, values: Mapping[str, Any]) -> bool:
        """Tell whether the fields have these values already."""
        return not values

    def _copied(self) -> Self:
        """Give another one with the same fields, of which Dagster has no definition yet; what was opened is not its."""
        fields = {name: self.__dict__[name] for name in type(self).model_fields}
        copied = type(self).model_construct(
            set(self.model_fields_set),
            **{name: dict(value) if isinstance(value, dict) else value for name, value in fields.items()},
        )
        copied._state__internal__ = self._state__internal__  # noqa: SLF001 - of the same class
        return copied


def replace_types(
    schema: Field,
    types: Mapping[str, ConfigType],
    *,
    whole: Callable[[Mapping[str, Field]], ConfigType],
    defaults: Mapping[str, Any] | None = None,
) -> Field:
    """Give fields of a schema other types and defaults; their names and descriptions stay.

    Dagster makes a schema of a pydantic model by rules of its own, which know none of our types.

    Args:
        schema: The schema of a mapping.
        types: A type for each name that gets another one.
        whole: Makes the type of all of them.
        defaults: A default for each name that gets another one.

    Returns:
        A schema beside the first, which stays as it is.
    """
    fields = {}
    for name, field in cast("Any", schema.config_type).fields.items():
        fields[name] = copy(field)
        fields[name].config_type = types.get(name, field.config_type)
        if defaults and name in defaults:
            fields[name] = Field(
                fields[name].config_type,
                default_value=defaults[name],
                is_required=False,
                description=field.description,
            )
    replaced = copy(schema)
    replaced.config_type = whole(fields)
    return replaced


def replace_resource_types(
    resource: Any, types: Mapping[str, ConfigType], *, whole: Callable[[Mapping[str, Field]], ConfigType]
) -> None:
    """Give fields of a resource other types, before Dagster has asked for its definition.

    What the resource was given becomes the default of each field. To Dagster it is one default for all of them, so
    that run configuration with one field alone would take away the others.

    Args:
        resource: A ``ConfigurableResource``, or what ``configure_at_launch`` gives.
        types: A type for each name that gets another one.
        whole: Makes the type of all of them.
    """
    state = resource._state__internal__  # noqa: SLF001 - there is no other way to its schema
    schema = state.config_schema
    if isinstance(schema, Field):  # of what configure_at_launch() gives
        changed = state._replace(config_schema=replace_types(schema, types, whole=whole))
    else:
        given = replace_types(schema.as_field(), types, whole=whole, defaults=state.resolved_config_dict)
        changed = state._replace(
            schema=replace_types(state.schema, types, whole=whole), config_schema=DefinitionConfigSchema(given)
        )
    resource._state__internal__ = changed  # noqa: SLF001


def step_of(context: InputContext | OutputContext) -> Any:
    """Give the step that a context belongs to; None outside of any run, as in ``load_asset_value``."""
    try:
        return context.step_context
    except DagsterInvariantViolationError:
        return None


def has_type(context: InputContext | OutputContext) -> bool:
    """Tell whether Dagster knows the type of what is stored or loaded; else the public property raises."""
    try:
        return context.dagster_type is not None
    except DagsterInvariantViolationError:
        return False


def run_id_of(context: OutputContext) -> str | None:
    """Give the run that stores a value; None outside of any run, where the public property raises."""
    step = step_of(context)
    return None if step is None else str(step.run_id)


def run_times_of(
    context: OutputContext | OpExecutionContext,
) -> Callable[[Sequence[str]], Mapping[str, datetime]] | None:
    """Give what tells when runs began, of those that the instance knows; None outside of any run."""
    step = context if isinstance(context, OpExecutionContext) else step_of(context)
    if step is None:
        return None
    instance: DagsterInstance = step.instance

    def run_times(run_ids: Sequence[str]) -> Mapping[str, datetime]:
        records = instance.get_run_records(RunsFilter(run_ids=list(run_ids)))
        return {record.dagster_run.run_id: record.create_timestamp for record in records}

    return run_times


def instance_of(context: InputContext) -> DagsterInstance | None:
    """Give the instance; None where an IO manager is called without one."""
    try:
        return context.instance
    except DagsterInvariantViolationError:
        return None


def collects_outputs(context: InputContext) -> bool:
    """Tell whether Dagster makes a list of what is loaded, one output after the other; then one is asked for here."""
    step = step_of(context)
    if step is None or not step.step.has_step_input(context.name):  # result.output_for_node() makes up a name
        return False
    return isinstance(step.step.step_input_named(context.name).source, FromMultipleSources)


def has_partition_key(context: InputContext | OutputContext) -> bool:
    """Tell whether the step has one partition, and not a range of them."""
    return bool(context.step_context.has_partition_key)


def output_policy(context: OutputContext) -> BackfillPolicy | None:
    """Give the backfill policy of the asset that a step stores: it says whether its runs can have many partitions."""
    policy: BackfillPolicy | None = context.step_context.job_def.asset_layer.get(context.asset_key).backfill_policy
    return policy


def consumer_of(
    context: InputContext,
) -> tuple[PartitionsDefinition | None, BackfillPolicy | None, PartitionMapping | None] | None:
    """Give partitions, backfill policy and partition mapping of the asset that has an input; None if it is no asset."""
    step = context.step_context
    consumer = step.job_def.asset_layer.get_assets_def_for_node(step.node_handle)
    if consumer is None:
        return None
    mapping = consumer.get_partition_mapping_for_dep(context.asset_key)
    return consumer.partitions_def, consumer.backfill_policy, mapping


def upstream_annotation(context: InputContext, *, default: Any) -> Any:
    """Give the annotation of the output that an input loads, as far as Dagster knows it.

    It is told where the output is of the same run; ``load_asset_value`` tells the operation at least; and a run
    that does not compute the upstream asset is told nothing.
    """
    upstream = context.upstream_output
    if upstream is None:
        return default
    try:
        return upstream.dagster_type.typing_type
    except DagsterInvariantViolationError:
        operation = getattr(upstream, "_op_def", None)
    if operation is None or upstream.name not in operation.output_dict:
        return default
    return operation.output_dict[upstream.name].dagster_type.typing_type


def set_content_version(context: OutputContext, version: str) -> None:
    """Make a checksum the data version of the asset that is stored, unless its code has set one.

    Only the code of an asset can do so publicly. Its ``Output(data_version=…)`` wins in Dagster itself.
    """
    step = step_of(context)
    if step is not None and context.has_asset_key and not step.has_data_version(context.asset_key):
        step.set_data_version(context.asset_key, DataVersion(version))


def add_partition_metadata(context: OutputContext, described: Mapping[str, Mapping[str, Any]]) -> None:
    """Show metadata with each of many partitions, without overwriting what the code of the asset said of it.

    ``context.add_output_metadata`` would show all of it with every partition.
    """
    step = step_of(context)
    if step is None:
        return  # outside of any run, nobody keeps metadata
    for partition, metadata in described.items():
        known = set(context.output_metadata) | set(step.get_asset_metadata(context.asset_key, partition) or {})
        fresh = {name: value for name, value in metadata.items() if name not in known}
        step.add_asset_metadata(fresh, context.asset_key, partition)


def latest_metadata(instance: DagsterInstance, asset_key: AssetKey) -> Mapping[str, Any]:
    """Give the metadata that was shown when an asset was last materialized; empty if that is not known."""
    event = instance.get_latest_materialization_event(asset_key)
    materialization = None if event is None else event.asset_materialization
    return {} if materialization is None else {name: value.value for name, value in materialization.metadata.items()}


def instance_id(instance: DagsterInstance) -> str:
    """Give what tells a deployment from every other: an id that its database of runs makes once, if it is one."""
    # the class that has it is not named here: to import it takes longer than all of this package
    find_id = getattr(instance.run_storage, "get_run_storage_id", None)
    return "" if find_id is None else str(find_id())


def materializing(context: InputContext) -> tuple[Any, list[AssetKey], list[str | None]] | None:
    """Give the step, the assets that it materializes from an input, and their partitions in this run.

    Returns:
        The step with ``add_asset_metadata``, the keys, and partitions or one None; None where no asset has the input,
        as in an op, a check or ``load_asset_value``.
    """
    step = step_of(context)
    consumer = None if step is None else step.job_def.asset_layer.get_assets_def_for_node(step.node_handle)
    if consumer is None:
        return None
    keys = [key for key in sorted(consumer.keys) if context.asset_key in consumer.asset_deps.get(key, ())]
    if not keys:
        return None
    if consumer.partitions_def is None or not (step.has_partition_key or step.has_partition_key_range):
        return step, keys, [None]
    return step, keys, list(OpExecutionContext(step).partition_keys)
