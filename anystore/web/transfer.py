"""One request over libcurl, pulled piece by piece; the only user of pycurl.

A line is an easy handle in a multi handle of its own, which keeps the connection
between requests. A transfer holds a line while it runs; nobody else touches it then.
"""

import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pycurl

from anystore.web.addresses import AddressGuard
from anystore.web.headers import is_status_line, parse_head

PIECE_BYTES = 256 * 1024
"""How much of a body is gathered before it is handed on, if it is there already."""

_BUFFER_BYTES = 64 * 1024  # libcurl fills it up to ten times between two looks at us
_MAX_HEAD_BYTES = 256 * 1024
_MAX_IDLE_LINES = 16
_DRAIN_BYTES = 64 * 1024  # a longer unread body costs more than a new connection
_SUPPRESS_CONNECT_HEADERS = 265  # pycurl has no name for this option of libcurl

_TRANSIENT = frozenset(
    {
        pycurl.E_COULDNT_RESOLVE_HOST,
        pycurl.E_COULDNT_CONNECT,
        pycurl.E_GOT_NOTHING,
        pycurl.E_HTTP2,
        92,  # an error in one HTTP/2 stream; pycurl has no name for it
        pycurl.E_OPERATION_TIMEDOUT,
        pycurl.E_PARTIAL_FILE,
        pycurl.E_RECV_ERROR,
        pycurl.E_SEND_ERROR,
        pycurl.E_SSL_CONNECT_ERROR,
    }
)


class TransferError(Exception):
    """A transfer failed.

    Attributes:
        transient: Whether the same request may well work a moment later.
    """

    def __init__(self, message: str, *, transient: bool) -> None:
        super().__init__(message)
        self.transient = transient


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request, as it goes over the wire; secrets stay out of the repr.

    Attributes:
        method: ``GET``, ``HEAD``, or another one that sends nothing along, such as ``PROPFIND``.
        url: Without name and password.
        headers: Lines such as ``Range: bytes=0-9``.
        username: Sent as Basic authentication, if it is not None.
        password: Sent with the name.
        connect_timeout: Seconds until the connection must stand.
        stall_timeout: Seconds after which a silent server is given up.
        ca_file: Certificates to trust in place of the system's.
        guard: Says which addresses may be connected to; None for all of them.
        is_unwanted: Tells whether nobody wants the answer any more.
    """

    method: str
    url: str = field(repr=False)
    headers: Sequence[str] = field(repr=False)
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    connect_timeout: float
    stall_timeout: float
    ca_file: str | None = None
    guard: AddressGuard | None = None
    is_unwanted: Callable[[], bool] = bool


class _Line:
    """An easy handle, the multi handle that drives it, and the process that may use them."""

    def __init__(self) -> None:
        self.multi = pycurl.CurlMulti()
        self.easy = pycurl.Curl()
        self.pid = os.getpid()

    def close(self) -> None:
        self.easy.close()
        self.multi.close()


# Handles inherited by a fork: closing them would speak on connections that the parent still uses.
_inherited: list[object] = []


class Lines:
    """A pool of connections, for many threads; empty again after a fork, and when unpickled."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[_Line] = []
        self._pid = os.getpid()

    def __reduce__(self) -> tuple[type["Lines"], tuple[()]]:
        return Lines, ()

    def take(self) -> _Line:
        """Give a line that nobody else uses; the one that was used last comes first."""
        if self._pid != os.getpid():
            _inherited.append(self._idle)
            self._lock, self._idle, self._pid = threading.Lock(), [], os.getpid()
        with self._lock:
            return self._idle.pop() if self._idle else _Line()

    def give(self, line: _Line) -> None:
        """Take a line back."""
        if line.pid != os.getpid():
            _inherited.append(line)
            return
        with self._lock:
            if len(self._idle) < _MAX_IDLE_LINES:
                self._idle.append(line)
                return
        line.close()

    def close(self) -> None:
        """Close the idle connections; new ones are opened when they are needed."""
        if self._pid == os.getpid():
            with self._lock:
                idle, self._idle = self._idle, []
            for line in idle:
                line.close()


