"""Older values: what a run replaces is kept beside its key, and the oldest are deleted.

The current value of ``orders.value`` is always there; what the run ``4f1c…`` replaced lies under
``orders.value.versions/4f1c…``. Nothing else is ever deleted here.
"""

import hashlib
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from dagster import Config, JobDefinition, MetadataValue, Nothing, OpExecutionContext, Out, job, op
from pydantic import Field

from anystore import AnystoreError, Entry, InvalidOption, Store, Unsupported
from anystore.keys import parse_prefix
from anystore.retries import attempt
from anystore_dagster.dagster_internals import run_times_of
from anystore_dagster.stored import FILES_ENDING, files_folder

VERSIONS_ENDING = ".versions"
"""What is put behind a key to name the folder of its older values."""

_VERSION = re.compile(
    r"(?:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|without-run-\d{8}T\d{6}\.\d{6})\Z"
)
_MOST_SHOWN = 1000
_WITHOUT_RUN, _TIME = "without-run-", "%Y%m%dT%H%M%S.%f"

RunTimes = Callable[[Sequence[str]], Mapping[str, datetime]]
"""Tells when runs began, of those that are known."""


@dataclass(frozen=True, slots=True)
class KeptVersion:
    """An older value.

    Attributes:
        key: The key of the current value.
        version: The run that replaced it, or a time where there was none.
        entry: What the store knows of it.
    """

    key: str
    version: str
    entry: Entry


def version_name(run_id: str | None) -> str:
    """Name what is replaced now.

    Args:
        run_id: The run that stores another value; None outside of any run.

    Returns:
        The run, or the time.

    Example:
        >>> version_name(None).startswith("without-run-2")
        True
    """
    if run_id is not None and _VERSION.match(run_id):
        return run_id
    return _WITHOUT_RUN + datetime.now(UTC).strftime(_TIME)


def keep_version(store: Store, key: str, version: str) -> None:
    """Copy the current value, if there is one, before it is replaced.

    What a run has kept is what was there before this run, however often its steps are tried again.

    Args:
        store: The store.
        key: The key of the current value.
        version: Its name as an older one.

    Raises:
        AnystoreError: If the store fails.
    """
    kept = f"{key}{VERSIONS_ENDING}/{version}"
    if store.exists(key) and not store.exists(kept):
        store.copy(key, kept)


def kept_versions(store: Store, key: str) -> list[KeptVersion]:
    """List the older values of a key, the newest first where the store knows when each was stored.

    Args:
        store: The store.
        key: The key of the current value.

    Returns:
        The versions that were kept by an IO manager; other keys in that folder are left out.

    Example:
        >>> from anystore import get_store
        >>> kept_versions(get_store("memory://versions-example"), "orders.value")
        []
    """
    return _in_order(_versions(store.entries(f"{key}{VERSIONS_ENDING}")))


def prune_versions(
    store: Store, key: str, *, keep: int, dry_run: bool = False, run_times: RunTimes | None = None
) -> list[str]:
    """Delete the oldest of the older values of a key, with the files that only they speak of.

    Args:
        store: The store.
        key: The key of the current value.
        keep: How many older values stay.
        dry_run: Whether nothing is deleted.
        run_times: Tells when runs began, for stores that do not know when a value was stored, such as Redis. A
            value of a run that it does not know stays there.

    Returns:
        The keys that were, or would be, deleted.

    Raises:
        InvalidOption: If ``keep`` is negative.
        AnystoreError: If the store fails.
    """
    if keep < 0:
        raise InvalidOption(f"keep is a number of older values, not {keep}")
    return _prune(store, key, kept_versions(store, key), keep=keep, dry_run=dry_run, run_times=run_times)


def _prune(
    store: Store, key: str, versions: list[KeptVersion], *, keep: int, dry_run: bool, run_times: RunTimes | None
) -> list[str]:
    if len(versions) <= keep:
        return []
    doomed = [version.entry.key for version in _known_order(versions, run_times)[keep:]]
    if not doomed:
        return []
    files = _orphans(store, key, doomed, [one.entry.key for one in versions if one.entry.key not in doomed])
    if not dry_run:
        store.delete_many(doomed)  # before the files that they name
        store.delete_many(files)
    return doomed + files


def _orphans(store: Store, key: str, doomed: Iterable[str], kept: Iterable[str]) -> list[str]:
    """List the files of the collections among the doomed values that no value names any more."""
    if not has_files(store, key):
        return []
    stays = {_folder_of(store, key, name) for name in (key, *kept) if store.exists(name)}
    goes = {_folder_of(store, key, name) for name in doomed} - stays
    return [name for folder in sorted(goes) for name in store.iterate_keys(folder)]


def _folder_of(store: Store, key: str, name: str) -> str:
    data: bytes = store.get(name, serialization_mode="raw", raise_on_nonexist=True)
    return files_folder(key, data)


@contextmanager
def files_lock(store: Store, key: str, *, retries: int = 4) -> Iterator[None]:
    """Keep other runs from storing, and from deleting, files of the same collection meanwhile.

    Files lie in a folder that their content names, so that one run could delete what another one has just stored
    again. Where a store has no locks, nobody is kept out.

    Args:
        store: The store.
        key: The key of the value.
        retries: How often it is tried again to get the lock.

    Yields:
        Nothing.

    Raises:
        AnystoreError: If the store fails.
    """
    try:
        lock = store.lock(f"dagster-files/{hashlib.sha256(key.encode()).hexdigest()[:32]}")
    except Unsupported:
        yield
        return
    attempt(lock.acquire, retries=retries, wait=time.sleep)
    try:
        yield
    finally:
        with suppress(AnystoreError):  # what is stored is stored; the lease ends by itself
            lock.release()


