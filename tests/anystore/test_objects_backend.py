"""Object stores beyond the suite: memory, parts, faults, forks, credentials."""

import gc
import multiprocessing
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import time
import traceback
from itertools import islice
from uuid import uuid4

import pytest
from obstore import exceptions

from anystore.backend import Feature
from anystore.backends.objects import from_uri, probing, service
from anystore.errors import (
    AlreadyExists,
    AnystoreError,
    BackendError,
    DoesNotExist,
    InvalidKey,
    InvalidUri,
    ReadOnlyError,
    Unsupported,
    VersionMismatch,
)
from anystore.keys import parse_key, private_key
from anystore.uris import parse_uri
from tests.object_servers import BUCKET, Spoilt, meddler, moto
from tests.servers import free_port

KEY = parse_key("folder/value")
STREAM_MIB = int(os.environ.get("ANYSTORE_TEST_STREAM_MIB", "256"))


@pytest.fixture(scope="module")
def client(moto_server):
    return moto_server.s3()


@pytest.fixture
def backend(moto_server):
    return opened(moto_server)


@pytest.fixture
def between(moto_server):
    with meddler(moto_server) as proxy:
        yield proxy


def opened(server, *, bucket=BUCKET, folder=None, **options):
    """Open a folder of its own in a bucket."""
    return from_uri(parse_uri(f"s3://{bucket}/{folder or uuid4().hex}"), server.config | options)


def folder_of(backend):
    return backend._service.root


def uploads(client, backend):
    found = client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
    return [one["Key"] for one in found if one["Key"].startswith(folder_of(backend))]


# -- where things are ----------------------------------------------------------------


def test_key_is_the_name_of_the_object_below_the_folder(backend, client):
    backend.put(KEY, b"x")
    assert client.get_object(Bucket=BUCKET, Key=folder_of(backend) + KEY)["Body"].read() == b"x"
    client.put_object(Bucket=BUCKET, Key=folder_of(backend)[:-1] + "2/beside", Body=b"")
    assert list(backend.keys()) == [KEY]


def test_key_that_is_too_long_with_the_folder_is_refused(backend):
    key = parse_key("/".join(["n" * 204] * 5))
    with pytest.raises(InvalidKey, match="1,024 bytes"):
        backend.put(key, b"x")
    assert not backend.exists(key)


@pytest.mark.parametrize("uri", ["s3://", "s3:///folder", "s3://bucket:9000/x", "s3://bucket/a//b", "s3://bucket/../x"])
def test_uri_without_bucket_or_with_a_wrong_path_is_refused(uri):
    with pytest.raises(InvalidUri):
        from_uri(parse_uri(uri), {})


def test_folder_marks_are_no_values(backend, client):
    folder = folder_of(backend)
    for name in ("marked/", "marked/value", "empty", "both", "both/", ""):
        client.put_object(Bucket=BUCKET, Key=folder + name, Body=b"")
    assert sorted(backend.keys()) == ["both", "empty", "marked/value"]
    assert list(backend.keys("marked/")) == ["marked/value"]


@pytest.mark.parametrize("name", ["a//b", "a/../b", "tab\there"])
def test_foreign_name_fails_the_listing_by_its_name(backend, client, name):
    client.put_object(Bucket=BUCKET, Key=folder_of(backend) + name, Body=b"x")
    backend.put(KEY, b"x")
    with pytest.raises(BackendError) as caught:
        list(backend.keys())
    assert ascii(name)[1:-1] in str(caught.value)
    assert backend.uri in str(caught.value)
    assert list(backend.keys("folder/")) == [KEY]


def test_listing_goes_on_behind_a_page_and_is_lazy(seaweedfs_server):
    with meddler(seaweedfs_server) as between:
        backend = opened(seaweedfs_server, endpoint_url=between.url)
        names = [f"many/{number:04}" for number in range(1100)]
        opened(seaweedfs_server, folder=folder_of(backend)[:-1]).put_many((parse_key(name), b"x") for name in names)
        keys = backend.keys()
        assert list(islice(keys, 5)) == names[:5]
        assert len(between.asked) == 1
        assert [*names[:5], *keys] == names
        assert len(between.asked) == 2


# -- parts ---------------------------------------------------------------------------


