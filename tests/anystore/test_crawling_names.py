"""Over a hundred hard names, from each server that lists folders: each arrives as it is, or is reported."""

import os
import time

import pytest

from anystore import get_store
from anystore.crawling import crawl, documents
from tests.anystore.test_crawling_servers import SERVERS

LONG_AGO = time.time() - 7200
NAMES = [
    # what URLs are made of
    *(
        "#",
        "##a",
        "?",
        "??",
        "a?b=c&d#e",
        "?C=N;O=D",
        "?sort=name",
        "%",
        "%%",
        "%2",
        "%zz",
        "%41",
        "%00",
        "%2e%2e",
        "%2F",
    ),
    *(
        "%252F",
        "a%0Ab",
        "+",
        "a+b",
        "=",
        "&",
        "&&",
        ";",
        "a;type=b",
        ":",
        "a:b",
        "http:",
        "javascript:alert(1)",
        "@",
        "!",
    ),
    *("$", "'", "(", ")", "*", ",", "[", "]", "[::1]", "~", "-", "--", "_", "..a", "a..", "a...b", "mailto:a@b"),
    # what HTML, XML, JSON and shells are made of
    *('"', '"""', "<", ">", "<a>", "<pre>", "<!--", "-->", "]]>", "&amp;", "&lt;a&gt;", "&#65;", "&copy", "`", "|"),
    *("{", "}", "{{x}}", "^", "$(x)", "${HOME}", "<script>alert(1)", "&quot;", "'; DROP TABLE x; --", "%s%n"),
    # spaces
    *(
        "a b",
        "a  b",
        "a   b   c",
        " a",
        "a ",
        " ",
        "  ",
        "\u00a0",
        "a\u00a0b",
        "\u3000",
        "\u2028",
        "\u200b",
        "\ufeff",
        "a\u202eb",
    ),
    # text of all kinds
    *(
        "ä",
        "a\u0308",
        "é",
        "e\u0301",
        "ß",
        "İ",
        "ı",
        "K",
        "日本語",
        "العربية",
        "עברית",
        "ไทย",
        "😀",
        "👨\u200d👩\u200d👧",
        "𝒳",
    ),
    *(
        "\ufdd0",
        "\ufffd",
        "A",
        "a",
        "NUL",
        "con",
        "aux.txt",
        "lpt1",
        "x" * 255,
        "ü" * 127,
        "日" * 85,
        "README",
        "readme",
    ),
    # what looks like a page, a listing or a header
    *(
        "Name",
        "Last modified",
        "Parent Directory",
        "Index of",
        "23-Nov-2024 02:07",
        "1.2K",
        "-  ",
        "a.html",
        "a.php",
        "a.cgi",
    ),
    *("sitemap.xml", "a.gz", "a.tar.gz", "a.svgz", "a.pdf", "SHA1SUMS", "core", "a.part", "a~", "#a#", "404", "301"),
]
CONTROLS = ["a\tb", "a\nb", "a\rb", "\x01", "a\x1bb", "\x7f"]
RAW = [b"caf\xe9", b"\xff\xfe", b"50%\x80", b"a\xc3"]
FOLDERS = ["plain", "with space", "50%25", "#?", "ü", "a&b"]


@pytest.fixture
def tree(tmp_path):
    """Make the names, in the root and in folders that have hard names themselves."""
    root = tmp_path / "tree"
    wanted = {}
    for folder in ("", *(f"{name}/" for name in FOLDERS)):
        (root / folder).mkdir(parents=True, exist_ok=True)
        names = (
            [name.encode() for name in [*NAMES, *CONTROLS]] + RAW
            if folder == "plain/"
            else [b"a b", b"%41", b"caf\xe9"]
        )
        for name in names:
            path = os.path.join(os.fsencode(root / folder), name)
            data = b"content of " + folder.encode() + name
            with open(path, "wb") as file:
                file.write(data)
            os.utime(path, (LONG_AGO, LONG_AGO))
            wanted[folder + key_of(name)] = data
    (root / "plain" / "back\\slash").write_bytes(b"refused")
    for path in (tmp_path, *tmp_path.parents[:3]):
        if os.stat(path).st_uid == os.geteuid():
            path.chmod(0o755)
    return root, wanted


def key_of(name):
    try:
        return name.decode()
    except UnicodeDecodeError:
        escaped = name.replace(b"%", b"%25").decode("utf-8", "surrogateescape")
        return "".join(f"%{ord(sign) - 0xDC00:02X}" if "\udc80" <= sign <= "\udcff" else sign for sign in escaped)


def as_python_lists_it(key):
    """Python makes a surrogate of each byte that is no text, and encodes that as if it were a character."""
    names = {key_of(name): name for name in RAW}
    folder, slash, name = key.rpartition("/")
    raw = names.get(name)
    listed = raw and raw.decode("utf-8", "surrogateescape").encode("utf-8", "surrogatepass")
    return folder + slash + (key_of(listed) if listed else name)


def test_there_are_over_a_hundred():
    assert len(set(NAMES)) == len(NAMES) > 100


@pytest.mark.parametrize("server", SERVERS)
def test_each_name_arrives_or_is_reported(server, tree, tmp_path):
    root, wanted = tree
    if server.startswith("nginx"):
        del wanted["plain/..a"]  # it lists no name that begins with a dot
    if server == "python":
        wanted = {as_python_lists_it(key): data for key, data in wanted.items()}
    target = get_store(tmp_path / "target", serialization_mode="raw")
    with SERVERS[server](root) as url:
        report = crawl(url, target, robots=False)
        there = {key: target.get(key) for key in target.iterate_keys()}
        failed = {failure.key for failure in report.failures}
        assert "plain/back\\slash" in failed
        assert all(there[key] == wanted[key] for key in there)
        assert set(there) | failed == {*wanted, "plain/back\\slash"}
        assert len(failed) == 1 or server == "lighttpd"  # it lists control characters, and does not serve them
        assert {one.key for one in documents(target, status="ok")} == set(there)
