"""What a mirror copies is compared with what services tell of it: nothing that was spoilt on the way is kept."""

import base64
import hashlib
import logging
import os
import subprocess
import sys

import pytest

from anystore import Store, get_store, mirror, retries
from anystore.backend import Entry
from anystore.backends.memory import MemoryBackend
from anystore.mirroring import report as reports
from anystore.mirroring.checking import Digests, digests_for
from tests.faults import Fault
from tests.object_servers import BUCKET, Spoilt, meddler

MIB = 1 << 20
TRIES = 8  # more than a mirror asks for a value


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch):
    monkeypatch.setattr(retries, "FIRST_PAUSE", 0.001)


@pytest.fixture
def target(tmp_path):
    return get_store(tmp_path / "target", serialization_mode="raw")


@pytest.fixture(params=["moto", "seaweedfs"])
def bucket(request):
    """Open a bucket as it is, and behind a proxy that can spoil what passes."""
    server = request.getfixturevalue(f"{request.param}_server")
    folder = os.urandom(4).hex()
    with meddler(server) as proxy:
        config = dict(server.config)
        uri = f"s3://{BUCKET}/{folder}"
        plain = get_store(uri, backend_config=config, serialization_mode="raw")
        spoilt = get_store(uri, backend_config=config | {"endpoint_url": proxy.url}, serialization_mode="raw")
        yield plain, spoilt, proxy


SIZES = {"small": 100, "large": 3 * MIB}


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_what_was_spoilt_while_it_was_read_is_read_again(bucket, target, size):
    plain, spoilt, proxy = bucket
    data = os.urandom(size)
    plain.put("a", data)
    proxy.spoil("GET", Spoilt(flip=True), path="/a")
    report = mirror(spoilt, target)
    assert (report.copied, report.complete) == (1, True), report.failures
    assert target.get("a") == data


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_what_is_always_spoilt_is_a_failure_and_the_old_value_stays(bucket, target, size):
    plain, spoilt, proxy = bucket
    plain.put_many({"a": os.urandom(size), "b": b"fine"})
    target.put("a", b"old")
    proxy.spoil("GET", *[Spoilt(flip=True)] * TRIES, path="/a")
    report = mirror(spoilt, target)
    assert (report.copied, report.failed, report.complete) == (1, 1, False)
    assert report.failures[0].key == "a"
    assert "another digest (md5:" in report.failures[0].reason
    assert (target.get("a"), target.get("b")) == (b"old", b"fine")
    proxy.heal()
    assert mirror(spoilt, target).copied == 1
    assert target.get("a") == plain.get("a")


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_an_etag_of_an_encrypted_value_is_no_digest(bucket, target, size):
    plain, spoilt, proxy = bucket
    plain.put("a", os.urandom(size))
    proxy.spoil("GET", *[Spoilt(flip=True)] * TRIES, path="/a")  # for the client, a value with an ETag that is no MD5
    proxy.spoil("HEAD", *[Spoilt(headers=(("x-amz-server-side-encryption", "aws:kms"),))] * TRIES, path="/a")
    report = mirror(spoilt, target)
    assert (report.copied, report.complete) == (1, True), report.failures


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_what_was_spoilt_while_it_was_written_is_written_again(moto_server, tmp_path, size):
    source = get_store(tmp_path / "source", serialization_mode="raw")
    source.put("a", os.urandom(size))
    with meddler(moto_server) as proxy:  # which takes what does not fit its signature, as the real one does not
        uri, config = f"s3://{BUCKET}/{os.urandom(4).hex()}", dict(moto_server.config) | {"endpoint_url": proxy.url}
        target = get_store(uri, backend_config=config, serialization_mode="raw")
        proxy.spoil("PUT", Spoilt(flip=True), path="/a")
        assert mirror(source, target).complete
        assert target.get("a") == source.get("a")
        proxy.spoil("PUT", *[Spoilt(flip=True)] * TRIES, path="/a")
        source.put("a", os.urandom(size + 1))
        report = mirror(source, target)
        assert report.failed == 1
        assert "than what was written" in report.failures[0].reason
        assert not target.exists("a")  # it would look like a good copy to the next run
        proxy.heal()
        assert mirror(source, target).copied == 1
        assert target.get("a") == source.get("a")


@pytest.mark.parametrize("verify", ["fast", "full"])
def test_a_long_value_that_was_spoilt_in_the_target_is_seen_when_it_is_read_back(moto_server, tmp_path, verify):
    source = get_store(tmp_path / "source", serialization_mode="raw")
    source.put("a", os.urandom(17 * MIB))  # in parts, whose ETag is no MD5
    with meddler(moto_server) as proxy:
        uri, config = f"s3://{BUCKET}/{os.urandom(4).hex()}", dict(moto_server.config) | {"endpoint_url": proxy.url}
        target = get_store(uri, backend_config=config, serialization_mode="raw")
        proxy.spoil("PUT", Spoilt(flip=True), path="/a")
        report = mirror(source, target, verify=verify)
        assert report.complete, report.failures
        assert (target.get("a") == source.get("a")) is (verify == "full")


