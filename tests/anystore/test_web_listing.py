"""Listings: what real servers write, and which links are entries."""

import json
import os
import urllib.request
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anystore.web.headers import parse_content_range, parse_http_date, parse_length
from anystore.web.listing import parse_listing
from anystore.web.urls import child_of, join_url
from tests.servers import nginx, python_http

URL = "https://host/f/"
SIZE = 12_345
NAMES = [
    "a b.txt",
    " lead",
    "trail ",
    "50%.txt",
    "x%2Fy",
    "%41",
    "a+b",
    "number #1",
    "q?x=1&y=2",
    'it\'s "quoted"',
    "<b>&amp;<b>",
    "back\\slash",
    "two\nlines",
    "car\rriage",
    "tab\tbed",
    "bell\x07",
    "12:30",
    "https:example.org",
    "javascript:x",
    "semi;colon",
    "[set]*",
    "a|b{c}^`",
    "für-日本-😀",
    "cafe\u0301",
    "\ufffd",
    "~tilde",
    "a@b",
    "n" * 255,
]
BACKSLASH = "back\\slash"
FOLDERS = ["folder", "folder with %#?"]
FOREIGN = b"caf\xe9"
MTIME = 1_700_000_000
MODIFIED = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)


def fetch(url):
    with urllib.request.urlopen(url) as answer:
        return parse_listing(answer.read(), url=answer.url, content_type=answer.headers["content-type"])


@pytest.fixture
def awkward_folder(tmp_path):
    folder = tmp_path / "root" / "all of them"
    folder.mkdir(parents=True)
    for name in NAMES:
        (folder / name).write_bytes(b"x" * SIZE)
        os.utime(folder / name, (MTIME, MTIME))
    for name in FOLDERS:
        (folder / name).mkdir()
    with open(os.fsencode(folder) + b"/" + FOREIGN, "wb"):
        pass
    (tmp_path / "root" / "above.txt").touch()
    return tmp_path / "root"


@pytest.mark.parametrize("form", ["html", "json", "xml"])
def test_nginx_lists_every_awkward_name(awkward_folder, form):
    with nginx(awkward_folder, autoindex_format=form) as server:
        listing = fetch(server.url + "all%20of%20them/")
    assert listing.adapter.startswith("nginx")
    assert {entry.name for entry in listing.entries if not entry.is_folder} == set(NAMES) - {BACKSLASH}
    assert listing.foreign == (BACKSLASH,)
    assert {entry.name for entry in listing.entries if entry.is_folder} == set(FOLDERS)
    assert [(one.name, one.url.rpartition("/")[2]) for one in listing.undecoded] == [("caf%E9", "caf%E9")]
    for entry in listing.entries:
        assert entry.url == join_url(server.url + "all%20of%20them/", entry.name + "/" * entry.is_folder)
        if entry.is_folder:
            assert entry.size is None
            continue
        assert (entry.size, entry.size_exact) == (SIZE, True)
        if form == "html":
            assert (entry.modified, entry.modified_exact) == (MODIFIED.replace(second=0), False)
        else:
            assert (entry.modified, entry.modified_exact) == (MODIFIED, True)


def test_rounded_sizes_of_nginx_are_not_exact(awkward_folder):
    with nginx(awkward_folder, directives="location / { autoindex_exact_size off; }") as server:
        listing = fetch(server.url + "all%20of%20them/")
    sizes = {(entry.size, entry.size_exact) for entry in listing.entries if not entry.is_folder}
    assert sizes == {(12 << 10, False)}


def test_python_lists_every_awkward_name(awkward_folder):
    with python_http(awkward_folder) as server:
        listing = fetch(server.url + "all%20of%20them/")
    assert listing.adapter == "python"
    assert {entry.name for entry in listing.entries if not entry.is_folder} == set(NAMES) - {BACKSLASH}
    assert listing.foreign == (BACKSLASH,)
    assert {entry.name for entry in listing.entries if entry.is_folder} == set(FOLDERS)
    assert len(listing.undecoded) == 1
    assert {(entry.size, entry.modified) for entry in listing.entries} == {(None, None)}


