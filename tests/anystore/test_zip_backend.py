"""Zip archives: addresses and options, versions, batches, waste, sizes beyond 4 GiB, and archives elsewhere."""

import os
import pickle
import subprocess
import sys
import time
import warnings
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from anystore.backend import Backend
from anystore.backends import open_backend
from anystore.backends.local import LocalBackend
from anystore.backends.zip import ZipBackend, changes, from_uri, split_folder, values
from anystore.backends.zip.records import STORED, Record
from anystore.backends.zip.remote import RemoteZipBackend
from anystore.backends.zip.remote import from_uri as remote_from_uri
from anystore.errors import (
    BackendError,
    DoesNotExist,
    ForeignNameWarning,
    InvalidOption,
    InvalidUri,
    KeyConflict,
    ReadOnlyError,
    Unsupported,
    VersionMismatch,
)
from anystore.keys import parse_key
from anystore.uris import parse_uri

KEY, OTHER = parse_key("folder/value"), parse_key("folder/other")
MEBIBYTES = int(os.environ.get("ANYSTORE_TEST_STREAM_MIB", "256"))


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "x.zip")


@pytest.fixture
def backend(path):
    return ZipBackend(path)


# -- addresses and options -------------------------------------------------------


@pytest.mark.parametrize("form", ["{}", "file://{}", "zip://{}", "zip://localhost{}", "ZIP://{}"])
def test_the_forms_of_an_address(tmp_path, form):
    path = str(tmp_path / "some books.zip")
    text = path if form == "{}" else form.format(path.replace(" ", "%20"))
    backend = from_uri(parse_uri(text), {})
    backend.put(KEY, b"1")
    assert zipfile.is_zipfile(path)
    again = from_uri(parse_uri(backend.uri), {})
    assert again.get(KEY) == b"1"
    assert again.uri == backend.uri
    assert backend.uri in repr(backend)


@pytest.mark.parametrize("text", ["zip://host/x.zip", "zip:///x.zip?a=b", "zip://me@/x.zip", "zip://", "zip:///"])
def test_an_address_that_is_no_local_file_is_refused(text):
    with pytest.raises(InvalidUri, match="zip:///folder"):
        from_uri(parse_uri(text), {})


@pytest.mark.parametrize(
    ("text", "archive", "folder"),
    [
        ("zip:///data/x.zip", "zip:///data/x.zip", ""),
        ("zip:///data/x.zip/", "zip:///data/x.zip", ""),
        ("zip:///data/x.ZIP/a%20b/c/", "zip:///data/x.ZIP", "a b/c"),
        ("zip:///data/book.epub", "zip:///data/book.epub", ""),
        ("zip+https://me:pw@host/x.zip/a?token=1", "zip+https://me:pw@host/x.zip?token=1", "a"),
        ("zip+s3://bucket/y.zip", "zip+s3://bucket/y.zip", ""),
        ("/data/x.zip", "/data/x.zip", ""),
    ],
)
def test_a_folder_in_an_archive_is_told_apart(text, archive, folder):
    uri, inside = split_folder(parse_uri(text))
    assert (uri.text, inside) == (archive, folder)


def test_a_folder_of_files_may_have_the_name_of_an_archive(tmp_path):
    os.mkdir(tmp_path / "folder.zip")
    uri, inside = split_folder(parse_uri(f"zip://{tmp_path}/folder.zip/x.zip/a"))
    assert (uri.path, inside) == (f"{tmp_path}/folder.zip/x.zip", "a")


@pytest.mark.parametrize("config", [{"compression": "lzma"}, {"compression": 8}, {"durable": "maybe"}, {"level": 9}])
def test_an_option_that_is_none_is_refused(path, config):
    with pytest.raises(InvalidOption, match=next(iter(config))):
        from_uri(parse_uri(path), config)


