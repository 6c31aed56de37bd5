"""Archives that other programs have made, and what other programs make of ours."""

import os
import stat
import struct
import subprocess
import warnings
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from anystore.backends.zip import ZipBackend
from anystore.errors import BackendError, DoesNotExist, ForeignNameWarning, KeyConflict, Unsupported, VersionMismatch
from anystore.keys import parse_key
from anystore.testing import AWKWARD_KEYS

KEY = parse_key("folder/value")


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "x.zip")


def raw_name(name, data=b"x", *, system=3, flags=0, mode=stat.S_IFREG | 0o644):
    """Describe an entry whose name has exactly these bytes."""
    info = zipfile.ZipInfo("N" * len(name))
    info.create_system = system
    info.external_attr = mode << 16
    return info, name, flags, data


def write_raw(path, *entries):
    """Write entries with names that no library would write."""
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as archive:
        warnings.simplefilter("ignore")
        for info, _, _, data in entries:
            archive.writestr(info, data)
        offsets = [info.header_offset for info, *_ in entries]
        start = archive.start_dir
    content = bytearray(Path(path).read_bytes())
    for (_, name, flags, _), offset in zip(entries, offsets, strict=True):
        content[offset + 30 : offset + 30 + len(name)] = name
        struct.pack_into("<H", content, offset + 6, flags)
        content[start + 46 : start + 46 + len(name)] = name
        struct.pack_into("<H", content, start + 8, flags)
        start += 46 + len(name)
    Path(path).write_bytes(content)


