"""What the Redis backend does beyond the suite."""

import os
import pickle
import subprocess
import sys
import tracemalloc
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from hashlib import sha1
from itertools import count

import pytest

from anystore.backends.redis import from_uri, reading, writing
from anystore.backends.redis.listing import Seen, measure
from anystore.errors import (
    AlreadyExists,
    BackendError,
    DoesNotExist,
    ForeignNameWarning,
    InvalidOption,
    InvalidUri,
    Unsupported,
    VersionMismatch,
)
from anystore.uris import parse_uri
from tests.kvrocks_filter import KvrocksFilter
from tests.redis_servers import redis_program, running

LONG = 3 << 20
MEBIBYTES = int(os.environ.get("ANYSTORE_TEST_STREAM_MIB", "256"))
NUMBERS = count()


@pytest.fixture(autouse=True, scope="module")
def emptied(redis_server):
    """Other modules leave what their killed writers have left."""
    redis_server.command("FLUSHALL")


@pytest.fixture
def prefix():
    return f"test-{next(NUMBERS)}"


@pytest.fixture
def backend(redis_server, prefix):
    backend = from_uri(parse_uri(f"redis://127.0.0.1:{redis_server.port}/0/{prefix}"), {})
    yield backend
    backend.delete_many(backend.keys())
    backend.close()


# -- URIs ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "db", "name"),
    [
        ("redis://127.0.0.1:PORT", 0, "key"),
        ("redis://127.0.0.1:PORT/", 0, "key"),
        ("redis://127.0.0.1:PORT/3", 3, "key"),
        ("redis://127.0.0.1:PORT/3/", 3, "key"),
        ("redis://127.0.0.1:PORT/3/a/b", 3, "a/b/key"),
        ("valkey://127.0.0.1:PORT/3/a%20b/", 3, "a b/key"),
        ("redis://127.0.0.1:PORT?db=4&prefix=a/b", 4, "a/b/key"),
        ("redis://127.0.0.1:PORT/4?prefix=a", 4, "a/key"),
        ("unix://SOCKET", 0, "key"),
        ("unix://SOCKET?db=5&prefix=x", 5, "x/key"),
    ],
)
def test_uri_names_database_and_prefix(redis_server, uri, db, name):
    uri = uri.replace("PORT", str(redis_server.port)).replace("SOCKET", str(redis_server.socket))
    backend = from_uri(parse_uri(uri), {})
    backend.put("key", b"value")
    with redis_server.connect() as connection:
        assert connection.ask("SELECT", db) == b"OK"
        assert connection.ask("GETDEL", name) == b"value"
    backend.close()


@pytest.mark.parametrize(
    "uri",
    [
        "redis://host/name",
        "redis://host/name/0",
        "redis://host/-1",
        "redis://host/٣",
        "redis://host//prefix",
        "redis://host/0/a//b",
        "redis://host/0/../x",
        "redis://host/0/.anystore/x",
        "redis://host/0?db=1",
        "redis://host/0/a?prefix=b",
        "redis://host/0?colour=red",
        "redis://one:7000,two:7001/0",
        "redis://host/0?cluster=true",
        "redis+cluster://host/0",
        "unix://socket",
        "unix://",
        "unix:///socket?db=x",
    ],
)
def test_other_uris_are_refused(uri):
    with pytest.raises(InvalidUri) as caught:
        from_uri(parse_uri(uri), {})
    assert uri.partition("://")[0] in str(caught.value)


@pytest.mark.parametrize(
    ("scheme", "config"),
    [
        ("redis", {"passwort": "x"}),
        ("redis", {"max_connections": 0}),
        ("redis", {"max_connections": 1.5}),
        ("redis", {"socket_timeout": "soon"}),
        ("redis", {"socket_timeout": True}),
        ("redis", {"username": 7}),
        ("redis", {"ssl_ca_certs": "ca.pem"}),
        ("rediss", {"ssl_cert_reqs": "maybe"}),
    ],
)
def test_other_options_are_refused(scheme, config):
    with pytest.raises(InvalidOption, match=next(iter(config))):
        from_uri(parse_uri(f"{scheme}://host/0"), config)


