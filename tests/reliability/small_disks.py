"""A file system of a few MiB, of this test alone, that can be full or read-only as real ones are."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.servers import ServerError

MIB = 1 << 20


class SmallDisk:
    """A file system in memory, mounted at ``path``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filling = path / "filling"

    def fill(self, *, leave: int) -> None:
        """Fill it up, but for so many bytes."""
        self.free()
        with self._filling.open("wb") as file:
            status = os.fstatvfs(file.fileno())
            os.posix_fallocate(file.fileno(), 0, max(status.f_bavail * status.f_frsize - leave, 1))

    def free(self) -> None:
        """Take away what :meth:`fill` has put there."""
        self._filling.unlink(missing_ok=True)

    @contextlib.contextmanager
    def read_only(self) -> Iterator[None]:
        """Let nobody write."""
        _run("mount", "-o", "remount,ro", str(self.path))
        try:
            yield
        finally:
            _run("mount", "-o", "remount,rw", str(self.path))

    def files(self) -> dict[str, bytes]:
        """Read every file that is there."""
        return {
            str(path.relative_to(self.path)): path.read_bytes()
            for path in self.path.rglob("*")
            if path.is_file() and path != self._filling
        }


@contextlib.contextmanager
def small_disk(path: Path, *, size: int) -> Iterator[SmallDisk]:
    """Mount a file system of ``size`` bytes at an empty folder; that takes root's rights."""
    path.mkdir()
    _run("mount", "-t", "tmpfs", "-o", f"size={size},mode=0777", "tmpfs", str(path))
    try:
        yield SmallDisk(path)
    finally:
        _run("umount", "--lazy", str(path))
        path.rmdir()


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServerError(f"{argv[0]} failed, which needs root's rights: {done.stderr}")