def write_parts(writer, count=3):
    for _ in range(count):
        writer.write(b"z" * (8 << 20))


def test_large_value_is_sent_in_parts(backend, client):
    with backend.writer(KEY) as writer:
        write_parts(writer)
        assert uploads(client, backend) == [folder_of(backend) + KEY]
        assert not backend.exists(KEY)
    assert uploads(client, backend) == []
    assert backend.stat(KEY).size == 24 << 20
    assert len(
        client.get_object_attributes(Bucket=BUCKET, Key=folder_of(backend) + KEY, ObjectAttributes=["ObjectSize"])
    )
    assert backend.stat(KEY).version.endswith("-3")


@pytest.mark.parametrize("how", ["abort", "exception", "forgotten"])
def test_aborted_write_leaves_no_part(backend, client, how):
    backend.put(KEY, b"old")
    writer = backend.writer(KEY)
    write_parts(writer)
    assert uploads(client, backend)
    if how == "abort":
        writer.abort()
        writer.abort()
    elif how == "exception":
        with pytest.raises(ZeroDivisionError), writer:
            raise ZeroDivisionError
    else:
        del writer
        gc.collect()
    assert uploads(client, backend) == []
    assert backend.get(KEY) == b"old"


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_failed_part_or_commit_leaves_no_part(moto_server, between, client, method):
    backend = opened(moto_server, endpoint_url=between.url)
    writer = backend.writer(KEY)
    write_parts(writer, 2)
    between.spoil(method, *[Spoilt(status=400)] * 3)
    with pytest.raises(BackendError), writer:
        write_parts(writer, 2)
    assert uploads(client, backend) == []
    assert not backend.exists(KEY)


def test_large_value_given_whole_is_stored_in_parts(backend):
    data = os.urandom(20 << 20)
    assert backend.put(KEY, data).version == backend.stat(KEY).version
    assert backend.get(KEY) == data
    assert b"".join(backend.read(KEY, 3, 19 << 20)) == data[3 : 19 << 20]


def test_large_conditional_write_is_refused_or_one_request(backend, client):
    with pytest.raises(Unsupported, match=r"fsspec\+s3://"), backend.writer(KEY, create=True) as writer:
        write_parts(writer, 2)
    assert not backend.exists(KEY)
    assert uploads(client, backend) == []
    version = backend.put(KEY, b"z" * (9 << 20), create=True).version
    with pytest.raises(AlreadyExists):
        backend.put(KEY, b"y" * (9 << 20), create=True)
    backend.put(KEY, b"x" * (9 << 20), version=version)
    assert backend.get(KEY) == b"x" * (9 << 20)


@pytest.mark.alone
@pytest.mark.large
@pytest.mark.parametrize("direction", ["in", "out", "put_many"])
def test_stream_stays_small(seaweedfs_server, direction):
    backend = opened(seaweedfs_server)
    if direction == "out":
        with backend.writer(KEY) as writer:
            for _ in range(STREAM_MIB):
                writer.write(b"z" * (1 << 20))
    script = textwrap.dedent(f"""
        from pathlib import Path
        from anystore.backends.objects import from_uri
        from anystore.uris import parse_uri
        def peak():
            # not ru_maxrss, which begins with what the parent had
            return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) // 1024
        backend = from_uri(parse_uri({backend.uri!r}), {seaweedfs_server.config!r})
        backend.put("warm", b"x")
        assert backend.get("warm") == b"x"
        before, size = peak(), 0
        if {direction!r} == "in":
            with backend.writer({KEY!r}) as writer:
                for number in range({STREAM_MIB}):
                    size += writer.write(bytes([number % 256]) * (1 << 20))
        elif {direction!r} == "out":
            for piece in backend.read({KEY!r}):
                size += len(piece)
        else:
            backend.put_many((f"many/{{n}}", bytes([n % 256]) * (4 << 20)) for n in range({STREAM_MIB} // 4))
            size = {STREAM_MIB} << 20
        print(size >> 20, peak() - before)
    """)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    size, growth = map(int, done.stdout.split())
    print(f"{size} MiB {direction}: grown by {growth} MiB")
    assert size == STREAM_MIB
    assert growth < 64
    backend.delete_many(list(backend.keys()))