def test_nothing_is_connected_before_it_is_needed():
    backend = from_uri(parse_uri("redis://127.0.0.1:1/0"), {})
    assert pickle.loads(pickle.dumps(backend)).uri == backend.uri == "redis://127.0.0.1:1/0"


# -- values -------------------------------------------------------------------


def test_values_are_plain_strings(backend, redis_server, prefix):
    backend.put("folder/key", b"ours")
    assert redis_server.command("GET", f"{prefix}/folder/key") == b"ours"
    redis_server.command("SET", f"{prefix}/theirs", "theirs")
    assert backend.get("theirs") == b"theirs"
    with backend.writer("streamed") as writer:
        writer.write(b"x" * LONG)
    assert redis_server.command("TYPE", f"{prefix}/streamed") == b"string"
    assert redis_server.command("STRLEN", f"{prefix}/streamed") == LONG


def test_what_is_no_string_is_left_out_and_refused(backend, redis_server, prefix):
    backend.put("value", b"x")
    redis_server.command("HSET", f"{prefix}/hash", "field", "value")
    redis_server.command("RPUSH", f"{prefix}/list", "value")
    assert list(backend.keys()) == [entry.key for entry in backend.scan()] == ["value"]
    for call in (backend.get, backend.read, backend.reader, backend.stat, backend.take):
        with pytest.raises(BackendError, match="hash, a list") as caught:
            call("hash")
        assert "'hash'" in str(caught.value)
        assert backend.uri in str(caught.value)
    with pytest.raises(BackendError):
        backend.append("list", b"more")
    with pytest.raises(BackendError):
        backend.put("hash", b"new", version="0" * 40)
    assert redis_server.command("HGET", f"{prefix}/hash", "field") == b"value"


@pytest.mark.parametrize("data", [b"", b"x", b"y" * (1 << 20)], ids=len)
def test_version_is_the_sha1_of_the_value(backend, data):
    version = sha1(data).hexdigest()
    assert backend.put("key", data).version == version
    assert backend.stat("key").version == version
    with backend.reader("key") as reader:
        assert reader.entry.version == version


def test_long_value_has_no_version_and_cannot_be_swapped(backend):
    long = b"z" * ((1 << 20) + 1)
    assert backend.put("key", long).version is None
    assert backend.stat("key").version is None
    assert [entry.version for entry in backend.scan()] == [None]
    version = sha1(long).hexdigest()
    with pytest.raises(Unsupported, match="if_version"):
        backend.put("key", b"new", version=version)
    with pytest.raises(Unsupported, match="if_version"), backend.writer("key", version=version) as writer:
        writer.write(long)
    assert backend.get("key") == long


@pytest.mark.parametrize("size", [1, LONG])
def test_short_value_is_swapped_for_one_of_any_length(backend, size):
    version = backend.put("key", b"old").version
    with pytest.raises(VersionMismatch), backend.writer("key", version="0" * 40, ttl=60) as writer:
        writer.write(b"n" * size)
    assert backend.get("key") == b"old"
    with backend.writer("key", version=version, ttl=60) as writer:
        writer.write(b"n" * size)
    assert backend.get("key") == b"n" * size
    assert backend.stat("key").expires is not None


def test_create_over_a_version_can_never_be(backend):
    with pytest.raises(VersionMismatch):
        backend.put("key", b"x", create=True, version="0" * 40)
    backend.put("key", b"x")
    with pytest.raises(AlreadyExists):
        backend.put("key", b"y", create=True, version=sha1(b"x").hexdigest())


@pytest.mark.parametrize("ttl", [0.25, 1.5, 90, 1e-9])
def test_ttl_is_kept_to_the_millisecond(backend, redis_server, prefix, ttl):
    entry = backend.put("put", b"x", ttl=ttl)
    assert abs(entry.expires - datetime.now(UTC) - timedelta(seconds=ttl)) < timedelta(seconds=0.2)
    if ttl > 0.001:
        backend.put_many([("many", b"x")], ttl=ttl)
        with backend.writer("long", ttl=ttl) as writer:
            writer.write(b"x" * LONG)
        for key in ("put", "many", "long"):
            assert ttl * 1000 - 200 < redis_server.command("PTTL", f"{prefix}/{key}") <= ttl * 1000


