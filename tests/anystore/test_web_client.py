"""The client: what is asked of whom, how often, and what an answer means."""

import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from anystore.errors import BackendError, DoesNotExist, InvalidOption, VersionMismatch
from anystore.web import client as client_module
from anystore.web.client import Client
from anystore.web.urls import keeps_secrets, redirect_target, wire_url
from tests.faults import Fault, faulty_http
from tests.servers import free_port, nginx

BODY = bytes(range(256)) * 8000  # 2,048,000 bytes: more than a socket buffers
STREAM_MIB = int(os.environ.get("ANYSTORE_TEST_STREAM_MIB", "256"))


@pytest.fixture
def client():
    client = Client(backoff=0.001, timeout=0.5)
    yield client
    client.close()


@pytest.fixture
def waits(monkeypatch):
    """The seconds that the client would have waited; nobody waits."""
    waited = []
    monkeypatch.setattr(client_module.time, "sleep", waited.append)
    return waited


@pytest.fixture
def numbered_nginx(tmp_path):
    """Serve by nginx, which names the connection in each answer."""
    root = tmp_path / "numbered"
    root.mkdir()
    with nginx(root, directives="add_header X-Connection $connection always;") as server:
        yield server


@pytest.mark.parametrize(("start", "stop"), [(0, None), (0, 1), (5, 10), (5, None), (0, 10**9), (2_047_999, None)])
@pytest.mark.parametrize("kind", ["nginx_server", "python_http_server"])
def test_a_range_is_the_same_whether_or_not_the_server_knows_ranges(client, request, kind, start, stop):
    server = request.getfixturevalue(kind)
    (server.root / "a").write_bytes(BODY)
    answer = client.request("GET", server.url + "a", start=start, stop=stop)
    assert answer.read() == BODY[start:stop]
    assert answer.total == len(BODY)


def test_answer_tells_status_headers_and_final_url(client, nginx_server):
    (nginx_server.root / "d").mkdir()
    answer = client.request("GET", nginx_server.url + "d")
    assert (answer.status, answer.url) == (200, nginx_server.url + "d/")
    assert answer.headers["CONTENT-TYPE"] == answer.headers["content-type"]
    assert b"Index of /d/" in answer.read()


def test_connections_are_used_again(client, numbered_nginx):
    (numbered_nginx.root / "a").write_bytes(b"abc")
    seen = set()
    for _ in range(5):
        answer = client.request("GET", numbered_nginx.url + "a")
        answer.read()
        seen.add(answer.headers["x-connection"])
        seen.add(client.request("HEAD", numbered_nginx.url + "a").headers["x-connection"])
        with pytest.raises(DoesNotExist):
            client.request("GET", numbered_nginx.url + "missing")
        ranged = client.request("GET", numbered_nginx.url + "a", start=1, stop=2)
        assert ranged.read() == b"b"
        seen.add(ranged.headers["x-connection"])
    assert len(seen) == 1


def test_threads_share_a_client(client, numbered_nginx):
    for number in range(200):
        (numbered_nginx.root / f"f{number}").write_bytes(b"%d," % number * 5000)

    def fetch(number):
        answer = client.request("GET", f"{numbered_nginx.url}f{number}")
        return answer.read(), answer.headers["x-connection"]

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(fetch, range(200)))
    assert [body for body, _ in results] == [b"%d," % number * 5000 for number in range(200)]
    assert len({connection for _, connection in results}) <= 8


def test_forked_process_opens_its_own_connections(client, numbered_nginx):
    (numbered_nginx.root / "a").write_bytes(BODY)
    url = numbered_nginx.url + "a"
    before = client.request("GET", url)
    assert before.read() == BODY
    running = client.request("GET", url).chunks()
    first = next(running)
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        answer = client.request("GET", url)
        right = answer.read() == BODY
        os.write(writing, f"{right} {answer.headers['x-connection']}".encode())
        del running
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        right, connection = pipe.read().decode().split()
    os.waitpid(child, 0)
    assert right == "True"
    assert first + b"".join(running) == BODY
    after = client.request("GET", url)
    assert after.read() == BODY
    assert connection != before.headers["x-connection"]


