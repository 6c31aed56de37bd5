"""The annotation of an output or input decides how its value becomes bytes.

| annotation                                            | bytes                                    |
|-------------------------------------------------------|------------------------------------------|
| ``bytes``, :class:`ByteStream`                        | as they are                              |
| ``str``                                               | as it is; a text that is itself JSON, as |
|                                                       | a JSON string                            |
| ``dict``, ``list``, ``int``, ``float``, ``bool``      | JSON, and exactly these types come back  |
| models, dataclasses, ``datetime``, ``list[Model]``, … | JSON, checked by pydantic on both ways   |
| ``pyarrow.Table``, frames of pandas and polars,       | Parquet                                  |
| :class:`RecordStream`                                 |                                          |
| arrays and scalars of numpy                           | ``.npy``                                 |
| ``pathlib.Path``                                      | those of the file                        |
| :class:`BlobRef`                                      | those of what it points to               |
| :class:`FileCollection`                               | a manifest in JSON, and a folder of files|
| ``T | None``                                          | as ``T``; None is JSON's ``null``        |
| none, or ``Any``                                      | whichever of these the value is          |

A table can be loaded as another kind of table than was written. An input without an annotation
gets what the stored bytes say of themselves: Parquet becomes the kind of table that wrote it (its
file tells), text and JSON come back as they were; a model comes back as a dict, and bytes that
happen to be text as text: annotate the inputs of these.
"""

from anystore_dagster.stored import BlobRef
from anystore_dagster.values.annotations import annotation_text, is_frame, partitioned_item, takes_none
from anystore_dagster.values.byte_streams import ByteStream
from anystore_dagster.values.choosing import form_for
from anystore_dagster.values.file_collections import FileCollection
from anystore_dagster.values.record_streams import RecordStream

__all__ = [
    "BlobRef",
    "ByteStream",
    "FileCollection",
    "RecordStream",
    "annotation_text",
    "form_for",
    "is_frame",
    "partitioned_item",
    "takes_none",
]
