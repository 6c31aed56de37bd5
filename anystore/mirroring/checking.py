"""What a copy is compared with: digests of what was read, and what each service says of its value."""

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from typing import Protocol

from anystore.backend import Backend, Entry
from anystore.errors import AnystoreError, BackendError, DoesNotExist, VersionMismatch
from anystore.keys import Key
from anystore.mirroring.comparing import is_same_version
from anystore.mirroring.limits import Throttle

_ALONE = "sha256"


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


class Digests:
    """Digests of one value, computed while it passes.

    Args:
        algorithms: Their names in ``hashlib``; SHA-256 if there are none.

    Example:
        >>> digests = Digests(["md5"])
        >>> digests.update(b"hello")
        >>> str(digests)
        'md5:5d41402abc4b2a76b9719d911017c592'
    """

    def __init__(self, algorithms: Iterable[str]) -> None:
        names = dict.fromkeys(algorithms) or {_ALONE: None}
        self._hashes: dict[str, _Hash] = {name: hashlib.new(name, usedforsecurity=False) for name in names}

    def __str__(self) -> str:
        return next(f"{name}:{one.hexdigest()}" for name, one in self._hashes.items())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Digests) and self._all() == other._all()

    def __hash__(self) -> int:
        return hash(tuple(self._hashes))

    def update(self, data: bytes) -> None:
        """Take a piece."""
        for one in self._hashes.values():
            one.update(data)

    def fresh(self) -> "Digests":
        """Begin anew, by the same algorithms."""
        return Digests(self._hashes)

    def agree(self, backend: Backend, entry: Entry) -> bool:
        """Tell whether the bytes are those that a service speaks of, as far as it tells a digest.

        Args:
            backend: The service.
            entry: What it says of the value.
        """
        algorithm = backend.digest_algorithm(entry.size)
        told = backend.digest_of(entry)
        if told is None or algorithm is None or algorithm not in self._hashes:
            return True
        return told == self._hashes[algorithm].hexdigest() or backend.digest_of(entry, doubted=True) is None

    def _all(self) -> dict[str, str]:
        return {name: one.hexdigest() for name, one in self._hashes.items()}


def digests_for(backends: Iterable[Backend], size: int | None, *, full: bool) -> Digests:
    """Choose what is to be computed of a value: what one of the services will tell, too.

    Args:
        backends: The services.
        size: Length of the value, or None if it is not known.
        full: Whether the copy will be read back, which takes an algorithm that nobody can cheat.
    """
    told = [backend.digest_algorithm(size) for backend in backends]
    return Digests([*([_ALONE] if full else []), *(one for one in told if one is not None)])


class Inspector:
    """Looks at copies in the target.

    Args:
        target: The backend that was written.
        throttle: Holds it to the limits of the run.
        full: Whether copies are read back.
    """

    def __init__(self, target: Backend, throttle: Throttle, *, full: bool) -> None:
        self._target = target
        self._throttle = throttle
        self._full = full

    def inspect(self, key: Key, written: Entry, *, size: int, digests: Digests, expires: bool) -> None:
        """Check what the target says of a new value, or, if that is wanted, what it gives back.

        What is not as it was written is deleted: its time and size would make the next run take it for a good copy.

        Args:
            key: Its key.
            written: What its writer said of it.
            size: How many bytes were written.
            digests: Their digests.
            expires: Whether it may be gone by now.

        Raises:
            BackendError: If it has another length.
            VersionMismatch: If it has other bytes, or is gone.
        """
        try:
            if written.version is None:  # then it is the writer that speaks, and not the service
                self._throttle.request()
                written = self._target.stat(key)
            if written.size not in (None, size):
                self._take_back(key, written)
                raise BackendError(
                    f"{self._target.locate(key)} has {written.size:,} bytes after {size:,} were written; mirror again"
                )
            if not digests.agree(self._target, written):
                self._take_back(key, written)
                raise VersionMismatch(
                    f"{self._target.locate(key)} has another digest than what was written ({digests}), and was deleted"
                )
            if self._full and self._read_back(key, digests) != digests:
                self._take_back(key, written)
                raise VersionMismatch(
                    f"{self._target.locate(key)} reads back other bytes than were written, and was deleted"
                )
        except DoesNotExist as error:
            if not expires:
                raise VersionMismatch(
                    f"{self._target.locate(key)} is gone after it was written; who deletes it?"
                ) from error

    def _take_back(self, key: Key, written: Entry) -> None:
        """Delete a value that is not what was written, unless it is another writer's by now."""
        with suppress(AnystoreError):
            if is_same_version(self._target.stat(key), written):
                self._target.delete(key)

    def _read_back(self, key: Key, digests: Digests) -> Digests:
        self._throttle.request()
        back = digests.fresh()
        for piece in self._target.read(key):
            back.update(piece)
            self._throttle.read(len(piece))
        return back
