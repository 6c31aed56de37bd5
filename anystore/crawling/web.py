"""A crawl of what web servers list: the walk and the fetching go on side by side.

One thread drives the requests; others only store what has come, and fetch long bodies piece
by piece. Listings and documents share the limit of their host.
"""

import hashlib
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain, islice
from threading import Lock

from anystore.backends.http import HttpBackend
from anystore.crawling.frontier import Frontier, Page
from anystore.crawling.keeping import Job, Keeper, conditions, unchanged
from anystore.crawling.pages import MAX_PAGE_BYTES, is_loop, leads_into_folder, listed_of, page_of, signature
from anystore.crawling.policy import Policy, robots_url
from anystore.crawling.run import CrawlRun
from anystore.crawling.storers import Storers
from anystore.crawling.tasks import Listed, Outcome
from anystore.errors import AnystoreError, BackendError
from anystore.keys import PRIVATE_FOLDER, is_key
from anystore.web.addresses import AddressGuard, is_proxied
from anystore.web.client import LONGEST_WAIT, REDIRECTS, own_name
from anystore.web.digests import SUMS_NAMES, parse_sums
from anystore.web.fetcher import Fetch, Fetched, Fetcher
from anystore.web.headers import Headers
from anystore.web.limits import HostLimit
from anystore.web.listing import ListedEntry, Listing, is_cut_off, parse_listing
from anystore.web.robots import parse_robots
from anystore.web.urls import decoded_path, keeps_secrets, masked_url, origin_of
from anystore.web.walk import MAX_FOLDERS
from anystore.web.watching import NotFollowed, Watch

_SMALL_BYTES = 1 << 20  # what a document may have to be kept in memory until it is stored
_MAX_ROBOTS_BYTES = 512 * 1024
_MAX_SUMS_BYTES = 8 << 20
_MOST_WAITING = 1000  # documents that wait to be fetched, before the walk waits for them
_MOST_PAGES = 16  # listings that are on their way, or have come and are not read
_LISTS_SINGLY = "lighttpd"  # refuses a listing that it is asked for while it makes another one
_PAGES_BYTES = 16 << 20  # about how long they are together
_LONG_THREADS = 4
_TRIES = 3
_IDENTITY = {"Accept-Encoding": "identity"}
_ACCEPT = {"Accept": "application/json, text/html;q=0.9, application/xml;q=0.8, */*;q=0.1"} | _IDENTITY
_WEBDAV = {"Depth": "1", "Content-Type": "application/xml; charset=utf-8"} | _IDENTITY
_WEBDAV_BODY = (
    b'<?xml version="1.0" encoding="utf-8"?><propfind xmlns="DAV:"><prop><resourcetype/><getcontentlength/>'
    b"<getlastmodified/></prop></propfind>"
)
_TOO_MANY = 429
_MAY_BE_WEBDAV = (200, 400, 403, 404, 405, 501)
_NOT_MODIFIED = frozenset({304})
_NOTHING_ELSE: frozenset[int] = frozenset()
_INDEX = "index.html"
_PER_HOST = 8
_PER_HOST_LOOPBACK = 32
_PORTION = 500  # documents of one listing that are sorted at a time
_PAUSE = 0.5


@dataclass(frozen=True, slots=True)
class _RobotsFile:
    origin: tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class _Sums:
    """The checksums of a folder, and the documents that wait for them."""

    portions: Iterator[list[Job]]


