"""Asset checks of stored values: that they are there, unchanged, and have enough rows.

Each function makes an asset check for one asset that an :class:`AnystoreIOManager` stores. The value is found as an
input would find it, and no more of it is read than is needed. In a run of partitions, those are checked; in any other
run of a partitioned asset, all that were materialized.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSeverity,
    AssetKey,
    AssetRecordsFilter,
    AssetsDefinition,
    AutomationCondition,
    InputContext,
    MetadataValue,
    OutputContext,
    PartitionsDefinition,
    PythonObjectDagsterType,
    TableRecord,
    asset_check,
)

from anystore.errors import CodecError, DoesNotExist, InvalidOption
from anystore.extras import load
from anystore.keys import parse_key
from anystore_dagster.io_manager import AnystoreIOManager
from anystore_dagster.stored import BlobRef

CheckedAsset: TypeAlias = AssetKey | Sequence[str] | str | AssetsDefinition
"""An asset, or its key; with the key alone, partitions have to be said, too."""

_CHECKSUM = "anystore/checksum"
_BLOB = PythonObjectDagsterType(BlobRef)
_THREADS = 16
_SHOWN = 100
_NAMED = 10


@dataclass(frozen=True, slots=True)
class Finding:
    """What one value was found to be.

    Attributes:
        partition: Its partition, or None.
        problem: What is wrong, or nothing.
        metadata: What there is to show of it.
    """

    partition: str | None
    problem: str
    metadata: dict[str, Any] = field(default_factory=dict)


Inspection = Callable[[BlobRef, str | None], tuple[str, dict[str, Any]]]
"""From a value and what Dagster noted as its checksum to what is wrong with it, and what there is to show."""


@dataclass(frozen=True, slots=True)
class _Target:
    """The asset of a check, and what is known of it when the definitions load."""

    key: AssetKey
    io_manager_key: str
    partitions_def: PartitionsDefinition[Any] | None
    metadata: dict[str, Any]


def value_exists(
    asset: CheckedAsset,
    *,
    name: str = "value_exists",
    description: str | None = None,
    io_manager_key: str | None = None,
    partitions_def: PartitionsDefinition[Any] | None = None,
    severity: AssetCheckSeverity = AssetCheckSeverity.ERROR,
    blocking: bool = False,
    automation_condition: AutomationCondition[Any] | None = None,
) -> AssetChecksDefinition:
    """Make a check that an asset's value is in its store; nothing is read of it.

    Args:
        asset: The asset, or its key.
        name: The name of the check.
        description: What the check's page says.
        io_manager_key: The resource key of the asset's IO manager; that of the asset, if it is given itself.
        partitions_def: The asset's partitions; those of the asset, if it is given itself.
        severity: How bad it is when the check fails.
        blocking: Whether what is downstream waits for the check, and does not run if it fails.
        automation_condition: When Dagster runs the check by itself.

    Returns:
        The check, for ``Definitions(asset_checks=[…])``.

    Example:
        >>> from dagster import asset
        >>> @asset
        ... def orders() -> list[int]:
        ...     return [1, 2]
        >>> check = value_exists(orders)
    """

    def inspect(value: BlobRef, _: str | None) -> tuple[str, dict[str, Any]]:
        entry = value.info()
        shown = {"anystore/size_bytes": entry.size, "anystore/modified": entry.modified and entry.modified.isoformat()}
        return "", {key: one for key, one in shown.items() if one is not None}

    return _make_check(
        _target(asset, io_manager_key, partitions_def),
        inspect,
        name=name,
        description=description or "The value is in the store of the asset's IO manager.",
        severity=severity,
        blocking=blocking,
        automation_condition=automation_condition,
    )


def checksum_matches(
    asset: CheckedAsset,
    *,
    sha256: str | None = None,
    name: str = "checksum_matches",
    description: str | None = None,
    io_manager_key: str | None = None,
    partitions_def: PartitionsDefinition[Any] | None = None,
    severity: AssetCheckSeverity = AssetCheckSeverity.ERROR,
    blocking: bool = False,
    automation_condition: AutomationCondition[Any] | None = None,
) -> AssetChecksDefinition:
    """Make a check that an asset's bytes are those that Dagster saw when it was materialized last.

    The value is read once, in bounded memory; of a ``FileCollection``, so is each file.

    Args:
        asset: The asset, or its key.
        sha256: The checksum that the value has to have, instead.
        name: The name of the check.
        description: What the check's page says.
        io_manager_key: As for :func:`value_exists`.
        partitions_def: As for :func:`value_exists`.
        severity: How bad it is when the check fails.
        blocking: Whether what is downstream waits for the check, and does not run if it fails.
        automation_condition: When Dagster runs the check by itself.

    Returns:
        The check, for ``Definitions(asset_checks=[…])``.

    Raises:
        InvalidOption: If ``sha256`` is no such checksum.
    """
    if sha256 is not None and (len(sha256) != 64 or not set(sha256.lower()) <= set("0123456789abcdef")):  # noqa: PLR2004
        raise InvalidOption(f"sha256 has 64 hexadecimal digits, and {sha256!r} has not")

    def inspect(value: BlobRef, noted: str | None) -> tuple[str, dict[str, Any]]:
        wanted = noted if sha256 is None else sha256.lower()
        found = value.store.checksum(value.key)
        shown = {"anystore/checksum": found, "anystore/checksum_wanted": wanted or "unknown"}
        if wanted is None:
            return "Dagster has no checksum of it; materialize it with an AnystoreIOManager, or give sha256=", shown
        if found != wanted:
            return f"its bytes have another checksum: {found}, not {wanted}", shown
        changed: list[str] = load("anystore_dagster.file_checks").changed_files(value)
        if changed:
            names = ", ".join(map(repr, changed[:_NAMED]))
            return f"{len(changed):,} of its files are gone or have other bytes: {names}", shown
        return "", shown

    return _make_check(
        _target(asset, io_manager_key, partitions_def),
        inspect,
        name=name,
        description=description or "The stored bytes are those that were materialized.",
        severity=severity,
        blocking=blocking,
        automation_condition=automation_condition,
    )


def row_count_at_least(
    asset: CheckedAsset,
    minimum: int,
    *,
    name: str = "row_count_at_least",
    description: str | None = None,
    io_manager_key: str | None = None,
    partitions_def: PartitionsDefinition[Any] | None = None,
    severity: AssetCheckSeverity = AssetCheckSeverity.ERROR,
    blocking: bool = False,
    automation_condition: AutomationCondition[Any] | None = None,
) -> AssetChecksDefinition:
    """Make a check that a table, or each partition of it, has enough rows; a JSON list has them, too.

    Of a Parquet file only the end is read, where the number stands.

    Args:
        asset: The asset, or its key.
        minimum: The fewest rows.
        name: The name of the check.
        description: What the check's page says.
        io_manager_key: As for :func:`value_exists`.
        partitions_def: As for :func:`value_exists`.
        severity: How bad it is when the check fails.
        blocking: Whether what is downstream waits for the check, and does not run if it fails.
        automation_condition: When Dagster runs the check by itself.

    Returns:
        The check, for ``Definitions(asset_checks=[…])``.

    Raises:
        InvalidOption: If ``minimum`` is no number of rows.
    """
    if type(minimum) is not int or minimum < 0:
        raise InvalidOption(f"minimum is a number of rows from 0 on, not {minimum!r}")

    def inspect(value: BlobRef, _: str | None) -> tuple[str, dict[str, Any]]:
        rows: int = load("anystore_dagster.row_counts").count_rows(value)
        problem = "" if rows >= minimum else f"it has {rows:,} rows, and {minimum:,} are the fewest"
        return problem, {"anystore/row_count": rows}

    return _make_check(
        _target(asset, io_manager_key, partitions_def),
        inspect,
        name=name,
        description=description or f"There are at least {minimum:,} rows.",
        severity=severity,
        blocking=blocking,
        automation_condition=automation_condition,
    )


def _target(
    asset: CheckedAsset, io_manager_key: str | None, partitions_def: PartitionsDefinition[Any] | None
) -> _Target:
    key = AssetKey.from_coercible_or_definition(asset)
    if not isinstance(asset, AssetsDefinition):
        return _Target(key, io_manager_key or "io_manager", partitions_def, {})
    return _Target(
        key,
        io_manager_key or asset.get_io_manager_key_for_asset_key(key),
        partitions_def or asset.partitions_def,
        dict(asset.metadata_by_key.get(key, {})),
    )


def _make_check(
    target: _Target,
    inspect: Inspection,
    *,
    name: str,
    description: str,
    severity: AssetCheckSeverity,
    blocking: bool,
    automation_condition: AutomationCondition[Any] | None,
) -> AssetChecksDefinition:
    def check(context: AssetCheckExecutionContext) -> AssetCheckResult:
        manager = getattr(context.resources, target.io_manager_key)
        if not isinstance(manager, AnystoreIOManager):
            raise InvalidOption(
                f"the check {name!r} of asset {target.key.to_user_string()!r} needs an AnystoreIOManager as resource "
                f"{target.io_manager_key!r}, and found {type(manager).__name__}; set io_manager_key= of the check"
            )
        partitions = _partitions(context, target)
        noted = {partition: _noted_checksum(context, target, partition) for partition in partitions}

        def look(partition: str | None) -> Finding:
            try:
                value = _find(context, target, manager, partition)
                problem, shown = inspect(value, noted[partition])
            except DoesNotExist as error:
                return Finding(partition, str(error))
            except CodecError as error:
                return Finding(partition, f"it cannot be read: {error}")
            return Finding(partition, problem, {"dagster/uri": _place(value), **shown})

        with ThreadPoolExecutor(_THREADS, thread_name_prefix="anystore-check") as pool:
            findings = list(pool.map(look, partitions))
        return _result(target, findings, severity)

    return asset_check(
        asset=target.key,
        name=name,
        description=description,
        blocking=blocking,
        required_resource_keys={target.io_manager_key},
        automation_condition=automation_condition,
    )(check)


def _partitions(context: AssetCheckExecutionContext, target: _Target) -> Sequence[str | None]:
    """List the partitions that are to be checked."""
    if target.partitions_def is None:
        latest = context.instance.get_latest_materialization_event(target.key)
        materialization = None if latest is None else latest.asset_materialization
        if materialization is not None and materialization.partition is not None:
            raise InvalidOption(f"asset {target.key.to_user_string()!r} has partitions; give the check partitions_def=")
        return [None]
    run = context.op_execution_context  # Dagster 1.12 has no partitions on the other one
    if run.has_partition_key or run.has_partition_key_range:
        return list(run.partition_keys)
    return sorted(context.instance.get_materialized_partitions(target.key))


def _find(
    context: AssetCheckExecutionContext, target: _Target, manager: AnystoreIOManager, partition: str | None
) -> BlobRef:
    """Ask the IO manager, as an input would that wants the value unread."""
    # not build_input_context(), which makes an instance with databases of its own for each context
    resources = context.resources
    found: BlobRef = manager.load_input(
        InputContext(
            name="value",
            asset_key=target.key,
            dagster_type=_BLOB,
            instance=context.instance,
            log_manager=context.log,
            resources=resources,
            upstream_output=OutputContext(
                asset_key=target.key, definition_metadata=target.metadata, resources=resources
            ),
            partition_key=partition,
            asset_partitions_def=target.partitions_def,
            asset_partitions_subset=None
            if partition is None or target.partitions_def is None
            else target.partitions_def.subset_with_partition_keys([partition]),
        )
    )
    return found


def _noted_checksum(context: AssetCheckExecutionContext, target: _Target, partition: str | None) -> str | None:
    """Give the checksum that the last materialization noted."""
    wanted = AssetRecordsFilter(asset_key=target.key, asset_partitions=None if partition is None else [partition])
    for record in context.instance.fetch_materializations(wanted, limit=1).records:
        materialization = record.asset_materialization
        if materialization is not None and _CHECKSUM in materialization.metadata:
            return str(materialization.metadata[_CHECKSUM].value)
    return None


def _place(value: BlobRef) -> str:
    return value.store.backend.locate(parse_key(value.key))


def _result(target: _Target, findings: Sequence[Finding], severity: AssetCheckSeverity) -> AssetCheckResult:
    """Say what was found, and why it is not enough."""
    failed = [finding for finding in findings if finding.problem]
    name = target.key.to_user_string()
    metadata: dict[str, Any] = {}
    if target.partitions_def is None:
        metadata |= findings[0].metadata
        text = f"{name}: {failed[0].problem}" if failed else None
    else:
        metadata |= {"anystore/partitions_checked": len(findings), "anystore/partitions_failed": len(failed)}
        text = None
        if not findings:
            failed = [Finding(None, "")]
            text = f"no partition of {name} was materialized yet, so that there is nothing to check"
        elif failed:
            text = f"{len(failed)} of {len(findings)} partitions of {name} failed; {failed[0].partition}: "
            text += failed[0].problem
            metadata["anystore/failures"] = MetadataValue.table(
                [TableRecord({"partition": str(one.partition), "problem": one.problem}) for one in failed[:_SHOWN]]
            )
        if len(findings) == 1:
            metadata |= findings[0].metadata
    return AssetCheckResult(passed=not failed, description=text, metadata=metadata, severity=severity)
