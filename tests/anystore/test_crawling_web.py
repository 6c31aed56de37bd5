"""A crawl of real web servers, and of servers that do what no server should."""

import base64
import gzip
import hashlib
import os
import random
import signal
import threading
import time
import tracemalloc
from pathlib import Path

import pytest

from anystore import Store, get_store
from anystore.backends.wrap import PrefixBackend
from anystore.crawling import crawl, documents
from anystore.crawling.keeping import is_suspicious
from anystore.keys import is_private, private_key
from tests.crawled import fill, stored
from tests.faults import Fault, faulty_http
from tests.servers import nginx

MIB = 1 << 20


@pytest.fixture
def target(tmp_path):
    return get_store(tmp_path / "target", serialization_mode="raw")


def no_delay(_client, _failures):
    return 0.01


def gets(server):
    return [path for method, path, _ in server.requests() if method == "GET"]


@pytest.mark.parametrize("form", ["html", "json", "xml"])
def test_an_unchanged_listing_costs_its_pages_alone(tmp_path, target, form):
    files = {f"{folder}/{number} é.bin": os.urandom(100) for folder in "abc" for number in range(5)}
    root = tmp_path / "root"
    fill(root, files)
    with nginx(root, autoindex_format=form) as server:
        report = crawl(server.url, target)
        assert (report.listed, report.fetched, report.complete) == (15, 15, True)
        assert not [one for one in server.requests() if one.method == "HEAD"]
        server.forget_requests()
        report = crawl(server.url, target)
        assert (report.unchanged, report.complete) == (15, True)
        assert sorted(gets(server)) == ["/", "/a/", "/b/", "/c/", "/robots.txt"]
    assert stored(target) == files


def test_what_was_changed_in_the_second_of_its_fetch_is_fetched_again(nginx_server, target):
    now = int(time.time())
    fill(nginx_server.root, {"a": "one"}, moment=now + 1)  # its second is not over when it is fetched
    crawl(nginx_server.url, target)
    fill(nginx_server.root, {"a": "two"}, moment=now + 1)  # the same size, time and ETag
    assert crawl(nginx_server.url, target).fetched == 1
    assert target.get("a") == b"two"


def test_what_the_listing_does_not_prove_is_asked_for_once(python_http_server, target):
    fill(python_http_server.root, {"a": "one", "b": "two"})  # its listings tell no times
    crawl(python_http_server.url, target)
    python_http_server.forget_requests()
    report = crawl(python_http_server.url, target)
    assert (report.unchanged, report.fetched) == (2, 0)
    assert sorted(
        (path, status) for _, path, status in python_http_server.requests() if path[1:] in "ab" and path != "/"
    ) == [
        ("/a", 304),
        ("/b", 304),
    ]


def test_names_arrive_as_they_are(nginx_server, target):
    names = ["50%25.txt", "a#b?c", "plus+plus", "q'\"", "sp ace", "ü", "u\u0308", "new\nline", "x" * 200, "A", "a"]
    names += ["deep/" * 20 + "end", "semi;colon", "amp&amp;", "[1]", "*", "-", "~", "…", "tab\there", "\x7f", "=x"]
    fill(nginx_server.root, {name: f"of {name}" for name in names})
    report = crawl(nginx_server.url, target)
    assert report.complete, report.failures
    assert stored(target) == {name: f"of {name}".encode() for name in names}


@pytest.mark.parametrize("form", ["html", "json", "xml"])
def test_names_that_are_no_text_arrive_percent_encoded(tmp_path, target, form):
    root = tmp_path / "root"
    fill(root, {b"50%-caf\xe9": "one", b"sub \xff/\xfc\xfcb": "two", "fine": "three"})
    with nginx(root, autoindex_format=form) as server:
        report = crawl(server.url, target)
        assert report.complete, report.failures
        assert stored(target) == {"50%25-caf%E9": b"one", "sub %FF/%FC%FCb": b"two", "fine": b"three"}
        assert crawl(server.url, target).unchanged == 3
    assert {one.key: one.url.removeprefix(server.url) for one in documents(target)}["50%25-caf%E9"] == "50%25-caf%E9"


def test_two_names_that_become_one_key_are_told(nginx_server, target):
    fill(nginx_server.root, {b"caf\xe9": "no text", "caf%E9": "text", "B": "1", "b": "2"})
    report = crawl(nginx_server.url, target)
    assert [failure.key for failure in report.failures] == ["caf%E9"]
    assert "same key" in report.failures[0].reason
    assert stored(target) == {"caf%E9": b"text", "B": b"1", "b": b"2"}


