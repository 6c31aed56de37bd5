"""The command line: arguments in, text out, an exit code.

The code is 0 when all went well, 1 when it did not (the reason is one line on standard
error), 2 when the command was not understood, 130 after Ctrl-C, and 141 when whoever
read the output went away.
"""

import os
import sys
import time
import traceback
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from anystore.console import (
    complain,
    plain_warnings,
    print_table,
    size_text,
    standard_output,
    time_text,
)
from anystore.crawl_command import crawl_command, documents_command
from anystore.doctor import settings_in_force
from anystore.doctor_command import doctor_command
from anystore.errors import AnystoreError
from anystore.keys import parse_key, parse_prefix
from anystore.legible import UNKNOWN, escaped
from anystore.listings import why_missing
from anystore.mirror_command import mirror_command
from anystore.places import (
    STANDARD,
    Place,
    StandardPlace,
    StoredPlace,
    copy_folder,
    copy_place,
    parse_folder,
    parse_place,
    value_uri,
)
from anystore.store import Store, get_store

_COUNT_LIMIT = 10_000
_ROUND_TRIPS = 3


class _Edge(TyperGroup):
    """Turns errors into one line and an exit code, where typer would show a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command, and everything it has yet to write."""
        try:
            with plain_warnings():
                result = super().invoke(ctx)
                if sys.stdout is not None:
                    sys.stdout.flush()
            return result
        except KeyboardInterrupt:
            code = 130
        except BrokenPipeError:
            # the interpreter flushes once more when it ends, and would complain
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = 141
        except AnystoreError as error:
            code = complain(str(error))
        except OSError as error:
            code = complain(f"{error.strerror or error}" + (f": {error.filename!r}" if error.filename else ""))
        raise typer.Exit(code)


def _examples(*lines: str) -> str:
    r"""Write examples behind the ``\b`` that keeps them from being wrapped."""
    return "\n".join(("\b", "Examples:", *(f"  {line}" for line in lines)))


def _show_version(value: bool) -> None:
    if value:
        try:
            print(f"anystore {version('anystore-dagster')}")
        except PackageNotFoundError:
            print("anystore, run from its source")
        raise typer.Exit


app = typer.Typer(
    cls=_Edge,
    rich_markup_mode=None,  # plain help is there in half the time, and reads alike in a pipe
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 100},
    epilog=_examples(
        "anystore put notes/today.txt 'hello world'    keep a value",
        "anystore get notes/today.txt                  print it",
        "anystore keys --glob '**/*.txt' --info        list keys, with size and time",
        "anystore cp notes/today.txt s3://bucket/a.txt copy it to somewhere else",
        "anystore --store https://host/files/ keys     list a web server",
    )
    + "\n\nThe store is --store, else the one of ANYSTORE_FILE or ANYSTORE_URI, else ./anystore-data. "
    "'anystore COMMAND --help' tells more, with examples.",
)

StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store", "-s", metavar="URI", help="Path or URI of the store, such as ./data or s3://bucket/folder."
    ),
]
PrefixOption = Annotated[str | None, typer.Option(metavar="FOLDER", help="Only keys below this folder.")]
KeyArgument = Annotated[str, typer.Argument(metavar="KEY", help="The key, such as notes/today.txt.")]


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: What follows ``anystore``; those of the process if None.

    Returns:
        The exit code.
    """
    try:
        app(arguments, prog_name="anystore")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except Exception as error:
        # its text is left out: nobody has masked the secrets in it
        place = traceback.extract_tb(error.__traceback__)[-1]
        return complain(
            f"{type(error).__name__} in {place.filename}, line {place.lineno}: a fault of anystore; please report it"
        )
    return 0


@app.callback()
def main(
    context: typer.Context,
    store: StoreOption = None,
    show_version: Annotated[  # noqa: ARG001 - its callback has done it
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Keep values under keys, anywhere: in a folder, on a server, behind any URI."""
    context.obj = store


@app.command(
    no_args_is_help=True,
    epilog=_examples(
        "anystore get notes/today.txt", "anystore get report.pdf -o report.pdf", "anystore get table.csv | wc -l"
    ),
)
def get(
    context: typer.Context,
    key: KeyArgument,
    *,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="File, folder or URI to write; '-' prints.")
    ] = STANDARD,
    store: StoreOption = None,
) -> None:
    """Print a value, or write it to a file.

    The bytes come as they are stored; only on a terminal, the last line is ended.
    """
    source = StoredPlace(_open(context, store), parse_key(key))
    copy_place(source, parse_place(output, name=source.name))