class _Sink:
    """What libcurl has brought: the head of the answer, and a part of its body."""

    def __init__(self) -> None:
        self.events = 0
        self.head = bytearray()
        self.head_ended = False
        self.pieces: list[bytes] = []
        self.size = 0

    def take_header(self, line: bytes) -> int | None:
        self.events += 1
        if self.head_ended:  # trailers behind the body say nothing that we use
            return None
        if is_status_line(line):
            self.head.clear()
        self.head += line
        if len(self.head) > _MAX_HEAD_BYTES:
            return -1
        if not line.strip() and not self.head.split(b" ", 2)[1].startswith(b"1"):  # 100 and 103 come before the answer
            self.head_ended = True
        return None

    def take_body(self, piece: bytes) -> None:
        self.events += 1
        self.pieces.append(piece)
        self.size += len(piece)

    def empty(self) -> bytes:
        data = b"".join(self.pieces)
        self.pieces.clear()
        self.size = 0
        return data


class Transfer:
    """A running request; its body is pulled, so that a slow reader slows the server down.

    Attributes:
        status: The status of the answer.
        headers: Its headers.
    """

    def __init__(self, lines: Lines, call: Call) -> None:
        """Send the request, and wait for the head of the answer.

        Raises:
            TransferError: If there is none.
        """
        self._lines = lines
        self._call = call
        self._sink = _Sink()
        self._failure: TransferError | None = None
        self._opener: SocketOpener | None = None
        self._line: _Line | None = lines.take()
        try:
            self._opener = prepare(self._line.easy, call)
            self._line.easy.setopt(pycurl.HEADERFUNCTION, self._sink.take_header)
            self._line.easy.setopt(pycurl.WRITEFUNCTION, self._sink.take_body)
            self._line.multi.add_handle(self._line.easy)
            self._await_head()
        except pycurl.error as error:
            self.close()
            raise TransferError(str(error.args[-1]), transient=False) from error
        except BaseException:
            self.close()
            raise
        self.status, self.headers = parse_head(bytes(self._sink.head))

    def _await_head(self) -> None:
        longest = self._call.connect_timeout + self._call.stall_timeout
        deadline = time.monotonic() + longest
        while not self._sink.head_ended:
            if self._line is None:
                raise self._failure or TransferError("the connection ended without an answer", transient=True)
            if time.monotonic() > deadline:  # each header in time, and all of them never
                self.close()
                raise TransferError(f"the headers did not come in {longest:g} seconds", transient=True)
            self._advance()

    def next_piece(self) -> bytes:
        """Give the next piece of the body, or ``b""`` at its end.

        Raises:
            TransferError: If the connection broke or stalled before the end.
        """
        while not self._sink.size and self._line is not None:
            self._advance()
        if self._sink.size:
            return self._sink.empty()
        if self._failure:
            raise self._failure
        return b""

    def drain(self) -> None:
        """Throw the body away; a short one is read to its end, so that the connection can be used again."""
        taken = 0
        try:
            while taken < _DRAIN_BYTES and (piece := self.next_piece()):
                taken += len(piece)
        except TransferError:
            return  # nobody wanted it
        finally:
            self.close()

    def close(self) -> None:
        """End the transfer; a body that was not read to its end costs the connection."""
        line, self._line = self._line, None
        if line is None:
            return
        if line.pid == os.getpid():
            with suppress(pycurl.error):  # it was never added, if its options were refused
                line.multi.remove_handle(line.easy)
            line.easy.reset()  # lets the sink and the secrets go
        self._lines.give(line)

    def __del__(self) -> None:
        if getattr(self, "_line", None) is not None:
            self.close()

    def _advance(self) -> None:
        """Let libcurl work until something has come, or all is over."""
        line = self._line
        if line is None:
            return
        if line.pid != os.getpid():
            self.close()
            raise TransferError("the process was forked while it read; open the value again", transient=False)
        deadline = time.monotonic() + self._call.stall_timeout
        seen = self._sink.events
        while True:
            before = self._sink.events
            line.multi.perform()
            if self._ended(line):
                self.close()
                return
            if self._sink.events != before and self._sink.size < PIECE_BYTES:
                continue  # there may be more, at no waiting
            if self._sink.events != seen:
                return
            if self._call.is_unwanted():
                self.close()
                raise TransferError("it was ended before its end", transient=False)
            left = deadline - time.monotonic()
            if left <= 0:
                self.close()
                raise TransferError(f"the server sent nothing for {self._call.stall_timeout:g} seconds", transient=True)
            _wait(line.multi, left)

    def _ended(self, line: _Line) -> bool:
        """Look whether the transfer is over, and whether it went well."""
        _, done, failed = line.multi.info_read()
        for _, code, message in failed:
            too_long = code == pycurl.E_WRITE_ERROR and len(self._sink.head) > _MAX_HEAD_BYTES
            text = f"the headers of the answer are longer than {_MAX_HEAD_BYTES:,} bytes" if too_long else message
            self._failure = failure_of(code, text, self._opener)
        return bool(done or failed)