@pytest.mark.parametrize("form", ["html", "json", "xml"])
def test_empty_folder_is_a_listing(tmp_path, form):
    with nginx(tmp_path, autoindex_format=form) as server:
        assert fetch(server.url).entries == ()
    with python_http(tmp_path) as server:
        assert fetch(server.url).entries == ()


# -- pages of servers that are not started here ------------------------------

APACHE_PRE = b"""<html><head><title>Index of /f</title></head><body><h1>Index of /f</h1>
<pre><img src="/icons/blank.gif" alt="Icon "> <a href="?C=N;O=D">Name</a> <a href="?C=M;O=A">Last modified</a>
<hr><img src="/icons/back.gif"> <a href="/">Parent Directory</a>                    -
<img src="/icons/unknown.gif"> <a href="a%20b.txt">a b.txt</a>        2023-11-14 22:13    7
<img src="/icons/unknown.gif"> <a href="./12:30">12:30</a>          2023-11-14 22:13  2.9M
<img src="/icons/folder.gif"> <a href="dir%3f/">dir?/</a>          2023-11-14 22:13    -
<hr></pre><address>Apache Server</address></body></html>"""

APACHE_TABLE = b"""<html><head><title>Index of /f</title></head><body><h1>Index of /f</h1><table>
<tr><th></th><th><a href="?C=N;O=D">Name</a></th><th><a href="?C=M;O=A">Last modified</a></th></tr>
<tr><td></td><td><a href="/">Parent Directory</a></td><td>&nbsp;</td><td align="right">  - </td></tr>
<tr><td></td><td><a href="a%20b.txt">a b</a></td><td align="right">2023-11-14 22:13  </td>
<td align="right">  7 </td></tr>
<tr><td></td><td><a href="./12:30">12:30</a></td><td align="right">2023-11-14 22:13  </td>
<td align="right">2.9M</td></tr>
<tr><td></td><td><a href="dir%3f/">dir?/</a></td><td align="right">2023-11-14 22:13  </td>
<td align="right">  - </td></tr>
</table></body></html>"""

APACHE_LIST = b"""<html><head><title>Index of /f</title></head><body><h1>Index of /f</h1>
<ul><li><a href="/"> Parent Directory</a></li><li><a href="a%20b.txt"> a b.txt</a></li>
<li><a href="./12:30"> 12:30</a></li><li><a href="dir%3f/"> dir?/</a></li></ul></body></html>"""

LIGHTTPD = b"""<html><head><title>Index of /f/</title></head><body><h2>Index of /f/</h2><div class="list">
<table summary="Directory Listing"><thead><tr><th class="n">Name</th></tr></thead><tbody>
<tr class="d"><td class="n"><a href="../">..</a>/</td><td class="m">&nbsp;</td><td class="s">- &nbsp;</td></tr>
<tr class="d"><td class="n"><a href="dir%3f/">dir?</a>/</td><td class="m">2023-Nov-14 22:13:20</td>
<td class="s">- &nbsp;</td></tr>
<tr><td class="n"><a href="12%3a30">12:30</a></td><td class="m">2023-Nov-14 22:13:20</td><td class="s">2.9M</td></tr>
<tr><td class="n"><a href="a%20b.txt">a b.txt</a></td><td class="m">2023-Nov-14 22:13:20</td>
<td class="s">0.1K</td></tr>
</tbody></table></div></body></html>"""

CADDY = b"""<html><head><title>/f/</title></head><body><h1><a href="/">/</a><a href="">f</a>/</h1><main>
<div class='listing'><table aria-describedby="summary">
<thead><tr><th><a href="?sort=name&order=asc">Name</a></th></tr></thead>
<tbody><tr><td></td><td><a href="..">up</a></td><td>&mdash;</td></tr>
<tr class="file"><td></td><td><a href="./dir%3F/"><svg/><span class="name">dir?/</span></a></td><td>&mdash;</td>
<td class="timestamp"><time datetime="2023-11-14T22:13:20Z">11/14/2023 10:13:20 PM +00:00</time></td></tr>
<tr class="file"><td></td><td><a href="./12:30"><span class="name">12:30</span></a></td>
<td class="size" data-size="3000000"><div>2.9 MiB</div></td>
<td><time datetime="2023-11-14T22:13:20Z">11/14/2023</time></td></tr>
<tr class="file"><td></td><td><a href="./a%20b.txt"><span class="name">a b.txt</span></a></td>
<td class="size" data-size="7"><div>7 B</div></td><td><time datetime="2023-11-14T22:13:20Z">11/14/2023</time></td></tr>
</tbody></table></div></main><a href="https://caddyserver.com">Caddy</a></body></html>"""

