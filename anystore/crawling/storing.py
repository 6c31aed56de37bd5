"""One value on its way into the target, so that an error of the target is told from one of the source."""

from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

from anystore.backend import Backend
from anystore.errors import AnystoreError
from anystore.keys import Key

T = TypeVar("T")


class Refused(Exception):
    """The target did not take a value.

    Attributes:
        error: Why.
    """

    def __init__(self, error: AnystoreError) -> None:
        super().__init__(str(error))
        self.error = error


def asked(call: Callable[[], T]) -> T:
    """Ask something of the target.

    Raises:
        Refused: If it fails.
    """
    try:
        return call()
    except AnystoreError as error:
        raise Refused(error) from error


class Storing:
    """A value that is being stored: whole when its block ends well, and not at all otherwise.

    Args:
        target: Where it is stored.
        key: Its key.

    Raises:
        Refused: If the target does not take it.
    """

    def __init__(self, target: Backend, key: Key) -> None:
        self._writer = asked(lambda: target.writer(key))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            asked(self._writer.commit)
        else:
            self._writer.abort()

    def write(self, piece: bytes) -> None:
        """Add bytes to the value.

        Raises:
            Refused: If the target does not take them.
        """
        asked(lambda: self._writer.write(piece))
