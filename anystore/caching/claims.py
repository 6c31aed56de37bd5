"""A claim on an entry: a small value under the entry's own key, which says that somebody computes it.

The value takes its place when it is there, so nothing is left behind, and a call costs one write more. A claim is
renewed while its holder lives; a waiter that has seen the same one for a whole lease on its own clock takes it over,
as in :mod:`anystore.locks`.
"""

import os
import threading
import time
from contextlib import suppress
from itertools import count
from secrets import token_hex

from anystore.backend import Backend, Feature
from anystore.caching.envelope import seal_claim
from anystore.errors import AlreadyExists, AnystoreError, DoesNotExist, VersionMismatch
from anystore.keys import Key

LEASE = 30.0
"""Seconds after which the claim of a process that is gone may be taken over."""

_RENEWALS_PER_LEASE = 3
_IDLE = 1.0
_NEEDED = (Feature.CREATE | Feature.SWAP).value
_PROCESS = token_hex(8)
_CLAIMS = count()


def can_claim(backend: Backend) -> bool:
    """Tell whether claims can be kept in a store."""
    return backend.features.value & _NEEDED == _NEEDED  # plain numbers, which are faster than flags


class Claim:
    """The right to compute one entry.

    Args:
        backend: Where the entry is.
        key: The entry's key.
        function: Whose entry it is.
        lease: Seconds to hold without renewal.
    """

    def __init__(self, backend: Backend, key: Key, *, function: str, lease: float | None = None) -> None:
        self._backend = backend
        self._key = key
        self._function = function
        self._lease = LEASE if lease is None else lease
        self._owner = f"{_PROCESS}-{os.getpid()}-{next(_CLAIMS)}"
        self._beat = 0
        self._version: str | None = None
        self._process = os.getpid()
        self._changing = threading.Lock()
        self._held = False
        self.due = 0.0

    def take(self, version: str | None) -> bool:
        """Try to get the claim.

        Args:
            version: Of what stands under the key and is to be replaced; None if there was nothing.

        Returns:
            Whether it is ours; False if somebody was faster.

        Raises:
            BackendError: If the store fails.
        """
        try:
            self._write(version)
        except (AlreadyExists, VersionMismatch):
            return False
        self._held = True
        self.due = time.monotonic() + self._lease / _RENEWALS_PER_LEASE
        _Keeper.keep(self)
        return True

    def publish(self, data: bytes, ttl: float | None) -> None:
        """Put the value in the claim's place, unless the claim was lost or the entry invalidated.

        Args:
            data: The sealed value.
            ttl: Seconds for the backend to keep it, where it can.

        Raises:
            BackendError: If the store fails; the claim is then given back, or runs out.
        """
        if not self._end():
            return
        try:
            self._backend.put(self._key, data, version=self._version, ttl=ttl)
        except VersionMismatch:
            return
        except AnystoreError:  # a disk may be full for the value alone, and nobody is to wait for it
            with suppress(AnystoreError):
                self._withdraw()
            raise

    def release(self) -> None:
        """Give the claim back without a value.

        Raises:
            BackendError: If the store fails; the claim then runs out.
        """
        if self._end():
            self._withdraw()

    def _withdraw(self) -> None:
        with suppress(DoesNotExist):
            if self._backend.stat(self._key).version == self._version:  # not what another one has put there
                self._backend.delete(self._key)

    def renew(self) -> None:
        """Say that the computation is still under way; a claim that was lost is left alone."""
        with self._changing:
            if not self._held:
                return
            self._beat += 1
            self.due = time.monotonic() + self._lease / _RENEWALS_PER_LEASE
            try:
                self._write(self._version)
            except (VersionMismatch, DoesNotExist):
                self._held = False
            except AnystoreError:
                return  # the store may be back before the lease has run out

    def _end(self) -> bool:
        """Stop renewing; tell whether the claim was still ours."""
        _Keeper.forget(self)
        with self._changing:
            held, self._held = self._held, False
            return held and self._process == os.getpid()

    def _write(self, version: str | None) -> None:
        data = seal_claim(self._owner, function=self._function, lease=self._lease, beat=self._beat)
        entry = self._backend.put(self._key, data, create=version is None, version=version)
        self._version = entry.version


class _Keeper:
    """One thread that renews the claims of long computations; it ends when there is none."""

    changed = threading.Condition()
    claims: set[Claim] = set()  # noqa: RUF012 - there is one
    running = False
    wakes = 0.0

    @classmethod
    def keep(cls, claim: Claim) -> None:
        cls.claims.add(
            claim
        )  # before it is asked whether the thread runs, which looks again after it has said that not
        if cls.running and claim.due >= cls.wakes:
            return
        with cls.changed:
            if cls.running:
                cls.changed.notify()
            else:
                cls.running = True
                threading.Thread(target=cls.run, name="anystore-caching-claims", daemon=True).start()

    @classmethod
    def forget(cls, claim: Claim) -> None:
        cls.claims.discard(claim)

    @classmethod
    def run(cls) -> None:
        while True:
            with cls.changed:
                if not cls.claims:
                    cls.sleep(_IDLE)  # the next miss often follows soon
                if not cls.claims:
                    cls.running = False
                    if not cls.claims:
                        return
                    cls.running = True
                now = time.monotonic()
                claims = tuple(cls.claims)  # one step, while others change it
                due = [claim for claim in claims if claim.due <= now]
                if not due:
                    cls.sleep(min((claim.due for claim in claims), default=now) - now)
            for claim in due:
                claim.renew()

    @classmethod
    def sleep(cls, seconds: float) -> None:
        cls.wakes = time.monotonic() + seconds
        cls.changed.wait(seconds)
        cls.wakes = 0.0

    @classmethod
    def renew_after_fork(cls) -> None:
        cls.changed = threading.Condition()
        cls.claims = set()
        cls.running = False


os.register_at_fork(after_in_child=_Keeper.renew_after_fork)
