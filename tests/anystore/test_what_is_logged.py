"""What our drivers log at their most talkative holds no secret."""

import logging
import os
import uuid
from contextlib import suppress

import pytest

from anystore import get_store
from anystore.errors import AnystoreError
from tests.object_servers import BUCKET
from tests.raw_http import answer, raw_http
from tests.remote_servers import PASSWORD, USER, apache, pyftpd

WRONG = "not-this-one-0815"


def exercise(store):
    """Do a little of everything, as far as it can be done."""
    name = f"logged-{uuid.uuid4().hex}"
    for call in (
        lambda: store.put(name, "value"),
        lambda: store.get(name),
        lambda: list(store.iterate_keys()),
        lambda: store.info(name),
        lambda: store.delete(name),
        lambda: store.get("missing"),
    ):
        with suppress(AnystoreError):
            call()


@pytest.fixture
def logged(caplog, capfd):
    """Let every logger say all it has to say; give it, with what was printed."""
    caplog.set_level(logging.DEBUG)
    root = logging.getLogger()
    levels = {name: logging.getLogger(name).level for name in root.manager.loggerDict}
    for name in levels:
        logging.getLogger(name).setLevel(logging.DEBUG)

    def text():
        lines = [f"{record.name} {record.getMessage()} {record.args!r} {record.exc_text}" for record in caplog.records]
        return "\n".join([*lines, *capfd.readouterr()])

    yield text
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def check(logged, *secrets):
    text = logged()
    for secret in secrets:
        assert secret not in text, next(line for line in text.splitlines() if secret in line)


@pytest.mark.parametrize("kind", ["postgres", "mariadb"])
def test_databases(request, logged, kind):
    server = request.getfixturevalue(f"{kind}_server")
    for password in (server.password, WRONG):
        exercise(get_store(server.url_with(password=password)))
    check(logged, server.password, WRONG)


def test_redis(redis_server, logged):
    exercise(get_store(f"redis://me:{WRONG}@127.0.0.1:{redis_server.port}/0/logged"))
    check(logged, WRONG)


@pytest.mark.parametrize("scheme", ["s3", "fsspec+s3"])
def test_object_stores(moto_server, logged, scheme):
    for secret in (moto_server.password, WRONG):
        config = {"key": moto_server.user, "secret": secret, "endpoint_url": moto_server.url}
        exercise(get_store(f"{scheme}://{BUCKET}/logged", backend_config=config))
    check(logged, *{moto_server.password, WRONG} - {moto_server.user})


@pytest.mark.parametrize("start", [pyftpd, apache])
def test_files_by_a_password(logged, start):
    with start() as server:
        for password in (PASSWORD, WRONG):
            exercise(get_store(server.uri, backend_config={"username": USER, "password": password}))
    check(logged, PASSWORD, WRONG)


def test_sftp(sftp_server, logged):
    exercise(get_store(sftp_server.uri, backend_config={**sftp_server.config, "passphrase": PASSWORD}))
    known = {name: value for name, value in sftp_server.config.items() if name != "key_filename"}
    exercise(get_store(sftp_server.uri, backend_config={**known, "username": "nobody-here", "password": WRONG}))
    check(logged, PASSWORD, WRONG)


def test_http(logged):
    with raw_http() as server:
        server.answers["/"] = answer(b"<a href='a'>a</a>", Content_Type="text/html")
        server.answers["/a"] = answer(status=401)
        config = {"username": USER, "password": PASSWORD, "headers": {"X-Token": WRONG}, "retries": 0}
        exercise(get_store(server.url, backend_config=config))
    check(logged, PASSWORD, WRONG)


def test_the_check_hears_what_is_logged_and_printed(logged):
    logging.getLogger("some.driver").debug("connecting with %s", PASSWORD)
    with pytest.raises(AssertionError, match="connecting with"):
        check(logged, PASSWORD)
    os.write(2, PASSWORD.encode())
    with pytest.raises(AssertionError):
        check(logged, PASSWORD)
