"""A mirror asset keeps a store in step, shows what it did, and hands on what its store has."""

import pickle

import dagster as dg
import pytest

from anystore import CodecError, get_store
from anystore.errors import InvalidKey, InvalidOption, InvalidUri
from anystore_dagster import AnystoreIOManager, AnystoreResource, FileCollection, mirror_asset
from anystore_dagster.values.mirrors import MirroredFiles, open_mirror
from tests.places import SHARED, make_place

SOUR = "sour" * 80 + ".txt"  # a name that no folder holds


@pytest.fixture
def source(tmp_path):
    store = get_store(f"sqlite:///{tmp_path}/source.db")
    store.put_many({"a.txt": "one", "b/c d.txt": "two", "b/ü.pdf": "three"})
    return store


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


def shown(result, name="copy"):
    return {key: value.value for key, value in result.asset_materializations_for_node(name)[0].metadata.items()}


def checks(result):
    return {check.check_name: check for check in result.get_asset_check_evaluations()}


def version(instance, name="copy"):
    return instance.get_latest_materialization_event(dg.AssetKey(name)).asset_materialization.tags[
        "dagster/data_version"
    ]


def test_what_is_missing_is_copied(tmp_path, source, run, instance):
    copy = mirror_asset("copy", source, str(tmp_path / "target"), delete=True)
    first = run(copy)
    names = ("copied", "skipped", "deleted", "failed", "values", "bytes", "complete")
    assert [shown(first)[f"anystore/{name}"] for name in names] == [3, 0, 0, 0, 3, 11, True]
    assert dict(get_store(tmp_path / "target").get_many(["a.txt"])) == {"a.txt": "one"}
    before = version(instance)
    again = run(copy)
    assert [shown(again)[f"anystore/{name}"] for name in names[:3]] == [0, 3, 0]
    assert version(instance) == before
    source.put("a.txt", "other")
    source.delete("b/ü.pdf")
    third = run(copy)
    assert [shown(third)[f"anystore/{name}"] for name in names[:5]] == [1, 1, 1, 0, 2]
    assert version(instance) != before


@pytest.mark.parametrize("kind", SHARED)
def test_the_data_version_changes_with_the_content(kind, request, tmp_path, source, run):
    instance = request.getfixturevalue("instance")
    uri, config = make_place(kind, request.getfixturevalue, tmp_path)
    target = AnystoreResource(uri=uri, backend_config=config, prefix="copy")
    copy = mirror_asset("copy", AnystoreResource(uri=source.uri), target)
    run(copy)
    first = version(instance)
    run(copy)
    assert version(instance) == first
    source.put("a.txt", "uno")  # of equal size
    run(copy)
    second = version(instance)
    run(copy)
    assert second == version(instance) != first


def test_the_checks_say_why(tmp_path, source, run):
    target = str(tmp_path / "target")
    found = checks(run(mirror_asset("copy", source, target)))
    assert found["complete"].passed
    assert found["no_failures"].passed
    assert not found["verified"].passed
    assert found["verified"].severity == dg.AssetCheckSeverity.WARN
    assert "not read back" in found["verified"].description
    found = checks(run(mirror_asset("copy", source, target, verify="full")))
    assert "3 values were taken for equal by compare='auto'" in found["verified"].description
    assert checks(run(mirror_asset("copy", source, target, compare="checksum")))["verified"].passed
    fresh = str(tmp_path / "fresh")
    assert checks(run(mirror_asset("copy", source, fresh, verify="full")))["verified"].passed


def test_some_failures_are_shown_and_do_not_fail(tmp_path, source, run):
    source.put(SOUR, "x")
    target = str(tmp_path / "target")
    result = run(mirror_asset("copy", source, target, retries=0, compare="checksum"))
    assert shown(result)["anystore/failed"] == 1
    (row,) = shown(result)["anystore/failures"].records
    assert row.data["key"] == SOUR
    found = checks(result)
    assert not any(check.passed for check in found.values())
    assert SOUR in found["no_failures"].description
    assert SOUR in found["complete"].description
    assert found["no_failures"].severity == dg.AssetCheckSeverity.ERROR
    assert get_store(target).get("a.txt") == "one"


