"""What ``open`` is told, and files that are bounded without being compressed."""

import os
import threading

import pytest

from anystore import get_store, open_uri, write_uri
from anystore.errors import CodecError, InvalidOption
from anystore.opening import parse_opening


@pytest.mark.parametrize(
    ("mode", "action", "encoding"),
    [("r", "r", "utf-8"), ("rb", "r", None), ("bw", "w", None), ("xt", "x", "utf-8"), ("a", "a", "utf-8")],
)
def test_modes(mode, action, encoding):
    opening = parse_opening("a", mode)
    assert (opening.action, opening.encoding) == (action, encoding)


@pytest.mark.parametrize("mode", ["w", "wb", "x", "a"])
def test_what_is_written_has_no_bound(mode, tmp_path):
    store = get_store(tmp_path / "values")
    with pytest.raises(InvalidOption, match="max_bytes"):
        store.open("a", mode, max_bytes=5)
    assert list(store.iterate_keys()) == []


def test_a_plain_value_is_bounded_too(nginx_server, tmp_path):
    (nginx_server.root / "a").write_bytes(b"hello\n")
    for store in (get_store(nginx_server.root), get_store(nginx_server.url), get_store(f"memory://{tmp_path}")):
        if store.uri.startswith("memory"):
            store.put("a", "hello\n")
        with store.open("a", max_bytes=6) as file:
            assert file.read() == b"hello\n"
            assert file.seekable() == store.open("a").seekable()
        with pytest.raises(CodecError, match="max_bytes=5"):
            store.open("a", max_bytes=5)
        with pytest.raises(CodecError, match="max_bytes=5"):
            list(store.stream("a", compression="infer", max_bytes=5))
        assert list(store.stream("a", max_bytes=6)) == ["hello"]


def test_a_value_whose_size_nobody_tells_is_bounded_as_it_comes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for size in (10, 11):
        os.mkfifo(f"pipe-{size}")
        writer = threading.Thread(target=write_uri, args=(f"pipe-{size}", b"x" * size))
        writer.start()
        with open_uri(f"pipe-{size}", max_bytes=10) as file:
            if size == 10:
                assert file.read() == b"x" * 10
            else:
                with pytest.raises(CodecError, match="max_bytes"):
                    file.read()
        writer.join()


def test_a_file_that_was_closed_is_closed(tmp_path):
    store = get_store(tmp_path / "values")
    with store.open("a", "w", compression="gz") as file:
        file.write("hello")
    file = store.open("a", compression="gz")
    file.close()
    file.close()
    with pytest.raises(ValueError, match="closed"):
        file.read()
