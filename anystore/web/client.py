"""A guarded, polite HTTP client: what may be asked, of whom, how often, and what an answer means.

Secrets go to the server they are meant for and to no other; a broken answer never
looks like a whole one; a busy server is given time.
"""

import random
import re
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from anystore.errors import AnystoreError, BackendError, DoesNotExist, InvalidOption, VersionMismatch
from anystore.uris import collect_secrets, mask_text, parse_uri
from anystore.web.addresses import AddressGuard
from anystore.web.headers import Headers, body_length, parse_content_range, parse_retry_after, strong_etag
from anystore.web.transfer import Call, Lines, Transfer, TransferError
from anystore.web.urls import is_folder_of, keeps_secrets, masked_url, redirect_target, wire_url
from anystore.web.watching import NotFollowed, Watch

_BUSY = frozenset({429, 502, 503, 504})
_NEVER_BETTER = (501, 505)  # the server does not know the method, or the version
REDIRECTS = frozenset({301, 302, 303, 307, 308})
LONGEST_WAIT = 120.0
"""Seconds; a server that asks for more is not waited for."""
_BYTES_A_TRY = 1 << 20  # a long body may break more often, but has to get on
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


@dataclass(frozen=True, kw_only=True)
class Client:
    """Fetches from web servers; safe to share between threads and to pickle.

    Connections are kept and used again, each by one request at a time; a forked process
    opens its own. Bytes come as the server stores them: no compression is asked for.
    The usual ``*_proxy`` variables are followed, ``~/.netrc`` is not read.

    Args:
        username: Sent as Basic authentication to the server that is asked, never to another.
        password: Sent with the name.
        headers: More headers of each request, kept from other servers in the same way.
        timeout: Seconds after which a server that sends nothing is given up.
        connect_timeout: Seconds until a connection must stand.
        retries: How often a request is repeated when the connection breaks or the server is busy.
        backoff: Seconds before the first repetition; doubled each time, and varied at random.
        max_redirects: How many redirects are followed.
        user_agent: How the client names itself.
        ca_file: Certificates to trust in place of the system's.
        guard: Says which addresses may be connected to; None for all of them.
        watch: Has a say in redirects and pauses, and can end all requests; not pickled together with a client.

    Raises:
        InvalidOption: If an option is not what it should be.
    """

    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: float = 60.0
    connect_timeout: float = 20.0
    retries: int = 4
    backoff: float = 0.5
    max_redirects: int = 10
    user_agent: str = ""
    ca_file: str | None = None
    guard: AddressGuard | None = None
    watch: Watch | None = field(default=None, repr=False, compare=False)
    _lines: Lines = field(default_factory=Lines, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.timeout <= 0 or self.connect_timeout <= 0 or self.backoff < 0:
            raise InvalidOption("timeout and connect_timeout are seconds above 0, and backoff is not negative")
        if self.retries < 0 or self.max_redirects < 0:
            raise InvalidOption("retries and max_redirects are counts, 0 or more")
        if "\0" in f"{self.username}{self.password}":
            raise InvalidOption("username and password cannot hold a NUL character")
        for name, value in {**self.headers, "User-Agent": self.user_agent}.items():
            if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
                raise InvalidOption(f"the header {name!r} cannot be sent; a name is one word, a value one line of text")

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        start: int = 0,
        stop: int | None = None,
        allow: Collection[int] = (),
        into_folder: bool = True,
    ) -> "Response":
        """Send a request, following redirects and repeating it where that can help.

        Args:
            method: ``GET``, ``HEAD``, or another one that sends nothing along, such as ``PROPFIND``.
            url: An ``http://`` or ``https://`` URL; a name and password in it are used as such.
            headers: Headers of this request alone, such as ``If-Match``.
            start: First byte wanted.
            stop: First byte not wanted, or None for all the rest.
            allow: Statuses to hand back, besides those of success, instead of raising.
            into_folder: Whether to follow a redirect to the same path with a slash behind it.

        Returns:
            The answer, its body yet to be pulled.

        Raises:
            DoesNotExist: If the server says 404 or 410, or redirects into a folder unasked.
            BackendError: If the server cannot be reached, refuses, or answers with another error.
        """
        asked = _Asked(
            client=self,
            method=method,
            url=url,
            headers=dict(headers or {}),
            start=start,
            stop=stop,
            allow=frozenset(allow),
            into_folder=into_folder,
        )
        return Response(asked, *asked.send())

    def close(self) -> None:
        """Close the idle connections; they are opened again when the client is used again."""
        self._lines.close()

    def open_transfer(self, method: str, url: str, headers: Mapping[str, str], *, trusted: bool) -> Transfer:
        """Send one request, once; secrets go along only if the server is trusted with them."""
        return Transfer(self._lines, self.call(method, url, headers, trusted=trusted))

    def call(self, method: str, url: str, headers: Mapping[str, str], *, trusted: bool) -> Call:
        """Say what goes over the wire for a request; secrets only if the server is trusted with them."""
        parts = parse_uri(url) if "@" in url else None  # this is asked for each document of a crawl
        named = parts is not None and parts.username is not None
        username, password = (parts.username, parts.password) if parts and named else (self.username, self.password)
        lines = {"User-Agent": self.user_agent or own_name(), **(self.headers if trusted else {}), **headers}
        return Call(
            method=method,
            url=wire_url(url),
            headers=[f"{name}: {value}" for name, value in lines.items()],
            username=username if trusted else None,
            password=password if trusted else None,
            connect_timeout=self.connect_timeout,
            stall_timeout=self.timeout,
            ca_file=self.ca_file,
            guard=self.guard,
            is_unwanted=self.is_unwanted,
        )

    def is_unwanted(self) -> bool:
        """Tell whether whoever watches wants no answers any more."""
        return self.watch is not None and self.watch.ended

    def pause(self, seconds: float) -> None:
        """Wait, unless nobody wants an answer any more."""
        if self.watch is None:
            time.sleep(seconds)
        else:
            self.watch.sleep(seconds)

    def refusal(self, status: int, headers: Headers, *, method: str, url: str) -> "Refusal | None":
        """Say what is wrong with a status.

        Args:
            status: The status.
            headers: The headers beside it.
            method: The method of the request.
            url: Who answered.

        Returns:
            The error and whether a repetition can help; None for the statuses of success.
        """
        if 200 <= status < 300:  # noqa: PLR2004 - the statuses of success
            return None
        if status in (404, 410):
            return Refusal(DoesNotExist(f"there is nothing at {masked_url(url)} (status {status})"))
        if status in (401, 403, 407):
            reason = (
                "the server does not accept the username, password or headers"
                if self.knows_secrets
                else "the server wants a login, or lets nobody in"
            )
            what = (
                f"was refused with status {status}: {reason}; set username and password (or headers) in backend_config"
            )
            return Refusal(self.failed(what, method=method, url=url))
        if status in _BUSY:
            wait = parse_retry_after(headers.get("retry-after"), now=datetime.now(UTC))
            what = f"was answered with status {status}, also when repeated; try again later"
            return Refusal(self.failed(what, method=method, url=url), busy=True, passes=True, wait=wait)
        of_server = status >= 500  # noqa: PLR2004 - the server's own errors
        advice = "; the server has a fault: try later, or tell those who run it" if of_server else "; check the URL"
        error = self.failed(f"was answered with status {status}{advice}", method=method, url=url)
        return Refusal(error, passes=of_server and status not in _NEVER_BETTER)

    def failed(self, what: str, *, method: str, url: str) -> BackendError:
        """Make the error for an answer that is of no use."""
        return BackendError(self.hide(f"{method} {masked_url(url)} {what}"))

    @property
    def knows_secrets(self) -> bool:
        """Whether credentials, or headers that may hold some, were given."""
        return self.username is not None or self.password is not None or bool(self.headers)

    def delay(self, failures: int) -> float:
        """Say how many seconds to wait after so many failures in a row."""
        spread = random.uniform(0.5, 1.5)  # noqa: S311 - so that many clients do not come back together
        return float(min(self.backoff * 2 ** (failures - 1), LONGEST_WAIT / 4) * spread)

    def hide(self, text: str) -> str:
        """Replace this client's secrets in a text by ``***``."""
        secrets = {self.password, *self.headers.values(), *collect_secrets(self.headers)} - {None, ""}
        return mask_text(text, {secret for secret in secrets if secret})


