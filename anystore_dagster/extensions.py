"""What ``{extension}`` in a template of keys stands for; the same for who stores a value and for who loads it.

Dagster tells an IO manager how an upstream asset is annotated only where both are of one run. So an asset's metadata
comes first, then the mode of the IO manager, then the annotation, and then what was noted when the asset was stored.
"""

from typing import Any

from dagster import InputContext, OutputContext

from anystore.errors import CodecError
from anystore_dagster.dagster_internals import has_type, instance_of, latest_metadata, step_of, upstream_annotation
from anystore_dagster.key_templates import PLAIN_EXTENSION, KeyTemplate
from anystore_dagster.partitioned import PartitionedOutput, streamed_item
from anystore_dagster.values import form_for, partitioned_item

EXTENSION = "anystore/extension"
"""Metadata of an asset: the ending of its keys, where a template has ``{extension}``."""

_OF_MODE = {"parquet": "parquet", "arrow": "arrow", "csv": "csv", "json": "json", "text": "txt", "pickle": "pickle"}
_UNKNOWN = object()


def output_extension(context: OutputContext, annotation: Any, *, template: KeyTemplate, mode: str) -> str:
    """Give the extension of what is stored.

    Args:
        context: Dagster's, of the output.
        annotation: The annotated type.
        template: The template of keys.
        mode: How values become bytes.

    Returns:
        The extension, without its dot.

    Raises:
        CodecError: If it cannot be known, as in ``migrate_io_storage``; the message says what to write.
    """
    if not template.has_extension or not context.has_asset_key:
        return PLAIN_EXTENSION
    said = _said(context.definition_metadata, mode)
    if said is None and not has_type(context):
        raise CodecError(
            f"key_template={template.text!r} needs the {{extension}} of asset {context.asset_key.to_user_string()!r}, "
            "whose annotation is not told here; use a template without it, or another serialization_mode than 'auto'"
        )
    return said or _of_annotation(annotation)


def input_extension(context: InputContext, *, template: KeyTemplate, mode: str) -> str:
    """Give the extension of what is loaded.

    Args:
        context: Dagster's, of the input.
        template: The template of keys.
        mode: How values become bytes.

    Returns:
        The extension, without its dot.

    Raises:
        CodecError: If it cannot be known; the message says what to write.
    """
    if not template.has_extension or not context.has_asset_key:
        return PLAIN_EXTENSION
    upstream = context.upstream_output
    said = _said({} if upstream is None else upstream.definition_metadata, mode)
    if said is not None:
        return said
    annotation = upstream_annotation(context, default=_UNKNOWN)
    if step_of(context) is not None and annotation is not _UNKNOWN:
        return _of_annotation(annotation)
    instance = instance_of(context)
    noted = None if instance is None else latest_metadata(instance, context.asset_key).get(EXTENSION)
    if noted is not None:
        return str(noted)
    if annotation is not _UNKNOWN:
        return _of_annotation(annotation)
    name = context.asset_key.to_user_string()
    raise CodecError(
        f"key_template={template.text!r} needs the {{extension}} of asset {name!r}, which this run does not compute "
        f"and no earlier one has noted; write metadata={{{EXTENSION!r}: 'parquet'}}, or whatever it is, on that asset"
    )


def _said(metadata: Any, mode: str) -> str | None:
    """Read the extension from an asset's metadata, or from the mode, if one of them tells it."""
    said = metadata.get(EXTENSION)
    said = getattr(said, "value", said)
    return _OF_MODE.get(mode) if said is None else str(said)


def _of_annotation(annotation: Any) -> str:
    item = streamed_item(annotation, PartitionedOutput)
    if item is None and (one := partitioned_item(annotation)) is not None:
        # a dict of tables is one table for each partition; any other dict is JSON, and so are its parts
        try:
            form_for(annotation)
        except CodecError:
            item = one
    return form_for(annotation if item is None else item).extension or PLAIN_EXTENSION
