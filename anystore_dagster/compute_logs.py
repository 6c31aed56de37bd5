"""What steps print to stdout and stderr, kept in a store, where Dagster's pages find it from every machine.

In ``dagster.yaml``::

    compute_logs:
      module: anystore_dagster
      class: AnystoreComputeLogManager
      config:
        uri: s3://bucket/dagster
        backend_config: {key: {env: S3_KEY}, secret: {env: S3_SECRET}}
"""

import logging
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Self
from urllib.parse import quote

from dagster import Field, Float, Noneable, StringSource

# No public names: Dagster's web server downloads only from what derives of this class, as dagster-aws' does
from dagster._core.storage.cloud_storage_compute_log_manager import CloudStorageComputeLogManager
from dagster._core.storage.compute_log_manager import CapturedLogContext, CapturedLogSubscription, ComputeIOType
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._serdes import ConfigurableClass, ConfigurableClassData

from anystore import get_store
from anystore.errors import AnystoreError, InvalidOption, Unsupported
from anystore_dagster.literal_secrets import refuse_literals
from anystore_dagster.local_logs import LocalLogs, private_folder
from anystore_dagster.log_followers import Followers, Subscription
from anystore_dagster.resource import is_in_memory
from anystore_dagster.stored_logs import StoredLogs
from anystore_dagster.variables import resolve_variables

_LOG = logging.getLogger(__name__)
_STREAM = {ComputeIOType.STDOUT: "stdout", ComputeIOType.STDERR: "stderr"}
_ENDING = {ComputeIOType.STDOUT: "out", ComputeIOType.STDERR: "err"}
_PATIENCE = 30.0
_SLOWEST = 1 << 20  # bytes in a second, at which a store is still waited for