GENERIC = b"""<html><head><title>Index of /f/</title></head><body>
<p><a href="/">Home</a> <a href="mailto:me@host">Me</a>
<div><a href="a%20b.txt"><img src="i"></a><a href="a%20b.txt">a b.txt</a></div>
<div><a href="12%3A30">12:30</a></div><a href="dir%3F/">dir?</a></body></html>"""

CADDY_JSON = b"""[{"name":"dir?/","size":4096,"url":"./dir%3F/","mod_time":"2023-11-14T22:13:20.5Z",
"is_dir":true,"is_symlink":false},
{"name":"12:30","size":3000000,"url":"./12:30","mod_time":"2023-11-14T22:13:20.5Z","is_dir":false,"is_symlink":true},
{"name":"a b.txt","size":7,"url":"./a%20b.txt","mod_time":"2023-11-14T23:13:20.9+01:00",
"is_dir":false,"is_symlink":false},
{"name":"bad\xef\xbf\xbd","size":7,"url":"./bad%FF","mod_time":"2023-11-14T22:13:20Z",
"is_dir":false,"is_symlink":false}]"""


@pytest.mark.parametrize(
    ("adapter", "page", "size", "rounded", "seconds"),
    [
        ("apache", APACHE_PRE, (7, True), (3_040_870, False), 0),
        ("apache", APACHE_TABLE, (7, True), (3_040_870, False), 0),
        ("apache", APACHE_LIST, (None, False), (None, False), None),
        ("lighttpd", LIGHTTPD, (102, False), (3_040_870, False), 20),
        ("caddy", CADDY, (7, True), (3_000_000, True), 20),
        ("generic", GENERIC, (None, False), (None, False), None),
        ("caddy-json", CADDY_JSON, (7, True), (3_000_000, False), 20),
    ],
)
def test_other_servers(adapter, page, size, rounded, seconds):
    kind = "application/json" if adapter == "caddy-json" else "text/html;charset=ISO-8859-1"
    listing = parse_listing(page, url=URL, content_type=kind)
    assert listing.adapter == adapter
    entries = {entry.name: entry for entry in listing.entries}
    assert {name: entry.is_folder for name, entry in entries.items()} == {
        "a b.txt": False,
        "12:30": False,
        "dir?": True,
    }
    assert (entries["a b.txt"].size, entries["a b.txt"].size_exact) == size
    assert (entries["12:30"].size, entries["12:30"].size_exact) == rounded
    expected = None if seconds is None else MODIFIED.replace(second=seconds)
    assert entries["a b.txt"].modified == expected
    assert entries["a b.txt"].modified_exact is (adapter == "caddy-json")
    assert entries["12:30"].modified_exact is False
    assert entries["dir?"].size is None
    assert entries["dir?"].url.lower() == "https://host/f/dir%3f/"  # spelled as the page spells it


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<title>Home</title><h1>Welcome</h1><a href='a.html'>a</a>", "text/html"),
        (b"<title>Index of plants</title><h1>Index of plants</h1><ul><li><a href='a.html'>a</a></ul>", "text/html"),
        (b"<a href='?C=N;O=D'>x</a><a href='a'>a</a>", "text/html"),
        (b"", "text/html"),
        (b"\0\xff<<<", "text/html"),
        (b"<title>Index of /f/</title><a href='a'>a</a>", "text/plain"),
        (b"{}", "application/json"),
        (b"[1, 2]", "application/json"),
        (b'[{"name": "a"}]', "application/json"),
        (b'[{"name": "a"', "application/json"),
        (b"[" * 100_000, "application/json"),
        (b'<?xml version="1.0"?><rss></rss>', "text/xml"),
        (b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "b">]><list><file mtime="x">&a;</file></list>', "text/xml"),
        (b'<?xml version="1.0"?><list><file mtime="2023-11-14T22:13:20Z" size="7">a</file><b/></list>', "text/xml"),
        (b"%PDF-1.7", "application/pdf"),
    ],
)
def test_page_that_is_no_listing(body, kind):
    assert parse_listing(body, url=URL, content_type=kind) is None


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "../a", "/etc/passwd", "a\\u0000"])
def test_name_that_leaves_the_folder_is_no_entry(name):
    body = f'[{{"name":"{name}","type":"file","mtime":"Tue, 14 Nov 2023 22:13:20 GMT","size":7}}]'.encode()
    assert parse_listing(body, url=URL, content_type="application/json").entries == ()
    if "\\" not in name:
        body = f'<?xml version="1.0"?><list><file mtime="2023-11-14T22:13:20Z" size="7">{name}</file></list>'.encode()
        assert parse_listing(body, url=URL, content_type="text/xml").entries == ()