# -- faults --------------------------------------------------------------------------


@pytest.mark.parametrize("spoilt", [Spoilt(status=503), Spoilt(status=429), Spoilt(status=500), Spoilt(cut=0)], ids=str)
@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD"])
def test_passing_fault_is_waited_out(moto_server, between, method, spoilt):
    backend = opened(moto_server, endpoint_url=between.url)
    backend.put(KEY, b"x" * 100)
    between.spoil(method, spoilt, spoilt)
    if method == "PUT":
        backend.put(KEY, b"new")
        assert backend.get(KEY) == b"new"
    elif method == "GET":
        assert backend.get(KEY) == b"x" * 100
    else:
        assert backend.stat(KEY).size == 100
    assert [asked[0] for asked in between.asked].count(method) >= 3


def test_refusal_is_not_asked_again(moto_server, between):
    backend = opened(moto_server, endpoint_url=between.url)
    between.spoil("GET", Spoilt(status=400), Spoilt(status=400))
    with pytest.raises(BackendError):
        backend.get(KEY)
    assert len(between.asked) == 1


def test_requests_that_met_are_sent_again(moto_server, between):
    """Amazon's 409 to a condition says nothing of who won; to take it for a value would keep all from creating one."""
    backend = opened(moto_server, endpoint_url=between.url)
    assert Feature.CREATE in backend.features
    met = Spoilt(status=409, code="ConditionalRequestConflict")
    between.spoil("PUT", met, met)
    entry = backend.put(KEY, b"mine", create=True)
    between.spoil("PUT", met)
    with pytest.raises(AlreadyExists):
        backend.put(KEY, b"yours", create=True)
    between.spoil("PUT", met)
    backend.put(KEY, b"new", version=entry.version)
    assert backend.get(KEY) == b"new"


@pytest.mark.parametrize("create", [False, True])
def test_refused_write_is_not_taken_for_a_value(moto_server, between, create):
    backend = opened(moto_server, endpoint_url=between.url)
    assert Feature.CREATE in backend.features
    between.spoil("PUT", *[Spoilt(status=409, code="OperationAborted")] * 30)
    with pytest.raises(BackendError, match="OperationAborted"):
        backend.put(KEY, b"x", create=create)


@pytest.mark.parametrize(
    ("status", "code", "advice"),
    [
        (301, "PermanentRedirect", "the option 'region'"),
        (400, "AuthorizationHeaderMalformed", "the option 'region'"),
        (400, "ExpiredToken", "expired"),
        (403, "RequestTimeTooSkewed", "clock"),
        (403, "InvalidObjectState", "archive"),
    ],
)
def test_refusal_says_what_to_do(moto_server, between, status, code, advice):
    backend = opened(moto_server, endpoint_url=between.url)
    between.spoil("GET", Spoilt(status=status, code=code))
    with pytest.raises(BackendError, match=advice) as caught:
        backend.get(KEY)
    assert backend.uri in str(caught.value)


def test_machine_without_credentials_says_so(backend):
    text = "Error performing PUT http://169.254.169.254/latest/api/token in 3s - HTTP error: error sending request"
    with pytest.raises(BackendError, match="no credentials"), backend._service.errors("read", key=KEY):
        raise exceptions.GenericError(text)


def test_parts_that_the_service_has_dropped_are_no_missing_value(moto_server, between):
    backend = opened(moto_server, endpoint_url=between.url)
    writer = backend.writer(KEY)
    writer.write(b"z" * (9 << 20))
    for number in range(1, 200):  # until the upload was begun
        if any(method == "POST" for method, _, _ in between.asked):
            break
        time.sleep(0.01 * number)
    between.spoil("POST", Spoilt(status=404, code="NoSuchUpload"))
    with pytest.raises(BackendError, match="write it again"):
        writer.commit()
    writer.abort()


def test_read_goes_on_where_the_connection_was_cut(moto_server, between):
    backend = opened(moto_server, endpoint_url=between.url)
    data = os.urandom(5 << 20)
    backend.put(KEY, data)
    between.spoil("GET", Spoilt(cut=2 << 20), Spoilt(cut=1 << 20))
    assert b"".join(backend.read(KEY)) == data
    between.spoil("GET", Spoilt(cut=10_000))
    assert backend.get(KEY) == data


