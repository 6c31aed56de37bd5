"""Bytes that were made to run code, to fill the memory, or to be read by others."""

import os
import pickle
import struct
import sys
import tracemalloc
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from anystore import get_store, open_virtual
from anystore.errors import AnystoreError, BackendError, CodecError
from tests.raw_http import answer, raw_http

MIB = 1 << 20


class Bomb:
    def __reduce__(self):
        return (sys.exit, ("code from a store was run",))


# -- code ------------------------------------------------------------------------


@pytest.mark.parametrize("name", [b"arrow.py_extension_type", b"pandas.period", b"arrow.opaque", b"__main__.Bomb"])
@pytest.mark.parametrize("mode", ["parquet", "arrow", "auto"])
def test_no_extension_type_runs_code(tmp_path, name, mode):
    marks = {b"ARROW:extension:name": name, b"ARROW:extension:metadata": pickle.dumps(Bomb())}
    marks |= {b"PANDAS_ATTRS": pickle.dumps(Bomb()), b"pandas": pickle.dumps(Bomb())}
    schema = pa.schema([pa.field("a", pa.binary(), metadata=marks)], metadata=marks)
    table = pa.table({"a": [pickle.dumps(Bomb())]}, schema=schema)
    store = get_store(tmp_path / "data")
    with store.open("a", "wb") as file:
        if mode == "arrow":
            with pa.ipc.new_file(file, schema) as writer:
                writer.write_table(table)
        else:
            pq.write_table(table, file)
    for read in (
        lambda: store.get("a", serialization_mode=mode),
        lambda: list(store.stream("a", serialization_mode=mode)),
        lambda: store.get("a", serialization_mode=mode, columns=["a"]),
    ):
        with suppress(CodecError):  # some are refused for what is not of their kind
            assert read() is not None


@pytest.mark.parametrize(
    "tag", ["object/apply:os.system ['exit 1']", "name:os.system", "module:os", "object:os.system"]
)
def test_a_store_file_makes_no_objects(tmp_path, monkeypatch, tag):
    path = tmp_path / "store.yaml"
    path.write_text(f"uri: !!python/{tag}\n")
    monkeypatch.setenv("ANYSTORE_FILE", str(path))
    with pytest.raises(AnystoreError, match=r"store\.yaml"):
        get_store()


# -- memory ----------------------------------------------------------------------


def bomb_entry(path, *, told, real):
    """Write an archive whose one entry says that it is shorter than it is."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = b"".join(packer.compress(bytes(MIB)) for _ in range(real // MIB)) + packer.flush()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", bytes(1))
    content = bytearray(Path(path).read_bytes())
    old = zlib.compressobj(-1, zlib.DEFLATED, -15)
    old = len(old.compress(bytes(1)) + old.flush())
    head = 30 + len("bomb")
    content[head : head + old] = data
    struct.pack_into("<LL", content, 18, len(data), told)
    directory = content.index(b"PK\x01\x02")
    struct.pack_into("<LL", content, directory + 20, len(data), told)
    end = content.index(b"PK\x05\x06")
    struct.pack_into("<L", content, end + 16, directory)
    Path(path).write_bytes(content)


def test_an_entry_of_an_archive_gives_no_more_than_it_says(tmp_path):
    path = tmp_path / "a.zip"
    bomb_entry(path, told=1, real=200 * MIB)
    store, there = get_store(f"zip://{path}"), get_store(tmp_path / "there")
    assert store.info("bomb").size == 1
    tracemalloc.start()
    for read in (
        lambda: store.get("bomb", serialization_mode="raw"),
        lambda: store.checksum("bomb"),
        lambda: store.copy("bomb", "b", target_store=there),
    ):
        with pytest.raises(BackendError, match="bomb"):
            read()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * MIB
    assert list(there.iterate_keys()) == []


def test_entities_of_a_webdav_server_do_not_grow():
    grown = "".join(f"<!ENTITY a{n} '{f'&a{n - 1};' * 10}'>" for n in range(1, 12))
    page = f"<!DOCTYPE a [<!ENTITY a0 'aaaaaaaaaa'>{grown}]><multistatus xmlns='DAV:'>&a11;</multistatus>"
    with raw_http() as server:
        server.answers["/a"] = server.answers["/"] = answer(page.encode(), status=207, Content_Type="application/xml")
        tracemalloc.start()
        with pytest.raises(BackendError):
            get_store(server.url.replace("http", "webdav")).get("a")
        assert tracemalloc.get_traced_memory()[1] < 100 * MIB  # of 1 TB
        tracemalloc.stop()


# -- files that others could read --------------------------------------------------


def test_copies_for_libraries_are_their_owners_alone(tmp_path, monkeypatch):
    old = os.umask(0)
    try:
        store = get_store("memory://hostile-bytes")
        store.put("a.txt", "secret")
        with store.local_path("a.txt") as path:
            assert os.stat(path).st_mode & 0o077 == 0
            assert os.stat(os.path.dirname(path)).st_mode & 0o077 == 0
        with open_virtual("a.txt", store, cache_dir=tmp_path / "cache") as file:
            assert os.stat(file.name).st_mode & 0o077 == 0
        assert os.stat(tmp_path / "cache" / "anystore-virtual").st_mode & 0o077 == 0  # hides all that is below
    finally:
        os.umask(old)


def test_an_archive_that_is_private_stays_so_while_it_is_changed(tmp_path, monkeypatch):
    path = tmp_path / "a.zip"
    store = get_store(f"zip://{path}")
    store.put("a", "1")
    path.chmod(0o600)
    seen = set()
    real = os.unlink

    def unlink(name, *arguments, **options):
        seen.update((one.name, one.stat().st_mode & 0o777) for one in tmp_path.iterdir())
        real(name, *arguments, **options)

    old = os.umask(0)
    try:
        monkeypatch.setattr(os, "unlink", unlink)
        for number in range(3):
            store.put("a", f"{number}" * 100_000)
    finally:
        os.umask(old)
        monkeypatch.undo()
    assert {name for name, _ in seen} >= {"a.zip", "a.zip.anystore-journal"}
    assert {mode for _, mode in seen} == {0o600}
