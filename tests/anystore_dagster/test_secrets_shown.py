"""A secret is in nothing that Dagster keeps, answers, logs or shows: everything there is gets searched for it."""

import base64
import gzip
import json
import pickle
import runpy
import sqlite3
import time
import urllib.parse
import zlib

import pytest
import yaml
from dagster._core.remote_representation.external_data import RepositorySnap
from dagster._serdes import serialize_value

from tests.dagster_questions import SCHEMA, Questions
from tests.dagster_webserver import chromium, html_of, new_page, webserver
from tests.redis_servers import redis

SECRET = "hunter2-and-more"
TYPED = "swordfish-and-more"  # what somebody types into the launchpad

NAMES = ["in_uri", "in_field", "in_config", "in_header", "as_token", "at_launch", "from_yaml", "io_manager"]

CODE = '''
import os
import dagster as dg
from anystore_dagster import AnystoreIOManager, AnystoreResource
from anystore_dagster.components import AnystoreResourceComponent

SECRET = {secret!r}
HOST = {host!r}
resources = {{
    "in_uri": AnystoreResource(uri=f"redis://:{{SECRET}}@{{HOST}}/0", prefix="in_uri"),
    "in_field": AnystoreResource(uri=f"redis://{{HOST}}/0", password=SECRET, prefix="in_field"),
    "in_config": AnystoreResource(uri=f"redis://{{HOST}}/0", backend_config={{"password": SECRET}}, prefix="in_config"),
    "named": AnystoreResource(uri=f"redis://{{HOST}}/0", password=dg.EnvVar("TEST_SECRET"), prefix="named"),
    "at_launch": AnystoreResource.configure_at_launch(uri=f"redis://:{{SECRET}}@{{HOST}}/0", prefix="at_launch"),
    "in_header": AnystoreResource(uri="http://host/files/", backend_config={{"headers": {{"X-API-Key": SECRET}}}}),
    "as_token": AnystoreResource(uri="https://host/files/", username=SECRET),
    "io_manager": AnystoreIOManager(
        store=AnystoreResource(uri=f"redis://{{HOST}}/0", password=SECRET, prefix="io"),
        fallback_store=AnystoreResource(uri=f"redis://{{HOST}}/0", password=SECRET, prefix="fallback"),
    ),
}}
component = AnystoreResourceComponent.resolve_from_yaml(
    "uri: redis://{{{{ HOST }}}}/0\\npassword: '{{{{ env.TEST_SECRET }}}}'\\nprefix: from_yaml",
    scope={{"env": dict(os.environ), "HOST": HOST}},
)
resources["from_yaml"] = component.build_defs(None).resources["store"]
resources["wrong"] = AnystoreResource(uri=f"redis://{{HOST}}/0", password=SECRET + "-wrong")
WORKING = ["in_uri", "in_field", "in_config", "named", "at_launch", "from_yaml"]


@dg.asset(required_resource_keys=set(WORKING))
def one(context) -> str:
    """Use all, and print whatever a user might."""
    for name in WORKING:
        resource = getattr(context.resources, name)
        resource.store.put("x", name)
        assert resource.store.get("x") == name
        for shown in (resource, repr(resource), resource.model_dump(), resource.store, resource.store.backend):
            print(name, "shows", shown)
        context.log.info(f"{{resource}} {{resource.store.uri}}")
    context.add_output_metadata({{"uri": resource.store.uri}})
    return "value"


@dg.asset
def two(one: str) -> str:
    return one + "s"


@dg.asset(required_resource_keys={{"wrong"}}, deps=[two])
def failing(context) -> None:
    context.resources.wrong.store.put("x", 1)


@dg.sensor(target="*")
def watcher(in_field: AnystoreResource):
    return dg.SkipReason(f"{{in_field}}")


defs = dg.Definitions(
    [one, two, failing], resources=resources, jobs=[dg.define_asset_job("everything", "*")], sensors=[watcher]
)
'''


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Run all of it once: a webserver, its code server, a run worker, and a process for each step."""
    home = tmp_path_factory.mktemp("home")
    code = tmp_path_factory.mktemp("code") / "shown_definitions.py"
    with redis("--requirepass", SECRET) as server:
        code.write_text(CODE.format(secret=SECRET, host=f"127.0.0.1:{server.port}"))
        with webserver(home, code, {"TEST_SECRET": SECRET}) as served:
            served.code = code
            served.run = launch(served, {})
            yield served


def selector(served):
    query = "{ repositoriesOrError { ... on RepositoryConnection { nodes { name location { name } } } } }"
    node = served.ask(query)["repositoriesOrError"]["nodes"][0]
    return {"repositoryName": node["name"], "repositoryLocationName": node["location"]["name"]}


def launch(served, config):
    """Launch a run as the launchpad does; give its id, or the answer that is none."""
    answer = served.ask(
        """mutation L($p: ExecutionParams!) { launchRun(executionParams: $p) {
            __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message stack cause { message } }
            ... on RunConfigValidationInvalid { errors { message } } } }""",
        p={"selector": {**selector(served), "jobName": "everything"}, "mode": "default", "runConfigData": config},
    )["launchRun"]
    if "run" not in answer:
        return answer
    run_id = answer["run"]["runId"]
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        query = "query R($r: ID!) { runOrError(runId: $r) { ... on Run { status } } }"
        status = served.ask(query, r=run_id)["runOrError"]["status"]
        if status in ("SUCCESS", "FAILURE", "CANCELED"):
            return run_id
        time.sleep(0.2)
    raise AssertionError(f"the run is still {status}")


def steps(served, run_id):
    query = """query R($r: ID!) { logsForRun(runId: $r) { ... on EventConnection { events {
        __typename ... on ExecutionStepSuccessEvent { stepKey }
        ... on ExecutionStepFailureEvent { stepKey error { message stack causes { message stack } } } } } } }"""
    events = served.ask(query, r=run_id)["logsForRun"]["events"]
    return {one["stepKey"]: one.get("error") for one in events if "stepKey" in one}


def test_steps_in_other_processes_find_it(served):
    done = steps(served, served.run)
    assert (done["one"], done["two"]) == (None, None)
    assert "password" in json.dumps(done["failing"])  # the server refused the wrong one
    assert SECRET not in json.dumps(done)


def every_reading(data):
    """Give bytes as they are, and as what is packed in them."""
    yield data
    for unpack in (zlib.decompress, gzip.decompress, lambda raw: zlib.decompress(base64.b64decode(raw, validate=True))):
        try:
            yield unpack(data)
        except (zlib.error, OSError, ValueError, EOFError):
            continue


def test_nothing_is_in_the_instance(served):
    """Each file, and each value in each table of each database: runs, events, snapshots, schedules, logs."""
    read = 0
    for path in served.home.rglob("*"):
        if not path.is_file():
            continue
        values = [path.read_bytes()]
        if values[0].startswith(b"SQLite format 3"):
            with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as base:
                tables = [name for (name,) in base.execute("select name from sqlite_master where type = 'table'")]
                for table in tables:
                    for row in base.execute(f'select * from "{table}"'):
                        values += [cell.encode() if isinstance(cell, str) else cell for cell in row if cell]
        for value in values:
            for text in every_reading(value) if isinstance(value, bytes) else ():
                assert SECRET.encode() not in text, path
                read += b"redis://" in text
    assert read > 10


def test_nothing_is_in_the_output_of_steps(served):
    texts = [path.read_text() for path in served.home.rglob("*.out")] + [
        path.read_text() for path in served.home.rglob("*.err")
    ]
    assert any("in_field shows" in text for text in texts)
    assert not any(SECRET in text for text in texts)


def test_nothing_is_in_the_snapshot_of_the_repository(served, monkeypatch):
    monkeypatch.setenv("TEST_SECRET", SECRET)
    defs = runpy.run_path(str(served.code))["defs"]
    text = serialize_value(RepositorySnap.from_def(defs.get_repository_def()))
    assert "redis://:***@" in text
    assert "in_field" in text
    assert SECRET not in text


def test_nothing_is_in_pickles(served, monkeypatch):
    monkeypatch.setenv("TEST_SECRET", SECRET)
    resources = runpy.run_path(str(served.code))["resources"]
    for name, resource in resources.items():
        if name != "at_launch":  # of which Dagster makes nothing that can be pickled
            data = pickle.dumps(resource)
            assert SECRET.encode() not in data
            assert repr(pickle.loads(data)) == repr(resource)


CONFIG_TYPES = """query T($s: PipelineSelector!) { runConfigSchemaOrError(selector: $s, mode: "default") {
    __typename ... on RunConfigSchema { rootDefaultYaml allConfigTypes { key description
        ... on CompositeConfigType { fields { name description defaultValueAsJson } } } } } }"""
RESOURCES = """query R($s: RepositorySelector!) { allTopLevelResourceDetailsOrError(repositorySelector: $s) {
    ... on ResourceDetailsList { results { name description resourceType
        configFields { name description defaultValueAsJson configTypeKey } configuredValues { key value type }
        nestedResources { name resource { configuredValues { key value type } } } } } } }"""
RUNS = """{ runsOrError { ... on Runs { results { runConfigYaml runConfig tags { key value } } } } }"""
EVENTS = """query E($r: ID!) { logsForRun(runId: $r) { ... on EventConnection { events { __typename
    ... on MessageEvent { message }
    ... on MaterializationEvent { metadataEntries { label ... on TextMetadataEntry { text } } }
    ... on ErrorEvent { error { message stack } } } } } }"""


def test_nothing_is_in_the_answers_of_graphql(served):
    where = selector(served)
    answers = [
        served.ask(RESOURCES, s=where),
        served.ask(CONFIG_TYPES, s={**where, "pipelineName": "everything"}),
        served.ask(RUNS),
        served.ask(EVENTS, r=served.run),
    ]
    for answer in answers:
        text = json.dumps(answer)
        assert SECRET not in text
        assert "redis://" in text or "runConfigYaml" in text
    details = {one["name"]: one for one in answers[0]["allTopLevelResourceDetailsOrError"]["results"]}
    assert all(field["description"] for field in details["in_field"]["configFields"])
    values = {one["key"]: (one["value"], one["type"]) for one in details["named"]["configuredValues"]}
    assert values["password"] == ("TEST_SECRET", "ENV_VAR")


def test_nothing_is_in_any_answer_of_graphql(served):
    """All that can be asked, some steps deep, of what there is in the instance and the code location."""
    where = selector(served)
    known = {
        "RepositorySelector": where,
        "PipelineSelector": {**where, "pipelineName": "everything"},
        "InstigationSelector": {**where, "name": "watcher"},
        "SensorSelector": {**where, "sensorName": "watcher"},
        "AssetKeyInput": {"path": ["one"]},
        "runId": served.run,
        "locationName": where["repositoryLocationName"],
        "mode": "default",
        "limit": 100,
    }
    questions = Questions(served.ask(SCHEMA), depth=3)
    answers = {name: served.answer(query, variables) for name, query, variables in questions.all(known)}
    for name in NAMES:
        known["ResourceSelector"] = {**where, "resourceName": name}
        for asked, query, variables in questions.all(known):
            if "resourceSelector" in variables:
                answers[f"{asked} {name}"] = served.answer(query, variables)
    assert [name for name, answer in answers.items() if SECRET in answer] == []
    shown = {name for name, answer in answers.items() if "***" in answer}
    assert {"runConfigSchemaOrError", "allTopLevelResourceDetailsOrError"} <= shown
    assert {f"topLevelResourceDetailsOrError {name}" for name in NAMES} <= set(answers)


@pytest.mark.parametrize("value", [{"uri": f"redis://:{TYPED}@host/0"}, {"password": TYPED}], ids=["uri", "password"])
def test_a_literal_in_the_launchpad_is_refused_with_the_line_to_write(served, value):
    runs = served.ask(RUNS)
    answer = launch(served, {"resources": {"named": {"config": value}}})
    assert "{env: STORE_" in json.dumps(answer)
    assert TYPED not in json.dumps(answer)
    assert served.ask(RUNS) == runs
    assert not any(TYPED.encode() in path.read_bytes() for path in served.home.rglob("*") if path.is_file())


def test_what_the_launchpad_fills_in_runs(served):
    """The defaults that stand for secrets come back as run configuration, in every process of the run."""
    answer = served.ask(CONFIG_TYPES, s={**selector(served), "pipelineName": "everything"})
    filled = yaml.safe_load(answer["runConfigSchemaOrError"]["rootDefaultYaml"])
    run_id = launch(served, {"resources": filled["resources"]})
    assert isinstance(run_id, str), run_id
    done = steps(served, run_id)
    assert (done["one"], done["two"]) == (None, None)
    assert "*** (password of redis://" in json.dumps(filled)


def test_no_page_shows_it(served):
    where = selector(served)
    at = urllib.parse.quote(f"{where['repositoryName']}@{where['repositoryLocationName']}", safe="@")
    pages = {
        "/overview": "everything",
        f"/locations/{at}/resources": "in_field",
        f"/locations/{at}/resources/in_uri": "redis://:***@",
        f"/locations/{at}/resources/in_field": "*** (password of",
        f"/locations/{at}/resources/in_config": "*** (backend_config.password of",
        f"/locations/{at}/resources/named": "TEST_SECRET",
        f"/locations/{at}/resources/from_yaml": "*** (password of",
        f"/locations/{at}/resources/in_header": "*** (backend_config.headers.X-API-Key of",
        f"/locations/{at}/resources/as_token": "*** (username of",
        f"/locations/{at}/resources/io_manager": "io_manager",
        f"/locations/{at}/jobs/everything": "everything",
        f"/locations/{at}/sensors/watcher": "watcher",
        "/locations": "shown_definitions",
        "/config": "run_coordinator",
        "/automation": "watcher",
        "/asset-groups": "one",
        f"/locations/{at}/jobs/everything/playground": "everything",
        f"/runs/{served.run}": "failing",
        "/runs": served.run[:8],
        "/assets/one": "redis://",
    }
    with chromium() as browser:
        page = new_page(browser, served)
        for path, shown in pages.items():
            assert SECRET not in html_of(page, path, shown=shown), path