def test_client_is_pickled_by_its_configuration(nginx_server):
    (nginx_server.root / "a").write_bytes(b"abc")
    client = Client(username="me", password="hunter2", headers={"X-Token": "s3cret"}, retries=1)
    assert client.request("GET", nginx_server.url + "a").read() == b"abc"
    again = pickle.loads(pickle.dumps(client))
    assert again == client
    assert again.request("GET", nginx_server.url + "a").read() == b"abc"
    assert "hunter2" not in repr(client)
    assert "s3cret" not in repr(client)


def test_bytes_are_asked_for_as_they_are_stored(client, faulty_server, tmp_path, monkeypatch):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    (faulty_server.behind.root / "a").write_bytes(b"abc")
    client.request("GET", faulty_server.url + "a").read()
    (asked,) = faulty_server.asked
    assert "accept-encoding" not in asked.headers
    assert "authorization" not in asked.headers
    assert asked.headers["user-agent"].startswith("anystore")


# -- broken bodies ---------------------------------------------------------


@pytest.mark.parametrize("fault", [{"truncate": 100_000}, {"cut": 100_000}, {"stall": 100_000}], ids=str)
def test_broken_body_without_validators_is_an_error(client, faulty_server, fault):
    (faulty_server.behind.root / "a").write_bytes(BODY)
    faulty_server.script(Fault(**fault, strip=("etag",)))
    pieces, url = [], faulty_server.url + "a?token=s3cret"
    with pytest.raises(BackendError, match=r"127\.0\.0\.1:\d+/a\?token=\*\*\* broke off") as caught:
        pieces.extend(client.request("GET", url).chunks())
    assert "s3cret" not in str(caught.value)
    assert BODY.startswith(b"".join(pieces))
    assert len(faulty_server.asked) == 1


@pytest.mark.parametrize("fault", [{"truncate": 0}, {"cut": 0}, {"stall": 0}], ids=str)
def test_body_that_breaks_before_its_first_byte_is_asked_for_again(client, faulty_server, fault):
    (faulty_server.behind.root / "a").write_bytes(BODY)
    faulty_server.script(Fault(**fault, strip=("etag",)), Fault(strip=("etag",)))
    assert client.request("GET", faulty_server.url + "a").read() == BODY


@pytest.mark.parametrize("fault", [{"truncate": 100_000}, {"cut": 700_000}, {"stall": 3}], ids=str)
@pytest.mark.parametrize(("start", "stop"), [(0, None), (7, 2_000_000)])
def test_broken_body_is_taken_up_where_the_validators_allow_it(client, faulty_server, fault, start, stop):
    (faulty_server.behind.root / "a").write_bytes(BODY)
    faulty_server.script(Fault(**fault), Fault(**fault))
    assert client.request("GET", faulty_server.url + "a", start=start, stop=stop).read() == BODY[start:stop]
    again = faulty_server.asked[1:]
    assert len(again) == 2
    assert all(asked.headers["range"] and asked.headers["if-match"].startswith('"') for asked in again)


@pytest.mark.parametrize("then", ["changed", "vanished"])
def test_value_that_changes_before_the_rest_is_asked_for(client, faulty_server, then):
    path = faulty_server.behind.root / "a"
    path.write_bytes(BODY)
    faulty_server.script(Fault(truncate=100_000))
    pieces = client.request("GET", faulty_server.url + "a").chunks()
    assert BODY.startswith(next(pieces))
    path.unlink()
    if then == "changed":
        path.write_bytes(BODY[1:])
    with pytest.raises(VersionMismatch, match=then):
        list(pieces)


def test_half_read_answer_can_be_left(client, nginx_server):
    (nginx_server.root / "a").write_bytes(BODY)
    for _ in range(30):
        assert next(client.request("GET", nginx_server.url + "a").chunks())
        client.request("GET", nginx_server.url + "a")
    assert client.request("GET", nginx_server.url + "a").read() == BODY


def test_body_over_the_limit_is_refused(client, nginx_server):
    (nginx_server.root / "a").write_bytes(BODY)
    with pytest.raises(BackendError, match="more than 1,000 bytes"):
        client.request("GET", nginx_server.url + "a").read(limit=1000)


@pytest.mark.parametrize("content_range", ["bytes 5-9/10", "bytes 0-1/10", "lines 0-9/10", ""])
def test_other_range_than_asked_for_is_refused(client, faulty_server, content_range):
    headers = {"Content-Range": content_range} if content_range else {}
    faulty_server.script(Fault(status=206, body=b"01234", headers=headers))
    with pytest.raises(BackendError, match="another range"):
        client.request("GET", faulty_server.url + "a", start=2)


