"""A crawl asset fetches every document of a listing, shows what it did, and hands on a manifest."""

import dagster as dg
import pytest

from anystore import get_store
from anystore.backends.wrap import ReadonlyBackend
from anystore.crawling import documents, runs
from anystore.errors import InvalidOption, InvalidUri
from anystore.progress import Progress
from anystore.store import Store
from anystore_dagster import AnystoreIOManager, AnystoreResource, FileCollection, crawl_asset, mirror_asset
from anystore_dagster.crawl_reports import log_progress
from tests.servers import nginx


class Sour(ReadonlyBackend):
    """A store of which some documents cannot be read."""

    def reader(self, key):
        if "sour" in key:
            raise OSError("never") if "crash" in key else self.missing(key)
        return super().reader(key)


@pytest.fixture
def source(tmp_path):
    store = get_store(tmp_path / "source")
    for key, text in {"a.txt": "one", "b/c d.txt": "two", "b/ü.pdf": "three"}.items():
        store.put(key, text)
    return store


@pytest.fixture
def materialize(tmp_path):
    def run(assets, **options):
        resources = {"io_manager": AnystoreIOManager(uri=str(tmp_path / "values"))}
        with dg.DagsterInstance.ephemeral() as instance:
            result = dg.materialize(assets, resources=resources, instance=instance, **options)
            warnings = [event.user_message for event in instance.all_logs(result.run_id) if event.level == 30]
            return result, warnings

    return run


def metadata_of(result, name="files"):
    events = result.asset_materializations_for_node(name)
    return {key: value.value for key, value in events[0].metadata.items()}


def test_every_document_is_fetched_once(tmp_path, source, materialize):
    target = get_store(tmp_path / "target")
    files = crawl_asset("files", source=source, target=str(tmp_path / "target"), group_name="web", key_prefix=["raw"])

    @dg.asset(ins={"files": dg.AssetIn(["raw", "files"])})
    def count(files: dict) -> int:
        return files["counts"]["documents"]

    assert files.key == dg.AssetKey(["raw", "files"])
    first, _ = materialize([files, count])
    found = metadata_of(first, "raw__files")
    names = ("listed", "fetched", "unchanged", "gone", "failed", "documents")
    assert [found[f"anystore/{name}"] for name in names] == [3, 3, 0, 0, 0, 3]
    assert found["anystore/fetched_bytes"] == 11
    assert found["anystore/source"] == source.uri
    assert found["anystore/target"] == target.uri
    # place, key and size are those of the manifest, which is the value
    assert found["dagster/uri"].endswith("/raw/files.value")
    assert found["anystore/key"] == "raw/files.value"
    assert "anystore/failures" not in found
    assert first.output_for_node("count") == 3
    assert {key: target.get(key) for key in target.iterate_keys()} == {
        "a.txt": "one",
        "b/c d.txt": "two",
        "b/ü.pdf": "three",
    }
    source.put("a.txt", "changed")
    source.delete("b/ü.pdf")
    found = metadata_of(materialize([files])[0], "raw__files")
    assert [found[f"anystore/{name}"] for name in ("listed", "fetched", "unchanged", "gone")] == [2, 1, 1, 1]
    assert target.get("a.txt") == "changed"


def test_a_selection_of_documents(tmp_path, source, materialize):
    target = str(tmp_path / "target")
    files = crawl_asset("files", source=source.uri, target=target, glob="b/*.pdf", concurrency=1)
    materialize([files])
    assert list(get_store(target).iterate_keys()) == ["b/ü.pdf"]


def test_a_real_server(tmp_path, nginx_server, materialize):
    (nginx_server.root / "sub folder").mkdir()
    (nginx_server.root / "sub folder" / "ü 1.txt").write_text("hello")
    (nginx_server.root / "b.txt").write_text("b")
    target = AnystoreResource(uri=str(tmp_path), prefix="documents")
    files = crawl_asset("files", source=AnystoreResource(uri=nginx_server.url), target=target)
    result, _ = materialize([files])
    assert metadata_of(result)["anystore/fetched"] == 2
    source = result.asset_materializations_for_node("files")[0].metadata["anystore/source"]
    assert source == dg.MetadataValue.url(nginx_server.url)
    assert get_store(tmp_path / "documents").get("sub folder/ü 1.txt") == "hello"
    assert metadata_of(materialize([files])[0])["anystore/unchanged"] == 2