def test_what_the_target_cannot_hold_is_recorded(nginx_server, target):
    fill(nginx_server.root, {"fine": "x", "back\\slash": "x"})
    page = (
        '<title>Index of /</title><h1>Index of /</h1><hr><pre><a href="../">../</a>\n<a href="fine">fine</a> '
        f'23-Nov-2024 02:07 1\n<a href="{"n" * 256}">n</a> 23-Nov-2024 02:07 1\n</pre>'
    )
    with faulty_http(nginx_server) as server:
        server.always(Fault(status=200, body=b"x"), path=f"/{'n' * 256}")
        server.script(Fault(status=404), Fault(status=200, body=page.encode(), headers={"Content-Type": "text/html"}))
        report = crawl(server.url, target)
    assert [failure.key for failure in report.failures] == ["n" * 256]
    assert (report.skipped, report.complete) == (1, False)
    assert {one.key: one.status for one in documents(target)} == {"fine": "ok", "n" * 256: "skipped"}
    report = crawl(nginx_server.url, get_store(f"{target.uri}-2"))
    assert [failure.key for failure in report.failures] == ["back\\slash"]


def test_a_long_body_that_breaks_is_taken_up_and_verified(nginx_server, faulty_server, target):
    data = random.Random(1).randbytes(5 * MIB)
    fill(nginx_server.root, {"long.bin": data, "short.bin": data[:1000]})
    faulty_server.script(Fault(cut=2 * MIB), Fault(truncate=MIB), path="/long.bin")
    faulty_server.script(Fault(truncate=500), path="/short.bin")
    report = crawl(faulty_server.url, target)
    assert report.complete, report.failures
    assert stored(target) == {"long.bin": data, "short.bin": data[:1000]}
    [long] = [one for one in documents(target) if one.key == "long.bin"]
    assert long.sha256 == hashlib.sha256(data).hexdigest()
    assert any("if-match" in asked.headers for asked in faulty_server.asked)


def test_a_wrong_content_range_is_never_believed(nginx_server, faulty_server, target):
    data = random.Random(2).randbytes(3 * MIB)
    fill(nginx_server.root, {"long.bin": data})
    faulty_server.script(Fault(cut=2 * MIB), path="/long.bin")
    faulty_server.always(Fault(headers={"Content-Range": f"bytes 5-{len(data) - 1}/{len(data)}"}), path="/long.bin")
    report = crawl(faulty_server.url, target)
    assert not report.complete
    assert not target.exists("long.bin")


def test_a_busy_server_is_given_time(nginx_server, faulty_server, target, monkeypatch):
    monkeypatch.setattr("anystore.web.client.Client.delay", no_delay)
    fill(nginx_server.root, {f"{number}": "x" for number in range(30)})
    faulty_server.script(*[Fault(status=429, headers={"Retry-After": "0"})] * 20, Fault(status=503), path="/1")
    report = crawl(faulty_server.url, target)
    assert report.complete, report.failures
    assert report.fetched == 30


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_what_is_refused_makes_the_crawl_incomplete(nginx_server, faulty_server, target, status, monkeypatch):
    monkeypatch.setattr("anystore.web.client.Client.delay", no_delay)
    fill(nginx_server.root, {"a": "x", "b": "x", "folder/c": "x"})
    crawl(faulty_server.url, target)
    faulty_server.always(Fault(status=status), path="/a")
    faulty_server.always(Fault(status=status), path="/folder/")
    report = crawl(faulty_server.url, target, verify="audit")
    assert {failure.key for failure in report.failures} == {"a", "folder/"}
    assert (report.complete, report.gone) == (False, 0)
    assert {one.key: one.status for one in documents(target)} == {"a": "error", "b": "ok", "folder/c": "ok"}
    assert target.get("a") == b"x"  # the older value stays
    faulty_server.heal()
    assert crawl(faulty_server.url, target).complete
    assert {one.status for one in documents(target)} == {"ok"}


