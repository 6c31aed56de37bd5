"""Filesystems of fsspec on real servers: SFTP, FTP, WebDAV and S3."""

import multiprocessing
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
import traceback
from functools import cache
from itertools import islice

import fsspec.implementations.sftp
import pytest

from anystore.backends.fsspec import from_uri
from anystore.backends.fsspec.sftp import SftpFiles, read_at_once
from anystore.errors import (
    BackendError,
    DoesNotExist,
    InvalidKey,
    InvalidOption,
    KeyConflict,
    ReadOnlyError,
    VersionMismatch,
)
from anystore.keys import parse_key
from anystore.testing import BackendSuite
from anystore.testing.ground import at_once
from anystore.uris import parse_uri
from tests.anystore import test_backends
from tests.object_servers import BUCKET
from tests.remote_servers import (
    PASSWORD,
    QUOTED_PASSWORD,
    USER,
    apache,
    one_answer_each,
    openssh,
    pyftpd,
    sessions_of,
    wsgidav,
)
from tests.servers import HOST, free_port

KEY = parse_key("folder/value")
WRONG = "hunter2-and-more"
LINE_BREAKS = {"FTP ends a command at a line break": lambda key: bool(re.search(r"[\r\n]", key))}


def opened(uri, **config):
    return from_uri(parse_uri(uri), config)


@pytest.fixture(scope="module")
def ftp():
    with pyftpd() as server:
        yield server


@pytest.fixture(scope="module")
def dav():
    with wsgidav() as server:
        yield server


@pytest.fixture(scope="module")
def apache_dav():
    with apache() as server:
        yield server


# To make a connection takes longer than most tests, so the tests of one server share a backend, over a folder
# (or bucket) that is emptied in between.
_backends = {}


def shared_backend(server, uri, **config):
    place = (server.port, uri)
    if place not in _backends:
        _backends[place] = opened(uri, **config)
    return _backends[place]


class OnServer(test_backends.InFolder):
    unholdable = test_backends.SEGMENT_TOO_LONG

    def opened(self, server):
        """Give a backend over a folder that is not there before the first value is."""
        self.root = server.root / "base" / "store"
        shutil.rmtree(self.root.parent, ignore_errors=True)
        return shared_backend(server, f"{server.uri}/base/store", **server.config)


class TestSftp(OnServer):
    @pytest.fixture
    def backend(self, sftp_server):
        return self.opened(sftp_server)


class TestFtp(OnServer):
    unholdable = test_backends.SEGMENT_TOO_LONG | LINE_BREAKS

    @pytest.fixture
    def backend(self, ftp):
        return self.opened(ftp)


class TestWsgidav(OnServer):
    unholdable = test_backends.SEGMENT_TOO_LONG | {
        "wsgidav moves to a name that is cut there": lambda key: bool(re.search(r"[?;\t\r\n]", key)),
    }

    @pytest.fixture
    def backend(self, dav):
        return self.opened(dav)


class TestApache(OnServer):
    def place(self, backend, key, data):
        super().place(backend, key, data)
        for folder in (self.root / key).parents:  # Apache runs as another user
            if not folder.is_relative_to(self.root.parent):
                break
            folder.chmod(0o777)

    @pytest.fixture
    def backend(self, apache_dav):
        return self.opened(apache_dav)


class InBucket(BackendSuite):
    """Objects are placed by Amazon's own client."""

    folder = "base/a%20b"
    unholdable = {"over 1,024 bytes with the folder": lambda key: len(key.encode()) > 1024 - len("base/a%20b/")}

    def opened(self, server):
        self.s3 = client_of(server)
        for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
            for one in page.get("Contents", []):  # one by one: a list of such names is no XML
                self.s3.delete_object(Bucket=BUCKET, Key=one["Key"])
        return shared_backend(server, f"fsspec+s3://{BUCKET}/{self.folder}", **s3_config(server))

    def place(self, backend, key, data):
        self.s3.put_object(Bucket=BUCKET, Key=f"{self.folder}/{key}", Body=data)

    def peek(self, backend, key):
        return self.s3.get_object(Bucket=BUCKET, Key=f"{self.folder}/{key}")["Body"].read()

    def remove(self, backend, key):
        self.s3.delete_object(Bucket=BUCKET, Key=f"{self.folder}/{key}")


@cache
def client_of(server):
    return server.s3()


