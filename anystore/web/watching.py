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
        turn: Gives the seconds for which a request to a URL has to wait, and is asked once for each.
    """

    def __init__(
        self,
        *,
        follows: Callable[[str, str], bool],
        complained: Callable[[str, float | None], None],
        turn: Callable[[str], float] = lambda url: 0.0,  # noqa: ARG005 - nobody waits
    ) -> None:
        self.follows = follows
        self.complained = complained
        self._turn = turn
        self._ended = threading.Event()

    @property
    def ended(self) -> bool:
        """Whether nothing more is wanted, so that running requests give up."""
        return self._ended.is_set()

    def end(self) -> None:
        """Let all requests give up soon."""
        self._ended.set()

    def await_turn(self, url: str) -> None:
        """Wait until a URL may be asked for."""
        seconds = self._turn(url)
        if seconds > 0:
            self.sleep(seconds)

    def sleep(self, seconds: float) -> None:
        """Wait, but not longer than anything is wanted."""
        self._ended.wait(seconds)
