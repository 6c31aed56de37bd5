"""One handle of libcurl for request after request: between two of them only what differs is set."""

from collections.abc import Mapping

import pycurl

from anystore.web.client import Client
from anystore.web.headers import Headers, parse_head_lines
from anystore.web.transfer import SocketOpener, TransferError, failure_of, prepare
from anystore.web.urls import wire_url

_SLOWEST = 1024  # bytes a second: for the whole of a stall timeout, and for the whole of a body


def deadline_of(size: int, *, timeout: float) -> float:
    """Say how many seconds a body may take at most, so that a server that drips ends, too.

    Example:
        >>> deadline_of(1024 * 100, timeout=60.0)
        160.0
    """
    return timeout + size / _SLOWEST


class Easy:
    """A handle, what it is set up for, and what it has brought.

    Setting all options of a request takes as long as all else that is done for it, and the requests of a crawl
    differ in their URL alone.

    Attributes:
        curl: The handle itself.
    """

    __slots__ = ("_head", "_headers", "_kind", "_opener", "_pieces", "curl")

    def __init__(self) -> None:
        self.curl = pycurl.Curl()
        self._head: list[bytes] = []
        self._pieces: list[bytes] = []
        self._opener: SocketOpener | None = None
        self._kind: tuple[object, ...] | None = None
        self._headers: Mapping[str, str] = {}

    def set_up(
        self,
        client: Client,
        url: str,
        *,
        method: str,
        headers: Mapping[str, str],
        trusted: bool,
        limit: int,
        body: bytes | None,
    ) -> None:
        """Set what one request needs; secrets that an earlier one has left go only where they went before.

        Raises:
            pycurl.error: If it cannot be sent.
            UnicodeError: If it cannot be sent.
        """
        # a name in the URL is another login
        kind = None if body is not None or "@" in url else (method, trusted, limit)
        if kind is not None and kind == self._kind and headers == self._headers:
            if self._opener is not None:
                self._opener.refused = None
            self.curl.setopt(pycurl.URL, wire_url(url).encode())
            return
        self._kind = None
        call = client.call(method, url, headers, trusted=trusted)
        self._opener = prepare(self.curl, call)
        self.curl.setopt(pycurl.HEADERFUNCTION, self._head.append)
        self.curl.setopt(pycurl.WRITEFUNCTION, self._pieces.append)
        self.curl.setopt(pycurl.MAXFILESIZE_LARGE, max(limit, 1))
        self.curl.setopt(pycurl.LOW_SPEED_LIMIT, _SLOWEST)
        self.curl.setopt(pycurl.LOW_SPEED_TIME, max(int(call.stall_timeout), 1))
        longest = deadline_of(limit, timeout=call.stall_timeout + call.connect_timeout)
        self.curl.setopt(pycurl.TIMEOUT_MS, int(longest * 1000))
        if method not in ("GET", "HEAD"):
            self.curl.setopt(pycurl.CUSTOMREQUEST, method)
        if body is not None:
            self.curl.setopt(pycurl.COPYPOSTFIELDS, body)
        self._kind, self._headers = kind, headers

    def take(self) -> tuple[int, Headers, bytes]:
        """Give status, headers and body of what came, and be empty for the next."""
        status, headers = parse_head_lines(self._head)
        body = b"".join(self._pieces)
        self._head.clear()
        self._pieces.clear()
        return status, headers, body

    def failure(self, code: int, message: str) -> TransferError:
        """Make the error of a request that libcurl has ended; the next one is set up anew."""
        self._kind = None
        return failure_of(code, message, self._opener)

    def close(self) -> None:
        """Let the handle go, and with it the secrets."""
        self.curl.close()