def _wait(multi: pycurl.CurlMulti, longest: float) -> None:
    """Sleep until the socket has something, or libcurl's own clock wants to be served."""
    timer = multi.timeout()
    span = min(longest, 1.0) if timer < 0 else min(longest, 1.0, timer / 1000)
    if multi.select(span) < 0:  # no socket yet, or one above what select() can hold
        time.sleep(min(span, 0.005))


def prepare(easy: pycurl.Curl, call: Call) -> "SocketOpener | None":
    """Set every option of a request but those that take the answer; nothing is left from the one before."""
    easy.reset()
    easy.setopt(pycurl.URL, call.url.encode())
    easy.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
    easy.setopt(pycurl.PATH_AS_IS, 1)
    easy.setopt(pycurl.FOLLOWLOCATION, 0)  # a redirect is judged by the client
    easy.setopt(_SUPPRESS_CONNECT_HEADERS, 1)  # a proxy's word is not the server's
    easy.setopt(pycurl.NETRC, pycurl.NETRC_IGNORED)
    easy.setopt(pycurl.NOSIGNAL, 1)  # signals and threads do not mix
    easy.setopt(pycurl.NOBODY, int(call.method == "HEAD"))
    if call.method not in ("GET", "HEAD"):
        easy.setopt(pycurl.CUSTOMREQUEST, call.method)
    easy.setopt(pycurl.HTTPHEADER, [line.encode("latin-1") for line in call.headers])
    easy.setopt(pycurl.CONNECTTIMEOUT_MS, max(int(call.connect_timeout * 1000), 1))
    easy.setopt(pycurl.BUFFERSIZE, _BUFFER_BYTES)
    if call.username is not None:
        easy.setopt(pycurl.HTTPAUTH, pycurl.HTTPAUTH_BASIC)
        easy.setopt(pycurl.USERNAME, call.username.encode())
        easy.setopt(pycurl.PASSWORD, (call.password or "").encode())
    cafile, capath = (call.ca_file, None) if call.ca_file else _system_certificates()
    if cafile:
        easy.setopt(pycurl.CAINFO, cafile)
    if capath:
        easy.setopt(pycurl.CAPATH, capath)
    if call.guard is None:
        return None
    opener = SocketOpener(call.guard)
    easy.setopt(pycurl.OPENSOCKETFUNCTION, opener)
    return opener


class _Lent:
    """A socket that pycurl takes a copy of; a socket of Python's would warn that nobody has closed it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def __del__(self) -> None:
        os.close(self._descriptor)


class SocketOpener:
    """What libcurl opens the sockets of one request with.

    Attributes:
        refused: The address that was refused last, or None.
    """

    def __init__(self, guard: AddressGuard) -> None:
        self._guard = guard
        self.refused: str | None = None

    def __call__(self, _purpose: int, address: Any) -> Any:
        """Open a socket for an address, if it is allowed."""
        host = address.addr[0]
        if self._guard.allows(host if isinstance(host, str) else host.decode()):
            return _Lent(socket.socket(address.family, address.socktype, address.protocol).detach())
        self.refused = str(host)
        return pycurl.SOCKET_BAD


def failure_of(code: int, message: str, opener: SocketOpener | None) -> TransferError:
    """Make the error of a transfer that libcurl has ended."""
    if opener is not None and opener.refused:
        return TransferError(
            f"it leads to the address {opener.refused}, which is not public, and the first URL was at no such address",
            transient=False,
        )
    return TransferError(message or pycurl.easy_strerror(code), transient=code in _TRANSIENT)


@cache
def _system_certificates() -> tuple[str | None, str | None]:
    """Find the certificates that Python trusts; the libcurl of the wheel looks where another system has them."""
    paths = ssl.get_default_verify_paths()
    return paths.cafile, paths.capath