def test_some_failures_are_shown_and_do_not_fail(tmp_path, source, materialize):
    source.put("sour.txt", "x")
    files = crawl_asset("files", source=Store(Sour(source.backend)), target=str(tmp_path / "target"))
    result, warnings = materialize([files])
    found = metadata_of(result)
    assert (found["anystore/failed"], found["anystore/documents"]) == (1, 3)
    rows = [record.data for record in found["anystore/failures"].records]
    assert [row["key"] for row in rows] == ["sour.txt"]
    assert "no value" in rows[0]["reason"]
    assert any("sour.txt" in text for text in warnings)


def test_one_failure_fails_when_that_is_asked_for(tmp_path, source, materialize):
    source.put("sour.txt", "x")
    target = str(tmp_path / "target")
    files = crawl_asset("files", source=Store(Sour(source.backend)), target=target, fail_on_error=True)
    with pytest.raises(dg.Failure, match=r"sour.txt") as caught:
        materialize([files])
    assert caught.value.metadata["anystore/failed"].value == 1
    assert len(list(get_store(target).iterate_keys())) == 3


def test_a_listing_that_cannot_be_read_fails(tmp_path, nginx_server, materialize):
    url = nginx_server.url + "not-there/"
    files = crawl_asset("files", source=url, target=str(tmp_path / "target"))
    with pytest.raises(dg.Failure, match="not-there"):
        materialize([files])


def test_a_server_that_is_gone_does_not_deny_what_is_there(tmp_path, nginx_server, materialize):
    (nginx_server.root / "a.txt").write_text("hello")
    files = crawl_asset("files", source=nginx_server.url, target=str(tmp_path / "target"))
    materialize([files])
    (nginx_server.root / "a.txt").unlink()
    nginx_server.root.rmdir()
    with pytest.raises(dg.Failure, match=r"could not be listed, .*; what .*target has is unchanged"):
        materialize([files])
    assert get_store(tmp_path / "target").get("a.txt") == "hello"


# -- checks and versions ----------------------------------------------------------------


def checks_of(result):
    return {check.check_name: check for check in result.get_asset_check_evaluations()}


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def run(tmp_path, instance):
    resources = {"io_manager": AnystoreIOManager(uri=str(tmp_path / "values"))}

    def run(*assets, **options):
        return dg.materialize(list(assets), resources=resources, instance=instance, **options)

    return run


def test_the_checks_of_a_real_listing(tmp_path, run):
    root = tmp_path / "root"
    root.mkdir()
    (root / "a.txt").write_text("hello")
    (root / "b.txt").write_text("world")
    with nginx(root, index="index.html") as server:
        files = crawl_asset("files", server.url, str(tmp_path / "target"))
        found = checks_of(run(files))
        assert {name: check.passed for name, check in found.items()} == dict.fromkeys(found, True)
        assert "fetched by this crawl" in found["verified"].description
        found = checks_of(run(files))
        assert found["complete"].description == "all 2 documents of the listing that were wanted are stored"
        assert not found["verified"].passed
        assert found["verified"].severity == dg.AssetCheckSeverity.WARN
        assert "verify='full'" in found["verified"].description
        (root / "hidden").mkdir()
        (root / "hidden/index.html").write_text("<html><p>no listing")
        result = run(files)
    found = checks_of(result)
    for name in ("complete", "no_failures"):
        assert not found[name].passed
        assert found[name].severity == dg.AssetCheckSeverity.ERROR
        assert "hidden/" in found[name].description
    (row,) = found["no_failures"].metadata["anystore/failures"].value.records
    assert row.data["key"] == "hidden/"
    assert metadata_of(result)["anystore/complete"] is False


@pytest.mark.parametrize("verify", ["full", "audit"])
def test_a_crawl_that_reads_everything_is_verified(verify, tmp_path, source, run):
    target = get_store(tmp_path / "target")
    files = crawl_asset("files", source, target, verify=verify)
    run(files)
    assert checks_of(run(files))["verified"].passed
    target.put("a.txt", "eno")
    found = checks_of(run(files))
    assert found["verified"].passed
    if verify == "full":
        assert "1 had rotted" in found["verified"].description
    source.put("another.txt", "text")
    found = checks_of(run(files))
    assert found["verified"].passed
    if verify == "full":
        assert "read again, and are as they were stored; 1 were fetched" in found["verified"].description
    source.put("sour.txt", "x")
    sour = crawl_asset("files", Store(Sour(source.backend)), target, verify=verify)
    found = checks_of(run(sour))
    assert not found["verified"].passed
    assert found["verified"].severity == dg.AssetCheckSeverity.WARN


