"""Servers that mean harm, or are broken: nothing false is stored, nobody else asked, nothing incomplete looks whole."""

import gzip
import re
import subprocess
import sys

import pytest

from anystore import get_store
from anystore.crawling import crawl, documents
from anystore.web.addresses import AddressGuard
from anystore.web.client import Client
from anystore.web.fetcher import Fetch, Fetcher
from tests.crawled import fill, stored
from tests.faults import Fault, faulty_http
from tests.servers import nginx

MIB = 1 << 20
HTML = {"Content-Type": "text/html"}


def page_of(*links, end="</pre></body></html>"):
    rows = "\n".join(f'<a href="{link}">{number}</a> 23-Nov-2024 02:07 1' for number, link in enumerate(links))
    top = '<html><head><title>Index of /</title></head><body><h1>Index of /</h1><hr><pre><a href="../">../</a>\n'
    return f"{top}{rows}\n{end}".encode()


@pytest.fixture
def target(tmp_path):
    return get_store(tmp_path / "target", serialization_mode="raw")


# -- links -------------------------------------------------------------------------------


def test_no_link_leads_out_of_the_listing_or_the_target(nginx_server, tmp_path, target):
    fill(nginx_server.root, {"fine": b"x", "etc/passwd": b"secret"})
    with faulty_http(nginx_server) as server, faulty_http(nginx_server) as other:
        here = server.url.removeprefix("http://")
        elsewhere = [
            *("../../etc/passwd", "/etc/passwd", "//evil.example/a", f"{other.url}a", f"http://{here}@evil.example/a"),
            *(f"http://me:pw@{here}sub/a", "javascript:alert(1)", "mailto:a@b", "file:///etc/passwd", "ftp://host/a"),
            *("?C=M;O=A", "#top", "", ".", "..", "./", "../", "\\\\evil\\a", "data:text/plain,hello", "https:a"),
        ]
        odd = ["..%2f..%2fetc%2fpasswd", "%2e%2e", "a%00b", "a%5Cb", "%2e%2e%5c%2e%2e%5cx", "a%2Fb"]
        answer = Fault(status=200, body=page_of("fine", *elsewhere, *odd), headers=HTML)
        server.always(answer, path="/sub/?")
        server.script(Fault(status=404), Fault(status=200, body=answer.body, headers=HTML))
        report = crawl(f"{server.url}sub/", target)
        assert not report.complete
        asked = {one.path for one in server.asked} | {one.path for one in other.asked}
    assert asked <= {"/robots.txt", "/sub/", "/sub/fine"}, asked
    assert {re.sub("%5c", "%5C", failure.key) for failure in report.failures} >= {"..%2f..%2fetc%2fpasswd", "a%00b"}
    assert len([failure for failure in report.failures if "cannot be a key" in failure.reason]) == len(odd)
    assert list(target.iterate_keys()) == []  # /sub/fine is not there
    assert sorted(path.name for path in tmp_path.iterdir()) == ["nginx", "target"]


@pytest.mark.parametrize("size", [5, 2 * MIB])
def test_credentials_stay_with_the_server_they_are_for(nginx_server, target, size):
    fill(nginx_server.root, {"a": b"x" * size, "b": b"y"})
    with faulty_http(nginx_server) as server, faulty_http(nginx_server) as other:
        server.always(Fault(status=302, headers={"Location": f"{other.url}a"}), path="/a")
        store = get_store(
            server.url, backend_config={"username": "me", "password": "pw", "headers": {"X-Token": "s3cret"}}
        )
        report = crawl(store, target, allow_hosts=["127.0.0.1"])
        assert report.complete, report.failures
        assert "authorization" in server.asked[-1].headers
        assert [one for one in other.asked if one.path == "/a"]
        for one in other.asked:
            assert not {"authorization", "x-token", "cookie"} & set(one.headers)
    assert stored(target) == {"a": b"x" * size, "b": b"y"}


# -- listings that are broken ----------------------------------------------------------------


