"""Answers that no server should give, byte by byte: what they leave unsure is not stored, and all is told."""

import gzip
import random
import time

import orjson
import pytest

from anystore import get_store
from anystore.backends.wrap import PrefixBackend
from anystore.crawling import crawl, documents, journal, web
from anystore.store import Store
from anystore.web.fetcher import Fetcher
from anystore.web.limits import HostLimit
from anystore.web.watching import Watch
from tests.crawled import stored
from tests.raw_http import LAST_MODIFIED, answer, chunks, raw_http

MIB = 1 << 20
SMALL, LONG = (random.Random(size).randbytes(size) for size in (5000, 3 * MIB))
LATER = "Mon, 18 Nov 2024 02:09:11 GMT"
NEXT_ZONE = "Mon, 18 Nov 2024 03:07:08 GMT"


def listing(*names, size=10, modified=LAST_MODIFIED):
    """A page of nginx; a name that ends in a slash is a folder's."""
    files = [{"name": name, "type": "file", "mtime": modified, "size": size} for name in names if name[-1] != "/"]
    folders = [{"name": name[:-1], "type": "directory", "mtime": modified} for name in names if name[-1] == "/"]
    return orjson.dumps(files + folders)


def page(*names, **how):
    return answer(listing(*names, **how), Content_Type="application/json")


def xml(body):
    return answer(f'<?xml version="1.0"?>{body}'.encode(), Content_Type="application/xml")


PYTHON = "<title>Directory listing for /</title><h1>Directory listing for /</h1><hr><ul>{}</ul><hr>"


def python_page(*names):
    rows = "".join(f'<li><a href="{name}">{name}</a></li>' for name in names)
    return answer(PYTHON.format(rows).encode(), Content_Type="text/html")


@pytest.fixture
def target(tmp_path):
    return get_store(tmp_path / "target", serialization_mode="raw")


@pytest.fixture
def server():
    with raw_http() as running:
        yield running


def source(server, path=""):
    return get_store(f"{server.url}{path}", backend_config={"backoff": 0.01, "retries": 2})


# -- bodies ------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [SMALL, LONG], ids=["small", "long"])
def test_a_length_beside_chunks_says_nothing(server, target, body):
    server.answers = {"/": page("a", size=len(body))}
    server.answers["/a"] = answer(chunks(body), length=100, Transfer_Encoding="chunked")
    assert crawl(source(server), target).complete
    assert stored(target) == {"a": body}


@pytest.mark.parametrize("body", [SMALL, LONG], ids=["small", "long"])
def test_a_length_that_is_none_proves_nothing(server, target, body):
    server.answers = {"/": page("a", size=len(body)), "/a": answer(body[:-1], length="9" * 30)}
    report = crawl(source(server), target)
    assert "may have been cut off" in report.failures[0].reason
    assert stored(target) == {}


@pytest.mark.parametrize("how", ["as it was", "packed", "of another length"])
def test_the_rest_of_a_body_comes_as_its_start_did(server, target, how):
    def send(headers):
        tells = {"ETag": '"one"', "Accept_Ranges": "bytes"}
        if "range" not in headers:
            return answer(LONG[:MIB], length=len(LONG), **tells)
        start = int(headers["range"].removeprefix("bytes=").rstrip("-"))
        tells["Content_Range"] = f"bytes {start}-{len(LONG) - 1}/{len(LONG)}"
        rest = LONG[start:]
        if how == "packed":
            return answer(gzip.compress(rest), status=206, Content_Encoding="gzip", **tells)
        return answer(rest + b"more" * (how == "of another length"), status=206, **tells)

    server.answers = {"/": page("a", size=len(LONG)), "/a": send}
    assert crawl(source(server), target).complete is (how == "as it was")
    assert stored(target) == ({"a": LONG} if how == "as it was" else {})


@pytest.mark.parametrize("body", [SMALL, LONG], ids=["small", "long"])
def test_an_error_of_the_server_is_tried_again(server, target, body):
    answers = iter([answer(status=500), answer(body, status=203)])
    server.answers = {"/": page("a", size=len(body)), "/a": lambda _: next(answers)}
    assert crawl(source(server), target).complete
    assert stored(target) == {"a": body}


# -- listings ------------------------------------------------------------------------------

LIST = "<list>\n" + "".join(f'<file mtime="2024-11-18T02:07:08Z" size="10">{name}</file>\n' for name in "ab")


