"""Whether a server is the one that was meant, before it gets a password or a value."""

import os

import pytest

from anystore import get_store
from anystore.errors import BackendError, InvalidOption
from tests.remote_servers import PASSWORD, openssh, pyftpd


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
