"""Files as values: a user's file stays as it is, a store's cannot be damaged, and many of them are one value."""

import hashlib
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from anystore import get_store
from anystore.errors import CodecError, DoesNotExist
from anystore_dagster import BlobRef, ByteStream, FileCollection
from anystore_dagster.stored import files_folder
from anystore_dagster.values import form_for
from tests.anystore_dagster.keeping import KEY, encode, keep, load, round_trip


@pytest.fixture
def store(tmp_path):
    return get_store(str(tmp_path / "store"))


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "folder"
    (root / "deep" / "er").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "a.txt").write_bytes(b"a")
    (root / "deep" / "ü b.bin").write_bytes(b"\x00\xff")
    (root / "deep" / "er" / ".hidden").write_bytes(b"")
    return root


# -- one file --------------------------------------------------------------------


def test_a_file_is_stored_and_stays_where_it_is(tmp_path, store):
    path = tmp_path / "report.pdf"
    path.write_bytes(b"%PDF")
    source = keep(path, Path, store=store)
    assert path.read_bytes() == b"%PDF"
    path.write_bytes(b"changed since")
    assert source.read() == b"%PDF"


@pytest.mark.parametrize("name", ["plain", "back\\slash", "new\nline", b"\xff\xfe not text", ".anystore", "a" * 255])
def test_a_file_may_be_called_as_it_likes(tmp_path, store, name):
    path = Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), os.fsencode(name))))
    path.write_bytes(b"content")
    assert keep(path, Path, store=store).read() == b"content"
    assert path.exists()


def test_a_link_stands_for_the_file(tmp_path, store):
    (tmp_path / "real").write_bytes(b"content")
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "link"
    link.symlink_to(tmp_path / "real")
    assert keep(link, Path, store=store).read() == b"content"
    assert link.is_symlink()


def test_a_file_of_the_store_itself_can_be_returned(store):
    store.put(KEY, b"there already")
    with store.local_path(KEY) as path:
        assert keep(path, Path, store=store).read() == b"there already"


def test_a_loaded_file_is_a_copy_that_may_be_changed(store):
    source = keep(b"content", bytes, store=store)
    first, second = load(source, Path), load(source, Path)
    assert first != second
    first.write_bytes(b"damaged")
    assert second.read_bytes() == source.read() == b"content"