def test_lone_surrogate_is_no_text():
    body = b'[{"name":"a\\ud800","type":"file","mtime":"Tue, 14 Nov 2023 22:13:20 GMT","size":7}]'
    listing = parse_listing(body, url=URL, content_type="application/json")
    assert listing.entries == ()
    assert len(listing.undecoded) == 1


@pytest.mark.parametrize(
    ("href", "child"),
    [
        ("a", (b"a", False)),
        ("a/", (b"a", True)),
        ("./a", (b"a", False)),
        (".//a", None),
        ("/f/a", (b"a", False)),
        ("https://host/f/a", (b"a", False)),
        ("HTTPS://HOST:443/f/a/", (b"a", True)),
        ("a#top", (b"a", False)),
        (" a\n", (b"a", False)),
        ("a\tb", (b"ab", False)),
        ("50%.txt", (b"50%.txt", False)),
        ("%zz", (b"%zz", False)),
        ("a;b", (b"a;b", False)),
        ("...", (b"...", False)),
        ("%25", (b"%", False)),
        ("a%5Cb", (b"a\\b", False)),
        ("caf%E9", (b"caf\xe9", False)),
        ("", None),
        ("#top", None),
        ("?C=N;O=D", None),
        ("./?sort=name", None),
        ("a?download=1", None),
        ("/", None),
        ("/f", None),
        ("/f/", None),
        ("./", None),
        (".", None),
        ("..", None),
        ("../", None),
        ("../g", None),
        ("%2e%2E", None),
        ("%2e", None),
        ("a/../../g", None),
        ("a/b", None),
        ("a//", None),
        ("a%2Fb", None),
        ("..%2fg", None),
        ("a%00", None),
        ("a\\b", None),
        ("\\\\evil\\a", None),
        ("/g/a", None),
        ("//host/f/a", None),
        ("//evil/f/a", None),
        ("https://evil/f/a", None),
        ("http://host/f/a", None),
        ("https://host:8443/f/a", None),
        ("https://host:port/f/a", None),
        ("https://host@evil/f/a", None),
        ("https://me:pw@host/f/a", None),
        ("https://host.evil/f/a", None),
        ("https:a", None),
        ("https:/f/a", None),
        ("javascript:alert(1)", None),
        ("java\nscript:alert(1)", None),
        ("mailto:me@host", None),
        ("file:///f/a", None),
        ("data:text/html,a", None),
    ],
)
def test_only_links_directly_into_the_folder_are_entries(href, child):
    assert child_of(URL, href) == child


def test_folder_is_known_in_every_spelling_and_with_its_query():
    assert child_of("https://host/a%20b/?token=1", "/a b/c") == (b"c", False)
    assert child_of("https://host/a%20b/?token=1", "/a%20b/c/") == (b"c", True)
    assert join_url("https://host/a%20b/?token=1", "c d") == "https://host/a%20b/c%20d?token=1"


@given(
    st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1).filter(
        lambda n: n not in (".", "..")
    )
)
def test_law_every_name_comes_back_from_its_url(name):
    url = join_url(URL, name)
    assert child_of(URL, url) == (name.encode(), False)
    assert child_of(URL, url.removeprefix(URL)) == (name.encode(), False)
    assert child_of(URL, url.removeprefix("https://host") + "/") == (name.encode(), True)