def test_what_reads_back_otherwise_is_not_left_behind(tmp_path):
    class Spoiling(MemoryBackend):
        def put(self, key, data, **conditions):
            return super().put(key, data[:-1] + b"?", **conditions)

    source = get_store(f"memory://{tmp_path}/source", serialization_mode="raw")
    source.put_many({"a": b"1" * 100, "b": b"1" * 3 * MIB})
    target = Store(Spoiling(f"{tmp_path}/spoiling"), serialization_mode="raw")
    report = mirror(source, target, verify="full")
    assert (report.copied, report.failed) == (0, 2)
    assert list(target.iterate_keys()) == []


def test_redis_tells_a_digest(redis_server, target):
    source = get_store(f"redis://127.0.0.1:{redis_server.port}/0/{os.urandom(4).hex()}", serialization_mode="raw")
    source.put("a", b"hello")
    entry = source.info("a")
    digests = Digests(["sha1"])
    digests.update(b"hello")
    assert digests.agree(source.backend, entry)
    digests.update(b"!")
    assert not digests.agree(source.backend, entry)
    assert mirror(source, target).complete


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_a_digest_in_the_answer_of_a_web_server_is_compared(nginx_server, faulty_server, target, size):
    data = os.urandom(size)
    (nginx_server.root / "a").write_bytes(data)
    target.put("a", b"old")
    digest = "sha-256=:" + base64.b64encode(hashlib.sha256(data).digest()).decode() + ":"
    faulty_server.always(Fault(flip=7, headers={"Repr-Digest": digest}), path="/a")
    source = get_store(faulty_server.url, backend_config={"retries": 0})
    report = mirror(source, target)
    assert (report.copied, report.failed) == (0, 1)
    assert "sha256" in report.failures[0].reason
    assert target.get("a") == b"old"
    faulty_server.heal()
    faulty_server.always(Fault(headers={"Repr-Digest": digest}), path="/a")
    assert mirror(source, target).complete
    assert target.get("a") == data


def test_each_copy_is_logged_with_its_digest(tmp_path, caplog):
    source, target = get_store(tmp_path / "source"), get_store(tmp_path / "target")
    source.put_many({"a": "hello", "b": "x" * 2 * MIB})
    with caplog.at_level(logging.INFO, "anystore.mirroring"):
        mirror(source, target)
    assert sorted(caplog.messages) == [f"copy {key} sha256:{source.checksum(key)}" for key in "ab"]


def test_digests_are_those_that_somebody_tells(tmp_path):
    plain = MemoryBackend(f"{tmp_path}/plain")

    class Telling(MemoryBackend):
        def digest_algorithm(self, size):
            return "md5"

    telling = Telling(f"{tmp_path}/telling")
    assert str(digests_for([plain, plain], 1, full=False)).startswith("sha256:")
    assert str(digests_for([plain, telling], 1, full=False)).startswith("md5:")
    assert str(digests_for([plain, telling], 1, full=True)).startswith("sha256:")
    assert digests_for([plain, telling], 1, full=False).agree(telling, Entry("a", 1, None, "no digest"))


# -- many failures ---------------------------------------------------------------


def test_many_failures_are_counted_and_the_first_are_shown(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(reports, "MOST_FAILURES", 10)
    source, target = get_store(f"memory://{tmp_path}/source"), get_store(tmp_path / "target")
    source.put_many({f"{number:03}": "fine" for number in range(40)})
    source.put_many({"x" * 256 + f"{number:03}": "too long a name" for number in range(60)})
    with caplog.at_level(logging.INFO, "anystore.mirroring"):
        report = mirror(source, target)
    assert (report.copied, report.failed, len(report.failures), report.complete) == (40, 60, 10, False)
    assert sum(message.startswith("failed xxx") for message in caplog.messages) == 60
    assert report.to_dict()["failed"] == 60


def test_the_command_tells_that_there_are_more_failures(tmp_path):
    source = get_store(f"sqlite:///{tmp_path}/source.db")
    source.put_many({"x" * 256 + f"{number:04}": "too long a name" for number in range(1010)})
    command = [sys.executable, "-m", "anystore", "mirror", f"sqlite:///{tmp_path}/source.db", str(tmp_path / "target")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert "10 more values failed" in done.stderr
    assert "1,010" in done.stdout


def test_what_had_no_room_in_the_report_is_no_conflict_to_be_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr(reports, "MOST_FAILURES", 3)
    source = get_store(f"memory://{tmp_path}/source", serialization_mode="raw")
    target = get_store(tmp_path / "target", serialization_mode="raw")
    source.put_many({f"{number}/below": b"x" for number in range(8)})
    target.put_many({f"{number}": b"in the way" for number in range(8)})
    first = mirror(source, target, delete=True, workers=1)
    assert first.deleted == 8
    assert first.copied + first.failed == 8
    second = mirror(source, target, delete=True)
    assert second.complete
    assert dict(target.get_many(list(target.iterate_keys()))) == {f"{number}/below": b"x" for number in range(8)}
