"""What steps print, in files of this machine while it is captured."""

import os
import stat
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager

from anystore.errors import InvalidOption
from anystore_dagster.asset_keys import escape_name
from anystore_dagster.stored_logs import log_folder


class LocalLogs(LocalComputeLogManager):
    """Dagster's own manager, with file names that hold every log key, and stay in the folder."""

    def get_captured_local_path(self, log_key: Sequence[str], extension: str, partial: bool = False) -> str:  # noqa: FBT001, FBT002 - Dagster's
        """Say where output is, or would be, on this machine.

        Args:
            log_key: Dagster's name of the output.
            extension: ``out``, ``err`` or ``complete``.
            partial: Whether a copy of a part is meant.

        Returns:
            The path, inside the folder whatever the names are.
        """
        name = escape_name(extension)  # the web server takes it from an address
        return str(Path(self._base_dir) / log_folder(log_key) / (f"{name}.partial" if partial else name))

    def delete_logs(self, log_key: Sequence[str] | None = None, prefix: Sequence[str] | None = None) -> None:
        """Delete output on this machine.

        Args:
            log_key: One log key.
            prefix: Or the names that all log keys share whose output is to be deleted.
        """
        if log_key:
            super().delete_logs(log_key=log_key)
            with suppress(OSError):  # another process may be printing there
                (Path(self._base_dir) / log_folder(log_key)).rmdir()
        elif prefix:
            super().delete_logs(prefix=log_folder(prefix).removesuffix(".logs").split("/"))


def private_folder(place: str) -> str:
    """Give a folder among the temporary files that only this user can look into.

    Args:
        place: Which store the output is for.

    Returns:
        The path, for each place another one.

    Raises:
        InvalidOption: If someone else has made the folder.
    """
    ours = Path(tempfile.gettempdir()) / f"anystore-compute-logs-{os.getuid()}"
    with suppress(FileExistsError):
        ours.mkdir(mode=0o700)
    found = ours.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise InvalidOption(f"{ours} is not a private folder of this user; set local_dir of the compute logs")
    # a name for each store, since ticks of two instances can have the same log key
    return str(ours / sha256(place.encode()).hexdigest()[:16])