@given(st.text())
def test_law_no_link_breaks_the_parser_or_leaves_the_folder(href):
    child = child_of(URL, href)
    assert child is None or (child[0] not in (b"", b".", b"..") and b"/" not in child[0])


HTML = b'<title>Index of /f/</title><h1>Index of /f/</h1><hr><pre><a href="../">../</a>\n<a href="a">a</a>%s\n</pre>'
XML = b'<?xml version="1.0"?>\n<list>\n<file mtime="%s" size="5">a</file></list>'
NGINX = b'[{"name": "a", "type": "file", "mtime": "%s", "size": %s}]'
CADDY = b'[{"name": "a", "url": "./a", "mod_time": "%s"}, {"name": "b", "url": "http://[", "mod_time": ""}]'
ODD_PAGES = {
    "a host that is none": (HTML % b'<a href="http://[::1">x</a>', "text/html"),
    "a size beyond measure": (HTML % (b" 01-Jan-2020 00:00 " + b"9" * 5000 + b"P"), "text/html"),
    "the start of the calendar": (XML % b"0001-01-01T00:00:00+05:00", "text/xml"),
    "a negative size": (NGINX % (b"Mon, 31 Dec 9999 23:59:59 -0500", b"-5"), "application/json"),
    "a size that is none": (NGINX % (b"", b"true"), "application/json"),
    "a link that is none": (CADDY % b"0001-01-01T00:00:00+05:00", "application/json"),
}


@pytest.mark.parametrize("name", ODD_PAGES)
def test_an_odd_line_costs_no_more_than_itself(name):
    body, kind = ODD_PAGES[name]
    (entry,) = parse_listing(body, url="http://host/f/", content_type=kind).entries
    assert (entry.name, entry.modified_exact) == ("a", False)
    assert entry.size in (None, 5)
    assert not isinstance(entry.size, bool)


@pytest.mark.parametrize(
    "text",
    [
        "Mon, 31 Dec 9999 23:59:59 -0500",
        "Mon, 01 Jan 2020 00:00:00 +99999999999999999999",
        "Mon, 01 Jan 2020 99999999999999:0:0 GMT",
    ],
)
def test_a_date_that_is_none(text):
    assert parse_http_date(text) is None


def test_numbers_beyond_measure_are_unknown():
    assert parse_length("9" * 5000) is None
    assert parse_content_range(f"bytes 0-{'9' * 5000}/*") is None


IIS = b"""<html><head><title>host - /f/</title></head><body><H1>host - /f/</H1><hr>
<pre><A HREF="/">[To Parent Directory]</A><br><br>
11/23/2026  2:07 AM        &lt;dir&gt; <A HREF="/f/sub%20a/">sub a</A><br>
 1/2/2025 12:30 PM        12345 <A HREF="/f/a%23b.txt">a#b.txt</A><br></pre><hr></body></html>"""


def test_iis():
    listing = parse_listing(IIS, url=URL, content_type="text/html")
    assert listing.adapter == "iis"
    folder, file = listing.entries
    assert (folder.name, folder.is_folder, folder.size) == ("sub a", True, None)
    assert (file.name, file.size, file.size_exact) == ("a#b.txt", 12345, True)
    assert file.modified == datetime(2025, 1, 2, 12, 30, tzinfo=UTC)


def bucket(*rows, truncated="", more=""):
    return (
        '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name>'
        f"<Prefix></Prefix><IsTruncated>{truncated or 'false'}</IsTruncated>{''.join(rows)}{more}</ListBucketResult>"
    ).encode()


def content(key, size=5):
    when = "2023-11-14T22:13:20.000Z"
    return f"<Contents><Key>{key}</Key><LastModified>{when}</LastModified><Size>{size}</Size></Contents>"


