"""Filesystems of fsspec: what the suite does not ask."""

import multiprocessing
import os
import pickle
import subprocess
import sys
import warnings
import zipfile
from datetime import UTC, datetime
from uuid import uuid4

import fsspec
import pytest
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.registry import _registry
from fsspec.spec import AbstractFileSystem

from anystore.backend import Feature
from anystore.backends import open_backend
from anystore.backends.fsspec import FsspecBackend
from anystore.backends.fsspec.values import entry_of
from anystore.errors import (
    AnystoreError,
    BackendError,
    DoesNotExist,
    ForeignNameWarning,
    InvalidKey,
    InvalidOption,
    InvalidUri,
    MissingExtra,
    ReadOnlyError,
    Unsupported,
    VersionMismatch,
)
from anystore.keys import parse_key
from tests.anystore import test_backends

KEY = parse_key("folder/value")


def opened(uri, **config):
    return open_backend(uri, config)


class WithoutMove(DirFileSystem):
    """Has no move of its own, like an object store."""

    protocol = "withoutmove"
    mv = AbstractFileSystem.mv


class Stubborn(DirFileSystem):
    """Does not move over a file, as some servers do not."""

    protocol = "stubborn"

    def mv(self, path1, path2, **options):
        if self.exists(path2):
            raise OSError("Failure")
        super().mv(path1, path2)


class Failing(DirFileSystem):
    """Fails as it is told to."""

    protocol = "failing"

    def __init__(self, error=None, method="", token="", **options):
        super().__init__(**options)
        self.error = error
        self.method = method
        self.token = token

    def __getattribute__(self, name):
        if name == object.__getattribute__(self, "__dict__").get("method"):
            raise self.error
        return super().__getattribute__(name)


@pytest.fixture(autouse=True, scope="module")
def registered():
    for kind in (WithoutMove, Stubborn, Failing):
        fsspec.register_implementation(kind.protocol, kind)
    yield
    for kind in (WithoutMove, Stubborn, Failing):
        _registry.pop(kind.protocol)


class OverFolder(test_backends.InFolder):
    """A filesystem that is not known to be local, so that nothing of the local way is used."""

    unholdable = test_backends.SEGMENT_TOO_LONG
    protocol: str

    @pytest.fixture
    def backend(self, tmp_path):
        self.root = tmp_path / "base" / "store"
        self.root.parent.mkdir()
        arguments = {"path": str(self.root.parent), "fs": LocalFileSystem()}
        return FsspecBackend(self.protocol, "store", arguments=arguments)


class TestDir(OverFolder):
    protocol = "dir"


class TestWithoutMove(OverFolder):
    protocol = "withoutmove"


class TestStubborn(OverFolder):
    protocol = "stubborn"


# -- URIs and options ----------------------------------------------------------


def test_file_uri(tmp_path):
    backend = opened(f"fsspec+file://{tmp_path}/a%20folder/")
    assert isinstance(backend, FsspecBackend)
    backend.put(KEY, b"x")
    assert (tmp_path / "a folder/folder/value").read_bytes() == b"x"
    assert repr(backend) == f"<FsspecBackend fsspec+file://{tmp_path}/a%20folder/>"


def test_memory_uri():
    name = uuid4().hex
    opened(f"fsspec+memory://{name}/below").put(KEY, b"x")
    assert fsspec.filesystem("memory").cat_file(f"/{name}/below/folder/value") == b"x"
    assert list(opened(f"fsspec+memory://{name}").keys()) == ["below/folder/value"]


@pytest.mark.parametrize("uri", ["nosuch://x", "fsspec+nosuch://x", "fsspec+://x", "smbb://host/share"])
def test_unknown_protocol(uri):
    with pytest.raises(InvalidUri, match="neither anystore nor fsspec knows"):
        opened(uri)


def test_unknown_protocol_gets_a_hint():
    with pytest.raises(InvalidUri, match="did you mean 'webhdfs://'"):
        opened("webhdf://host/x")