class WebCrawl:
    """Walks a listing and fetches what the run wants of it.

    Args:
        run: Says what is wanted, and takes what came of it.
        source: The listing.
        allow_hosts: Hosts beside the listing's own that redirects may lead to.
        robots: Whether ``robots.txt`` is obeyed.
        concurrency: The most requests at a time for one host, or None.
        follow_links: Whether any page of links is a listing.
        spacing: Seconds from one request to the next at least.
        sharers: How many processes crawl the same host at the same time, and share what it gives to one.
    """

    def __init__(
        self,
        run: CrawlRun,
        source: HttpBackend,
        *,
        allow_hosts: Iterable[str] = (),
        robots: bool = True,
        concurrency: int | None = None,
        follow_links: bool = False,
        spacing: float = 0.0,
        sharers: int = 1,
    ) -> None:
        self._run = run
        self._spacing = spacing
        self._sharers = sharers
        self._url = source.url
        self._guard = AddressGuard(source.url)
        self._policy = Policy(source.url, hosts=allow_hosts, robots=robots)
        self._complaints: deque[tuple[str, float | None]] = deque()
        self._watch = Watch(
            follows=self._policy.follows,
            complained=lambda url, wait: self._complaints.append((url, wait)),
            turn=self._turn_of,
        )
        self._spaced: dict[tuple[str, str, int], HostLimit] = {}
        self._turns = Lock()
        guard = None if is_proxied(source.url) else self._guard
        self._client = replace(source.client, guard=guard, watch=self._watch)
        self._follow_links = follow_links
        self._asks_webdav = False
        self._no_listing = ""
        self._met: set[bytes] = set()
        self._concurrency = concurrency
        self._await_robots: dict[tuple[str, str, int], list[Fetch]] = {}
        self._portions: deque[Iterator[list[Job]]] = deque()
        self._pages = Frontier()
        self._folders = 0  # that were met
        self._asked = 0  # pages that were asked for, and have not come
        self._unread: deque[tuple[Page, Fetched]] = deque()
        self._page_bytes = 1 << 20  # of the longest of the last pages; a guess at first
        self._batch: list[tuple[Job, Fetched]] = []
        self._long: dict[Future[Outcome], tuple[Job, float]] = {}
        self._long_waiting: deque[Job] = deque()
        self._fetcher = Fetcher(self._client, most=self._most, follows=self._policy.follows)
        self._keeper = Keeper(run.target.backend, self._client, most=run.limits.max_bytes)
        self._storers = Storers(self._keeper, done=run.done, wake=self._fetcher.wake)

    def go(self) -> None:
        """Walk to the end of the listing, or to the first limit."""
        with self._storers, ThreadPoolExecutor(_LONG_THREADS, thread_name_prefix="anystore-crawl-long") as pool:
            self._pool = pool
            try:
                self._begin()
                while self._is_busy():
                    self._more_pages()
                    self._start_long()
                    runs = bool(self._fetcher.pending or self._storers.busy or self._long or self._long_waiting)
                    starts = not self._storers.full and not self._run.ended_by
                    for answer in self._fetcher.step(_PAUSE if runs else 0.0, starts=starts):
                        self._take(answer)
                    batch, self._batch = self._batch, []
                    self._storers.store(batch)
                    self._storers.reap()
                    self._reap()
            except BaseException:
                self._watch.end()
                self._storers.cancel()
                for long in self._long:
                    long.cancel()
                raise
            finally:
                self._fetcher.close()
                self._client.close()
                self._pages.clear()

    # -- what may be asked -----------------------------------------------------------

    def _space(self, url: str, seconds: float) -> None:
        """Let so many seconds pass from one request to the next of a URL's host."""
        limit = self._spaced[origin_of(url)] = self._fetcher.limit(url)
        limit.spacing = max(seconds, limit.spacing)

    def _turn_of(self, url: str) -> float:
        """Give the seconds that a request of a thread has to wait."""
        with self._turns:
            limit = self._spaced.get(origin_of(url))
            return limit.take_turn() if limit is not None else 0.0

    def _most(self, _url: str) -> int:
        most = _PER_HOST_LOOPBACK if self._guard.kinds == {"loopback"} else _PER_HOST
        return max((self._concurrency or most) // self._sharers, 1)

    def _waits_for_robots(self, answer: Fetched) -> bool:
        """Keep a request that leads to another server until that one's robots.txt is known; True if so."""
        location, fetch = answer.headers.get("location"), answer.fetch
        if answer.error is None or answer.status not in REDIRECTS or location is None:
            return False
        if isinstance(fetch.tag, _RobotsFile) or fetch.redirects > self._client.max_redirects:
            return False
        target = self._policy.lacks_robots_of(answer.url, location)
        if target is None:
            return False
        waiting = self._await_robots.setdefault(origin_of(target), [])
        waiting.append(fetch)
        if len(waiting) == 1:
            self._ask_robots(target)
        return True

    def _ask_robots(self, url: str) -> None:
        tag = _RobotsFile(origin_of(url))
        trusted = keeps_secrets(self._url, url)
        self._fetcher.add(Fetch(url=robots_url(url), tag=tag, limit=_MAX_ROBOTS_BYTES, trusted=trusted), urgent=True)

    # -- the loop ----------------------------------------------------------------------

    def _begin(self) -> None:
        if self._spacing:
            self._space(self._url, self._spacing)
        if self._policy.obeys_robots:
            self._ask_robots(self._url)
        else:
            self._meet(Page("", self._url, 0, is_seed=True))

    def _is_busy(self) -> bool:
        if self._run.ended_by:
            return bool(self._storers.busy or self._long or self._batch)
        waits = self._pages or self._unread or self._portions or self._long_waiting
        return bool(self._fetcher.pending or waits or self._storers.busy or self._long or self._batch)

    def _more_pages(self) -> None:
        """Read what has come, and ask for more, as far as there is room for what it lists."""
        if self._run.lists_no_more:
            self._pages.clear()
            self._unread.clear()
        while (self._portions or self._unread) and self._has_room():
            if not self._portions:
                self._take_page(*self._unread.popleft())
                continue
            jobs = next(self._portions[0], None)
            if jobs is None:
                self._portions.popleft()
            else:
                self._add_jobs(jobs)
        most = max(min(_MOST_PAGES, _PAGES_BYTES // self._page_bytes), 2)
        while self._pages and not self._portions and not self._unread and self._asked < most:
            page = self._pages.take()
            fetch = Fetch(url=page.url, tag=page, headers=_ACCEPT, limit=MAX_PAGE_BYTES, lists=True)
            if self._asks_webdav:
                fetch = replace(fetch, method="PROPFIND", headers=_WEBDAV, body=_WEBDAV_BODY)
            self._fetcher.add(fetch, urgent=True)
            self._asked += 1

    def _has_room(self) -> bool:
        return self._fetcher.pending + len(self._long_waiting) < _MOST_WAITING

    def _meet(self, page: Page) -> None:
        """Take a folder, or a further page of one, into the queue."""
        self._folders += 1
        if self._folders <= MAX_FOLDERS:
            self._pages.add(page)
        elif self._folders == MAX_FOLDERS + 1:
            self._run.lose(
                page.folder,
                f"{masked_url(page.url)} and all folders behind it were left out: {MAX_FOLDERS:,} are the most; if all "
                "of them are real, crawl the folders of this listing one by one",
            )

    def _take(self, answer: Fetched) -> None:
        if self._run.ended_by or self._waits_for_robots(answer):
            return
        match answer.fetch.tag:
            case _RobotsFile() as tag:
                self._take_robots(tag, answer)
            case Page() as tag:
                self._asked -= 1
                length = MAX_PAGE_BYTES if answer.body is None else len(answer.body)
                self._page_bytes = max(self._page_bytes // 2, length, 1)
                self._unread.append((tag, answer))
            case _Sums() as tag:
                self._take_sums(tag, answer)
            case Job() as job:
                self._take_document(job, answer)

    # -- robots.txt ----------------------------------------------------------------------

    def _take_robots(self, tag: _RobotsFile, answer: Fetched) -> None:
        waiting = self._await_robots.pop(tag.origin, [])
        has_none = 400 <= answer.status < 500 and answer.status != _TOO_MANY  # noqa: PLR2004 - client errors
        for fetch in waiting:
            self._fetcher.add(fetch, urgent=True)
        if (answer.error is not None and not has_none) or (answer.body is None and answer.error is None):
            if not self._policy.is_own(tag.origin):
                self._policy.learn(tag.origin, None)
                return
            why = answer.error or "it is too long"
            self._run.lose(
                "",
                f"{masked_url(answer.url)} cannot be read, so nobody knows what may be crawled: {why}; try again "
                "later, or pass robots=False (--no-robots) if you may crawl there",
            )
            return
        body = answer.body if answer.error is None and answer.body else b""
        rules = parse_robots(body, agent=self._client.user_agent or own_name())
        self._policy.learn(tag.origin, rules)
        if rules.crawl_delay:
            self._space(answer.fetch.url, rules.crawl_delay * self._sharers)
        if not self._policy.is_own(tag.origin):
            return
        if not rules.allows(self._url):
            where = masked_url(self._url)
            why = f"robots.txt of {where} does not allow to crawl it; pass robots=False (--no-robots) if you may"
            self._run.lose("", why)
            return
        self._meet(Page("", self._url, 0, is_seed=True))

    # -- listings ------------------------------------------------------------------------

    def _take_page(self, page: Page, answer: Fetched) -> None:
        try:
            listing = self._read_page(page, answer)
        except AnystoreError as error:
            if not self._tries_webdav(page, answer, str(error)):
                self._lose(page, str(error))
            return
        if listing is not None:
            self._take_listing(page, listing)
        elif not page.is_seed and self._asks_webdav:
            self._lose(page, f"{masked_url(page.url)} was asked by PROPFIND, and answered with what is no listing")
        elif not page.is_seed:
            self._take_hidden(page, answer)
        else:
            what = (
                f"{masked_url(page.url)} is a page, but no listing that can be read: give the URL of a folder that the "
                "server lists (Apache, nginx, lighttpd, Caddy, IIS, Python, S3, WebDAV), a sitemap, or pass "
                "follow='links' (--follow links) to take what it links to"
            )
            if not self._tries_webdav(page, answer, what):
                self._lose(page, what)

    def _lose(self, page: Page, reason: str) -> None:
        self._run.lose(
            page.folder, f"the listing cannot be read: {self._no_listing or reason}" if page.is_seed else reason
        )

    def _read_page(self, page: Page, answer: Fetched) -> Listing | None:
        if answer.error is not None:
            raise answer.error
        if not page.is_seed and decoded_path(answer.url) != decoded_path(page.url):
            where, moved_to = masked_url(page.url), masked_url(answer.url)
            raise BackendError(f"{where} is a folder that redirects to {moved_to}; list that one")
        kind, body = answer.headers.get("content-type", ""), page_of(answer)
        if is_cut_off(body, answer.headers):
            raise BackendError(f"{masked_url(answer.url)} told no length, and its page has no end; it may be cut off")
        return parse_listing(body, url=answer.url, content_type=kind, follow_links=self._follow_links)

    def _tries_webdav(self, page: Page, answer: Fetched, reason: str) -> bool:
        """Ask once more by WebDAV, if that may list the seed; True if so."""
        if not page.is_seed or self._asks_webdav or answer.status not in _MAY_BE_WEBDAV:
            return False
        self._asks_webdav, self._no_listing = True, reason  # should that fail, too, the first answer tells more
        self._meet(page)
        return True

    def _take_hidden(self, page: Page, answer: Fetched) -> None:
        """Take a page that the server shows in place of a folder: it is a document, and hides others."""
        key = page.folder + _INDEX
        self._run.lose(
            page.folder, f"{masked_url(page.url)} shows a page in place of its listing; what else is there is hidden"
        )
        plain = Headers((name, text) for name, text in answer.headers.items() if name != "content-encoding")
        answer = replace(answer, body=page_of(answer), headers=plain)
        for task in self._run.sort([Listed(key=key, url=masked_url(page.url), shown=None)]):
            self._batch.append((Job(task, page.url, page.depth), answer))

    def _take_listing(self, page: Page, listing: Listing) -> None:
        if listing.adapter == _LISTS_SINGLY:
            self._fetcher.list_singly(page.url)
        mark = signature(listing)
        if is_loop(listing, page.trail.count(mark)):
            self._run.lose(
                page.folder, f"{masked_url(page.url)} lists the same as a folder above it; a link leads back up"
            )
            return
        listed: dict[str, ListedEntry] = {}
        trail = (*page.trail, mark)
        for url in listing.more:
            self._add_page(page, url, once=listing.adapter != "sitemap")
        for name in listing.foreign:
            self._refuse_name(page, name)
        for entry in (*listing.entries, *listing.undecoded):
            key = page.folder + entry.name
            if not is_key(key) or "\\" in entry.name:
                self._refuse_name(page, entry.name)
            elif entry.is_folder:
                self._add_folder(page, key + "/", entry.url, trail)
            elif listed.setdefault(key, entry) is not entry:
                self._run.fail(key, f"{masked_url(entry.url)} has the same key as another file, and was left out")
        self._add_listed(page, listed)

    def _refuse_name(self, page: Page, name: str) -> None:
        if page.folder + name != PRIVATE_FOLDER:
            reason = f"{masked_url(page.url)} lists a name that cannot be a key: {name!a}"
            self._run.fail(page.folder + name, reason)

    def _add_listed(self, page: Page, listed: Mapping[str, ListedEntry]) -> None:
        """Sort the documents of a folder, with the checksums beside them, if there are some."""
        sums = next((listed[name].url for name in (page.folder + one for one in SUMS_NAMES) if name in listed), None)
        portions = self._sorted(page, listed)
        self._portions.append(portions if sums is None else self._until_sums(portions, sums))

    def _until_sums(self, portions: Iterator[list[Job]], sums: str) -> Iterator[list[Job]]:
        """Give what needs no checksums; from the first document that does on, all wait for them."""
        for jobs in portions:
            if any(not job.task.proven for job in jobs):
                waiting = _Sums(chain([jobs], portions))
                self._fetcher.add(Fetch(url=sums, tag=waiting, limit=_MAX_SUMS_BYTES), urgent=True)
                return
            yield jobs

    def _sorted(self, page: Page, listed: Mapping[str, ListedEntry]) -> Iterator[list[Job]]:
        """Sort a listing portion by portion, so that a long one does not all become tasks at once."""
        entries = iter(listed.items())
        while portion := list(islice(entries, _PORTION)):
            tasks = self._run.sort([listed_of(key, entry) for key, entry in portion])
            yield [Job(task, listed[task.listed.key].url, page.depth) for task in tasks]

    def _add_folder(self, page: Page, folder: str, url: str, trail: tuple[bytes, ...]) -> None:
        if self._follow_links and not self._is_new(url):
            return
        if page.depth + 1 > self._run.limits.max_depth:
            self._run.lose(
                folder, f"{masked_url(url)} is more than max_depth={self._run.limits.max_depth} folders deep"
            )
        elif self._run.shard is not None and not self._run.shard.enters(folder):
            pass  # another process reads it
        elif not self._policy.may_fetch(url):
            self._run.pass_over(folder)
        else:
            self._meet(Page(folder, url, page.depth + 1, trail))

    def _add_page(self, page: Page, url: str, *, once: bool) -> None:
        """Add a further page of a listing; one that leads back has no end, where each page is named once."""
        if origin_of(url) != origin_of(self._url):
            self._run.lose(page.folder, f"{masked_url(page.url)} goes on at another server, {masked_url(url)}")
        elif self._is_new(url):
            self._meet(replace(page, url=url, trail=(), is_seed=False))
        elif once:
            self._run.lose(page.folder, f"{masked_url(page.url)} goes on at a page that was read before")

    def _is_new(self, url: str) -> bool:
        """Tell whether a page was not met before, and remember it."""
        mark = hashlib.blake2b(url.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        known = mark in self._met
        self._met.add(mark)
        return not known

    # -- documents -----------------------------------------------------------------------

    def _take_sums(self, tag: _Sums, answer: Fetched) -> None:
        """Let documents go that waited for the checksums beside them."""
        if answer.error is not None or answer.body is None:
            where, why = masked_url(answer.fetch.url), answer.error or "it is too long"
            self._run.fail("", f"the checksums in {where} cannot be read, so nothing was compared with them: {why}")
        sums = parse_sums(answer.body) if answer.error is None and answer.body else {}
        self._portions.append(_with_sums(tag.portions, sums))

    def _add_jobs(self, jobs: Iterable[Job]) -> None:
        for job in jobs:
            task = job.task
            if not self._policy.may_fetch(job.url):
                reason = BackendError("robots.txt does not allow it to be fetched")
                self._run.done(task, Outcome(what="skipped", error=reason))
            elif task.proven or task.rehashes or task.adopts or (task.listed.size or 0) > _SMALL_BYTES:
                self._long_waiting.append(job)
            else:
                self._add_small(job)

    def _add_small(self, job: Job) -> None:
        asked = conditions(job.task)
        allow = _NOT_MODIFIED if asked else _NOTHING_ELSE
        headers = asked | _IDENTITY if asked else _IDENTITY
        self._fetcher.add(Fetch(url=job.url, tag=job, headers=headers, limit=_SMALL_BYTES, allow=allow))

    def _take_document(self, job: Job, answer: Fetched) -> None:
        location = answer.headers.get("location")
        if answer.error is not None and location is not None and leads_into_folder(answer.url, location):
            key = job.task.listed.key
            self._run.withdraw(job.task)
            if self._run.shard is not None and not self._run.shard.holds(key + "/"):
                why = "is a folder that is listed as if it were a document, and no shard has all of it"
                self._run.lose(key + "/", f"{masked_url(job.url)} {why}; crawl with another depth, or in one part")
                return
            path, mark, query = job.url.partition("?")  # at its own server, whatever that calls itself
            self._add_folder(Page("", job.url, job.depth), key + "/", f"{path}/{mark}{query}", ())
        elif answer.error is not None:
            self._run.done(job.task, Outcome(what="error", error=answer.error))
        elif answer.body is None:
            self._long_waiting.append(job)
        elif answer.status in _NOT_MODIFIED:
            self._run.done(job.task, unchanged(job.task, answer.headers, elapsed=answer.elapsed))
        else:
            self._batch.append((job, answer))

    def _start_long(self) -> None:
        """Let threads fetch long bodies, as far as their host's limit leaves room for them and for listings."""
        while self._complaints:
            url, wait = self._complaints.popleft()
            self._fetcher.limit(url).hold(began=time.monotonic(), wait=min(wait or 0.0, LONGEST_WAIT))
        while self._long_waiting and len(self._long) < _LONG_THREADS and not self._run.ended_by:
            job = self._long_waiting[0]
            limit = self._fetcher.limit(job.url)
            if not job.task.proven:  # to look at a stored value is no request
                if limit.wait() != 0.0 or len(self._long) >= max(limit.allowed - 1, 1):
                    return
                limit.joined()  # the thread takes its turns itself: it may have to ask more than once
            self._long_waiting.popleft()
            future = self._pool.submit(self._keeper.look_after, job)
            future.add_done_callback(lambda _: self._fetcher.wake())
            self._long[future] = job, time.monotonic()

    def _end_long(self, job: Job, began: float, outcome: Outcome) -> None:
        if not job.task.proven:
            limit = self._fetcher.limit(job.url)
            if outcome.what == "error" and not outcome.by_target:
                limit.complained(began=began)
            else:
                limit.answered()
        if isinstance(outcome.error, NotFollowed) and not job.redirected:
            self._add_small(replace(job, redirected=True))  # it may be that a robots.txt is to be asked first
        else:
            self._run.done(job.task, outcome)

    def _reap(self) -> None:
        """Take what the threads of long bodies have done."""
        for long in [one for one in self._long if one.done()]:
            job, began = self._long.pop(long)
            self._end_long(job, began, long.result())


def _with_sums(portions: Iterator[list[Job]], sums: Mapping[str, bytes]) -> Iterator[list[Job]]:
    for jobs in portions:
        for job in jobs:
            expected = sums.get(job.task.listed.key.rpartition("/")[2])
            if expected is not None:
                job.task.expected = {"sha256": expected}
        yield jobs
