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
from anystore.crawling.run import Outcome, Task, What
from anystore.errors import AnystoreError, BackendError, DoesNotExist, VersionMismatch
from anystore.keys import Key, private_key
from anystore.web.client import Client, Response
from anystore.web.digests import Checksums, expected_digests
from anystore.web.fetcher import Fetched, deadline_of
from anystore.web.headers import Headers, parse_http_date
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
_NOT_MODIFIED = 304
_QUARTER = timedelta(minutes=15)  # zones differ by whole quarters of an hour


@dataclass(frozen=True, slots=True)
class Job:
    """A document to fetch.

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


class Keeper:
    """Stores documents; safe to share between threads.

    Args:
        target: Where they are stored.
        client: Fetches what is too long to be kept in memory.
        most: The most bytes of a body whose length nobody tells, if there is a limit.
    """

    def __init__(self, target: Backend, client: Client, *, most: int | None = None) -> None:
        self._target = target
        self._most_untold = _MOST_UNTOLD if most is None else most
        self._client = client

    def store_all(self, batch: Sequence[tuple[Job, Fetched]]) -> tuple[float, list[tuple[Task, Outcome]]]:
        """Store bodies that have come whole.

        Args:
            batch: Documents and their answers.

        Returns:
            The seconds it took, and what came of each document.
        """
        begun = time.perf_counter()
        outcomes = [(job.task, self._store(job.task, answer)) for job, answer in batch]
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
            if task.proven:
                if self._is_whole(task):
                    return Outcome(what="kept")
                return self._fetch(job, heals=True)
            if task.adopts and (adopted := self._adopt(job)) is not None:
                return adopted
            return self._fetch(job)
        except AnystoreError as error:
            return Outcome(what="error", error=error)

    # -- bodies in memory --------------------------------------------------------------

    def _store(self, task: Task, answer: Fetched) -> Outcome:
        body, headers = answer.body or b"", answer.headers
        wrong = _is_wrong(task, headers, len(body))
        if wrong:
            return Outcome(what="error", error=BackendError(f"{masked_url(answer.url)} {wrong}"))
        sums = Checksums(expected_digests(headers) | task.expected)
        sums.update(body)
        try:
            sums.check(masked_url(answer.url))
        except BackendError as error:
            return Outcome(what="error", error=error)
        known = task.known
        if task.held and known is not None and known.sha256 == sums.sha256:
            return _outcome(task, headers, "unchanged", size=sums.size, sha256=sums.sha256, elapsed=answer.elapsed)
        suspicious = is_suspicious(task.listed.key, headers, body[:_HEAD_BYTES])
        try:
            key = suspicious_key(task.listed.key) if suspicious else Key(task.listed.key)
            self._target.put(key, body)
        except AnystoreError as error:
            return Outcome(what="error", error=error, by_target=True)
        if suspicious:
            return _page_instead(task, answer.url)
        return _outcome(task, headers, "fetched", size=sums.size, sha256=sums.sha256, elapsed=answer.elapsed)

    # -- long bodies ---------------------------------------------------------------------

    def _fetch(self, job: Job, *, heals: bool = False) -> Outcome:
        for attempt in range(1, _TRIES + 1):
            try:
                return self._fetch_once(job, heals=heals)
            except VersionMismatch:  # it was changed while it came
                if attempt == _TRIES:
                    raise
        raise AssertionError

    def _fetch_once(self, job: Job, *, heals: bool) -> Outcome:
        task, begun = job.task, time.monotonic()
        headers = {} if heals else conditions(task)
        allow = (304,) if headers else ()
        with closing(self._client.request("GET", job.url, headers=headers, allow=allow, into_folder=False)) as answer:
            elapsed = timedelta(seconds=time.monotonic() - begun)
            if answer.status == _NOT_MODIFIED:
                return unchanged(task, answer.headers, elapsed=elapsed)
            if answer.status != _OK:
                where = masked_url(answer.url)
                raise BackendError(f"{where} was answered with status {answer.status}, which brings no whole value")
            return self._store_stream(task, answer, elapsed, heals=heals)

    def _store_stream(self, task: Task, answer: Response, elapsed: timedelta, *, heals: bool) -> Outcome:
        sums = Checksums(expected_digests(answer.headers) | task.expected)
        begun, where = time.monotonic(), masked_url(answer.url)
        pieces = answer.chunks()
        first = next(pieces, b"")
        suspicious = is_suspicious(task.listed.key, answer.headers, first[:_HEAD_BYTES])
        try:
            key = suspicious_key(task.listed.key) if suspicious else Key(task.listed.key)
            writer = self._target.writer(key)
        except AnystoreError as error:
            return Outcome(what="error", error=error, by_target=True)
        with writer:
            piece = first
            while piece:
                sums.update(piece)
                writer.write(piece)
                self._check_pace(where, sums.size, seconds=time.monotonic() - begun, told=answer.total is not None)
                piece = next(pieces, b"")
            if answer.total not in (None, sums.size):
                raise BackendError(f"{where} has {answer.total:,} bytes, and {sums.size:,} came")
            wrong = _is_wrong(task, answer.headers, sums.size)
            if wrong:
                raise BackendError(f"{where} {wrong}")
            sums.check(where)
        if suspicious:
            return _page_instead(task, answer.url)
        what: What = "healed" if heals else "fetched"
        return _outcome(task, answer.headers, what, size=sums.size, sha256=sums.sha256, elapsed=elapsed)

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
        """Take a value of the target that the journal does not know, if it was stored after its last change."""
        task, begun = job.task, time.monotonic()
        entry = self._target.stat(Key(task.listed.key))
        with closing(
            self._client.request("HEAD", job.url, allow=(400, 403, 405, 500, 501), into_folder=False)
        ) as answer:
            elapsed = timedelta(seconds=time.monotonic() - begun)
            changed = parse_http_date(answer.headers.get("last-modified"))
            if answer.status != _OK or changed is None or entry.modified is None:
                return None
            if answer.total != entry.size or changed + timedelta(minutes=1) > entry.modified:
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
    if task.listed.size not in (None, known.size):  # whatever the server's validators say
        return {}
    if task.expected.get("sha256", bytes.fromhex(known.sha256)) != bytes.fromhex(known.sha256):
        return {}
    headers = {}
    if known.etag:
        headers["If-None-Match"] = known.etag
    if known.last_modified:
        headers["If-Modified-Since"] = known.last_modified
    return headers


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
    proves = changed is None or date is None or changed + timedelta(seconds=1) <= date - elapsed
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
    granule = timedelta(seconds=1) if task.listed.fine else timedelta(minutes=1)
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
    if listed is not None and size != listed and not {"content-length", "transfer-encoding"} & set(headers):
        return f"told no length and brought {size:,} bytes, where {listed:,} are listed; it may have been cut off"
    return None


def is_suspicious(key: str, headers: Mapping[str, str], start: bytes) -> bool:
    """Tell whether a web page, such as a login, came in the place of a document.

    Args:
        key: The document's key; its suffix says what it should be.
        headers: The headers of the answer.
        start: The first bytes of the body.
    """
    expected, packing = guess_type(key)
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if (expected in (None, *_PAGE_TYPES) and packing is None) or kind not in (*_PAGE_TYPES, ""):
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
