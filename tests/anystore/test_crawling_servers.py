"""The same nasty tree from every server that lists folders."""

import os
from contextlib import contextmanager

import pytest

from anystore import get_store
from anystore.crawling import crawl, documents, web
from anystore.web.easy import Easy
from anystore.web.fetcher import Fetcher
from tests.crawled import LONG_AGO, stored
from tests.object_servers import BUCKET
from tests.remote_servers import apache, wsgidav
from tests.servers import nginx, python_http
from tests.web_servers import apache_listing, caddy, lighttpd

NAMES = [
    *("plain.txt", "a b.txt", " lead", "50%.txt", "x%2Fy", "%41", "a+b", "number #1", "q?x=1&y=2", "semi;colon"),
    *('it\'s "quoted"', "<b>&amp;<b>", "tab\tbed", "12:30", "https:example.org", "javascript:x", "[set]*", "{x,y}"),
    *("a|b^`", "für-日本-😀", "cafe\u0301", "caf\u00e9", "~tilde", "a@b", "n" * 200, "UPPER", "upper", "-dash", "=eq"),
    *("empty", "deep/" * 10 + "end", "folder with %#?/inner file", "zip.tar.gz", "no.index/index.html", "a..b", "..."),
    *(
        "$HOME",
        "back`tick",
        "percent%",
        "%",
        "%%",
        "plus + plus",
        "comma,comma",
        "(paren)",
        "!bang",
        "und_er",
        "'",
        '"',
    ),
    *("&", "&lt;", "<", ">", "robots", "sitemap.xml", "Index of", "parent", "Name", "Last modified", "Size"),
]


@contextmanager
def python(root):
    with python_http(root) as server:
        yield server.url


def nginx_as(form):
    @contextmanager
    def serve(root):
        with nginx(root, autoindex_format=form) as server:
            yield server.url

    return serve


def apache_as(options, extra=""):
    return lambda root: apache_listing(root, options=options, extra=extra)


SERVERS = {
    "nginx-html": nginx_as("html"),
    "nginx-json": nginx_as("json"),
    "nginx-xml": nginx_as("xml"),
    "apache-fancy": apache_as("FancyIndexing NameWidth=* Charset=UTF-8"),
    "apache-table": apache_as("FancyIndexing HTMLTable VersionSort NameWidth=* Charset=UTF-8"),
    "apache-plain": apache_as("-FancyIndexing Charset=UTF-8"),
    "lighttpd": lighttpd,
    "caddy": caddy,
    "python": python,
}


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "tree"
    for name in NAMES:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"" if name == "empty" else f"content of {name}".encode())
        os.utime(path, (LONG_AGO, LONG_AGO))
    if os.geteuid() == 0:
        for path in (tmp_path, *tmp_path.parents[:3]):
            path.chmod(0o755)
    return root


@pytest.mark.parametrize("name", SERVERS)
def test_every_name_arrives_from(name, tree, tmp_path):
    wanted = {one: b"" if one == "empty" else f"content of {one}".encode() for one in NAMES}
    if name.startswith("nginx"):
        del wanted["..."]  # nginx lists no name that begins with a dot
    refused = {"tab\tbed"} if name == "lighttpd" else set()  # it lists control characters, and does not serve them
    wanted = {one: data for one, data in wanted.items() if one not in refused}
    target = get_store(tmp_path / "target", serialization_mode="raw")
    with SERVERS[name](tree) as url:
        report = crawl(url, target, robots=False)
        failed = {one.key for one in report.failures if "in place of its listing" not in one.reason}
        assert failed == refused
        assert stored(target) == wanted
        again = crawl(url, target, robots=False)
        assert (again.unchanged, again.fetched) == (len(wanted), 0)
        changed = tree / "a b.txt"
        changed.write_bytes(b"changed, and of another length")
        assert crawl(url, target, robots=False).fetched == 1
    assert target.get("a b.txt") == b"changed, and of another length"


@pytest.mark.parametrize("name", [name for name in SERVERS if name not in ("apache-plain", "python")])
def test_what_a_listing_proves_is_not_asked_for(name, tmp_path, monkeypatch):
    root = tmp_path / "root"
    for number in range(100):
        path = root / f"folder {number:02}" / f"{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 2000)
        os.utime(path, (LONG_AGO - number, LONG_AGO - number))
    if os.geteuid() == 0:
        for path in (tmp_path, *tmp_path.parents[:3]):
            path.chmod(0o755)
    asked, start = [], Fetcher._start  # what is asked again counts again
    monkeypatch.setattr(Fetcher, "_start", lambda self, fetch, host: (asked.append(fetch.at), start(self, fetch, host)))
    target = get_store(tmp_path / "target", serialization_mode="raw")
    with SERVERS[name](root) as url:
        assert crawl(url, target).fetched == 100
        asked.clear()
        assert crawl(url, target).unchanged == 100
        folders = [f"{url}folder%20{number:02}/" for number in range(100)]
        assert sorted(asked) == sorted([f"{url}robots.txt", url, *folders])


