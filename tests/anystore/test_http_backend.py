"""Files below a URL as values under keys."""

import os
import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from anystore.backend import Feature
from anystore.backends.http import from_uri
from anystore.errors import (
    BackendError,
    DoesNotExist,
    ForeignNameWarning,
    InvalidOption,
    InvalidUri,
    Unsupported,
    VersionMismatch,
)
from anystore.keys import parse_key
from anystore.uris import parse_uri
from tests.faults import Fault
from tests.servers import nginx

KEY = parse_key("folder/a b%.txt")
BODY = bytes(range(256)) * 8000
MTIME = 1_700_000_000


def http(url, **config):
    return from_uri(parse_uri(url), {"backoff": 0.001, "timeout": 2, **config})


def place(root, key, data=BODY):
    (root / key).parent.mkdir(parents=True, exist_ok=True)
    (root / key).write_bytes(data)
    os.utime(root / key, (MTIME, MTIME))


def join(pieces):
    return b"".join(pieces)


# -- where it is ---------------------------------------------------------------


def test_url_of_a_key_is_below_the_base_with_its_query(faulty_server):
    place(faulty_server.behind.root / "base dir", KEY)
    backend = http(faulty_server.url + "base%20dir?sig=s3cret&v=1")
    assert backend.get(KEY) == BODY
    assert faulty_server.asked[0].path == "/base%20dir/folder/a%20b%25.txt?sig=s3cret&v=1"
    assert backend.locate(KEY).endswith("/base%20dir/folder/a%20b%25.txt?sig=***&v=1")


def test_secrets_are_sent_and_never_shown(faulty_server):
    place(faulty_server.behind.root, KEY)
    url = faulty_server.url.replace("://", "://me:hunter2@") + "?token=s3cret"
    backend = http(url, headers={"X-Api-Key": "t0ken"})
    assert backend.get(KEY) == BODY
    asked = faulty_server.asked[0]
    assert asked.headers["authorization"] == "Basic bWU6aHVudGVyMg=="
    assert asked.headers["x-api-key"] == "t0ken"
    faulty_server.always(Fault(status=401))
    errors = []
    for call in (backend.get, backend.stat, lambda _: list(backend.scan())):
        with pytest.raises(BackendError) as caught:
            call(KEY)
        errors.append(str(caught.value))
    for text in (*errors, repr(backend), backend.uri, backend.locate(KEY), str(vars(backend))):
        assert not any(secret in text for secret in ("hunter2", "t0ken")), text
    for text in (*errors, repr(backend), backend.uri, backend.locate(KEY)):
        assert "s3cret" not in text


def test_credentials_of_the_configuration_come_first(faulty_server):
    place(faulty_server.behind.root, KEY)
    http(faulty_server.url.replace("://", "://a:b@"), username="me", password="hunter2").get(KEY)
    assert faulty_server.asked[0].headers["authorization"] == "Basic bWU6aHVudGVyMg=="


@pytest.mark.parametrize("url", ["http://", "http:///a", "http://host/a#b"])
def test_url_that_cannot_be(url):
    with pytest.raises(InvalidUri):
        http(url)


@pytest.mark.parametrize(
    "config",
    [
        {"user": "me"},
        {"retries": "many"},
        {"retries": 1.5},
        {"retries": True},
        {"timeout": "soon"},
        {"timeout": 0},
        {"timeout": "nan"},
        {"headers": "X: y"},
        {"headers": {"X": 1}},
        {"password": 1},
    ],
    ids=str,
)
def test_option_that_cannot_be(config):
    with pytest.raises(InvalidOption):
        http("http://host/", **config)


def test_numbers_may_come_as_text_from_the_environment():
    backend = http("http://host/", retries="2", timeout="1.5", max_depth="3")
    assert (backend.client.retries, backend.client.timeout, backend._max_depth) == (2, 1.5, 3)


def test_backend_only_lists_and_reads():
    backend = http("http://host/")
    assert backend.features is Feature.LIST
    with pytest.raises(Unsupported):
        backend.put(KEY, b"x")
    with pytest.raises(Unsupported):
        backend.scan("", parse_key("a"))