def test_a_page_in_place_of_a_document_is_kept_apart(nginx_server, faulty_server, target):
    fill(nginx_server.root, {"paper.pdf": "%PDF-1.7 x", "page.html": "<html>fine</html>"})
    crawl(faulty_server.url, target)
    login = Fault(status=200, body=b"<!DOCTYPE html><title>Log in</title>", headers={"Content-Type": "text/html"})
    faulty_server.always(login, path="/paper.pdf")
    report = crawl(faulty_server.url, target, verify="audit")
    assert [failure.key for failure in report.failures] == ["paper.pdf"]
    assert target.get("paper.pdf") == b"%PDF-1.7 x"
    assert target.backend.get(private_key("suspicious/paper.pdf")).startswith(b"<!DOCTYPE")
    assert [one.key for one in documents(target, status="suspicious")] == ["paper.pdf"]
    faulty_server.heal()
    assert crawl(faulty_server.url, target).complete


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-MD5": base64.b64encode(hashlib.md5(b"other").digest()).decode()},
        {"Digest": "sha-256=" + base64.b64encode(hashlib.sha256(b"other").digest()).decode()},
        {"Repr-Digest": "sha-256=:" + base64.b64encode(hashlib.sha256(b"other").digest()).decode() + ":"},
    ],
    ids=["content-md5", "digest", "repr-digest"],
)
@pytest.mark.parametrize("size", [10, 2 * MIB])
def test_a_checksum_that_the_server_tells_is_checked(nginx_server, faulty_server, target, headers, size):
    fill(nginx_server.root, {"a": "x" * size})
    faulty_server.always(Fault(headers=headers), path="/a")
    report = crawl(faulty_server.url, target)
    assert "was expected" in report.failures[0].reason
    assert not target.exists("a")


def test_checksums_beside_the_files_are_checked(nginx_server, target):
    good, bad = b"good", b"bad"
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in (("good", good), ("bad", b"BAD")))
    fill(nginx_server.root, {"sub/good": good, "sub/bad": bad, "sub/SHA256SUMS": sums, "bad": bad})
    report = crawl(nginx_server.url, target)
    assert [failure.key for failure in report.failures] == ["sub/bad"]
    assert set(stored(target)) == {"sub/good", "sub/SHA256SUMS", "bad"}


def test_robots_are_obeyed_unless_told_otherwise(nginx_server, target):
    robots = "User-agent: *\nDisallow: /secret/\nDisallow: /a.txt\n"
    fill(nginx_server.root, {"robots.txt": robots, "a.txt": "x", "b.txt": "x", "secret/c": "x"})
    crawl(nginx_server.url, target, robots=False)
    assert target.exists("secret/c")
    report = crawl(nginx_server.url, target)
    assert (report.skipped, report.complete, report.gone) == (1, True, 0)
    nginx_server.forget_requests()
    fresh = get_store(f"{target.uri}-2")
    crawl(nginx_server.url, fresh)
    assert sorted(fresh.iterate_keys()) == ["b.txt", "robots.txt"]
    assert not [path for path in gets(nginx_server) if path.startswith(("/secret", "/a.txt"))]
    fill(nginx_server.root, {"robots.txt": "User-agent: anystore\nDisallow: /\n"})
    report = crawl(nginx_server.url, target)
    assert (report.complete, report.listed, report.gone) == (False, 0, 0)
    assert "robots.txt" in report.failures[0].reason


def test_robots_that_cannot_be_read_end_the_crawl(faulty_server, target, monkeypatch):
    monkeypatch.setattr("anystore.web.client.Client.delay", no_delay)
    faulty_server.always(Fault(status=503), path="/robots.txt")
    report = crawl(faulty_server.url, target)
    assert not report.complete
    assert "robots=False" in report.failures[0].reason
    assert {asked.path for asked in faulty_server.asked} == {"/robots.txt"}


def test_a_crawl_delay_spaces_the_requests(nginx_server, target):
    fill(nginx_server.root, {"robots.txt": "User-agent: *\nCrawl-delay: 0.2\n", "a": "x", "b": "x", "c": "x"})
    begun = time.monotonic()
    crawl(nginx_server.url, target)
    assert time.monotonic() - begun >= 4 * 0.2


def test_redirects_stay_at_home(nginx_server, faulty_server, target):
    fill(nginx_server.root, {"a": "x", "b": "x"})
    inner = f"http://localhost:{nginx_server.port}/b"
    faulty_server.always(Fault(status=302, headers={"Location": inner}), path="/a")
    report = crawl(faulty_server.url, target)
    assert [failure.key for failure in report.failures] == ["a"]
    assert "may not visit" in report.failures[0].reason
    assert crawl(faulty_server.url, target, allow_hosts=["localhost"]).complete
    assert target.get("a") == b"x"