def test_copy_works_without_the_command(prefix):
    with running(redis_program(), "--rename-command", "COPY", "") as server:
        backend = from_uri(parse_uri(f"redis://127.0.0.1:{server.port}/0"), {})
        backend.put("short", b"x", ttl=60)
        backend.put("long", b"y" * LONG)
        for key in ("short", "long"):
            backend.copy(key, "copied")
            assert backend.get("copied") == backend.get(key)
            assert (backend.stat("copied").expires is None) == (key == "long")
        with pytest.raises(DoesNotExist):
            backend.copy("missing", "copied")
        backend.close()


def test_take_works_without_the_command():
    with running(redis_program(), "--rename-command", "GETDEL", "") as server:
        backend = from_uri(parse_uri(f"redis://127.0.0.1:{server.port}/0"), {})
        for data in (b"x", b""):
            backend.put("key", data)
            assert backend.take("key") == data
            with pytest.raises(DoesNotExist):
                backend.take("key")
        server.command("LPUSH", "list", "x")
        with pytest.raises(BackendError, match="list"):
            backend.take("list")
        assert server.command("LLEN", "list") == 1
        backend.close()


# -- streams ------------------------------------------------------------------


def test_writer_of_the_parent_is_not_the_child_s(backend):
    writer = backend.writer("key")
    writer.write(b"x" * LONG)
    process = os.fork()
    if not process:
        status = 1
        try:
            with pytest.raises(BackendError, match="forked"):
                writer.write(b"y" * LONG)
            with pytest.raises(BackendError, match="forked"):
                writer.commit()
            writer.abort()
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    writer.commit()
    assert backend.get("key") == b"x" * LONG


def temporaries(server):
    return [name for name in server.command("KEYS", "*") if b"tmp/" in name]


@pytest.mark.parametrize(
    ("key", "tag"), [("a/b", "{PREFIX/a/b}"), ("{user}/x", "{user}"), ("a{b", "{PREFIX/a{b}"), ("{}c", "{PREFIX/{}c}")]
)
def test_temporary_key_is_tagged_hidden_and_expires(backend, redis_server, prefix, key, tag):
    writer = backend.writer(key)
    writer.write(b"x" * LONG)
    (name,) = temporaries(redis_server)
    assert name.startswith(f".anystore/{prefix}/tmp/{tag.replace('PREFIX', prefix)}".encode())
    assert 500_000 < redis_server.command("PTTL", name) <= 600_000
    assert list(backend.keys()) == list(backend.scan()) == []
    whole = from_uri(parse_uri(f"redis://127.0.0.1:{redis_server.port}/0"), {})
    assert not [name for name in iter(whole.keys()) if "tmp/" in name]
    redis_server.command("PEXPIRE", name, 100_000)
    writer.write(b"x" * LONG)
    assert 500_000 < redis_server.command("PTTL", name) <= 600_000
    writer.commit()
    assert temporaries(redis_server) == []
    assert redis_server.command("PTTL", f"{prefix}/{key}") == -1
    assert backend.stat(key).size == 2 * LONG
    whole.close()


def test_slow_writer_keeps_its_temporary_key(backend, redis_server, monkeypatch):
    writer = backend.writer("key")
    writer.write(b"x" * LONG)
    (name,) = temporaries(redis_server)
    redis_server.command("PEXPIRE", name, 100_000)
    monkeypatch.setattr(writing.time, "monotonic", lambda: writer._refreshed + 200)
    writer.write(b"y")
    assert redis_server.command("PTTL", name) > 500_000
    writer.abort()
    assert temporaries(redis_server) == []


@pytest.mark.parametrize("when", ["write", "commit"])
def test_lost_temporary_key_is_noticed(backend, redis_server, when):
    backend.put("key", b"old")
    writer = backend.writer("key")
    writer.write(b"x" * LONG)
    (name,) = temporaries(redis_server)
    redis_server.command("DEL", name)
    with pytest.raises(BackendError, match="write the value again"):
        writer.write(b"y" * LONG) if when == "write" else writer.commit()
    writer.abort()
    assert temporaries(redis_server) == []
    assert backend.get("key") == b"old"
    with pytest.raises(ValueError, match="closed"):
        writer.write(b"z")