# -- values --------------------------------------------------------------------


def test_entry_says_what_the_server_says(nginx_server, python_http_server):
    for server in (nginx_server, python_http_server):
        place(server.root, KEY)
        entry = http(server.url).stat(KEY)
        assert (entry.key, entry.size, entry.mimetype) == (KEY, len(BODY), "text/plain")
        assert entry.modified == datetime.fromtimestamp(MTIME, UTC)
        with http(server.url).reader(KEY) as reader:
            assert reader.entry == entry
        assert entry.version == ('"6553f100-1f4000"' if server is nginx_server else "20231114T221320Z-2048000")


def test_weak_etag_is_no_version(faulty_server):
    place(faulty_server.behind.root, KEY)
    faulty_server.script(Fault(headers={"ETag": 'W/"x"'}), Fault(headers={"ETag": 'W/"x"'}, strip=("last-modified",)))
    assert http(faulty_server.url).stat(KEY).version == "20231114T221320Z-2048000"
    assert http(faulty_server.url).stat(KEY).version is None


@pytest.mark.parametrize("status", [403, 405, 501])
@pytest.mark.parametrize("data", [BODY, b""], ids=len)
def test_server_that_refuses_head_is_asked_by_get(faulty_server, status, data):
    place(faulty_server.behind.root, KEY, data)
    faulty_server.script(Fault(status=status))
    assert http(faulty_server.url).stat(KEY).size == len(data)
    faulty_server.script(Fault(status=status), Fault(hide=("range",)))
    assert http(faulty_server.url).stat(KEY).size == len(data)
    faulty_server.script(Fault(status=status), Fault(status=404))
    with pytest.raises(DoesNotExist):
        http(faulty_server.url).stat(KEY)


@pytest.mark.parametrize(("start", "stop"), [(0, None), (10, 20), (10, None), (0, 0), (5, 2), (10**9, None)])
def test_server_that_ignores_ranges_is_cut_to_size(faulty_server, start, stop):
    place(faulty_server.behind.root, KEY)
    faulty_server.always(Fault(hide=("range",)))
    assert join(http(faulty_server.url).read(KEY, start, stop)) == BODY[start:stop]


@pytest.mark.parametrize("method", ["get", "read", "stat", "reader"])
@pytest.mark.parametrize("key", ["missing", "folder", "folder/empty", "a/missing/b"])
def test_missing_key_and_folder_raise_at_the_call(nginx_server, python_http_server, method, key):
    for server in (nginx_server, python_http_server):
        (server.root / "folder" / "empty").mkdir(parents=True)
        with pytest.raises(DoesNotExist, match=key):
            getattr(http(server.url), method)(parse_key(key))


def test_busy_server_is_waited_for(faulty_server):
    place(faulty_server.behind.root, KEY)
    faulty_server.script(Fault(status=503), Fault(status=503), Fault(refuse=True))
    assert http(faulty_server.url).get(KEY) == BODY


@pytest.mark.parametrize("fault", [{"truncate": 100_000}, {"cut": 100_000}, {"stall": 100_000}], ids=str)
def test_short_body_is_an_error(faulty_server, fault):
    place(faulty_server.behind.root, KEY)
    faulty_server.always(Fault(**fault))  # also what is taken up breaks off, again and again
    backend = http(faulty_server.url, timeout=0.1, retries=1)
    with pytest.raises(BackendError, match="not whole"):
        backend.get(KEY)
    with pytest.raises(BackendError, match="not whole"):
        join(backend.read(KEY, 5))


def test_threads_share_a_backend(nginx_server):
    names = [parse_key(f"f{number}") for number in range(100)]
    for name in names:
        place(nginx_server.root, name, name.encode() * 10_000)
    backend = http(nginx_server.url)
    with ThreadPoolExecutor(8) as pool:
        values = list(pool.map(backend.get, names))
    assert values == [name.encode() * 10_000 for name in names]