def test_an_archive_whose_name_is_no_utf_8(tmp_path):
    backend = open_backend(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.zip"), {})
    backend.put(KEY, b"x")
    assert backend.uri == f"zip://{tmp_path}/caf%E9.zip"
    assert open_backend(backend.uri, {}).get(KEY) == b"x"


def test_nothing_is_made_before_a_write(tmp_path):
    backend = ZipBackend(str(tmp_path / "deep" / "er" / "x.zip"))
    assert list(backend.keys()) == []
    assert not backend.exists(KEY)
    for call in (backend.get, backend.stat, backend.take, backend.reader):
        with pytest.raises(DoesNotExist):
            call(KEY)
    backend.delete(KEY)
    backend.delete_many([KEY, OTHER])
    backend.put_many([])
    backend.writer(KEY).abort()
    assert os.listdir(tmp_path) == []
    with pytest.raises(DoesNotExist):
        backend.copy(KEY, OTHER)
    backend.put(KEY, b"1")
    assert os.listdir(tmp_path / "deep" / "er") == ["x.zip"]


def test_an_archive_behind_a_symbolic_link(tmp_path):
    os.mkdir(tmp_path / "real")
    ZipBackend(str(tmp_path / "real" / "x.zip")).put(OTHER, b"1")
    os.symlink("real/x.zip", tmp_path / "link.zip")
    backend = ZipBackend(str(tmp_path / "link.zip"))
    for number in range(5):
        backend.put(KEY, os.urandom(9000 + number))
    assert os.path.islink(tmp_path / "link.zip")
    assert sorted(ZipBackend(str(tmp_path / "real" / "x.zip")).keys()) == [OTHER, KEY]
    assert os.listdir(tmp_path / "real") == ["x.zip"]


def test_a_removed_archive_is_made_again(backend, path):
    backend.put(KEY, b"1")
    os.unlink(path)
    assert not backend.exists(KEY)
    backend.put(OTHER, b"2")
    assert list(backend.keys()) == [OTHER]


def test_compression_is_what_was_asked_for(path):
    data = b"compressible " * 10_000
    for name, method in (("stored", 0), ("deflated", 8), ("bzip2", 12)):
        backend = from_uri(parse_uri(path), {"compression": name})
        backend.put(parse_key(f"put/{name}"), data)
        with backend.writer(parse_key(f"written/{name}")) as writer:
            writer.write(data)
        with zipfile.ZipFile(path) as archive:
            for folder in ("put", "written"):
                info = archive.getinfo(f"{folder}/{name}")
                assert info.compress_type == method
                assert (info.compress_size < len(data) / 10) == bool(method)
    backend.put(KEY, noise := os.urandom(1000))
    with zipfile.ZipFile(path) as archive:
        assert archive.getinfo(KEY).compress_type == zipfile.ZIP_STORED  # it would only become longer
    assert backend.get(KEY) == noise


def test_durable_writes_reach_the_disk(tmp_path, monkeypatch):
    synced = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(real(descriptor)))
    ZipBackend(str(tmp_path / "a.zip")).put(KEY, b"1")
    assert not synced
    from_uri(parse_uri(str(tmp_path / "b.zip")), {"durable": True}).put(KEY, b"1")
    assert len(synced) == 4  # the journal, its name, the archive, and that the journal is gone


# -- versions and times ------------------------------------------------------------


def test_a_version_survives_reopening_and_every_change_of_others(backend, path):
    entries = {name: backend.put(parse_key(name), b"same") for name in ("a", "b", "c")}
    entries["d"] = backend.put(parse_key("d"), b"same")
    assert len({entry.version for entry in entries.values()}) == 4
    with open(path, "rb") as old:
        for number in range(2):
            backend.put(KEY, os.urandom(20_000 + number))
        backend.put(KEY, b"small")
        assert not os.path.samestat(os.fstat(old.fileno()), os.stat(path))  # it has become smaller
    again = pickle.loads(pickle.dumps(ZipBackend(path)))
    for name, entry in entries.items():
        assert again.stat(parse_key(name)) == backend.stat(parse_key(name)) == entry
    again.put(parse_key("a"), b"new", version=entries["a"].version)
    with pytest.raises(VersionMismatch):
        backend.put(parse_key("a"), b"newer", version=entries["a"].version)


def test_the_same_value_put_again_has_another_version(backend):
    assert len({backend.put(KEY, b"same").version for _ in range(100)}) == 100


def test_the_time_is_exact_to_the_second_wherever_we_are(path, monkeypatch):
    try:
        for zone in ("UTC", "Asia/Kathmandu", "America/St_Johns"):
            monkeypatch.setenv("TZ", zone)
            time.tzset()
            before = datetime.now(UTC).replace(microsecond=0)
            entry = ZipBackend(path).put(parse_key(zone), b"1")
            assert before <= entry.modified <= datetime.now(UTC)
            assert entry.modified.tzinfo is UTC
            with zipfile.ZipFile(path) as archive:  # what knows no UTC shows the local time
                shown = datetime(*archive.getinfo(zone).date_time).astimezone()
            assert abs((shown - entry.modified).total_seconds()) <= 2
    finally:
        monkeypatch.undo()
        time.tzset()


# -- batches and waste -----------------------------------------------------------------


