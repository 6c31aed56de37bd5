"""What a web server sent -> the target: checked, hashed and stored whole; in threads of their own."""

import hashlib
import re
import time
import zlib
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from mimetypes import guess_type

from anystore.backend import Backend
from anystore.backends.wrap import unwrap
from anystore.crawling.records import Record
from anystore.crawling.storing import Refused, Storing, asked
from anystore.crawling.tasks import Outcome, Task, What, check_rival
from anystore.errors import AnystoreError, BackendError, DoesNotExist, VersionMismatch
from anystore.keys import Key, private_key
from anystore.web.client import Client, Response
from anystore.web.digests import Checksums, expected_digests
from anystore.web.easy import deadline_of
from anystore.web.fetcher import Fetched
from anystore.web.headers import Headers, body_length, parse_http_date, tells_end
from anystore.web.urls import masked_url

_TRIES = 3
_PAGE_START = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*<(?:!--|(?:!doctype\s+html|html|head|body|meta|title|script|style|link|div|p|h1|center|form)\b)",
    re.IGNORECASE,
)
_PAGE_TYPES = ("text/html", "application/xhtml+xml")
_HEAD_BYTES = 1024
_MOST_UNTOLD = 64 << 30  # bytes of a body whose length nobody tells
_OK = 200
_WHOLE = (200, 203)  # the statuses that bring a whole value
_NOT_MODIFIED = 304
_SECOND = timedelta(seconds=1)
_MINUTE = timedelta(minutes=1)
_QUARTER = timedelta(minutes=15)  # zones differ by whole quarters of an hour
_CLOCKS_DIFFER = timedelta(minutes=1)  # of the source and the target
_UNSURE = timedelta(seconds=1)  # a body that takes longer may have been changed on the way
AT_ONCE_BYTES = 64 * 1024
"""A server reads so much in one step, and to store it never leads to another request."""


@dataclass(slots=True)
class Job:
    """A document to fetch; nobody changes it.

    Attributes:
        task: What is known of it.
        url: Where it is, with whatever secrets the URL holds.
        depth: How many folders deep it is.
        redirected: Whether a redirect to another server was met.
    """

    task: Task
    url: str = field(repr=False)
    depth: int
    redirected: bool = False


@dataclass(slots=True)
class _Good:
    """A body to be stored, and what has come of its document when that is done."""

    key: Key
    body: bytes
    outcome: Outcome


