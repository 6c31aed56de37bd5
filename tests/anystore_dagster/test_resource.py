"""A resource opens the store that its configuration names, and shows no secret."""

import pickle

import dagster as dg
import pytest
from pydantic import ValidationError

from anystore import get_store
from anystore.errors import InvalidOption, InvalidUri, ReadOnlyError
from anystore_dagster import AnystoreIOManager, AnystoreResource
from anystore_dagster.variables import resolve_variables
from tests.object_servers import BUCKET, REGION
from tests.redis_servers import redis

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


def run(resource, config=None, *, seen=None):
    """Materialise an asset that uses the resource, with run configuration for it."""

    @dg.asset
    def one(files: AnystoreResource) -> None:
        (seen or (lambda files: files.store))(files)

    run_config = {"resources": {"files": {"config": config}}} if config else None
    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize([one], resources={"files": resource}, instance=instance, run_config=run_config)


@pytest.mark.parametrize("place", ["fields", "uri", "config", "mixed"])
def test_username_and_password_log_in(place):
    with redis() as server:
        server.command("ACL", "SETUSER", "me", "on", f">{SECRET}", "~*", "&*", "+@all")
        server.command("ACL", "SETUSER", "default", "off")
        at = f"127.0.0.1:{server.port}/0"
        fields = {
            "fields": {"uri": f"redis://{at}", "username": "me", "password": SECRET},
            "uri": {"uri": f"redis://me:{SECRET}@{at}"},
            "config": {"uri": f"redis://{at}", "backend_config": {"username": "me", "password": SECRET}},
            "mixed": {"uri": f"redis://me@{at}", "password": SECRET},
        }[place]
        seen = []
        assert run(AnystoreResource(**fields), seen=lambda files: seen.append(files.store.put("x", 1))).success
        assert AnystoreResource(**fields).store.get("x") == 1
        assert len(seen) == 1


def test_username_and_password_are_the_keys_of_s3(seaweedfs_server):
    resource = AnystoreResource(
        uri=f"s3://{BUCKET}/resource",
        username=seaweedfs_server.user,
        password=seaweedfs_server.password,
        backend_config={"endpoint_url": seaweedfs_server.url, "region": REGION},
    )
    resource.store.put("x", 1)
    assert resource.store.get("x") == 1
    assert seaweedfs_server.password not in repr(resource)


def test_username_and_password_are_added_to_the_settings_of_the_default_store(monkeypatch):
    with redis("--requirepass", SECRET) as server:
        monkeypatch.setenv("ANYSTORE_URI", f"redis://127.0.0.1:{server.port}/0")
        monkeypatch.setenv("ANYSTORE_BACKEND_CONFIG__SOCKET_TIMEOUT", "7")
        store = AnystoreResource(password=SECRET).store
        store.put("x", 1)
        assert store.get("x") == 1
        assert store.backend._client.address.timeout == 7


@pytest.mark.parametrize(
    "fields",
    [
        {"uri": f"redis://me:{SECRET}@host/0", "password": "other"},
        {"uri": "redis://me@host/0", "username": "me"},
        {"uri": "redis://host/0", "password": SECRET, "backend_config": {"password": SECRET}},
        {"uri": "redis://host/0", "username": "me", "backend_config": {"username": {"env": "X"}}},
    ],
)
def test_a_credential_that_is_given_twice_is_refused_when_definitions_load(fields):
    with pytest.raises((InvalidOption, ValidationError), match="given twice") as caught:
        AnystoreResource(**fields)
    assert SECRET not in str(caught.value)


def test_a_credential_that_is_given_twice_is_refused_when_variables_are_known(monkeypatch):
    monkeypatch.setenv("TEST_URI", f"redis://me:{SECRET}@host/0")
    with pytest.raises(InvalidOption, match=r"password of redis://me:\*\*\*@host/0 is given twice, also in uri"):
        AnystoreResource(uri=dg.EnvVar("TEST_URI"), password="other").store  # noqa: B018
    with pytest.raises(InvalidOption, match="given twice"):
        monkeypatch.setenv("ANYSTORE_URI", f"redis://me:{SECRET}@host/0")
        AnystoreResource(password="other").store  # noqa: B018


def test_the_container_in_the_uri_of_azure_is_no_username():
    account = {"username": "account", "password": "a2V5"}
    store = AnystoreResource(uri="abfs://container@account.dfs.core.windows.net/folder", **account).store
    assert "container" in store.uri


@pytest.mark.parametrize("fields", [{"username": "me"}, {"password": SECRET}])
def test_a_backend_that_knows_no_login_refuses_it(tmp_path, fields):
    with pytest.raises(InvalidOption, match=next(iter(fields))):
        AnystoreResource(uri=str(tmp_path), **fields).store  # noqa: B018


def test_run_configuration_changes_one_field_and_leaves_the_others(tmp_path):
    seen = []
    resource = AnystoreResource(uri=str(tmp_path), serialization_mode="json")
    assert run(resource, {"prefix": "a/b"}, seen=lambda files: seen.append(files.store.put("x", (1,)))).success
    assert get_store(tmp_path).get("a/b/x") == [1]


def test_a_password_goes_with_its_own_store_alone():
    resource = AnystoreResource(uri="redis://good/0", password=SECRET)
    with pytest.raises(InvalidOption, match="given for redis://good/0 as password, and is not sent to redis://evil/0"):
        run(resource, {"uri": "redis://evil/0"})


