"""A literal secret is replaced by a text that gives nothing of it away, and is found again for its own store alone."""

import json
import os
import subprocess
import sys

import dagster as dg
import pytest

from anystore.errors import InvalidOption
from anystore_dagster.literal_secrets import hide_secrets, refuse_literals, refuse_tokens, reveal_secrets

SECRET = "hunter2-and-more"
STORES = [
    {"uri": f"redis://me:{SECRET}@host/0"},
    {"uri": f"https://{SECRET}@host/files/"},
    {"uri": f"https://host/files/?token={SECRET}&page=1"},
    {"uri": f"redis://me:{SECRET}@host:notaport/0"},
    {"uri": "redis://host/0", "password": SECRET},
    {"uri": None, "password": SECRET},
    {"uri": dg.EnvVar("TEST_URI"), "username": "me", "password": SECRET},
    {"uri": "https://host/files/", "username": SECRET},
    {"uri": "https://host/files/", "backend_config": {"username": SECRET}},
    {"uri": dg.EnvVar("TEST_URI"), "username": SECRET},
    {"uri": "s3://bucket", "backend_config": {"key": SECRET, "client_kwargs": {"aws_secret_access_key": SECRET}}},
    {"uri": "gs://bucket", "backend_config": {"token": {"type": "service_account", "more": [SECRET, {"x": SECRET}]}}},
    {"uri": "https://host/", "backend_config": {"headers": {"Cookie": SECRET, "Authorization": f"Bearer {SECRET}"}}},
    {"uri": "https://host/", "backend_config": {"proxy": f"http://me:{SECRET}@proxy:3128"}},
    {"uri": "sftp://host/", "backend_config": {"auth": ("me", SECRET), "passphrase": SECRET.encode()}},
]


@pytest.mark.parametrize("fields", STORES, ids=range(len(STORES)))
def test_it_is_hidden_and_comes_back(fields):
    hidden = hide_secrets(fields)
    assert SECRET not in repr(hidden)
    assert "***" in repr(hidden)
    assert listed(reveal_secrets(hidden)) == listed(fields)
    assert hide_secrets(hidden) == hidden
    assert hide_secrets(fields) == hidden


def listed(value):
    """Give tuples as lists, as configuration has them."""
    if isinstance(value, dict):
        return {key: listed(part) for key, part in value.items()}
    return [listed(part) for part in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize("secret", [4711, 1.5, b"raw", "4711"])
def test_a_secret_keeps_its_type(secret):
    hidden = hide_secrets({"uri": "redis://host/types", "password": secret})
    revealed = reveal_secrets(hidden)["password"]
    assert (type(revealed), revealed) == (type(secret), secret)
    assert str(secret) not in repr({**hidden, "uri": None}).replace("***", "")


def test_what_is_no_secret_stays():
    fields = {
        "uri": "redis://me@host:6379/0",
        "username": "me",
        "password": "",
        "prefix": "token",
        "backend_config": {
            "timeout": 3, "anon": True, "password": None, "secret": dg.EnvVar("X"), "token": {"env": "X"}, "a": "a@b",
        },
    }  # fmt: skip
    assert hide_secrets(fields) == fields
    assert reveal_secrets(fields) == fields


def test_two_secrets_of_one_place_are_told_apart():
    one, other = (hide_secrets({"uri": f"redis://me:{secret}@twice/0"}) for secret in ("first", "second"))
    assert one != other
    assert [reveal_secrets(hidden)["uri"] for hidden in (one, other)] == [
        "redis://me:first@twice/0",
        "redis://me:second@twice/0",
    ]
    one, other = (hide_secrets({"uri": "redis://twice/0", "password": secret}) for secret in ("first", "second"))
    assert one != other
    assert [reveal_secrets(hidden)["password"] for hidden in (one, other)] == ["first", "second"]


def test_it_is_not_sent_to_another_store():
    hidden = hide_secrets({"uri": "redis://good/0", "password": SECRET})
    for uri in ("redis://evil/0", None, dg.EnvVar("TEST_URI")):
        with pytest.raises(
            InvalidOption, match=r"given for redis://good/0 as password, and is not sent to .*STORE_PASSWORD"
        ) as caught:
            reveal_secrets({**hidden, "uri": uri})
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize("place", ["prefix", "username", "backend_config"])
def test_it_is_not_given_out_as_something_else(place):
    """A prefix, or the name of an agent, would be shown or sent elsewhere."""
    good = hide_secrets({"uri": f"redis://me:{SECRET}@good/0", "password": SECRET})
    for uri, text in (("redis://evil/0", good["uri"]), (good["uri"], good["password"]), (good["uri"], good["uri"])):
        value = {"user_agent": text} if place == "backend_config" else text
        with pytest.raises(InvalidOption, match="and is not sent to") as caught:
            reveal_secrets({"uri": uri, place: value})
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "advice"),
    [
        ({"uri": "redis://me:***@elsewhere/0"}, "uri: {env: STORE_URI}"),
        ({"uri": "https://elsewhere/?token=***7"}, "uri: {env: STORE_URI}"),
        ({"uri": "x", "password": "*** (password of elsewhere)"}, "password: {env: STORE_PASSWORD}"),
        ({"uri": "x", "backend_config": {"a": ["*** (…)"]}}, "a: {env: STORE_A}"),
    ],
)
def test_a_text_from_another_process_is_refused_with_the_line_to_write(fields, advice):
    assert hide_secrets(fields) == fields
    with pytest.raises(InvalidOption, match="another process") as caught:
        reveal_secrets(fields)
    assert advice in str(caught.value)
    name, value = list(fields.items())[-1]
    with pytest.raises(InvalidOption, match="another process"):
        refuse_literals(value, where=name)


@pytest.mark.parametrize("fields", STORES, ids=range(len(STORES)))
def test_a_literal_in_run_configuration_is_refused(fields):
    with pytest.raises(
        InvalidOption, match=r"run configuration cannot hide .*\{env: STORE_[A-Z_]+\}, or EnvVar"
    ) as caught:
        refuse_all(fields)
    assert SECRET not in str(caught.value)


def refuse_all(fields):
    """Refuse as run configuration does: each field, and then all of them."""
    for name, value in fields.items():
        refuse_literals(value, where=name)
    refuse_tokens(fields)


def test_what_stands_for_a_secret_is_let_through():
    for fields in STORES:
        refuse_all(hide_secrets(fields))


def test_nothing_of_the_text_is_made_of_the_secret():
    """A process that knows another secret makes the same text: nobody can try secrets until one fits."""
    code = (
        "import json, sys; from anystore_dagster.literal_secrets import hide_secrets; "
        "print(json.dumps(hide_secrets(json.loads(sys.argv[1]))))"
    )
    fields = {"uri": "redis://host/apart", "password": SECRET, "backend_config": {"token": SECRET}}
    texts = set()
    for secret in (SECRET, "another"):
        given = json.dumps(fields).replace(SECRET, secret)
        done = subprocess.run(
            [sys.executable, "-c", code, given], capture_output=True, text=True, check=True, env=os.environ
        )
        texts.add(done.stdout)
    assert texts == {json.dumps(hide_secrets(fields)) + "\n"}
