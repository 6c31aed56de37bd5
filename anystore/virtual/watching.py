"""Temporary folders that are gone when their process is, however it ends.

A killed process runs no code of its own. So, when the first folder is wanted, a small shell is
started that reads from a pipe which nobody writes to: the pipe ends with the process that holds
its other end, and the shell removes the folders. It ignores the signals that end the process. What
is left where it was killed as well is taken away by the next process that needs a folder.
"""

import os
import re
import subprocess
import tempfile
import threading
from contextlib import suppress
from secrets import token_hex

from anystore.virtual.folders import discard

_NAME = "anystore-virtual-"
_OURS = re.compile(r"anystore-virtual-[0-9a-f]{16}-\d+-[0-9a-f]{16}")
_SHELL = "/bin/sh"
# The shell gives what it starts in the background no standard input, hence the copy.
_SCRIPT = 'trap "" HUP INT TERM; exec 3<&0; (read -r _ <&3; rm -rf -- "$1"*) </dev/null >/dev/null 2>&1 &'


class _Watch:
    """The pipe to a shell that watches this process, and the folders that it will remove."""

    def __init__(self) -> None:
        folder = tempfile.gettempdir()
        _sweep(folder)
        self.folder = folder
        self.prefix = f"{folder}/{_NAME}{token_hex(8)}-"
        self._pipe = _start_shell(self.prefix)
        self._identity = os.fstat(self._pipe) if self._pipe >= 0 else None

    def is_good(self) -> bool:
        """Tell whether the pipe is still ours: who makes a daemon of itself closes every file."""
        if self.folder != tempfile.gettempdir():
            return False
        try:
            return self._identity is None or os.path.samestat(self._identity, os.fstat(self._pipe))
        except OSError:
            return False

    def leave(self) -> None:
        """Let the pipe go, in a forked process: the shell is to watch the one that started it."""
        if self._pipe >= 0 and self.is_good():
            os.close(self._pipe)


class _State:
    """What there is once in a process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.watch: _Watch | None = None
        self.is_registered = False

    def start_anew(self) -> None:
        """Forget, in a forked process, what belongs to the one it came from."""
        watch, self.watch = self.watch, None
        self.lock = threading.Lock()
        if watch is not None:
            with suppress(OSError):
                watch.leave()


_STATE = _State()


def watched_prefix() -> str:
    """Give the start of the paths of folders that will be gone with this process.

    Returns:
        A path; folders are made by adding to it.

    Raises:
        OSError: If there is no folder for temporary files.
    """
    with _STATE.lock:
        if not _STATE.is_registered:
            os.register_at_fork(after_in_child=_STATE.start_anew)
            _STATE.is_registered = True
        if _STATE.watch is None or not _STATE.watch.is_good():
            _STATE.watch = _Watch()
        return _STATE.watch.prefix


def _start_shell(prefix: str) -> int:
    """Start the shell; it is ready when this returns. Gives the end of the pipe to be kept, or -1 without a shell."""
    read_end, write_end = os.pipe()
    try:
        subprocess.run(  # noqa: S603 - the path is an argument, not a part of the script
            [_SHELL, "-c", _SCRIPT, "anystore", prefix],
            check=True,
            stdin=read_end,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the process
            cwd="/",
            env={"PATH": os.defpath},
        )
    except (OSError, subprocess.SubprocessError):
        os.close(write_end)
        return -1
    except BaseException:
        os.close(write_end)
        raise
    finally:
        os.close(read_end)
    return write_end


def _sweep(folder: str) -> None:
    """Remove what processes have left that were killed together with their shell."""
    with suppress(OSError), os.scandir(folder) as items:
        for item in items:
            if _OURS.fullmatch(item.name):
                with suppress(OSError):
                    if item.stat(follow_symlinks=False).st_uid == os.geteuid():
                        discard(item.path)