def test_a_public_seed_does_not_lead_to_this_machine(nginx_server, faulty_server, target, monkeypatch):
    fill(nginx_server.root, {"a": "x"})
    monkeypatch.setattr("anystore.web.addresses.AddressGuard.kinds", frozenset())  # as if the seed were public
    report = crawl(faulty_server.url, target, robots=False)
    assert "address 127" in report.failures[0].reason
    assert faulty_server.asked == []


def test_a_page_that_is_no_listing_is_told(nginx_server, target, caplog):
    fill(nginx_server.root, {"page.html": "<p>hello</p>"})
    report = crawl(f"{nginx_server.url}page.html", target)
    assert "no listing" in report.failures[0].reason
    assert "incomplete" in caplog.text
    assert "status 404" in crawl(f"{nginx_server.url}none/", target).failures[0].reason


def test_loops_end(tmp_path, nginx_server, target):
    fill(nginx_server.root, {"sub/a": "x", "b": "x"})
    os.symlink("..", nginx_server.root / "sub" / "up")
    report = crawl(nginx_server.url, target)
    assert len(report.failures) == 1
    assert "leads back" in report.failures[0].reason
    assert len(nginx_server.requests()) < 20


def test_folders_that_loop_without_files_end(nginx_server, target):
    fill(nginx_server.root, {"a/f": "x"})
    os.remove(nginx_server.root / "a" / "f")
    for name in "bc":
        os.symlink(".", nginx_server.root / name)
    os.symlink("..", nginx_server.root / "a" / "up")
    report = crawl(nginx_server.url, target)
    assert not report.complete
    assert len(nginx_server.requests()) < 1000


def test_an_endless_tree_ends(faulty_server, target):
    page = (
        '<title>Index of /</title><h1>Index of /</h1><hr><pre><a href="../">../</a>\n'
        '<a href="{0}/">{0}/</a> 23-Nov-2024 02:07 -\n<a href="f">f</a> 23-Nov-2024 02:07 5\n</pre>'
    )
    headers = {"Content-Type": "text/html"}
    for depth in range(9, -1, -1):  # no page is like another one
        path = "/" + "".join(f"{number}/" for number in range(depth))
        faulty_server.always(Fault(status=200, body=b"12345", headers=headers), path=f"{path}f")
        faulty_server.always(Fault(status=200, body=page.format(depth).encode(), headers=headers), path=path)
    report = crawl(faulty_server.url, target, max_depth=5, robots=False)
    assert [failure.key for failure in report.failures] == ["0/1/2/3/4/5/"]
    assert "max_depth=5" in report.failures[0].reason
    assert report.fetched == 6


def test_a_hidden_folder_is_a_document_and_makes_the_crawl_incomplete(tmp_path, target):
    root = tmp_path / "root"
    fill(root, {"a": "x", "site/index.html": "<html><p>hello</p>", "site/other": "x"})
    with nginx(root, index="index.html") as server:
        report = crawl(server.url, target)
        assert not report.complete
        assert "hidden" in report.failures[0].reason
        assert stored(target) == {"a": b"x", "site/index.html": b"<html><p>hello</p>"}
        report = crawl(server.url, target)
        assert (report.fetched, report.unchanged) == (0, 2)


def test_a_packed_bomb_of_a_listing_is_refused(nginx_server, faulty_server, target):
    bomb = gzip.compress(bytes(1 << 28), 9)
    fill(nginx_server.root, {"a": "x", "sub/b": "x"})
    packed = Fault(status=200, body=bomb, headers={"Content-Type": "text/html", "Content-Encoding": "gzip"})
    faulty_server.always(packed, path="/sub/")
    tracemalloc.start()
    try:
        report = crawl(faulty_server.url, target)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [failure.key for failure in report.failures] == ["sub/"]
    assert "longer than" in report.failures[0].reason
    assert peak < 60 * MIB


def test_a_packed_listing_is_unpacked(nginx_server, faulty_server, target):
    page = b'<title>Index of /</title><h1>Index of /</h1><hr><pre><a href="../">../</a>\n<a href="a">a</a>\n</pre>'
    fill(nginx_server.root, {"a": "x"})
    headers = {"Content-Type": "text/html", "Content-Encoding": "gzip"}
    faulty_server.script(Fault(status=404), Fault(status=200, body=gzip.compress(page), headers=headers))
    assert crawl(faulty_server.url, target).fetched == 1