@pytest.mark.parametrize(
    ("body", "kind", "packed"),
    [
        (listing("a", "b")[:40], "application/json", None),
        (listing("a", "b")[:-1], "application/json", None),
        (f'<?xml version="1.0"?>\n{LIST}'.encode(), "text/xml", None),
        (b"\x8b\x02" + listing("a"), "application/json", "br"),
    ],
)
def test_what_may_be_a_part_of_a_listing_is_no_document(server, target, body, kind, packed):
    server.answers = {"/": page("sub/", "z"), "/z": answer(b"z" * 10)}
    server.answers["/sub/"] = answer(body, length="", Content_Type=kind, Content_Encoding=packed)
    report = crawl(source(server), target)
    assert [failure.key for failure in report.failures] == ["sub/"]
    assert stored(target) == {"z": b"z" * 10}


def bucket_page(*keys, folders=(), more=""):
    rows = "".join(f"<Contents><Key>{key}</Key><Size>10</Size></Contents>" for key in keys)
    rows += "".join(f"<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>" for folder in folders)
    return xml(f"<ListBucketResult>{rows}{more}</ListBucketResult>")


def truncated(token):
    return f"<IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>"


def test_pages_that_overlap_bring_each_document_once(server, target):
    server.answers = {f"/{key}": answer(key.encode() * 10) for key in "abcdef"}
    server.answers["/"] = bucket_page(*"abcd", more=truncated("next"))
    server.answers["/?list-type=2&continuation-token=next"] = bucket_page(*"cdef")
    report = crawl(source(server), target)
    assert (report.listed, report.fetched, report.complete) == (6, 6, True)
    assert sorted(path for path in server.asked if len(path) == 2) == [f"/{key}" for key in "abcdef"]


def test_pages_that_lead_back_are_no_whole_listing(server, target):
    server.answers = {"/a": answer(b"a" * 10), "/": bucket_page("a", more=truncated("same"))}
    server.answers["/?list-type=2&continuation-token=same"] = bucket_page("a", more=truncated("same"))
    report = crawl(source(server), target)
    assert "read before" in report.failures[0].reason
    assert (report.fetched, report.complete) == (1, False)


def test_a_value_and_a_folder_of_one_name_are_both_seen(server, target):
    server.answers = {"/": bucket_page("a", folders=["a/"]), "/a": answer(b"a" * 10), "/a/": page("b")}
    server.answers["/a/b"] = answer(b"b" * 10)
    report = crawl(source(server), target)
    assert stored(target) in ({"a": b"a" * 10}, {"a/b": b"b" * 10})  # a folder of files can hold one of them
    assert (report.fetched, report.failed) == (1, 1)


def test_two_documents_with_one_key_are_told_while_the_first_is_on_its_way(server, target):
    def slowly(body):
        return lambda _: time.sleep(0.3) or answer(body, Content_Type="text/html")

    maps = "".join(f"<sitemap><loc>{server.url}{number}.xml</loc></sitemap>" for number in (1, 2))
    server.answers = {"/map.xml": xml(f"<sitemapindex>{maps}</sitemapindex>")}
    for number, name in (1, "d/"), (2, "d/index.html"):
        server.answers[f"/{number}.xml"] = xml(f"<urlset><url><loc>{server.url}{name}</loc></url></urlset>")
        server.answers[f"/{name}"] = slowly(name.encode())
    for _ in range(2):
        report = crawl(source(server, "map.xml"), target)
        assert (report.listed, report.failed, report.complete) == (1, 1, False)
        assert "same key" in report.failures[0].reason
        assert report.fetched in (0, 1)  # which of the two maps is read first, the server decides


def test_a_tree_that_grows_without_end_is_given_up(server, target, monkeypatch):
    monkeypatch.setattr(web, "MAX_FOLDERS", 50)
    server.answers = Endless()
    report = crawl(source(server), target)
    assert len(server.asked) <= 51
    assert report.failed == 1
    assert "50 are the most" in report.failures[0].reason


class Endless(dict):
    """Each folder holds two others."""

    def get(self, path, default):
        """Answer for any folder."""
        return page(f"{path.count('/')}x/", f"{path.count('/')}y/") if path.endswith("/") else default


def test_listings_are_read_as_fast_as_their_documents_are_fetched(server, target, monkeypatch):
    monkeypatch.setattr(web, "_MOST_WAITING", 10)
    folders = [f"{number}/" for number in range(12)]
    server.answers = {"/": page(*folders)}
    for folder in folders:
        server.answers[f"/{folder}"] = page(*(f"{number}" for number in range(20)))
        server.answers |= {f"/{folder}{number}": answer(b"x" * 10) for number in range(20)}
    read, behind = [], []
    parse, take = web.parse_listing, web.WebCrawl._take_document

    def parse_and_note(*page, **how):
        found = parse(*page, **how)
        read.extend(entry for entry in found.entries if not entry.is_folder)
        return found

    def take_and_note(*what):  # how long it takes to store them then is another matter, with a limit of its own
        behind.append(len(read) - len(behind))
        take(*what)

    monkeypatch.setattr(web, "parse_listing", parse_and_note)
    monkeypatch.setattr(web.WebCrawl, "_take_document", take_and_note)
    assert crawl(source(server), target).fetched == len(behind) == 240
    assert max(behind) <= 10 + 2 * 20