def test_a_batch_writes_one_directory(backend, monkeypatch):
    written = []
    real = changes.write_journal
    monkeypatch.setattr(
        changes, "write_journal", lambda *arguments, **named: (written.append(1), real(*arguments, **named))
    )
    items = [(parse_key(f"{number % 10}/{number}"), b"%d" % number) for number in range(1000)]
    backend.put_many(iter(items))
    assert written == [1]
    assert list(backend.get_many(key for key, _ in items)) == items
    backend.delete_many(key for key, _ in items[:500])
    assert written == [1, 1]
    assert len(list(backend.keys())) == 500


@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b", "a"), ("held/x", "new"), ("new", "held/x/y")])
def test_a_batch_with_a_conflict_changes_nothing(backend, path, names):
    backend.put(parse_key("held"), b"1")
    backend.put(parse_key("held2/x/y/z"), b"1")
    before = Path(path).read_bytes()
    with pytest.raises(KeyConflict):
        backend.put_many((parse_key(name), b"2") for name in names)
    assert Path(path).read_bytes() == before


@pytest.mark.parametrize("size", [100, 3_000, 1_000_000])
def test_an_archive_never_is_much_more_than_twice_its_values(backend, path, size):
    kept = {parse_key(f"kept/{number}"): os.urandom(size // 5) for number in range(5)}
    backend.put_many(kept.items())
    for _ in range(30 if size > 10_000 else 100):
        backend.put(KEY, os.urandom(size))
        assert os.path.getsize(path) < 2 * (2 * size) + 12_000
    assert dict(backend.get_many(kept)) == kept
    backend.delete_many([*kept, KEY])
    assert os.path.getsize(path) < 12_000
    assert list(backend.keys()) == []


def test_a_smaller_archive_keeps_owner_and_permissions(backend, path):
    backend.put(KEY, b"1")
    os.chmod(path, 0o640)
    os.chown(path, os.getuid(), 12345 if not os.getuid() else os.getgid())
    with open(path, "rb") as old:
        backend.put(KEY, os.urandom(9000))
        backend.put(KEY, b"small")
        before, after = os.fstat(old.fileno()), os.stat(path)
    assert after.st_ino != before.st_ino
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)


def test_a_full_disk_does_not_fail_the_write_that_would_make_it_smaller(backend, path, monkeypatch):
    backend.put(KEY, os.urandom(9000))

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        for number in range(5):
            backend.put(KEY, b"%d" % number * 9000)
    assert os.listdir(os.path.dirname(path)) == ["x.zip"]
    assert backend.get(KEY) == b"4" * 9000
    backend.put(KEY, b"small")
    assert os.path.getsize(path) < 1000


def test_a_copy_is_not_unpacked(backend, monkeypatch):
    backend.put(KEY, b"x" * 1_000_000)
    monkeypatch.setattr(values, "DECOMPRESSORS", dict.fromkeys(values.DECOMPRESSORS))
    entry = backend.copy(KEY, OTHER)
    monkeypatch.undo()
    entry = backend.stat(OTHER)
    assert entry.size == 1_000_000
    assert entry.version != backend.stat(KEY).version
    assert backend.get(OTHER) == b"x" * 1_000_000


def test_a_forked_child_does_not_disturb_a_writer(backend):
    writer = backend.writer(KEY)
    writer.write(os.urandom(3_000_000))
    writer.write(b"end")
    child = os.fork()
    if not child:
        writer.abort()
        del writer
        os._exit(0)
    os.waitpid(child, 0)
    writer.commit()
    assert backend.get(KEY).endswith(b"end")


def test_a_closed_writer_takes_nothing(backend):
    writer = backend.writer(KEY)
    writer.commit()
    for call in (lambda: writer.write(b"x"), writer.commit):
        with pytest.raises(ValueError, match="closed"):
            call()
    assert backend.get(KEY) == b""


# -- large ---------------------------------------------------------------------------


def test_more_entries_than_the_old_format_counts(backend, path):
    names = [f"{number % 256:02x}/{number}" for number in range(66_000)]
    backend.put_many((parse_key(name), b"x") for name in names)
    with zipfile.ZipFile(path) as archive:
        assert len(archive.namelist()) == 66_000
    assert list(ZipBackend(path).keys()) == sorted(names)
    assert subprocess.run(["unzip", "-Z1", path, "00/0"], capture_output=True, check=True).stdout == b"00/0\n"


def test_values_behind_4_gib(backend, path, monkeypatch):
    monkeypatch.setattr("anystore.backends.zip.directory._WORTHWHILE", 1 << 62)
    backend.put(KEY, b"before")
    known = backend.directory()
    with open(path, "r+b") as file:  # a hole where values were that are gone
        file.truncate(5 << 30)
        file.seek(5 << 30)
        far = known.changed((), (), start=5 << 30)
        file.write(far.to_bytes())
    backend.put(OTHER, b"behind")
    again = ZipBackend(path)
    assert dict(again.get_many([KEY, OTHER])) == {KEY: b"before", OTHER: b"behind"}
    with zipfile.ZipFile(path) as archive:
        assert archive.getinfo(OTHER).header_offset == 5 << 30
        assert archive.testzip() is None
    assert subprocess.run(["unzip", "-tqq", path], check=False).returncode == 0
    monkeypatch.undo()
    again.put(parse_key("small"), b"1")
    assert os.path.getsize(path) < 2000
    assert dict(ZipBackend(path).get_many([KEY, OTHER])) == {KEY: b"before", OTHER: b"behind"}


def test_a_value_of_more_than_4_gib(backend, path):
    """It is a hole in a file, so that it costs nothing."""
    backend.put(OTHER, b"before")
    size = (4 << 30) + 3
    record = Record.new(KEY, method=STORED, crc=0, packed=size, size=size)
    old = backend.directory()
    record = record._replace(offset=old.start)
    new = old.changed([(KEY, record)], (), start=old.start + len(record.local()) + size)
    with open(path, "r+b") as file:
        file.seek(old.start)
        file.write(record.local())
        file.seek(new.start - 3)
        file.write(b"end")
        file.write(new.to_bytes())
    backend.put(parse_key("behind"), b"1")
    again = ZipBackend(path)
    assert again.stat(KEY).size == size
    assert b"".join(again.read(KEY, size - 5)) == b"\0\0end"
    with zipfile.ZipFile(path) as archive:
        assert archive.getinfo(KEY).file_size == size
        assert archive.read("behind") == b"1"
        with archive.open(KEY) as file:
            assert file.read(3) == bytes(3)
    shown = subprocess.run(["unzip", "-v", path], capture_output=True, text=True, check=True).stdout
    assert str(size) in shown
    again.delete(KEY)
    assert os.path.getsize(path) < 1000
    assert ZipBackend(path).get(OTHER) == b"before"


MEASURE = """
import sys, zipfile
from anystore.backends.zip import ZipBackend
from anystore.backends.zip.records import STORED, Record
from anystore.backends.zip.remote import RemoteZipBackend
from anystore.backends.local import LocalBackend
from anystore.keys import parse_key
NOISE = __import__("random").Random(1).randbytes(1 << 20)

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))

def case(action, path, compression, size):
    backend, key = ZipBackend(path, compression=compression), parse_key(f"big-{size}")
    if action == "write":
        with backend.writer(key) as writer:
            for number in range(size >> 20):
                writer.write(NOISE if number % 2 else bytes(1 << 20))
    elif action == "copy":
        backend.copy(key, parse_key(f"copy-{size}"))
    elif action == "read":
        assert sum(map(len, backend.read(key))) == size
        assert sum(map(len, backend.read(key, size // 2))) == size - size // 2
    elif action == "remote":
        folder, _, name = path.rpartition("/")
        remote = RemoteZipBackend(LocalBackend(folder), parse_key(name))
        assert sum(map(len, remote.read(key))) == size
    elif action == "foreign":
        for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
            other = ZipBackend(f"{path}-{method}-{size}.zip")
            assert sum(map(len, other.read(parse_key("bomb")))) == size
    elif action == "compact":
        for turn in range(2):
            backend.delete(parse_key(f"big-{size}" if turn else f"copy-{size}"))

action, path, compression, small, big = sys.argv[1:]
case(action, path, compression, int(small))
before = peak()
case(action, path, compression, int(big))
print(peak() - before)
"""


def growth(*arguments):
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.large
@pytest.mark.alone
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("compression", ["stored", "deflated"])
def test_memory_stays_bounded(path, compression):
    small, big = 1 << 20, MEBIBYTES << 20
    ZipBackend(path).put(OTHER, b"1")
    grown = {
        action: growth(action, path, compression, small, big) / 2**20
        for action in ("write", "read", "remote", "copy", "compact")
    }
    assert max(grown.values()) < 64, grown


@pytest.mark.large
@pytest.mark.alone
@pytest.mark.timeout(3600)
def test_memory_stays_bounded_for_values_that_are_packed_very_small(path):
    small, big = 1 << 20, MEBIBYTES << 20
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        for size in (small, big):
            with (
                zipfile.ZipFile(f"{path}-{method}-{size}.zip", "w", method) as archive,
                archive.open("bomb", "w", force_zip64=True) as file,
            ):
                for _ in range(size >> 20):
                    file.write(bytes(1 << 20))
    assert growth("foreign", path, "stored", small, big) < 64 << 20


# -- archives in other stores ------------------------------------------------------------


class Counting(LocalBackend):
    """A local store that counts the bytes it reads."""

    count = 0

    def reader(self, key):
        reader = super().reader(key)
        real = reader.read

        def read(start=0, stop=None):
            for piece in real(start, stop):
                self.count += len(piece)
                yield piece

        reader.read = read
        return reader


def test_only_what_is_asked_for_is_read(tmp_path):
    local = ZipBackend(str(tmp_path / "x.zip"))
    local.put_many((parse_key(f"{number}"), os.urandom(100_000)) for number in range(100))
    inner = Counting(str(tmp_path))
    remote = RemoteZipBackend(inner, parse_key("x.zip"))
    assert len(list(remote.keys())) == 100
    assert remote.stat(parse_key("7")).size == 100_000
    assert inner.count < 100_000
    assert remote.get(parse_key("7")) == local.get(parse_key("7"))
    assert inner.count < 400_000
    assert b"".join(remote.read(parse_key("8"), 5, 10)) == local.get(parse_key("8"))[5:10]
    assert inner.count < 500_000
    with pytest.raises((Unsupported, ReadOnlyError)):
        remote.put(KEY, b"1")


def opened(url, config=None):
    return remote_from_uri(parse_uri(f"zip+{url}"), config or {}, open_inner=open_backend)


def test_an_archive_behind_a_web_server(nginx_server):
    path = str(nginx_server.root / "x.zip")
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(50):
            archive.writestr(f"folder/{number}", os.urandom(50_000))
        archive.writestr("../evil", b"")
    local, remote = ZipBackend(path), opened(f"{nginx_server.url}x.zip")
    with pytest.warns(ForeignNameWarning):
        keys = list(remote.keys())
    assert len(keys) == 50
    for key in keys[:5]:
        assert remote.get(parse_key(key)) == local.get(parse_key(key))
    assert {request.status for request in nginx_server.requests() if request.method == "GET"} <= {200, 206}
    assert remote.locate(parse_key("a")) == f"zip+{nginx_server.url}x.zip/a"
    again = pickle.loads(pickle.dumps(remote))
    assert again.get(parse_key(keys[0])) == local.get(parse_key(keys[0]))


def test_a_reader_of_a_remote_archive_notices_another_one(nginx_server):
    path = str(nginx_server.root / "x.zip")
    for turn in range(2):
        with zipfile.ZipFile(path + ".new", "w") as archive:
            archive.writestr("a", b"%d" % turn * 3_000_000)
        os.utime(path + ".new", (turn, turn))
        os.replace(path + ".new", path)
        if not turn:
            remote = opened(f"{nginx_server.url}x.zip")
            reader = remote.reader(parse_key("a"))
            assert b"".join(reader.read(0, 5)) == b"00000"
    with pytest.raises(VersionMismatch):
        b"".join(reader.read(2_000_000))
    assert remote.get(parse_key("a")) == b"1" * 3_000_000


def test_a_remote_archive_that_is_missing_or_none_is_an_error(nginx_server, python_http_server):
    (nginx_server.root / "no.zip").write_bytes(b"no archive")
    missing, other = opened(f"{nginx_server.url}missing.zip"), opened(f"{nginx_server.url}no.zip")
    with zipfile.ZipFile(python_http_server.root / "x.zip", "w") as archive:
        archive.writestr("a", b"1")
    rangeless = opened(f"{python_http_server.url}x.zip")
    for backend, error, text in (
        (missing, BackendError, "no archive at"),
        (other, BackendError, "no zip archive"),
        (rangeless, Unsupported, "no ranges"),
    ):
        for call in (Backend.keys, lambda one: one.get(KEY), lambda one: one.exists(KEY)):
            with pytest.raises(error, match=text) as caught:
                list(call(backend))
            assert not isinstance(caught.value, DoesNotExist)


def test_secrets_stay_hidden():
    backend = opened("https://me:hunter2@host.invalid/x.zip?token=hunter3", {"headers": {"X-Key": "hunter4"}})
    for shown in (backend.uri, repr(backend), backend.locate(KEY)):
        assert "hunter" not in shown
        assert "x.zip" in shown
    assert backend.locate(KEY).endswith("host.invalid/x.zip/folder/value?token=***")


@pytest.mark.parametrize("text", ["https://", "https://host", "https://host/", "s3://bucket"])
def test_an_address_without_an_archive_is_refused(text):
    with pytest.raises(InvalidUri, match="names no archive"):
        opened(text)


def test_warnings_are_those_of_the_listing(backend):
    backend.put(KEY, b"1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(backend.keys()) == [KEY]
