"""Many requests at a time, driven by one thread: for crawls, where most bodies are small.

One multi handle of libcurl keeps the connections; each host has a limit of its own, which
listings and documents share. A body that is longer than its request allows is not taken:
whoever asked fetches it by a :class:`~anystore.web.client.Client`, piece by piece.
"""

import heapq
import os
import re
import select
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from threading import Lock
from typing import Any

import pycurl

from anystore.errors import AnystoreError, BackendError
from anystore.web.client import LONGEST_WAIT, REDIRECTS, Client
from anystore.web.easy import Easy
from anystore.web.headers import Headers, parse_retry_after
from anystore.web.limits import HostLimit, ListingLimit
from anystore.web.transfer import TransferError
from anystore.web.urls import keeps_secrets, masked_url, origin_of, redirect_target

_URGENT_TURNS = 4  # of so many turns one is for what is not urgent, lest that waits for ever
_MOST_GIVEN_UP = 20  # requests in a row; whoever is still busy then is not asked any more
_LONGEST_REFUSAL = 900.0  # seconds in which a host has answered nothing, however often it says when to come back
_WHOLE = frozenset({200, 203})  # the statuses that bring a whole value, where no part of it was asked for
_MULTI_STATUS = 207
_BUSY_TRIES = 3  # times as many: a busy server says no to whoever comes
_FILE_SIZE_EXCEEDED = pycurl.E_FILESIZE_EXCEEDED
_READABLE = select.POLLIN | select.POLLHUP | select.POLLERR
_WRITABLE = select.POLLOUT | select.POLLHUP | select.POLLERR
_MORE_THAN_HOST = re.compile(r"[?#]")


@dataclass(slots=True, kw_only=True)
class Fetch:
    """One request to make.

    Attributes:
        url: What to ask for.
        tag: Whatever the caller wants to find in the answer.
        headers: More headers of this request.
        limit: The most bytes of a body to take.
        allow: Statuses besides those of success that are answers, such as 304.
        method: The method.
        body: What is sent along, or None.
        lists: Whether a folder is listed, which some servers do for few at a time.
    """

    url: str
    tag: Any
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    limit: int
    allow: frozenset[int] = frozenset()
    method: str = "GET"
    body: bytes | None = None
    lists: bool = False
    # how far it has come
    at: str = ""
    trusted: bool = True
    redirects: int = 0
    failures: int = 0


@dataclass(slots=True, kw_only=True)
class Fetched:
    """What came of a request; nobody changes it.

    Attributes:
        fetch: The request.
        url: Who answered, behind all redirects.
        status: The status, or 0 if there was no answer.
        headers: The headers.
        body: The body; None if it is longer than the limit, and was not taken.
        error: Why there is no good answer, or None.
        elapsed: How long it took.
    """

    fetch: Fetch
    url: str
    status: int
    headers: Headers
    body: bytes | None
    error: AnystoreError | None
    elapsed: timedelta


class _Host:
    """The requests that wait for one host."""

    def __init__(self, limit: HostLimit) -> None:
        self.limit = limit
        self.listing_limit = ListingLimit(limit.clock)
        self.urgent: deque[Fetch] = deque()
        self.listings: deque[Fetch] = deque()
        self.waiting: deque[Fetch] = deque()
        self.given_up = 0
        self.refuses_since: float | None = None
        self._turn = 0
        self.closed: str | None = None
        """Why it is not asked any more."""

    def answered(self) -> None:
        self.limit.answered()
        self.given_up, self.refuses_since = 0, None

    @property
    def has_next(self) -> bool:
        return bool(self.urgent or self.waiting or self._next_may_list)

    @property
    def _next_may_list(self) -> bool:
        return bool(self.listings) and (self.listing_limit.has_room or self.closed is not None)

    def next(self) -> Fetch:
        self._turn = (self._turn + 1) % _URGENT_TURNS
        if self.waiting and not self._turn:
            return self.waiting.popleft()
        if self.urgent:
            return self.urgent.popleft()
        return (self.listings if self._next_may_list else self.waiting).popleft()


@dataclass(slots=True)
class _Running:
    easy: Easy
    fetch: Fetch
    host: _Host
    began: float


