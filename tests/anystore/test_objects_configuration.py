"""Options and environment variables of each cloud become obstore's, or are refused by their name."""

import json
import pickle

import pytest

from anystore.backends.objects import from_uri
from anystore.backends.objects.configuration import read_configuration
from anystore.errors import BackendError, InvalidOption, InvalidUri
from anystore.uris import parse_uri
from tests.object_servers import BUCKET

SECRET = "hunter2-hunter2-hunter2"


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch, tmp_path):
    """Keep the machine's own credentials out."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


def read(uri, /, **config):
    return read_configuration(parse_uri(uri), config)


# -- S3 -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config",
    [
        {"key": "me", "secret": SECRET},
        {"username": "me", "password": SECRET},
        {"client_kwargs": {"aws_access_key_id": "me", "aws_secret_access_key": SECRET}},
    ],
)
def test_keys_have_the_names_of_s3fs(config):
    assert read("s3://bucket", **config).keys == ("me", SECRET, None)


def test_keys_stand_in_the_uri_and_are_masked():
    found = read(f"s3a://me:{SECRET}@bucket/folder?region=eu-west-1")
    assert found.keys == ("me", SECRET, None)
    assert found.options["region"] == "eu-west-1"
    assert found.uri == "s3a://bucket/folder"
    assert SECRET not in repr(found)


@pytest.mark.parametrize(
    ("config", "name", "value"),
    [
        ({"client_kwargs": {"region_name": "eu-west-1"}}, "region", "eu-west-1"),
        ({"region": "eu-west-1"}, "region", "eu-west-1"),
        ({"client_kwargs": {"endpoint_url": "http://host:1/"}}, "endpoint", "http://host:1"),
        ({"anon": "true"}, "skip_signature", True),
        ({"requester_pays": True}, "request_payer", True),
        ({"s3_additional_kwargs": {"ServerSideEncryption": "AES256"}}, "server_side_encryption", "AES256"),
        ({"config_kwargs": {"s3": {"addressing_style": "virtual"}}}, "virtual_hosted_style_request", True),
    ],
)
def test_option_is_handed_on(config, name, value):
    assert read("s3://bucket", **config).options[name] == value


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"keey": "x"}, "keey"),
        ({"client_kwargs": {"region": "x"}}, "client_kwargs.region"),
        ({"config_kwargs": {"signature_version": "s3"}}, "config_kwargs.signature_version"),
        ({"session": object()}, "session"),
        ({"version_aware": True}, "version_aware"),
        ({"key": 1, "secret": "x"}, "key"),
        ({"anon": "perhaps"}, "anon"),
        ({"timeout": "soon"}, "timeout"),
        ({"timeout": 0}, "timeout"),
        ({"retries": 1.5}, "retries"),
        ({"retries": -1}, "retries"),
        ({"verify": "/no/such/file.pem"}, "verify"),
        ({"key": "me"}, "secret"),
        ({"token": "x"}, "key"),
        ({"key": "me", "secret": "x", "anon": True}, "anon"),
        ({"key": "me", "username": "you", "secret": "x"}, "username"),
        ({"endpoint_url": "host:9000"}, "endpoint_url"),
        ({"config_kwargs": {"s3": {"addressing_style": "odd"}}}, "addressing_style"),
        ({"profile": "none"}, "none"),
        ({"account_name": "x"}, "account_name"),
    ],
)
def test_what_cannot_be_mapped_is_refused_by_name(config, name):
    with pytest.raises(InvalidOption, match=name) as caught:
        read("s3://bucket", **config)
    assert "s3://bucket" in str(caught.value)


def test_only_an_endpoint_that_says_http_is_asked_without_tls():
    assert read("s3://bucket", endpoint_url="http://host").client["allow_http"] is True
    assert read("s3://bucket", endpoint_url="https://host").client["allow_http"] is False
    assert read("s3://bucket").client["allow_http"] is False


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"])
def test_endpoint_in_the_environment_is_taken_unless_one_is_given(monkeypatch, name):
    monkeypatch.setenv(name, "http://elsewhere:9")
    assert read("s3://bucket").endpoint == "http://elsewhere:9"
    given = read("s3://bucket", endpoint_url="http://here:9")
    assert given.endpoint == given.options["endpoint"] == given.options["aws_endpoint_url_s3"] == "http://here:9"


def test_profile_is_read_as_the_tools_read_it(monkeypatch, tmp_path):
    (tmp_path / "credentials").write_text(
        f"[default]\naws_access_key_id = d\naws_secret_access_key = {SECRET}\n"
        f"[work]\naws_access_key_id = w\naws_secret_access_key = {SECRET}%()\naws_session_token = t\n"
    )
    (tmp_path / "config").write_text("[profile work]\nregion = eu-west-2\n[profile sso]\nsso_session = x\n")
    assert read("s3://bucket").keys == ("d", SECRET, None)
    work = read("s3://bucket", profile="work")
    assert work.keys == ("w", SECRET + "%()", "t")
    assert work.options["region"] == "eu-west-2"
    with pytest.raises(InvalidOption, match="sso_session"):
        read("s3://bucket", profile="sso")
    monkeypatch.setenv("AWS_PROFILE", "work")
    assert read("s3://bucket").keys == work.keys
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "e")
    assert read("s3://bucket").keys is None  # obstore takes those of the environment
    assert read("s3://bucket", anon=True).keys is None


def test_given_keys_are_not_mixed_with_the_environment(monkeypatch, seaweedfs_server):
    server = seaweedfs_server
    backend = from_uri(parse_uri(f"s3://{BUCKET}"), server.config)
    backend.put("k", b"x")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.user)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.password)
    by_environment = from_uri(parse_uri(f"s3://{BUCKET}"), {"endpoint_url": server.url})
    assert by_environment.get("k") == b"x"
    monkeypatch.setenv("AWS_SESSION_TOKEN", "another-identity")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    again = from_uri(parse_uri(f"s3://{BUCKET}"), server.config)
    assert again.get("k") == b"x"
    assert pickle.loads(pickle.dumps(again)).get("k") == b"x"


def test_secret_in_an_error_is_masked_and_not_chained():
    config = {"token": SECRET, "endpoint_url": f"http://127.0.0.1:9/{SECRET}", "connect_timeout": 1}
    backend = from_uri(parse_uri("gs://bucket"), config)
    with pytest.raises(BackendError) as caught:
        backend.get("k")
    assert caught.value.__cause__ is None
    assert SECRET not in str(caught.value)
    assert "***" in str(caught.value)
    assert SECRET not in repr(backend)


# -- Google ------------------------------------------------------------------------------


def test_google_takes_what_gcsfs_takes(tmp_path):
    account = {"type": "service_account", "client_email": "x", "private_key": SECRET, "private_key_id": "y"}
    path = tmp_path / "account.json"
    path.write_text(json.dumps(account))
    assert json.loads(read("gs://b", token=account).options["service_account_key"]) == account
    assert read("gcs://b", token=str(path)).options == {"application_credentials": str(path)}
    assert read("gs://b", token="anon").options == {"skip_signature": True}
    assert read("gs://b", token="ya29.token", project="mine").options == {"bearer_token": "ya29.token"}
    assert read("gs://b", token="google_default").options == {}
    emulated = read("gs://b", anon=True, endpoint_url="http://host:1/")
    assert json.loads(emulated.options["service_account_key"])["gcs_base_url"] == "http://host:1"


def test_google_emulator_in_the_environment(monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "host:4443")
    assert read("gs://b", token="anon").endpoint == "http://host:4443"


@pytest.mark.parametrize("token", ["browser", "cache", "/no/such/file.json", {"type": "authorized_user"}, 3])
def test_google_token_that_cannot_be_used_is_refused(token):
    with pytest.raises(InvalidOption, match="token"):
        read("gs://b", token=token)


@pytest.mark.parametrize("name", ["consistency", "username", "key", "access"])
def test_google_option_without_a_counterpart_is_refused(name):
    with pytest.raises(InvalidOption, match=name):
        read("gs://b", **{name: "x"})


# -- Azure ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "config"),
    [
        ("az://c", {"account_name": "me", "account_key": SECRET}),
        ("az://c", {"username": "me", "password": SECRET}),
        ("az://c", {"account_name": "me", "credential": SECRET}),
        (f"az://me:{SECRET}@c", {}),
        ("az://c", {"connection_string": f"AccountName=me;AccountKey={SECRET}"}),
        ("abfs://c@me", {"account_key": SECRET}),
    ],
)
def test_azure_takes_what_adlfs_takes(uri, config):
    found = read(uri, **config)
    assert found.container == "c"
    assert found.options == {"account_name": "me", "account_key": SECRET, "credential_type": "access_key"}
    assert SECRET in found.secrets
    assert SECRET not in repr(found) + found.uri


def test_azure_names_account_and_host_in_the_uri():
    found = read("abfss://c@me.dfs.core.windows.net/folder", account_key=SECRET)
    assert (found.container, found.root) == ("c", "folder/")
    assert found.endpoint == "https://me.blob.core.windows.net"
    assert found.uri == "abfss://c@me.dfs.core.windows.net/folder"


def test_azure_connection_string(monkeypatch):
    text = f"DefaultEndpointsProtocol=http;AccountName=me;AccountKey={SECRET}==;BlobEndpoint=http://host:1/me;"
    found = read("az://c", connection_string=text)
    assert found.options["account_key"] == SECRET + "=="
    assert found.endpoint == "http://host:1/me"
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", text)
    assert read("az://c").options == found.options
    assert read("az://c", account_name="you", account_key="k").options["account_name"] == "you"
    with pytest.raises(InvalidOption, match="account_name"):
        read("az://c", connection_string=text, account_name="you")


def test_azure_signature_is_masked_in_parts():
    token = "?sv=2024-01-01&sig=abcdefghijklmnopqrstuvwx%2Fyz%3D"
    found = read("az://c", account_name="me", sas_token=token)
    assert found.options["sas_key"] == token[1:]
    assert {"abcdefghijklmnopqrstuvwx/yz=", "abcdefghijklmnopqrstuvwx%2Fyz%3D", token} <= found.secrets


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({}, "account_name"),
        ({"account_name": "me", "client_secret": "x"}, "client_id"),
        ({"connection_string": "UseDevelopmentStorage=true"}, "connection_string"),
        ({"account_name": "me", "blocksize": 1}, "blocksize"),
        ({"account_name": "me", "credential": object()}, "credential"),
        ({"account_name": "me", "key": "x"}, "key"),
    ],
)
def test_azure_option_without_a_counterpart_is_refused(config, name):
    with pytest.raises(InvalidOption, match=name):
        read("az://c", **config)


def test_uri_is_checked_for_every_cloud():
    for uri in ("gs://", "az:///x", "abfs://c@me/a//b"):
        with pytest.raises(InvalidUri):
            read(uri, account_name="me") if uri.startswith("a") else read(uri)
