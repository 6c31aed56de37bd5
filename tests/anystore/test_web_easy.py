"""One handle for many requests: nothing of one is left in the next."""

import pytest

from anystore.web.client import Client
from anystore.web.fetcher import Fetch, Fetcher
from anystore.web.headers import parse_head_lines
from tests.faults import Fault


@pytest.fixture
def fetch():
    """Send requests one by one, so that all use one handle."""
    client = Client(retries=0, backoff=0.0)
    fetcher = Fetcher(client, most=lambda _: 1)

    def fetch(url, **options):
        fetcher.add(Fetch(url=url, tag=None, **{"limit": 1000} | options))
        answers = []
        while fetcher.pending:
            answers += fetcher.step()
        assert len(fetcher._idle) == 1
        return answers[0]

    yield fetch
    fetcher.close()
    client.close()


def test_headers_of_one_request_are_not_sent_with_the_next(nginx_server, faulty_server, fetch):
    (nginx_server.root / "a").write_text("a")
    for headers in ({"X-One": "1"}, {}, {"X-Two": "2"}, {"X-Two": "3"}):
        assert fetch(f"{faulty_server.url}a", headers=headers).body == b"a"
    sent = [
        {name: one.headers[name] for name in ("x-one", "x-two") if name in one.headers} for one in faulty_server.asked
    ]
    assert sent == [{"x-one": "1"}, {}, {"x-two": "2"}, {"x-two": "3"}]


def test_a_login_in_a_url_is_sent_with_no_other(nginx_server, faulty_server, fetch):
    (nginx_server.root / "a").write_text("a")
    url = f"{faulty_server.url}a"
    for one in (url, url.replace("://", "://me:hunter22@"), url, url.replace("://", "://you:hunter33@"), url):
        assert fetch(one).body == b"a"
    sent = [one.headers.get("authorization") for one in faulty_server.asked]
    assert [sent[0], sent[2], sent[4]] == [None, None, None]
    assert len({sent[1], sent[3], None}) == 3


def test_method_body_and_limit_are_those_of_each_request(nginx_server, fetch):
    (nginx_server.root / "a").write_text("a" * 500)
    url = f"{nginx_server.url}a"
    assert fetch(url, limit=10).body is None
    assert fetch(url, method="PROPFIND", body=b"<x/>").status == 405
    assert len(fetch(url).body) == 500
    assert fetch(url, limit=10).body is None
    assert [one.method for one in nginx_server.requests()] == ["GET", "PROPFIND", "GET", "GET"]


def test_an_error_is_told_once(nginx_server, faulty_server, fetch):
    (nginx_server.root / "a").write_text("a")
    faulty_server.script(Fault(refuse=True), path="/a")
    assert fetch(f"{faulty_server.url}a").error is not None
    answer = fetch(f"{faulty_server.url}a")
    assert (answer.body, answer.error) == (b"a", None)


def test_what_cannot_be_sent_spoils_nothing(nginx_server, fetch):
    (nginx_server.root / "a").write_text("a")
    assert fetch(f"{nginx_server.url}\udcff").error is not None
    assert fetch(f"{nginx_server.url}a").body == b"a"


@pytest.mark.parametrize(
    ("lines", "status", "headers"),
    [
        ([b"HTTP/1.1 200 OK\r\n", b"A: 1\r\n", b"a:2\r\n", b"nothing\r\n", b"\r\n"], 200, {"a": "1, 2"}),
        ([b"HTTP/1.1 100 Continue\r\n", b"B: 1\r\n", b"\r\n", b"HTTP/2 404\r\n", b"A:  1 \r\n"], 404, {"a": "1"}),
        ([b"HTTP/1.1 200 OK\r\n", b"HTTP/x: y\r\n"], 200, {"http/x": "y"}),
        ([b"A: 1\r\n"], 0, {}),
        ([], 0, {}),
        ([b"HTTP/1.1 200 OK\r\n", b"A: " + b"x" * 5000 + b"\r\n"], 200, {"a": "x" * 5000}),
    ],
)
def test_the_last_head_counts(lines, status, headers):
    assert parse_head_lines(lines) == (status, headers)
    assert parse_head_lines(lines) == (status, headers)


def test_headers_have_no_case():
    _, headers = parse_head_lines([b"HTTP/1.1 200 OK\r\n", b"Content-Length: 5\r\n"])
    assert headers["CONTENT-LENGTH"] == headers.get("Content-Length") == "5"
    assert "content-Length" in headers
    assert "etag" not in headers
    assert (headers.get("etag"), headers.get("etag", "none")) == (None, "none")


def test_a_closed_fetcher_can_be_woken():
    fetcher = Fetcher(Client(), most=lambda _: 1)
    fetcher.close()
    fetcher.wake()