def test_parts_are_asked_for_by_version(moto_server, between):
    backend = opened(moto_server, endpoint_url=between.url)
    backend.put(KEY, os.urandom(3 << 20))
    with backend.reader(KEY) as reader:
        first = b"".join(reader.read())
        assert b"".join(reader.read(5, 2 << 20)) == first[5 : 2 << 20]
    ranges = [(headers["range"], headers.get("if-match")) for _, _, headers in between.asked if "range" in headers]
    version = f'"{reader.entry.version}"'
    assert ranges == [("bytes=0-1048575", None), ("bytes=1048576-3145727", version), ("bytes=5-2097151", version)]


def test_value_replaced_behind_a_cut_connection_is_not_mixed(moto_server, between, backend):
    backend.put(KEY, b"a" * (5 << 20))
    watched = from_uri(parse_uri(backend.uri), moto_server.config | {"endpoint_url": between.url})
    between.spoil("GET", Spoilt(cut=2 << 20))
    pieces = watched.read(KEY)
    assert set(next(pieces)) == {ord("a")}
    backend.put(KEY, b"b" * (5 << 20))
    with pytest.raises(VersionMismatch):
        assert set(b"".join(pieces)) == {ord("a")}
        raise VersionMismatch  # all had arrived before the value was replaced


def test_server_that_stops_and_comes_back():
    port = free_port()
    with moto(port) as server:
        backend = opened(server, retries=1, connect_timeout=2)
        backend.put(KEY, b"x")
    with pytest.raises(BackendError) as caught:
        backend.get(KEY)
    assert backend.uri in str(caught.value)
    with moto(port):
        assert not backend.exists(KEY)
        backend.put(KEY, b"y")
        assert backend.get(KEY) == b"y"


@pytest.mark.parametrize("call", ["get", "exists", "put", "delete", "keys", "features", "get_many", "create"])
def test_server_that_is_not_there_is_named_in_time(call):
    config = {"key": "anystore", "secret": "hunter2-hunter2", "endpoint_url": f"http://127.0.0.1:{free_port()}"}
    backend = from_uri(parse_uri("s3://bucket/folder"), config | {"connect_timeout": 3})
    calls = {
        "get": lambda: backend.get(KEY),
        "exists": lambda: backend.exists(KEY),
        "put": lambda: backend.put(KEY, b""),
        "delete": lambda: backend.delete(KEY),
        "keys": lambda: list(backend.keys()),
        "features": lambda: backend.features,
        "get_many": lambda: list(backend.get_many([KEY])),
        "create": lambda: backend.put(KEY, b"", create=True),
    }
    started = time.monotonic()
    with pytest.raises(BackendError) as caught:
        calls[call]()
    assert time.monotonic() - started < 6
    assert not isinstance(caught.value, DoesNotExist)
    assert "s3://bucket/folder" in str(caught.value)


def test_address_that_swallows_is_given_up_within_the_connect_timeout():
    # 192.0.2.0/24 is for documentation, and answers nowhere; a machine without a network refuses at once.
    config = {"key": "anystore", "secret": "hunter2-hunter2", "endpoint_url": "http://192.0.2.1:9"}
    backend = from_uri(parse_uri("s3://bucket/folder"), config | {"connect_timeout": 2})
    started = time.monotonic()
    with pytest.raises(BackendError, match="s3://bucket/folder"):
        backend.get(KEY)
    assert time.monotonic() - started < 4


CALLS = {
    "get": lambda backend: backend.get(KEY),
    "read": lambda backend: backend.read(KEY),
    "reader": lambda backend: backend.reader(KEY),
    "stat": lambda backend: backend.stat(KEY),
    "exists": lambda backend: backend.exists(KEY),
    "keys": lambda backend: list(backend.keys()),
    "delete": lambda backend: backend.delete(KEY),
    "delete_many": lambda backend: backend.delete_many([KEY, parse_key("other")]),
    "get_many": lambda backend: list(backend.get_many([KEY])),
    "put": lambda backend: backend.put(KEY, b""),
    "put_many": lambda backend: backend.put_many([(KEY, b"")]),
    "copy": lambda backend: backend.copy(KEY, parse_key("other")),
    "create": lambda backend: backend.put(KEY, b"", create=True),
    "features": lambda backend: backend.features,
}