def test_backend_is_pickled_with_its_credentials(faulty_server):
    place(faulty_server.behind.root, KEY)
    backend = pickle.loads(pickle.dumps(http(faulty_server.url, username="me", password="hunter2")))
    assert backend.get(KEY) == BODY
    assert faulty_server.asked[0].headers["authorization"] == "Basic bWU6aHVudGVyMg=="


# -- a reader and its version --------------------------------------------------


def test_reader_takes_one_request_for_a_whole_value(nginx_server):
    place(nginx_server.root, KEY)
    with http(nginx_server.url).reader(KEY) as reader:
        assert join(reader.read()) == BODY
    assert [request.method for request in nginx_server.requests()] == ["GET"]


def test_reader_binds_each_part_to_the_version(faulty_server):
    place(faulty_server.behind.root, KEY)
    with http(faulty_server.url).reader(KEY) as reader:
        assert reader.seekable
        assert join(reader.read(10, 20)) == BODY[10:20]
        assert join(reader.read(0, 5)) == BODY[:5]
        assert join(reader.read(2_000_000)) == BODY[2_000_000:]
        assert join(reader.read(10**9)) == b""
    assert [asked.headers.get("if-match") for asked in faulty_server.asked[1:]] == [reader.entry.version] * 3


@pytest.mark.parametrize(
    "fault",
    [
        None,
        {"hide": ("if-match", "if-unmodified-since")},
        {"hide": ("if-match", "if-unmodified-since", "range")},
        {"strip": ("etag",)},
        {"strip": ("etag",), "hide": ("if-match", "if-unmodified-since")},
        {"strip": ("accept-ranges",), "hide": ("range",)},
    ],
    ids=str,
)
@pytest.mark.parametrize("then", ["changed", "vanished"])
def test_value_that_changes_between_two_parts(faulty_server, fault, then):
    """Whether the server keeps to conditions, ignores them, or knows no ranges: nothing mixed is ever returned."""
    root = faulty_server.behind.root
    place(root, KEY)
    faulty_server.always(Fault(**(fault or {})))
    with http(faulty_server.url).reader(KEY) as reader:
        assert join(reader.read(0, 10)) == BODY[:10]
        if then == "changed":
            (root / KEY).write_bytes(BODY[::-1])
        else:
            (root / KEY).unlink()
        with pytest.raises(VersionMismatch, match="a b%"):
            join(reader.read(10, 20))


def test_server_without_validators_is_read_once(faulty_server):
    place(faulty_server.behind.root, KEY)
    faulty_server.always(Fault(strip=("etag", "last-modified")))
    with http(faulty_server.url).reader(KEY) as reader:
        assert not reader.seekable
        assert reader.entry.version is None
        assert join(reader.read(100, 200)) == BODY[100:200]
        with pytest.raises(VersionMismatch, match="open_virtual"):
            reader.read(200, 300)


def test_server_without_ranges_is_not_seekable_but_right(python_http_server):
    place(python_http_server.root, KEY)
    with http(python_http_server.url).reader(KEY) as reader:
        assert not reader.seekable
        assert join(reader.read(100, 200)) == BODY[100:200]
        assert join(reader.read(200, 300)) == BODY[200:300]


def test_value_that_changes_inside_a_broken_body(faulty_server):
    place(faulty_server.behind.root, KEY)
    backend = http(faulty_server.url)
    faulty_server.script(Fault(truncate=100_000))
    pieces = backend.read(KEY)
    assert BODY.startswith(next(pieces))
    (faulty_server.behind.root / KEY).write_bytes(b"new")
    with pytest.raises(VersionMismatch, match="a b%"):
        join(pieces)


# -- listings ------------------------------------------------------------------


@pytest.mark.parametrize("form", ["html", "json"])
def test_entries_hold_what_is_exact(nginx_server, form):
    place(nginx_server.root, KEY)
    with nginx(nginx_server.root, autoindex_format=form) as server:
        (entry,) = http(server.url).scan()
    assert (entry.key, entry.size, entry.version) == (KEY, len(BODY), None)
    assert entry.modified == (datetime.fromtimestamp(MTIME, UTC) if form == "json" else None)