def s3_config(server):
    return {"key": server.user, "secret": server.password, "endpoint_url": server.url}


class TestMoto(InBucket):
    unholdable = InBucket.unholdable | {"moto does not find a name with a line break": lambda key: "\n" in key}

    @pytest.fixture
    def backend(self, moto_server):
        return self.opened(moto_server)


class TestSeaweedFS(InBucket):
    unholdable = InBucket.unholdable | {
        "SeaweedFS turns a backslash into a slash": lambda key: "\\" in key,
        "SeaweedFS refuses a last segment over 255 bytes": lambda key: len(key.rpartition("/")[2].encode()) > 255,
    }

    @pytest.fixture
    def backend(self, seaweedfs_server):
        return self.opened(seaweedfs_server)


# -- what a server refuses, and a server that is away ----------------------------


@pytest.fixture(scope="module", params=[openssh, pyftpd, apache], ids=["sftp", "ftp", "webdav"])
def server(request):
    with request.param() as running:
        yield running


def with_name(uri):
    scheme, rest = uri.split("://")
    return f"{scheme}://{USER}:{WRONG}@{rest}"


def every_call(backend):
    yield lambda: backend.get(KEY)
    yield lambda: backend.read(KEY)
    yield lambda: backend.stat(KEY)
    yield lambda: backend.exists(KEY)
    yield lambda: list(backend.keys())
    yield lambda: backend.put(KEY, b"x")
    yield lambda: backend.delete(KEY)


def check_clear(backend, *, calls=7):
    for call in islice(every_call(backend), calls):
        started = time.monotonic()
        with pytest.raises(BackendError) as caught:
            call()
        assert not isinstance(caught.value, DoesNotExist)
        assert backend.uri in str(caught.value)
        assert time.monotonic() - started < 11
        shown = "".join(traceback.format_exception(caught.value)) + repr(backend) + repr(backend._files)
        assert WRONG not in shown


@pytest.mark.parametrize("scheme", ["sftp", "ssh", "ftp", "webdav", "webdavs"])
def test_server_that_is_not_there(scheme):
    check_clear(opened(with_name(f"{scheme}://{HOST}:{free_port()}/folder")))


def test_s3_that_is_not_there():
    endpoint = f"http://{HOST}:{free_port()}"
    check_clear(opened("fsspec+s3://bucket/folder", key="x", secret=WRONG, endpoint_url=endpoint), calls=1)


def test_wrong_password(server):
    check_clear(opened(with_name(server.uri)))
    check_clear(opened(server.uri, username=USER, password=WRONG))


def test_password_in_the_uri_or_the_configuration(server):
    if server.uri.startswith("sftp"):  # a real account's password is nothing for a test
        fs = opened("sftp://me:hunter%2F2@host:2222/a%20b")._files
        assert (fs.root, fs.arguments["username"], fs.arguments["password"]) == ("/a b", "me", "hunter/2")
        return
    scheme, rest = server.uri.split("://")
    for backend in (
        opened(f"{scheme}://{USER}:{QUOTED_PASSWORD}@{rest}/login"),
        opened(f"{server.uri}/login", username=USER, password=PASSWORD),
    ):
        backend.put(KEY, b"x")
        assert backend.get(KEY) == b"x"
        assert PASSWORD not in repr(backend) + backend.uri
        assert QUOTED_PASSWORD not in repr(backend) + backend.uri


def test_missing_key_file_and_unknown_host(sftp_server):
    check_clear(opened(sftp_server.uri, **{**sftp_server.config, "key_filename": "/no/such/key"}))
    check_clear(opened(sftp_server.uri, **{**sftp_server.config, "known_hosts": os.devnull}))


def test_missing_bucket_is_no_missing_value(moto_server):
    backend = opened("fsspec+s3://no-such-bucket/folder", **s3_config(moto_server))
    for call in every_call(backend):
        with pytest.raises(BackendError, match="bucket"):
            call()


def test_wrong_credentials_of_s3(seaweedfs_server):
    backend = opened(f"fsspec+s3://{BUCKET}", **{**s3_config(seaweedfs_server), "secret": WRONG})
    for call in every_call(backend):
        with pytest.raises((BackendError, ReadOnlyError)) as caught:
            call()
        assert WRONG not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("protocol", ["sftp", "ftp"])
