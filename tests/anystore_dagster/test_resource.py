"""A resource opens the store that its configuration names, and shows no secret."""

import pickle

import dagster as dg
import pytest
from pydantic import ValidationError

from anystore import get_store
from anystore.errors import InvalidOption, InvalidUri, ReadOnlyError
from anystore_dagster import AnystoreIOManager, AnystoreResource
from anystore_dagster.resource import resolve_variables

SECRET = "hunter2-and-more"


def test_fields_come_to_a_store(tmp_path):
    resource = AnystoreResource(uri=str(tmp_path), prefix="team/a", serialization_mode="json")
    resource.store.put("x", (1, 2))
    assert get_store(tmp_path).get("team/a/x") == [1, 2]
    assert resource.store is resource.store


def test_without_a_uri_it_is_the_default_store(tmp_path, monkeypatch):
    monkeypatch.setenv("ANYSTORE_URI", str(tmp_path / "default"))
    AnystoreResource().store.put("x", 1)
    assert get_store(tmp_path / "default").get("x") == 1


def test_readonly_refuses(tmp_path):
    with pytest.raises(ReadOnlyError):
        AnystoreResource(uri=str(tmp_path), readonly=True).store.put("x", 1)


def test_it_works_in_assets_ops_and_sensors(tmp_path):
    seen = []

    @dg.asset
    def one(files: AnystoreResource) -> None:
        files.store.put("one", 1)

    @dg.sensor(asset_selection="*")
    def watcher(files: AnystoreResource):
        seen.append(files.store.get("one"))

    files = AnystoreResource(uri=str(tmp_path))
    with dg.DagsterInstance.ephemeral() as instance:
        assert dg.materialize([one], resources={"files": files}, instance=instance).success
        watcher(dg.build_sensor_context(instance=instance, resources={"files": files}))
    assert seen == [1]


@pytest.mark.parametrize("field", ["uri", "prefix"])
def test_variables_are_read_when_the_store_is_used(tmp_path, monkeypatch, field):
    values = {"uri": str(tmp_path), "prefix": "folder"} | {field: dg.EnvVar("TEST_VARIABLE")}
    resource = AnystoreResource(**values)

    @dg.asset
    def one(files: AnystoreResource) -> None:
        files.store.put("x", 1)

    monkeypatch.setenv("TEST_VARIABLE", str(tmp_path) if field == "uri" else "folder")
    assert dg.materialize([one], resources={"files": resource}, instance=dg.DagsterInstance.ephemeral()).success
    assert resource.store.get("x") == get_store(tmp_path).get("folder/x") == 1


@pytest.mark.parametrize("write", [dg.EnvVar, lambda name: {"env": name}], ids=["EnvVar", "yaml"])
def test_variables_are_resolved_at_any_depth(monkeypatch, write):
    monkeypatch.setenv("TEST_SECRET", SECRET)
    config = {"a": write("TEST_SECRET"), "b": {"c": [{"d": write("TEST_SECRET")}, 3, None]}, "e": {"env": "X", "f": 1}}
    seen = []

    @dg.asset
    def one(files: AnystoreResource) -> None:
        seen.append(resolve_variables(files.backend_config, where="backend_config"))

    resource = AnystoreResource(uri="memory://x", backend_config=config)
    assert dg.materialize([one], resources={"files": resource}, instance=dg.DagsterInstance.ephemeral()).success
    seen.append(resolve_variables(resource.backend_config, where="backend_config"))
    assert seen == [{"a": SECRET, "b": {"c": [{"d": SECRET}, 3, None]}, "e": {"env": "X", "f": 1}}] * 2


def test_a_variable_that_holds_a_number_is_the_same_in_a_run_and_outside(monkeypatch):
    monkeypatch.setenv("TEST_NUMBER", "7")
    resource = AnystoreResource(uri="memory://x", backend_config={"a": [dg.EnvVar.int("TEST_NUMBER")]})
    seen = []

    @dg.asset
    def one(files: AnystoreResource) -> None:
        seen.append(resolve_variables(files.backend_config, where="backend_config"))

    assert dg.materialize([one], resources={"files": resource}, instance=dg.DagsterInstance.ephemeral()).success
    assert resolve_variables(resource.backend_config, where="backend_config") == seen[0] == {"a": ["7"]}


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"uri": dg.EnvVar("TEST_NOT_SET")}, "uri"),
        ({"backend_config": {"auth": {"token": dg.EnvVar("TEST_NOT_SET")}}}, "backend_config.auth.token"),
        ({"backend_config": {"hosts": ["a", {"env": "TEST_NOT_SET"}]}}, r"backend_config.hosts\[1\]"),
    ],
)
def test_a_variable_that_is_not_set_is_named_with_its_place(fields, place):
    with pytest.raises(InvalidOption, match=rf"{place} .*TEST_NOT_SET"):
        AnystoreResource(**fields).store  # noqa: B018