@pytest.mark.parametrize("uri", ["fsspec+http://h/x", "fsspec+https://h/x"])
def test_web_pages_are_not_for_fsspec(uri):
    with pytest.raises(InvalidUri, match="without 'fsspec"):
        opened(uri)


@pytest.mark.parametrize(("uri", "library"), [("dropbox://x", "dropboxdrivefs"), ("fsspec+oci://b", "ocifs")])
def test_missing_library(uri, library):
    with pytest.raises(MissingExtra, match=f"pip install {library}"):
        opened(uri)


def test_a_library_that_is_installed_by_another_name(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "smbclient"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "smbclient", None)
    with pytest.raises(MissingExtra, match="smbprotocol") as caught:
        opened("smb://host/share")
    assert "pip install smbclient" not in str(caught.value)


@pytest.mark.parametrize("uri", ["ftp://", "ftp:///folder", "sftp:///folder", "webdav:///folder", "webdavs://"])
def test_a_uri_without_a_host(uri):
    with pytest.raises(InvalidUri, match=r"names no host: write it like '\w+://user@host/folder'"):
        opened(uri)


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (PermissionError("Forbidden"), "check the login, and who may read there"),
        (ConnectionRefusedError("refused"), "check the address, and that the server runs there"),
        (TimeoutError("late"), "check the address, and that the server runs there"),
    ],
)
def test_what_fails_says_what_to_do(error, advice, tmp_path, monkeypatch):
    def failing(*_, **__):
        raise error

    backend = opened(f"fsspec+file://{tmp_path}")
    monkeypatch.setattr(LocalFileSystem, "info", failing)
    with pytest.raises(BackendError, match=advice):
        backend.stat(parse_key("a"))


def test_what_a_constructor_needs_beside_the_uri_is_named():
    with pytest.raises(InvalidOption, match="give 'org', 'repo' in backend_config"):
        opened("github://folder")


@pytest.mark.parametrize("uri", ["fsspec+file://host/x", "fsspec+file://", "fsspec+memory://h:1/x"])
def test_uri_with_what_the_protocol_has_no_place_for(uri):
    with pytest.raises(InvalidUri) as caught:
        opened(uri)
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize("option", ["auto_mkdri", "use_listings_cache", "username", "durable"])
@pytest.mark.parametrize("place", ["config", "query"])
def test_mistyped_option_is_refused(option, place, tmp_path):
    query, config = (f"?{option}=true", {}) if place == "query" else ("", {option: True})
    with pytest.raises(InvalidOption, match=option):
        opened(f"fsspec+file://{tmp_path}{query}", **config)


def test_option_reaches_the_filesystem(tmp_path):
    assert opened(f"fsspec+file://{tmp_path}?auto_mkdir=true")._files.borrow().fs.auto_mkdir is True
    assert opened(f"fsspec+file://{tmp_path}", auto_mkdir=True)._files.borrow().fs.auto_mkdir is True
    name = uuid4().hex
    own = opened(f"fsspec+memory://{name}", global_store=False)
    own.put(KEY, b"x")
    assert not opened(f"fsspec+memory://{name}").exists(KEY)


def test_credentials_and_server_of_ftp():
    backend = opened("ftp://me:hunter%2F2@ftp.example:2121/pub/", timeout=5)
    assert backend._files.arguments == {
        "username": "me",
        "password": "hunter/2",
        "host": "ftp.example",
        "port": 2121,
        "timeout": 5,
    }
    assert backend._files.root == "/pub"
    assert "hunter" not in repr(backend) + backend.uri
    assert backend.uri == "ftp://me:***@ftp.example:2121/pub/"


def test_configuration_goes_before_the_uri():
    backend = opened("ftp://me:one@ftp.example/", password="two")
    assert backend._files.arguments["password"] == "two"