def test_a_limit_makes_it_incomplete(tmp_path, source, run):
    result = run(crawl_asset("files", source, str(tmp_path / "target"), max_entries=2))
    found = checks_of(result)
    assert not found["complete"].passed
    assert "max_entries=2" in found["complete"].description
    assert found["no_failures"].passed
    assert metadata_of(result)["anystore/limits"] == "max_entries=2"
    assert "2 documents were verified, and others are not stored" in found["verified"].description


def test_a_listing_that_became_empty_is_told_as_long_as_it_is(tmp_path, source, run):
    files = crawl_asset("files", source, str(tmp_path / "target"))
    run(files)
    for key in list(source.iterate_keys()):
        source.delete(key)
    for _ in range(2):
        found = checks_of(run(files))
        assert not found["complete"].passed
        assert "nothing is listed any more" in found["complete"].description
        assert "'a.txt'" in found["complete"].description
    others = crawl_asset("others", source, str(tmp_path / "target"), glob="**/*.csv")
    assert checks_of(run(others))["complete"].passed  # which never had anything
    source.put("new.txt", "text")
    assert checks_of(run(files))["complete"].passed


def test_a_listing_that_is_to_be_empty_is_complete_once_nothing_is_kept_of_it(tmp_path, source, run):
    files = crawl_asset("files", source, str(tmp_path / "target"))
    run(files)
    for store in (source, get_store(tmp_path / "target")):
        store.delete_many(list(store.iterate_keys()))
    assert checks_of(run(files))["complete"].passed


def test_the_checks_of_an_asset_that_fails_are_kept(tmp_path, source, run, instance):
    source.put("sour.txt", "x")
    files = crawl_asset("files", Store(Sour(source.backend)), str(tmp_path / "target"), fail_on_error=True)
    result = run(files, raise_on_error=False)
    assert not result.success
    assert not checks_of(result)["complete"].passed
    assert instance.get_latest_materialization_event(files.key) is None


def test_what_is_downstream_waits_for_blocking_checks(tmp_path, source, run):
    source.put("sour.txt", "x")

    @dg.asset
    def after(files: FileCollection) -> int:
        return len(files)

    for blocking in (False, True):
        files = crawl_asset("files", Store(Sour(source.backend)), str(tmp_path / "target"), blocking=blocking)
        result = run(files, after, raise_on_error=False)
        assert result.success is not blocking
        assert bool(result.asset_materializations_for_node("after")) is not blocking


def version_of(instance, name="files"):
    event = instance.get_latest_materialization_event(dg.AssetKey(name))
    return event.asset_materialization.tags["dagster/data_version"]


def test_the_data_version_is_that_of_the_documents(tmp_path, source, run, instance):
    target = get_store(tmp_path / "target")
    files = crawl_asset("files", source, target)
    run(files)
    first = version_of(instance)
    assert first == runs(target)[-1].root
    run(files)
    assert version_of(instance) == first
    source.put("a.txt", "other")
    run(files)
    assert version_of(instance) == runs(target)[-1].root != first
    text = " ".join(log.user_message for log in instance.all_logs(run(files).run_id))
    assert "Data version mismatch" not in text


def test_the_journal_may_be_elsewhere(tmp_path, source, run):
    target = get_store(tmp_path / "target")
    files = crawl_asset("files", source, target, journal=f"sqlite:///{tmp_path}/journal.db")

    @dg.asset
    def after(files: FileCollection) -> list[str]:
        return [document.key for document in files.new]

    result = run(files, after)
    assert result.output_for_node("after") == ["a.txt", "b/c d.txt", "b/ü.pdf"]
    assert "journal.db" in metadata_of(result)["anystore/journal"]
    assert not (tmp_path / "target/.anystore/crawl").exists()
    assert metadata_of(result)["anystore/run"] == 1


