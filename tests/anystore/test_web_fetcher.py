"""Many requests at a time, on real servers and on one that misbehaves."""

import socket
import threading
import time
import tracemalloc
from contextlib import contextmanager

import pycurl
import pytest

from anystore.errors import BackendError, DoesNotExist
from anystore.web import fetcher as fetcher_module
from anystore.web.client import Client
from anystore.web.easy import deadline_of
from anystore.web.fetcher import Fetch, Fetcher
from tests.faults import Fault
from tests.raw_http import answer as raw_answer
from tests.raw_http import raw_http
from tests.servers import HOST

MIB = 1 << 20


@contextmanager
def fetching(client=None, *, most=8, **options):
    client = client or Client(backoff=0.01, retries=2)
    fetcher = Fetcher(client, most=lambda _: most, **options)
    try:
        yield fetcher
    finally:
        fetcher.close()
        client.close()


def run(fetcher):
    answers = []
    while fetcher.pending:
        answers += fetcher.step()
    return answers


def fetch(url, **options):
    with fetching(**options) as fetcher:
        fetcher.add(Fetch(url=url, tag=None, limit=MIB))
        [answer] = run(fetcher)
    return answer


@contextmanager
def raw_server(talk):
    """A server that says to each connection what ``talk`` does."""
    with socket.create_server((HOST, 0)) as listener:

        def serve():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    try:
                        connection.recv(65536)
                        talk(connection)
                    except OSError:
                        pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://{HOST}:{listener.getsockname()[1]}/"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def test_all_are_answered(nginx_server):
    for number in range(200):
        (nginx_server.root / str(number)).write_text(f"of {number}")
    with fetching() as fetcher:
        for number in range(201):
            fetcher.add(Fetch(url=f"{nginx_server.url}{number}", tag=number, limit=100))
        answers = {answer.fetch.tag: answer for answer in run(fetcher)}
    assert isinstance(answers.pop(200).error, DoesNotExist)
    assert {tag: answer.body for tag, answer in answers.items()} == {n: f"of {n}".encode() for n in range(200)}


def test_what_is_too_long_is_not_taken(nginx_server, faulty_server):
    (nginx_server.root / "long").write_bytes(bytes(2 * MIB))
    assert fetch(f"{nginx_server.url}long").body is None
    (nginx_server.root / "fits").write_bytes(bytes(MIB))
    assert len(fetch(f"{nginx_server.url}fits").body) == MIB