def test_no_cache_answers(tmp_path):
    backend = opened(f"fsspec+file://{tmp_path}")
    assert backend._files.borrow().fs is not opened(f"fsspec+file://{tmp_path}/")._files.borrow().fs
    assert backend._files.borrow().fs.dircache.use_listings_cache is False


def test_features_are_few(tmp_path):
    assert opened(f"fsspec+file://{tmp_path}").features == Feature.WRITE | Feature.LIST


# -- errors ----------------------------------------------------------------------


class LibraryError(Exception):
    """As dozens of libraries have them."""


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (PermissionError(13, "no"), ReadOnlyError),
        (NotImplementedError(), Unsupported),
        (LibraryError("quota"), BackendError),
        (TimeoutError("slow"), BackendError),
        (RuntimeError("loop"), BackendError),
        (OSError(36, "File name too long"), InvalidKey),
    ],
)
@pytest.mark.parametrize("method", ["open", "mv"])
def test_error_while_writing_is_one_of_ours(tmp_path, error, ours, method):
    arguments = {"path": str(tmp_path), "fs": LocalFileSystem(), "error": error}
    backend = FsspecBackend("failing", "store", arguments=arguments)
    backend._files.borrow().fs.method = method
    with pytest.raises(ours) as caught:
        backend.put(KEY, b"x")
    assert "folder/value" in str(caught.value)
    assert backend.uri in str(caught.value)
    assert caught.value.__cause__ is error
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("method", ["info", "cat_file"])
@pytest.mark.parametrize("error", [PermissionError(13, "no"), LibraryError("quota"), ValueError(), OSError(5, "disk")])
def test_error_while_reading_is_one_of_ours(tmp_path, error, method):
    (tmp_path / "value").write_bytes(b"x")
    arguments = {"path": str(tmp_path), "fs": LocalFileSystem(), "error": error, "method": method}
    backend = FsspecBackend("failing", "", arguments=arguments)
    with pytest.raises(BackendError):
        backend.get(parse_key("value")) if method == "cat_file" else backend.stat(parse_key("value"))


@pytest.mark.parametrize("error", [LibraryError("gone"), PermissionError(13, "no"), OSError(5, "disk")])
def test_listing_that_fails_is_never_short(tmp_path, error):
    arguments = {"path": str(tmp_path), "fs": LocalFileSystem(), "error": error, "method": "ls"}
    backend = FsspecBackend("failing", "", arguments=arguments)
    with pytest.raises(BackendError):
        list(backend.scan())


def test_folder_that_cannot_be_listed_fails_the_listing(tmp_path):
    backend = FsspecBackend("file", str(tmp_path))
    backend.put(KEY, b"x")
    fs = backend._files.borrow().fs

    def broken(path, **options):
        if path.endswith("folder"):
            raise PermissionError(13, "no", path)
        return LocalFileSystem.ls(fs, path, **options)

    fs.ls = broken
    with pytest.raises(BackendError, match="folder"):
        list(backend.keys())


def test_secret_is_shown_nowhere(tmp_path):
    error = LibraryError("cannot log in with s3cr3t/x (s3cr3t%2Fx)")
    config = {"path": str(tmp_path), "fs": LocalFileSystem(), "error": error, "method": "cat_file", "token": "s3cr3t/x"}
    backend = opened("failing://store", **config)
    with pytest.raises(BackendError, match=r"LibraryError: cannot log in with \*\*\*") as caught:
        backend.get(KEY)
    assert "s3cr3t" not in str(caught.value) + repr(backend) + backend.uri
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)


# -- exact keys, and nothing outside the root -------------------------------------


@pytest.mark.parametrize("name", ["*", "?", "[a]", "~", "a b ", "%41", "#", "a?b#c"])
def test_root_is_exact(tmp_path, name):
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside/value").write_bytes(b"not ours")
    backend = FsspecBackend("file", str(tmp_path / name))
    backend.put(KEY, b"x")
    assert (tmp_path / name / "folder/value").read_bytes() == b"x"
    assert list(backend.keys()) == [KEY]
    assert not backend.exists(parse_key("value"))


