"""What the errors of filesystems mean: one of ours, without a secret in it."""

import errno
import re
from types import TracebackType
from typing import Any, NoReturn, Protocol

from anystore.backends.fsspec.connections import Lease
from anystore.errors import (
    AnystoreError,
    BackendError,
    DoesNotExist,
    InvalidKey,
    KeyConflict,
    ReadOnlyError,
    Unsupported,
    VersionMismatch,
)
from anystore.uris import mask_text

ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
"""How filesystems say that there is no such file."""

_ANSWERS = (*ABSENT, FileExistsError, PermissionError, NotImplementedError)
_LONGEST_SEGMENT = 255
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Place(Protocol):
    """What errors are about."""

    protocol: str
    uri: str
    hidden: frozenset[str]

    def is_answer(self, error: BaseException) -> bool:
        """Tell whether an error came over a connection that is still in order."""

    def borrow(self) -> Lease:
        """Give a filesystem to use."""


def is_answer(error: BaseException) -> bool:
    """Tell whether an error is an answer that any filesystem may give, so that its connection is in order."""
    return isinstance(error, _ANSWERS)


def fail(place: Place, error: Exception, key: str, verb: str, *, writing: bool) -> NoReturn:
    """Raise the error of ours that another one means."""
    text = mask_text(str(error), place.hidden)
    what = f"{key!r} in {place.uri}" if key else place.uri
    reason = f"{type(error).__name__}: {text}" if text else type(error).__name__
    ours: AnystoreError
    if isinstance(error, OSError) and error.errno in (errno.ENAMETOOLONG, errno.EILSEQ):
        ours = InvalidKey(f"{place.uri} cannot hold {key!r}: {error.strerror}; choose a shorter or plainer name")
    elif isinstance(error, ABSENT) and not writing and key:
        ours = missing(place, key)
    elif (oddity := _oddity(key)) and place.is_answer(error):
        ours = InvalidKey(
            f"{place.uri} cannot hold {key!r}: its server refuses {oddity} ({reason}); choose a shorter or plainer name"
        )
    elif isinstance(error, (NotADirectoryError, IsADirectoryError, FileExistsError)) and writing:
        ours = conflict(place, key)
    elif isinstance(error, PermissionError) and writing:
        ours = ReadOnlyError(f"cannot {verb} {what}: not allowed ({reason}); check who may write there")
    elif isinstance(error, NotImplementedError):
        ours = Unsupported(f"cannot {verb} {what}: fsspec's {place.protocol}:// does not know how ({reason})")
    else:
        ours = BackendError(f"cannot {verb} {what}: {reason}{_advice(error, key)}")
    # The traceback of a chained error would show the secret after all.
    raise ours from (error if text == str(error) else None)


def _advice(error: Exception, key: str) -> str:
    """Say what to do where nothing was reached, or allowed; many libraries share no class for that, but a name."""
    if not key:
        return "; check that the server runs there, and the login"
    if isinstance(error, PermissionError):
        return "; check the login, and who may read there"
    if isinstance(error, (ConnectionError, TimeoutError)) or "Connect" in type(error).__name__:
        return "; check the address, and that the server runs there"
    return ""


def _oddity(key: str) -> str:
    """Tell what of a key many servers cannot hold, or nothing; few of them say that it is the reason."""
    if any(len(segment.encode()) > _LONGEST_SEGMENT for segment in key.split("/")):
        return f"a name of more than {_LONGEST_SEGMENT} bytes"
    return "a control character" if _CONTROL.search(key) else ""


def missing(place: Place, key: str) -> DoesNotExist:
    """Make the error for a key without a value."""
    return DoesNotExist(f"there is no value under {key!r} in {place.uri}")


def conflict(place: Place, key: str) -> KeyConflict:
    """Make the error for a key that cannot be beside what is there."""
    return KeyConflict(
        f"{key!r} cannot be a value in {place.uri}: part of it is a value, or there are values below it; "
        "choose another key"
    )


def changed(place: Place, key: str) -> VersionMismatch:
    """Make the error for a value that is not the version it was."""
    return VersionMismatch(f"the value under {key!r} in {place.uri} was changed by another writer; read it again")


class Translation:
    """A block in which any error of a filesystem becomes one of ours.

    fsspec hands through the errors of dozens of libraries, many of which derive
    from ``Exception`` and nothing else, so there is no list of them to catch.

    Args:
        place: What the errors are about.
        key: The key that is worked on; ``""`` while a connection is opened.
        verb: What is done.
        writing: Whether something is to be changed.
    """

    def __init__(self, place: Place, key: str, verb: str, *, writing: bool = False) -> None:
        self._place = place
        self._key = key
        self._verb = verb
        self._writing = writing

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception) and not isinstance(error, (AnystoreError, MemoryError)):
            fail(self._place, error, self._key, self._verb, writing=self._writing)


class Call(Translation):
    """A translating block that has a filesystem for itself, and gives it back at its end."""

    def __enter__(self) -> Any:
        self._lease = self._place.borrow()
        return self._lease.fs

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        sound = error is None or isinstance(error, AnystoreError) or self._place.is_answer(error)
        self._lease.release(sound=sound)
        super().__exit__(kind, error, trace)


class suppress_answers:  # noqa: N801 - a sibling of contextlib.suppress
    """A block that may end early because the server says no; a lost connection still raises."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        return isinstance(error, Exception) and self._place.is_answer(error)