def test_buckets():
    page = bucket(
        content("a b/c&amp;d.txt"), content("folder/", 0), "<CommonPrefixes><Prefix>p/</Prefix></CommonPrefixes>"
    )
    listing = parse_listing(page, url="https://host/b/?list-type=2&token=1", content_type="application/xml")
    file, folder = listing.entries
    assert (file.name, file.url) == ("a b/c&d.txt", "https://host/b/a%20b/c%26d.txt?token=1")
    assert (file.size, file.size_exact, file.modified, file.modified_exact) == (5, True, MODIFIED, True)
    assert (folder.name, folder.is_folder) == ("p", True)
    assert listing.more == ()


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        ("<NextContinuationToken>x+y</NextContinuationToken>", "list-type=2&continuation-token=x%2By"),
        ("<NextMarker>m</NextMarker>", "marker=m"),
        ("", "marker=last"),
    ],
)
def test_a_bucket_has_more_pages(said, asked):
    page = bucket(content("first"), content("last"), truncated="true", more=said)
    listing = parse_listing(page, url="https://host/b/", content_type="application/xml")
    assert listing.more == (f"https://host/b/?{asked}",)


def test_webdav():
    page = b"""<?xml version="1.0"?><D:multistatus xmlns:D="DAV:">
    <D:response><D:href>/f/</D:href><D:propstat><D:prop><D:resourcetype><D:collection/></D:resourcetype></D:prop></D:propstat></D:response>
    <D:response><D:href>/f/a%20b</D:href><D:propstat><D:prop><D:resourcetype/><D:getcontentlength>7</D:getcontentlength>
    <D:getlastmodified>Tue, 14 Nov 2023 22:13:20 GMT</D:getlastmodified></D:prop></D:propstat></D:response>
    <D:response><D:href>https://host/f/sub/</D:href><D:propstat><D:prop><D:resourcetype><D:collection/></D:resourcetype></D:prop></D:propstat></D:response>
    <D:response><D:href>/f/..%2fetc</D:href></D:response><D:response><D:href>/other/x</D:href></D:response></D:multistatus>"""
    listing = parse_listing(page, url=URL, content_type="application/xml")
    assert [(one.name, one.is_folder, one.size) for one in listing.entries] == [("a b", False, 7), ("sub", True, None)]
    assert listing.entries[0].modified == MODIFIED
    assert listing.foreign == ("..%2fetc",)


def test_sitemaps():
    page = b"""<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">
    <url><loc>https://host/f/</loc></url><url><loc>https://host/f/a/b%20c.html</loc><lastmod>2020-01-01</lastmod></url>
    <url><loc>https://host/f/p?id=1&amp;x=2</loc></url><url><loc>https://host/f/d/</loc></url>
    <url><loc>https://evil/f/a</loc></url></urlset>"""
    listing = parse_listing(page, url=URL + "sitemap.xml", content_type="text/xml")
    assert [(one.name, one.url, one.modified) for one in listing.entries] == [
        ("index.html", "https://host/f/", None),
        ("a/b c.html", "https://host/f/a/b%20c.html", None),
        ("p?id=1&x=2", "https://host/f/p?id=1&x=2", None),
        ("d/index.html", "https://host/f/d/", None),
    ]
    assert listing.foreign == ("https://evil/f/a",)
    index = b'<?xml version="1.0"?><sitemapindex><sitemap><loc>https://host/f/1.xml</loc></sitemap></sitemapindex>'
    assert parse_listing(index, url=URL, content_type="text/xml").more == ("https://host/f/1.xml",)


def test_entities_of_a_page_are_never_resolved():
    bomb = b"""<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>
    <urlset><url><loc>https://host/f/&b;</loc></url></urlset>"""
    assert parse_listing(bomb, url=URL, content_type="text/xml") is None


def test_any_page_of_links_when_asked():
    page = b"""<a href="a.pdf">x</a><a href="/f/deep/b%20c.pdf#p">x</a><a href="sub/">x</a><a href="/other">x</a>
    <a href="//evil/f/x">x</a><a href="javascript:x()">x</a><a href="mailto:a@b">x</a><a href="file:///etc/passwd">x</a>
    <a href="https://user@host/f/y">x</a><a href="../up">x</a><a href="?sort=1">x</a><a href="http://[bad/f/z">x</a>"""
    assert parse_listing(page, url=URL, content_type="text/html") is None
    listing = parse_listing(page, url=URL, content_type="text/html", follow_links=True)
    assert [(one.name, one.is_folder) for one in listing.entries] == [
        ("a.pdf", False),
        ("deep/b c.pdf", False),
        ("sub", True),
    ]