@pytest.mark.parametrize("condition", ["create", "version"])
def test_refused_stream_leaves_nothing(backend, redis_server, condition):
    options = {"create": True} if condition == "create" else {"version": "0" * 40}
    writer = backend.writer("key", **options)
    writer.write(b"x" * LONG)
    backend.put("key", b"theirs")
    with pytest.raises((AlreadyExists, VersionMismatch)):
        writer.commit()
    assert temporaries(redis_server) == []
    assert backend.get("key") == b"theirs"


def test_every_moment_of_a_long_read_is_watched(backend, redis_server, prefix, monkeypatch):
    """Change the value before each step of the reader in turn: it sees the old one, whole, or says so."""
    old, new = b"a" * LONG, b"b" * LONG
    exchange = reading.exchange
    outcomes = []
    for step in count():
        backend.put("key", old)
        steps = count()

        def change_before(connection, commands, steps=steps, step=step):
            if next(steps) == step:
                redis_server.command("SET", f"{prefix}/key", new)
            return exchange(connection, commands)

        monkeypatch.setattr(reading, "exchange", change_before)
        try:
            with backend.reader("key") as reader:
                data = b"".join(reader.read())
        except VersionMismatch:
            data = b""
        outcomes.append(data[:1] or b"-")
        assert data in (b"", old, new)
        if next(steps) <= step:  # the reader was done before its value was changed
            break
    # seen whole and new where it came before the first watch, whole and old where it came after the last piece
    assert b"".join(outcomes) == b"b" + b"-" * (len(outcomes) - 4) + b"aaa"


def test_reader_says_each_time_that_the_value_is_gone(backend):
    backend.put("key", b"a" * LONG)
    with backend.reader("key") as reader:
        backend.put("key", b"a" * LONG)
        for _ in range(3):
            with pytest.raises(VersionMismatch, match="'key'"):
                list(reader.read(10, 20))
    with pytest.raises(ValueError, match="closed"):
        next(reader.read())


def test_value_that_expires_while_it_is_read_is_not_cut(backend, redis_server, prefix):
    backend.put("key", b"a" * LONG, ttl=60)
    with backend.reader("key") as reader:
        pieces = reader.read()
        assert len(next(pieces)) == 1 << 20
        redis_server.command("PEXPIRE", f"{prefix}/key", 1)
        while redis_server.command("EXISTS", f"{prefix}/key"):
            pass
        with pytest.raises(VersionMismatch):
            list(pieces)


def test_readers_give_their_connections_back(redis_server, prefix):
    backend = from_uri(parse_uri(f"redis://127.0.0.1:{redis_server.port}/0/{prefix}"), {"max_connections": 2})
    backend.put("key", b"a" * LONG)
    before = redis_server.command("CLIENT", "LIST").count(b"\n")
    with ExitStack() as stack:  # open readers do not use up what other calls need
        readers = [stack.enter_context(backend.reader("key")) for _ in range(5)]
        assert all(len(list(reader.read())) == 3 for reader in readers)
        assert backend.get("key") == b"a" * LONG
    for _ in range(20):
        next(backend.read("key"))
    backend.delete("key")
    backend.close()
    while redis_server.command("CLIENT", "LIST").count(b"\n") > before:
        pass


STREAM = """
import resource, sys
from anystore.backends.redis import from_uri
from anystore.uris import parse_uri
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
backend = from_uri(parse_uri(sys.argv[1]), {})
with backend.writer("warm") as writer:
    writer.write(b"x" * (3 << 20))
sum(map(len, backend.read("warm")))
before, mib, piece = peak(), int(sys.argv[2]), bytes(1 << 20)
with backend.writer("large") as writer:
    for _ in range(mib):
        writer.write(piece)
backend.copy("large", "copied")
assert sum(map(len, backend.read("copied"))) == mib << 20
with backend.reader("large") as reader:
    assert sum(map(len, reader.read())) == mib << 20
print(peak() - before)
"""