@app.command(
    no_args_is_help=True,
    epilog=_examples(
        "anystore put notes/today.txt 'hello world'",
        "anystore put empty.txt ''",
        "anystore put number.txt -- -5        a value that starts with a dash",
        "anystore put report.pdf -i report.pdf",
        "tar c photos | anystore put photos.tar -",
    ),
)
def put(
    context: typer.Context,
    key: KeyArgument,
    *,
    value: Annotated[
        str | None, typer.Argument(metavar="VALUE", help="The text; without it, or as '-', standard input.")
    ] = None,
    source: Annotated[
        str | None, typer.Option("--input", "-i", metavar="FILE", help="File or URI to read, instead of VALUE.")
    ] = None,
    store: StoreOption = None,
) -> None:
    """Store a value: the bytes as they are typed, piped or read.

    Nothing is added or converted, so 'put k 1' and then 'get k' prints 1. The value is stored whole or
    not at all.
    """
    if value is not None and source is not None:
        raise typer.BadParameter("VALUE and --input exclude each other; give one", param_hint="--input")
    if value is None and source is None and sys.stdin is not None and sys.stdin.isatty():
        raise typer.BadParameter("give a VALUE, --input FILE, or '-' to type it here", param_hint="VALUE")
    opened = _open(context, store)
    if value is None or value == STANDARD:
        copy_place(StandardPlace() if source is None else parse_place(source), StoredPlace(opened, parse_key(key)))
    else:
        # argv need not be valid UTF-8; this gives back the bytes that were typed
        opened.put(key, os.fsencode(value), serialization_mode="raw")


@app.command(
    epilog=_examples(
        "anystore keys",
        "anystore keys --prefix reports --glob '**/*.{pdf,txt}'",
        "anystore keys --info | sort -n | tail",
        "anystore keys -0 --prefix old | xargs -0r anystore delete --",
    )
)
def keys(
    context: typer.Context,
    *,
    prefix: PrefixOption = None,
    exclude_prefix: Annotated[str | None, typer.Option(metavar="FOLDER", help="No keys below this folder.")] = None,
    glob: Annotated[
        str | None,
        typer.Option(
            metavar="PATTERN",
            help="Only keys that match, relative to the prefix: * and ? inside a folder, ** across folders, "
            "[a-z], {pdf,txt}. Quote it.",
        ),
    ] = None,
    info: Annotated[bool, typer.Option("--info", help="Print size and time (UTC) before each key.")] = False,
    null: Annotated[
        bool, typer.Option("--null", "-0", help="End keys with NUL, not with a newline, which a key may hold.")
    ] = False,
    store: StoreOption = None,
) -> None:
    """List keys, one a line, as they are found.

    On a terminal, control characters in keys are shown as escapes.
    """
    opened = _open(context, store)
    out, end = standard_output(), b"\0" if null else b"\n"
    show = escaped if sys.stdout.isatty() else str
    lines = (
        (
            f"{size_text(entry.size):>12}  {time_text(entry.modified, exact=False):<20}  {show(entry.key)}"
            for entry in opened.entries(prefix, exclude_prefix, glob)
        )
        if info
        else (show(key) for key in opened.iterate_keys(prefix, exclude_prefix, glob))
    )
    is_empty = True
    for line in lines:
        is_empty = False
        out.write(line.encode() + end)
        out.flush()  # whoever waits at the other end of a slow listing gets each key at once
    missing = why_missing(opened.backend) if is_empty else None
    if missing is not None:
        complain(f"warning: {missing}")


@app.command(
    no_args_is_help=True,
    epilog=_examples("anystore delete notes/today.txt notes/old.txt", "anystore delete --prefix notes/2019 --yes"),
)
def delete(
    context: typer.Context,
    keys: Annotated[list[str] | None, typer.Argument(metavar="KEY", help="The keys.")] = None,
    prefix: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Every key below this folder; asks first.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    store: StoreOption = None,
) -> None:
    """Delete values. A missing key is no error."""
    if bool(keys) == (prefix is not None):
        raise typer.BadParameter("give keys, or --prefix, one of both", param_hint="KEY")
    opened = _open(context, store)
    if prefix is None:
        opened.delete_many([parse_key(key) for key in keys or ()])  # none is deleted if one is no key
    elif yes or _confirm_deletion(opened, prefix):
        opened.delete_prefix(prefix)


@app.command(
    epilog=_examples(
        "anystore info notes/today.txt",
        "anystore info                   what the store can do, and how fast",
        "anystore info --store https://host/files/",
    )
)
def info(
    context: typer.Context,
    key: Annotated[str | None, typer.Argument(metavar="KEY", help="The key; without it, the store.")] = None,
    store: StoreOption = None,
) -> None:
    """Say what is known of a value, or of the store.

    A dash stands for what the store does not say.
    """
    opened = _open(context, store)
    if key is not None:
        entry = opened.info(key)
        print_table(
            [
                ("size", size_text(entry.size)),
                ("modified", time_text(entry.modified)),
                ("version", entry.version or UNKNOWN),
                ("mimetype", entry.mimetype or UNKNOWN),
                ("expires", time_text(entry.expires)),
                ("uri", escaped(value_uri(opened, entry.key))),
            ]
        )
        return
    milliseconds = min(_measure_round_trip(opened) for _ in range(_ROUND_TRIPS)) * 1000
    names = [(feature.name or "").lower() for feature in opened.features]
    print_table(
        [("uri", opened.uri), ("features", " ".join(names) or "read"), ("round trip", f"{milliseconds:.2f} ms")]
    )


