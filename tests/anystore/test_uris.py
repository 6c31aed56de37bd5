"""URIs in parts, and masked."""

import re
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anystore import get_store
from anystore.errors import InvalidUri
from anystore.uris import collect_secrets, is_secret_name, mask_text, parse_uri

MASKED = {
    "./data": "./data",
    "s3://bucket/a b": "s3://bucket/a b",
    "redis://me:hunter2@host:6379/0": "redis://me:***@host:6379/0",
    "redis://:hunter2@host/0": "redis://:***@host/0",
    "https://hunter2@host/x": "https://***@host/x",
    "postgresql://me@host/db": "postgresql://me@host/db",
    "https://host/x?token=hunter2&page=1": "https://host/x?token=***&page=1",
    "s3://b?secret=hunter2": "s3://b?secret=***",
    "https://me:hun%2Fter2@[::1]:80/x": "https://me:***@[::1]:80/x",
    "https://host/x?X-Amz-Signature=hunter2": "https://host/x?X-Amz-Signature=***",
}


@pytest.mark.parametrize("uri", MASKED)
def test_secrets_are_masked(uri):
    parsed = parse_uri(uri)
    assert parsed.masked == MASKED[uri]
    assert "hunter2" not in repr(parsed)


def test_parts():
    uri = parse_uri("postgresql+psycopg://us%40er:p%3Aw%2F@db.example:5432/name/x?sslmode=require&empty=")
    assert (uri.scheme, uri.username, uri.password, uri.host, uri.port) == (
        "postgresql+psycopg", "us@er", "p:w/", "db.example", 5432,
    )  # fmt: skip
    assert uri.path == "/name/x"
    assert uri.query == {"sslmode": "require", "empty": ""}
    assert uri.secrets == {"p:w/", "p%3Aw%2F"}


@pytest.mark.parametrize("path", ["data", "./data", "/abs/x y%20", "a:b", "C", "../x", "x?y", "#"])
def test_a_path_is_taken_as_it_is(path):
    assert parse_uri(path).scheme == "file"
    assert parse_uri(path).path == path
    assert parse_uri(Path("/a/b")).path == "/a/b"


def test_a_path_may_start_at_home(monkeypatch):
    monkeypatch.setenv("HOME", "/root-of/somebody")
    assert parse_uri("~/data").path == "/root-of/somebody/data"


@pytest.mark.parametrize(
    "uri",
    ["", "s3:/bucket", "a\0b", "redis://h:x/0", "redis://h:99999/0", "redis://h?db=1&db=2", None, 1, b"x", "s3://a\0"],
)
def test_what_is_no_uri_is_refused(uri):
    with pytest.raises(InvalidUri):
        parse_uri(uri)


def test_the_start_of_a_password_is_not_taken_for_a_port_and_shown():
    with pytest.raises(InvalidUri) as caught:
        parse_uri("redis://user:hunter2/more@host/0")
    assert "hunter2" not in str(caught.value)


@given(st.text(max_size=40))
def test_any_text_is_parsed_or_refused(text):
    with suppress(InvalidUri):
        assert isinstance(parse_uri(text).masked, str)


@pytest.mark.parametrize(
    "uri", ["s3://b/\udcff", "https://h/?\udcff=1", "file://\udcff@h/a", "file:///a?\udcff", "\ud800", "file:///\ud800"]
)
def test_what_no_bytes_stand_for_is_refused(uri):
    with pytest.raises(InvalidUri, match="surrogate"):
        parse_uri(uri)


@pytest.mark.parametrize("uri", ["./caf\udce9", "file:///caf\udce9", "zip:///caf\udce9.zip"])
def test_a_file_whose_name_is_no_utf_8_is_shown_as_text(uri):
    assert parse_uri(uri).path.endswith(("\udce9", "\udce9.zip"))
    assert "caf\\udce9" in parse_uri(uri).masked


def test_secrets_in_a_configuration():
    config = {"key": "a1", "nested": {"client": {"password": "b2"}}, "table": "plain", "token": ""}
    assert collect_secrets(config) == {"a1", "b2"}
    assert mask_text("a1b2 plain", {"a1", "a1b2"}) == "*** plain"
    assert is_secret_name("AWS_SECRET_ACCESS_KEY")
    assert not is_secret_name("table")


@pytest.mark.parametrize(
    "name",
    [
        "X-API-Key", "Ocp-Apim-Subscription-Key", "Proxy-Authorization", "Set-Cookie", "sse_customer_key_base64",
        "application_key", "master_key", "bearer", "basic_auth", "passcode",
    ],
)  # fmt: skip
def test_names_of_headers_and_keys_are_those_of_secrets(name):
    assert is_secret_name(name)


@pytest.mark.parametrize("scheme", ["file", "sqlite", "zip"])
def test_what_is_proposed_for_a_slip_of_the_finger_opens(scheme, tmp_path):
    with pytest.raises(InvalidUri, match="neither a URI nor a path") as caught:
        get_store(f"{scheme}:{tmp_path}/x")
    assert not list(get_store(re.search("write '([^']+)'", str(caught.value))[1]).iterate_keys())


def test_a_slip_of_the_finger_shows_no_secret():
    with pytest.raises(InvalidUri, match="neither a URI nor a path") as caught:
        parse_uri("postgresql:/me:hunter2@host/db")
    assert "hunter2" not in str(caught.value)
    assert "postgresql://me:***@host/db" in str(caught.value)