@pytest.mark.large
@pytest.mark.alone
def test_streams_take_little_memory(own_server):
    uri = f"redis://127.0.0.1:{own_server.port}/0"
    done = subprocess.run(
        [sys.executable, "-c", STREAM, uri, str(min(MEBIBYTES, 511))], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 64


# -- many values --------------------------------------------------------------


def test_many_long_values_take_little_memory(backend):
    keys = [f"key/{number}" for number in range(60)]
    value = b"x" * (2 << 20)
    tracemalloc.start()
    try:
        backend.put_many((key, value) for key in keys)
        assert sum(data == value for _, data in backend.get_many(keys)) == 60
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_thousands_of_values_take_few_commands(own_server):
    backend = from_uri(parse_uri(f"redis://127.0.0.1:{own_server.port}/0"), {})
    items = [(f"key/{number}", b"%d" % number) for number in range(5000)]
    backend.put_many(items)
    assert list(backend.get_many(key for key, _ in items)) == items
    assert sorted(backend.keys()) == sorted(key for key, _ in items)
    assert {entry.key: entry.size for entry in backend.scan()} == {key: len(data) for key, data in items}
    backend.delete_many(key for key, _ in items)
    assert list(backend.keys()) == []
    backend.close()
    counted = own_server.command("INFO", "commandstats").decode()
    calls = {line.split(":")[0]: int(line.split("calls=")[1].split(",")[0]) for line in counted.splitlines()[1:]}
    assert calls["cmdstat_mset"] == calls["cmdstat_unlink"] == 5
    assert calls["cmdstat_mget"] < 12
    assert calls["cmdstat_eval"] < 10


# -- listings -----------------------------------------------------------------


def test_foreign_names_are_left_out_with_one_warning(backend, redis_server, prefix):
    backend.put("good", b"x")
    for name in (b"a//b", b"\xff\xfe", b"/x", b"", b"nul\0", b"y/", b"../z"):
        redis_server.command("SET", prefix.encode() + b"/" + name, "x")
    for listing in (backend.keys, backend.scan):
        with pytest.warns(ForeignNameWarning, match=r"7 names") as caught:
            assert [getattr(found, "key", found) for found in listing()] == ["good"]
        assert len(caught) == 1
    redis_server.command("FLUSHDB")


def test_what_vanishes_between_name_and_size_is_left_out(backend, redis_server, prefix):
    backend.put("here", b"four")
    redis_server.command("HSET", f"{prefix}/hash", "field", "value")
    names = [f"{prefix}/{key}".encode() for key in ("gone", "here", "hash")]
    assert list(measure(backend._client, names, prefix="")) == [(names[1], 4, -1)]


@pytest.mark.parametrize("memory", [0, 500, 1 << 20])
def test_name_that_comes_twice_is_seen_once(memory):
    seen = Seen(memory)
    pages = [[b"%d" % (number % 97) for number in range(start, start + 10)] for start in range(0, 400, 10)]
    found = [name for page in pages for name in seen.add(page)]
    assert sorted(found) == sorted(b"%d" % number for number in range(97))
    assert (seen._file is None) == (memory > 1000)
    seen.close()


def test_listing_is_lazy_and_in_pages(backend):
    backend.put_many((f"key/{number}", b"x") for number in range(3000))
    listing = backend.keys()
    assert next(listing).startswith("key/")
    backend.delete_many([f"key/{number}" for number in range(3000)])
    assert len(list(listing)) < 2900


def test_filter_refuses_what_kvrocks_does_not_know(redis_server):
    refused = [
        ("SCAN", "0", "MATCH", "a"),
        ("SCAN", "0", "MATCH", "*a*"),
        ("SCAN", "0", "MATCH", "a\\**"),
        ("SCAN", "0", "TYPE", "string"),
        ("SET", "key", "value", "GET"),
        ("SETRANGE", "key", "0", "value"),
        ("LCS", "a", "b"),
        ("CONFIG", "GET", "*"),
    ]
    redis_server.command("SET", "k?[x]/a", "x")
    with KvrocksFilter(redis_server) as kvrocks, kvrocks.connect() as connection:
        for words in refused:
            assert connection.ask(*words) in (
                b"ERR only keys prefix match was supported",
                b"ERR syntax error",
                b"ERR unknown command " + words[0].encode(),
            )
        assert len(kvrocks.refused) == len(refused)
        assert b"kvrocks_version:" in connection.ask("INFO", "server")
        assert connection.ask("SCAN", "0", "MATCH", "k?[x]*", "COUNT", "100000") == [b"0", [b"k?[x]/a"]]
    redis_server.command("DEL", "k?[x]/a")