class Fetcher:
    """Runs requests, as many at a time as their hosts bear.

    Args:
        client: Says how requests look, and what answers mean.
        most: Gives the most requests at a time for a URL's host.
        follows: Tells whether a redirect from one URL to another may be followed.
        clock: Tells monotonic seconds.
    """

    def __init__(
        self,
        client: Client,
        *,
        most: Callable[[str], int],
        follows: Callable[[str, str], bool] = lambda source, target: True,  # noqa: ARG005 - all of them
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._most = most
        self._follows = follows
        self._clock = clock
        self._hosts: dict[tuple[str, str, int], _Host] = {}
        self._running: dict[pycurl.Curl, _Running] = {}
        self._idle: list[Easy] = []
        self._later: list[tuple[float, int, Fetch]] = []
        self._numbers = count()
        self._done: list[Fetched] = []
        self._recent: tuple[str, _Host] = "\0", _Host(HostLimit(1, clock=clock))
        self.pending = 0
        """How many requests have no answer yet."""
        self._timer: float | None = None
        # libcurl looks at each connection anew for each request: with poll() that is no call of the system, and there
        # are never more than some dozens of them
        self._poll = select.poll()
        self._wake_lock = Lock()
        self._wakes: tuple[int, ...] = os.pipe()
        for end in self._wakes:
            os.set_blocking(end, False)
        self._poll.register(self._wakes[0], select.POLLIN)
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)

    # -- for the caller ------------------------------------------------------

    def add(self, fetch: Fetch, *, urgent: bool = False) -> None:
        """Queue a request; urgent ones go before most that are not."""
        fetch.at = fetch.at or fetch.url
        self.pending += 1
        self._queue(fetch, urgent=urgent)

    def _queue(self, fetch: Fetch, *, urgent: bool) -> None:
        host = self._host(fetch.at)
        (host.listings if fetch.lists else host.urgent if urgent else host.waiting).append(fetch)

    def list_singly(self, url: str) -> None:
        """Ask a URL's host for one listing at a time at first, since it is known to refuse a second one."""
        self._host(url).listing_limit.take_singly()

    def limit(self, url: str) -> HostLimit:
        """Give the limit of a URL's host, so that other requests can be counted by it."""
        return self._host(url).limit

    def step(self, timeout: float = 1.0, *, starts: bool = True) -> list[Fetched]:
        """Let requests run until some have ended, or a time is over, or somebody wakes the fetcher.

        Args:
            timeout: The most seconds to wait.
            starts: Whether requests that wait may be sent.

        Returns:
            What has ended.
        """
        if starts:
            self._start_all()
        if not self._done:
            for descriptor, events in self._poll.poll(self._pause(timeout, starts=starts) * 1000):
                if descriptor == self._wakes[0]:
                    with suppress(BlockingIOError):
                        os.read(descriptor, 1 << 16)
                else:
                    readable = pycurl.CSELECT_IN if events & _READABLE else 0
                    writable = pycurl.CSELECT_OUT if events & _WRITABLE else 0
                    self._multi.socket_action(descriptor, readable | writable)
            self._serve_timer()
            self._collect()
            if starts and self._done:  # so that the servers have something to do while the answers are looked at
                self._start_all()
                self._serve_timer()
                self._collect()  # a near server may have answered by now, of which poll() would never tell
        done, self._done = self._done, []
        self.pending -= len(done)
        return done

    def _serve_timer(self) -> None:
        if self._timer is not None and self._clock() >= self._timer:
            self._timer = None
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)

    def wake(self) -> None:
        """End a running :meth:`step` early; for other threads, which may still do so when it is closed."""
        with self._wake_lock, suppress(BlockingIOError):
            if self._wakes:
                os.write(self._wakes[1], b"\0")

    def close(self) -> None:
        """End everything; requests that run get no answer."""
        for curl, running in self._running.items():
            self._multi.remove_handle(curl)
            running.easy.close()
        for easy in self._idle:
            easy.close()
        self._running.clear()
        self._idle.clear()
        self._multi.close()
        with self._wake_lock:
            ends, self._wakes = self._wakes, ()
        for end in ends:
            os.close(end)

    # -- starting --------------------------------------------------------------

    def _host(self, url: str) -> _Host:
        if url.startswith(self._recent[0]):
            return self._recent[1]
        origin = origin_of(url)
        host = self._hosts.get(origin)
        if host is None:
            host = self._hosts[origin] = _Host(HostLimit(self._most(url), clock=self._clock))
        start = url.split("/", 3)[:3]
        if len(start) == 3 and not _MORE_THAN_HOST.search(start[2]):  # noqa: PLR2004 - scheme, nothing, host
            self._recent = "/".join((*start, "")), host
        return host

    def _start_all(self) -> None:
        now = self._clock()
        while self._later and self._later[0][0] <= now:
            self._queue(heapq.heappop(self._later)[2], urgent=True)
        for host in self._hosts.values():
            while host.closed and host.has_next:
                fetch = host.next()
                error = self._client.failed(f"was not sent: {host.closed}", method=fetch.method, url=fetch.at)
                self._done.append(_no_answer(fetch, error))
            while host.has_next and host.limit.wait() == 0.0:
                self._start(host.next(), host)

    def _start(self, fetch: Fetch, host: _Host) -> None:
        easy = self._idle.pop() if self._idle else Easy()
        try:
            easy.set_up(
                self._client,
                fetch.at,
                method=fetch.method,
                headers=fetch.headers,
                trusted=fetch.trusted,
                limit=fetch.limit,
                body=fetch.body,
            )
        except (pycurl.error, UnicodeError):  # a link may spell anything
            self._idle.append(easy)
            error = self._client.failed("cannot be sent: it is no URL", method=fetch.method, url=fetch.at)
            self._done.append(_no_answer(fetch, error))
            return
        self._running[easy.curl] = _Running(easy, fetch, host, self._clock())
        host.limit.started()
        if fetch.lists:
            host.listing_limit.started()
        self._multi.add_handle(easy.curl)

    def _pause(self, timeout: float, *, starts: bool) -> float:
        now = self._clock()
        moments = [timeout]
        if self._timer is not None:
            moments.append(self._timer - now)
        if self._later and starts:
            moments.append(self._later[0][0] - now)
        for host in self._hosts.values():
            if starts and host.has_next:
                wait = host.limit.wait()
                moments.append(timeout if wait is None else wait)
        return max(min(moments), 0.0)

    # -- libcurl's callbacks -----------------------------------------------------

    def _watch(self, what: int, descriptor: int, _multi: object, _assigned: object) -> None:
        if what == pycurl.POLL_REMOVE:
            with suppress(KeyError):  # it was closed before it was ever watched
                self._poll.unregister(descriptor)
            return
        events = select.POLLIN if what & pycurl.POLL_IN else 0
        self._poll.register(descriptor, events | (select.POLLOUT if what & pycurl.POLL_OUT else 0))

    def _set_timer(self, milliseconds: int) -> None:
        self._timer = None if milliseconds < 0 else self._clock() + milliseconds / 1000

    # -- ending ------------------------------------------------------------------

    def _collect(self) -> None:
        left = 1
        while left:
            left, good, bad = self._multi.info_read()
            for curl in good:
                self._finish(curl, None)
            for curl, code, message in bad:
                self._finish(curl, (code, message))

    def _finish(self, curl: pycurl.Curl, failure: tuple[int, str] | None) -> None:
        running = self._running.pop(curl)
        self._multi.remove_handle(curl)
        easy, fetch = running.easy, running.fetch
        self._idle.append(easy)
        if fetch.lists:
            running.host.listing_limit.ended()
        status, headers, taken = easy.take()
        body: bytes | None = taken
        if failure is not None and failure[0] == _FILE_SIZE_EXCEEDED:
            failure, body = None, None
        if failure is not None:
            self._fail(running, easy.failure(*failure), status=status, headers=headers)
            return
        location = headers.get("location") if status in REDIRECTS else None
        if location is not None:
            running.host.answered()
            self._redirect(running, location, status=status, headers=headers)
            return
        if status not in _WHOLE and 200 <= status < 300 and not (status == _MULTI_STATUS and fetch.method != "GET"):  # noqa: PLR2004 - success
            running.host.answered()
            what = f"was answered with status {status}, which brings no whole value"
            self._give(running, status, headers, b"", self._client.failed(what, method=fetch.method, url=fetch.at))
            return
        refusal = None
        if status not in fetch.allow:
            refusal = self._client.refusal(status, headers, method=fetch.method, url=fetch.at)
        if refusal is not None and refusal.passes:
            wait = refusal.wait
            if wait is None:
                wait = parse_retry_after(headers.get("retry-after"), now=datetime.now(UTC))
            if self._again(running, wait, busy=refusal.busy):
                return
        else:
            running.host.answered()
        self._give(running, status, headers, body, refusal.error if refusal else None)

    def _fail(self, running: _Running, error: TransferError, *, status: int, headers: Headers) -> None:
        if error.transient and self._again(running, None):
            return
        if not error.transient:
            running.host.answered()
        fetch = running.fetch
        what = f"failed: {error}; check the address and the network"
        self._give(running, status, headers, b"", self._client.failed(what, method=fetch.method, url=fetch.at))

    def _again(self, running: _Running, wait: float | None, *, busy: bool = False) -> bool:
        """Queue a request once more, if it has tries left; its host gets fewer requests either way."""
        fetch, host = running.fetch, running.host
        fetch.failures += 1
        tries = self._client.retries * (_BUSY_TRIES if busy else 1)
        if host.refuses_since is None:
            host.refuses_since = self._clock()
        refuses = self._clock() - host.refuses_since
        is_crowded = busy and fetch.lists and host.listing_limit.is_crowded(began=running.began)
        gives_up = fetch.failures > tries or refuses > _LONGEST_REFUSAL or (wait is not None and wait > LONGEST_WAIT)
        host.limit.complained(began=running.began, wait=0.0 if gives_up or wait is None else wait)
        if gives_up:
            self._give_up(host, wait, refuses)
            return False
        if wait is not None:
            pause = wait
        elif is_crowded and fetch.failures == 1:
            pause = 0.0  # it was asked for beside others, and is so no more; should it be refused again, it waits
        else:
            pause = self._client.delay(fetch.failures)
        heapq.heappush(self._later, (self._clock() + pause, next(self._numbers), fetch))
        return True

    def _give_up(self, host: _Host, wait: float | None, refuses: float) -> None:
        """Ask a host no more that wants it so for longer than anybody waits, or that answers nobody."""
        host.given_up += 1
        if wait is not None and wait > LONGEST_WAIT:
            host.closed = f"its server asked to come back after {wait:,.0f} seconds"
        elif refuses > _LONGEST_REFUSAL:
            host.closed = f"its server has answered no request for {refuses:,.0f} seconds"
        elif host.given_up >= _MOST_GIVEN_UP:
            host.closed = f"its server failed for {host.given_up} requests in a row, each tried again and again"

    def _redirect(self, running: _Running, location: str, *, status: int, headers: Headers) -> None:
        fetch = running.fetch
        fetch.redirects += 1
        try:
            target = redirect_target(fetch.at, location)
            if fetch.redirects > self._client.max_redirects:
                what = f"was redirected more than {self._client.max_redirects} times"
                raise self._client.failed(what, method=fetch.method, url=fetch.url)
            if not self._follows(fetch.at, target):
                what = (
                    f"redirects to {masked_url(target)}, which this crawl may not visit; allow its host, or ask there"
                )
                raise self._client.failed(what, method=fetch.method, url=fetch.at)
        except BackendError as error:
            self._give(running, status, headers, b"", error)
            return
        fetch.trusted = fetch.trusted and keeps_secrets(fetch.at, target)
        fetch.at = target
        self._queue(fetch, urgent=True)

    def _give(
        self, running: _Running, status: int, headers: Headers, body: bytes | None, error: AnystoreError | None
    ) -> None:
        fetch = running.fetch
        self._done.append(
            Fetched(
                fetch=fetch,
                url=fetch.at,
                status=status,
                headers=headers,
                body=body,
                error=error,
                elapsed=timedelta(seconds=self._clock() - running.began),
            )
        )


def _no_answer(fetch: Fetch, error: AnystoreError) -> Fetched:
    return Fetched(fetch=fetch, url=fetch.at, status=0, headers=Headers(), body=b"", error=error, elapsed=timedelta())
