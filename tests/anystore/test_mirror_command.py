"""``anystore mirror`` as a process: what it prints, and its exit codes; how it is ended, test_mirroring_faults does."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from anystore import get_store

HUGE = "x" * 300


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def source():
    store = get_store("./source")
    store.put_many({"a.txt": "one", "b.txt": "two", "folder/c.pdf": "three"})
    return store


def anystore(*arguments):
    command = [sys.executable, "-m", "anystore", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def test_it_says_what_was_done(source):
    done = anystore("mirror", "source", "target")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split() for line in done.stdout.splitlines()[:4]] == [
        ["copied", "3", "values,", "11", "B"],
        ["deleted", "0"],
        ["unchanged", "0"],
        ["failed", "0"],
    ]
    assert anystore("mirror", "source", "target").stdout.splitlines()[2].split() == ["unchanged", "3"]


def test_a_dry_run_names_each_change(source):
    get_store("./target").put("old\n.txt", "1")
    done = anystore("mirror", "source", "target", "--delete", "--dry-run", "--glob", "*.txt")
    assert done.returncode == 0
    assert sorted(done.stdout.splitlines()[:3]) == ["copy a.txt", "copy b.txt", "delete old\\n.txt"]
    assert "would be copied" in done.stdout
    assert list(get_store("./target").iterate_keys()) == ["old\n.txt"]
    done = anystore("mirror", "source", "target", "--delete", "--verbose")
    assert "delete old\\n.txt\n" in done.stdout
    assert "copied     3 values" in done.stdout


def test_json_is_all_there_is_on_standard_output(source):
    done = anystore("mirror", "source", "target", "--json", "--verbose")
    report = json.loads(done.stdout)
    assert (report["copied"], report["complete"], report["failures"]) == (3, True, [])
    assert "copy a.txt" in done.stderr


def test_a_failure_is_named_and_makes_the_exit_code(source):
    origin = get_store("sqlite:///names.db")
    origin.put_many({HUGE: "1", "fine": "2"})
    done = anystore("mirror", "sqlite:///names.db", "target")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"anystore: '{HUGE}': ")
    assert "copied     1 values" in done.stdout
    done = anystore("mirror", "sqlite:///names.db", "target", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["failures"][0]["key"] == HUGE


def test_what_is_refused_makes_the_exit_code(source):
    get_store("./target").put("extra", "1")
    Path("nothing").mkdir()
    done = anystore("mirror", "nothing", "target", "--delete")
    assert done.returncode == 1
    assert "the source is empty" in done.stderr
    done = anystore("mirror", "source", "target", "--delete", "--max-delete", "0")
    assert done.returncode == 1
    assert "max_delete allows 0" in done.stderr
    assert anystore("mirror", "source", "target", "--delete", "--max-delete", "-1").returncode == 0
    done = anystore("mirror", "nothing", "target", "--delete", "--force")
    assert done.returncode == 0
    assert not list(get_store("./target").iterate_keys())


def test_an_empty_source_is_remarked(source):
    Path("empty").mkdir()
    done = anystore("mirror", "empty", "target")
    assert done.returncode == 0
    assert "no value to mirror in" in done.stderr
    done = anystore("mirror", "sorce", "target")
    assert done.returncode == 1
    assert "sorce is not there" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("source", "source/inner"), 1, "overlap"),
        (("source", "http://127.0.0.1:1/"), 1, "http://127.0.0.1:1/"),
        (("source", "target", "--workers", "0"), 1, "workers"),
        (("source", "target", "--compare", "etag"), 2, "etag"),
        (("source",), 2, "TARGET"),
    ],
)
def test_what_is_not_understood(arguments, code, text, source):
    done = anystore("mirror", *arguments)
    assert done.returncode == code
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_a_store_besides_the_two_is_refused(source):
    done = anystore("--store", "other", "mirror", "source", "target")
    assert done.returncode == 2
    assert "takes both of its stores" in done.stderr


def test_limits_have_the_same_names(source):
    options = ["--max-requests-per-second", "20", "--max-bytes-per-second", "1000000", "--retries", "1"]
    done = anystore("mirror", "source", "target", *options, "--verify", "full", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["copied"] == 3
