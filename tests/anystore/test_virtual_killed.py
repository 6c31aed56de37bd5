"""What a killed process leaves of its private files: nothing."""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from anystore import get_store
from anystore.virtual import watching

LOOP = """
import sys, tempfile, threading
from anystore import get_store

tempfile.gettempdir()  # tries the folder with a file of its own, which a kill would leave there

store = get_store("memory://killed")
store.put("folder/report.pdf", bytes(3_000_000))

def work():
    while True:
        with store.local_path("folder/report.pdf") as path:
            assert path.stat().st_size == 3_000_000

print("ready", flush=True)
for _ in range(3):
    threading.Thread(target=work, daemon=True).start()
work()
"""

HOLD = """
import os, sys
from anystore import get_store

store = get_store("memory://held")
store.put("a.txt", "hello")
with store.local_path("a.txt") as path:
    print(path, flush=True)
    sys.stdin.read()
"""


def start(script, folder):
    return subprocess.Popen(
        [sys.executable, "-c", script],
        env=os.environ | {"TMPDIR": str(folder)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def wait_until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        os.sched_yield()


def shells(folder):
    """Give the shells that watch over a folder for temporary files."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                arguments = (process / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if arguments[0] == b"/bin/sh" and any(part.startswith(f"{folder}/".encode()) for part in arguments):
                found.append(int(process.name))
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT])
def test_a_process_killed_at_any_moment_leaves_nothing(number, tmp_path):
    for seed in range(5):
        with start(LOOP, tmp_path) as process:
            assert process.stdout.readline() == b"ready\n"
            time.sleep(random.Random(seed).uniform(0, 0.1))  # the moment is the subject
            process.send_signal(number)
            assert process.wait(30) == (-number if number != signal.SIGINT else process.returncode)
        wait_until(lambda: os.listdir(tmp_path) == [] and shells(tmp_path) == [])


def test_a_killed_group_leaves_nothing(tmp_path):
    (tmp_path := tmp_path / "a b'\"$(touch c);*\n[d]").mkdir()  # a name that a shell would make something of
    (tmp_path.parent / "a b").mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", LOOP],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stdout.readline() == b"ready\n"
        wait_until(lambda: os.listdir(tmp_path))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)
    wait_until(lambda: os.listdir(tmp_path) == [] and shells(tmp_path) == [])
    assert len(os.listdir(tmp_path.parent)) == 2


def test_a_shell_that_gets_the_signal_too_does_its_work(tmp_path):
    with start(HOLD, tmp_path) as process:
        path = Path(process.stdout.readline().decode().strip())
        for shell in shells(tmp_path):
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                os.kill(shell, number)
        assert path.exists()
        process.terminate()
        process.wait(30)
    wait_until(lambda: os.listdir(tmp_path) == [])


def test_what_is_left_is_swept_by_the_next_one_and_what_is_used_is_not(tmp_path):
    with start(HOLD, tmp_path) as living, start(HOLD, tmp_path) as dead:
        used = Path(living.stdout.readline().decode().strip())
        left = Path(dead.stdout.readline().decode().strip())
        for shell in shells(tmp_path):
            os.kill(shell, signal.SIGKILL)
        wait_until(lambda: shells(tmp_path) == [])
        dead.kill()
        dead.wait(30)
        (tmp_path / "anystore-virtual-of-someone-else").mkdir()
        assert left.read_text() == "hello"
        with start(HOLD, tmp_path) as following:
            following.stdout.readline()
            assert not left.parent.exists()
            assert used.read_text() == "hello"
            following.stdin.close()
            assert following.wait(30) == 0
        living.stdin.close()
        assert living.wait(30) == 0
    assert os.listdir(tmp_path) == ["anystore-virtual-of-someone-else"]


def test_a_process_that_ends_leaves_no_shell(tmp_path):
    with start(HOLD, tmp_path) as process:
        process.stdout.readline()
        assert len(shells(tmp_path)) == 1
        process.stdin.close()
        assert process.wait(30) == 0
    assert os.listdir(tmp_path) == []
    wait_until(lambda: shells(tmp_path) == [])


def test_the_shell_holds_no_pipe_of_the_process(tmp_path):
    # whoever reads the output to its end would wait for the shell as well
    done = subprocess.run(
        [sys.executable, "-c", HOLD + "\nos.kill(os.getpid(), 15)"],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        input=b"",
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == -signal.SIGTERM
    assert done.stderr == b""


FORKING = """
import os, signal, sys
from anystore import get_store
store = get_store("memory://forking")
store.put("a.txt", "hello")
with store.local_path("a.txt") as path:
    child = os.fork()
    if not child:
        with store.local_path("a.txt") as own:
            print(path, own, flush=True)
            sys.stdin.read()
            os._exit(0 if own.exists() else 1)
    os.waitpid(child, os.WNOHANG)
    signal.pause()
"""


def test_a_forked_process_does_not_keep_its_parents_files(tmp_path):
    with start(FORKING, tmp_path) as process:
        parents, childs = map(Path, process.stdout.readline().decode().split())
        process.terminate()
        process.wait(30)
        wait_until(lambda: not parents.parent.exists())
        assert childs.exists()
        process.stdin.close()
        wait_until(lambda: os.listdir(tmp_path) == [])


DAEMON = """
import os, sys
from anystore import get_store
store = get_store("memory://daemon")
store.put("a.txt", "hello")
with store.local_path("a.txt"):
    pass
os.closerange(3, 256)  # as who makes a daemon of itself does
with store.local_path("a.txt") as path:
    print(path, flush=True)
    sys.stdin.read()
"""


def test_closing_every_file_is_noticed(tmp_path):
    with start(DAEMON, tmp_path) as process:
        path = Path(process.stdout.readline().decode().strip())
        wait_until(lambda: len(shells(tmp_path)) == 1)
        assert path.exists()
        process.terminate()
        process.wait(30)
    wait_until(lambda: os.listdir(tmp_path) == [])


def test_without_a_shell_files_are_private_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(watching, "_SHELL", str(tmp_path / "nowhere"))
    (folder := tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    store = get_store("memory://shell")
    store.put("a.txt", "hello")
    with store.local_path("a.txt") as path:
        assert path.read_text() == "hello"
        assert shells(folder) == []
    assert os.listdir(folder) == []
