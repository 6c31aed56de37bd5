"""Mirrors between really different stores, and by workers in other processes."""

import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest
from distributed import Client, LocalCluster

from anystore import get_store, mirror
from anystore.backends.wrap import unwrap
from anystore.errors import InvalidOption, Unsupported
from anystore.mirroring.limits import Limits
from tests.object_servers import BUCKET, Spoilt, meddler

MIB = 1 << 20
# Every store takes them but for what it declares: here are names that a URL, a pattern or a shell would trip over.
NASTY = ["a b", "100%25", "a+b&c=d", "q?x#y", "[x]*", "ключ/é", "quote'\"s", "-dash", "a.b/c", "a-b/c", "a/b/c/d", "ab"]
VALUES = {name: name.encode() for name in NASTY} | {
    "empty": b"",
    "large": bytes(range(256)) * (9 * MIB // 256),
    "medium": b"m" * 2 * MIB,
    **{f"many/{number:03}": b"%d" % number for number in range(150)},
}


@pytest.fixture
def open_store(request, tmp_path):
    """Open an empty store of a kind, raw."""

    def opened(kind, folder="store"):
        folder = f"{folder}-{os.urandom(4).hex()}"
        if kind in ("seaweedfs", "moto"):
            server = request.getfixturevalue(f"{kind}_server")
            return get_store(f"s3://{BUCKET}/{folder}", backend_config=server.config, serialization_mode="raw")
        if kind == "sftp":
            server = request.getfixturevalue("sftp_server")
            return get_store(f"{server.uri}/{folder}", backend_config=server.config, serialization_mode="raw")
        uri = {
            "local": lambda: str(tmp_path / folder),
            "memory": lambda: f"memory://{tmp_path}/{folder}",
            "sqlite": lambda: f"sqlite:///{tmp_path}/{folder}.db",
            "zip": lambda: f"{tmp_path}/{folder}.zip",
            "postgres": lambda: request.getfixturevalue("postgres_server").url,
            "redis": lambda: f"redis://127.0.0.1:{request.getfixturevalue('redis_server').port}/0/{folder}",
        }[kind]()
        config = {"table": folder.replace("-", "_")} if kind == "postgres" else {}
        return get_store(uri, backend_config=config, serialization_mode="raw")

    return opened


def contents(store):
    return dict(store.get_many(list(store.iterate_keys())))


def counts(report):
    assert not report.failures, report.failures
    return report.copied, report.skipped, report.deleted


STORES = ["local", "sqlite", "zip", "redis", "postgres", "seaweedfs", "moto", "sftp"]


@pytest.mark.parametrize("kind", STORES)
def test_there_and_back(kind, open_store):
    source, target, back = open_store("local"), open_store(kind), open_store("memory")
    source.put_many(VALUES)
    total = len(VALUES)
    assert counts(mirror(source, target)) == (total, 0, 0)
    assert contents(target) == VALUES
    # whatever the two sides can tell of their values, nothing is copied twice
    assert counts(mirror(source, target)) == (0, total, 0)
    assert counts(mirror(target, back)) == (total, 0, 0)
    assert counts(mirror(target, back)) == (0, total, 0)
    assert contents(back) == VALUES
    source.put("many/007", b"8")  # as long as before
    source.put("new", b"1")
    source.delete("many/008")
    assert counts(mirror(source, target, delete=True)) == (2, total - 2, 1)
    assert counts(mirror(target, back, delete=True, verify="full")) == (2, total - 2, 1)
    assert contents(back) == contents(source)


@pytest.mark.parametrize(("one", "other"), [("redis", "seaweedfs"), ("moto", "seaweedfs"), ("sqlite", "redis")])
def test_between_servers(one, other, open_store):
    source, target = open_store(one), open_store(other)
    source.put_many(VALUES)
    assert counts(mirror(source, target, verify="full")) == (len(VALUES), 0, 0)
    assert contents(target) == VALUES
    assert counts(mirror(source, target, delete=True)) == (0, len(VALUES), 0)


@pytest.mark.parametrize("kind", ["seaweedfs", "moto", "redis", "sqlite", "postgres"])
def test_a_service_copies_its_own_values(kind, open_store, monkeypatch):
    whole = open_store(kind)
    source, target = whole.under("from"), whole.under("to")
    source.put_many(VALUES)
    for name in ("get", "get_many", "reader", "read"):
        monkeypatch.setattr(type(unwrap(whole.backend)[0]), name, None)
    assert counts(mirror(source, target)) == (len(VALUES), 0, 0)
    monkeypatch.undo()
    assert contents(target) == VALUES


@pytest.mark.parametrize("kind", ["seaweedfs", "redis"])
def test_two_folders_opened_apart_are_one_service(kind, open_store, monkeypatch):
    source, target = open_store(kind, "from"), open_store(kind, "to")
    source.put_many(VALUES)
    for name in ("get", "get_many", "reader", "read"):
        monkeypatch.setattr(type(source.backend), name, None)
    assert counts(mirror(source, target)) == (len(VALUES), 0, 0)
    monkeypatch.undo()
    assert contents(target) == VALUES
    assert counts(mirror(source, target, compare="version")) == (0, len(VALUES), 0)


def test_buckets_of_one_name_on_two_services_are_two(seaweedfs_server, moto_server):
    one, other = (get_store(f"s3://{BUCKET}", backend_config=s.config) for s in (seaweedfs_server, moto_server))
    one.put("both/a", "1")
    assert mirror(one, other, prefix="both").copied == 1
    with pytest.raises(InvalidOption, match="overlap"):
        mirror(one, get_store(f"s3://{BUCKET}/both", backend_config=seaweedfs_server.config))


def test_a_web_server(nginx_server, open_store):
    for folder in range(3):
        (nginx_server.root / f"folder {folder}").mkdir()
        for number in range(10):
            (nginx_server.root / f"folder {folder}" / f"{number} 50%.txt").write_bytes(b"x" * number)
    target = open_store("local")
    report = mirror(nginx_server.url, target)
    assert (counts(report), report.bytes) == ((30, 0, 0), 135)
    assert counts(mirror(nginx_server.url, target)) == (0, 30, 0)
    (nginx_server.root / "folder 1" / "3 50%.txt").write_bytes(b"yyy")
    (nginx_server.root / "folder 1" / "4 50%.txt").unlink()
    assert counts(mirror(nginx_server.url, target, delete=True)) == (1, 28, 1)
    assert target.get("folder 1/3 50%.txt") == b"yyy"


def test_an_expiry_goes_from_server_to_server(open_store):
    source, target = open_store("redis"), open_store("postgres")
    source.put("a", b"1", ttl=1000)
    assert counts(mirror(source, target)) == (1, 0, 0)
    assert abs((target.info("a").expires - source.info("a").expires).total_seconds()) < 2
    assert counts(mirror(source, target)) == (0, 1, 0)
    report = mirror(source, open_store("seaweedfs"))
    assert (report.copied, report.failed) == (0, 1)
    assert "expire" in report.failures[0].reason


def test_a_cut_connection_is_made_up_for(seaweedfs_server, open_store, tmp_path):
    source = open_store("local")
    source.put_many(VALUES)
    with meddler(seaweedfs_server) as server:
        config = seaweedfs_server.config | {"endpoint_url": server.url}
        target = get_store(f"s3://{BUCKET}/meddled", backend_config=config, serialization_mode="raw")
        assert target.features
        server.spoil("PUT", *[Spoilt(status=503, code="SlowDown")] * 8, *[Spoilt(cut=0)] * 4)
        assert counts(mirror(source, target)) == (len(VALUES), 0, 0)
        server.spoil("GET", Spoilt(cut=10), Spoilt(), *[Spoilt(cut=10)] * 4)  # a page of the listing, and values
        assert counts(mirror(target, tmp_path / "back")) == (len(VALUES), 0, 0)
    assert contents(get_store(tmp_path / "back", serialization_mode="raw")) == VALUES


@pytest.fixture(scope="module")
def processes():
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


@pytest.fixture(scope="module")
def dask():
    options = {"n_workers": 2, "threads_per_worker": 2, "dashboard_address": None, "host": "127.0.0.1"}
    with LocalCluster(processes=True, **options) as cluster, Client(cluster) as client:
        yield client


class TestExecutors:
    @pytest.fixture
    def source(self, open_store):
        store = open_store("local", "source")
        store.put_many(VALUES)
        return store

    def test_threads_of_the_caller(self, source, open_store):
        with ThreadPoolExecutor(4) as pool:
            target = open_store("memory")
            assert counts(mirror(source, target, executor=pool)) == (len(VALUES), 0, 0)
            assert pool.submit(int, "5").result() == 5
        assert contents(target) == VALUES

    @pytest.mark.parametrize("kind", ["sqlite", "seaweedfs", "redis"])
    def test_processes(self, kind, processes, source, open_store):
        target = open_store(kind)
        assert counts(mirror(source, target, executor=processes, workers=4)) == (len(VALUES), 0, 0)
        assert contents(target) == VALUES
        target.put("extra", b"1")
        assert counts(mirror(source, target, executor=processes, delete=True)) == (0, len(VALUES), 1)

    @pytest.mark.parametrize("kind", ["postgres", "seaweedfs"])
    def test_a_dask_cluster_of_several_processes(self, kind, dask, source, open_store):
        target = open_store(kind)
        with dask.get_executor() as executor:
            assert counts(mirror(source, target, executor=executor, workers=4)) == (len(VALUES), 0, 0)
        assert contents(target) == VALUES
        processes = set(dask.run(os.getpid).values())
        assert len(processes - {os.getpid()}) == 2

    @pytest.mark.parametrize("side", ["source", "target"])
    def test_memory_is_refused_by_name(self, side, processes, source, open_store):
        stores = {"source": source, "target": open_store("local"), side: open_store("memory")}
        with pytest.raises(Unsupported, match="memory://"):
            mirror(stores["source"], stores["target"], executor=processes)

    def test_limits_hold_for_all_of_them(self, processes, source, open_store):
        assert Limits(8, 80).share(4) == Limits(2, 20)
        report = mirror(
            source, open_store("local"), executor=processes, workers=2, glob="many/*", max_requests_per_second=300
        )
        assert counts(report) == (150, 0, 0)
        assert report.seconds >= 0.5  # 300 requests, the first of each at once

    def test_a_pool_that_breaks_is_told(self, source, open_store):
        target = open_store("local")
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            reports = []
            thread = threading.Thread(
                target=lambda: reports.append(
                    mirror(source, target, executor=pool, workers=1, max_bytes_per_second=2 * MIB)
                )
            )
            thread.start()
            while not any(target.iterate_keys()):
                assert thread.is_alive()
            for process in list(pool._processes.values()):
                process.kill()
            thread.join()
        assert not reports[0].complete
        assert 0 < len(contents(target)) < len(VALUES)
        assert counts(mirror(source, target))[0] > 0
        assert contents(target) == VALUES
