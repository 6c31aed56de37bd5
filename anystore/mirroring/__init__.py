"""Keep one store in step with another: copy what is missing or different, and nothing else.

Both listings are read side by side, in memory that does not grow with them. Values are
copied by many workers, each checked, retried and published whole; what fails is in the
report, and does not stop the rest.
"""

import os
from concurrent.futures import Executor

from anystore.errors import InvalidOption
from anystore.keys import Key, Selection
from anystore.mirroring.apart import check_apart
from anystore.mirroring.comparing import Compare, Comparison, check_mode
from anystore.mirroring.copying import Job, Verify
from anystore.mirroring.limits import Limits, check_limit
from anystore.mirroring.report import MirrorFailure, MirrorInterrupted, MirrorReport
from anystore.mirroring.running import Deletion, Run
from anystore.progress import ProgressOption, Tracker
from anystore.store import Store, get_store

__all__ = ["Compare", "MirrorFailure", "MirrorInterrupted", "MirrorReport", "Verify", "mirror"]

MAX_DELETE = 1000
"""How many values a mirror deletes at most, unless told otherwise."""


def mirror(
    source: Store | str | os.PathLike[str],
    target: Store | str | os.PathLike[str],
    *,
    prefix: str | None = None,
    exclude_prefix: str | None = None,
    glob: str | None = None,
    compare: Compare = "auto",
    delete: bool = False,
    max_delete: int | None = MAX_DELETE,
    force: bool = False,
    dry_run: bool = False,
    verify: Verify = "fast",
    workers: int = 16,
    executor: Executor | None = None,
    max_requests_per_second: float | None = None,
    max_bytes_per_second: float | None = None,
    retries: int = 3,
    progress: ProgressOption = None,
) -> MirrorReport:
    """Copy what the target does not have as the source has it.

    Each value is copied as it is, byte for byte, under the same key, whole or not at all, and
    with its expiry. One failure never stops the rest: it is in the report. A second run copies
    what has changed since, and completes a run that was interrupted or killed.

    Args:
        source: The store to read, or its URI. It is never changed.
        target: The store to fill, or its URI.
        prefix: A folder to mirror.
        exclude_prefix: A folder to leave out, on both sides.
        glob: A pattern for the keys relative to the prefix.
        compare: What makes a value of both sides another one. ``auto``: another size or expiry, or a change
            of the source after the copy was made; if the times do not tell, the contents decide. ``size``:
            the size alone. ``version``: the version, for two services of one kind whose versions are made
            of the content, such as S3. ``checksum``: the contents, which are all read. ``missing``: nothing;
            only values that the target does not have are copied.
        delete: Whether values of the target that the source has not are deleted, within the prefix and glob.
            That happens last, after complete listings of both sides without an error.
        max_delete: How many values may be deleted; if there are more, none is. None is without limit.
        force: Whether the values of the target are deleted even if the source is empty.
        dry_run: Whether to tell what would happen, and change nothing.
        verify: ``fast`` checks the size that the target gives; ``full`` also reads each copy back.
        workers: How many parts of the work are done at the same time.
        executor: Where the work is done, such as ``ProcessPoolExecutor()`` or a Dask client's
            ``get_executor()``; None is threads of this process.
        max_requests_per_second: How many values may be asked for, written, looked at or deleted in a second.
        max_bytes_per_second: How many bytes may be read in a second.
        retries: How often what can pass, such as a lost connection, is tried again.
        progress: True for bars where someone sees them, or a function that takes an
            :class:`anystore.progress.Progress`.

    Returns:
        What was done. ``complete`` is True if there was no failure.

    Raises:
        InvalidOption: If an argument is not what it can be, or source and target overlap.
        Unsupported: If a side cannot list, the target cannot write, or a store cannot be opened by the executor.
        ReadOnlyError: If the target was opened read-only.
        MirrorInterrupted: After Ctrl-C; it is a ``KeyboardInterrupt`` and holds the report.

    Example:
        >>> source, target = get_store("memory://original"), get_store("memory://copy")
        >>> source.put_many({"a.txt": "hello", "b.txt": "world"})
        >>> report = mirror(source, target)
        >>> report.copied, report.skipped, report.bytes, report.complete
        (2, 0, 10, True)
        >>> mirror(source, target).skipped
        2
    """
    check_options(
        compare=compare,
        verify=verify,
        workers=workers,
        retries=retries,
        max_delete=max_delete,
        max_requests_per_second=max_requests_per_second,
        max_bytes_per_second=max_bytes_per_second,
    )
    ours, theirs = _open(source).backend, _open(target).backend
    selection = Selection(prefix, exclude_prefix, glob)
    check_apart(ours, theirs, selection, exclude_prefix)
    theirs.require_write(Key("a"))
    job = Job(
        ours,
        theirs,
        Comparison(compare, ours, theirs),
        verify,
        retries,
        dry_run,
        Limits(max_requests_per_second, max_bytes_per_second),
    )
    with Tracker(f"mirroring {ours.uri} to {theirs.uri}", progress) as tracker:
        run = Run(
            job, selection, Deletion(delete, max_delete, force), workers=workers, executor=executor, tracker=tracker
        )
        try:
            run.go()
        except KeyboardInterrupt:
            raise MirrorInterrupted(run.report()) from None
    return run.report()


def check_options(
    *,
    compare: Compare,
    verify: str,
    workers: int,
    retries: int,
    max_delete: int | None,
    max_requests_per_second: float | None,
    max_bytes_per_second: float | None,
) -> None:
    """Refuse what :func:`mirror` would refuse, before there is anything to mirror.

    Args:
        compare: What makes a value of both sides another one.
        verify: Whether copies are read back.
        workers: How many parts of the work are done at the same time.
        retries: How often what can pass is tried again.
        max_delete: How many values may be deleted.
        max_requests_per_second: How many values may be asked for in a second.
        max_bytes_per_second: How many bytes may be read in a second.

    Raises:
        InvalidOption: If one of them is not what it can be.
    """
    check_mode(compare)
    _check_number("workers", workers, 1)
    _check_number("retries", retries, 0)
    if max_delete is not None:
        _check_number("max_delete", max_delete, 0)
    check_limit("max_requests_per_second", max_requests_per_second)
    check_limit("max_bytes_per_second", max_bytes_per_second)
    if verify not in ("fast", "full"):
        raise InvalidOption(f"verify={verify!r} is unknown; use 'fast' or 'full'")


def _open(store: Store | str | os.PathLike[str]) -> Store:
    return store if isinstance(store, Store) else get_store(store)


def _check_number(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InvalidOption(f"{name} is a whole number from {least} on, not {value!r}")
