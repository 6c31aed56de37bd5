"""One value of a container being read or written."""

import atexit
import contextlib
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError

from anystore.backend import CHUNK_BYTES, Entry, Reader, Writer
from anystore.backends.objects.service import ERRORS, Service
from anystore.errors import BackendError, DoesNotExist, Unsupported, VersionMismatch
from anystore.keys import Key

PART_BYTES = 8 << 20
"""Length of a part of a large value, in bytes."""

PARTS_IN_FLIGHT = 4
_ATTEMPTS = 3
_MET = ("ConditionalRequestConflict", "OperationAborted")
_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8)
_UNTYPED = frozenset({"application/octet-stream", "binary/octet-stream"})


def version_of(meta: Any, *, kind: str) -> str | None:
    """Give the version in obstore's description of an object: Google's generation, else the ETag unquoted.

    Listings of Google's hold no generation, so the version is not known there.
    """
    tag: str | None = meta["version"] if kind == "gcs" else meta["e_tag"]
    return tag.strip('"') if tag and not tag.startswith("W/") else None  # a weak one is no condition


def condition_of(version: str, *, kind: str) -> dict[str, Any]:
    """Make obstore's condition that an object still has a version, for a write."""
    return {"version": version} if kind == "gcs" else {"e_tag": f'"{version}"'}


def entry_of(key: str, meta: Any, *, kind: str, mimetype: str | None = None) -> Entry:
    """Make an entry of obstore's description of an object."""
    told = None if mimetype in _UNTYPED else mimetype
    return Entry(key, meta["size"], meta["last_modified"], version_of(meta, kind=kind), told)


def ask(service: Service, key: Key, start: int = 0, stop: int | None = None, *, version: str | None = None) -> Any:
    """Begin to read a value; its body is not pulled yet.

    Args:
        service: The container.
        key: The key.
        start: First byte.
        stop: First byte not read, or None for all the rest; behind ``start``.
        version: The version it has to be, or None.

    Returns:
        obstore's answer.

    Raises:
        DoesNotExist: If there is none.
        VersionMismatch: If it is another version.
    """
    options: Any = {}
    if stop is not None:
        options["range"] = (start, stop)
    elif start:
        options["range"] = {"offset": start}
    if version is not None:
        options |= {"version": version} if service.configuration.kind == "gcs" else {"if_match": f'"{version}"'}
    name = service.existing(key)
    try:
        with service.errors("read", key=key):
            return obstore.get(service.store, name, options=options)
    except DoesNotExist as error:
        if version is not None:
            raise service.changed(key) from error
        raise


def pull(service: Service, key: Key, answer: Any) -> Iterator[bytes]:
    """Give the body of an answer; a connection that is cut is made again, for the same version.

    Raises:
        VersionMismatch: If the value is not the same any more.
    """
    position, stop = answer.range
    version = version_of(answer.meta, kind=service.configuration.kind)
    attempt = 0
    while position < stop:
        try:
            answer = answer or ask(service, key, position, stop, version=version)
            pieces = answer.stream(min_chunk_size=CHUNK_BYTES)
            while (piece := _next(service, pieces)) is not None:
                data = bytes(piece)
                position += len(data)
                attempt = 0
                if data:
                    yield data
            failure = None
        except ERRORS as error:
            failure = error
        answer = None
        if position < stop:
            attempt += 1
            if version is None or attempt > _ATTEMPTS:
                failure = failure or OSError(f"the answer ended {stop - position:,} bytes too early")
                raise service.failure(failure, "read", key=key) from service.cause(failure)


def _next(service: Service, pieces: Any) -> Any:
    service.check_process()
    return next(pieces, None)