# -- busy and broken servers -----------------------------------------------


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_busy_server_is_asked_again(client, faulty_server, status):
    (faulty_server.behind.root / "a").write_bytes(b"abc")
    faulty_server.script(Fault(status=status), Fault(status=status))
    assert client.request("GET", faulty_server.url + "a").read() == b"abc"
    assert len(faulty_server.asked) == 3


def test_server_that_stays_busy_is_an_error(faulty_server, waits):
    faulty_server.always(Fault(status=503))
    with pytest.raises(BackendError, match="status 503"):
        Client(retries=3, backoff=1).request("GET", faulty_server.url + "a")
    assert len(faulty_server.asked) == 4
    assert len(waits) == 3
    assert all(0.5 * 2**n <= seconds <= 1.5 * 2**n for n, seconds in enumerate(waits))


def test_retry_after_is_kept_to(client, faulty_server, waits):
    (faulty_server.behind.root / "a").write_bytes(b"abc")
    faulty_server.script(Fault(status=429, headers={"Retry-After": "7"}))
    assert client.request("GET", faulty_server.url + "a").read() == b"abc"
    assert waits == [7.0]
    faulty_server.script(Fault(status=503, headers={"Retry-After": "86400"}))
    with pytest.raises(BackendError):
        client.request("GET", faulty_server.url + "a")
    assert waits == [7.0]


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, BackendError), (403, BackendError), (404, DoesNotExist), (410, DoesNotExist), (501, BackendError)],
)
def test_refusal_is_not_repeated(client, faulty_server, status, error):
    faulty_server.script(Fault(status=status))
    with pytest.raises(error):
        client.request("GET", faulty_server.url + "a")
    assert len(faulty_server.asked) == 1


def test_allowed_status_is_handed_back(client, faulty_server):
    faulty_server.script(Fault(status=416))
    assert client.request("GET", faulty_server.url + "a", allow=(416,)).status == 416


def test_broken_connection_is_tried_again(client, faulty_server):
    (faulty_server.behind.root / "a").write_bytes(b"abc")
    faulty_server.script(Fault(refuse=True), Fault(refuse=True))
    assert client.request("GET", faulty_server.url + "a").read() == b"abc"


def test_server_that_is_not_there(client):
    with pytest.raises(BackendError, match=r"check the address") as caught:
        client.request("GET", f"http://me:hunter2@127.0.0.1:{free_port()}/a?sig=s3cret")
    assert "hunter2" not in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_endless_headers_are_refused(client, faulty_server):
    faulty_server.always(Fault(status=200, headers={f"X-{n}": "x" * 50_000 for n in range(6)}))
    with pytest.raises(BackendError):
        client.request("GET", faulty_server.url + "a")


# -- secrets and redirects -------------------------------------------------


@pytest.mark.parametrize("status", [401, 403])
def test_refused_credentials_are_named_but_not_shown(faulty_server, status):
    client = Client(username="me", password="hunter2", headers={"X-Token": "s3cret"})
    faulty_server.always(Fault(status=status))
    with pytest.raises(BackendError, match=f"status {status}.*username and password") as caught:
        client.request("GET", faulty_server.url + "a")
    assert not isinstance(caught.value, DoesNotExist)
    assert "hunter2" not in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert faulty_server.asked[0].headers["authorization"] == "Basic bWU6aHVudGVyMg=="
    assert faulty_server.asked[0].headers["x-token"] == "s3cret"