def test_server_that_only_reads(protocol):
    with openssh(sftp="internal-sftp -R") if protocol == "sftp" else pyftpd(writable=False) as server:
        backend = opened(server.uri, **server.config)
        (server.root / "value").write_bytes(b"x")
        with pytest.raises(ReadOnlyError, match="not allowed"):
            backend.put(KEY, b"x")
        with pytest.raises(ReadOnlyError, match="not allowed"):
            backend.delete(parse_key("value"))
        assert backend.get(parse_key("value")) == b"x"
        assert list(backend.keys()) == ["value"]


def test_folder_that_cannot_be_listed_fails_the_listing():
    with openssh(sftp="internal-sftp -P opendir") as server:
        backend = opened(server.uri, **server.config)
        backend.put(KEY, b"x")
        with pytest.raises(BackendError, match="cannot list"):
            list(backend.keys())


def test_folder_that_is_served_to_nobody(apache_dav):
    backend = opened(apache_dav.uri.replace("/dav", "/denied"), **apache_dav.config)
    for call in every_call(backend):
        with pytest.raises((BackendError, ReadOnlyError)):
            call()


# -- servers that go and come back ------------------------------------------------


def test_next_call_after_a_restart_works(server):
    backend = opened(f"{server.uri}/restart", **server.config)
    backend.put(KEY, b"old")
    reader = backend.reader(KEY)
    server.stop()
    try:
        with pytest.raises(BackendError):
            backend.get(KEY)
        with pytest.raises((BackendError, VersionMismatch)):
            list(reader.read())
    finally:
        server.start()
    reader.close()
    assert backend.get(KEY) == b"old"
    server.stop()
    server.start()
    backend.put(KEY, b"new")
    assert list(backend.keys()) == [KEY]
    assert backend.get(KEY) == b"new"


def test_server_that_stops_while_a_value_is_written(server):
    backend = opened(f"{server.uri}/stopped", **server.config)
    backend.put(KEY, b"old")
    writer = backend.writer(KEY)
    writer.write(b"n" * (3 << 20))
    server.stop()
    try:
        with pytest.raises((BackendError, ValueError)):  # it may be noticed later
            for _ in range(16):
                writer.write(b"n" * (1 << 20))
            writer.commit()
    finally:
        server.start()
    with pytest.raises(ValueError, match="closed"):
        writer.commit()
    assert backend.get(KEY) == b"old"
    assert list(backend.keys()) == [KEY]


def test_answer_that_never_comes_is_an_error(sftp_server):
    backend = opened(sftp_server.uri + "/paused", answer_timeout=0.3, **sftp_server.config)
    backend.put(KEY, b"x")
    sessions = sessions_of(sftp_server)
    for one in sessions:
        os.kill(one, signal.SIGSTOP)
    try:
        with pytest.raises(BackendError, match="sftp://"):
            backend.get(KEY)
    finally:
        for one in sessions:
            os.kill(one, signal.SIGCONT)
    assert backend.get(KEY) == b"x"


# -- whole or absent ---------------------------------------------------------------

KILLED = """
import os, sys
from anystore.backends.fsspec import from_uri
from anystore.uris import parse_uri
writer = from_uri(parse_uri(sys.argv[1]), eval(sys.argv[2])).writer("folder/value")
writer.write(b"n" * (9 << 20))
os.kill(os.getpid(), 9)
"""


def kill_a_writer(uri, config):
    done = subprocess.run([sys.executable, "-c", KILLED, uri, repr(dict(config))], check=False)
    assert done.returncode == -9


def test_killed_process_leaves_the_old_value(server):
    backend = opened(f"{server.uri}/killed", **server.config)
    backend.put(KEY, b"old")
    kill_a_writer(f"{server.uri}/killed", server.config)
    assert backend.get(KEY) == b"old"
    assert list(backend.keys()) == [KEY]


def test_killed_process_leaves_the_old_object(seaweedfs_server):
    uri = f"fsspec+s3://{BUCKET}/killed"
    backend = opened(uri, **s3_config(seaweedfs_server))
    backend.put(KEY, b"old")
    kill_a_writer(uri, s3_config(seaweedfs_server))
    assert backend.get(KEY) == b"old"
    assert list(backend.keys()) == [KEY]


def test_aborted_parts_are_taken_back(seaweedfs_server):
    client = client_of(seaweedfs_server)
    backend = opened(f"fsspec+s3://{BUCKET}/aborted", **s3_config(seaweedfs_server))
    writer = backend.writer(KEY)
    writer.write(b"x" * (20 << 20))
    assert client.list_multipart_uploads(Bucket=BUCKET, Prefix="aborted/").get("Uploads")
    writer.abort()
    assert not client.list_multipart_uploads(Bucket=BUCKET, Prefix="aborted/").get("Uploads")