@dataclass(frozen=True, slots=True)
class Refusal:
    """What is wrong with an answer.

    Attributes:
        error: What to raise.
        busy: Whether the server asks for fewer requests.
        passes: Whether the same request may well work a moment later.
        wait: Seconds that the server asks to wait, or None.
    """

    error: AnystoreError
    busy: bool = False
    passes: bool = False
    wait: float | None = None


@cache
def own_name() -> str:
    """Give the name that a client has unless it is told another one."""
    try:
        return f"anystore/{version('anystore-dagster')}"
    except PackageNotFoundError:  # run from a folder, without having been installed
        return "anystore"


class _Again(Exception):
    """A request failed in a way that a repetition can mend."""

    def __init__(self, error: BackendError, wait: float | None = None) -> None:
        super().__init__()
        self.error = error
        self.wait = wait


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What was asked for, so that it can be asked again."""

    client: Client
    method: str
    url: str
    headers: Mapping[str, str]
    start: int
    stop: int | None
    allow: frozenset[int]
    into_folder: bool

    def send(self) -> tuple[Transfer, str]:
        """Ask until there is an answer that counts; give it with the URL that answered."""
        failures = 0
        while True:
            try:
                return self._follow()
            except _Again as again:
                failures += 1
                wait = self.client.delay(failures) if again.wait is None else again.wait
                if failures > self.client.retries or wait > LONGEST_WAIT or self.client.is_unwanted():
                    raise again.error from again.__cause__
                self.client.pause(wait)

    def failed(self, what: str, *, url: str) -> BackendError:
        """Make the error for an answer that is of no use."""
        return self.client.failed(what, method=self.method, url=url)

    def _follow(self) -> tuple[Transfer, str]:
        url, trusted = self.url, True
        headers = dict(self.headers)
        if self.start or self.stop is not None:
            headers["Range"] = f"bytes={self.start}-{'' if self.stop is None else self.stop - 1}"
        watch = self.client.watch
        for _ in range(self.client.max_redirects + 1):
            if watch is not None:
                watch.await_turn(url)
            try:
                transfer = self.client.open_transfer(self.method, url, headers, trusted=trusted)
            except TransferError as error:
                failure = self.failed(f"failed: {error}; check the address and the network", url=url)
                if error.transient:
                    raise _Again(failure) from error
                raise failure from error
            location = transfer.headers.get("location")
            if transfer.status not in REDIRECTS or location is None:
                self._judge(transfer, url)
                return transfer, url
            transfer.drain()
            target = redirect_target(url, location)
            if not self.into_folder and is_folder_of(target, url):
                raise DoesNotExist(f"{masked_url(url)} is a folder, not a value")
            if watch is not None and not watch.follows(url, target):
                raise NotFollowed(str(self.failed(f"redirects to {masked_url(target)}, where it may not go", url=url)))
            trusted = trusted and keeps_secrets(url, target)
            url = target
        raise self.failed(f"was redirected more than {self.client.max_redirects} times", url=self.url)

    def _judge(self, transfer: Transfer, url: str) -> None:
        """Raise for a status that is neither success nor allowed."""
        if transfer.status in self.allow:
            return
        refusal = self.client.refusal(transfer.status, transfer.headers, method=self.method, url=url)
        if refusal is None:
            return
        transfer.drain()
        if isinstance(refusal.error, BackendError) and refusal.passes:
            if self.client.watch is not None:
                self.client.watch.complained(url, refusal.wait)
            raise _Again(refusal.error, refusal.wait)
        raise refusal.error

    def extent(self, transfer: Transfer) -> tuple[int, int | None]:
        """Give the position in the value of the first byte of the body, and the length of the value."""
        if transfer.status != 206:  # noqa: PLR2004 - Partial Content
            return 0, body_length(transfer.headers)
        sent = parse_content_range(transfer.headers.get("content-range"))
        length = body_length(transfer.headers)
        is_odd = sent is None or sent[0] > self.start or sent[1] <= self.start
        if sent is None or is_odd or length not in (None, sent[1] - sent[0]):
            transfer.close()
            raise self.failed(f"was answered with another range than bytes from {self.start:,}", url=self.url)
        return sent[0], sent[2]


class Response:
    """An answer; its body is pulled by the reader, a piece at a time, in bounded memory.

    If the connection breaks inside the body, and the server's validators allow it, the
    rest is asked for again; otherwise an error is raised. A body that is too short is never
    taken for a whole one.

    Attributes:
        status: The status.
        headers: The headers.
        url: The URL that answered, behind all redirects.
        total: Length of the whole value, of which the body may be a part; None if unknown.
        ranged: Whether the server sent only the range that was wanted.
    """

    def __init__(self, asked: _Asked, transfer: Transfer, url: str) -> None:
        self._asked = asked
        self._transfer = transfer
        self._handed_out = False
        self._broken = 0
        self.status: int = transfer.status
        self.headers: Headers = transfer.headers
        self.url = url
        self.ranged = self.status == 206  # noqa: PLR2004 - Partial Content
        self._position, self.total = asked.extent(transfer)

    def chunks(self) -> Iterator[bytes]:
        """Pull the part of the body between ``start`` and ``stop``; it can be pulled once.

        Returns:
            Pieces, none of them empty. They are the same whether or not the server knows ranges.

        Raises:
            BackendError: If the body broke off, and could not be taken up again.
            VersionMismatch: If it broke off, and the value is another one by now.
        """
        start, stop, total = self._asked.start, self._asked.stop, self.total
        end = stop if total is None else total if stop is None else min(stop, total)
        try:
            while end is None or self._position < end:
                piece = self._pull(end if total is not None else None)
                if not piece:
                    return
                skipped = max(start - self._position, 0)
                wanted = piece[skipped : None if end is None else end - self._position]
                self._position += len(piece)
                if wanted:
                    self._handed_out = True
                    yield wanted
            if self.ranged or end == total:
                self._transfer.drain()  # sees the end, so that the connection can be used again
        finally:
            self._transfer.close()

    def read(self, *, limit: int | None = None) -> bytes:
        """Pull the whole body.

        Args:
            limit: The most bytes to take.

        Raises:
            BackendError: If the body is longer than the limit, or breaks off.
        """
        pieces, size = [], 0
        for piece in self.chunks():
            pieces.append(piece)
            size += len(piece)
            if limit is not None and size > limit:
                self.close()
                raise self._asked.failed(f"has more than {limit:,} bytes, the most that is taken here", url=self.url)
        return b"".join(pieces)

    def close(self) -> None:
        """End the answer; what was not pulled is not sent any more."""
        self._transfer.close()

    def _pull(self, end: int | None) -> bytes:
        """Get the next piece, if need be over a new connection; ``b""`` where a body of unknown length ends."""
        failures = 0
        while True:
            try:
                piece = self._transfer.next_piece()
                if piece or end is None:
                    return piece
                raise TransferError(f"the body ended after {self._position:,} of {end:,} bytes", transient=True)
            except TransferError as error:
                failures += 1
                self._broken += 1
                self._take_up(error, failures)

    def _take_up(self, error: TransferError, failures: int) -> None:
        """Ask for the rest of a body that broke off; raise where that cannot be right."""
        asked, etag = self._asked, strong_etag(self.headers)
        broken = asked.failed(f"broke off: {error}; what was read is not whole", url=self.url)
        can_range = self.ranged or self.headers.get("accept-ranges") == "bytes"
        tries = asked.client.retries and asked.client.retries + self._position // _BYTES_A_TRY
        if not error.transient or self._broken > tries or (self._handed_out and not (etag and can_range)):
            raise broken from error
        if self._handed_out:
            bound = {**asked.headers, "If-Match": etag or ""}
            asked = replace(asked, start=self._position, headers=bound, allow=frozenset({412, 416}))
        asked.client.pause(asked.client.delay(failures))
        try:
            transfer, _ = asked.send()
            position, total = asked.extent(transfer)
        except DoesNotExist:
            raise VersionMismatch(f"{masked_url(self.url)} vanished while it was read; read it again") from error
        except BackendError:
            raise broken from error
        self._transfer.close()
        self._transfer = transfer
        if (total, *_validators(transfer.headers)) != (self.total, *_validators(self.headers)):
            transfer.close()
            raise VersionMismatch(f"{masked_url(self.url)} was changed while it was read; read it again") from error
        if self._handed_out and position != self._position:
            transfer.close()
            raise broken from error
        self._position = position


def _validators(headers: Headers) -> tuple[str | None, ...]:
    return headers.get("etag"), headers.get("last-modified"), headers.get("content-encoding")