def test_a_packed_document_is_stored_as_it_is(tmp_path, target):
    data = gzip.compress(b"hello" * 100)
    root = tmp_path / "root"
    fill(root, {"a.txt.gz": data})
    with nginx(root, directives="location ~ gz$ { add_header Content-Encoding gzip; }") as server:
        assert crawl(server.url, target).complete
    assert target.get("a.txt.gz") == data


def test_what_is_listed_as_a_file_and_is_a_folder_is_walked(nginx_server, faulty_server, target):
    fill(nginx_server.root, {"sub/b": "x"})
    page = b'<title>Index of /</title><h1>Index of /</h1><hr><pre><a href="../">../</a>\n<a href="sub">sub</a>\n</pre>'
    listing = Fault(status=200, body=page, headers={"Content-Type": "text/html"})
    faulty_server.script(Fault(status=404), listing)
    report = crawl(faulty_server.url, target)
    assert report.failures == ()
    assert stored(target) == {"sub/b": b"x"}


def test_credentials_and_tokens_are_not_written_down(nginx_server, target):
    fill(nginx_server.root, {"a": "x"})
    url = nginx_server.url.replace("://", "://me:hunter22@") + "?token=s3cr3t77"
    report = crawl(url, target)
    assert report.complete
    written = b"".join(path.read_bytes() for path in Path(target.uri, ".anystore").rglob("*") if path.is_file())
    assert b"sha256" in written
    for text in (repr(report).encode(), written):
        assert b"hunter22" not in text
        assert b"s3cr3t77" not in text


def test_a_store_without_append_keeps_its_journal_in_segments(nginx_server, tmp_path):
    fill(nginx_server.root, {f"{number:04d}": f"{number}" for number in range(1200)})
    target = get_store(f"fsspec+file://{tmp_path}/plain")
    report = crawl(nginx_server.url, target)
    assert report.complete, report.failures[:1]
    assert crawl(nginx_server.url, target).unchanged == 1200
    assert len(list(documents(target))) == 1200


def test_threads_of_a_crawl_end_with_it(nginx_server, target):
    fill(nginx_server.root, {"a": "x" * (2 * MIB), "b": "y"})
    crawl(nginx_server.url, target)
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("anystore-crawl")]


@pytest.mark.parametrize("status", [204, 206, 304])
@pytest.mark.parametrize("size", [5, 2 * MIB])
def test_a_status_that_brings_no_whole_value_stores_nothing(nginx_server, faulty_server, target, status, size):
    fill(nginx_server.root, {"a": "x" * size, "b": "y"})
    headers = {"Content-Range": "bytes 0-3/*"} if status == 206 else {}
    faulty_server.always(Fault(status=status, body=b"" if status != 206 else b"xxxx", headers=headers), path="/a")
    report = crawl(faulty_server.url, target)
    assert [failure.key for failure in report.failures] == ["a"]
    assert stored(target) == {"b": b"y"}


def test_a_validator_that_lies_is_not_believed(nginx_server, faulty_server, target):
    fill(nginx_server.root, {"a": "one"}, moment=time.time() + 1)
    crawl(faulty_server.url, target)
    fill(nginx_server.root, {"a": "other size"})
    with_etag = [one for one in documents(target) if one.etag]
    faulty_server.always(Fault(headers={"ETag": with_etag[0].etag if with_etag else '"lies"'}), path="/a")
    assert crawl(faulty_server.url, target).fetched == 1
    assert target.get("a") == b"other size"
    assert "if-none-match" not in faulty_server.asked[-1].headers


@pytest.mark.parametrize("size", [5, 2 * MIB])
def test_no_redirect_leads_to_another_server_unasked(nginx_server, faulty_server, target, size):
    fill(nginx_server.root, {"a": "x" * size})
    away = f"http://localhost:{nginx_server.port}/a"
    faulty_server.always(Fault(status=302, headers={"Location": away}), path="/a")
    nginx_server.forget_requests()
    report = crawl(faulty_server.url, target)
    assert [failure.key for failure in report.failures] == ["a"]
    assert "/a" not in gets(nginx_server)
    assert crawl(faulty_server.url, target, allow_hosts=["localhost"]).complete
    assert len(target.get("a")) == size