class Keeper:
    """Stores documents; safe to share between threads.

    Args:
        target: Where they are stored.
        client: Fetches what is too long to be kept in memory.
        most: The most bytes of a body whose length nobody tells, if there is a limit.
    """

    def __init__(self, target: Backend, client: Client, *, most: int | None = None) -> None:
        self._target = target
        self._batches = unwrap(target)[0].batches
        self._most_untold = _MOST_UNTOLD if most is None else most
        self._client = client

    def store_all(
        self, batch: Sequence[tuple[Job, Fetched]], *, together: bool = False
    ) -> tuple[float, list[tuple[Task, Outcome]]]:
        """Store bodies that have come whole.

        Args:
            batch: Documents and their answers.
            together: Whether the target is asked to take all in one step also if it is none that does so.

        Returns:
            The seconds it took, and what came of each document.
        """
        begun = time.perf_counter()
        judged = [(job.task, self._judge(job, answer)) for job, answer in batch]
        bodies = [(found.key, found.body) for _, found in judged if isinstance(found, _Good)]
        stored = len(bodies) > 1 and (together or self._batches) and self._put_together(bodies)
        outcomes = [
            (task, self._end(found, stored=stored) if isinstance(found, _Good) else found) for task, found in judged
        ]
        return time.perf_counter() - begun, outcomes

    def look_after(self, job: Job) -> Outcome:
        """Check a stored value, or fetch a long one.

        Args:
            job: The document.

        Returns:
            What came of it.
        """
        task = job.task
        try:
            if task.rehashes and not self._is_whole(task):
                return self._fetch(job, heals=True)
            if task.proven:
                return Outcome(what="kept")
            if task.adopts and (adopted := self._adopt(job)) is not None:
                return adopted
            return self._fetch(job)
        except AnystoreError as error:
            return Outcome(what="error", error=error)

    # -- bodies in memory --------------------------------------------------------------

    def _judge(self, job: Job, answer: Fetched) -> "Outcome | _Good":
        """Look whether a body is what it should be; give what came of it, or what is to be stored."""
        task, body, headers = job.task, answer.body or b"", answer.headers
        wrong = _is_wrong(task, headers, len(body))
        if wrong:
            return Outcome(what="error", error=BackendError(f"{masked_url(answer.url)} {wrong}"))
        expected = {**expected_digests(headers), **task.expected}
        sums = Checksums(expected)
        sums.update(body)
        sha256 = sums.sha256
        try:
            if expected:
                sums.check(masked_url(answer.url))
            check_rival(task, sha256)
            if answer.elapsed > _UNSURE and len(body) > AT_ONCE_BYTES and self._has_changed(job.url, headers):
                return self._fetch(job)
        except AnystoreError as error:
            return Outcome(what="error", error=error)
        known = task.known
        if task.held and known is not None and known.sha256 == sha256:
            return _outcome(task, headers, "unchanged", size=sums.size, sha256=sha256, elapsed=answer.elapsed)
        if not is_suspicious(task.listed.key, headers, body[:_HEAD_BYTES]):
            outcome = _outcome(task, headers, "fetched", size=sums.size, sha256=sha256, elapsed=answer.elapsed)
            return _Good(Key(task.listed.key), body, outcome)
        try:
            return _Good(suspicious_key(task.listed.key), body, _page_instead(task, answer.url))
        except AnystoreError as error:
            return Outcome(what="error", error=error, by_target=True)

    def _put_together(self, bodies: list[tuple[Key, bytes]]) -> bool:
        try:
            self._target.put_many(bodies)
        except AnystoreError:  # of which of them, each one will tell; those that are stored are stored again
            return False
        return True

    def _end(self, good: "_Good", *, stored: bool) -> Outcome:
        try:
            if not stored:
                self._target.put(good.key, good.body)
        except AnystoreError as error:
            return Outcome(what="error", error=error, by_target=True)
        return good.outcome

    # -- long bodies ---------------------------------------------------------------------

    def _fetch(self, job: Job, *, heals: bool = False) -> Outcome:
        came: set[str] = set()
        for attempt in range(1, _TRIES + 1):
            try:
                return self._fetch_once(job, came, heals=heals)
            except VersionMismatch:  # it was changed while it came
                if attempt == _TRIES:
                    raise
            except Refused as refused:
                return Outcome(what="error", error=refused.error, by_target=True)
        raise AssertionError

    def _fetch_once(self, job: Job, came: set[str], *, heals: bool) -> Outcome:
        task, begun = job.task, time.monotonic()
        headers = {} if heals else conditions(task)
        allow = (304,) if headers else ()
        with closing(self._client.request("GET", job.url, headers=headers, allow=allow, into_folder=False)) as answer:
            elapsed = timedelta(seconds=time.monotonic() - begun)
            if answer.status == _NOT_MODIFIED:
                return unchanged(task, answer.headers, elapsed=elapsed)
            if answer.status not in _WHOLE:
                where = masked_url(answer.url)
                raise BackendError(f"{where} was answered with status {answer.status}, which brings no whole value")
            return self._store_stream(job, answer, elapsed, came, heals=heals)

    def _store_stream(self, job: Job, answer: Response, elapsed: timedelta, came: set[str], *, heals: bool) -> Outcome:
        task = job.task
        sums = Checksums({**expected_digests(answer.headers), **task.expected})
        begun, where = time.monotonic(), masked_url(answer.url)
        pieces = answer.chunks()
        first = next(pieces, b"")
        suspicious = is_suspicious(task.listed.key, answer.headers, first[:_HEAD_BYTES])
        key = asked(lambda: suspicious_key(task.listed.key)) if suspicious else Key(task.listed.key)
        with Storing(self._target, key) as value:
            piece = first
            while piece:
                sums.update(piece)
                value.write(piece)
                self._check_pace(where, sums.size, seconds=time.monotonic() - begun, told=answer.total is not None)
                piece = next(pieces, b"")
            if answer.total not in (None, sums.size):
                raise BackendError(f"{where} has {answer.total:,} bytes, and {sums.size:,} came")
            wrong = _is_wrong(task, answer.headers, sums.size)
            if wrong:
                raise BackendError(f"{where} {wrong}")
            sums.check(where)
            if not suspicious:
                check_rival(task, sums.sha256)
            if time.monotonic() - begun > _UNSURE.total_seconds() and sums.sha256 not in came:
                came.add(sums.sha256)  # a server that tells other validators each time has to bring the same twice
                if self._has_changed(job.url, answer.headers):
                    raise VersionMismatch(f"{where} was changed while it came, again and again; crawl again")
        if suspicious:
            return _page_instead(task, answer.url)
        is_same = task.held and task.known is not None and task.known.sha256 == sums.sha256
        what: What = "healed" if heals else "unchanged" if is_same else "fetched"
        return _outcome(task, answer.headers, what, size=sums.size, sha256=sums.sha256, elapsed=elapsed)

    def _has_changed(self, url: str, headers: Headers) -> bool:
        """Ask whether a document is another one than came, in whole or in part, with some headers."""
        then = (headers.get("etag"), headers.get("last-modified"), body_length(headers))
        asks = {"If-None-Match": then[0], "If-Modified-Since": then[1]}
        conditional = {name: text for name, text in asks.items() if text}
        try:
            answer = self._client.request("GET", url, headers=conditional, allow=(304,), into_folder=False)
        except DoesNotExist:
            return False  # what came was whole
        with closing(answer):
            if answer.status == _NOT_MODIFIED:
                return False
            now = (answer.headers.get("etag"), answer.headers.get("last-modified"), answer.total)
            return any(None not in pair and pair[0] != pair[1] for pair in zip(then, now, strict=True))

    def _check_pace(self, where: str, size: int, *, seconds: float, told: bool) -> None:
        """Raise for a body that comes too slowly, is endless, or is not wanted any more."""
        if self._client.is_unwanted():
            raise BackendError(f"{where} was given up, since the crawl has ended")
        if seconds > deadline_of(size, timeout=self._client.timeout):
            raise BackendError(f"{where} sent {size:,} bytes in {seconds:,.0f} seconds; it is too slow")
        if not told and size > self._most_untold:
            most = self._most_untold
            raise BackendError(f"{where} tells no length, and sent more than {most:,} bytes; it seems endless")

    # -- values that are there already ---------------------------------------------------

    def _is_whole(self, task: Task) -> bool:
        """Tell whether a stored value still has the checksum with which it was fetched."""
        try:
            return task.known is not None and self._checksum(task.listed.key)[0] == task.known.sha256
        except (DoesNotExist, VersionMismatch):
            return False

    def _adopt(self, job: Job) -> Outcome | None:
        """Take a value that a killed crawl has stored, if that was after its last change; it is hashed, not fetched."""
        task, begun = job.task, time.monotonic()
        try:
            entry = self._target.stat(Key(task.listed.key))
        except DoesNotExist:
            return None
        if task.adopts is None or entry.modified is None or entry.modified < task.adopts - _CLOCKS_DIFFER:
            return None
        with closing(
            self._client.request("HEAD", job.url, allow=(400, 403, 405, 500, 501), into_folder=False)
        ) as answer:
            elapsed = timedelta(seconds=time.monotonic() - begun)
            changed = parse_http_date(answer.headers.get("last-modified"))
            if answer.status != _OK or changed is None:
                return None
            if answer.total != entry.size or changed + _CLOCKS_DIFFER > entry.modified:
                return None
            sha256, size = self._checksum(task.listed.key)
            if size != answer.total or task.expected.get("sha256", bytes.fromhex(sha256)) != bytes.fromhex(sha256):
                return None
            return _outcome(task, answer.headers, "unchanged", size=size, sha256=sha256, elapsed=elapsed)

    def _checksum(self, key: str) -> tuple[str, int]:
        digest, size = hashlib.sha256(), 0
        with self._target.reader(Key(key)) as reader:
            for piece in reader.read():
                digest.update(piece)
                size += len(piece)
        return digest.hexdigest(), size