def test_missing_prefix_is_empty_and_a_missing_root_is_an_error(nginx_server):
    place(nginx_server.root, KEY)
    assert list(http(nginx_server.url).scan("nothing/")) == []
    assert list(http(nginx_server.url).keys("folder/a b%.txt/")) == []
    assert list(http(nginx_server.url).scan(".anystore/")) == []
    with pytest.raises(BackendError, match="nothing to list") as caught:
        list(http(nginx_server.url + "nothing/").scan())
    assert not isinstance(caught.value, DoesNotExist)


def test_listing_is_never_short_in_silence(faulty_server):
    for name in ("a/x", "b/x", "c/x"):
        place(faulty_server.behind.root, parse_key(name), b"x")
    faulty_server.always(Fault(status=403), path="/b/")
    listing = http(faulty_server.url).keys()
    assert [next(listing), next(listing)] == ["a/x", "c/x"]
    with pytest.raises(BackendError, match=r"incomplete: 1 of its folders.*'b/'.*403"):
        next(listing)


def test_foreign_names_are_skipped_with_one_warning(nginx_server):
    for name in ("back\\slash", "\\"):
        (nginx_server.root / name).touch()
    place(nginx_server.root, KEY)
    with pytest.warns(ForeignNameWarning, match="2 names") as caught:
        assert list(http(nginx_server.url).keys()) == [KEY]
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(http(nginx_server.url).keys("folder/")) == [KEY]


@pytest.mark.parametrize("form", ["html", "json", "xml"])
def test_names_that_are_no_text_are_listed_and_read_percent_encoded(tmp_path, form):
    files = {b"50%-caf\xe9": b"one", b"sub \xff/\xfc%b": b"two", b"caf%E9": b"text", b"fine": b"three"}
    for name, data in files.items():
        path = os.fsencode(tmp_path) + b"/" + name
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
    with nginx(tmp_path, autoindex_format=form) as server:
        backend = http(server.url)
        keys = ["50%25-caf%E9", "caf%E9", "fine", "sub %FF/%FC%25b"]
        assert list(backend.keys()) == keys
        assert [backend.get(parse_key(key)) for key in keys] == [b"one", b"text", b"three", b"two"]
        assert backend.stat(parse_key(keys[0])).size == 3
        assert list(backend.keys("sub %FF/")) == ["sub %FF/%FC%25b"]
        assert not backend.exists(parse_key("na%EFve"))
        with open(os.fsencode(tmp_path) + b"/caf\xe9", "wb"):
            pass
        with pytest.warns(ForeignNameWarning, match="1 name"):
            assert list(backend.keys()) == keys
        assert backend.get(parse_key("caf%E9")) == b"text"


def test_first_key_costs_two_pages(nginx_server):
    for folder in range(20):
        for number in range(20):
            place(nginx_server.root, parse_key(f"{folder:02}/{number:02}"), b"x")
    listing = http(nginx_server.url).keys()
    assert next(listing) == "00/00"
    assert len(nginx_server.requests()) == 2
    assert len(list(listing)) == 399


def test_depth_of_a_listing_is_bounded(nginx_server):
    place(nginx_server.root, KEY)
    os.symlink("..", nginx_server.root / "folder" / "up")
    with pytest.raises(BackendError, match="8 folders deep"):
        list(http(nginx_server.url, max_depth=8).scan())


@pytest.mark.parametrize("status", [400, 403, 405, 500, 501])
def test_stat_of_a_server_that_refuses_head(faulty_server, status):
    place(faulty_server.behind.root, KEY)
    faulty_server.script(Fault(status=status))
    assert http(faulty_server.url).stat(KEY).size == len(BODY)


def test_a_redirect_to_no_url_is_named(faulty_server):
    faulty_server.always(Fault(status=302, headers={"Location": "http://[::1"}))
    with pytest.raises(BackendError, match="no URL"):
        http(faulty_server.url).get(KEY)


def test_a_password_that_cannot_be_sent_is_refused(faulty_server):
    with pytest.raises(InvalidOption, match="NUL"):
        http(faulty_server.url, username="me", password="a\0b")