# -- reading -------------------------------------------------------------------


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("size", [0, 1, 100_000, 5_000_000])
def test_every_method_of_zipfile_is_read(path, method, size):
    data = (os.urandom(size // 2) + bytes(size))[:size]
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a", data)
        archive.writestr("b", b"behind")
    backend = ZipBackend(path)
    assert backend.get(parse_key("a")) == data
    for start, stop in [(0, 10), (50, None), (99_990, 200_000), (4_999_999, None), (10, 10)]:
        assert b"".join(backend.read(parse_key("a"), start, stop)) == data[start:stop]
    assert all(len(piece) <= 1 << 20 for piece in backend.read(parse_key("a")))
    assert backend.get(parse_key("b")) == b"behind"


def test_an_archive_that_was_written_as_a_stream_is_read_and_changed(path):
    """Its sizes stand behind the values."""
    reader, writer = os.pipe()
    with open(path, "wb") as target:
        process = subprocess.Popen(["cat"], stdin=reader, stdout=target)
        os.close(reader)
        with open(writer, "wb") as pipe, zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
            for number in range(5):
                archive.writestr(f"{number}", b"%d" % number * 5000)
        assert process.wait() == 0
    backend = ZipBackend(path)
    assert backend.get(parse_key("3")) == b"3" * 5000
    for number in range(4):
        backend.put(KEY, os.urandom(20_000 + number))  # until it makes itself smaller
    assert os.path.getsize(path) < 50_000
    for number in range(5):
        assert backend.get(parse_key(f"{number}")) == b"%d" % number * 5000
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
    assert subprocess.run(["unzip", "-tqq", path], check=False).returncode == 0


def test_names_that_are_no_keys_are_skipped_with_one_warning(path):
    write_raw(
        path,
        raw_name(b"good"),
        raw_name("gr\u00fcn".encode()),  # UTF-8, though it does not say so
        raw_name("blau \u2603".encode(), flags=0x800),
        raw_name(b"back\\slash"),
        raw_name(b"folder/", b""),
        raw_name(b"/etc/passwd"),
        raw_name(b"../outside"),
        raw_name(b"a/../../outside"),
        raw_name(b"a//b"),
        raw_name(b"folder\\windows.txt", system=0),
        raw_name(b"gr\x81n"),  # code page 437
        raw_name(b"bad\xff", flags=0x800),
        raw_name(b"./here"),
        raw_name(b"link", b"/etc/passwd", mode=stat.S_IFLNK | 0o777),
        raw_name(b".anystore"),
    )
    backend = ZipBackend(path)
    keys = ["back\\slash", "blau \u2603", "good", "gr\u00fcn"]
    for listing in (backend.keys, backend.scan, lambda: backend.keys("", parse_key("a"))):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = [getattr(one, "key", one) for one in listing()]
        assert found == keys
        assert [warning.category for warning in caught] == [ForeignNameWarning]
        assert "10 entries" in str(caught[0].message)
        assert "/etc/passwd" in str(caught[0].message)
    for name in ("link", "folder", "folder/windows.txt", "a/b", "here", "outside"):
        assert not backend.exists(parse_key(name))


def test_entries_of_others_stay_as_they_are_through_changes(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.comment = b"made elsewhere"
        for number in range(3):
            info = zipfile.ZipInfo(f"{number}", (1999, 1, 2, 3, 4, 6))
            info.comment, info.external_attr = b"a comment", (stat.S_IFREG | 0o600) << 16
            info.extra = struct.pack("<HH4s", 0x9999, 4, b"mine")
            archive.writestr(info, b"%d" % number * 3000)
        archive.writestr("empty/folder/", b"")
        archive.writestr("/absolute", b"kept")
    backend = ZipBackend(path)
    for number in range(8):
        backend.put(KEY, os.urandom(9000 + number))
    assert os.path.getsize(path) < 40_000
    with zipfile.ZipFile(path) as archive:
        assert archive.comment == b"made elsewhere"
        for number in range(3):
            info = archive.getinfo(f"{number}")
            assert info.date_time == (1999, 1, 2, 3, 4, 6)
            assert (info.comment, info.external_attr >> 16) == (b"a comment", stat.S_IFREG | 0o600)
            assert b"mine" in info.extra
        assert archive.read("/absolute") == b"kept"
        assert "empty/folder/" in archive.namelist()
        assert archive.testzip() is None


def test_a_value_takes_the_place_of_an_empty_folder_and_of_a_link(path):
    write_raw(
        path,
        raw_name(b"a/", b""),
        raw_name(b"a/b/", b""),
        raw_name(b"ab/", b""),
        raw_name(b"link", b"/etc/passwd", mode=stat.S_IFLNK | 0o777),
    )
    backend = ZipBackend(path)
    backend.put(parse_key("a"), b"1")
    backend.put(parse_key("link"), b"2")
    with zipfile.ZipFile(path) as archive:
        assert sorted(archive.namelist()) == ["a", "ab/", "link"]
        assert archive.read("link") == b"2"
    assert list(backend.keys()) == ["a", "link"]
    with pytest.raises(KeyConflict):
        backend.put(parse_key("a/b"), b"3")


def test_of_several_entries_of_one_name_the_last_counts(path):
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as archive:
        warnings.simplefilter("ignore")
        for data in (b"first", b"second", b"third"):
            archive.writestr("a", data)
    backend = ZipBackend(path)
    assert backend.get(parse_key("a")) == b"third"
    assert [entry.size for entry in backend.scan()] == [5]
    backend.put(parse_key("b"), b"")
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["a", "b"]


def test_what_stands_before_the_archive_stays(path):
    """A program that unpacks itself."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", b"1" * 20_000)
    program = b"#!/bin/sh\nexec unzip $0\n" + bytes(range(256)) * 40
    Path(path).write_bytes(program + Path(path).read_bytes())
    backend = ZipBackend(path)
    assert backend.get(parse_key("a")) == b"1" * 20_000
    for number in range(6):
        backend.put(parse_key("a"), os.urandom(30_000 + number))
        assert Path(path).read_bytes().startswith(program)
    assert os.path.getsize(path) < 100_000
    assert len(backend.get(parse_key("a"))) == 30_005
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
    assert subprocess.run(["unzip", "-tqq", path], check=False).returncode <= 1  # it warns of the program


def test_a_comment_that_looks_like_the_end_of_an_archive(path):
    comment = b"PK\5\6" + bytes(18) + b"PK\5\6" + b"x" * 100
    with zipfile.ZipFile(path, "w") as archive:
        archive.comment = comment
        archive.writestr("a", b"1")
    backend = ZipBackend(path)
    backend.put(parse_key("b"), b"2")
    assert dict(backend.get_many(map(parse_key, "ab"))) == {"a": b"1", "b": b"2"}
    assert Path(path).read_bytes().endswith(comment)


def test_rubbish_behind_the_archive_is_no_obstacle(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", b"1")
    with open(path, "ab") as file:
        file.write(b"\n")
    backend = ZipBackend(path)
    backend.put(parse_key("b"), b"2")
    assert dict(backend.get_many(map(parse_key, "ab"))) == {"a": b"1", "b": b"2"}


def test_the_time_of_an_entry_is_told_only_where_it_is_exact(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("local", b"")
        for name, moment in (("utc", 1_700_000_001), ("before 1970", -5)):
            info = zipfile.ZipInfo(name)
            info.extra = struct.pack("<HHBl", 0x5455, 5, 1, moment)
            archive.writestr(info, b"")
    backend = ZipBackend(path)
    assert backend.stat(parse_key("local")).modified is None
    assert backend.stat(parse_key("utc")).modified == datetime(2023, 11, 14, 22, 13, 21, tzinfo=UTC)
    assert backend.stat(parse_key("before 1970")).modified == datetime(1969, 12, 31, 23, 59, 55, tzinfo=UTC)


# -- damage --------------------------------------------------------------------


def test_an_encrypted_entry_is_refused(path):
    write_raw(path, raw_name(b"secret", flags=1), raw_name(b"plain", b"open"))
    backend = ZipBackend(path)
    for read in (backend.get, backend.read, backend.reader, lambda key: backend.copy(key, KEY)):
        with pytest.raises(Unsupported, match=r"'secret'.*encrypted"):
            read(parse_key("secret"))
    assert backend.get(parse_key("plain")) == b"open"
    assert list(backend.keys()) == ["plain", "secret"]


def test_an_unknown_method_is_refused(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", b"1")
    content = bytearray(Path(path).read_bytes())
    for offset in (8, content.index(b"PK\1\2") + 10):
        struct.pack_into("<H", content, offset, 9)
    Path(path).write_bytes(content)
    with pytest.raises(Unsupported, match="method 9"):
        ZipBackend(path).get(parse_key("a"))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_value_is_an_error_that_names_it(path, method):
    data = os.urandom(50_000)
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("folder/damaged", data)
        archive.writestr("whole", b"whole")
    content = bytearray(Path(path).read_bytes())
    for place in range(100, 40_000, 5000):
        broken = content.copy()
        broken[place] ^= 0x55
        Path(path).write_bytes(broken)
        backend = ZipBackend(path)
        for read in (backend.get, lambda key, backend=backend: list(backend.read(key))):
            with pytest.raises(BackendError, match="'folder/damaged'"):
                read(parse_key("folder/damaged"))
        assert backend.get(parse_key("whole")) == b"whole"


@pytest.mark.parametrize("size", [10, 100_000])
def test_a_wrong_length_is_damage(path, size):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", b"x" * 50_000)
    content = bytearray(Path(path).read_bytes())
    struct.pack_into("<L", content, content.index(b"PK\1\2") + 24, size)
    Path(path).write_bytes(content)
    with pytest.raises(BackendError, match=r"'a'.*damaged"):
        ZipBackend(path).get(parse_key("a"))


@pytest.mark.parametrize("content", [b"x", b"no archive at all" * 1000, b"PK\3\4" + bytes(100), bytes(22)])
def test_what_is_no_archive_is_an_error_that_names_it_and_stays(path, content):
    Path(path).write_bytes(content)
    backend = ZipBackend(path)
    for call in (
        lambda: backend.get(KEY),
        lambda: backend.exists(KEY),
        lambda: list(backend.keys()),
        lambda: backend.put(KEY, b"1"),
        lambda: backend.delete(KEY),
        lambda: backend.put_many([(KEY, b"1")]),
    ):
        with pytest.raises(BackendError, match=r"x\.zip is no zip archive") as caught:
            call()
        assert not isinstance(caught.value, DoesNotExist)
    assert Path(path).read_bytes() == content
    assert os.listdir(os.path.dirname(path)) == ["x.zip"]


def test_damaged_directories_never_escape_as_other_errors(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.comment = b"comment"
        for number in range(3):
            archive.writestr(f"folder/{number}", b"%d" % number * 100)
    content = Path(path).read_bytes()
    start = content.index(b"PK\1\2")
    for place in range(start, len(content)):
        for value in (0, 0xFF):
            broken = bytearray(content)
            broken[place] = value
            Path(path).write_bytes(broken)
            backend = ZipBackend(path)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ForeignNameWarning)
                try:
                    for key in list(backend.keys()):
                        backend.stat(parse_key(key))
                        backend.get(parse_key(key))
                except (BackendError, Unsupported, VersionMismatch):
                    continue


def test_folders_and_pipes_are_no_archives(tmp_path):
    os.mkdir(tmp_path / "folder.zip")
    os.mkfifo(tmp_path / "pipe.zip")
    (tmp_path / "file").touch()
    for name in ("folder.zip", "pipe.zip", "file/x.zip"):
        backend = ZipBackend(str(tmp_path / name))
        with pytest.raises(BackendError, match=name):
            backend.get(KEY)
        with pytest.raises(BackendError, match=name):
            backend.put(KEY, b"1")
        with pytest.raises(BackendError, match=name):
            list(backend.keys())
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.zip", "pipe.zip"]
    assert os.listdir(tmp_path / "folder.zip") == []


def test_an_empty_file_is_an_archive_without_entries(path):
    Path(path).touch()
    backend = ZipBackend(path)
    assert list(backend.keys()) == []
    with pytest.raises(DoesNotExist):
        backend.take(KEY)
    assert os.path.getsize(path) == 0
    backend.put(KEY, b"1")
    assert backend.get(KEY) == b"1"


# -- what others make of ours -----------------------------------------------------


@pytest.mark.parametrize("compression", ["stored", "deflated", "bzip2"])
def test_unzip_unpacks_what_was_put(tmp_path, path, compression):
    backend = ZipBackend(path, compression=compression)
    keys = [key for key in AWKWARD_KEYS.values() if max(map(len, key.encode().split(b"/"))) < 255 and "\\" not in key]
    backend.put_many((parse_key(key), key.encode() * 10) for key in keys)
    with backend.writer(KEY) as writer:
        writer.write(b"streamed" * 100_000)
    target = tmp_path / "unpacked"
    done = subprocess.run(["unzip", "-qq", "-^", path, "-d", target], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    for key in keys:
        assert (target / key).read_bytes() == key.encode() * 10
        assert abs(os.path.getmtime(target / key) - backend.stat(parse_key(key)).modified.timestamp()) < 1
        assert stat.S_IMODE(os.stat(target / key).st_mode) == 0o644
    assert (target / KEY).read_bytes() == b"streamed" * 100_000


def test_unzip_and_zipfile_see_the_living_values_alone(path):
    backend = ZipBackend(path)
    for number in range(5):
        backend.put(parse_key("overwritten"), b"%d" % number)
        backend.put(parse_key(f"deleted/{number}"), b"x")
    for number in range(5):
        backend.delete(parse_key(f"deleted/{number}"))
    backend.close()
    listed = subprocess.run(["unzip", "-Z1", path], capture_output=True, text=True, check=True).stdout
    assert listed.split() == ["overwritten"]
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["overwritten"]
        assert archive.read("overwritten") == b"4"


def test_what_zipfile_adds_is_seen_at_once(path):
    backend = ZipBackend(path)
    backend.put(parse_key("a"), b"1")
    for number in range(20):
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(f"other/{number}", b"2")
        assert backend.get(parse_key(f"other/{number}")) == b"2"
        backend.put(parse_key(f"mine/{number}"), b"3")
    assert len(list(backend.keys())) == 41