def has_files(store: Store, key: str) -> bool:
    """Tell whether files of a collection are stored beside a key.

    Args:
        store: The store.
        key: The key of the value.

    Returns:
        Whether there is any, of this value or an older one.
    """
    return next(store.iterate_keys(f"{key}{FILES_ENDING}"), None) is not None


def delete_replaced_files(store: Store, key: str, folder: str) -> None:
    """Delete the files of a collection that was replaced, unless a value names them again, or an older one still does.

    Args:
        store: The store.
        key: The key of the value.
        folder: Their folder.

    Raises:
        AnystoreError: If the store fails.
    """
    names = [key, *(kept.entry.key for kept in kept_versions(store, key))]
    if folder not in {_folder_of(store, key, name) for name in names if store.exists(name)}:
        store.delete_prefix(folder)


def _known_order(versions: list[KeptVersion], run_times: RunTimes | None) -> list[KeptVersion]:
    """Put those first that are newest; leave out those of which nobody knows when they were stored."""
    if all(version.entry.modified is not None for version in versions):
        return versions
    runs = [version.version for version in versions if not version.version.startswith(_WITHOUT_RUN)]
    times = dict(run_times(runs)) if run_times is not None and runs else {}
    for version in versions:
        if version.version.startswith(_WITHOUT_RUN):
            said = version.version.removeprefix(_WITHOUT_RUN)
            times[version.version] = datetime.strptime(said, _TIME).replace(tzinfo=UTC)
    known = [version for version in versions if version.version in times]
    return sorted(known, key=lambda version: (times[version.version], version.version), reverse=True)


def _versions(entries: Iterable[Entry]) -> Iterator[KeptVersion]:
    for entry in entries:
        folder, _, version = entry.key.rpartition("/")
        if folder.endswith(VERSIONS_ENDING) and _VERSION.match(version):
            yield KeptVersion(folder.removesuffix(VERSIONS_ENDING), version, entry)


def _in_order(versions: Iterable[KeptVersion]) -> list[KeptVersion]:
    oldest = datetime.min.replace(tzinfo=UTC)
    return sorted(versions, key=lambda kept: (kept.entry.modified or oldest, kept.version), reverse=True)


class RetentionConfig(Config):
    """What the retention job deletes.

    Attributes:
        dry_run: Whether nothing is deleted.
        versions_to_keep: How many older values of each key stay.
        prefix: A folder of keys.
    """

    dry_run: bool = Field(default=True, description="Whether the job only tells what it would delete.")
    versions_to_keep: int | None = Field(
        default=None, ge=0, description="How many older values of each key stay; the IO manager's number if not given."
    )
    prefix: str = Field(default="", description="A folder of keys, such as raw/orders.partitions; all keys if empty.")


def retention_job(name: str = "anystore_retention", *, io_manager_key: str = "io_manager") -> JobDefinition:
    """Make a job that deletes the oldest of the values that an IO manager has kept.

    It touches nothing but what lies under ``KEY.versions/RUN`` beside a key of that IO manager, and files that only
    such values name. It tells what it would delete, until its configuration says ``dry_run: false``.

    Args:
        name: The name of the job.
        io_manager_key: The resource key of an :class:`anystore_dagster.AnystoreIOManager`.

    Returns:
        The job; what it deleted is in the metadata of its only step.

    Example:
        >>> retention_job().name
        'anystore_retention'
    """

    @op(
        name=f"{name}_delete",
        description="Deletes older values beyond the number to keep; with dry_run it only tells which.",
        required_resource_keys={io_manager_key},
        out=Out(Nothing),
    )
    def delete(context: OpExecutionContext, config: RetentionConfig) -> None:
        manager: Any = getattr(context.resources, io_manager_key)
        keep = manager.versions_to_keep if config.versions_to_keep is None else config.versions_to_keep
        if keep is None:
            raise InvalidOption(
                f"say how many older values stay: versions_to_keep on {io_manager_key}, or in the job's configuration"
            )
        store: Store = manager.open_store()
        deleted = list(_prune_all(store, manager, keep=keep, config=config, run_times=run_times_of(context)))
        verb = "Would delete" if config.dry_run else "Deleted"
        context.log.info("%s %d keys of older values in %s", verb, len(deleted), store.uri)
        context.add_output_metadata(
            {
                "anystore/dry_run": config.dry_run,
                "anystore/deleted": len(deleted),
                "anystore/keys": MetadataValue.json(deleted[:_MOST_SHOWN]),
            }
        )

    @job(name=name, description="Deletes the oldest of the values that were replaced.")
    def retention() -> None:
        delete()

    return retention


def _prune_all(
    store: Store, manager: Any, *, keep: int, config: RetentionConfig, run_times: RunTimes | None
) -> Iterator[str]:
    folder = parse_prefix(config.prefix)
    found = sorted(_versions(store.entries(folder, glob=f"**/*{VERSIONS_ENDING}/*")), key=lambda kept: kept.key)
    for key, versions in groupby(found, key=lambda kept: kept.key):
        if manager.owns_key(key):
            ordered = _in_order(versions)
            with files_lock(store, key) if not config.dry_run and has_files(store, key) else nullcontext():
                deleted = _prune(store, key, ordered, keep=keep, dry_run=config.dry_run, run_times=run_times)
            yield from deleted
