"""An observed listing has a data version, which changes with its documents, and with nothing else."""

import uuid

import dagster as dg
import pytest
from dagster._core.definitions.observe import observe as observe_assets

from anystore import get_store
from anystore.backends.wrap import ReadonlyBackend
from anystore.errors import BackendError, InvalidKey, InvalidOption, InvalidUri
from anystore.store import Store
from anystore_dagster import AnystoreResource, content_changed, observe_listing
from tests.faults import Fault


def new_store():
    return get_store(f"memory://{uuid.uuid4().hex}")


def observe(asset):
    with dg.DagsterInstance.ephemeral() as instance:
        result = observe_assets([asset], instance=instance)
        (event,) = result.asset_observations_for_node(asset.key.to_python_identifier())
        return event


def version_of(asset):
    return observe(asset).data_version


def test_the_version_follows_keys_and_what_is_shown_of_them():
    source = new_store()
    source.put_many({"b/c.txt": "1", "a.txt": "2"})
    asset = observe_listing("papers", source)
    first = version_of(asset)
    assert version_of(asset) == first
    source.put("a.txt", "3")
    changed = version_of(asset)
    source.put("new.txt", "1")
    grown = version_of(asset)
    source.delete("new.txt")
    source.move("a.txt", "z.txt")
    moved = version_of(asset)
    assert len({first, changed, grown, moved}) == 4


def test_nothing_is_downloaded(nginx_server):
    (nginx_server.root / "sub folder").mkdir()
    (nginx_server.root / "sub folder" / "ü 1.txt").write_text("hello")
    (nginx_server.root / "b.txt").write_text("b")
    asset = observe_listing("papers", nginx_server.url)
    event = observe(asset)
    assert event.metadata["anystore/documents"].value == 2
    assert event.metadata["anystore/listed_bytes"].value == 6
    assert event.metadata["anystore/source"] == dg.MetadataValue.url(nginx_server.url)
    asked = [(one.method, one.path) for one in nginx_server.requests()]
    assert sorted(asked) == [("GET", "/"), ("GET", "/robots.txt"), ("GET", "/sub%20folder/")]
    (nginx_server.root / "b.txt").write_text("longer")
    assert observe(asset).data_version != event.data_version


def test_a_selection():
    source = new_store()
    source.put_many({"a.pdf": "1", "a.txt": "1", "tmp/b.pdf": "1"})
    asset = observe_listing("papers", source, glob="**/*.pdf", exclude="tmp/**")
    first = observe(asset)
    assert first.metadata["anystore/documents"].value == 1
    source.put("a.txt", "2")
    assert version_of(asset) == first.data_version


class BreaksOff(ReadonlyBackend):
    def scan(self, prefix="", after=None):
        yield next(iter(super().scan(prefix, after)))
        raise BackendError("hung up")


def test_a_listing_that_breaks_off_gives_no_version():
    source = new_store()
    source.put_many({"a": "1", "b": "1"})
    asset = observe_listing("papers", Store(BreaksOff(source.backend)))
    with dg.DagsterInstance.ephemeral() as instance:
        with pytest.raises(BackendError, match="hung up"):
            observe_assets([asset], instance=instance)
        assert instance.get_latest_data_version_record(asset.key) is None


def test_a_folder_that_cannot_be_read_gives_no_version(faulty_server, nginx_server):
    for folder in ("open", "shut"):
        (nginx_server.root / folder).mkdir()
        (nginx_server.root / folder / "a.txt").write_text("1")
    faulty_server.always(Fault(status=403), path="/shut/")
    with pytest.raises(BackendError, match=r"incomplete, so that nothing was observed: shut/: .*403"):
        observe(observe_listing("papers", faulty_server.url))
    left_out = observe(observe_listing("papers", faulty_server.url, exclude="shut/**"))
    assert left_out.metadata["anystore/documents"].value == 1


def test_an_empty_listing_counts_only_where_that_is_said(tmp_path):
    with pytest.raises(BackendError, match="lists nothing, so that nothing was observed: check that it is there"):
        observe(observe_listing("papers", str(tmp_path / "not-mounted")))
    assert observe(observe_listing("papers", new_store(), allow_empty=True)).data_version


def test_what_depends_on_it_runs_when_it_has_changed():
    source = new_store()
    source.put("a", "1")
    papers = observe_listing("papers", source)

    @dg.asset(deps=[papers], automation_condition=content_changed())
    def table(): ...

    definitions = dg.Definitions(assets=[papers, table])
    with dg.DagsterInstance.ephemeral() as instance:

        def follow(cursor):
            observe_assets([papers], instance=instance)
            result = dg.evaluate_automation_conditions(definitions, instance, cursor=cursor)
            if result.total_requested:
                dg.materialize([papers, table], instance=instance, selection=[table])
            return result.total_requested, result.cursor

        counts, cursor = [], None
        for change in ("", "", "b", "", ""):
            if change:
                source.put(change, "1")
            count, cursor = follow(cursor)
            counts.append(count)
    assert counts == [0, 0, 1, 0, 0]


def test_what_dagster_needs_to_know_is_passed_on():
    asset = observe_listing(
        "papers",
        AnystoreResource(uri="memory://x"),
        key_prefix=["raw"],
        group_name="web",
        description="Minutes",
        metadata={"a": 1},
        tags={"team": "data"},
        automation_condition=dg.AutomationCondition.on_cron("@hourly"),
    )
    assert (asset.key, asset.group_name, asset.description) == (dg.AssetKey(["raw", "papers"]), "web", "Minutes")
    assert asset.tags == {"dagster/kind/anystore": "", "team": "data"}
    assert asset.is_observable


@pytest.mark.parametrize(
    ("source", "glob", "error"),
    [(3, None, InvalidOption), ("s3:/b", None, InvalidUri), ("memory://x", "a{", InvalidKey)],
)
def test_what_cannot_be_is_refused_at_once(source, glob, error):
    with pytest.raises(error):
        observe_listing("papers", source, glob=glob)


def test_no_secret_is_shown():
    asset = observe_listing("papers", "https://me:hunter2@host/x/")
    assert "hunter2" not in f"{asset.description} {asset.metadata} {asset.tags}"
