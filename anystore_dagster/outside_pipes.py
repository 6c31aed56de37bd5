"""Dagster Pipes over a store, the half that runs outside: in the process that Dagster started.

It needs anystore and dagster-pipes, and never imports Dagster. The other half is :mod:`anystore_dagster.pipes`.
"""

import json
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import StringIO
from typing import Any

from dagster_pipes import (
    PipesBlobStoreMessageWriter,
    PipesBlobStoreMessageWriterChannel,
    PipesContextData,
    PipesContextLoader,
    PipesMessage,
)

from anystore import Store, get_store
from anystore.backends.wrap import unwrap
from anystore.errors import AnystoreError, InvalidOption
from anystore.uris import MASK

PARAMS = "anystore"
"""The name in the parameters of Pipes below which ours are."""

CHUNK_BYTES = 8 << 20
"""Messages are put into one value until they have so many bytes; one message is never cut."""

_BUFFERED_BYTES = 64 << 20
_ATTEMPTS_AT_END = 5
_WAIT_AT_END = 0.5


class PipesAnystoreContextLoader(PipesContextLoader):
    """Loads the context that :class:`anystore_dagster.PipesAnystoreContextInjector` has put into a store.

    Args:
        store: The store; without it, the one of the URI that Dagster's side has named. Give it where the store
            needs credentials or options: Dagster's side sends none.

    Example:
        >>> loader = PipesAnystoreContextLoader()
    """

    def __init__(self, store: Store | None = None) -> None:
        self._store = store

    @contextmanager
    def load_context(self, params: Mapping[str, Any]) -> Iterator[PipesContextData]:
        """Load the context.

        Args:
            params: What Dagster's side has sent.

        Yields:
            The context.

        Raises:
            InvalidOption: If Dagster's side did not use the injector for stores, or the store needs credentials.
            DoesNotExist: If the context is gone: the session has ended.
        """
        place = _place(params, "PipesAnystoreContextInjector")
        store = open_named_store(place["uri"], self._store)
        data: PipesContextData = json.loads(store.get(place["key"], serialization_mode="raw", raise_on_nonexist=True))
        yield data


class PipesAnystoreMessageWriter(PipesBlobStoreMessageWriter["StoreChannel"]):
    """Writes messages to a store, where :class:`anystore_dagster.PipesAnystoreMessageReader` finds them.

    The first message is written at once, and those that come meanwhile are written together. So little is lost
    with a process that is killed. While the store fails, messages wait and are written again.

    Args:
        store: As for :class:`PipesAnystoreContextLoader`.
        interval: Seconds between two writes.

    Raises:
        InvalidOption: If the interval is below 0.

    Example:
        >>> writer = PipesAnystoreMessageWriter(interval=0.5)
    """

    def __init__(self, store: Store | None = None, *, interval: float = 1.0) -> None:
        if interval < 0:
            raise InvalidOption(f"interval is a number of seconds, not {interval!r}")
        super().__init__(interval=interval)
        self._store = store

    def make_channel(self, params: Mapping[str, Any]) -> "StoreChannel":
        """Make the channel of one session.

        Args:
            params: What Dagster's side has sent.

        Returns:
            The channel.

        Raises:
            InvalidOption: If Dagster's side did not use the reader for stores, or the store needs credentials.
        """
        place = _place(params, "PipesAnystoreMessageReader")
        return StoreChannel(open_named_store(place["uri"], self._store), place["folder"], interval=self.interval)


