"""``anystore crawl`` and ``anystore documents`` as processes: what they print, and their exit codes."""

import json
import signal
import subprocess
import sys
import time

import pytest

from anystore import get_store
from anystore.crawling import documents
from tests.servers import nginx


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def served(nginx_server):
    for name in ("a.txt", "new\nline", "sub/b.pdf"):
        path = nginx_server.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    return nginx_server


def anystore(*arguments):
    command = [sys.executable, "-m", "anystore", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def test_it_says_what_was_done(served):
    done = anystore("crawl", served.url, "target")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[:2] == [["listed", "3", "documents"], ["fetched", "3", "documents,", "22", "B"]]
    assert ["unchanged", "3"] in [line.split() for line in anystore("crawl", served.url, "target").stdout.splitlines()]
    assert sorted(get_store("target").iterate_keys()) == ["a.txt", "new\nline", "sub/b.pdf"]


def test_options_arrive(served):
    done = anystore("crawl", served.url, "target", "--exclude", "sub/**", "--exclude", "a*", "--no-robots", "--json")
    report = json.loads(done.stdout)
    assert (done.returncode, report["listed"], report["complete"]) == (0, 1, True)
    assert not [path for _, path, _ in served.requests() if "robots" in path]
    done = anystore("crawl", served.url, "target", "--max-entries", "1", "--journal", "sqlite:///journal.db")
    assert done.returncode == 1
    assert "ended by max_entries=1" in done.stderr
    done = anystore("documents", "target", "--journal", "sqlite:///journal.db")
    assert len(done.stdout.splitlines()) == 1


def test_what_fails_is_told_once_and_makes_the_exit_code_1(served):
    done = anystore("crawl", f"{served.url}none/", "target")
    assert done.returncode == 1
    assert done.stderr.count("status 404") == 1
    assert done.stderr.startswith("anystore: ")
    assert anystore("crawl", served.url, "target", "--verify", "slow").returncode == 2
    assert anystore("--store", "x", "crawl", served.url, "target").returncode == 2


def test_a_failure_makes_the_exit_code_1_also_with_json(served):
    (served.root / "back\\slash").touch()
    done = anystore("crawl", served.url, "target", "--json")
    report = json.loads(done.stdout)
    assert (done.returncode, report["fetched"], report["failed"], report["complete"]) == (1, 3, 1, False)
    assert "cannot be a key" in report["failures"][0]["reason"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_ends_it_finds_all_that_was_fetched_the_next_time(tmp_path, number):
    root = tmp_path / "root"
    root.mkdir()
    for place in range(40):
        (root / f"{place:02}").write_bytes(b"x" * 50_000)
    (root / "large").write_bytes(b"x" * 20_000_000)
    with nginx(root, directives="limit_rate 100k;") as server:
        command = [sys.executable, "-m", "anystore", "crawl", server.url, "target", "--concurrency", "4"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            deadline = time.monotonic() + 60
            while len(list(get_store("target").iterate_keys())) < 5 and time.monotonic() < deadline:
                time.sleep(0.05)
            process.send_signal(number)
            _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert "what was fetched is kept" in errors
    there = sorted(get_store("target").iterate_keys())
    assert 5 <= len(there) < 41
    assert "large" not in there
    written = {one.key for one in documents("target", status="ok")}
    assert written <= set(there)
    assert len(there) - len(written) <= 4  # what was on its way into the target


def test_documents_are_lines(served):
    anystore("crawl", served.url, "target")
    (served.root / "a.txt").unlink()
    anystore("crawl", served.url, "target")
    lines = anystore("documents", "target").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["gone", "ok", "ok"]
    assert lines[1].endswith("new\\nline")
    assert anystore("documents", "target", "--status", "gone").stdout.count("\n") == 1
    [changed] = anystore("documents", "target", "--since", "1", "--json").stdout.splitlines()
    assert json.loads(changed)["key"] == "a.txt"
    assert len(anystore("documents", "target", "--since", "2000-01-01").stdout.splitlines()) == 3
    assert anystore("documents", "target", "--since", "yesterday").returncode == 2
    done = anystore("documents", "never-crawled")
    assert (done.returncode, done.stdout) == (0, "")
    assert "no crawl has fetched anything into never-crawled" in done.stderr


def test_a_source_that_is_not_there_is_no_empty_one(tmp_path):
    (tmp_path / "empty").mkdir()
    assert anystore("crawl", "empty", "target").returncode == 0
    done = anystore("crawl", "example.org/files", "target")
    assert done.returncode == 1
    assert "example.org/files is not there" in done.stderr
    assert "https://" in done.stderr


def test_a_glob_that_matches_nothing_is_named(served):
    done = anystore("crawl", served.url, "target", "--glob", "*.pdf")
    assert done.returncode == 0
    assert "matches '*.pdf'; * stays within a folder" in done.stderr


def test_the_server_is_told_who_asks(faulty_server):
    (faulty_server.behind.root / "a.txt").write_text("a")
    assert anystore("crawl", faulty_server.url, "target", "--user-agent", "papers/1.0").returncode == 0
    assert {asked.headers["user-agent"] for asked in faulty_server.asked} == {"papers/1.0"}