def conditions(task: Task) -> dict[str, str]:
    """Give the headers that ask for a document only if it is another one than the target holds."""
    known = task.known
    if known is None or known.sha256 is None or not task.held or task.audits:
        return {}
    if task.listed.size not in (None, known.size) or _shows_change(task, known):  # whatever the validators say
        return {}
    if task.expected.get("sha256", bytes.fromhex(known.sha256)) != bytes.fromhex(known.sha256):
        return {}
    headers = {}
    if known.etag:
        headers["If-None-Match"] = known.etag
    if known.last_modified:
        headers["If-Modified-Since"] = known.last_modified
    return headers


def _shows_change(task: Task, known: Record) -> bool:
    """Tell whether a listing that spoke true of a document now says another thing, beside a time of another zone."""
    before, now = known.listed, task.listed.shown
    if not known.settled or before is None or now is None or before == now:
        return False
    (size, then), (new_size, new_time) = before.split(" "), now.split(" ")
    moved = datetime.fromisoformat(new_time) - datetime.fromisoformat(then)
    return size != new_size or bool(moved % _QUARTER)


def unchanged(task: Task, headers: Headers, *, elapsed: timedelta) -> Outcome:
    """Make the outcome of an answer that says that nothing has changed; headers it leaves out are as they were."""
    known = task.known
    if known is None:
        raise AssertionError(task.listed.key)  # conditions() gives headers for known documents alone
    before = {"etag": known.etag, "last-modified": known.last_modified, "content-type": known.mimetype}
    both = Headers([*((name, text) for name, text in before.items() if text and name not in headers), *headers.items()])
    return _outcome(task, both, "unchanged", size=known.size, sha256=known.sha256, elapsed=elapsed)


