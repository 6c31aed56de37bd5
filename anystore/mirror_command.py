"""``anystore mirror``: arguments in, a report out."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal, TextIO

import orjson
import typer

from anystore.console import complain, print_table, terminating
from anystore.extras import load
from anystore.legible import escaped, readable_size

_INTERRUPTED = 130


def mirror_command(
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Path or URI of the store to read.")],
    target: Annotated[str, typer.Argument(metavar="TARGET", help="Path or URI of the store to fill.")],
    *,
    prefix: Annotated[str | None, typer.Option(metavar="FOLDER", help="Only keys below this folder.")] = None,
    exclude_prefix: Annotated[str | None, typer.Option(metavar="FOLDER", help="No keys below this folder.")] = None,
    glob: Annotated[
        str | None, typer.Option(metavar="PATTERN", help="Only keys that match, relative to the prefix. Quote it.")
    ] = None,
    compare: Annotated[
        Literal["auto", "size", "version", "checksum", "missing"],
        typer.Option(help="What makes a value of both sides another one."),
    ] = "auto",
    delete: Annotated[bool, typer.Option("--delete", help="Delete values that the source has not.")] = False,
    max_delete: Annotated[
        int, typer.Option(metavar="N", help="Delete nothing if there are more; -1 is without limit.")
    ] = 1000,
    force: Annotated[bool, typer.Option("--force", help="Delete even if the source is empty.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Change nothing; tell what would be copied and deleted.")
    ] = False,
    verify: Annotated[
        Literal["fast", "full"], typer.Option(help="full reads back each value that was copied.")
    ] = "fast",
    workers: Annotated[int, typer.Option(metavar="N", help="How much is done at the same time.")] = 16,
    max_requests_per_second: Annotated[
        float | None, typer.Option(metavar="N", help="Ask for, write or delete no more values in a second.")
    ] = None,
    max_bytes_per_second: Annotated[
        float | None, typer.Option(metavar="N", help="Read no more bytes in a second.")
    ] = None,
    retries: Annotated[
        int, typer.Option(metavar="N", help="How often what can pass, like a lost connection, is tried again.")
    ] = 3,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print each change, as --dry-run does.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON; changes go to stderr.")] = False,
) -> None:
    """Copy what is missing or different, so that TARGET is in step with SOURCE.

    A second run copies what has changed since, and completes one that was interrupted. Failures are
    printed on standard error, and make the exit code 1; after Ctrl-C it is 130.
    """
    if context.obj is not None:
        raise typer.BadParameter("mirror takes both of its stores as arguments", param_hint="--store")
    tells = verbose or dry_run
    code = 0
    with terminating(), _told_changes(sys.stderr if as_json else sys.stdout, wanted=tells):
        try:
            report: Any = load("anystore.mirroring").mirror(
                source,
                target,
                prefix=prefix,
                exclude_prefix=exclude_prefix,
                glob=glob,
                compare=compare,
                delete=delete,
                max_delete=None if max_delete < 0 else max_delete,
                force=force,
                dry_run=dry_run,
                verify=verify,
                workers=workers,
                max_requests_per_second=max_requests_per_second,
                max_bytes_per_second=max_bytes_per_second,
                retries=retries,
                progress=not tells,
            )
        except KeyboardInterrupt as interruption:
            report, code = getattr(interruption, "report", None), _INTERRUPTED
            if report is None:
                raise
    _print_report(report, as_json=as_json)
    if code or not report.complete:
        raise typer.Exit(code or 1)


def _print_report(report: Any, *, as_json: bool) -> None:
    if as_json:
        print(orjson.dumps(report.to_dict()).decode())
        return
    for failure in report.failures:
        complain(f"{failure.key!r}: {failure.reason}" if failure.key else failure.reason)
    more = report.failed - sum(bool(failure.key) for failure in report.failures)
    if more > 0:
        complain(f"{more:,} more values failed; --verbose prints each as it fails")
    if report.complete and not report.copied + report.skipped:
        complain(f"warning: there is no value to mirror in {report.source}")
    would = "would be " if report.dry_run else ""
    print_table(
        [
            (f"{would}copied", f"{report.copied:,} values, {readable_size(report.bytes)}"),
            (f"{would}deleted", f"{report.deleted:,}"),
            ("unchanged", f"{report.skipped:,}"),
            ("failed", f"{report.failed:,}"),
            ("seconds", f"{report.seconds:.1f}"),
        ]
    )


@contextmanager
def _told_changes(stream: TextIO, *, wanted: bool) -> Iterator[None]:
    """Print each change as a line."""
    if not wanted:
        yield
        return
    log = logging.getLogger("anystore.mirroring")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Line())
    level = log.level
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


class _Line(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return escaped(record.getMessage())