@pytest.mark.parametrize(("known", "most"), [(True, 0), (False, 10)], ids=["known", "unknown"])
def test_a_server_that_makes_one_listing_at_a_time_refuses_few(tmp_path, monkeypatch, known, most):
    if not known:
        monkeypatch.setattr(web, "_LISTS_SINGLY", "")
    one = tmp_path / "one"
    one.write_bytes(b"x")
    for number in range(100):
        folder = tmp_path / "root" / f"{number}"
        folder.mkdir(parents=True)
        for name in range(100):
            os.link(one, folder / f"{name}")
    statuses, take = [], Easy.take

    def take_and_note(easy):
        taken = take(easy)
        statuses.append(taken[0])
        return taken

    monkeypatch.setattr(Easy, "take", take_and_note)
    with lighttpd(tmp_path / "root") as url:
        assert crawl(url, get_store(tmp_path / "target"), glob="nothing", robots=False).complete
    assert statuses.count(200) == 101
    assert statuses.count(503) == len(statuses) - 101 <= most


@pytest.mark.parametrize("server", [apache, wsgidav], ids=["apache", "wsgidav"])
def test_webdav(server, tmp_path):
    with server() as running:
        for name in ("a b.txt", "sub/c#d.txt", "sub/deep/50%.txt"):
            path = running.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
            os.utime(path, (LONG_AGO, LONG_AGO))
        url = running.uri.replace("webdav://", "http://")
        source = get_store(f"{url}/", backend_config=dict(running.config))
        target = get_store(tmp_path / "target")
        report = crawl(source, target, robots=False)
        assert report.complete, report.failures
        assert stored(target) == {name: name for name in ("a b.txt", "sub/c#d.txt", "sub/deep/50%.txt")}
        assert crawl(source, target, robots=False).unchanged == 3
        assert sorted(source.iterate_keys()) == ["a b.txt", "sub/c#d.txt", "sub/deep/50%.txt"]
        assert list(source.iterate_keys(prefix="sub/deep")) == ["sub/deep/50%.txt"]


def test_a_public_bucket(tmp_path, moto_server):
    bucket = get_store(f"s3://{BUCKET}/crawl", backend_config=dict(moto_server.config))
    bucket.put_many({f"folder {number % 3}/value #{number}": f"v{number}" for number in range(25)})
    client = moto_server.s3()
    for key in bucket.iterate_keys():
        client.put_object_acl(Bucket=BUCKET, Key=f"crawl/{key}", ACL="public-read")
    url = f"{moto_server.url}/{BUCKET}/?prefix=crawl/&max-keys=10"
    target = get_store(tmp_path / "target")
    report = crawl(url, target, robots=False)
    assert report.complete, report.failures
    assert len(stored(target)) == 25
    assert target.get("crawl/folder 1/value #4") == "v4"
    assert {one.status for one in documents(target)} == {"ok"}


def test_a_sitemap_and_a_page_of_links(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    with nginx(root) as server:
        (root / "docs").mkdir()
        for name in ("a.txt", "b c.txt"):
            (root / "docs" / name).write_text(name)
        pages = "".join(f"<url><loc>{server.url}docs/{name}</loc></url>" for name in ("a.txt", "b%20c.txt"))
        (root / "sitemap.xml").write_text(f'<?xml version="1.0"?><urlset>{pages}</urlset>')
        target = get_store(tmp_path / "mapped")
        assert crawl(f"{server.url}sitemap.xml", target).complete
        assert stored(target) == {"docs/a.txt": "a.txt", "docs/b c.txt": "b c.txt"}
        (root / "docs" / "page.html").write_text('<h1>Papers</h1><a href="a.txt">a</a> <a href="b%20c.txt">b</a>')
        linked = get_store(tmp_path / "linked")
        report = crawl(f"{server.url}docs/page.html", linked, follow="links")
        assert report.complete, report.failures
        assert stored(linked) == {"a.txt": "a.txt", "b c.txt": "b c.txt"}