class AnystoreComputeLogManager(CloudStorageComputeLogManager[Any], ConfigurableClass):
    """Keeps what steps print in a store; named in ``dagster.yaml``.

    While a step runs, what is new is uploaded every ``upload_interval`` seconds; the whole output follows at its end.
    If the store fails then, or takes too long, the run goes on, and the output stays in ``local_dir``.

    Args:
        uri: Where the store is.
        prefix: A folder in the store.
        backend_config: Options and credentials of the backend; ``{env: NAME}`` may stand at any depth.
        upload_interval: Seconds between two uploads while a step runs; 0 or None uploads at its end alone.
        local_dir: A folder on this machine for output that is being captured; without it, a private one among the
            temporary files.
        inst_data: Dagster's, of the configuration.

    Raises:
        InvalidOption: If an option is not what it can be, or ``dagster.yaml`` holds a secret.
        InvalidUri: If there is no such backend, or the URI is not what it takes.
        MissingExtra: If the library that the scheme needs is not installed.
        Unsupported: If the store is seen only by one process.
    """

    def __init__(
        self,
        uri: str,
        *,
        prefix: str = "",
        backend_config: Mapping[str, Any] | None = None,
        upload_interval: float | None = 10,
        local_dir: str | None = None,
        inst_data: ConfigurableClassData | None = None,
    ) -> None:
        if upload_interval is not None and not 0 <= upload_interval < float("inf"):
            raise InvalidOption(f"upload_interval is a number of seconds, not {upload_interval!r}")
        if "://" not in uri and not os.path.isabs(os.path.expanduser(uri)):  # noqa: PTH111, PTH117 - as get_store does
            raise InvalidOption(
                f"the compute logs' folder {uri!r} is another one in each working directory; write an absolute path"
            )
        store = get_store(uri, backend_config=resolve_variables(backend_config or {}, where="backend_config") or None)
        if is_in_memory(store.uri):
            raise Unsupported(
                f"{store.uri} is seen only by the process that wrote it, and steps print in others; use a folder, "
                "a database or a bucket for compute logs"
            )
        self._logs = StoredLogs(store.under(prefix) if prefix else store)
        self._interval = upload_interval or 0
        self._local = LocalLogs(private_folder(f"{store.uri}\n{prefix}") if local_dir is None else local_dir)
        self._inst_data = inst_data
        self._followers = Followers()

    # -- configuration -------------------------------------------------------

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        """The configuration as ``dagster.yaml`` has it."""
        return self._inst_data

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Describe the configuration to Dagster."""
        return {
            "uri": Field(StringSource, description="Where the store is: a path, or scheme://…; may be {env: NAME}."),
            "prefix": Field(StringSource, is_required=False, default_value="", description="A folder in the store."),
            "backend_config": Field(
                dict,
                is_required=False,
                description="Options and credentials of the backend, such as {password: {env: STORE_PASSWORD}}.",
            ),
            "upload_interval": Field(
                Noneable(Float),
                is_required=False,
                default_value=10.0,
                description="Seconds between two uploads while a step runs; 0 or null uploads at its end alone.",
            ),
            "local_dir": Field(
                StringSource,
                is_required=False,
                description="A folder on the machine of the step for output that is being captured.",
            ),
        }

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """Make the manager that ``dagster.yaml`` describes.

        Args:
            inst_data: The configuration as it is written.
            config_value: The same, with variables resolved by Dagster.

        Returns:
            The manager.

        Raises:
            InvalidOption: If ``dagster.yaml`` holds a secret, which Dagster shows on its pages.
        """
        if inst_data is not None:
            for name, written in inst_data.config_dict.items():
                refuse_literals(written, where=name)
        return cls(
            config_value["uri"],
            prefix=config_value["prefix"],
            backend_config=config_value.get("backend_config"),
            upload_interval=config_value["upload_interval"],
            local_dir=config_value.get("local_dir"),
            inst_data=inst_data,
        )

    @property
    def local_manager(self) -> LocalComputeLogManager:
        """Dagster's own manager, which captures into files."""
        return self._local

    @property
    def upload_interval(self) -> int | None:
        """None, so that Dagster starts no uploads of its own; :meth:`capture_logs` does."""
        return None

    # -- capturing -----------------------------------------------------------

    @contextmanager
    def capture_logs(self, log_key: Sequence[str]) -> Iterator[CapturedLogContext]:
        """Capture what this process prints for as long as the block lasts, however it ends.

        Args:
            log_key: Dagster's name of the output.

        Yields:
            Where it goes.
        """
        try:
            with self._uploading(log_key), self._local.capture_logs(log_key):
                yield CapturedLogContext(log_key)
        finally:
            self._finish(log_key)

    @contextmanager
    def open_log_stream(self, log_key: Sequence[str], io_type: ComputeIOType) -> Iterator[IO[Any] | None]:
        """Give a file whose text becomes the output of a sensor, schedule or backfill.

        Args:
            log_key: Dagster's name of the output.
            io_type: Stdout or stderr.

        Yields:
            The file.
        """
        try:
            with self._local.open_log_stream(log_key, io_type) as file:
                yield file
        finally:
            self._finish(log_key)

    @contextmanager
    def _uploading(self, log_key: Sequence[str]) -> Iterator[None]:
        """Upload what is new, again and again, for as long as the block lasts."""
        if not self._interval:
            yield
            return
        ended = threading.Event()
        thread = threading.Thread(
            target=self._upload_on, args=(log_key, ended), name="anystore-compute-logs", daemon=True
        )
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(_PATIENCE / 3)  # the whole follows, and says so if the store does not answer

    def _upload_on(self, log_key: Sequence[str], ended: threading.Event) -> None:
        reached = dict.fromkeys(_STREAM, 0)
        has_failed = False
        while not ended.wait(self._interval):
            for io_type, stream in _STREAM.items():
                try:
                    with self.local_path(log_key, io_type).open("rb") as file:
                        reached[io_type] = self._logs.add_part(log_key, stream, start=reached[io_type], file=file)
                except FileNotFoundError:
                    continue  # nothing was printed yet
                except AnystoreError as error:
                    if not has_failed:
                        _LOG.warning("cannot upload what this step prints, and will try again: %s", error)
                    has_failed = True

    def _finish(self, log_key: Sequence[str]) -> None:
        """Store the whole output; a run is worth more than what it printed, so that a failure is only told."""
        files = {stream: self.local_path(log_key, io_type) for io_type, stream in _STREAM.items()}
        outcome: list[AnystoreError | OSError | None] = []

        def store_whole() -> None:
            try:
                self._logs.finish(log_key, files)
            except (AnystoreError, OSError) as error:
                outcome.append(error)
            else:
                outcome.append(None)

        # in a thread, since clients of some stores try again for minutes, and a step would wait for them
        thread = threading.Thread(target=store_whole, name="anystore-compute-logs", daemon=True)
        thread.start()
        patience = _PATIENCE + sum(path.stat().st_size for path in files.values() if path.exists()) / _SLOWEST
        thread.join(patience)
        if outcome == [None]:
            self._local.delete_logs(log_key=log_key)
            return
        reason = outcome[0] if outcome else f"the store has not taken it within {patience:.0f} seconds"
        path = files["stdout"]
        _LOG.warning("cannot upload what was printed; it stays on this machine as %s, and .err: %s", path, reason)

    # -- reading -------------------------------------------------------------

    def is_capture_complete(self, log_key: Sequence[str]) -> bool:
        """Tell whether everything was printed that will be."""
        return self._local.is_capture_complete(log_key) or self._logs.is_complete(log_key)

    def get_log_data_for_type(
        self, log_key: Sequence[str], io_type: ComputeIOType, offset: int, max_bytes: int | None
    ) -> tuple[bytes | None, int]:
        """Read output: from the machine it is captured on, else from the store, without a copy.

        Args:
            log_key: Dagster's name of the output.
            io_type: Stdout or stderr.
            offset: The first byte.
            max_bytes: The most bytes, or None for all.

        Returns:
            The bytes, or None without any output, and where the next ones begin.
        """
        if self.has_local_file(log_key, io_type):
            data, end = self._local.get_log_data_for_type(log_key, io_type, offset=offset, max_bytes=max_bytes)
            if data is not None:  # else it has just been uploaded
                return data, end
        found = self._logs.read(log_key, _STREAM[io_type], start=offset, most=max_bytes)
        return found, offset + len(found or b"")

    def has_local_file(self, log_key: Sequence[str], io_type: ComputeIOType) -> bool:
        """Tell whether the output is on this machine."""
        return self.local_path(log_key, io_type).exists()

    def local_path(self, log_key: Sequence[str], io_type: ComputeIOType) -> Path:
        """Say where the output is, or would be, on this machine."""
        return Path(self._local.get_captured_local_path(log_key, _ENDING[io_type]))

    def get_log_keys_for_log_key_prefix(
        self, log_key_prefix: Sequence[str], io_type: ComputeIOType
    ) -> Sequence[list[str]]:
        """List the log keys with one name more than a prefix.

        Args:
            log_key_prefix: The names that they share.
            io_type: Stdout or stderr.

        Returns:
            The log keys, sorted.
        """
        return self._logs.keys_below(log_key_prefix, _STREAM[io_type])

    def delete_logs(self, log_key: Sequence[str] | None = None, prefix: Sequence[str] | None = None) -> None:
        """Delete output, here and in the store.

        Args:
            log_key: One log key.
            prefix: Or the names that all log keys share whose output is to be deleted.

        Raises:
            InvalidOption: If neither is given.
        """
        if not log_key and not prefix:
            raise InvalidOption("delete_logs needs a log_key or a prefix")
        self._local.delete_logs(log_key=log_key, prefix=prefix)
        if log_key:
            self._logs.delete(log_key)
        elif prefix:
            self._logs.delete_below(prefix)

    def subscribe(self, log_key: Sequence[str], cursor: str | None = None) -> CapturedLogSubscription:
        """Follow output while it is written.

        Args:
            log_key: Dagster's name of the output.
            cursor: Where to begin, as Dagster has it from an earlier look.

        Returns:
            What is called with an observer, and gives it what is new until the capture is complete.
        """
        subscription = Subscription(self, log_key, cursor)
        self._followers.add(subscription)
        return subscription

    def unsubscribe(self, subscription: CapturedLogSubscription) -> None:
        """Follow output no longer."""
        self._followers.remove(subscription)

    def dispose(self) -> None:
        """End what follows output."""
        self._followers.close()
        self._local.dispose()

    # -- for Dagster's pages ---------------------------------------------------

    def download_url_for_type(self, log_key: Sequence[str], io_type: ComputeIOType) -> str | None:
        """Give the page of Dagster's web server that sends the whole output, once there is one."""
        if not self._logs.has_logs(log_key, _STREAM[io_type], partial=False):
            return None
        return "/".join(["/logs", *(quote(name, safe="") for name in log_key), _ENDING[io_type]])

    def display_path_for_type(self, log_key: Sequence[str], io_type: ComputeIOType) -> str:
        """Say where the output is, or will be, in the store."""
        return self._logs.location(log_key, _STREAM[io_type])

    def cloud_storage_has_logs(self, log_key: Sequence[str], io_type: ComputeIOType, partial: bool = False) -> bool:  # noqa: FBT001, FBT002 - Dagster's
        """Tell whether the store has output: the whole of it, or a part."""
        return self._logs.has_logs(log_key, _STREAM[io_type], partial=partial)

    def download_from_cloud_storage(
        self,
        log_key: Sequence[str],
        io_type: ComputeIOType,
        partial: bool = False,  # noqa: ARG002, FBT001, FBT002 - Dagster's
    ) -> None:
        """Copy output to this machine, where the web server sends it from."""
        path = self.local_path(log_key, io_type)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._logs.download(log_key, _STREAM[io_type], path)

    def upload_to_cloud_storage(
        self,
        log_key: Sequence[str],
        io_type: ComputeIOType,
        partial: bool = False,  # noqa: FBT001, FBT002 - Dagster's
    ) -> None:
        """Upload what was captured on this machine; :meth:`capture_logs` does so by itself."""
        if partial:
            with suppress(FileNotFoundError), self.local_path(log_key, io_type).open("rb") as file:
                self._logs.add_part(log_key, _STREAM[io_type], start=0, file=file)
        else:
            self._logs.finish(log_key, {_STREAM[io_type]: self.local_path(log_key, io_type)})