@pytest.mark.parametrize(
    ("config", "line"),
    [
        ({"uri": f"redis://me:{SECRET}@host/0"}, "uri: {env: STORE_URI}"),
        ({"password": SECRET}, "password: {env: STORE_PASSWORD}"),
        ({"backend_config": {"deep": [{"token": SECRET}]}}, "token: {env: STORE_TOKEN}"),
        ({"uri": "https://host/", "username": SECRET}, "username: {env: STORE_USERNAME}"),
        ({"uri": {"env": "X"}, "backend_config": {"username": SECRET}}, "username: {env: STORE_USERNAME}"),
        ({"password": "*** (password of redis://elsewhere/0)"}, "password: {env: STORE_PASSWORD}"),
    ],
)
@pytest.mark.parametrize("kind", [AnystoreResource, AnystoreIOManager])
@pytest.mark.parametrize("partial", [False, True], ids=["configured", "at launch"])
def test_a_literal_secret_in_run_configuration_is_refused(kind, config, line, partial):
    resource = kind.configure_at_launch() if partial else kind(uri="redis://host/0")

    @dg.asset(required_resource_keys={"files"})
    def one() -> None: ...

    with dg.DagsterInstance.ephemeral() as instance:
        with pytest.raises(InvalidOption) as caught:
            dg.materialize(
                [one],
                resources={"files": resource},
                instance=instance,
                run_config={"resources": {"files": {"config": config}}},
            )
        assert instance.get_runs() == []
    assert line in str(caught.value)
    assert SECRET not in str(caught.value)


def test_run_configuration_names_variables_at_any_depth(monkeypatch):
    monkeypatch.setenv("TEST_URI", f"https://me:{SECRET}@host/files/")
    monkeypatch.setenv("TEST_SECRET", SECRET)
    seen = []
    config = {"uri": {"env": "TEST_URI"}, "backend_config": {"headers": {"X-Token": {"env": "TEST_SECRET"}}}}
    assert run(AnystoreResource(uri="memory://x"), config, seen=seen.append).success
    assert SECRET not in repr(seen[0])
    client = seen[0].store.backend.client
    assert (client.password, client.headers["X-Token"]) == (SECRET, SECRET)


def test_a_literal_of_python_can_stand_in_run_configuration_of_the_same_process():
    seen = []
    config = dg.RunConfig(resources={"files": AnystoreResource(uri=f"redis://me:{SECRET}@host/0")})
    assert SECRET not in str(config.to_config_dict())

    @dg.asset
    def one(files: AnystoreResource) -> None:
        seen.append(files.store.backend._client.address.password)

    with dg.DagsterInstance.ephemeral() as instance:
        resources = {"files": AnystoreResource.configure_at_launch()}
        assert dg.materialize([one], resources=resources, instance=instance, run_config=config).success
    assert seen == [SECRET]


def test_a_function_that_is_a_resource_has_the_same_schema():
    @dg.resource(config_schema=AnystoreResource.to_config_schema())
    def files(context):
        return AnystoreResource.from_resource_context(context)

    with pytest.raises(InvalidOption, match="run configuration cannot hide it"):
        run(files, {"uri": f"redis://me:{SECRET}@host/0"})
    assert run(files, {"uri": "memory://function"}).success


def test_it_works_in_assets_ops_sensors_and_schedules(tmp_path):
    seen = []

    @dg.op
    def two(files: AnystoreResource) -> None:
        files.store.put("two", 2)

    @dg.job
    def work():
        two()

    @dg.schedule(cron_schedule="0 0 * * *", target="*")
    def nightly(files: AnystoreResource):
        seen.append(files.store.get("two"))
        return dg.SkipReason("seen")

    @dg.asset
    def one(files: AnystoreResource) -> None:
        files.store.put("one", 1)

    @dg.sensor(asset_selection="*")
    def watcher(files: AnystoreResource):
        seen.append(files.store.get("one"))

    files = AnystoreResource(uri=str(tmp_path))
    with dg.DagsterInstance.ephemeral() as instance:
        assert dg.materialize([one], resources={"files": files}, instance=instance).success
        assert work.execute_in_process(instance=instance, resources={"files": files}).success
        watcher(dg.build_sensor_context(instance=instance, resources={"files": files}))
        nightly(dg.build_schedule_context(instance=instance, resources={"files": files}))
    assert seen == [1, 2]


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
    config = {"password": dg.EnvVar("TEST_SECRET")}
    resource = AnystoreResource(uri=dg.EnvVar("TEST_URI"), backend_config=config)

    @dg.asset
    def one(files: AnystoreResource) -> str:
        return f"{files!r} {files.store.uri}"

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
    assert set(fields) == {"uri", "username", "password", "prefix", "backend_config", "serialization_mode", "readonly"}
    assert all(field.description for field in fields.values())
    assert all(field.description for field in AnystoreIOManager.to_fields_dict().values())


def test_a_resource_is_pickled_without_its_secret(monkeypatch):
    monkeypatch.setenv("TEST_SECRET", SECRET)
    for resource in (
        AnystoreResource(uri=f"redis://me:{SECRET}@host/0"),
        AnystoreResource(uri="redis://host/0", password=dg.EnvVar("TEST_SECRET")),
        AnystoreIOManager(store=AnystoreResource(uri="redis://host/0", password=SECRET)),
    ):
        resource.open_store()
        data = pickle.dumps(resource)
        assert SECRET.encode() not in data
        assert pickle.loads(data).open_store().backend._client.address.password == SECRET


def test_the_store_of_a_resource_can_be_pickled(tmp_path):
    resource = AnystoreResource(uri=str(tmp_path))
    resource.store.put("x", 1)
    assert pickle.loads(pickle.dumps(resource.store)).get("x") == 1