def _outcome(
    task: Task, headers: Headers, what: What, *, size: int | None, sha256: str | None, elapsed: timedelta
) -> Outcome:
    last_modified = headers.get("last-modified")
    changed, date = parse_http_date(last_modified), parse_http_date(headers.get("date"))
    # Servers make their validators of whole seconds: until that of the last change is over, they prove nothing.
    proves = changed is None or date is None or changed + _SECOND <= date - elapsed
    return Outcome(
        what=what,
        size=size,
        sha256=sha256,
        etag=headers.get("etag") if proves else None,
        last_modified=last_modified if proves else None,
        modified=changed,
        mimetype=headers.get("content-type", "").partition(";")[0].strip().lower() or None,
        settled=task.listed.size in (None, size) and _is_settled(task, changed, date, elapsed=elapsed),
    )


def _is_settled(task: Task, changed: datetime | None, date: datetime | None, *, elapsed: timedelta) -> bool:
    """Tell whether a later change must show in the listing.

    The time that the listing tells stands for a second or a minute. Only if that was over before the document was
    asked for, by the server's own clock, a change after it has another time.
    """
    shown = task.listed.time
    if shown is None or changed is None or date is None:
        return False
    granule = _SECOND if task.listed.fine else _MINUTE
    floor = changed if task.listed.fine else changed.replace(second=0)
    if (shown - floor) % _QUARTER:  # the listing speaks of another time
        return False
    return floor + granule <= date - elapsed


def _is_wrong(task: Task, headers: Mapping[str, str], size: int) -> str | None:
    """Say why a body is not the document that was listed, though it came in good order."""
    listed = task.listed.size
    packed = headers.get("content-encoding", "identity").strip().lower()
    if packed not in ("", "identity") and size != listed and guess_type(task.listed.key)[1] is None:
        return f"came packed as {packed}, though it was asked for as it is; it was not stored"
    if listed is not None and size != listed and not tells_end(headers):
        return f"told no length and brought {size:,} bytes, where {listed:,} are listed; it may have been cut off"
    return None


def is_suspicious(key: str, headers: Mapping[str, str], start: bytes) -> bool:
    """Tell whether a web page, such as a login, came in the place of a document.

    Args:
        key: The document's key; its suffix says what it should be.
        headers: The headers of the answer.
        start: The first bytes of the body.
    """
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in (*_PAGE_TYPES, ""):
        return False
    expected, packing = guess_type(key)
    if expected in (None, *_PAGE_TYPES) and packing is None:
        return False
    if headers.get("content-encoding", "").strip().lower() in ("gzip", "x-gzip", "deflate"):
        if expected in _PAGE_TYPES:  # a packed page is what was listed
            return False
        with suppress(zlib.error):
            start = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32).decompress(start, _HEAD_BYTES)
    return bool(_PAGE_START.match(start))


def suspicious_key(key: str) -> Key:
    """Give the key below which a page is kept that came in the place of a document."""
    return private_key(f"suspicious/{key}")


def _page_instead(task: Task, url: str) -> Outcome:
    return Outcome(
        what="suspicious",
        error=BackendError(
            f"{masked_url(url)} answered with a web page; it is kept as {str(suspicious_key(task.listed.key))!r}, and "
            "the document is as it was: see whether the server wants a login"
        ),
    )
