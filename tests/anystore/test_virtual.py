"""A value as a local file: in place where it is one, else a private copy that is gone afterwards."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import uuid

import pytest

from anystore import get_store
from anystore.backends.wrap import ReadonlyBackend
from anystore.errors import BackendError, DoesNotExist, InvalidKey, InvalidOption, InvalidUri
from anystore.store import Store
from anystore.virtual import local_path, open_virtual
from tests.faults import Fault


@pytest.fixture
def store():
    return get_store(f"memory://{uuid.uuid4().hex}")


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """Give the folder of temporary files, which has to be empty after each test."""
    folder = tmp_path / "temporary files"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert os.listdir(folder) == []


def test_a_real_file_for_the_length_of_a_block(store):
    store.put("folder/päper 1.pdf", b"%PDF" * 1_000_000)
    with local_path("folder/päper 1.pdf", store) as path:
        assert path.name == "päper 1.pdf"
        assert path.stat().st_size == 4_000_000
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
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
        assert not file.writable()
    assert file.closed
    assert not os.path.exists(file.name)


def test_an_exception_leaves_nothing(store):
    store.put("a.txt", "hello")
    for error in (RuntimeError, KeyboardInterrupt, SystemExit):
        with pytest.raises(error), store.local_path("a.txt") as path:
            (path.parent / "beside").write_text("more")
            raise error
        assert not path.parent.exists()


@pytest.mark.parametrize("name", ["x" * 300 + ".pdf", "ü" * 200, "x." + "y" * 400, "...", "-rf", "a\nb", "a b'\"$(c)"])
def test_any_name_becomes_a_file(store, name):
    store.put(name, "hello")
    with store.local_path(name) as path:
        assert path.read_text() == "hello"
        if name.endswith(".pdf"):
            assert path.suffix == ".pdf"


def test_a_forgotten_block_is_left_behind_by_nobody(store):
    store.put("a.txt", "hello")
    block = store.local_path("a.txt")
    path = block.__enter__()
    assert path.exists()
    del block
    assert not path.exists()


def test_threads_have_files_of_their_own(store):
    store.put("a.txt", "hello")
    together = threading.Barrier(8)
    paths, failures = set(), []

    def work():
        try:
            with store.local_path("a.txt") as path:
                together.wait(30)
                paths.add(path)
                assert path.read_text() == "hello"
        except BaseException as error:  # noqa: BLE001 - shown below
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(paths) == 8


def test_a_forked_process_leaves_the_file_to_its_parent(store):
    store.put("a.txt", "hello")
    block = store.local_path("a.txt")
    path = block.__enter__()
    child = os.fork()
    if not child:
        block.__exit__(None, None, None)
        with store.local_path("a.txt") as own:
            is_good = own.exists() and own != path
        os._exit(0 if is_good and not own.exists() else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert path.read_text() == "hello"
    block.__exit__(None, None, None)
    assert not path.exists()


class TestInPlace:
    @pytest.fixture
    def folder(self, tmp_path):
        folder = tmp_path / "values"
        get_store(folder).put("sub/a.txt", "hello")
        return folder

    @pytest.mark.parametrize("kind", ["folder", "under", "readonly", "readonly under", "fsspec", "options"])
    def test_a_local_value_is_the_file_itself(self, folder, temporary, kind):
        store, key = get_store(folder), "sub/a.txt"
        match kind:
            case "under":
                store, key = store.under("sub"), "a.txt"
            case "readonly":
                store = get_store(folder, readonly=True)
            case "readonly under":
                store, key = Store(ReadonlyBackend(store.under("sub").backend)), "a.txt"
            case "fsspec":
                store = get_store(f"fsspec+file://{folder}")
        options = {"cache_dir": temporary / "cache"} if kind == "options" else {}
        with store.local_path(key, **options) as path:
            assert path == folder / "sub" / "a.txt"
            assert os.listdir(temporary) == []
        with open_virtual(key, store, **options) as file:
            assert file.name == str(path) or file.name == path
            assert file.read() == b"hello"
        with pytest.raises(RuntimeError), store.local_path(key):
            raise RuntimeError
        assert store.get(key) == "hello"

    def test_an_open_file_stays_with_its_version(self, folder):
        store = get_store(folder)
        with open_virtual("sub/a.txt", store) as file:
            store.put("sub/a.txt", "another")
            assert file.read() == b"hello"
        with open_virtual("sub/a.txt", store) as file:
            store.delete("sub/a.txt")
            assert file.read() == b"another"
            assert not file.writable()

    def test_a_link_that_leads_out_is_no_value(self, folder, tmp_path):
        (tmp_path / "secret").write_text("secret")
        (folder / "link").symlink_to(tmp_path / "secret")
        with pytest.raises(DoesNotExist), get_store(folder).local_path("link"):
            pass

    def test_other_stores_have_no_such_files(self, tmp_path, temporary):
        for uri in (f"sqlite:///{tmp_path}/store.db", f"{tmp_path}/archive.zip", "memory://nowhere"):
            store = get_store(uri)
            store.put("a.txt", "hello")
            with store.local_path("a.txt") as path:
                assert path.parent.parent == temporary


@pytest.mark.parametrize("kind", ["memory", "folder", "zip"])
def test_a_missing_value_and_a_key_that_is_none(kind, tmp_path):
    store = get_store({"memory": "memory://none", "folder": tmp_path / "none", "zip": f"{tmp_path}/none.zip"}[kind])
    for options in ({}, {"cache_dir": tmp_path / "cache"}):
        with pytest.raises(DoesNotExist, match=r"'a\.txt'"), store.local_path("a.txt", **options):
            pass
        with pytest.raises(InvalidKey), store.local_path("../a", **options):
            pass


@pytest.mark.parametrize(
    "options",
    [
        {"cache_size": 5},
        {"cache_dir": "c", "cache_size": 0},
        {"cache_dir": "c", "cache_size": True},
        {"cache_dir": "c", "cache_size": "1GB"},
        {"cache_dir": ""},
        {"cache_dir": b"c"},
        {"cache_dir": 3},
        {"cache_dir": "a\0b"},
    ],
)
def test_options_that_are_none(store, options, tmp_path):
    store.put("a", 1)
    for one in (store, get_store(tmp_path / "values")):
        with pytest.raises(InvalidOption, match="cache_"), one.local_path("a", **options):
            pass
        with pytest.raises(InvalidOption, match="cache_"), open_virtual("a", one, **options):
            pass


@pytest.mark.parametrize("fault", [Fault(cut=300_000, hide=("range",)), Fault(truncate=300_000, hide=("range",))])
def test_what_does_not_come_whole_is_no_file(faulty_server, nginx_server, temporary, fault):
    (nginx_server.root / "a.bin").write_bytes(os.urandom(1_000_000))
    store = get_store(faulty_server.url)
    faulty_server.always(fault, path="/a.bin")
    for options in ({}, {"cache_dir": temporary.parent / "cache"}):
        with pytest.raises((BackendError, RuntimeError), match=r"a\.bin"), store.local_path("a.bin", **options):
            pytest.fail("a part of a value was handed out")
    faulty_server.heal()
    for options in ({}, {"cache_dir": temporary.parent / "cache"}):
        with store.local_path("a.bin", **options) as path:
            assert path.read_bytes() == (nginx_server.root / "a.bin").read_bytes()


NO_ROOM = """
import os, resource, signal, sys
from anystore import get_store
from anystore.errors import BackendError
store = get_store("memory://full")
store.put("small", b"x")
store.put("big.bin", bytes(10_000_000))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))  # as a full disk, for this process alone
options = {"cache_dir": sys.argv[1]} if len(sys.argv) > 1 else {}
try:
    with store.local_path("big.bin", **options):
        sys.exit("there was room")