class ObjectReader(Reader):
    """One version of a value.

    Its first part comes together with the description: most values are small, and read from the start.
    """

    def __init__(self, service: Service, key: Key) -> None:
        """Ask for the first part of the value.

        Raises:
            DoesNotExist: If there is none.
        """
        self._service = service
        self._key = key
        self._first: Any = None
        try:
            self._first = answer = ask(service, key, 0, CHUNK_BYTES)
        except BackendError:
            answer = head(service, key)
            if answer.meta["size"]:  # only of an empty value there is no first part; it may have been one until now
                self._first = answer = ask(service, key, 0, CHUNK_BYTES)
        mimetype = answer.attributes.get("Content-Type")
        self.entry = entry_of(key, answer.meta, kind=service.configuration.kind, mimetype=mimetype)
        self.seekable = self.entry.version is not None

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Read a part of the version that was opened."""
        size = self.entry.size or 0
        stop = size if stop is None else min(stop, size)
        first, self._first = self._first, None
        if stop <= start:
            return iter(())
        if first is not None and start == 0:
            return self._go_on(first, stop)
        return pull(self._service, self._key, self._ask(start, stop))

    def _go_on(self, first: Any, stop: int) -> Iterator[bytes]:
        position = 0
        for piece in pull(self._service, self._key, first):
            yield piece[: stop - position]
            position += len(piece)
            if position >= stop:
                return
        yield from pull(self._service, self._key, self._ask(position, stop))

    def _ask(self, start: int, stop: int) -> Any:
        if self.entry.version is None:
            raise VersionMismatch(
                f"the service tells no version of {self._key!r} in {self._service.configuration.uri}, so a second part "
                "may be of another one; read the value once, from its start, or use anystore.virtual.open_virtual"
            )
        return ask(self._service, self._key, start, stop, version=self.entry.version)

    def close(self) -> None:
        """Let the version go."""
        self._first = None


def head(service: Service, key: Key) -> Any:
    """Ask for the description of a value.

    Raises:
        DoesNotExist: If there is none.
    """
    name = service.existing(key)
    with service.errors("look at", key=key):
        return obstore.get(service.store, name, options={"head": True})


class ObjectWriter(Writer):
    """A value being written: in one request up to one part, else part by part.

    Parts are sent while the value is written; the service publishes it, whole, at the end.
    """

    def __init__(self, service: Service, key: Key, *, mode: Any) -> None:
        """Begin; ``mode`` is obstore's condition, or None."""
        self._service = service
        self._key = key
        self._mode = mode
        self._name = service.name(key)
        self._buffer = bytearray()
        self._size = 0
        self._parts: Any = None
        self._done = False

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Add bytes to the value."""
        view = memoryview(data).cast("B")
        if self._parts is None and len(self._buffer) + len(view) <= PART_BYTES:
            self._buffer += view
        else:
            self._send(view)
        self._size += len(view)
        return len(view)

    def _send(self, view: memoryview) -> None:
        if self._mode is not None:
            raise Unsupported(
                f"{self._service.configuration.uri} cannot write {self._key!r} on a condition, since it is larger than "
                f"{PART_BYTES >> 20} MiB and not given whole; instead: put() it whole, or stream it without a "
                "condition, here or at 'fsspec+s3://…'"
            )
        with self._service.errors("write", key=self._key, writing=True):
            if self._parts is None:
                _UNFINISHED.add(self)
                self._parts = obstore.open_writer(
                    self._service.store, self._name, buffer_size=PART_BYTES, max_concurrency=PARTS_IN_FLIGHT
                )
                self._parts.write(bytes(self._buffer))
                self._buffer = bytearray()
            self._service.check_process()
            for start in range(0, len(view), CHUNK_BYTES):
                self._parts.write(bytes(view[start : start + CHUNK_BYTES]))

    def commit(self) -> Entry:
        """Publish the value, whole."""
        if self._parts is None:
            entry = put_whole(self._service, self._key, self._name, bytes(self._buffer), mode=self._mode)
        else:
            with self._service.errors("write", key=self._key, writing=True):
                self._service.check_process()
                self._parts.close()
            # The writer does not tell the version; to ask for it now might give another writer's.
            entry = Entry(self._key, self._size, None)
        self._done = True
        self._buffer = bytearray()
        return entry

    def abort(self) -> None:
        """Forget what was written, and let the service forget the parts."""
        parts, self._parts = self._parts, None
        self._buffer = bytearray()
        if parts is not None and not self._done:
            self._done = True
            with contextlib.suppress(*ERRORS):  # what failed before is what the caller should hear of
                self._service.check_process()
                parts.__exit__(InterruptedError, InterruptedError(), None)

    def __del__(self) -> None:
        """Abort a forgotten value."""
        if hasattr(self, "_done") and not sys.is_finalizing():
            self.abort()


_UNFINISHED: weakref.WeakSet[ObjectWriter] = weakref.WeakSet()
"""The writers that have sent parts, and may have to be aborted."""


@atexit.register
def _abort_unfinished() -> None:
    """Abort what is open when Python ends.

    Later, obstore's threads get no turn any more, and it would wait for them for ever.
    """
    for writer in list(_UNFINISHED):
        writer.abort()


def put_whole(service: Service, key: Key, name: str, data: bytes, *, mode: Any) -> Entry:
    """Store a value that is given whole: in one request, or in parts if it is large and there is no condition.

    Args:
        service: The container.
        key: The key.
        name: The name of its object.
        data: The value.
        mode: obstore's condition, or None.

    Returns:
        The entry; the time is not told.

    Raises:
        AlreadyExists: If the write was to create, and a value is there.
        VersionMismatch: If the write was bound to a version, and the value has another.
        InvalidKey: If the service does not take the name.
    """
    parts = mode is None and len(data) > PART_BYTES
    try:
        with service.errors("write", key=key, writing=True):
            result = _put_at_last(
                service,
                key,
                lambda: obstore.put(
                    service.store,
                    name,
                    data,
                    mode=mode,
                    use_multipart=parts,
                    chunk_size=PART_BYTES,
                    max_concurrency=PARTS_IN_FLIGHT,
                ),
                creating=mode == "create",
            )
    except DoesNotExist as error:
        if mode is None:
            raise
        raise service.changed(key) from error  # what S3 answers to a condition on a value that is gone
    return Entry(key, len(data), None, version_of(result, kind=service.configuration.kind))


def _put_at_last(service: Service, key: Key, put: Callable[[], Any], *, creating: bool) -> Any:
    """Put, and again while the service is busy with another change of the key.

    obstore takes each answer 409 for a value that is there. So do services that mean it, but Amazon means that two
    requests met, and neither need have won.

    Source:
        Amazon S3 User Guide, "Add preconditions to S3 operations with conditional requests": to a 409 of a
        conditional write the request is to be sent again.
    """
    met = AlreadyExistsError()
    for pause in (0.0, *_PAUSES):
        time.sleep(pause)
        try:
            return put()
        except AlreadyExistsError as error:
            if any(f"<Code>{code}</Code>" in str(error) for code in _MET):
                met = error
            elif creating:
                raise service.taken(key) from service.cause(error)
            else:
                raise
    raise service.failure(met, "write", key=key, writing=True) from service.cause(met)