@pytest.mark.parametrize("size", [5, 2 * MIB])
def test_the_robots_of_an_allowed_host_are_obeyed(tmp_path, nginx_server, faulty_server, target, size):
    fill(nginx_server.root, {"a": "x" * size, "b": "x" * size})
    other = tmp_path / "other"
    fill(other, {"a": "y" * size, "b": "y" * size, "robots.txt": "User-agent: *\nDisallow: /b"})
    with nginx(other) as away:
        for name in "ab":
            location = f"http://localhost:{away.port}/{name}"
            faulty_server.always(Fault(status=302, headers={"Location": location}), path=f"/{name}")
        report = crawl(faulty_server.url, target, allow_hosts=["localhost"])
        assert [failure.key for failure in report.failures] == ["b"]
        assert sorted(set(gets(away))) == ["/a", "/robots.txt"]
        assert gets(away).count("/robots.txt") == 1
        assert crawl(faulty_server.url, target, allow_hosts=["localhost"], robots=False).complete


def test_a_page_in_a_comment_takes_no_time():
    page = b"<!---->" * 146
    begun = time.monotonic()
    assert is_suspicious("a.pdf", {"content-type": "text/html"}, page)
    assert time.monotonic() - begun < 5


def test_pages_in_place_of_documents_are_known():
    html = {"content-type": "text/html; charset=utf-8"}
    login = b"\xef\xbb\xbf\n <!DOCTYPE html><title>Log in</title>"
    assert is_suspicious("a.pdf", html, login)
    assert is_suspicious("a.pdf", {}, login)
    assert is_suspicious("a.tar.gz", html, login)
    assert is_suspicious("a.tar.gz", html | {"content-encoding": "gzip"}, gzip.compress(login))
    assert not is_suspicious("a.html", html, login)
    assert not is_suspicious("a", html, login)
    assert not is_suspicious("a.pdf", html, b"%PDF-1.7")
    assert not is_suspicious("a.html.gz", html | {"content-encoding": "gzip"}, gzip.compress(login))


def test_a_body_that_is_packed_unasked_is_not_stored(nginx_server, faulty_server, target):
    fill(nginx_server.root, {"a.txt": "x" * 100})
    packed = Fault(status=200, body=gzip.compress(b"x" * 100), headers={"Content-Encoding": "gzip"})
    faulty_server.always(packed, path="/a.txt")
    assert "packed" in crawl(faulty_server.url, target).failures[0].reason
    assert stored(target) == {}


def test_a_body_without_length_that_is_shorter_than_listed_is_not_stored(nginx_server, faulty_server, target):
    fill(nginx_server.root, {"a": "x" * 100, "b": "x" * 2 * MIB})
    faulty_server.always(Fault(truncate=50, strip=("content-length",)))
    faulty_server.always(Fault(), path="/robots.txt")
    faulty_server._always.reverse()  # the longer path first
    page = Fault()
    faulty_server.script(page, page)
    report = crawl(faulty_server.url, target)
    assert {failure.key for failure in report.failures} == {"a", "b"}
    assert stored(target) == {}


def test_bodies_wait_for_a_slow_target(nginx_server, tmp_path):
    fill(nginx_server.root, {f"{number}": bytes(MIB) for number in range(150)})
    target = Store(Slow(get_store(tmp_path / "target").backend, "t"))
    tracemalloc.start()
    try:
        report = crawl(nginx_server.url, target)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert report.complete
    assert peak < 100 * MIB


class Slow(PrefixBackend):
    """Takes its time for each value."""

    def put(self, key, data, **options):
        time.sleep(0 if is_private(key) else 0.1)
        return super().put(key, data, **options)


@pytest.mark.parametrize("size", [5, 2 * MIB])
def test_an_interruption_leaves_nothing_behind(nginx_server, faulty_server, target, size):
    fill(nginx_server.root, {f"{number}": "x" * size for number in range(10)} | {"z": "x" * size})
    faulty_server.always(Fault(stall=3), path="/z")

    def interrupt():
        deadline = time.monotonic() + 20
        while not any(asked.path == "/z" for asked in faulty_server.asked) and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        crawl(faulty_server.url, target)
    thread.join()
    assert time.monotonic() - begun < 40  # and not until the stalled server is given up
    assert not [one.name for one in threading.enumerate() if one.name.startswith("anystore-crawl")]
    faulty_server.heal()
    report = crawl(faulty_server.url, target)
    assert report.complete, report.failures
    assert len(stored(target)) == 11


def test_a_listing_that_became_empty_prunes_nothing(nginx_server, target):
    fill(nginx_server.root, {"a": "x"})
    crawl(nginx_server.url, target)
    os.remove(nginx_server.root / "a")
    report = crawl(nginx_server.url, target, prune=True)
    assert (report.pruned, report.complete) == (0, False)
    assert "nothing is deleted" in report.failures[0].reason
    assert target.exists("a")