def test_an_endless_body_is_not_taken():
    def talk(connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(bytes(65536))

    with raw_server(talk) as url:
        answer = fetch(url)
    assert (answer.body, answer.error) == (None, None)


def test_endless_headers_end():
    def talk(connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while True:
            connection.sendall(b"X-Some: " + b"x" * 1000 + b"\r\n")

    tracemalloc.start()
    try:
        with raw_server(talk) as url:
            answer = fetch(url, client=Client(retries=0))
        assert tracemalloc.get_traced_memory()[1] < 10 * MIB
    finally:
        tracemalloc.stop()
    assert isinstance(answer.error, BackendError)


def test_a_header_that_looks_like_a_status_breaks_nothing():
    def talk(connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\nHTTP/x: y\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")

    with raw_server(talk) as url:
        assert fetch(url).body == b"ok"


@pytest.mark.parametrize(
    "location",
    [
        "http://host:99999/",
        "http://[bad/",
        "file:///etc/passwd",
        "http:///x",
        "https://[::1]:x/",
        "gopher://x/",
        "\xff",
    ],
)
def test_a_redirect_to_nowhere_is_a_failure(nginx_server, faulty_server, location):
    faulty_server.always(Fault(status=302, headers={"Location": location}), path="/a")
    answer = fetch(f"{faulty_server.url}a", follows=lambda _, target: "host" not in target)
    assert answer.error is not None


def test_redirects_end(faulty_server):
    faulty_server.always(Fault(status=302, headers={"Location": "/a"}), path="/a")
    assert "redirected more than" in str(fetch(f"{faulty_server.url}a").error)
    assert len(faulty_server.asked) == 11


@pytest.mark.parametrize("status", [204, 205, 206, 304])
def test_a_status_that_brings_no_whole_value_is_a_failure(faulty_server, status):
    faulty_server.always(Fault(status=status, headers={"Content-Range": "bytes 0-3/9"}), path="/a")
    assert f"status {status}" in str(fetch(f"{faulty_server.url}a").error)


def test_what_cannot_be_sent_is_a_failure(nginx_server):
    assert "no URL" in str(fetch(f"{nginx_server.url}a\udcff").error)


def test_a_host_that_wants_days_is_asked_once(nginx_server, faulty_server):
    faulty_server.always(Fault(status=429, headers={"Retry-After": "200000"}))
    with fetching(most=1) as fetcher:
        for number in range(500):
            fetcher.add(Fetch(url=f"{faulty_server.url}{number}", tag=number, limit=100))
        answers = run(fetcher)
    assert len(answers) == 500
    assert all(answer.error is not None for answer in answers)
    assert "200,000 seconds" in str(answers[-1].error)
    assert len(faulty_server.asked) == 1


def test_a_host_that_is_busy_for_ever_is_left_alone(faulty_server, monkeypatch):
    monkeypatch.setattr(fetcher_module, "_LONGEST_REFUSAL", 0.5)
    faulty_server.always(Fault(status=429, headers={"Retry-After": "1"}))
    with fetching(Client(retries=8)) as fetcher:
        for number in range(100):
            fetcher.add(Fetch(url=f"{faulty_server.url}{number}", tag=number, limit=100))
        answers = run(fetcher)
    assert len(answers) == 100
    assert "has answered no request for 1 seconds" in str(answers[-1].error)
    assert len(faulty_server.asked) < 10


def test_a_host_that_always_fails_is_left_alone(faulty_server):
    faulty_server.always(Fault(status=500))
    with fetching(Client(backoff=0.0, retries=1)) as fetcher:
        for number in range(500):
            fetcher.add(Fetch(url=f"{faulty_server.url}{number}", tag=number, limit=100))
        assert len(run(fetcher)) == 500
    assert len(faulty_server.asked) < 150


def test_every_second_connection_is_reset(nginx_server, faulty_server):
    for number in range(40):
        (nginx_server.root / str(number)).write_text(f"{number}")
    faulty_server.script(*[Fault(refuse=True), None] * 20)
    with fetching(Client(backoff=0.01, retries=8)) as fetcher:
        for number in range(40):
            fetcher.add(Fetch(url=f"{faulty_server.url}{number}", tag=number, limit=100))
        assert {answer.fetch.tag: answer.body for answer in run(fetcher)} == {n: b"%d" % n for n in range(40)}


def test_secrets_stay_at_their_server(nginx_server, faulty_server):
    (nginx_server.root / "b").write_text("x")
    away = f"http://localhost:{faulty_server.port}/b"
    faulty_server.script(Fault(status=302, headers={"Location": away}), path="/a")
    client = Client(username="me", password="hunter22", headers={"X-Token": "s3cr3t77"})
    assert fetch(f"{faulty_server.url}a", client=client).body == b"x"
    first, second = faulty_server.asked
    assert {"authorization", "x-token"} <= set(first.headers)
    assert not {"authorization", "x-token"} & set(second.headers)


def test_a_step_that_may_start_nothing_starts_nothing(nginx_server):
    with fetching() as fetcher:
        fetcher.add(Fetch(url=nginx_server.url, tag=None, limit=MIB))
        assert fetcher.step(0.0, starts=False) == []
        assert nginx_server.requests() == []
        assert len(run(fetcher)) == 1


def test_another_thread_ends_a_step():
    with fetching() as fetcher:
        timer = threading.Timer(0.05, fetcher.wake)
        timer.start()
        begun = time.monotonic()
        fetcher.step(60.0)
        assert time.monotonic() - begun < 30
        timer.join()


def test_an_answer_that_comes_while_its_request_is_sent_is_not_waited_for(nginx_server, monkeypatch):
    def serve_to_the_end(fetcher):
        for _ in range(1000):
            _, left = fetcher._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
            if not left:
                return
            for descriptor, _ in fetcher._poll.poll(10):
                fetcher._multi.socket_action(descriptor, 0)

    monkeypatch.setattr(Fetcher, "_serve_timer", serve_to_the_end)
    with fetching(most=1) as fetcher:
        for number in range(2):
            fetcher.add(Fetch(url=nginx_server.url, tag=number, limit=MIB))
        assert [answer.fetch.tag for answer in fetcher.step()] == [0, 1]


# -- listings that are refused -----------------------------------------------------------


@pytest.fixture
def delays(monkeypatch):
    """After how many failures it was waited."""
    noted = []
    monkeypatch.setattr(Client, "delay", lambda _, failures: noted.append(failures) or 0.0)
    return noted


def add_listings(fetcher, server, number):
    for one in range(number):
        fetcher.add(Fetch(url=f"{server.url}{one}/", tag=one, limit=MIB, lists=True), urgent=True)


def test_a_server_that_makes_one_listing_at_a_time_is_asked_for_one(delays):
    busy, refused = threading.Lock(), threading.Event()

    def make(_):
        if not busy.acquire(blocking=False):
            refused.set()
            return raw_answer(status=503)
        with busy_until(busy, refused):
            return raw_answer(b"listing")

    with raw_http() as server, fetching() as fetcher:
        server.answers = {f"/{number}/": make for number in range(20)}
        add_listings(fetcher, server, 20)
        assert [answer.body for answer in run(fetcher)] == [b"listing"] * 20
        assert (len(server.asked), delays) == (21, [])


@contextmanager
def busy_until(lock, event):
    try:
        assert event.wait(30)
        yield
    finally:
        lock.release()


def test_a_server_that_refuses_all_listings_is_left_in_peace(delays):
    with raw_http() as server, fetching() as fetcher:
        server.answers = {f"/{number}/": raw_answer(status=429) for number in range(2)}
        add_listings(fetcher, server, 2)
        assert all(isinstance(answer.error, BackendError) for answer in run(fetcher))
        assert sorted(delays) == [2, 2, 3, 3, 4, 4, 5, 5, 6, 6]
        assert len(server.asked) == 2 * 7


def test_a_server_that_says_when_it_wants_listings_asked_for_again_is_believed(delays):
    with raw_http() as server, fetching(clock=lambda: 0.0) as fetcher:
        server.answers = {f"/{number}/": raw_answer(status=503, Retry_After="7") for number in range(2)}
        add_listings(fetcher, server, 2)
        while len(fetcher._later) < 2:
            fetcher.step(0.1)
        assert (fetcher.limit(server.url).wait(), delays) == (7.0, [])
        assert len(server.asked) == 2


def test_deadlines_grow_with_what_came():
    assert deadline_of(0, timeout=60.0) == 60.0
    assert deadline_of(1 << 30, timeout=60.0) > 1e6
