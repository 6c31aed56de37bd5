"""The same program on every scheme: only the URI changes."""

import contextlib
import os
import subprocess
import sys
import threading
import uuid

import pytest

from anystore import Feature, cli, get_store
from anystore.errors import CodecError, DoesNotExist
from tests.places import make_place

KINDS = [
    "folder",
    "fsspec",
    "zip",
    "sqlite",
    "postgres",
    "mariadb",
    "redis",
    "valkey",
    "seaweedfs",
    "moto",
    "azurite",
]


@pytest.fixture(params=KINDS)
def place(request, tmp_path):
    return make_place(request.param, request.getfixturevalue, tmp_path)


@pytest.fixture
def store(place):
    uri, config = place
    with get_store(uri, backend_config=config) as store:
        yield store


def test_the_store_is_the_same_everywhere(store):
    values = {"a/b": "text", "a/c": {"n": [1, None, 2**80]}, "d": b"\xff\x00", "e/ü #1%.txt": "1", "empty": ""}
    store.put_many(values)
    assert dict(store.get_many([*values, "missing"])) == values
    assert sorted(store.iterate_keys()) == sorted(values)
    assert sorted(store.iterate_keys("a")) == ["a/b", "a/c"]
    assert list(store.iterate_keys(glob="**/*.txt")) == ["e/ü #1%.txt"]
    assert {entry.key: entry.size for entry in store.entries("a")}["a/b"] in (4, None)
    assert store.info("a/b").size == 4
    assert store.pop("a/b") == "text"
    for read in (store.get, store.info, store.open, store.stream, store.pop, store.checksum):
        with pytest.raises(DoesNotExist, match="'a/b'"):
            read("a/b")
    with store.open("lines", "w") as file:
        file.write("1\n2\r\n")
    assert list(store.stream("lines")) == [1, 2]
    with pytest.raises(ZeroDivisionError), store.open("lines", "wb") as file:
        file.write(b"lost" * 1_000_000)
        file.write(b"%d" % (1 // 0))
    assert store.get("lines", serialization_mode="raw") == b"1\n2\r\n"
    with pytest.raises(CodecError, match="'lines'"):
        store.put("lines", object())
    store.move("lines", "f/moved")
    store.copy("f/moved", "f/copied")
    other = get_store(f"memory://{uuid.uuid4()}")
    store.copy("f/copied", "back", target_store=other)
    other.copy("back", "f/returned", target_store=store)
    assert store.checksum("f/returned") == other.checksum("back")
    store.delete_prefix("f")
    store.delete("missing")
    store.delete_many(["d", "missing"])
    assert sorted(store.iterate_keys()) == ["a/c", "e/ü #1%.txt", "empty"]
    view = store.under("e")
    assert list(view.iterate_keys()) == ["ü #1%.txt"]
    assert view.get("ü #1%.txt") == "1"


def test_a_file_of_several_parts(store):
    data = os.urandom(1 << 20) * 20
    with store.open("big", "wb") as file:
        for start in range(0, len(data), 300_000):
            file.write(data[start : start + 300_000])
    assert store.info("big").size == len(data)
    with store.open("big") as file:
        if file.seekable():
            file.seek(19_000_001)
            assert file.read(1000) == data[19_000_001:19_001_001]
            file.seek(0)
        assert file.read() == data


PROCESS = """
import json, sys
from anystore import cli, get_store
store = get_store(sys.argv[1], backend_config=json.loads(sys.argv[2]))
for number in range(10):
    store.put(f"process/{sys.argv[3]}/{number}", number)
    assert store.get(f"process/{sys.argv[3]}/{number}") == number
"""


def test_threads_and_processes_share_a_store(store, place):
    uri, config = place
    failures = []

    def work(name):
        try:
            for number in range(5):
                store.put(f"thread/{name}/{number}", number)
                assert store.get(f"thread/{name}/{number}") == number
        except BaseException as error:  # noqa: BLE001 - shown below
            failures.append(error)

    processes = [
        subprocess.Popen([sys.executable, "-c", PROCESS, uri, repr(config).replace("'", '"'), str(name)])
        for name in range(4)
    ]
    threads = [threading.Thread(target=work, args=(name,)) for name in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [process.wait(120) for process in processes] == [0] * 4
    assert failures == []
    assert sum(1 for _ in store.iterate_keys()) == 32 * 5 + 4 * 10


def test_a_lock_has_one_holder(store):
    if not {Feature.CREATE, Feature.SWAP} <= set(store.features):
        with pytest.raises(NotImplementedError, match="CREATE"):
            store.lock("job")
        return
    with store.lock("job", ttl=20) as first:
        assert first.held
        assert not store.lock("job", ttl=20).acquire(timeout=0)
    with store.lock("job", ttl=20) as second:
        assert second.token == first.token + 1


def test_the_command_line(place, tmp_path, monkeypatch, capfdbinary):
    uri, config = place
    monkeypatch.setenv("ANYSTORE_URI", uri)
    for name, value in config.items():
        monkeypatch.setenv(f"ANYSTORE_BACKEND_CONFIG__{name.upper()}", value)

    def run(*arguments, code=0):
        assert cli.run(arguments) == code, capfdbinary.readouterr()
        captured = capfdbinary.readouterr()
        return captured.out if not code else captured.err.decode()

    put = [sys.executable, "-m", "anystore", "put", "a/b", "-"]
    subprocess.run(put, input=bytes(range(256)), check=True)
    assert run("get", "a/b") == bytes(range(256))
    run("cp", "a/b", "c")
    run("cp", "a/b", str(tmp_path / "file"))
    assert (tmp_path / "file").read_bytes() == bytes(range(256))
    assert sorted(run("keys").split()) == [b"a/b", b"c"]
    assert b"256" in run("info", "c")
    with contextlib.suppress(KeyError):
        assert config["password"] not in run("info").decode()
    assert b"round trip" in run("info")
    run("delete", "c")
    message = run("get", "c", code=1)
    assert "'c'" in message
    assert "Traceback" not in message