# -- what has changed, or rotted -----------------------------------------------------------


@pytest.mark.parametrize(("modified", "fetched"), [(LATER, 1), (NEXT_ZONE, 0)])
def test_a_listing_that_tells_a_change_counts_more_than_validators(server, target, modified, fetched):
    def send(headers):
        conditional = {"if-none-match", "if-modified-since"} & set(headers)
        return answer(status=304, length="", ETag='"lies"') if conditional else answer(b"2" * 10, ETag='"lies"')

    server.answers = {"/": page("a"), "/a": answer(b"1" * 10, ETag='"lies"')}
    assert crawl(source(server), target).fetched == 1
    server.answers = {"/": page("a", modified=modified), "/a": send}
    report = crawl(source(server), target)
    assert (report.fetched, report.unchanged) == (fetched, 1 - fetched)


@pytest.mark.parametrize("verify", ["full", "audit"])
@pytest.mark.parametrize("size", [10, 2 * MIB])
@pytest.mark.parametrize("lists", [page, python_page])
def test_what_has_rotted_is_healed_whatever_the_listing_proves(server, target, lists, size, verify):
    def send(headers):
        return (
            answer(status=304, length="", ETag='"e"') if "if-none-match" in headers else answer(b"x" * size, ETag='"e"')
        )

    listed = lists("a", "b", size=size) if lists is page else lists("a", "b")
    server.answers = {"/": listed, "/a": send, "/b": send}
    assert crawl(source(server), target).fetched == 2
    target.put("a", b"y" * size)
    report = crawl(source(server), target, verify=verify)
    assert (report.healed, report.unchanged, report.fetched) == (1, 1, 0)
    assert stored(target) == {"a": b"x" * size, "b": b"x" * size}


# -- while another one works ---------------------------------------------------------------


def test_a_pause_between_requests_is_slept_through(server, target, monkeypatch):
    rules = answer(b"User-agent: *\nCrawl-delay: 1\n", Content_Type="text/plain")
    server.answers = {"/robots.txt": rules, "/": page("a", "b", size=len(LONG)), "/a": answer(LONG), "/b": answer(LONG)}
    steps = []
    step = Fetcher.step
    monkeypatch.setattr(Fetcher, "step", lambda self, *how, **named: steps.append(1) or step(self, *how, **named))
    assert crawl(source(server), target).complete
    assert len(steps) < 200


def test_the_rest_of_a_body_waits_for_its_turn_too(server, target, monkeypatch):
    def send(headers):
        tells = {"ETag": '"one"', "Accept_Ranges": "bytes"}
        if "range" not in headers:
            return answer(LONG[:MIB], length=len(LONG), **tells)
        start = int(headers["range"].removeprefix("bytes=").rstrip("-"))
        tells["Content_Range"] = f"bytes {start}-{len(LONG) - 1}/{len(LONG)}"
        return answer(LONG[start:], status=206, **tells)

    rules = answer(b"User-agent: *\nCrawl-delay: 1000\n", Content_Type="text/plain")
    server.answers = {"/robots.txt": rules, "/": page("a", size=len(LONG)), "/a": send}
    waits = []
    monkeypatch.setattr(Watch, "sleep", lambda _, seconds: waits.append(seconds))
    monkeypatch.setattr(HostLimit, "wait", lambda limit: None if limit.running else 0.0)
    assert crawl(source(server), target).complete
    first, rest = (one for one in waits if one > 1)
    assert 0 < first <= 1000 < rest
    assert server.asked.count("/a") == 2


def test_documents_can_be_read_while_a_crawl_compacts_the_journal(server, target, monkeypatch):
    server.answers = {"/": page("a"), "/a": answer(b"a" * 10)}
    crawl(source(server), target)
    monkeypatch.setattr(journal, "_SMALL", -1000)
    assert [one.key for one in documents(Store(Compacting(target, server)))] == ["a"]
    head = orjson.loads(target.backend.get(journal._HEAD))
    assert (len(head["segments"]), len(head["garbage"])) == (1, 1)  # what was named first is gone


class Compacting(PrefixBackend):
    """A crawl begins and ends when the journal's head was just read."""

    def __init__(self, target, server):
        super().__init__(target.backend, "")
        self._target, self._server = target, server

    def get(self, key):
        """Read, and let the crawl run; once."""
        found, server = super().get(key), self._server
        if server is not None:
            self._server = None
            assert crawl(source(server), self._target).complete
        return found
