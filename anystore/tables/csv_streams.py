"""A CSV file that is longer than what is held of it: Arrow reads ahead of its caller, in threads of its own."""

import os
import weakref
from collections.abc import Iterator
from threading import Event, Lock

import pyarrow as pa
from pyarrow import csv

from anystore.backend import CHUNK_BYTES
from anystore.tables.ranges import PieceFile

_PATIENCE_SECONDS = 5.0
_INHERITED: list[csv.CSVStreamingReader | None] = []
"""Readers of the parent process: to free one is to wait for its threads, which are not here."""


class LongCsv:
    """Record batches of a long CSV file.

    Arrow's threads ask Python for bytes, also after the caller has left. Where the interpreter is ending meanwhile, it
    ends such a thread, and C++ then aborts the process. So whoever leaves waits until Arrow has let go of the file:
    when it is closed, when this is forgotten, and before the interpreter ends.

    Args:
        file: The file, at its start.
        parsing: How Arrow finds the cells.
        converting: How Arrow makes values of them.

    Attributes:
        schema: Of the batches.
    """

    schema: pa.Schema

    def __init__(self, file: PieceFile, parsing: csv.ParseOptions, converting: csv.ConvertOptions) -> None:
        self._file = file
        self._work = work = _Work(file)
        self._leave = file.leave = weakref.finalize(self, work.leave)
        try:
            self.schema = work.open(parsing, converting)
        except pa.ArrowException:
            self._leave()
            if work.failure is not None:
                raise work.failure from None
            raise

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Read the file from its start to its end."""
        while (batch := self._work.next_batch()) is not None:
            yield batch


class _Work:
    """What has to be ended, without what is forgotten."""

    def __init__(self, file: PieceFile) -> None:
        self._file = file
        self._process = os.getpid()
        self._reading = Lock()
        self._released = Event()
        self._reader: csv.CSVStreamingReader | None = None
        self.failure: BaseException | None = None

    def open(self, parsing: csv.ParseOptions, converting: csv.ConvertOptions) -> pa.Schema:
        handle = _Handle(self._file)
        weakref.finalize(handle, self._released.set)
        # what Arrow's threads hold is copied into Arrow's own memory here
        source = pa.BufferedInputStream(pa.PythonFile(handle, mode="r"), CHUNK_BYTES)
        del handle
        try:
            self._reader = csv.open_csv(source, parse_options=parsing, convert_options=converting)
        finally:
            del source  # the traceback of an error would keep it, and with it the handle
        return self._reader.schema

    def next_batch(self) -> pa.RecordBatch | None:
        with self._reading:
            try:
                batch = None if self._reader is None else self._reader.read_next_batch()
            except StopIteration:
                batch = None
        if self._file.failure is not None:  # what was read last may be half a row
            raise self._file.failure
        return batch

    def leave(self) -> None:
        self.failure = self._file.failure
        may_wait = self._file.stop()
        if os.getpid() != self._process:
            _INHERITED.append(self._reader)
            return
        if not may_wait:
            return
        with self._reading:
            reader, self._reader = self._reader, None
            try:
                while reader is not None:
                    reader.read_next_batch()
            except (StopIteration, pa.ArrowException, OSError):
                reader = None
        self._released.wait(_PATIENCE_SECONDS)


class _Handle:
    """What Arrow has of the file; gone when Arrow has let go of it."""

    closed = False

    def __init__(self, file: PieceFile) -> None:
        self.read = file.read

    def close(self) -> None:
        """There is nothing to close: the file is the caller's."""