def test_a_loaded_file_is_gone_with_the_process(tmp_path, store):
    keep(b"content", bytes, store=store)
    code = f"""
        from pathlib import Path
        from anystore import get_store
        from anystore_dagster import BlobRef
        from anystore_dagster.stored import Selection
        from anystore_dagster.values import form_for
        path = form_for(Path).decode(BlobRef(get_store({store.uri!r}), {KEY!r}), Selection())
        assert path.read_bytes() == b"content"
        print(path)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, capture_output=True, text=True)
    path = Path(done.stdout.strip())
    assert path.name == "value"
    assert not path.exists()
    assert not path.parent.exists()


@pytest.mark.parametrize(
    ("make", "hint"),
    [
        (Path, "FileCollection.from_folder"),
        (lambda folder: folder / "absent", "does not exist"),
        (lambda _: Path("/dev/null"), "no regular file"),
        (str, "-> str"),
        (lambda _: b"content", "-> bytes"),
        (lambda _: None, "T | None"),
    ],
)
def test_what_is_no_file_says_what_to_write(folder, make, hint):
    with pytest.raises(CodecError) as caught:
        encode(make(folder), Path)
    assert hint in str(caught.value)


@pytest.mark.parametrize("content", [b"null", b"null\0", b"", b"text"])
def test_a_file_beside_none_keeps_its_bytes(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    assert round_trip(tmp_path / "file", Path | None).read_bytes() == content
    assert round_trip(None, Path | None) is None


def test_a_file_without_an_annotation_is_stored_too(tmp_path):
    (tmp_path / "file").write_bytes(b"[1, 2]")
    assert round_trip(tmp_path / "file", Any) == [1, 2]


# -- references --------------------------------------------------------------------


def test_a_reference_is_copied(store):
    elsewhere = get_store("memory://elsewhere")
    elsewhere.put("a/b", b"\xff\x00", serialization_mode="raw")
    source = keep(BlobRef(elsewhere, "a/b"), BlobRef, store=store)
    elsewhere.delete("a/b")
    found = load(source, BlobRef)
    assert found == source
    assert (found.read(), b"".join(found.stream(1)), found.info().size) == (b"\xff\x00", b"\xff\x00", 2)
    with found.open() as file, found.local_path() as path:
        assert file.read() == path.read_bytes() == b"\xff\x00"


def test_a_reference_to_nothing_stores_nothing(store):
    with pytest.raises(DoesNotExist):
        keep(BlobRef(store, "absent"), BlobRef, store=store)
    assert list(store.iterate_keys()) == []


def test_what_is_no_reference_says_what_to_write():
    with pytest.raises(CodecError, match=r"BlobRef\(store, key\)"):
        encode("a/b", BlobRef)


# -- many files --------------------------------------------------------------------


def test_a_folder_becomes_one_value_and_a_folder_again(folder, store):
    source = keep(FileCollection.from_folder(folder), FileCollection, store=store)
    found = load(source, FileCollection)
    assert sorted(found) == ["a.txt", "deep/er/.hidden", "deep/ü b.bin"]
    assert {name: file.read() for name, file in found.items()} == {
        "a.txt": b"a",
        "deep/ü b.bin": b"\x00\xff",
        "deep/er/.hidden": b"",
    }
    with found.local_folder() as copy:
        assert FileCollection.from_folder(copy).keys() == found.keys()
        assert (copy / "deep" / "ü b.bin").read_bytes() == b"\x00\xff"
        (copy / "a.txt").write_bytes(b"changed")
    assert not copy.exists()
    assert found["a.txt"].read() == b"a"


def test_files_come_from_everywhere(tmp_path, store):
    (tmp_path / "file").write_bytes(b"of a path")
    elsewhere = get_store("memory://elsewhere-files")
    elsewhere.put("key", "of a store")
    files = FileCollection({"p": tmp_path / "file", "b": b"of bytes", "r": BlobRef(elsewhere, "key")})
    assert {name: file.read() for name, file in files.items()} == {
        "p": b"of a path",
        "b": b"of bytes",
        "r": b"of a store",
    }
    found = load(keep(files, FileCollection, store=store), FileCollection)
    assert {name: file.read() for name, file in found.items()} == {
        "p": b"of a path",
        "b": b"of bytes",
        "r": b"of a store",
    }


def test_the_manifest_tells_sizes_and_checksums_and_is_the_same_for_the_same_files(folder):
    first, second = (encode(FileCollection.from_folder(folder), FileCollection).data for _ in range(2))
    assert first == second
    assert json.loads(first)["files"]["a.txt"] == {
        "size": 1,
        "sha256": hashlib.sha256(b"a").hexdigest(),
    }
    (folder / "a.txt").write_bytes(b"b")
    assert encode(FileCollection.from_folder(folder), FileCollection).data != first


def test_a_loaded_collection_is_handed_on_whole_or_with_more(folder, store):
    found = load(keep(FileCollection.from_folder(folder), FileCollection, store=store), FileCollection)
    assert load(keep(found, FileCollection, store=store), FileCollection)["a.txt"].read() == b"a"
    more = FileCollection({**found, "new": b"n"})
    again = load(keep(more, FileCollection, store=store), FileCollection)
    assert (len(again), again["new"].read(), again["a.txt"].read()) == (4, b"n", b"a")


def test_no_files_are_a_value_too(store):
    assert dict(load(keep(FileCollection({}), FileCollection, store=store), FileCollection)) == {}


def test_without_an_annotation_a_collection_comes_back_as_one(folder, store):
    source = keep(FileCollection.from_folder(folder), Any, store=store)
    assert load(source, Any)["a.txt"].read() == b"a"
    # and a dict that says the same words stays a dict
    assert round_trip({"kind": "anystore.files", "files": {}}, Any) == {"kind": "anystore.files", "files": {}}
    assert round_trip(None, FileCollection | None) is None


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "../up", "a/../../b", "a//b", "a/", ".", "nul\0", "\ud800", ".anystore/x", "x" * 1025]
)
def test_a_name_that_leads_elsewhere_is_refused_on_both_ways(name, store):
    with pytest.raises(CodecError, match="cannot be called so"):
        FileCollection({"good": b"", name: b"evil"})
    manifest = json.dumps({"kind": "anystore.files", "files": {name: {"size": 4}}}).encode()
    with pytest.raises(CodecError):
        load(keep(manifest, bytes, store=store), FileCollection)


def test_a_file_is_no_folder_of_another():
    with pytest.raises(CodecError, match="'a/b' is also the folder of 'a/b/c'"):
        FileCollection({"a/b/c": b"", "a/b": b""})


@pytest.mark.parametrize(
    "manifest",
    [
        b"",
        b"[]",
        b"{}",
        b"7",
        b"\xff",
        b'{"kind": "anystore.later", "files": {}}',
        b'{"kind": "anystore.files"}',
        b'{"kind": "anystore.files", "files": {"a": 1}}',
        b'{"kind": [], "files": {}}',
    ],
)
def test_what_is_no_manifest_is_refused(manifest, store):
    with pytest.raises(CodecError, match="manifest"):
        load(keep(manifest, bytes, store=store), FileCollection)


def test_a_file_that_is_gone_is_told_by_name(folder, store):
    source = keep(FileCollection.from_folder(folder), FileCollection, store=store)
    found = load(source, FileCollection)
    store.delete(f"{files_folder(KEY, source.read())}/a.txt")
    with pytest.raises(DoesNotExist, match=r"a\.txt"):
        found["a.txt"].read()
    with pytest.raises(DoesNotExist, match=r"a\.txt"), found.local_folder():
        pass
    with pytest.raises(KeyError):
        found["never there"]


def test_a_folder_with_what_is_no_file_is_refused(folder, tmp_path):
    os.mkfifo(folder / "pipe")
    with pytest.raises(CodecError, match="neither a file nor a folder"):
        FileCollection.from_folder(folder)
    (folder / "pipe").unlink()
    (folder / "link").symlink_to(tmp_path)
    with pytest.raises(CodecError, match="link to a folder"):
        FileCollection.from_folder(folder)
    with pytest.raises(CodecError, match="no folder"):
        FileCollection.from_folder(folder / "a.txt")


def test_a_file_that_vanished_before_it_was_stored_stores_nothing(folder, store):
    files = FileCollection.from_folder(folder)
    (folder / "a.txt").unlink()
    with pytest.raises(CodecError, match="does not exist"):
        keep(files, FileCollection, store=store)
    assert list(store.iterate_keys()) == []


@pytest.mark.parametrize(("value", "hint"), [({"a": 1}, "is int"), ([b"a"], "from_folder"), ({"a": "text"}, "is str")])
def test_what_is_no_collection_says_what_to_write(value, hint):
    with pytest.raises(CodecError, match=hint):
        FileCollection(value)


@pytest.mark.parametrize("annotation", [list[Path], dict[str, Path], dict[str, bytes], list[ByteStream]])
def test_files_in_brackets_are_no_value(annotation):
    with pytest.raises(CodecError, match="FileCollection"):
        form_for(annotation)


def test_a_collection_returned_as_it_is_not_annotated(folder):
    with pytest.raises(CodecError, match="from_folder"):
        encode({"a": folder / "a.txt"}, FileCollection)
    with pytest.raises(CodecError, match="-> FileCollection"):
        encode(FileCollection({}), bytes)