except BackendError as error:
    assert "'big.bin'" in str(error) and "File too large" in str(error), error
with store.local_path("small", **options) as path:
    assert path.read_bytes() == b"x"
left = [name for _, _, names in os.walk(options.get("cache_dir", ".")) for name in names if name != "total"]
left = left if options else ["small"]
assert left == ["small"], left
"""


@pytest.mark.parametrize("cached", [False, True])
def test_a_full_disk_is_told_and_leaves_nothing(temporary, tmp_path, cached):
    arguments = [tmp_path / "cache"] if cached else []
    environment = os.environ | {"TMPDIR": str(temporary)}
    done = subprocess.run(
        [sys.executable, "-c", NO_ROOM, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_no_handler_of_a_signal_is_changed(store):
    store.put("a.txt", "hello")
    before = [signal.getsignal(number) for number in signal.valid_signals()]
    with store.local_path("a.txt"):
        assert [signal.getsignal(number) for number in signal.valid_signals()] == before


def test_what_is_no_store_is_refused(tmp_path):
    for wrong in (5, b"memory://x"):
        with pytest.raises(InvalidUri), local_path("a", wrong):
            pass


def test_a_cache_in_the_home_of_nobody(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store.put("a", "1")
    with local_path("a", store, cache_dir="~no-such-user/cache") as path:
        assert path.is_relative_to(tmp_path / "~no-such-user")  # as the shell has it