@pytest.mark.parametrize("call", CALLS)
def test_missing_bucket_is_an_error_of_its_own(moto_server, call):
    backend = opened(moto_server, bucket="no-such-bucket")
    with pytest.raises(BackendError, match="no-such-bucket") as caught:
        CALLS[call](backend)
    assert not isinstance(caught.value, DoesNotExist)
    assert "there is no bucket" in str(caught.value)


@pytest.mark.parametrize("call", CALLS)
def test_wrong_password_is_an_error_of_its_own(seaweedfs_server, call):
    backend = opened(seaweedfs_server, secret="wrong-secret-0123456789")
    service._known_traits.clear()
    with pytest.raises(BackendError) as caught:
        CALLS[call](backend)
    assert not isinstance(caught.value, DoesNotExist)
    assert backend.uri in str(caught.value)
    assert "credentials" in str(caught.value)
    assert "wrong-secret" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("call", ["put", "copy", "delete", "put_many"])
def test_missing_permission_to_write_is_read_only(moto_server, between, call):
    backend = opened(moto_server, endpoint_url=between.url)
    backend.put(KEY, b"x")
    between.spoil("POST" if call == "delete" else "PUT", Spoilt(status=403, code="AccessDenied"))
    with pytest.raises(ReadOnlyError, match="AccessDenied") as caught:
        CALLS[call](backend)
    assert isinstance(caught.value, PermissionError)
    assert backend.uri in str(caught.value)


def test_credentials_that_may_only_read_declare_no_conditions(moto_server, between):
    backend = opened(moto_server, endpoint_url=between.url)
    between.spoil("PUT", Spoilt(status=403, code="AccessDenied"))
    assert not (Feature.CREATE | Feature.SWAP | Feature.SORTED) & backend.features
    assert Feature.CREATE in opened(moto_server, endpoint_url=between.url).features


def test_every_error_of_obstore_becomes_one_of_ours(backend):
    kinds = [kind for kind in vars(exceptions).values() if isinstance(kind, type)]
    assert len(kinds) > 8
    for kind in [*kinds, FileNotFoundError, ValueError, OSError]:
        assert issubclass(kind, service.ERRORS)
        with pytest.raises(AnystoreError) as caught, backend._service.errors("read", key=KEY):
            raise kind("secret, moto-secret-0123456789")
        assert backend.uri in str(caught.value)
        assert "moto-secret" not in "".join(traceback.format_exception(caught.value))
        assert type(pickle.loads(pickle.dumps(caught.value))) is type(caught.value)


# -- processes and threads --------------------------------------------------------------


def test_open_objects_do_not_keep_python_from_ending(moto_server, backend, client):
    script = textwrap.dedent(f"""
        from anystore.backends.objects import from_uri
        from anystore.uris import parse_uri
        backend = from_uri(parse_uri({backend.uri!r}), {moto_server.config!r})
        backend.put("big", b"x" * (20 << 20))
        reader = backend.reader("big")
        pieces = reader.read()
        next(pieces)
        writer = backend.writer("new")
        writer.write(b"x" * (20 << 20))
    """)
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert list(backend.keys()) == ["big"]
    assert uploads(client, backend) == []


def use_in_child(use, results):
    try:
        results.put(use())
    except BackendError as error:
        results.put(str(error))


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("begun", ["get", "new", "read", "keys", "writer"])
def test_fork_after_use_raises_at_once_and_names_spawn(backend, moto_server, begun):
    backend.put(KEY, b"x" * (3 << 20))
    pieces, keys, writer = backend.read(KEY), backend.keys(), backend.writer(parse_key("new"))
    assert next(pieces)
    write_parts(writer, 2)
    uses = {
        "get": lambda: backend.get(KEY),
        "new": lambda: opened(moto_server).exists(KEY),
        "read": lambda: list(pieces),
        "keys": lambda: list(keys),
        "writer": lambda: write_parts(writer, 1),
    }
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    child = context.Process(target=use_in_child, args=(uses[begun], results))
    child.start()
    try:
        assert "spawn" in results.get(timeout=10)
    finally:
        child.kill()
        child.join()
        writer.abort()
    assert backend.exists(KEY)