def test_one_failure_fails_when_that_is_asked_for(tmp_path, source, run):
    source.put(SOUR, "x")
    copy = mirror_asset(
        "copy", source, str(tmp_path / "target"), retries=0, fail_on_error=True
    )  # fmt: skip
    result = run(copy, raise_on_error=False)
    assert not result.success
    assert not checks(result)["no_failures"].passed
    with pytest.raises(dg.Failure, match=r"3 were there already, .*sour\.txt"):
        run(copy)


def test_nothing_in_step_fails(tmp_path, run, source):
    source.delete_many(list(source.iterate_keys()))
    source.put(SOUR, "x")
    copy = mirror_asset("copy", source, str(tmp_path / "target"), retries=0)
    with pytest.raises(dg.Failure, match="not in step"):
        run(copy)


def test_a_listing_that_cannot_be_read_is_a_failure(tmp_path, run, nginx_server):
    away = nginx_server.url + "not-there/"
    result = run(mirror_asset("copy", away, str(tmp_path / "target"), retries=0), raise_on_error=False)
    assert not result.success
    for check in checks(result).values():
        assert not check.passed


def test_what_is_downstream_waits_for_the_checks(tmp_path, source, run):
    source.put(SOUR, "x")
    copy = mirror_asset("copy", source, str(tmp_path / "target"), retries=0, blocking=True)

    @dg.asset(deps=[copy])
    def after() -> None: ...

    result = run(copy, after, raise_on_error=False)
    assert not result.success
    assert result.asset_materializations_for_node("copy")
    assert not result.asset_materializations_for_node("after")


def test_its_collection_is_what_its_store_has(tmp_path, source, run):
    copy = mirror_asset("copy", source, str(tmp_path / "target"), prefix="b", glob="*.txt")
    seen = {}

    @dg.asset
    def after(copy: FileCollection) -> None:
        assert isinstance(copy, MirroredFiles)
        seen.update({name: copy[name].read() for name in copy})
        assert len(copy) == 1
        assert "b/ü.pdf" not in copy
        assert "a.txt" not in copy
        assert "../x" not in copy
        assert "b/none.txt" not in copy
        assert [reference.key for reference in copy.values()] == ["b/c d.txt"]
        assert pickle.loads(pickle.dumps(copy))["b/c d.txt"].read() == b"two"
        assert "target" in repr(copy)
        with copy.local_folder() as folder:
            assert (folder / "b/c d.txt").read_text() == "two"

    get_store(tmp_path / "target").put("b/not of it.md", "x")
    assert run(copy, after).success
    assert seen == {"b/c d.txt": b"two"}


def test_its_manifest_is_plain(tmp_path, source, run):
    run(mirror_asset("copy", source, str(tmp_path / "target"), prefix="b"))
    stored = get_store(tmp_path / "values").get("copy.value")
    assert (stored["kind"], stored["prefix"], stored["counts"]["copied"]) == ("anystore.mirror", "b", 2)
    with pytest.raises(CodecError, match="damaged"):
        open_mirror({"asset": 1})
    files = open_mirror({name: value for name, value in stored.items() if name != "kind"})
    assert sorted(files.at(source)) == ["b/c d.txt", "b/ü.pdf"]


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"source": 3}, InvalidOption),
        ({"target": None}, InvalidOption),
        ({"target": ""}, InvalidUri),
        ({"prefix": "../x"}, InvalidKey),
    ],
)
def test_what_cannot_be_is_refused_at_once(wrong, error):
    with pytest.raises(error):
        mirror_asset("copy", **({"source": "memory://s", "target": "memory://t"} | wrong))


def test_what_dagster_needs_to_know_is_passed_on(source):
    copy = mirror_asset(
        "copy", source, "redis://a:hunter2@h/0", key_prefix="raw", description=None, deps=["before"], tags={"a": "b"},
        owners=["team:data"], group_name="web", pool="host",
    )  # fmt: skip
    spec = next(iter(copy.specs))
    assert (spec.key.to_user_string(), spec.group_name, list(spec.owners)) == ("raw/copy", "web", ["team:data"])
    assert "redis://a:***@h/0" in spec.description
    assert [dep.asset_key for dep in spec.deps] == [dg.AssetKey("before")]
