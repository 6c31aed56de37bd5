"""Dagster Pipes over a store, the half inside Dagster.

The context of a step goes out, and messages come in while they are written. Nothing but the store has to be reachable
from both sides. The other half is :mod:`anystore_dagster.outside_pipes`.
"""

import json
import logging
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from os import PathLike
from time import monotonic
from typing import Any

from dagster import PipesContextInjector, PipesMessageReader
from dagster._core.pipes.context import PipesMessageHandler  # only for the annotation of what Dagster hands in
from dagster_pipes import PipesBlobStoreMessageWriter, PipesContextData

from anystore import Store, get_store
from anystore.backends.wrap import unwrap
from anystore.errors import AnystoreError, InvalidOption, Unsupported
from anystore.keys import join_key, parse_key, parse_prefix
from anystore_dagster.outside_pipes import PARAMS, chunk_key
from anystore_dagster.resource import StoreSettings, is_in_memory

AnyStore = Store | StoreSettings | str | PathLike[str]
"""A store, a resource that describes one, or its URI or path."""

_FOLDER = "dagster.pipes"
_LEAST_PAUSE = 0.01  # an interval of 0 asks often, and leaves the store and this process some air
_LOG = logging.getLogger(__name__)


class PipesAnystoreContextInjector(PipesContextInjector):
    """Puts the context of a step into a store, from where the process outside loads it.

    The value is deleted when the session ends.

    Args:
        store: A store, an :class:`AnystoreResource`, or a URI.
        prefix: The folder for it.

    Example:
        >>> injector = PipesAnystoreContextInjector("s3://bucket")
    """

    def __init__(self, store: AnyStore, *, prefix: str = _FOLDER) -> None:
        self._store = store
        self._prefix = parse_prefix(prefix)

    @contextmanager
    def inject_context(self, context_data: PipesContextData) -> Iterator[dict[str, Any]]:
        """Store the context for as long as the block lasts.

        Args:
            context_data: The context.

        Yields:
            What the process outside needs to find it; no secret.

        Raises:
            Unsupported: If no other process can see the store.
            AnystoreError: If it cannot be written.
        """
        store, folder = _open(self._store, self._prefix)
        key = f"{folder}/context.json"
        store.put(key, json.dumps(context_data), serialization_mode="text")
        try:
            yield {PARAMS: {"uri": store.uri, "key": key}}
        finally:
            with suppress(AnystoreError):  # what was computed outside is worth more than a value left behind
                store.delete(key)

    def no_messages_debug_text(self) -> str:
        """Say where the context was put, for the message about a process that never reported."""
        return (
            "Attempted to inject context via a value in a store. Expected PipesAnystoreContextLoader to be "
            "explicitly passed to open_dagster_pipes in the external process."
        )


class PipesAnystoreMessageReader(PipesMessageReader):
    """Reads the messages that the process outside writes to a store, while it runs.

    They are deleted when the session ends.

    Args:
        store: A store, an :class:`AnystoreResource`, or a URI.
        prefix: The folder for them.
        interval: Seconds between two looks.
        grace: Seconds to wait, after the client has said that the process ended well, for its last message.
        include_stdio_in_messages: Whether what the process prints is sent, too, and shown with the step's output.

    Raises:
        InvalidOption: If a number of seconds is below 0.

    Example:
        >>> reader = PipesAnystoreMessageReader("s3://bucket", interval=2)
    """

    def __init__(
        self,
        store: AnyStore,
        *,
        prefix: str = _FOLDER,
        interval: float = 1.0,
        grace: float = 10.0,
        include_stdio_in_messages: bool = False,
    ) -> None:
        if interval < 0 or grace < 0:
            raise InvalidOption(f"interval and grace are numbers of seconds, not {interval!r} and {grace!r}")
        self._store = store
        self._prefix = parse_prefix(prefix)
        self._interval = interval
        self._grace = grace
        self._include_stdio = include_stdio_in_messages

    @contextmanager
    def read_messages(self, handler: PipesMessageHandler) -> Iterator[dict[str, Any]]:
        """Hand on messages for as long as the block lasts, and those that are there at its end.

        Args:
            handler: Dagster's, which gets them.

        Yields:
            What the process outside needs to write them; no secret.

        Raises:
            Unsupported: If no other process can see the store.
            AnystoreError: If messages cannot be read, and would be lost.
        """
        store, folder = _open(self._store, self._prefix)
        session = _Session(store, folder, handler, interval=self._interval, grace=self._grace)
        try:
            with ThreadPoolExecutor(1, thread_name_prefix="anystore-pipes") as pool:
                reading = pool.submit(session.read_on)
                try:
                    yield {
                        PARAMS: {"uri": store.uri, "folder": folder},
                        PipesBlobStoreMessageWriter.INCLUDE_STDIO_IN_MESSAGES_KEY: self._include_stdio,
                    }
                except BaseException:
                    session.end(grace=0)
                    _report(handler, reading)
                    raise
                session.end(grace=self._grace)
                reading.result()
        finally:
            session.clean_up()

    def no_messages_debug_text(self) -> str:
        """Say where messages were looked for, for the message about a process that never reported."""
        return (
            "Attempted to read messages from a store. Expected PipesAnystoreMessageWriter to be explicitly "
            "passed to open_dagster_pipes in the external process."
        )


