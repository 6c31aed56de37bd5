"""``anystore crawl`` and ``anystore documents``: arguments in, a report or a list out."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import orjson
import typer

from anystore.console import complain, print_table, size_text, standard_output, terminating, time_text
from anystore.extras import load
from anystore.legible import UNKNOWN, escaped, readable_size
from anystore.store import get_store
from anystore.uris import parse_uri

Target = Annotated[str, typer.Argument(metavar="TARGET", help="Path or URI of the store to fill.")]
JournalOption = Annotated[
    str | None, typer.Option(metavar="STORE", help="Where the memory of crawls is kept, if not in TARGET.")
]


def crawl_command(
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="URL of a listing, or path or URI of a store.")],
    target: Target,
    *,
    glob: Annotated[
        str | None, typer.Option(metavar="PATTERN", help="Only keys that match, such as '**/*.pdf'. Quote it.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="No keys that match; can be given again.")
    ] = None,
    max_depth: Annotated[int, typer.Option(metavar="N", help="How many folders deep to go.")] = 40,
    max_entries: Annotated[int | None, typer.Option(metavar="N", help="Look at no more documents.")] = None,
    max_bytes: Annotated[int | None, typer.Option(metavar="N", help="Fetch about so many bytes at most.")] = None,
    allow_hosts: Annotated[
        list[str] | None, typer.Option(metavar="HOST", help="Follow redirects to this host, too; can be given again.")
    ] = None,
    robots: Annotated[bool, typer.Option("--robots/--no-robots", help="Obey robots.txt and its Crawl-delay.")] = True,
    concurrency: Annotated[
        int | None, typer.Option(metavar="N", help="Requests at a time for one host; 8, or 32 on this machine.")
    ] = None,
    follow: Annotated[
        Literal["listings", "links"], typer.Option(help="links takes any page for a listing of what it links to.")
    ] = "listings",
    verify: Annotated[
        Literal["fast", "full", "audit"],
        typer.Option(help="full reads each stored value; audit fetches everything again."),
    ] = "fast",
    prune: Annotated[bool, typer.Option("--prune", help="Delete values that vanished from the listing.")] = False,
    user_agent: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Who you are, for the web server: a name that leads to you.")
    ] = None,
    journal: JournalOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Fetch each document of a listing that TARGET does not have yet.

    A second run fetches what is new or changed, and goes on where an interrupted one was. What fails
    is printed on standard error, and makes the exit code 1.
    """
    if context.obj is not None:
        raise typer.BadParameter("crawl takes both of its stores as arguments", param_hint="--store")
    logging.getLogger("anystore.crawling").addHandler(logging.NullHandler())  # the report says it all
    with terminating(), _told_interruption():
        report = load("anystore.crawling").crawl(
            source if user_agent is None else get_store(source, backend_config={"user_agent": user_agent}),
            target,
            journal=journal,
            glob=glob,
            exclude=exclude or (),
            max_depth=max_depth,
            max_entries=max_entries,
            max_bytes=max_bytes,
            allow_hosts=allow_hosts or (),
            robots=robots,
            concurrency=concurrency,
            follow=follow,
            verify=verify,
            prune=prune,
            progress=True,
        )
    if as_json:
        print(orjson.dumps(report.to_dict()).decode())
    else:
        _print_report(report, glob=glob)
    if not report.complete:
        raise typer.Exit(1)


def documents_command(
    context: typer.Context,
    target: Annotated[str, typer.Argument(metavar="TARGET", help="Path or URI of a store that crawls have filled.")],
    *,
    status: Annotated[
        Literal["ok", "gone", "error", "skipped", "suspicious"] | None,
        typer.Option(help="Only documents of this status."),
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="RUN|TIME", help="Only what changed after this run, or this time in UTC.")
    ] = None,
    journal: JournalOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a line, with all that is known.")
    ] = False,
) -> None:
    """List what the crawls of a store have fetched, those that are gone included."""
    if context.obj is not None:
        raise typer.BadParameter("documents takes its store as an argument", param_hint="--store")
    found = load("anystore.crawling").documents(target, status=status, since=_since(since), journal=journal)
    out, is_empty = standard_output(), True
    for document in found:
        is_empty = False
        line = orjson.dumps(document.to_dict()) if as_json else _line(document).encode()
        out.write(line + b"\n")
    out.flush()
    if is_empty and status is None and since is None:
        complain(f"warning: no crawl has fetched anything into {parse_uri(journal or target).masked}")


@contextmanager
def _told_interruption() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        complain("interrupted; what was fetched is kept, and the same command goes on from there")
        raise


def _print_report(report: Any, *, glob: str | None) -> None:
    for failure in report.failures:
        complain(f"{failure.key!r}: {failure.reason}" if failure.key else failure.reason)
    if report.failed > len(report.failures):
        more = report.failed - len(report.failures)
        complain(f"{more:,} more failures; 'anystore documents --status error' lists the documents among them")
    for limit in report.limits:
        complain(f"the crawl was ended by {limit}")
    if report.complete and not report.listed:
        chosen = "" if glob is None else f" that matches {glob!r}; * stays within a folder, **/ goes into all of them"
        complain(f"warning: there is no document to fetch in {report.source}{chosen}")
    rows = [
        ("listed", f"{report.listed:,} documents"),
        ("fetched", f"{report.fetched:,} documents, {readable_size(report.bytes)}"),
        ("unchanged", f"{report.unchanged:,}"),
        ("gone", f"{report.gone:,}" + (f", {report.pruned:,} values deleted" if report.pruned else "")),
        ("failed", f"{report.failed:,}"),
    ]
    rows += [("skipped", f"{report.skipped:,}")] if report.skipped else []
    rows += [("healed", f"{report.healed:,}")] if report.healed else []
    print_table([*rows, ("seconds", f"{report.seconds:.1f}")])


def _line(document: Any) -> str:
    checksum = document.sha256[:12] if document.sha256 else UNKNOWN
    size, seen = size_text(document.size), time_text(document.last_seen, exact=False)
    return escaped(f"{document.status:<10}  {size:>12}  {checksum:<12}  {seen}  {document.key}")


def _since(text: str | None) -> int | datetime | None:
    """Read the number of a run, or a time."""
    if text is None or text.isdecimal():
        return None if text is None else int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is neither the number of a run nor a time such as 2024-05-01T12:00", param_hint="--since"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
