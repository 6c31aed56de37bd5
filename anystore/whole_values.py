"""Backends of media that give and take values whole: what is to be read and written in pieces is kept in memory."""

from collections.abc import Iterator

from anystore.backend import CHUNK_BYTES, Backend, Entry, Writer
from anystore.keys import Key


class WholeValueBackend(Backend):
    """A backend that has ``get``, ``stat`` and, if it writes, ``put``; ``read`` and ``writer`` are made of these.

    It is the shortest way to a backend of your own, for values that fit in memory.
    """

    def read(self, key: Key, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Get the value, which is of one version for that, and give it in pieces."""
        data = self.get(key)[start:stop]
        return (data[begin : begin + CHUNK_BYTES] for begin in range(0, len(data), CHUNK_BYTES))

    def put(
        self,
        key: Key,
        data: bytes,  # noqa: ARG002 - what refuses has the signature of what works
        *,
        create: bool = False,
        version: str | None = None,
        ttl: float | None = None,
    ) -> Entry:
        """Store a whole value; who declares WRITE overrides this."""
        self.require_write(key, create=create, version=version, ttl=ttl)
        raise NotImplementedError(f"{type(self).__name__} declares WRITE, and has no put")

    def writer(self, key: Key, *, create: bool = False, version: str | None = None, ttl: float | None = None) -> Writer:
        """Collect a value, and put it whole at the end."""
        self.require_write(key, create=create, version=version, ttl=ttl)
        return CollectingWriter(self, key, create=create, version=version, ttl=ttl)


class CollectingWriter(Writer):
    """A writer that holds the value in memory, and puts it whole at the end.

    For a medium that takes values whole: ``put`` does all, and ``writer`` returns one of these.

    Args:
        backend: The backend, which has a ``put`` of its own.
        key: The key.
        create: As for ``put``.
        version: As for ``put``.
        ttl: As for ``put``.
    """

    def __init__(
        self, backend: Backend, key: Key, *, create: bool = False, version: str | None = None, ttl: float | None = None
    ) -> None:
        self._backend = backend
        self._key = key
        self._create = create
        self._version = version
        self._ttl = ttl
        self._data: bytearray | None = bytearray()

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Add bytes to the value."""
        if self._data is None:
            raise ValueError(f"the writer of {self._key!r} is closed")
        self._data += data
        return len(data)

    def commit(self) -> Entry:
        """Put the value."""
        if self._data is None:
            raise ValueError(f"the writer of {self._key!r} is closed")
        data, self._data = bytes(self._data), None
        return self._backend.put(self._key, data, create=self._create, version=self._version, ttl=self._ttl)

    def abort(self) -> None:
        """Forget what was collected."""
        self._data = None