class StoreChannel(PipesBlobStoreMessageWriterChannel):
    """Writes the messages of one session as numbered values, in their order.

    Args:
        store: Where to.
        folder: The folder of the session.
        interval: Seconds between two writes.
    """

    def __init__(self, store: Store, folder: str, *, interval: float) -> None:
        super().__init__(interval=interval)
        self._store = store
        self._folder = folder
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._number = 1
        self._error: AnystoreError | None = None
        self._changed = threading.Condition()

    def write_message(self, message: PipesMessage) -> None:
        """Take a message; it is written soon.

        Args:
            message: The message.

        Raises:
            AnystoreError: If the store fails, and so many messages wait that no more can be taken.
        """
        line = json.dumps(message).encode()  # not orjson, which loses NaN and refuses large numbers
        with self._changed:
            while self._bytes and self._bytes + len(line) > _BUFFERED_BYTES:
                if self._error is not None:
                    raise self._error
                self._changed.wait()
            self._lines.append(line)
            self._bytes += len(line)
            self._changed.notify_all()

    def upload_messages_chunk(self, payload: StringIO, index: int) -> None:
        """Write one value; the way by which other writers of Pipes do it.

        Args:
            payload: The lines.
            index: Its number.
        """
        self._store.put(chunk_key(self._folder, index), payload.read(), serialization_mode="text")

    @contextmanager
    def buffered_upload_loop(self) -> Iterator[None]:
        """Write from a thread for as long as the block lasts, and what is left at its end.

        Yields:
            Nothing.

        Raises:
            AnystoreError: If the store failed, and messages are lost.
        """
        ended = threading.Event()
        thread = threading.Thread(target=self._write_on, args=(ended,), name="anystore-pipes", daemon=True)
        thread.start()
        try:
            yield
        finally:
            with self._changed:
                ended.set()
                self._changed.notify_all()
            thread.join()
            self._write_rest()

    def _write_on(self, ended: threading.Event) -> None:
        while not ended.is_set():
            with self._changed:
                while not self._lines and not ended.is_set():
                    self._changed.wait()
            if not ended.is_set():
                taken = self._write_chunk()
                ended.wait(self._interval if taken else max(self._interval, _WAIT_AT_END))

    def _write_rest(self) -> None:
        pause, waiting = threading.Event(), _WAIT_AT_END
        attempts = 0
        while self._lines:
            if self._write_chunk():
                continue
            attempts += 1
            if attempts == _ATTEMPTS_AT_END and self._error is not None:
                raise self._error
            pause.wait(waiting)
            waiting *= 2

    def _write_chunk(self) -> bool:
        """Write the first messages that wait, and only then forget them; tell whether the store took them."""
        with self._changed:
            lines: list[bytes] = []
            size = 0
            for line in self._lines:
                if lines and size + len(line) > CHUNK_BYTES:
                    break
                lines.append(line)
                size += len(line)
        error: AnystoreError | None = None
        try:
            self._store.put(chunk_key(self._folder, self._number), b"\n".join(lines), serialization_mode="raw")
        except AnystoreError as failure:
            error = failure
        with self._changed:
            self._error = error
            if error is None:
                self._number += 1
                self._bytes -= size
                for _ in lines:
                    self._lines.popleft()
            self._changed.notify_all()
        return error is None


def chunk_key(folder: str, number: int) -> str:
    """Name the value of some messages.

    Args:
        folder: The folder of the session.
        number: From 1 on.

    Returns:
        The key.

    Example:
        >>> chunk_key("dagster.pipes/4f1c", 1)
        'dagster.pipes/4f1c/000001.jsonl'
    """
    return f"{folder}/{number:06d}.jsonl"


def _place(params: Mapping[str, Any], wanted: str) -> Mapping[str, Any]:
    place = params.get(PARAMS)
    if not isinstance(place, Mapping):
        raise InvalidOption(f"Dagster's side of this Pipes session does not use a store; give its client {wanted}(…)")
    return place


def open_named_store(uri: str, store: Store | None) -> Store:
    """Give the store of the session, whole: keys that are sent are those of no folder.

    Args:
        uri: Where Dagster's side has it, with secrets masked.
        store: What the process itself has opened, or None.

    Returns:
        The store.

    Raises:
        InvalidOption: If the store needs a secret, which Dagster's side does not send.

    Example:
        >>> open_named_store("memory://pipes", None)
        <Store memory://pipes>
    """
    if store is not None:
        return Store(unwrap(store.backend)[0])
    if MASK in uri:
        raise InvalidOption(
            f"the store of this Pipes session is {uri}, and its secret is not sent; open it here, from the environment "
            "of this process, and pass it: PipesAnystoreContextLoader(store=…), PipesAnystoreMessageWriter(store=…)"
        )
    return get_store(uri)