def test_an_option_that_the_backend_does_not_know_is_refused():
    with pytest.raises(InvalidOption, match="bogus"):
        AnystoreResource(uri="memory://x", backend_config={"bogus": 1}).store  # noqa: B018


@pytest.mark.parametrize("uri", ["", "s3:/bucket"])
def test_a_uri_that_is_none_is_refused_when_it_is_used(uri):
    with pytest.raises(InvalidUri):
        AnystoreResource(uri=uri).store  # noqa: B018


@pytest.mark.parametrize("field", ["url", "serialisation_mode"])
def test_a_mistyped_field_is_refused(field):
    for kind in (AnystoreResource, AnystoreIOManager):
        with pytest.raises(ValidationError, match=field):
            kind(**{field: "x"})


@pytest.mark.parametrize(
    "resource",
    [
        AnystoreResource(
            uri=f"redis://me:{SECRET}@host/0", backend_config={"password": SECRET, "a": [{"api_key": SECRET}]}
        ),
        AnystoreResource(
            uri=f"https://{SECRET}@host/files/", backend_config={"deep": {"token": {"x": 1, "secret": SECRET}}}
        ),
        AnystoreResource(uri=f"https://host/files/?token={SECRET}", backend_config={"credentials": [SECRET]}),
        AnystoreResource(uri="memory://x", backend_config={"password": dg.EnvVar("TEST_NAME")}),
    ],
    ids=range(4),
)
def test_no_secret_is_shown(resource):
    for text in (repr(resource), str(resource), f"{resource}"):
        assert SECRET not in text
    assert "TEST_NAME" in repr(resource) or "***" in repr(resource)


def test_an_error_of_the_configuration_shows_no_secret():
    with pytest.raises(ValidationError) as caught:
        AnystoreResource(uri=["redis://me:" + SECRET + "@host"], backend_config=SECRET)
    assert SECRET not in str(caught.value)


def test_what_dagster_keeps_of_a_run_holds_names_of_variables_only(tmp_path, monkeypatch):
    monkeypatch.setenv("TEST_URI", f"redis://me:{SECRET}@host/0")
    monkeypatch.setenv("TEST_SECRET", SECRET)
    config = {"nested": {"password": dg.EnvVar("TEST_SECRET")}}
    resource = AnystoreResource(uri=dg.EnvVar("TEST_URI"), backend_config=config)

    @dg.asset
    def one(files: AnystoreResource) -> str:
        return repr(files)

    defs = dg.Definitions([one], resources={"files": resource})
    job = defs.resolve_implicit_global_asset_job_def()
    home = tmp_path / "home"
    home.mkdir()
    with dg.DagsterInstance.local_temp(str(home)) as instance:
        result = job.execute_in_process(instance=instance)
        assert "redis://me:***@host/0" in result.output_for_node("one")
        kept = [event.to_json() for event in instance.all_logs(result.run_id)]
        kept += [instance.get_run_by_id(result.run_id).__repr__(), repr(job.get_job_snapshot())]
    assert len(kept) > 5
    assert not any(SECRET in text for text in kept)
    assert any("TEST_SECRET" in text for text in kept)


def test_every_field_is_described():
    fields = AnystoreResource.to_fields_dict()
    assert set(fields) == {"uri", "prefix", "backend_config", "serialization_mode", "readonly"}
    assert all(field.description for field in fields.values())


def test_the_store_of_a_resource_can_be_pickled(tmp_path):
    resource = AnystoreResource(uri=str(tmp_path))
    resource.store.put("x", 1)
    assert pickle.loads(pickle.dumps(resource.store)).get("x") == 1