def test_credentials_in_the_url_are_sent_as_such(client, faulty_server):
    (faulty_server.behind.root / "a").write_bytes(b"abc")
    client.request("GET", faulty_server.url.replace("://", "://me:hunter2@") + "a").read()
    assert faulty_server.asked[0].headers["authorization"] == "Basic bWU6aHVudGVyMg=="


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_secrets_stay_with_their_server(nginx_server, faulty_server, status):
    """A redirect to the same server carries them, one to another server does not, even after a way back."""
    (nginx_server.root / "a").write_bytes(b"abc")
    client = Client(username="me", password="hunter2", headers={"X-Token": "s3cret", "Authorization": "Bearer s3cret"})
    with faulty_http(nginx_server) as other:
        faulty_server.script(Fault(status=status, headers={"Location": "/b"}))
        faulty_server.script(Fault(status=status, headers={"Location": other.url + "c"}))
        other.script(Fault(status=status, headers={"Location": faulty_server.url + "a"}))
        assert client.request("GET", faulty_server.url + "start").read() == b"abc"
        first, second, third = faulty_server.asked
        (foreign,) = other.asked
    assert {first.headers.get("x-token"), second.headers.get("x-token")} == {"s3cret"}
    for asked in (foreign, third):
        assert "authorization" not in asked.headers
        assert "x-token" not in asked.headers
        assert "hunter2" not in str(asked)


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/a", "gopher://127.0.0.1/", "javascript:1"])
def test_redirect_to_what_is_not_http_is_refused(client, faulty_server, location):
    faulty_server.script(Fault(status=302, headers={"Location": location}))
    with pytest.raises(BackendError, match="not HTTP"):
        client.request("GET", faulty_server.url + "a")


def test_redirect_from_https_to_http_is_refused():
    with pytest.raises(BackendError, match="plain http"):
        redirect_target("https://host/a", "http://host/a")
    assert redirect_target("http://host/a", "https://host/a b#x") == "https://host/a%20b"
    assert redirect_target("https://host/d/a", "https://me:pw@other/a?b=c") == "https://other/a?b=c"


@pytest.mark.parametrize(
    ("target", "kept"),
    [
        ("http://host/b", True),
        ("http://HOST:80/b", True),
        ("https://host/b", True),
        ("http://host:8080/b", False),
        ("https://host:8443/b", False),
        ("http://host.evil/b", False),
        ("http://host@evil/b", False),
        ("http://sub.host/b", False),
    ],
)
def test_who_may_have_the_secrets(target, kept):
    assert keeps_secrets("http://host/a", target) is kept


def test_endless_redirects_end(client, faulty_server):
    faulty_server.always(Fault(status=302, headers={"Location": "/a"}))
    with pytest.raises(BackendError, match="redirected more than 10 times"):
        client.request("GET", faulty_server.url + "a")
    assert len(faulty_server.asked) == 11


def test_redirect_into_a_folder_is_followed_only_if_wanted(client, nginx_server):
    (nginx_server.root / "d").mkdir()
    with pytest.raises(DoesNotExist, match="is a folder"):
        client.request("GET", nginx_server.url + "d", into_folder=False)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/a", "dict://127.0.0.1:1/a"])
def test_only_http_is_spoken(client, url):
    with pytest.raises(BackendError):
        client.request("GET", url)


def test_url_is_sent_whole():
    assert wire_url("HTTPS://me:pw@höst:1/a b/ü?q=ü#top") == "https://höst:1/a%20b/%C3%BC?q=%C3%BC"
    assert wire_url("http://host") == "http://host/"
    assert wire_url("http://host?q=a@b") == "http://host?q=a@b"


@pytest.mark.parametrize(
    "options",
    [
        {"timeout": 0},
        {"retries": -1},
        {"backoff": -1},
        {"headers": {"X-A": "a\r\nX-B: b"}},
        {"headers": {"X A": "a"}},
        {"user_agent": "a\nb"},
    ],
    ids=str,
)
def test_option_that_cannot_be_is_refused(options):
    with pytest.raises(InvalidOption):
        Client(**options)


# -- memory ----------------------------------------------------------------

MEASURE = """
import resource, sys
from anystore.web.client import Client
client, url, warm = Client(), sys.argv[1], sys.argv[2]
client.request("GET", warm).read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
size, longest = 0, 0
for piece in client.request("GET", url).chunks():
    size += len(piece)
    longest = max(longest, len(piece))
print(size, longest, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.large
def test_memory_stays_bounded_while_streaming(nginx_server):
    (nginx_server.root / "warm").write_bytes(b"x")
    with open(nginx_server.root / "large", "wb") as file:
        file.truncate(STREAM_MIB << 20)
    argv = [sys.executable, "-c", MEASURE, nginx_server.url + "large", nginx_server.url + "warm"]
    size, longest, grown_kib = map(int, subprocess.run(argv, check=True, capture_output=True).stdout.split())
    assert size == STREAM_MIB << 20
    assert longest <= 4 << 20
    assert grown_kib < 32 << 10
