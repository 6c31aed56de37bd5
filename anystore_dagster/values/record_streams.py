"""Tables of any size, batch by batch: out of an asset, and into the next one."""

from collections.abc import Iterable, Iterator
from typing import Any

from anystore.errors import CodecError
from anystore.extras import load

_TABLES = "anystore_dagster.values.tables"


class RecordStream:
    """Rows that need not fit into memory, as Arrow record batches.

    Return one made of batches; annotate an input with it to read them. An input can be read again and again, and
    reads one version of the value each time; of columns and rows that its metadata selects, no others are fetched.

    Args:
        batches: An iterable of record batches, Arrow tables, or frames of pandas or polars, all with the same columns;
            or a ``RecordBatchReader``, a table, or a ``LazyFrame``.
        schema: The ``pyarrow.Schema`` of all batches. Each is cast to it; without, the first batch says the columns.

    Raises:
        CodecError: If the batches are no iterable.
        MissingExtra: If pyarrow is not installed.

    Example:
        >>> import pyarrow as pa
        >>> RecordStream(pa.table({"n": [number]}) for number in range(3)).to_table().num_rows
        3
    """

    def __init__(self, batches: Iterable[Any], *, schema: Any = None) -> None:
        self._tables = load(_TABLES)
        if isinstance(batches, str | bytes | dict) or not (
            isinstance(batches, Iterable) or hasattr(batches, "__arrow_c_stream__") or hasattr(batches, "collect")
        ):
            raise CodecError(
                f"RecordStream takes an iterable of record batches or frames, not {type(batches).__name__}"
            )
        self._source: Any = batches
        self._schema = schema
        self._opened: tuple[Any, Iterator[Any]] | None = None
        self._begun = False

    @property
    def schema(self) -> Any:
        """The columns, as a ``pyarrow.Schema``; of a stream that is not stored yet, the first batch is made for it.

        Raises:
            CodecError: If nothing tells the columns.
            DoesNotExist: If the value is gone.
        """
        if self._schema is None:
            self._schema = self._source.schema if self._is_stored else self._open()[0]
        return self._schema

    @property
    def _is_stored(self) -> bool:
        return isinstance(self._source, self._tables.StoredBatches)

    def _open(self) -> tuple[Any, Iterator[Any]]:
        """Begin to read what is not stored yet; whoever asks for the schema first, keeps the batches."""
        if self._opened is None:
            if self._begun and isinstance(self._source, Iterator):
                raise CodecError(
                    "this RecordStream was read before, and what it was made of gives its batches once; "
                    "make another one"
                )
            self._opened = self._tables.open_stream(self._source, self._schema)
        return self._opened

    def __iter__(self) -> Iterator[Any]:
        """Read the record batches.

        Raises:
            CodecError: If a batch has other columns, or the stream was read before and cannot be again.
            DoesNotExist: If the value is gone.
        """
        if self._is_stored:
            return iter(self._source)
        _, batches = self._open()
        self._opened, self._begun = None, True
        return batches

    def to_table(self) -> Any:
        """Read everything into memory, as a ``pyarrow.Table``.

        Raises:
            CodecError: As for iterating.
            DoesNotExist: If the value is gone.
        """
        return self._tables.make_table(self.schema, self)
