"""What somebody who sends many requests wants to have a say in: where they lead, and when they end."""

import threading
from collections.abc import Callable

from anystore.errors import BackendError


class NotFollowed(BackendError):
    """A redirect leads where its client may not go."""


class Watch:
    """Looks over the requests of a client; safe to share between threads.

    Args:
        follows: Tells whether a redirect from one URL to another may be followed.
        complained: Is told that a URL's server asks for fewer requests, and for how many seconds it wants none (or
            None).
    """

    def __init__(
        self,
        *,
        follows: Callable[[str, str], bool],
        complained: Callable[[str, float | None], None],
    ) -> None:
        self.follows = follows
        self.complained = complained
        self._ended = threading.Event()

    @property
    def ended(self) -> bool:
        """Whether nothing more is wanted, so that running requests give up."""
        return self._ended.is_set()

    def end(self) -> None:
        """Let all requests give up soon."""
        self._ended.set()

    def sleep(self, seconds: float) -> None:
        """Wait, but not longer than anything is wanted."""
        self._ended.wait(seconds)
