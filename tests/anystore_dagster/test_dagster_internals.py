"""For a run, a resource is copied where nothing changes, and constructed where something does."""

from typing import Any

import dagster as dg
import pytest
from pydantic import PrivateAttr

from anystore_dagster import AnystoreIOManager, AnystoreResource
from anystore_dagster.resource import StoreSettings


@pytest.fixture
def constructed(monkeypatch):
    """Count what is constructed."""
    calls = []
    construct = StoreSettings.__init__

    def counted(self, **fields):
        calls.append(type(self))
        construct(self, **fields)

    monkeypatch.setattr(StoreSettings, "__init__", counted)
    return calls


def run(resource, config=None):
    """Give the resource as an asset in a run is given it, without the time that a run takes."""
    resource_config = {"files": {"config": config}} if config else None
    with dg.build_resources({"files": resource}, resource_config=resource_config) as resources:
        return resources.files


@pytest.mark.parametrize("kind", [AnystoreResource, AnystoreIOManager])
def test_a_run_that_changes_nothing_constructs_nothing(tmp_path, kind, constructed):
    resource = kind(uri=dg.EnvVar("BRIDGE_URI"), prefix="team", backend_config={"durable": True})
    constructed.clear()
    for config in (None, {"prefix": "team"}, {"uri": {"env": "BRIDGE_URI"}, "backend_config": {"durable": True}}):
        given = run(resource, config)
        assert given is not resource
        assert repr(given) == repr(resource)
        assert constructed == []


@pytest.mark.parametrize("kind", [AnystoreResource, AnystoreIOManager])
@pytest.mark.parametrize(
    "config",
    [
        {"prefix": "other"},
        {"prefix": "team/a"},
        {"readonly": True},
        {"backend_config": {"durable": 1}},  # which equals True
        {"backend_config": {"durable": True, "more": 2}},
        {"backend_config": {}},
        {"uri": {"env": "ANOTHER_URI"}},
        {"uri": "BRIDGE_URI"},  # a text, which equals the EnvVar of this name
    ],
    ids=str,
)
def test_what_a_run_changes_is_changed(kind, config):
    resource = kind(uri=dg.EnvVar("BRIDGE_URI"), prefix="team", backend_config={"durable": True})
    given = run(resource, config)
    (name,) = config
    wanted = {"uri": dg.EnvVar("ANOTHER_URI")} if config == {"uri": {"env": "ANOTHER_URI"}} else config
    assert repr(getattr(given, name)) == repr(wanted[name])
    assert type(given.uri) is (str if config == {"uri": "BRIDGE_URI"} else dg.EnvVar)
    assert given.prefix == config.get("prefix", "team")


@pytest.mark.parametrize("kind", [AnystoreResource, AnystoreIOManager])
def test_runs_share_neither_store_nor_options(tmp_path, kind):
    resource = kind(uri=str(tmp_path), backend_config={"durable": False})
    mine = resource.open_store()
    first, second = run(resource), run(resource)
    assert len({id(store) for store in (mine, first.open_store(), second.open_store())}) == 3
    first.backend_config["durable"] = True
    assert (resource.backend_config, second.backend_config) == ({"durable": False}, {"durable": False})
    assert first.get_resource_definition() is not resource.get_resource_definition()
    assert first.get_resource_context() is not second.get_resource_context()


def test_a_variable_is_read_in_each_run(tmp_path, monkeypatch):
    manager = AnystoreIOManager(uri=dg.EnvVar("BRIDGE_URI"))

    @dg.asset
    def one() -> int:
        return 1

    for name in ("a", "b"):
        monkeypatch.setenv("BRIDGE_URI", str(tmp_path / name))
        with dg.DagsterInstance.ephemeral() as instance:
            dg.materialize([one], resources={"io_manager": manager}, instance=instance)
    assert [(tmp_path / name / "one.value").read_bytes() for name in ("a", "b")] == [b"1", b"1"]


def test_a_nested_store_is_that_of_the_run(tmp_path):
    store = AnystoreResource(uri=str(tmp_path))
    given = run(AnystoreIOManager(store=store))
    assert given.store is not store
    assert repr(given.store) == repr(store)


def test_a_class_of_the_users_is_constructed(tmp_path):
    class Own(AnystoreResource):
        _made: list[Any] = PrivateAttr(default_factory=list)

        def __init__(self, **fields: Any) -> None:
            super().__init__(**fields)
            self._made.append("here")

    assert run(Own(uri=str(tmp_path)))._made == ["here"]
