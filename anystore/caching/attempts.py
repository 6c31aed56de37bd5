"""The way of one computation through the store, step by step, so that threads and tasks can take it alike."""

import random
import time
from typing import Any

from anystore.backend import Backend
from anystore.caching.claims import Claim, can_claim
from anystore.caching.entries import LOG, Entries
from anystore.caching.envelope import Answer, lease_of
from anystore.caching.flights import Flight
from anystore.errors import AnystoreError, CodecError, DoesNotExist, VersionMismatch
from anystore.keys import Key

_FIRST_POLL = 0.005
_LONGEST_POLL = 0.5
_LONGEST_LEASE = 60.0  # somebody else's entry may say what it likes


class Attempt:
    """The way of one computation through the store: claim the entry, or find that another process has made it.

    Args:
        entries: The function's entries.
        backend: Where they are.
        key: The entry's.

    Attributes:
        found: The bytes of the entry, if somebody else made it meanwhile.
        value: Its value.
    """

    def __init__(self, entries: Entries, backend: Backend, key: Key) -> None:
        self.found: bytes | None = None
        self.value: Any = None
        self._entries = entries
        self._backend = backend
        self._key = key
        self._claim: Claim | None = None
        self._ended = False
        self._down = False
        self._seen: str | None = None
        self._seen_since = 0.0
        self._pause = _FIRST_POLL

    def step(self) -> float | None:
        """Go one step.

        Returns:
            Seconds to wait before the next step; None if the value was found or is to be computed now.

        Raises:
            BackendError: If the store fails, and errors are to be raised.
        """
        try:
            return self._step()
        except AnystoreError as error:
            self._down = True
            self._entries.failed(self._backend, error)
            return None

    def _step(self) -> float | None:
        backend, key = self._backend, self._key
        if not can_claim(backend):
            self._look()
            return None
        claim = Claim(backend, key, function=self._entries.name.folder)
        if self._take(claim, None):
            return None
        try:
            with backend.reader(key) as reader:
                data, version = b"".join(reader.read()), reader.entry.version
        except (DoesNotExist, VersionMismatch):
            return 0.0
        if self._accept(data):
            return None
        if not self._is_free(data, version):
            self._pause = min(self._pause * 1.5, _LONGEST_POLL)
            return self._pause * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        if version is None:  # a value too large for this service to tell its version; it is of no use to anybody
            backend.delete(key)
            return 0.0
        return None if self._take(claim, version) else 0.0

    def _take(self, claim: Claim, version: str | None) -> bool:
        if not claim.take(version):
            return False
        self._claim = claim
        if self._ended:  # while the store was asked
            self.release()
        return True

    def _look(self) -> None:
        """Look again: another thread may have ended between our first look and our turn."""
        try:
            self._accept(self._backend.get(self._key))
        except DoesNotExist:
            return

    def _accept(self, data: bytes) -> bool:
        value = self._entries.value_of(self._backend, self._key, data)
        if value is Answer.MISS:
            return False
        self.found, self.value = data, value
        return True

    def _is_free(self, data: bytes, version: str | None) -> bool:
        """Tell whether what stands there may be replaced: no claim, or one of somebody who is gone."""
        try:
            lease = lease_of(data, self._entries.name.folder)
        except CodecError:
            return True
        if lease is None:
            return True
        now = time.monotonic()
        if version is None or version != self._seen:
            self._seen, self._seen_since = version, now
        return now - self._seen_since >= min(lease, _LONGEST_LEASE)

    def keep(self, value: Any, flight: Flight) -> bytes:
        """Seal a value that was computed, and store it.

        Args:
            value: The value.
            flight: Its computation; if it was dropped meanwhile, nothing is stored.

        Returns:
            The sealed value.

        Raises:
            CodecError: If the value cannot come back as it is.
            BackendError: If the store fails, and errors are to be raised.
        """
        sealed = self._entries.seal(value)
        self._entries.counters.misses.add()
        if not self._down and not flight.dropped:
            self._publish(sealed)
        return sealed

    def _publish(self, sealed: bytes) -> None:
        ttl = self._entries.ttl_for(self._backend)
        claim, self._claim = self._claim, None
        try:
            if claim is not None:
                claim.publish(sealed, ttl)
            else:
                self._backend.put(self._key, sealed, ttl=ttl)
        except AnystoreError as error:
            self._entries.failed(self._backend, error)

    def end(self) -> bool:
        """Say that nobody goes on, also if a step is under way in another thread, which then gives back what it got.

        Returns:
            Whether there is something to release.
        """
        self._ended = True
        return self._claim is not None

    def release(self) -> None:
        """Give the entry back without a value; a second time, or after ``publish``, do nothing."""
        self._ended = True
        claim, self._claim = self._claim, None
        if claim is None:
            return
        try:
            claim.release()
        except AnystoreError as error:  # never in the place of the function's own error
            LOG.debug("%s: a claim in %s was left behind: %s", self._entries.name.text, self._backend.uri, error)