def test_addresses_may_be_variables(tmp_path, source, run, monkeypatch):
    files = crawl_asset("files", dg.EnvVar("TEST_SOURCE"), dg.EnvVar("TEST_TARGET"))
    assert "TEST_SOURCE" in next(iter(files.descriptions_by_key.values()))
    with pytest.raises(InvalidOption, match="TEST_"):
        run(files)
    monkeypatch.setenv("TEST_SOURCE", source.uri)
    monkeypatch.setenv("TEST_TARGET", str(tmp_path / "target"))

    @dg.asset
    def after(files: FileCollection) -> int:
        return len(files)

    assert run(files, after).output_for_node("after") == 3


def test_it_works_with_dagsters_own_io_manager(tmp_path, source, instance):
    files = crawl_asset("files", source, str(tmp_path / "target"))

    @dg.asset
    def after(files: FileCollection) -> list[str]:
        return [document.key for document in files]

    own = {"io_manager": dg.FilesystemIOManager(base_dir=str(tmp_path / "pickles"))}
    result = dg.materialize([files, after], resources=own, instance=instance)
    assert result.output_for_node("after") == ["a.txt", "b/c d.txt", "b/ü.pdf"]


def test_a_long_crawl_says_how_far_it_is():
    now, lines = [0.0], []

    class Log:
        def info(self, text, *values):
            lines.append(text % values)

    watch = log_progress(Log(), lambda: now[0])
    watch(Progress("x", done=1, total=10))
    now[0] = 31
    watch(Progress("x", done=1000, total=2000, bytes=3_000_000, failed=1))
    watch(Progress("x", done=1001, total=2000))
    now[0] = 62
    watch(Progress("x", done=2000, total=2000, listing=False))
    watch(Progress("x", done=2000, total=2000, finished=True))
    assert len(lines) == 2
    assert lines[0].startswith("1,000 of 2,000 or more done")
    assert lines[0].endswith("1 failed")
    assert lines[1].startswith("2,000 of 2,000 done")


def test_an_empty_listing_is_no_failure(tmp_path, materialize):
    files = crawl_asset("files", source="memory://empty-listing", target=str(tmp_path))
    assert metadata_of(materialize([files])[0])["anystore/listed"] == 0


def test_a_store_may_be_a_path(tmp_path, source, materialize):
    target, copy = tmp_path / "target", tmp_path / "copy"
    files = crawl_asset("files", tmp_path / "source", target, journal=tmp_path / "journal")
    copies = mirror_asset("copies", AnystoreResource(uri=target), copy, deps=[files])
    assert copies.specs_by_key[copies.key].description == f"What {target} has, copied to {copy}."
    materialize([files, copies])
    assert [document.key for document in documents(target, journal=tmp_path / "journal")] == [
        "a.txt",
        "b/c d.txt",
        "b/ü.pdf",
    ]
    assert {entry.key for entry in get_store(copy).entries()} == {"a.txt", "b/c d.txt", "b/ü.pdf"}


@pytest.mark.parametrize(
    ("wrong", "error"), [(3, InvalidOption), (None, InvalidOption), ("", InvalidUri), ("s3:/b", InvalidUri)]
)
@pytest.mark.parametrize("role", ["source", "target"])
def test_what_is_no_store_is_refused_at_once(wrong, error, role):
    with pytest.raises(error):
        crawl_asset("files", **({"source": "memory://s", "target": "memory://t"} | {role: wrong}))


def test_no_secret_is_shown(tmp_path):
    files = crawl_asset(
        "files", source="https://me:hunter2@host/x/", target=AnystoreResource(uri="redis://a:hunter2@h/0")
    )
    assert "hunter2" not in repr(files.specs_by_key)
    assert "https://me:***@host/x/" in next(iter(files.descriptions_by_key.values()))


def test_what_dagster_needs_to_know_is_passed_on(source):
    files = crawl_asset(
        "files",
        source=source,
        target="memory://t",
        description="Minutes",
        deps=["before"],
        tags={"a": "b"},
        owners=["team:data"],
        automation_condition=dg.AutomationCondition.on_cron("@daily"),
        group_name="web",
    )
    spec = next(iter(files.specs))
    assert (spec.description, spec.group_name, list(spec.owners)) == ("Minutes", "web", ["team:data"])
    assert spec.tags["a"] == "b"
    assert [dep.asset_key for dep in spec.deps] == [dg.AssetKey("before")]
    assert spec.automation_condition is not None