class _Session:
    """The messages of one process outside."""

    def __init__(
        self, store: Store, folder: str, handler: PipesMessageHandler, *, interval: float, grace: float
    ) -> None:
        self._store = store
        self._folder = folder
        self._handler = handler
        self._interval = interval
        self._grace = grace
        self._next = 1
        self._ended = threading.Event()

    def end(self, *, grace: float) -> None:
        """Say that the process has ended."""
        self._grace = grace
        self._ended.set()

    def read_on(self) -> None:
        """Hand on messages until the last one is there, or none comes any more."""
        deadline: float | None = None
        while True:
            # asked before reading: whatever was written before the end is read after it
            ended = self._ended.is_set()
            if ended and deadline is None:
                deadline = monotonic() + self._grace
            is_last = deadline is not None and monotonic() >= deadline
            try:
                self._read_new()
            except AnystoreError as error:
                if is_last:
                    raise
                _LOG.warning("cannot read messages of Pipes, and will try again: %s", error)
            else:
                if is_last or self._handler.received_closed_message:
                    return
            if ended:
                threading.Event().wait(min(self._interval, 0.2))
            else:
                self._ended.wait(max(self._interval, _LEAST_PAUSE))

    def _read_new(self) -> None:
        while (data := self._read_chunk(self._next)) is not None:
            self._next += 1
            for line in data.split(b"\n"):
                self._handler.handle_message(json.loads(line))

    def _read_chunk(self, number: int) -> bytes | None:
        data: bytes | None = self._store.get(
            chunk_key(self._folder, number), serialization_mode="raw", raise_on_nonexist=False
        )
        return data

    def clean_up(self) -> None:
        """Delete the messages."""
        with suppress(AnystoreError):  # what was computed outside is worth more than values left behind
            # one more: a process that was left behind may still have written it
            self._store.delete_many([chunk_key(self._folder, number) for number in range(1, self._next + 1)])


def _report(handler: PipesMessageHandler, reading: "Future[None]") -> None:
    """Tell of a reader that failed beside a process that failed, whose error is the one to be raised."""
    error = reading.exception()
    if error is not None and error.__traceback__ is not None:
        handler.report_pipes_framework_exception("anystore message reader", (type(error), error, error.__traceback__))


def _open(store: AnyStore, prefix: str) -> tuple[Store, str]:
    """Open the store whole, since the other side may know nothing of folders, and name the folder of a session."""
    opened = store if isinstance(store, Store) else _described(store)
    backend, folder = unwrap(opened.backend)
    if is_in_memory(backend.uri):
        raise Unsupported(
            f"{backend.uri} is seen only by this process, and Pipes start another; use a folder or server"
        )
    opened.backend.require_write(parse_key(prefix + "x"))  # a read-only view of it stays one
    return Store(backend), join_key(folder, parse_key(f"{prefix}{uuid.uuid4().hex}"))


def _described(store: StoreSettings | str | PathLike[str]) -> Store:
    return store.open_store() if isinstance(store, StoreSettings) else get_store(store)
