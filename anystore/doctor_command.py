"""``anystore doctor``: arguments in, what was found out."""

import sys
from typing import Annotated

import orjson
import typer

from anystore.console import print_table
from anystore.doctor import TIMEOUT, Diagnosis, Extra, Finding, diagnose
from anystore.errors import InvalidOption
from anystore.legible import escaped

_MARKS = {True: "ok", False: "FAILED", None: "-"}


def doctor_command(
    context: typer.Context,
    uri: Annotated[
        str | None, typer.Argument(metavar="URI", help="Path or URI of the store; without it, the default one.")
    ] = None,
    *,
    write: Annotated[
        bool, typer.Option("--write", help="Store a small value under a private name, read it back, delete it.")
    ] = False,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", help="How long to wait for each answer.")] = TIMEOUT,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
    store: Annotated[str | None, typer.Option("--store", "-s", metavar="URI", help="The same as the argument.")] = None,
) -> None:
    """Say what is installed and set, and whether a store can be reached.

    Nothing is written unless --write says so, and no secret is printed. The exit code is 1 if anything that was
    tried has failed; an extra that is missing is no failure.
    """
    if not timeout > 0:
        raise InvalidOption(f"--timeout has to be a number of seconds above 0, not {timeout:g}")
    if uri is not None and store is not None:
        raise typer.BadParameter("give the URI once, as the argument or as --store", param_hint="URI")
    named = uri if store is None else store
    found = diagnose(context.obj if named is None else named, write=write, timeout=timeout)
    if as_json:
        print(orjson.dumps(found.to_dict()).decode())
    else:
        _print_diagnosis(found)
    if not found.ok:
        raise typer.Exit(1)


def _print_diagnosis(found: Diagnosis) -> None:
    print_table(list(found.versions.items()))
    _print_part("packages", [_extra_row(extra) for extra in found.extras])
    _print_part("settings", [(one.name, one.shown, one.source) for one in found.settings])
    _print_part("store", [_finding_row(one) for one in found.findings])


def _print_part(title: str, rows: list[tuple[str, ...]]) -> None:
    if rows:
        sys.stdout.write(f"\n{title}\n")
        sys.stdout.flush()
        print_table([(f"  {first}", *rest) for first, *rest in rows])


def _extra_row(extra: Extra) -> tuple[str, ...]:
    shown = ", ".join(f"{name} {version or 'MISSING'}" for name, version in extra.packages.items())
    return (extra.name or "always", shown if extra.complete else f"{shown}: {extra.install}")


def _finding_row(finding: Finding) -> tuple[str, ...]:
    took = "" if finding.seconds is None else f"{finding.seconds * 1000:.1f} ms"
    return (finding.name, _MARKS[finding.ok], took, escaped(finding.text))
