"""Values as the file objects that fsspec gives: one version to read, or all or nothing to write."""

import io
import logging
import sys
from types import TracebackType
from typing import IO, Any

from anystore.backend import CHUNK_BYTES, Backend
from anystore.keys import Key
from anystore.streams import ValueReader

_LOGGER = logging.getLogger("anystore.filesystem")


class ReadFile(io.BufferedReader):
    """One version of a value.

    Attributes:
        path: The key.
        size: Length in bytes; None where the source does not say.
    """

    def __init__(self, backend: Backend, key: Key) -> None:
        """Open the value.

        Raises:
            DoesNotExist: If there is none.
        """
        reader = backend.reader(key)
        self.path = str(key)
        self.size = reader.entry.size
        super().__init__(ValueReader(reader), buffer_size=CHUNK_BYTES // 4)

    @property
    def mode(self) -> str:
        """How it was opened."""
        return "rb"


class WriteFile(io.BufferedIOBase):
    """A value being written; ``close`` publishes it.

    Libraries close their files after a failure as well, and tell nobody. So a file that is closed while an exception
    is on its way, which was not there when the file was opened, is aborted; ``commit`` publishes it all the same.

    Args:
        file: The value, opened through a store.
        path: The key.
        mode: How it was opened.
        autocommit: Whether ``close`` publishes; if not, ``commit`` does.
    """

    def __init__(self, file: IO[bytes], path: str, mode: str, *, autocommit: bool = True) -> None:
        super().__init__()
        self._file: Any = file
        self._known = sys.exception()
        self._autocommit = autocommit
        self._is_done = False
        self.path = path
        self.mode = mode

    def writable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return how many bytes were written."""
        position: int = self._file.tell()
        return position

    def write(self, data: Any) -> int:
        """Take bytes."""
        if self.closed:
            raise ValueError("write to a closed file")
        written: int = self._file.write(data)
        return written

    def flush(self) -> None:
        """Hand on what is buffered; nobody sees it before the end."""
        if not self._is_done and not self.closed:
            self._file.flush()

    def commit(self) -> None:
        """Publish the value now; fsspec calls it at the end of a transaction."""
        if not self._is_done:
            self._is_done = True
            self._file.close()
        super().close()

    def discard(self) -> None:
        """Forget the value; fsspec calls it when a transaction fails."""
        if not self._is_done:
            self._is_done = True
            self._file.abort()
            self._file.close()
        super().close()

    def abort(self) -> None:
        """Forget the value, unless it was closed and waits for its transaction to end."""
        if not self.closed:
            self.discard()

    def close(self) -> None:
        """Publish the value, unless an exception is on its way; a second time, do nothing."""
        if self.closed or self._is_done:
            super().close()
            return
        failure = sys.exception()
        if failure is not None and failure is not self._known:
            _LOGGER.warning(
                "%r was closed while %s was raised, so it is not stored; commit() stores it nevertheless",
                self.path,
                type(failure).__name__,
            )
            self.discard()
        elif self._autocommit:
            self.commit()
        super().close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Publish after a block that ended well; abort after one that did not."""
        if kind is not None:
            self.abort()
        self.close()

    def __del__(self) -> None:
        """Abort a forgotten value."""
        if hasattr(self, "mode"):
            self.discard()
