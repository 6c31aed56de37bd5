"""The page of errors names each of them, and what it shows of their messages is what they say."""

import inspect
import os
import re
import sys
import warnings

import pytest

from anystore import errors, get_store
from tests.project.console_pages import ROOT, pattern
from tests.servers import HOST, free_port

PAGE = (ROOT / "docs" / "errors.md").read_text()
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
ERRORS = {name: kind for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, Exception)}


def messages_of(section):
    return [block.strip() for block in re.findall(r"^```text\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)]


def missing_library():
    """Ask for Redis as if its library were not installed."""
    hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if name.startswith("anystore.backends.redis")}
    library, sys.modules["redis"] = sys.modules.get("redis"), None
    try:
        get_store("redis://host/0")
    finally:
        del sys.modules["redis"]
        sys.modules.update(hidden)
        if library is not None:
            sys.modules["redis"] = library


def change_twice():
    store = get_store("./data")
    old = store.put("counter", 1)
    store.put("counter", 2)
    store.put("counter", 3, if_version=old.version)


def create_twice():
    store = get_store("./data")
    store.put("lock", 1)
    store.put("lock", 2, if_absent=True)


def read_text_as_json():
    store = get_store("./data")
    store.put("notes", "dear diary")
    store.get("notes", serialization_mode="json")


def put_beside():
    store = get_store("./data")
    store.put("a", 1)
    store.put("a/b", 1)


def move_folder():
    files = get_store("./data").fs
    files.pipe_file("reports/may", b"")
    files.mv("reports", "other")


def remove_value_as_folder():
    files = get_store("./data").fs
    files.pipe_file("notes", b"")
    files.rmdir("notes")


def list_a_foreign_name():
    os.makedirs("./data")
    with open(b"./data/name\xff", "wb"):
        pass
    with warnings.catch_warnings():
        warnings.simplefilter("error", errors.ForeignNameWarning)
        list(get_store("./data").iterate_keys())


def open_what_is_no_archive():
    with open("books.zip", "w") as file:
        file.write("none")
    get_store("books.zip").get("a")


def down(uri, **config):
    """Read from a server that is not there."""
    place = f"{HOST}:{free_port()}"
    config = {name: value.format(place=place) if isinstance(value, str) else value for name, value in config.items()}
    get_store(uri.format(place=place), backend_config=config).get("a")


CASES = [
    ("DoesNotExist", lambda: get_store("./data").get("reports/june")),
    ("AlreadyExists", create_twice),
    ("VersionMismatch", change_twice),
    ("ReadOnlyError", lambda: get_store("./data", readonly=True).put("a", 1)),
    ("InvalidKey", lambda: get_store("./data").get("/reports/june")),
    ("InvalidKey", lambda: get_store("./data").put("x" * 300 + ".txt", 1)),
    ("InvalidUri", lambda: get_store("postgresql:/host/db")),
    ("InvalidUri", lambda: get_store("redis://host/zero")),
    ("InvalidOption", lambda: get_store("postgresql://host/db", backend_config={"pasword": "x"})),
    ("InvalidOption", lambda: get_store("./data", serialization_mode="jsn").get("a")),
    ("CodecError", lambda: get_store("./data").put("pair", (1, 2))),
    ("CodecError", read_text_as_json),
    ("Unsupported", lambda: get_store("./data").put("session", 1, ttl=60)),
    ("Unsupported", lambda: get_store("https://host/files/").put("a", 1)),
    ("MissingExtra", missing_library),
    ("BackendError", lambda: down("redis://{place}/0")),
    ("BackendError", lambda: down("postgresql://me:hunter2@{place}/db")),
    ("BackendError", lambda: down("s3://bucket", endpoint_url="http://{place}", key="key", secret="secret", retries=0)),
    ("BackendError", lambda: down("sftp://{place}/folder")),
    ("BackendError", lambda: down("http://{place}/files/", retries=0)),
    ("BackendError", open_what_is_no_archive),
    ("KeyConflict", put_beside),
    ("IsAFolder", move_folder),
    ("NotAFolder", remove_value_as_folder),
    ("ForeignNameWarning", list_a_foreign_name),
]


def test_each_error_has_its_section_and_no_other():
    assert set(SECTIONS) == set(ERRORS)


@pytest.mark.parametrize("name", sorted(set(ERRORS) - {"AnystoreError", "ForeignNameWarning"}))
def test_the_built_in_beside_it_is_named(name):
    for kind in ERRORS[name].__bases__:
        if kind is not errors.AnystoreError:
            assert f"`{kind.__name__}`" in SECTIONS[name].strip().partition("\n\n")[0]


def test_each_message_has_its_case():
    shown = [name for name, section in SECTIONS.items() for _ in messages_of(section)]
    assert shown == [name for name, _ in CASES]
    assert set(SECTIONS) - set(shown) == {"AnystoreError"}


@pytest.mark.parametrize("number", range(len(CASES)), ids=[f"{name}-{n}" for n, (name, _) in enumerate(CASES)])
def test_messages_are_as_printed(number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name, act = CASES[number]
    with pytest.raises(ERRORS[name]) as raised:
        act()
    said = messages_of(SECTIONS[name])[[one for one, _ in CASES[:number]].count(name)]
    assert pattern([said]).fullmatch(f"{raised.value}\n"), raised.value
    assert "hunter2" not in str(raised.value)
