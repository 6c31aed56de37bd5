"""Progress: counted by many threads, told to one watcher, drawn only where somebody sees it."""

import io
import os
import pty
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from anystore import InvalidOption, crawl, get_store
from anystore.progress import Progress, Tracker, in_notebook

ROOT = Path(__file__).parents[2]


def test_counts_add_up_and_the_last_call_says_so():
    seen = []
    with Tracker("work", seen.append) as tracker:
        tracker.expect(2, size=30)
        tracker.expect(size=5)
        tracker.listed()
        tracker.moved(20)
        tracker.advance(2, failed=1)
    assert seen[0] == Progress("work")
    assert seen[-1] == Progress(
        "work", done=2, failed=1, total=3, bytes=20, total_bytes=35, listing=False, finished=True
    )
    assert [progress.finished for progress in seen].count(True) == 1


def test_a_size_that_is_not_known_makes_the_whole_not_known():
    seen = []
    with Tracker("work", seen.append) as tracker:
        tracker.expect(size=5)
        tracker.expect(size=None)
        tracker.expect(size=5)
    assert seen[-1].total_bytes is None
    assert seen[-1].total == 3


def test_many_threads_lose_no_count():
    seen = []
    with Tracker("work", seen.append) as tracker, ThreadPoolExecutor(8) as pool:
        for _ in range(2000):
            pool.submit(tracker.moved, 3)
            pool.submit(tracker.advance)
    assert (seen[-1].bytes, seen[-1].done) == (6000, 2000)


def test_the_watcher_is_called_now_and_then_only():
    seen = []
    with Tracker("work", seen.append) as tracker:
        for _ in range(100_000):
            tracker.advance()
    assert len(seen) < 1000
    assert seen[-1].done == 100_000


def test_a_run_that_fails_ends_for_the_watcher_too():
    seen = []
    with pytest.raises(ZeroDivisionError), Tracker("work", seen.append):
        raise ZeroDivisionError
    assert seen[-1].finished


@pytest.mark.parametrize("wrong", ["yes", 1, 0, [], object()])
def test_what_is_no_watcher_is_refused_before_anything_is_done(wrong):
    target = get_store("memory://progress-refused")
    with pytest.raises(InvalidOption, match="progress"):
        crawl("memory://progress-nothing", target, progress=wrong)


@pytest.mark.parametrize("silent", [None, False, True])
def test_nothing_is_written_where_nobody_sees_it(silent, monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with Tracker("work", silent) as tracker:
        tracker.advance()
    assert sys.stderr.getvalue() == ""


def test_a_closed_standard_error_is_no_error(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    with Tracker("work", True) as tracker:
        tracker.advance()


def test_a_test_is_no_notebook():
    assert not in_notebook()


def on_terminal(code, *, columns=100):
    """Run code whose standard error is a terminal; give what was written to it and to standard output."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": str(columns)}
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, stderr=theirs, cwd=ROOT, env=environment
    ) as run:
        os.close(theirs)
        pieces = []
        try:
            while piece := os.read(ours, 65536):
                pieces.append(piece)
        except OSError:  # a terminal whose other end is closed
            pass
        out = run.stdout.read()
    os.close(ours)
    return b"".join(pieces).decode(), out.decode(), run.returncode


def test_a_terminal_gets_a_bar():
    written, out, code = on_terminal("""
        from anystore import crawl, get_store
        source = get_store("memory://a[red]b")
        for number in range(20):
            source.put(f"{number}.txt", "x" * 1000)
        print(crawl(source, "memory://target", progress=True).fetched)
    """)
    assert code == 0, written
    assert out == "20\n"
    assert "20/20" in written
    assert "20 kB" in written
    assert "crawling memory://a[red]b" in written  # no markup of rich
    assert "\x1b[?25h" in written  # the cursor is shown again


def test_a_narrow_terminal_and_a_title_that_a_terminal_would_obey():
    written, _, code = on_terminal(
        """
        from anystore.progress import Tracker
        with Tracker("\\x1b]0;title\\x07" + "long " * 50, True) as tracker:
            tracker.expect(10)
            tracker.advance(10, failed=3)
        """,
        columns=60,
    )
    assert code == 0, written
    assert "\x1b]0;" not in written
    assert "3 failed" in written


def test_what_is_printed_beside_a_bar_still_goes_into_a_pipe():
    written, out, code = on_terminal("""
        from anystore.progress import Tracker
        with Tracker("work", True) as tracker:
            print("a result")
    """)
    assert (code, out) == (0, "a result\n")
    assert "a result" not in written


def test_a_bar_ends_when_the_run_fails():
    written, _, code = on_terminal("""
        from anystore.progress import Tracker
        with Tracker("work", True) as tracker:
            tracker.expect(10)
            raise SystemExit(3)
    """)
    assert code == 3
    assert "\x1b[?25h" in written


def test_without_rich_a_terminal_is_told_what_to_install():
    written, _, code = on_terminal("""
        import sys
        sys.modules["rich"] = None
        from anystore import MissingExtra
        from anystore.progress import Tracker
        try:
            Tracker("work", True)
        except MissingExtra as error:
            sys.exit(5 if "pip install 'anystore-dagster[cli]'" in str(error) else 6)
    """)
    assert code == 5, written


def test_a_crawl_tells_how_far_it_is():
    source, target = get_store("memory://progress-source"), get_store("memory://progress-target")
    source.put_many({f"{number}.txt": "x" * 100 for number in range(50)})
    seen = []
    assert crawl(source, target, progress=seen.append).fetched == 50
    last = seen[-1]
    assert (last.done, last.failed, last.total, last.bytes) == (50, 0, 50, 5000)
    assert (last.listing, last.finished) == (False, True)
    assert "memory://progress-source" in last.title
    seen.clear()
    crawl(source, target, progress=seen.append)
    assert (seen[-1].done, seen[-1].bytes) == (50, 0)


def test_an_error_of_the_watcher_ends_the_crawl():
    source, target = get_store("memory://progress-stop"), get_store("memory://progress-stopped")
    source.put_many({f"{number}.txt": "x" for number in range(10)})

    def stop(progress):
        if progress.done and not progress.finished:
            raise KeyboardInterrupt
        if progress.finished:
            seen.append(progress)

    seen = []
    with pytest.raises(KeyboardInterrupt), pytest.MonkeyPatch.context() as patch:
        patch.setattr("anystore.progress._SECONDS_BETWEEN", 0)
        crawl(source, target, progress=stop)
    assert len(seen) == 1
