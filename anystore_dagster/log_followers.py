"""Pages that follow what a step prints while it is written."""

import logging
import threading
from collections.abc import Sequence
from typing import Any

from dagster._core.storage.compute_log_manager import CapturedLogData, CapturedLogSubscription, ComputeLogManager

from anystore.errors import AnystoreError

_LOG = logging.getLogger(__name__)
_EVERY = 2.0


class Subscription(CapturedLogSubscription):
    """What one page has asked to be told; it is told of the end, too, since it would wait for more for ever.

    Args:
        manager: Where the output is read.
        log_key: Dagster's name of the output.
        cursor: Where to begin.
    """

    def __init__(self, manager: ComputeLogManager[Any], log_key: Sequence[str], cursor: str | None) -> None:
        super().__init__(manager, log_key, cursor)
        self._lock = threading.RLock()

    def look(self) -> bool:
        """Give the observer what is new; tell whether anything can still come."""
        with self._lock:
            if not self._observer or self.is_complete:
                return not self.is_complete
            if self._manager.is_capture_complete(self._log_key):
                self.complete()
            else:
                self.fetch()
            return not self.is_complete

    def fetch(self) -> None:
        """Give the observer what is new; two threads may want to at once."""
        with self._lock:
            super().fetch()

    def complete(self) -> None:
        """Give the observer the rest, and tell it of the end."""
        with self._lock:
            self.fetch()
            super().complete()
            if self._observer:
                self._observer(CapturedLogData(log_key=self.log_key, cursor=self._cursor))


class Followers:
    """Everyone who follows output in this process; one thread looks for what is new while there is anyone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._following: list[Subscription] = []
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, subscription: Subscription) -> None:
        """Look for one more."""
        with self._lock:
            self._following.append(subscription)
            if self._thread is None and not self._closed.is_set():
                self._thread = threading.Thread(target=self._watch, name="anystore-log-watch", daemon=True)
                self._thread.start()

    def remove(self, subscription: CapturedLogSubscription) -> None:
        """Look for one less."""
        with self._lock:
            self._following = [one for one in self._following if one is not subscription]

    def close(self) -> None:
        """Look no longer."""
        self._closed.set()

    def _watch(self) -> None:
        while not self._closed.wait(_EVERY):
            with self._lock:
                following = list(self._following)
                if not following:
                    self._thread = None
                    return
            for subscription in following:
                self._look(subscription)

    def _look(self, subscription: Subscription) -> None:
        try:
            if not subscription.look():
                self.remove(subscription)
        except AnystoreError as error:
            _LOG.warning("cannot follow what a step prints, and will try again: %s", error)