def test_old_litter_is_purged_and_new_is_kept(server):
    backend = opened(f"{server.uri}/litter", **server.config)
    backend.put(KEY, b"x")
    folder = server.root / "litter/.anystore/unpublished"
    for name, age in (("old", 90_000), ("new", 3_600)):
        (folder / name).write_bytes(b"left by a killed writer")
        os.utime(folder / name, (time.time() - age,) * 2)
    again = opened(f"{server.uri}/litter", **server.config)
    again.put(KEY, b"y")
    assert os.listdir(folder) == ["new"]


class Stubborn(SftpFiles):
    """A server that does not move over a file."""

    def move(self, fs, path, target):
        fs.ftp.rename(path, target)


def test_server_that_does_not_move_over_a_file(sftp_server):
    backend = opened(f"{sftp_server.uri}/stubborn", **sftp_server.config)
    files = backend._files
    backend._files = Stubborn(
        files.protocol, files._class, files.root, arguments=files.arguments, uri=files.uri, hidden=files.hidden
    )
    for data in (b"one", b"two", b"three"):
        backend.put(KEY, data)
        assert backend.get(KEY) == data
    assert [path.name for path in (sftp_server.root / "stubborn").rglob("*") if path.is_file()] == ["value"]


def test_value_that_the_server_holds_only_a_part_of_is_not_published(server):
    backend = opened(f"{server.uri}/short", **server.config)
    backend.put(KEY, b"old")
    writer = backend.writer(KEY)
    writer.write(b"whole")
    writer._size += 1
    with pytest.raises(BackendError, match="holds 5 of 6 bytes"):
        writer.commit()
    assert backend.get(KEY) == b"old"
    assert list((server.root / "short/.anystore/unpublished").iterdir()) == []


def test_wsgidav_does_not_cut_a_name(dav):
    backend = opened(f"{dav.uri}/cut", **dav.config)
    backend.put(parse_key("a"), b"a")
    for name in ("a?b", "a;b"):
        with pytest.raises(InvalidKey, match="another name"):
            backend.put(parse_key(name), b"other")
    assert backend.get(parse_key("a")) == b"a"
    assert list(backend.keys()) == ["a"]


def test_foreign_file_below_a_folder_that_looks_empty_stays(apache_dav):
    backend = opened(f"{apache_dav.uri}/full", **apache_dav.config)
    backend.put(parse_key("a/b/c"), b"x")
    with pytest.raises(KeyConflict):
        backend.put(parse_key("a"), b"y")
    assert backend.get(parse_key("a/b/c")) == b"x"


def test_whole_value_is_read_again_when_it_is_replaced_meanwhile(server, monkeypatch):
    backend, other = (opened(f"{server.uri}/again", **server.config) for _ in range(2))
    other.put(KEY, b"old")
    look, looks = type(backend._files).look, iter(range(2))

    def look_and_replace(files, fs, path):
        found = look(files, fs, path)
        if files is backend._files and next(looks, None) is not None:
            other.put(KEY, b"replaced")
        return found

    monkeypatch.setattr(type(backend._files), "look", look_and_replace)
    assert backend.get(KEY) in (b"old", b"replaced")
    other.close()
    backend.close()


def test_parts_over_sftp_are_exact_and_leave_nothing(sftp_server):
    """paramiko's own way keeps, now and then, what it asks for twice."""
    backend = opened(f"{sftp_server.uri}/parts", **sftp_server.config)
    data = os.urandom(20 << 20)
    backend.put(KEY, data)
    with backend.reader(KEY) as reader:
        assert b"".join(reader.read()) == data
        for start, stop in [(0, 1), (32_767, 32_769), (1, (1 << 20) + 2), (len(data) - 5, len(data)), (9, None)]:
            assert b"".join(reader.read(start, stop)) == data[start:stop]
        assert not reader._handle._prefetch_data
        assert not reader._lease.fs.ftp._expecting
        ftp, handle = reader._lease.fs.ftp, reader._handle.handle
        assert read_at_once(ftp, handle, len(data) - 40_000, 100_000) == data[-40_000:]
        assert read_at_once(ftp, handle, len(data), 100_000) == b""
        assert read_at_once(ftp, handle, 0, 5) == data[:5]
    backend.close()