def test_symlink_that_leaves_the_root_is_not_followed(tmp_path):
    outside, root = tmp_path / "outside", tmp_path / "root"
    outside.mkdir()
    root.mkdir()
    (outside / "secret").write_bytes(b"secret")
    (root / "file").symlink_to(outside / "secret")
    (root / "folder").symlink_to(outside)
    (root / "dangling").symlink_to(outside / "nothing")
    (root / "inside").write_bytes(b"x")
    (root / "link").symlink_to(root / "inside")
    (root / "loop").symlink_to(root)
    backend = FsspecBackend("file", str(root))
    for key in ("file", "folder/secret", "dangling"):
        assert not backend.exists(parse_key(key))
        for read in (backend.get, backend.read, backend.reader, backend.stat):
            with pytest.raises(DoesNotExist):
                read(parse_key(key))
    with pytest.raises(BackendError, match="symbolic link"):
        backend.put(parse_key("folder/new"), b"x")
    backend.delete(parse_key("folder/secret"))
    assert os.listdir(outside) == ["secret"]
    with pytest.warns(ForeignNameWarning, match="left out 4 names"):
        assert sorted(backend.keys()) == ["inside", "link"]
    assert list(backend.scan("folder/")) == []
    assert backend.get(parse_key("link")) == b"x"


def test_private_folder_that_leads_out_is_not_written(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "root").mkdir()
    (tmp_path / "root/.anystore").symlink_to(tmp_path / "outside")
    with pytest.raises(BackendError, match="symbolic link"):
        FsspecBackend("file", str(tmp_path / "root")).put(KEY, b"x")
    assert os.listdir(tmp_path / "outside") == []


def test_root_may_be_a_symlink(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "root").symlink_to(tmp_path / "real")
    backend = FsspecBackend("file", str(tmp_path / "root"))
    backend.put(KEY, b"x")
    assert backend.get(KEY) == b"x"
    assert list(backend.keys()) == [KEY]


def test_foreign_names_are_left_out_with_one_warning(tmp_path):
    backend = FsspecBackend("file", str(tmp_path))
    backend.put(KEY, b"x")
    for name in (b"\xff.txt", b"\xfe.txt"):
        with open(os.path.join(os.fsencode(tmp_path), name), "wb"):
            pass
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert list(backend.keys()) == [KEY]
    (warning,) = caught
    assert warning.category is ForeignNameWarning
    assert backend.uri in str(warning.message)
    assert "2 names" in str(warning.message)


def test_empty_folders_are_no_keys_and_no_obstacle(tmp_path):
    backend = FsspecBackend("file", str(tmp_path))
    (tmp_path / "a/b/c").mkdir(parents=True)
    assert list(backend.keys()) == []
    backend.put(parse_key("a"), b"x")
    assert backend.get(parse_key("a")) == b"x"


# -- one version, whole or absent ---------------------------------------------------


def test_memory_readers_share_no_position():
    backend = FsspecBackend("memory", f"/{uuid4().hex}")
    data = os.urandom(3 << 20)
    backend.put(KEY, data)
    one, two = backend.read(KEY), backend.read(KEY)
    pieces = [next(one), next(two), *one]
    assert b"".join([pieces[0], *pieces[2:]]) == data
    assert b"".join([pieces[1], *two]) == data


@pytest.mark.parametrize("protocol", ["memory", "dir"])
def test_value_of_the_same_length_that_replaces_is_noticed(protocol, tmp_path):
    arguments = {"path": str(tmp_path), "fs": LocalFileSystem()} if protocol == "dir" else {}
    backend = FsspecBackend(protocol, f"/{uuid4().hex}" if protocol == "memory" else "x", arguments=arguments)
    backend.put(KEY, b"a" * (2 << 20))
    pieces = backend.read(KEY)
    assert set(next(pieces)) == {ord("a")}
    backend.put(KEY, b"b" * (2 << 20))
    with pytest.raises(VersionMismatch):
        list(pieces)


