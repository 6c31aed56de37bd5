"""How many rows a stored value has, with as little of it read as possible."""

import pyarrow as pa
from pyarrow import ipc, parquet

from anystore import CodecError
from anystore.parts import PARQUET_MARK
from anystore_dagster.stored import BlobRef

_ARROW_MARK = b"ARROW1"


def count_rows(value: BlobRef) -> int:
    """Count the rows of a table, or the parts of a JSON list.

    Args:
        value: The value.

    Returns:
        How many there are.

    Raises:
        CodecError: If it is neither Parquet, an Arrow file, CSV nor a JSON list.
        DoesNotExist: If there is no value.

    Example:
        >>> from anystore import get_store
        >>> store = get_store("memory://row-counts")
        >>> entry = store.put("orders", [1, 2, 3])
        >>> count_rows(BlobRef(store, "orders"))
        3
    """
    with value.open() as file:
        head = file.read(len(_ARROW_MARK))
    try:
        if head.startswith(PARQUET_MARK):
            return _count_parquet(value)
        if head == _ARROW_MARK:
            return _count_arrow(value)
    except (pa.ArrowException, EOFError) as error:
        raise CodecError(f"its table is damaged: {error}") from error
    if value.key.endswith(".csv"):
        return sum(batch.num_rows for batch in value.store.stream(value.key, serialization_mode="csv"))
    found = value.store.get(value.key, serialization_mode="auto", raise_on_nonexist=True)
    if isinstance(found, list):
        return len(found)
    raise CodecError("it has no rows: it is neither Parquet, an Arrow file, a .csv nor a JSON list")


def _count_parquet(value: BlobRef) -> int:
    with value.open() as file:
        if file.seekable():
            rows: int = parquet.read_metadata(file).num_rows
            return rows
    with value.local_path() as path:
        return int(parquet.read_metadata(str(path)).num_rows)


def _count_arrow(value: BlobRef) -> int:
    with value.local_path() as path, pa.memory_map(str(path)) as file:
        reader = ipc.open_file(file)
        return sum(reader.get_batch(number).num_rows for number in range(reader.num_record_batches))