@app.command(
    no_args_is_help=True,
    epilog=_examples(
        "anystore cp notes/today.txt notes/copy.txt      key to key",
        "anystore cp notes/today.txt ./today.txt         key to file, by its path",
        "anystore cp ./report.pdf s3://bucket/reports/   into a folder, name kept",
        "anystore cp https://host/files/a%20b.txt -      print from a web server",
        "anystore cp -r https://host/files/ ./downloads  all of a store",
        "anystore cp -r notes ./backup                   all below a folder of keys",
    ),
)
def cp(
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Key, URI, path, or '-'.")],
    target: Annotated[str, typer.Argument(metavar="TARGET", help="The same; with a / at its end, a folder.")],
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Copy every value of a store, or below a folder.")
    ] = False,
    store: StoreOption = None,
) -> None:
    """Copy a value, or with -r many, from anywhere to anywhere.

    The last segment of a URI is the key, what stands before it the store. Values are streamed, and each
    is written whole or not at all.
    """

    def open_store() -> Store:
        return _open(context, store)

    if not recursive:
        origin = parse_place(source, open_store)
        copy_place(origin, parse_place(target, open_store, name=origin.name))
        return
    failed = 0
    for key, error in copy_folder(parse_folder(source, open_store), parse_folder(target, open_store)):
        if error is not None:
            failed += 1
            complain(f"{key!r} was not copied: {error}")
    if failed:
        raise typer.Exit(1)


@app.command(
    no_args_is_help=True,
    epilog=_examples(
        "anystore io -i report.pdf -o s3://bucket/report.pdf",
        "anystore io -i https://host/files/report.pdf -o report.pdf",
        "sort names.txt | anystore io -o names.txt    safe: replaced at the end",
    ),
)
def io(
    context: typer.Context,
    source: Annotated[
        str, typer.Option("--input", "-i", metavar="FILE", help="File or URI to read; '-' is standard input.")
    ] = STANDARD,
    target: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="File or URI to write; '-' is standard output.")
    ] = STANDARD,
) -> None:
    """Copy between files, URIs and pipes; no keys.

    The output is replaced when all of the input was read, so both may be the same file.
    """
    if context.obj is not None:
        raise typer.BadParameter("io copies files and URIs; to copy keys of a store: anystore cp", param_hint="--store")
    origin: Place = parse_place(source)
    copy_place(origin, parse_place(target, name=origin.name))


app.command(
    "mirror",
    no_args_is_help=True,
    epilog=_examples(
        "anystore mirror ./reports s3://bucket/reports",
        "anystore mirror s3://bucket ./backup --delete --dry-run    what would happen",
        "anystore mirror https://host/files/ ./files --glob '**/*.pdf'",
        "anystore mirror ./a ./b --compare checksum --verify full   trust nothing",
    ),
)(mirror_command)


app.command(
    "crawl",
    no_args_is_help=True,
    epilog=_examples(
        "anystore crawl https://host/files/ ./files",
        "anystore crawl https://host/files/ s3://bucket/files --glob '**/*.pdf'",
        "anystore crawl https://host/files/ ./files --verify full    heal what rotted",
    ),
)(crawl_command)


app.command(
    "documents",
    no_args_is_help=True,
    epilog=_examples(
        "anystore documents ./files --status gone", "anystore documents ./files --since 2024-05-01 --json"
    ),
)(documents_command)


@app.command(epilog=_examples("anystore settings", "ANYSTORE_URI=s3://bucket anystore settings"))
def settings(context: typer.Context, store: StoreOption = None) -> None:
    """Print the settings in force, and where each comes from.

    Secrets are masked. Those of the default store do not hold for a --store.
    """
    found = settings_in_force(context.obj if store is None else store)
    print_table([(one.name, one.shown, one.source) for one in found])


app.command(
    "doctor",
    epilog=_examples(
        "anystore doctor                         what is installed and set",
        "anystore doctor s3://bucket/folder      a store; nothing is written",
        "anystore doctor redis://host/0 --write  with a value, deleted again",
    ),
)(doctor_command)


def _open(context: typer.Context, uri: str | None) -> Store:
    """Open the store of the command, else the one named before it, else the default one."""
    return get_store(context.obj if uri is None else uri)


def _confirm_deletion(store: Store, prefix: str) -> bool:
    """Ask before many values are deleted; where there are none, there is nothing to ask."""
    count = sum(1 for _ in islice(store.iterate_keys(parse_prefix(prefix)), _COUNT_LIMIT))
    if not count:
        return False
    many = f"more than {count - 1:,} values" if count == _COUNT_LIMIT else f"{count:,} value{'s'[: count != 1]}"
    typer.confirm(escaped(f"Delete {many} below {prefix!r} in {store.uri}?"), abort=True, err=True)
    return True


def _measure_round_trip(store: Store) -> float:
    """Ask for one value, which need not be there, and give the seconds it took."""
    start = time.perf_counter()
    store.exists("anystore-round-trip")
    return time.perf_counter() - start
