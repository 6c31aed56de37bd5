"""One file, and standard input and output, as backends; what users see of them is in test_single_values."""

import os
import pickle

import pytest

from anystore import Feature
from anystore.backends.lone import FileBackend, StandardBackend
from anystore.errors import BackendError, DoesNotExist, Unsupported, VersionMismatch
from anystore.keys import parse_key

KEY = parse_key("a.txt")


@pytest.fixture
def backend(tmp_path):
    return FileBackend(tmp_path / "a.txt")


def test_a_file_is_the_value(backend, tmp_path):
    with pytest.raises(DoesNotExist):
        backend.local_file(KEY)
    assert not backend.exists(KEY)
    entry = backend.put(KEY, b"hello")
    assert (entry, entry.size) == (backend.stat(KEY), 5)
    assert backend.local_file(KEY) == backend.locate(KEY) == str(tmp_path / "a.txt")
    assert b"".join(backend.read(KEY, 1, 3)) == b"el"
    assert b"".join(backend.read(KEY, 9)) == b""
    assert pickle.loads(pickle.dumps(backend)).get(KEY) == b"hello"
    backend.delete(KEY)
    backend.delete(KEY)
    assert list(tmp_path.iterdir()) == []


def test_a_version_that_is_gone_is_not_written_over(backend, tmp_path):
    seen = backend.put(KEY, b"one").version
    backend.put(KEY, b"other")
    with pytest.raises(VersionMismatch):
        backend.put(KEY, b"late", version=seen)
    assert backend.get(KEY) == b"other"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_reader_notices_a_file_that_was_cut(backend, tmp_path):
    backend.put(KEY, b"hello")
    with backend.reader(KEY) as reader:
        (tmp_path / "a.txt").write_bytes(b"he")
        with pytest.raises(VersionMismatch):
            list(reader.read())


def test_a_reader_stays_with_a_file_that_was_replaced(backend):
    backend.put(KEY, b"hello")
    with backend.reader(KEY) as reader:
        backend.put(KEY, b"another")
        assert b"".join(reader.read()) == b"hello"
        assert b"".join(reader.read(4)) == b"o"


def test_what_a_stream_cannot_do(capsysbinary):
    backend = StandardBackend(lambda: None, lambda: None, lambda: False)
    assert Feature.CREATE not in backend.features
    for write in (lambda: backend.put(KEY, b"x", create=True), lambda: backend.put(KEY, b"x", version="1")):
        with pytest.raises(Unsupported):
            write()
    assert list(backend.get_many([])) == []


def test_a_writer_belongs_to_the_process_that_opened_it(backend):
    writer = backend.writer(KEY)
    writer.write(b"half")
    child = os.fork()
    if not child:
        try:
            writer.commit()
        except BackendError:
            os._exit(3)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    writer.write(b" and the rest")
    writer.commit()
    assert backend.get(KEY) == b"half and the rest"
