"""A crawl asset fetches every document of a listing, shows what it did, and hands on a manifest."""

import dagster as dg
import pytest

from anystore import get_store
from anystore.backends.wrap import ReadonlyBackend
from anystore.errors import InvalidOption, InvalidUri
from anystore.store import Store
from anystore_dagster import AnystoreIOManager, AnystoreResource, crawl_asset


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
        return files["documents"]

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


def test_an_empty_listing_is_no_failure(tmp_path, materialize):
    files = crawl_asset("files", source="memory://empty-listing", target=str(tmp_path))
    assert metadata_of(materialize([files])[0])["anystore/listed"] == 0


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