FORGETFUL = """
import sys
from anystore import get_store
store = get_store(sys.argv[1], backend_config=eval(sys.argv[2]))
store.put("big", "text\\n" * 1_000_000)
reading = store.open("big")
reading.read(10)
lines = store.stream("big", serialization_mode="text")
next(lines)
writing = store.open("new", "wb")
writing.write(b"x" * (20 << 20))
"""


def check_forgetful(uri, config):
    command = [sys.executable, "-c", FORGETFUL, uri, repr(dict(config))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=40)
    assert (done.returncode, done.stderr) == (0, "")
    assert list(opened(uri, **config).keys()) == ["big"]


FORKING = """
import os, sys
from anystore import get_store
store = get_store(sys.argv[1], backend_config=eval(sys.argv[2]))
store.put("old", "text\\n" * 1_000_000)
reading = store.open("old", "r")
writing = store.open("new", "w")
reading.readline()
writing.write("x" * (20 << 20))
child = os.fork()
if child == 0:
    sys.exit(0)  # which frees all that is open
assert os.waitpid(child, 0)[1] == 0
writing.write("y")
writing.close()
assert sum(1 for _ in reading) == 999_999
reading.close()
assert store.info("new").size == (20 << 20) + 1
"""


def check_forking(uri, config):
    command = [sys.executable, "-W", "ignore", "-c", FORKING, uri, repr(dict(config))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_forked_child_that_ends_leaves_open_files_alone(server):
    check_forking(f"{server.uri}/forking", server.config)


def test_forked_child_that_ends_leaves_open_objects_alone(seaweedfs_server):
    check_forking(f"fsspec+s3://{BUCKET}/forking", s3_config(seaweedfs_server))


def test_open_files_do_not_keep_python_from_ending(server):
    check_forgetful(f"{server.uri}/forgetful", server.config)


def test_open_objects_do_not_keep_python_from_ending(seaweedfs_server):
    check_forgetful(f"fsspec+s3://{BUCKET}/forgetful", s3_config(seaweedfs_server))


# -- threads, forks, pickles ---------------------------------------------------------


def test_many_threads_share_a_backend(server):
    backend = opened(f"{server.uri}/threads", **server.config)

    def work(number):
        for turn in range(3):
            key = parse_key(f"{number % 4}/{number}-{turn}")
            backend.put(key, key.encode() * 50)
            assert backend.get(key) == key.encode() * 50

    at_once(work, threads=32)
    assert len(list(backend.keys())) == 96
    backend.close()


@pytest.mark.parametrize("obeys", [False, True], ids=["unheard", "obeyed"])
def test_requests_are_repeated_when_a_kept_connection_is_lost(apache_dav, obeys):
    with one_answer_each(apache_dav.port) as relay:
        relay.obeys = obeys
        backend = opened(f"webdav://{HOST}:{relay.port}/dav/kept-{obeys}", **apache_dav.config)
        moved = set()
        for number in range(12):
            key = parse_key(f"{number % 3}/{number}")
            try:
                backend.put(key, b"%d" % number * 100_000)
            except BackendError:
                assert obeys  # whether a MOVE was obeyed that had no answer, nobody knows
            moved.add(key)
        assert set(backend.keys()) == moved
        assert dict(backend.get_many(moved)) == {key: key.rpartition("/")[2].encode() * 100_000 for key in moved}
        backend.delete(parse_key("0/0"))
        assert not backend.exists(parse_key("0/0"))
        assert relay.lost > 10
        backend.close()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_forked_process_has_connections_of_its_own(server):
    backend = opened(f"{server.uri}/forked", **server.config)
    values = {parse_key(f"k{number}"): b"%d" % number * 1000 for number in range(20)}
    backend.put_many(values.items())
    reader = backend.reader(parse_key("k0"))

    def check():
        for _ in range(3):
            assert dict(backend.get_many(values)) == values

    children = [multiprocessing.get_context("fork").Process(target=check) for _ in range(2)]
    for child in children:
        child.start()
    check()
    assert b"".join(reader.read()) == values["k0"]
    reader.close()
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    check()


def test_pickle_keeps_the_secret_for_itself(server):
    backend = opened(f"{server.uri}/pickled", **server.config)
    backend.put(KEY, b"x")
    again = pickle.loads(pickle.dumps(backend))
    assert again.get(KEY) == b"x"
    assert PASSWORD not in repr(again)


# -- options ------------------------------------------------------------------------


@pytest.mark.parametrize("uri", ["sftp://host/x", "ftp://host/x", "webdav://host/x", "fsspec+s3://bucket/x"])
def test_mistyped_option_is_refused(uri):
    with pytest.raises(InvalidOption, match="passwrd"):
        opened(uri, passwrd="x")
    with pytest.raises(InvalidOption, match="passwrd"):
        opened(uri + "?passwrd=x")


def test_webdav_uris():
    def arguments(uri, **config):
        files = opened(uri, **config)._files
        return files.arguments["base_url"], files.root

    assert arguments("webdav://host:81/a%20b/") == ("http://host:81", "/a b")
    assert arguments("webdavs://host/a") == ("https://host", "/a")
    assert arguments("davs://host/a") == ("https://host", "/a")
    assert arguments("webdav://a/b", base_url="https://host/dav") == ("https://host/dav", "a/b")


def test_sftp_is_always_the_same_library():
    assert type(opened("sftp://host/x")._files).__name__ == "SftpFiles"
    assert issubclass(opened("ssh://host/x")._files._class, fsspec.implementations.sftp.SFTPFileSystem)


# -- the whole way --------------------------------------------------------------------


def query_of(server):
    if server.uri.startswith("sftp"):
        return (
            f"{server.uri}/cli?key_filename={server.config['key_filename']}&known_hosts={server.config['known_hosts']}"
        )
    scheme, rest = server.uri.split("://")
    return f"{scheme}://{USER}:{QUOTED_PASSWORD}@{rest}/cli"


def test_command_line(server):
    def run(*arguments):
        command = [sys.executable, "-m", "anystore", "--store", query_of(server), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    for key in ("b c#%.txt", "a/é.txt"):
        assert run("put", key, "text").returncode == 0
    listed = run("keys")
    assert sorted(listed.stdout.splitlines()) == ["a/é.txt", "b c#%.txt"]
    assert run("get", "a/é.txt").stdout.strip() == "text"
    missing = run("get", "nothing")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert PASSWORD not in missing.stderr
    assert QUOTED_PASSWORD not in missing.stderr
    assert len(missing.stderr.splitlines()) == 1


MEASURE = """
import sys
from anystore.backends.fsspec import from_uri
from anystore.uris import parse_uri

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))

def case(size):
    backend = from_uri(parse_uri(sys.argv[1]), eval(sys.argv[2]))
    key = f"of-{size}"
    if sys.argv[3] == "write":
        with backend.writer(key) as writer:
            for number in range(size >> 20):
                writer.write(number.to_bytes(4, "big") * (1 << 18))
    elif sys.argv[3] == "copy":
        backend.copy(key, "copied")
        assert backend.stat("copied").size == size
        backend.delete("copied")
    else:
        taken = 0
        for piece in backend.read(key):
            for start in range(-taken % (1 << 20), len(piece), 1 << 20):
                assert piece[start : start + 4] == (taken + start >> 20).to_bytes(4, "big")[: len(piece) - start]
            taken += len(piece)
        assert taken == size

case(1 << 20)  # which loads what is needed
before = peak()
case(int(sys.argv[4]))
print(peak() - before)
"""

MEBIBYTES = int(os.environ.get("ANYSTORE_TEST_STREAM_MIB", "256"))


def check_memory(uri, config):
    for action in ("write", "read", "copy"):
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, uri, repr(dict(config)), action, str(MEBIBYTES << 20)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        print(f"{action} {uri.split(':')[0]}: {int(done.stdout) / 2**20:.1f} MiB for {MEBIBYTES} MiB")
        assert int(done.stdout) < 64 << 20


@pytest.mark.large
@pytest.mark.alone
@pytest.mark.timeout(3600)
def test_memory_stays_bounded(server):
    check_memory(f"{server.uri}/large", server.config)
    shutil.rmtree(server.root / "large")


@pytest.mark.large
@pytest.mark.alone
@pytest.mark.timeout(3600)
def test_memory_stays_bounded_on_s3(seaweedfs_server):
    check_memory(f"fsspec+s3://{BUCKET}/large", s3_config(seaweedfs_server))
    client_of(seaweedfs_server).delete_object(Bucket=BUCKET, Key=f"large/of-{MEBIBYTES << 20}")