def test_backend_goes_to_another_process(backend, moto_server):
    backend.put(KEY, b"x")
    script = "import pickle, sys; print(pickle.load(sys.stdin.buffer).get('folder/value'))"
    done = subprocess.run(
        [sys.executable, "-c", script], input=pickle.dumps(backend), capture_output=True, check=True, timeout=60
    )
    assert done.stdout.strip() == b"b'x'"


def test_one_of_many_creates(seaweedfs_server):
    backend, won = opened(seaweedfs_server), []
    assert Feature.CREATE in backend.features

    def create(number):
        try:
            backend.put(KEY, b"%d" % number, create=True)
        except AlreadyExists:
            return
        won.append(number)

    # SeaweedFS lets those who meet wait for a second each: more of them, or more turns, would test its patience
    threads = [threading.Thread(target=create, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert backend.get(KEY) == b"%d" % won[0]


# -- many ----------------------------------------------------------------------------


def test_many_are_few_requests(moto_server, between):
    backend = opened(moto_server, endpoint_url=between.url)
    items = [(parse_key(f"many/{number}"), b"%d" % number) for number in range(60)]
    backend.put_many(items)
    assert list(backend.get_many(key for key, _ in items)) == items
    asked = len(between.asked)
    backend.delete_many([*(key for key, _ in items), parse_key("none")])
    assert len(between.asked) == asked + 1
    assert list(backend.keys()) == []


def test_failing_item_of_many_is_raised(moto_server, between):
    backend = opened(moto_server, endpoint_url=between.url)
    between.spoil("PUT", Spoilt(status=400))
    with pytest.raises(BackendError):
        backend.put_many([(parse_key(f"many/{number}"), b"x") for number in range(5)])


# -- what the service can do ---------------------------------------------------------


def test_probe_is_made_once_and_leaves_nothing(moto_server, client):
    service._known_traits.clear()
    with meddler(moto_server) as between:
        backend = opened(moto_server, endpoint_url=between.url)
        backend.put(KEY, b"x")
        assert len(between.asked) == 1
        assert Feature.CREATE | Feature.SWAP | Feature.SORTED in backend.features
        probed = len(between.asked)
        again = opened(moto_server, endpoint_url=between.url)
        assert again.features == backend.features
        assert len(between.asked) == probed
    everything = client.list_objects_v2(Bucket=BUCKET, Prefix=folder_of(backend) + ".anystore/")
    assert everything["KeyCount"] == 0


def test_seaweedfs_lists_by_folder_and_says_so(seaweedfs_server):
    backend = opened(seaweedfs_server)
    assert Feature.SORTED not in backend.features
    with pytest.raises(Unsupported, match="SORTED"):
        backend.scan("", KEY)


def test_condition_that_a_service_drops_is_not_declared(moto_server, monkeypatch):
    class Dropping:
        """Stands for obstore over a service that takes conditions, and does not heed them."""

        def __getattr__(self, name):
            return getattr(obstore, name)

        def put(self, store, name, data, *, mode=None, **options):
            return obstore.put(store, name, data, **options)

    obstore = probing.obstore
    monkeypatch.setattr(probing, "obstore", Dropping())
    service._known_traits.clear()
    backend = opened(moto_server)
    assert not (Feature.CREATE | Feature.SWAP) & backend.features
    with pytest.raises(Unsupported):
        backend.put(KEY, b"x", create=True)
    service._known_traits.clear()


def test_known_services_are_not_asked():
    for uri in ("s3://bucket", "gs://bucket"):
        backend = from_uri(parse_uri(uri), {"anon": True})
        assert Feature.CREATE | Feature.SWAP | Feature.SORTED in backend.features


def test_ttl_is_refused_without_a_request():
    backend = from_uri(parse_uri("s3://bucket"), {"anon": True})
    for call in (lambda: backend.put(KEY, b"", ttl=1), lambda: backend.put_many([(KEY, b"")], ttl=1)):
        with pytest.raises(Unsupported, match="anycache"):
            call()


def test_private_values_stay_hidden(backend):
    backend.put(private_key("journal"), b"x")
    assert list(backend.keys()) == []
    assert backend.get(private_key("journal")) == b"x"
