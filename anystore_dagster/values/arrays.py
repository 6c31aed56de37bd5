"""Arrays and scalars of numpy, as ``.npy`` files; none of them ever holds a pickle."""

from os import PathLike
from typing import Any

import numpy as np

from anystore.errors import CodecError
from anystore_dagster.stored import BlobRef, Encoded, Form, Selection, refuse_selection
from anystore_dagster.values.advice import advise, describe
from anystore_dagster.values.spooling import Spool

_KINDS = (np.ndarray, np.memmap)


class ArrayForm(Form):
    """How an array is stored, or a scalar such as ``numpy.float64``.

    Args:
        kind: ``numpy.ndarray``, or the class of a scalar; None for whichever was stored.
    """

    extension = "npy"

    def __init__(self, kind: type | None = None) -> None:
        self._kind = kind
        self.name = f"numpy.{kind.__name__}" if kind else "an array"

    def encode(self, value: Any, folder: PathLike[str]) -> Encoded:
        """Write the array."""
        if isinstance(value, np.ndarray) and type(value) not in _KINDS:
            raise CodecError(
                f"{describe(value)} would come back as a plain array; return numpy.asarray(value), "
                "and what it knows beyond that as another output"
            )
        if not isinstance(value, self._kind or np.ndarray | np.generic):
            raise CodecError(f"this is {describe(value)}, and {self.name} is annotated; {advise(value)}")
        array = np.asarray(value)
        if array.dtype.hasobject:
            raise CodecError(
                "the array holds Python objects, which only pickle could write; "
                "give it a type, such as array.astype(str) or array.astype(float), or annotate list"
            )
        with Spool(folder) as spool:
            try:
                np.lib.format.write_array(spool, array, allow_pickle=False)
            except (ValueError, TypeError) as error:
                raise CodecError(f"an array of {array.dtype} cannot be written as .npy: {error}") from error
            data = spool.finish()
        return Encoded(data, metadata={"anystore/shape": str(array.shape), "anystore/dtype": str(array.dtype)})

    def decode(self, source: BlobRef, selection: Selection) -> Any:
        """Read the array."""
        refuse_selection(self.name, selection)
        with source.open() as file:
            return self.read(file)

    def read(self, file: Any) -> Any:
        """Read the array from a binary file.

        Raises:
            CodecError: If it is no array, or another kind of scalar.
        """
        try:
            array = np.lib.format.read_array(file, allow_pickle=False)
        except (ValueError, TypeError, OverflowError, MemoryError, EOFError) as error:
            raise CodecError(f"the stored value is no array, or it is damaged: {error}") from error
        if self._kind is np.ndarray or (self._kind is None and array.ndim):
            return array
        scalar = array[()]
        if self._kind is not None and not isinstance(scalar, self._kind):
            raise CodecError(
                f"the stored value is {array.dtype}, and {self.name} is annotated; annotate what was stored"
            )
        return scalar