def test_links_are_resolved_against_the_base_of_the_page():
    page = b"""<html><head><title>Index of /f/</title><base href="https://host/f/"></head><body><h1>Index of /f/</h1>
    <ul><li><a href="/"> Parent</a></li><li><a href="a.txt">a.txt</a></li></ul></body></html>"""
    listing = parse_listing(page, url="https://host/f/?x=1", content_type="text/html")
    assert [one.name for one in listing.entries] == ["a.txt"]
    elsewhere = page.replace(b"https://host/f/", b"https://evil/f/")
    assert parse_listing(elsewhere, url=URL, content_type="text/html").entries == ()


@pytest.mark.parametrize("href", ["..%2fetc", "%2e%2e/", "a%00b", "%2e", "x%2f..%2fy"])
def test_a_name_that_no_file_has_is_reported(href):
    page = (
        f'<title>Index of /f/</title><h1>Index of /f/</h1><hr><pre><a href="../">../</a>\n<a href="{href}">x</a></pre>'
    )
    listing = parse_listing(page.encode(), url=URL, content_type="text/html")
    assert listing.entries == ()
    assert listing.foreign == (href.rstrip("/"),)


@pytest.mark.parametrize(
    "link", ["http://[x/a", "https://h:abc/f/a", "https://h:99999/f/a", "//[", "%ED%A0%80", "https://[h]/f/a", "h:\\x"]
)
def test_links_that_are_no_urls_break_nothing(link):
    html = f"<title>Index of /f/</title><h1>Index of /f/</h1><hr><pre><a href='../'>../</a><a href='{link}'>x</a>"
    xml = "<?xml version='1.0'?><{0}><{1}><loc>" + link + "</loc></{1}></{0}>"
    dav = f"<?xml version='1.0'?><multistatus><response><href>{link}</href></response></multistatus>"
    caddy = json.dumps([{"name": "a", "url": link.replace("%", "\ud800"), "mod_time": "2024"}])
    pages = [(html, "text/html"), (f"<base href='{link}'>{html}", "text/html"), (dav, "text/xml")]
    pages += [(xml.format("sitemapindex", "sitemap"), "text/xml"), (xml.format("urlset", "url"), "text/xml")]
    for page, kind in [*pages, (caddy, "application/json")]:
        listing = parse_listing(page.encode(), url="https://host/f/", content_type=kind)
        assert listing is not None
        assert [one.name for one in listing.entries] in ([], ["x"])
    linked = parse_listing(pages[0][0].encode(), url="https://host/f/", content_type="text/html", follow_links=True)
    assert linked is not None


@pytest.mark.parametrize("encoding", ["tf-8", "utf-7", "shift_jis", "rot13", "idna"])
def test_an_encoding_that_cannot_be_read_makes_no_listing(encoding):
    page = f'<?xml version="1.0" encoding="{encoding}"?><multistatus><response><href>a</href></response></multistatus>'
    assert parse_listing(page.encode(), url=URL, content_type="text/xml") is None


def test_a_doctype_hides_in_no_other_encoding():
    text = '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE x [<!ENTITY a "b">]><!--{}--><urlset>&a;</urlset>'
    page = text.format(b"<urlset ".decode("utf-16-le")).encode("utf-16")
    assert parse_listing(page, url="https://host/f/", content_type="text/xml") is None


def test_a_row_of_all_links_does_not_take_for_ever():
    cells = "".join(f"<td><a href=a{number}>x</a>" for number in range(10_000))
    page = f"<title>Index of /f/</title><h1>Index of /f/</h1><table><tr>{cells}"
    listing = parse_listing(page.encode(), url="https://host/f/", content_type="text/html")
    assert listing is not None
    assert len(listing.entries) == 10_000


@pytest.mark.parametrize(("tag", "count"), [("div", 300_000), ("b", 100_000), ("a href=x", 50_000)])
def test_elements_in_elements_are_not_even_read(tag, count):
    page = "<title>Index of /f/</title><h1>Index of /f/</h1>" + f"<{tag}>" * count
    assert parse_listing(page.encode(), url="https://host/f/", content_type="text/html", follow_links=True) is None
