"""A remote value as a local file: real, private, and gone afterwards."""

import os
import stat

import pytest

from anystore import get_store
from anystore.virtual import local_path, open_virtual


@pytest.fixture
def store(tmp_path):
    return get_store(f"memory://{tmp_path}/virtual")


def test_a_real_file_for_the_length_of_a_block(store):
    store.put("folder/päper 1.pdf", b"%PDF" * 1_000_000)
    with local_path("folder/päper 1.pdf", store) as path:
        assert path.name == "päper 1.pdf"
        assert path.stat().st_size == 4_000_000
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        path.write_bytes(b"changed")
    assert not path.exists()
    assert not path.parent.exists()
    assert store.info("folder/päper 1.pdf").size == 4_000_000


def test_an_open_file(store):
    store.put("a.txt", "hello")
    with open_virtual("a.txt", store.uri) as file:
        assert os.fstat(file.fileno()).st_size == 5
        file.seek(1)
        assert file.read() == b"ello"
    assert file.closed
    assert not os.path.exists(file.name)


def test_an_exception_leaves_nothing(store):
    store.put("a.txt", "hello")
    with pytest.raises(RuntimeError), store.local_path("a.txt") as path:
        raise RuntimeError
    assert not path.parent.exists()


@pytest.mark.parametrize("name", ["x" * 300 + ".pdf", "ü" * 200, "x." + "y" * 400, "...", "-rf", "a\nb"])
def test_any_name_becomes_a_file(store, name):
    store.put(name, "hello")
    with store.local_path(name) as path:
        assert path.read_text() == "hello"
        if name.endswith(".pdf"):
            assert path.suffix == ".pdf"