def test_aborted_write_leaves_no_file(tmp_path):
    backend = FsspecBackend("file", str(tmp_path))
    writer = backend.writer(KEY)
    writer.write(b"x" * (2 << 20))
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1
    writer.abort()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    with pytest.raises(ValueError, match="closed"):
        writer.write(b"y")
    with pytest.raises(ValueError, match="closed"):
        writer.commit()


KILLED = """
import os, sys
from anystore.backends.fsspec import FsspecBackend
writer = FsspecBackend("file", sys.argv[1]).writer("folder/value")
writer.write(b"n" * (3 << 20))
os.kill(os.getpid(), 9)
"""


def test_killed_process_leaves_the_old_value(tmp_path):
    backend = FsspecBackend("file", str(tmp_path))
    backend.put(KEY, b"old")
    assert subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False).returncode == -9
    assert backend.get(KEY) == b"old"
    assert list(backend.keys()) == [KEY]


def test_forked_process_has_a_filesystem_of_its_own(tmp_path):
    backend = FsspecBackend("file", str(tmp_path))
    backend.put(KEY, b"x")
    here = id(backend._files.borrow().fs)
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    child = context.Process(target=lambda: answers.put((id(backend._files.borrow().fs), backend.get(KEY))))
    child.start()
    there, data = answers.get()
    child.join()
    assert there != here
    assert data == b"x"


# -- what filesystems say of a value --------------------------------------------------


@pytest.mark.parametrize(
    ("info", "modified"),
    [
        ({"mtime": 86400.5}, datetime(1970, 1, 2, 0, 0, 0, 500_000, tzinfo=UTC)),
        ({"LastModified": datetime(2024, 5, 1, tzinfo=UTC)}, datetime(2024, 5, 1, tzinfo=UTC)),
        ({"last_modified": datetime(2024, 5, 1)}, None),  # noqa: DTZ001 - its zone is not known
        ({"updated": "2024-05-01T02:00:00+02:00"}, datetime(2024, 5, 1, tzinfo=UTC)),
        ({"updated": "2024-05-01T02:00:00"}, None),
        ({"modify": "20240501123456"}, datetime(2024, 5, 1, 12, 34, 56, tzinfo=UTC)),
        ({"modify": "yesterday"}, None),
        ({"created": 86400.5}, None),
        ({}, None),
    ],
)
def test_time_is_never_invented(info, modified):
    entry = entry_of("k", {"name": "k", "size": 3, "type": "file", **info}, protocol="other")
    assert entry.modified == modified
    assert entry.modified is None or entry.modified.tzinfo is UTC


def test_version_and_size():
    def entry(**info):
        return entry_of("k", {"name": "k", "type": "file", **info}, protocol="other")

    assert entry(size=1, ETag='"abc"').version == '"abc"'
    assert entry(size=1, mtime=5.0).version is None  # two writes may share a second and a size
    assert entry(size=1, mtime=5.0, ino=7).version != entry(size=1, mtime=5.5, ino=7).version
    assert entry(size=None).size is None


def test_error_is_always_one_of_ours_for_a_read_only_filesystem(tmp_path):
    archive = tmp_path / "x.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("a/b.txt", b"text")
    backend = FsspecBackend("zip", "", arguments={"fo": str(archive)})
    assert backend.get(parse_key("a/b.txt")) == b"text"
    assert list(backend.keys()) == ["a/b.txt"]
    with pytest.raises(AnystoreError):
        backend.put(KEY, b"x")


def test_credentials_that_the_protocol_has_no_place_for():
    with pytest.raises(InvalidOption) as caught:
        opened("fsspec+memory://me:hunter2@host/x")
    assert "hunter2" not in str(caught.value)
