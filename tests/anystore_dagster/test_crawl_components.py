"""A crawl or a mirror of some lines of YAML, as `dg` scaffolds, checks and runs it in a project made a moment ago."""

import json

import dagster as dg
import pytest
import yaml
from dagster import DefaultScheduleStatus
from pydantic import ValidationError

from anystore import get_store
from anystore_dagster.components import AnystoreCrawlComponent, AnystoreMirrorComponent
from tests.anystore_dagster.test_components import SECRET, Project

CRAWL = "anystore_dagster.components.AnystoreCrawlComponent"
MIRROR = "anystore_dagster.components.AnystoreMirrorComponent"
EIGHT_LINES = """\
type: anystore_dagster.components.AnystoreCrawlComponent

attributes:
  name: papers
  source: {url}
  target: ./papers
  glob: "**/*.txt"
  schedule: "0 6 * * *"
"""
CONSUMER = """
import dagster as dg
from anystore_dagster import FileCollection

@dg.asset
def texts(papers: FileCollection) -> list[str]:
    return [document.open("r").read() for document in papers.new]
"""


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


def test_eight_lines_are_a_scheduled_and_checked_crawl(project, nginx_server):
    (nginx_server.root / "2024").mkdir()
    (nginx_server.root / "2024/may.txt").write_text("fine")
    (nginx_server.root / "index.pdf").write_text("no text")
    folder = project.defs / "papers"
    folder.mkdir()
    (folder / "defs.yaml").write_text(EIGHT_LINES.format(url=nginx_server.url))
    assert len(EIGHT_LINES.splitlines()) == 8
    (project.defs / "consumer.py").write_text(CONSUMER)
    assert "YAML validated successfully" in project.dg("check", "defs").stdout
    listed = json.loads(project.dg("list", "defs", "--json").stdout)
    shown = json.dumps(listed)
    for name in ("papers", "texts", "complete", "no_failures", "verified", "papers_schedule", "0 6 * * *"):
        assert f'"{name}"' in shown
    done = project.dg("launch", "--assets", "*")
    assert get_store(project.root / "papers").get("2024/may.txt") == "fine"
    assert list(get_store(project.root / "papers").iterate_keys()) == ["2024/may.txt"]
    assert "Asset check 'complete' on 'papers' passed" in done.stdout + done.stderr


def test_what_dg_scaffolds_loads_and_runs(project):
    get_store(project.root / "source").put("a", "text")
    for kind in (CRAWL, MIRROR):
        name = kind.removeprefix("anystore_dagster.components.Anystore")
        words = ["--source", "./source", "--target", f"./target/{name}", "--schedule", "30 5 * * 1"]
        project.dg("scaffold", "defs", kind, f"my-{name}", *words)
        assert yaml.safe_load((project.defs / f"my-{name}/defs.yaml").read_text()) == {
            "type": kind,
            "attributes": {
                "name": f"my_{name}", "source": "./source", "target": f"./target/{name}", "schedule": "30 5 * * 1",
            },
        }  # fmt: skip
    assert "YAML validated successfully" in project.dg("check", "defs").stdout
    project.dg("launch", "--assets", "*")
    for name in ("CrawlComponent", "MirrorComponent"):
        assert get_store(project.root / "target" / name).get("a") == "text"


def test_scaffolding_refuses_a_password(project):
    done = project.dg("scaffold", "defs", CRAWL, "files", "--source", f"https://me:{SECRET}@host/", check=False)
    assert done.returncode != 0
    assert SECRET not in "".join(file.read_text() for file in project.defs.rglob("*") if file.is_file())


def test_dg_checks_the_attributes(project):
    folder = project.defs / "files"
    folder.mkdir()
    right = {"name": "files", "source": "./a", "target": "./b"}
    for attributes, told in [({**right, "sauce": "./a"}, "sauce"), ({**right, "source": {"url": "./a"}}, "source")]:
        (folder / "defs.yaml").write_text(yaml.safe_dump({"type": CRAWL, "attributes": attributes}))
        done = project.dg("check", "yaml", check=False)
        assert done.returncode != 0
        assert told in done.stdout + done.stderr


@pytest.mark.parametrize("kind", [AnystoreCrawlComponent, AnystoreMirrorComponent])
@pytest.mark.parametrize("wrong", ["{name: a, source: ./a}", "{name: a, source: ./a, target: ./b, verify: maybe}"])
def test_what_it_cannot_be_is_refused(kind, wrong):
    with pytest.raises(ValidationError):
        kind.resolve_from_yaml(wrong)