@pytest.mark.parametrize("form", ["no length", "packed"])
def test_a_listing_that_was_cut_off_is_not_taken_for_a_whole_one(nginx_server, faulty_server, target, form):
    fill(nginx_server.root, {f"{number:03}": b"x" for number in range(100)})
    assert crawl(faulty_server.url, target).fetched == 100
    page = page_of(*(f"{number:03}" for number in range(100)))
    fault = Fault(status=200, body=page[: len(page) // 2], headers=HTML | {"Content-Length": "0"})
    if form == "packed":
        fault = Fault(status=200, body=gzip.compress(page)[:-40], headers=HTML | {"Content-Encoding": "gzip"})
    else:
        fault = Fault(hide=("accept-encoding",), strip=("Content-Length", "Transfer-Encoding"), truncate=2000)
    faulty_server.script(Fault(status=404), *[fault] * 5)
    report = crawl(faulty_server.url, target, prune=True)
    assert (report.complete, report.gone, report.pruned) == (False, 0, 0)
    assert len(stored(target)) == 100
    assert {one.status for one in documents(target)} == {"ok"}


PEAK = """
import sys
from anystore import get_store
from anystore.crawling import crawl

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))

crawl(sys.argv[1] + "small/", sys.argv[2])
before = peak()
report = crawl(sys.argv[1] + "huge/", sys.argv[2] + "-2")
print(peak() - before, report.fetched, [failure.reason for failure in report.failures])
try:
    print(len(list(get_store(sys.argv[1] + "huge/").iterate_keys())))
except Exception as error:
    print("listing:", error)
print(peak() - before)
"""


@pytest.mark.alone
@pytest.mark.parametrize("kind", ["bomb", "plain"])
def test_a_huge_listing_is_refused_in_little_memory(tmp_path, kind):
    root = tmp_path / "root"
    fill(root, {"small/a": b"x", "huge/a": b"x"})
    row = b'<a href="document-%07d.pdf">document</a>' + b" " * 20 + b"23-Nov-2024 02:07" + b" " * 20 + b"12345\n"
    with (root / "huge" / "list.html").open("wb") as file:
        if kind == "plain":  # a million rows, of 100 MB
            file.write(page_of(end=""))
            for start in range(0, 1_000_000, 1000):
                file.write(b"".join(row % number for number in range(start, start + 1000)))
            file.write(b"</pre></body></html>")
        else:  # a megabyte that unfolds to a gigabyte
            with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=9) as packed:
                packed.write(page_of("a", end=""))
                for _ in range(1024):
                    packed.write(b" " * MIB)
    assert (root / "huge" / "list.html").stat().st_size > (100_000_000 if kind == "plain" else 1_000_000)
    directives = "location /huge/ { add_header Content-Encoding gzip; }" if kind == "bomb" else ""
    with nginx(root, index="list.html", directives=directives) as server:
        command = [sys.executable, "-c", PEAK, server.url, str(tmp_path / "target")]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=280)
    crawled, listed, growth = done.stdout.splitlines()
    assert crawled.split()[1] == "0"
    assert "longer than 33,554,432 bytes" in crawled
    assert listed.startswith("listing:"), listed
    assert int(crawled.split()[0]) < 60 * MIB, crawled
    assert int(growth) < 100 * MIB, growth


# -- politeness --------------------------------------------------------------------------------


def test_a_host_that_wants_a_pause_keeps_no_other_waiting(nginx_server):
    fill(nginx_server.root, {"a": b"x"})
    with faulty_http(nginx_server) as busy, faulty_http(nginx_server) as idle:
        busy.script(Fault(status=429, headers={"Retry-After": "3"}))
        fetcher = Fetcher(Client(), most=lambda _: 4)
        try:
            for number in range(4):
                fetcher.add(Fetch(url=f"{busy.url}a?{number}", tag="busy", limit=MIB))
            order = [answer.fetch.tag for answer in fetcher.step(5.0)]
            for number in range(20):
                fetcher.add(Fetch(url=f"{idle.url}a?{number}", tag="idle", limit=MIB))
            while fetcher.pending:
                order += [answer.fetch.tag for answer in fetcher.step(5.0)]
        finally:
            fetcher.close()
        assert (order.count("busy"), order.count("idle")) == (4, 20)
        assert order[-1] == "busy"  # the one that was told to come back


def test_documents_are_fetched_while_the_walk_goes_on(nginx_server, target):
    fill(nginx_server.root, {f"{one}/{two}/{three}": b"x" for one in "abcd" for two in "abcdefgh" for three in "xyz"})
    assert crawl(nginx_server.url, target, concurrency=2).complete
    paths = [one.path for one in nginx_server.requests()]
    first_document = next(place for place, path in enumerate(paths) if path[-1] in "xyz")
    last_listing = max(place for place, path in enumerate(paths) if path.endswith("/"))
    assert first_document < last_listing
    depths = [path.count("/") for path in paths if path.endswith("/")]
    assert depths.index(3) > depths.index(2) > depths.index(1)


def test_a_server_that_refuses_head_is_no_trouble(tmp_path, target):
    root = tmp_path / "root"
    fill(root, {"a": b"x", "b": b"y" * 2 * MIB})
    with nginx(root, directives="if ($request_method = HEAD) { return 403; }") as server:
        assert crawl(server.url, target).complete
        store = get_store(server.url, serialization_mode="raw")
        assert (store.info("a").size, store.get("a"), list(store.iterate_keys())) == (1, b"x", ["a", "b"])
    assert stored(target) == {"a": b"x", "b": b"y" * 2 * MIB}


@pytest.mark.parametrize(
    ("kinds", "concurrency", "most"),
    [({"loopback"}, None, 32), (set(), None, 8), ({"private"}, None, 8), (set(), 3, 3)],
)
def test_a_host_gets_so_many_requests_at_a_time(nginx_server, target, monkeypatch, kinds, concurrency, most):  # noqa: PLR0917
    limits = []
    plain = Fetcher.limit
    monkeypatch.setattr(Fetcher, "limit", lambda self, url: limits.append(plain(self, url)) or limits[-1])
    fill(nginx_server.root, {"a": b"x" * 2 * MIB})
    monkeypatch.setattr(AddressGuard, "kinds", frozenset(kinds))
    monkeypatch.setattr(AddressGuard, "allows", lambda *_: True)
    assert crawl(nginx_server.url, target, concurrency=concurrency).complete
    assert {limit.most for limit in limits} == {most}
