"""Which form the values of an annotation have."""

import io
from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import IO, Any, get_origin

from anystore.errors import CodecError
from anystore.extras import load
from anystore_dagster.stored import BlobRef, Encoded, Form, Selection
from anystore_dagster.values.advice import OWN_KINDS
from anystore_dagster.values.annotations import annotation_text, is_array, is_frame, parts_of, without_none
from anystore_dagster.values.byte_streams import ByteStream, ByteStreamForm
from anystore_dagster.values.codecs import codec_for, is_parquet
from anystore_dagster.values.file_collections import FileCollection, FileCollectionForm, is_manifest
from anystore_dagster.values.files import BlobRefForm, PathForm
from anystore_dagster.values.forms import CodecForm, OptionalForm, WholeForm
from anystore_dagster.values.record_streams import RecordStream

_TABLE_MODES = ("parquet", "arrow", "csv")
_ARRAY_MARK = b"\x93NUMPY"
_SIMPLE_FORMS: dict[Any, type[Form]] = {
    Path: PathForm,
    ByteStream: ByteStreamForm,
    BlobRef: BlobRefForm,
    FileCollection: FileCollectionForm,
}
_EXTENSIONS = {
    "arrow": "arrow",
    "auto": "",
    "bytes": "",
    "csv": "csv",
    "parquet": "parquet",
    "pickle": "pkl",
    "raw": "",
    "str": "txt",
    "text": "txt",
}
_LAZY_KINDS = ("Generator", "Iterator", "Iterable", "AsyncGenerator", "AsyncIterator", "AsyncIterable")
_TABLE_LIBRARIES = ("pyarrow", "pandas", "polars")
_NOT_WHOLE = (Path, bytes, *OWN_KINDS)


def form_for(annotation: Any, mode: str = "auto") -> Form:
    """Choose how the values of an output or input are stored.

    Args:
        annotation: The annotated type; ``Any`` for none.
        mode: ``auto`` lets the annotation decide; any other serialisation mode is used for every value but files,
            streams and references, which are bytes already.

    Returns:
        The form.

    Raises:
        CodecError: If none fits the annotation; the message says what to write instead.
        MissingExtra: If the annotation is a table, and pyarrow is not installed.

    Example:
        >>> form_for(dict[str, int]).encode({"a": 1}, Path()).data
        b'{"a":1}'
    """
    try:
        # by its text, too: unions of the same types in another order are equal
        return _chosen(annotation, str(annotation), mode)
    except TypeError:  # what is in its brackets cannot be hashed
        return _choose(annotation, mode)


@lru_cache(maxsize=256)
def _chosen(annotation: Any, text: str, mode: str) -> Form:  # noqa: ARG001 - the text is for the cache alone
    return _choose(annotation, mode)


def _choose(annotation: Any, mode: str) -> Form:
    inner = without_none(annotation)
    form = _form_of_kind(inner, mode)
    if form is None and mode == "auto" and annotation in (Any, object):
        return _AnyForm()
    if form is None and mode == "auto" and inner is bytes:
        form = CodecForm(codec_for(bytes), "bytes")
    if form is not None:
        return form if inner is annotation else OptionalForm(form)
    _refuse(annotation, mode)
    codec = codec_for(annotation, mode)
    return CodecForm(codec, annotation_text(annotation), _EXTENSIONS.get(codec.name, "json"))


def _form_of_kind(kind: Any, mode: str) -> Form | None:
    """Give the form of what is not JSON and not bytes; None for all else, and for what a mode is to write."""
    if kind in _SIMPLE_FORMS:
        return _SIMPLE_FORMS[kind]()
    table_format = mode if mode in _TABLE_MODES else "parquet"
    if kind is RecordStream:
        stream_form: Form = load("anystore_dagster.values.tables").RecordStreamForm(table_format)
        return stream_form
    if is_frame(kind) and mode in ("auto", *_TABLE_MODES):
        table_form: Form = load("anystore_dagster.values.tables").TableForm(kind, table_format)
        return table_form
    if is_array(kind) and mode == "auto":
        array_form: Form = load("anystore_dagster.values.arrays").ArrayForm(kind)
        return array_form
    return None


def _refuse(annotation: Any, mode: str) -> None:
    """Refuse what pydantic would take, and what would not come back."""
    inner = without_none(annotation)
    kind = get_origin(inner) or inner
    if mode not in ("auto", "json") or not isinstance(kind, type):
        return
    if kind.__module__.partition(".")[0] in _TABLE_LIBRARIES and not is_frame(kind):
        raise CodecError(
            f"{annotation_text(inner)} is no whole table; annotate pyarrow.Table, a frame of pandas or polars, "
            "or RecordStream for batches"
        )
    if issubclass(kind, io.IOBase | IO) or kind.__name__ in _LAZY_KINDS:
        raise CodecError(
            f"{annotation_text(inner)} gives its items once, and does not say what is in them; "
            "annotate ByteStream for bytes, or RecordStream for rows"
        )
    parts = parts_of(annotation)[1:]
    files = [part for part in parts if part in _NOT_WHOLE or is_frame(part) or is_array(part)]
    if files:
        advice = {
            Path: "annotate FileCollection for many files",
            FileCollection: "annotate FileCollection alone",
        }.get(files[0], f"annotate {annotation_text(files[0])} alone, or FileCollection for many files")
        raise CodecError(
            f"{annotation_text(annotation)} cannot be stored as one value, since JSON holds neither bytes nor tables; "
            f"{advice}, or partition the asset and store one for each partition"
        )


class _AnyForm(WholeForm):
    """Whatever a value is, by its class; and whatever stored bytes say of themselves."""

    name = "Any"

    def encode(self, value: Any, folder: PathLike[str]) -> Encoded:
        kind = Path if isinstance(value, Path) else type(value)
        form = _form_of_kind(kind, "auto") or CodecForm(codec_for(Any), self.name)
        return form.encode(value, folder)

    def decode(self, source: BlobRef, selection: Selection) -> Any:
        if not selection.is_all:
            form: Form = load("anystore_dagster.values.tables").TableForm(None)
            return form.decode(source, selection)
        data = source.read()
        return FileCollection.from_manifest(source, data) if is_manifest(data) else self.decode_bytes(data)

    def decode_bytes(self, data: bytes) -> Any:
        if is_parquet(data):
            return load("anystore_dagster.values.tables").TableForm(None).decode_bytes(data)
        if data.startswith(_ARRAY_MARK):
            return load("anystore_dagster.values.arrays").ArrayForm().read(io.BytesIO(data))
        return codec_for(Any).decode(data)