def made(kind, text):
    defs = kind.resolve_from_yaml(text).build_defs(None)
    (asset,) = defs.assets
    return asset, next(iter(asset.specs)), list(defs.schedules or [])


def test_everything_can_be_said_of_a_crawl(tmp_path, monkeypatch):
    monkeypatch.setenv("TEST_SECRET", SECRET)
    monkeypatch.setenv("TEST_TARGET", str(tmp_path / "target"))
    get_store(tmp_path / "source").put_many({"a.txt": "1", "b.txt": "2", "c.pdf": "3"})
    kind = AnystoreCrawlComponent
    text = f"""
        name: papers
        source: {{uri: {tmp_path}/source}}
        target: {{uri: {{env: TEST_TARGET}}, prefix: documents}}
        journal: {tmp_path}/journal
        glob: "*.txt"
        exclude: ["b*"]
        max_depth: 2
        max_entries: 10
        max_bytes: 1000000
        allow_hosts: [cdn.example.org]
        robots: false
        concurrency: 2
        follow: listings
        verify: full
        prune: true
        fail_on_error: true
        blocking: true
        key_prefix: [raw]
        group_name: documents
        description: Minutes
        deps: [before]
        tags: {{team: data}}
        owners: ["team:data"]
        pool: host
        schedule: "@daily"
        timezone: Europe/Berlin
        schedule_status: STOPPED
    """
    asset, spec, (schedule,) = made(kind, text)
    assert (spec.key.to_user_string(), spec.group_name, spec.description) == ("raw/papers", "documents", "Minutes")
    assert [dep.asset_key for dep in spec.deps] == [dg.AssetKey("before")]
    assert (schedule.name, schedule.cron_schedule) == ("raw_papers_schedule", "@daily")
    assert (schedule.execution_timezone, schedule.default_status) == ("Europe/Berlin", DefaultScheduleStatus.STOPPED)
    assert {check.name: check.blocking for check in asset.check_specs} == {
        "complete": True, "no_failures": True, "verified": False,
    }  # fmt: skip
    assert asset.op.pool == "host"
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([asset], instance=instance)
    assert result.success
    assert list(get_store(tmp_path / "target/documents").iterate_keys()) == ["a.txt"]
    assert not (tmp_path / "target/documents/.anystore/crawl").exists()
    assert (tmp_path / "journal/.anystore/crawl").exists()


def test_everything_can_be_said_of_a_mirror(tmp_path):
    get_store(tmp_path / "source").put_many({"in/a.txt": "1", "in/b.pdf": "2", "in/out/c.txt": "3", "d.txt": "4"})
    get_store(tmp_path / "target").put("in/old.txt", "1")
    kind = AnystoreMirrorComponent
    asset, spec, schedules = made(
        kind,
        f"""
        {{name: copy, source: {tmp_path}/source, target: {tmp_path}/target, prefix: in, exclude_prefix: in/out,
         glob: "**/*.txt", compare: checksum, delete: true, max_delete: 3, force: false, verify: full, workers: 2,
         max_requests_per_second: 1000, max_bytes_per_second: 1.0e+9, retries: 1}}
        """,
    )
    assert spec.key.to_user_string() == "copy"
    assert schedules == []
    with dg.DagsterInstance.ephemeral() as instance:
        assert dg.materialize([asset], instance=instance).success
    assert list(get_store(tmp_path / "target").iterate_keys()) == ["in/a.txt"]


def test_a_schedule_runs_unless_told_otherwise():
    _, _, (schedule,) = made(AnystoreCrawlComponent, "{name: a, source: ./a, target: ./b, schedule: '0 6 * * *'}")
    assert schedule.default_status == DefaultScheduleStatus.RUNNING
    with pytest.raises((dg.DagsterInvalidDefinitionError, ValidationError)):
        made(AnystoreCrawlComponent, "{name: a, source: ./a, target: ./b, schedule: soon}")


@pytest.mark.parametrize("kind", [AnystoreCrawlComponent, AnystoreMirrorComponent])
def test_no_secret_is_shown(kind, monkeypatch):
    text = f"{{name: a, source: 'https://me:{SECRET}@host/x/', target: {{uri: 'redis://h/0', password: {SECRET}}}}}"
    component = kind.resolve_from_yaml(text)
    defs = component.build_defs(None)
    (asset,) = defs.assets
    assert SECRET not in repr(component) + repr(defs) + repr(asset.specs_by_key) + component.model_dump_json()
