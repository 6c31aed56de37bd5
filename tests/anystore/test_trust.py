"""Whether a server is the one that was meant, before it gets a password or a value."""

import contextlib
import os
import socket
import ssl
import threading

import pytest
import trustme

from anystore import get_store
from anystore.errors import BackendError, InvalidKey, InvalidOption
from anystore.web.addresses import AddressGuard
from anystore.web.client import Client
from tests.raw_http import answer, raw_http
from tests.remote_servers import PASSWORD, openssh, pyftpd
from tests.servers import HOST


@contextlib.contextmanager
def unknown_tls_server():
    """Speak TLS with a certificate that nobody trusts; give the port, and what was said inside of it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert(HOST).configure_cert(context)
    heard = []
    with socket.create_server((HOST, 0)) as listener:

        def serve():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with contextlib.suppress(OSError), connection:
                    connection.settimeout(5)
                    with context.wrap_socket(connection, server_side=True) as secure:
                        heard.append(secure.recv(100))

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1], heard
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize("scheme", ["https", "webdavs", "s3"])
def test_a_certificate_that_nobody_trusts_ends_it(scheme):
    with unknown_tls_server() as (port, heard):
        config = {"username": "me", "password": PASSWORD, "retries": 0}
        uri = f"{scheme}://{HOST}:{port}/"
        if scheme == "webdavs":
            del config["retries"]
        if scheme == "s3":
            uri = "s3://bucket"
            config = {"key": "me", "secret": PASSWORD, "endpoint_url": f"https://{HOST}:{port}"}
        with pytest.raises(BackendError, match=r"(?i)certificate|Error performing GET") as caught:
            get_store(uri, backend_config=config).get("a")
        assert PASSWORD not in str(caught.value)
        assert b"".join(heard) == b""


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.1", "2130706433", "0x7f.1", "0177.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0", "0",
     "8.8.8.8@127.0.0.1", "127.0.0.1.", "\uff11\uff12\uff17.0.0.1"],
)  # fmt: skip
@pytest.mark.parametrize("seed", ["http://8.8.8.8/", "http://10.0.0.1/"])
def test_no_spelling_of_an_address_gets_round_the_guard(host, seed):
    with raw_http() as server:
        server.answers["/"] = answer(b"inside")
        client = Client(guard=AddressGuard(seed), retries=0)
        port = server.url.rpartition(":")[2]
        with pytest.raises(BackendError):
            client.request("GET", f"http://{host}:{port}").read()
        assert server.asked == []
        client.close()


def test_a_store_on_the_web_is_not_led_elsewhere_by_a_redirect():
    with raw_http() as inside, raw_http() as outside:
        inside.answers["/a"] = answer(b"inside")
        port = inside.url.rpartition(":")[2]
        outside.answers["/a"] = answer(status=302, Location=f"http://0.0.0.0:{port}a")
        assert get_store(outside.url).get("a") == "inside"  # from this machine to itself, which may be meant
        for host in ("169.254.169.254", "10.0.0.1", "[fd00:ec2::254]"):
            outside.answers["/a"] = answer(status=302, Location=f"http://{host}/latest/meta-data/")
            with pytest.raises(BackendError, match=host.strip("[]").partition(":")[0]):
                get_store(outside.url, backend_config={"retries": 0, "connect_timeout": 3}).get("a")
        assert get_store("https://8.8.8.8/").backend.client.guard.kinds == frozenset()


def test_webdav_is_led_to_no_other_server():
    with raw_http() as other, raw_http() as server:
        other.answers["/x"] = server.answers["/there"] = answer(b"value")
        config = {"username": "me", "password": PASSWORD, "headers": {"X-Token": "secret"}}
        store = get_store(server.url.replace("http", "webdav"), backend_config=config)
        listing = (
            b"<multistatus xmlns='DAV:'><response><href>/a</href><propstat><prop/></propstat></response></multistatus>"
        )
        for location in (other.url + "x", f"http://localhost:{other.server_address[1]}/x", "file:///etc/passwd"):
            server.answers["/a"] = answer(status=302, Location=location)
            with pytest.raises(BackendError):
                store.get("a")
        assert other.asked == []
        server.answers["/a"] = answer(status=302, Location="/there")
        server.answers["/there"] = answer(listing, status=207, Content_Type="application/xml")
        assert store.exists("a")


def test_a_name_is_judged_by_the_address_that_is_connected_to(monkeypatch):
    # DNS may say one thing when a URL is looked at, and another one when it is fetched.
    with raw_http() as server:
        server.answers["/"] = answer(b"inside")
        guard = AddressGuard("http://8.8.8.8/")
        real = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: real("8.8.8.8", 80))
        client = Client(guard=guard, retries=0)
        with pytest.raises(BackendError):
            client.request("GET", server.url.replace(HOST, "localhost")).read()
        assert server.asked == []
        client.close()


@pytest.mark.parametrize("end", ["\r\nX-Injected: 1", "\nX-Injected: 1\n\n", " HTTP/1.1\r\nHost: other\r\n\r\nGET /b"])
def test_no_key_ends_a_line_of_a_request(end):
    with raw_http() as server:
        heard = []

        def told(headers):
            heard.append(headers)
            return answer(b"value")

        store = get_store(server.url, backend_config={"retries": 0})
        with contextlib.suppress(FileNotFoundError):
            store.get("a" + end)
        [asked] = set(server.asked)
        assert asked.startswith("/a%0") if end[0] != " " else asked.startswith("/a%20HTTP")
        for path in set(server.asked):
            server.answers[path] = told
        assert store.get("a" + end) == "value"
        assert not any("x-injected" in headers or headers["host"] == "other" for headers in heard)


@pytest.mark.parametrize(
    "headers", [{"X-A": "1\r\nX-B: 2"}, {"X-A\r\nX-B": "1"}, {"X-A": "1\n"}, {"X A": "1"}, {"": "1"}]
)
def test_no_header_of_the_configuration_is_two(headers):
    with pytest.raises(InvalidOption, match="header"):
        get_store(f"http://{HOST}:1/", backend_config={"headers": headers})


@pytest.fixture(scope="module", params=["explicit", "implicit"])
def ftp_over_tls(request):
    with pyftpd(tls=request.param) as server:
        yield server, True if request.param == "explicit" else "implicit"


def test_ftp_over_tls_wants_a_certificate_that_is_trusted(ftp_over_tls):
    server, tls = ftp_over_tls
    store = get_store(server.uri, backend_config={**server.config, "tls": tls})
    with pytest.raises(BackendError, match="certificate verify failed") as caught:
        store.put("a", b"1")
    assert PASSWORD not in str(caught.value)


def test_ftp_over_tls_encrypts_commands_and_data(ftp_over_tls):
    server, tls = ftp_over_tls
    config = {**server.config, "tls": tls, "ca_file": str(server.root.parent / "ca.pem")}
    store = get_store(server.uri, backend_config=config)
    store.put("folder/a", b"1" * 100_000)  # the server takes no data that is not encrypted
    assert store.get("folder/a", serialization_mode="raw") == b"1" * 100_000
    assert list(store.iterate_keys()) == ["folder/a"]


def test_ftp_over_tls_wants_the_name_of_the_certificate(ftp_over_tls):
    server, tls = ftp_over_tls
    config = {**server.config, "tls": tls, "ca_file": str(server.root.parent / "ca.pem")}
    with pytest.raises(BackendError, match="Hostname mismatch"):
        get_store(server.uri.replace("127.0.0.1", "localhost"), backend_config=config).put("a", b"1")


def test_ftp_over_tls_unchecked_only_when_asked_for(ftp_over_tls):
    server, tls = ftp_over_tls
    store = get_store(server.uri, backend_config={**server.config, "tls": tls, "verify": False})
    store.put("b", b"2")
    assert store.get("b", serialization_mode="raw") == b"2"


@pytest.mark.parametrize("end", ["\r\nDELE victim", "\nDELE victim", "\rDELE victim"])
def test_no_key_is_two_commands_of_ftp(end):
    with pyftpd() as server:
        store = get_store(server.uri, backend_config=server.config)
        store.put("victim", "1")
        for call in (
            lambda: store.put(f"a{end}", "2"),
            lambda: store.get(f"a{end}"),
            lambda: store.delete(f"a{end}"),
            lambda: store.info(f"folder{end}/a"),
            lambda: store.move("victim", f"a{end}"),
            lambda: list(store.iterate_keys(f"folder{end}")),
        ):
            with contextlib.suppress(InvalidKey):
                call()
        assert list(store.iterate_keys()) == ["victim"]


def test_a_mistyped_kind_of_tls_is_no_plain_connection():
    with pytest.raises(InvalidOption, match="implicit"):
        get_store("ftp://127.0.0.1:1/", backend_config={"tls": "explicitly"}).put("a", b"1")


def test_a_host_key_that_is_not_known_is_refused(monkeypatch, tmp_path):
    with openssh() as server:
        monkeypatch.setenv("HOME", str(tmp_path))
        unknown = {name: value for name, value in server.config.items() if name != "known_hosts"}
        for config in (unknown, {**unknown, "known_hosts": os.devnull}, {**unknown, "host_key_policy": "reject"}):
            with pytest.raises(BackendError, match=r"not in known_hosts.*SHA256:"):
                get_store(server.uri, backend_config=config).put("a", b"1")
        assert os.listdir(server.root) == []
        get_store(server.uri, backend_config={**unknown, "host_key_policy": "auto_add"}).put("a", b"1")

        (tmp_path / ".ssh").mkdir()
        known = (server.root.parent / "known_hosts").read_text()
        (tmp_path / ".ssh" / "known_hosts").write_text(known)
        assert get_store(server.uri, backend_config=unknown).get("a", serialization_mode="raw") == b"1"

        other = (server.root.parent / "client_key.pub").read_text().split()[1]
        (tmp_path / ".ssh" / "known_hosts").write_text(f"{known.split()[0]} ssh-ed25519 {other}\n")
        for policy in ({}, {"host_key_policy": "auto_add"}):  # with a time limit, so that no connection is used again
            with pytest.raises(BackendError, match="does not match"):
                get_store(server.uri, backend_config={**unknown, **policy, "timeout": 9}).get("a")
