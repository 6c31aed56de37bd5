"""A lease on a name, kept in a store: at most one holder, also between machines.

The lease is one small value. Whoever makes it, or swaps it when it is free, holds it
and renews it in the background. A waiter never compares clocks with the holder: it
takes the lease over when it has seen the same version for a whole ttl on its own clock.
"""

import os
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from secrets import token_hex
from typing import Self

from pydantic import BaseModel, ValidationError

from anystore.backend import Backend, Feature
from anystore.errors import AlreadyExists, AnystoreError, BackendError, DoesNotExist, Unsupported, VersionMismatch
from anystore.keys import Key, parse_key, private_key

_RENEWALS_PER_TTL = 3
_LONGEST_POLL = 0.5


def _lease_key(name: str) -> Key:
    """Give the key of a lease; folders end otherwise than leases, so that ``a`` and ``a/b`` are never in the way."""
    *folders, last = parse_key(name).split("/")
    return private_key("/".join(("leases", *(f"{folder}+" for folder in folders), f"{last}=")))


class _Lease(BaseModel):
    """What the store holds. It is never deleted, so that the token never starts again."""

    token: int
    owner: str | None
    ttl: float
    beat: int = 0


class Lock:
    """A lease on a name.

    Use it as a context manager, or call ``acquire`` and ``release``. A lock may be used
    again after it was released, by one thread at a time.

    Args:
        backend: Where the lease is kept; it needs CREATE and SWAP.
        name: A key-like name.
        ttl: Seconds after which the lease of a holder that is gone may be taken over.
        clock: Tells monotonic seconds.

    Attributes:
        name: The name.
        token: The fencing token of this acquisition: greater than that of every earlier
            holder. Hand it to whatever the lock protects, to have late writers refused.

    Raises:
        Unsupported: If the backend has no CREATE or no SWAP.
        InvalidKey: If the name is not like a key.
    """

    def __init__(self, backend: Backend, name: str, *, ttl: float, clock: Callable[[], float] = time.monotonic) -> None:
        if not {Feature.CREATE, Feature.SWAP} <= set(backend.features):
            raise Unsupported(f"{backend.uri} cannot hold locks (it has no CREATE and SWAP); use a database or Redis")
        self.name = name
        self.token = 0
        self._key = _lease_key(name)
        self._backend = backend
        self._ttl = ttl
        self._clock = clock
        self._owner = ""
        self._lease: _Lease | None = None
        self._version: str | None = None
        self._process = 0
        self._good_until = 0.0
        self._stop = threading.Event()
        self._renewing: threading.Thread | None = None
        self._changing = threading.Lock()

    def __repr__(self) -> str:
        """Show the name and where the lease is."""
        return f"<Lock {self.name!r} in {self._backend.uri}>"

    @property
    def held(self) -> bool:
        """Whether the lease is surely ours: it was renewed less than a ttl ago, by this process."""
        return self._lease is not None and self._process == os.getpid() and self._clock() < self._good_until

    def acquire(self, *, timeout: float | None = None) -> bool:
        """Wait for the lease.

        Args:
            timeout: Seconds to wait at most; 0 tries once, None waits as long as it takes.

        Returns:
            Whether it is held now.

        Raises:
            BackendError: If the store fails.
            RuntimeError: If this lock is held already.
        """
        if self.held:
            raise RuntimeError(f"the lock {self.name!r} is held already; release it first, or make another Lock")
        self._leave_parent()
        self._stop.set()  # the renewal of a lease that was lost may not have noticed yet
        started = self._clock()
        seen: str | None = None
        seen_since = started
        while True:
            lease, version = self._read()
            now = self._clock()
            if version != seen:
                seen, seen_since = version, now
            free = lease is None or lease.owner is None or now - seen_since >= lease.ttl
            if free and self._take(lease, version):
                return True
            left = None if timeout is None else started + timeout - self._clock()
            if left is not None and left <= 0:
                return False
            # waiters that ask at different moments do not all swap at once
            pause = min(_LONGEST_POLL, self._ttl / 10) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
            time.sleep(pause if left is None else min(pause, left))

    def release(self) -> None:
        """Give the lease back; if it was lost meanwhile, do nothing."""
        self._leave_parent()
        renewing, self._renewing = self._renewing, None
        self._stop.set()
        if renewing is not None:
            renewing.join()
        with self._changing:
            lease, self._lease = self._lease, None
            if lease is not None:
                with suppress(VersionMismatch):  # another holder has taken it over
                    self._replace(lease.model_copy(update={"owner": None}))

    def __enter__(self) -> Self:
        """Wait for the lease as long as it takes."""
        self.acquire()
        return self

    def __exit__(self, *error: object) -> None:
        """Give the lease back."""
        self.release()

    def _read(self) -> tuple[_Lease | None, str | None]:
        try:
            with self._backend.reader(self._key) as reader:
                return _Lease.model_validate_json(b"".join(reader.read())), reader.entry.version
        except DoesNotExist:
            return None, None
        except VersionMismatch:
            return self._read()
        except ValidationError as error:
            raise BackendError(f"{self._key!r} in {self._backend.uri} is no lease; delete it") from error

    def _leave_parent(self) -> None:
        """Forget what the parent process holds; its threads, which may be in the middle of something, are not here."""
        if self._process != os.getpid():
            self._process = os.getpid()
            self._lease = self._renewing = None
            self._changing, self._stop = threading.Lock(), threading.Event()

    def _take(self, lease: _Lease | None, version: str | None) -> bool:
        """Try to become the holder; False if another one was faster."""
        with self._changing:
            self._owner = token_hex(8)
            mine = _Lease(token=lease.token + 1 if lease else 1, owner=self._owner, ttl=self._ttl)
            asked = self._clock()
            try:
                self._version = self._write(mine, version)
            except (AlreadyExists, VersionMismatch):
                return False
            self._lease, self.token = mine, mine.token
            # counted from before the store was asked: a waiter starts to count later than that
            self._good_until = asked + self._ttl
        self._stop = threading.Event()
        self._renewing = threading.Thread(
            target=self._renew, args=(self._stop,), name=f"anystore-lock-{self.name}", daemon=True
        )
        self._renewing.start()
        return True

    def _renew(self, stop: threading.Event) -> None:
        """Renew the lease until it is released or lost; runs in a thread of its own."""
        while not stop.wait(self._ttl / _RENEWALS_PER_TTL):
            with self._changing:
                if self._lease is None or stop.is_set():
                    return
                asked = self._clock()
                if asked >= self._good_until:  # this process was stopped for too long
                    self._lease = None
                    return
                try:
                    self._lease = self._replace(self._lease.model_copy(update={"beat": self._lease.beat + 1}))
                except VersionMismatch:
                    self._lease = None
                    return
                except AnystoreError:
                    continue  # the store may be back before the lease has run out
                self._good_until = asked + self._ttl

    def _replace(self, lease: _Lease) -> _Lease:
        """Store our lease again, also over one whose answer was lost on its way.

        Raises:
            VersionMismatch: If the lease is another holder's now.
        """
        try:
            self._version = self._write(lease, self._version)
        except VersionMismatch:
            present, version = self._read()
            if present is None or present.owner != self._owner:
                raise
            # a version may be made of the content, and whoever waits has to see another one
            lease = lease.model_copy(update={"beat": present.beat + 1})
            self._version = self._write(lease, version)
        return lease

    def _write(self, lease: _Lease, version: str | None) -> str | None:
        data = lease.model_dump_json().encode()
        return self._backend.put(self._key, data, create=version is None, version=version).version
