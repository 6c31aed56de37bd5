"""The main job, end to end: crawl a real listing into a store with Dagster, index it, check it, report on it.

Run it with ``make demo`` or ``make ui``. The environment says what differs from the defaults:

- ``URL``: a listing to crawl, instead of the demo's own web server;
- ``STORE``: the store that takes everything, instead of ``.demo/store``;
- ``DOCS``: how much of ``/usr/share/doc`` is served: ``none``, ``all``, or a number of packages.
"""

import argparse
import contextlib
import io
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
from pipeline.definitions import defs
from pipeline.folders import FOLDERS
from pipeline.reporting import format_size
from server import ServerError, build_site, is_free, serve

from anystore import AnystoreError, Store, get_store
from anystore_dagster.asset_keys import asset_value_key

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
STATE = ROOT / ".demo"
DOCUMENTS_FOLDER = "documents"
ASSETS_FOLDER = "assets"
UI_HOST = "127.0.0.1"
UI_PORTS = range(3000, 3100)
SILENT = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
HEAD_ROWS = 12
HEAD_WORDS = 6
MOST_PARTITIONS = 20
MOST_FAILURES = 20
STOP_SECONDS = 20


def main() -> int:
    """Run the demo; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ui", action="store_true", help="open dagster dev on the pipeline instead of running it")
    parser.add_argument("--state", type=Path, default=STATE, help="where the demo keeps what it needs (%(default)s)")
    arguments = parser.parse_args()
    state: Path = arguments.state.resolve()
    # So that servers are stopped, and folders removed, also when somebody ends the demo.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    # A script that starts the demo with `&` has this ignored; Dagster would inherit that, and never stop.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with provide_listing(os.environ.get("URL", ""), docs=os.environ.get("DOCS", ""), state=state) as url:
            os.environ.update(
                URL=url,
                STORE=os.environ.get("STORE") or str(state / "store"),
                DAGSTER_HOME=prepare_dagster_home(state / "dagster"),
            )
            return open_ui() if arguments.ui else run_pipeline()
    except (ServerError, AnystoreError) as error:
        print(f"\nThe demo could not run: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever reads along has seen enough; Python itself would complain at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130


@contextlib.contextmanager
def provide_listing(url: str, *, docs: str, state: Path) -> Iterator[str]:
    """Give the user's listing, or serve one of our own until the block ends."""
    step("The listing")
    if url:
        say(f"{get_store(url).uri} (yours)")
        yield url
        return
    shown = build_site(state / "site", docs=docs)
    with serve(state / "site", port_file=state / "port") as own:
        say(f"{own} (nginx on this machine), which shows")
        for line in shown:
            say(f"  {line}")
        yield own


def prepare_dagster_home(home: Path) -> str:
    """Make a folder for Dagster that lasts, so that `make ui` shows what `make demo` did, and what steps printed."""
    home.mkdir(parents=True, exist_ok=True)
    logs = {"module": "anystore_dagster", "class": "AnystoreComputeLogManager", "config": {"uri": str(home / "logs")}}
    settings = {"telemetry": {"enabled": False}, "nux": {"enabled": False}, "compute_logs": logs}
    (home / "dagster.yaml").write_text(json.dumps(settings, indent=2))  # which is YAML, too
    return str(home)


def run_pipeline() -> int:
    """Materialise the assets, and say what came of it; return the exit code."""
    step("The pipeline")
    store = get_store(os.environ["STORE"])
    say(f"documents -> document_index -> report and folder_words, by Dagster, into the store {store.uri}")
    # What has failed is said below, once; Python would print warnings that nobody listens to.
    logging.getLogger("anystore.crawling").addHandler(logging.NullHandler())
    started = time.monotonic()
    pipeline = defs()
    refresh = pipeline.resolve_job_def("refresh")
    by_folder = pipeline.resolve_implicit_global_asset_job_def()
    # What the assets print is for Dagster's pages, which keep it.
    with dg.DagsterInstance.get() as instance, contextlib.redirect_stdout(io.StringIO()):
        result = refresh.execute_in_process(instance=instance, raise_on_error=False, run_config=SILENT)
        results = {"": result}
        for folder in instance.get_dynamic_partitions(FOLDERS.name)[:MOST_PARTITIONS] if result.success else ():
            results[folder] = by_folder.execute_in_process(
                instance=instance,
                partition_key=folder,
                asset_selection=[dg.AssetKey("folder_words")],
                raise_on_error=False,
                run_config=SILENT,
            )
    if failed := [one for one in results.values() if not one.success]:
        tell_errors(failed[0])
        return 1
    say(f"four assets in {time.monotonic() - started:.1f} s")
    tell_crawl(metadata_of(result, "documents"))
    tell_checks(result)
    tell_index(store, parsed=metadata_of(result, "document_index")["parsed"])
    tell_words({folder: one.output_for_node("folder_words") for folder, one in results.items() if folder})
    tell_where(store)
    return 0


def tell_crawl(crawled: dict[str, Any]) -> None:
    """Say what was fetched, and loudly what was not."""
    listed, fetched, unchanged, gone, failed = (
        crawled[f"anystore/{name}"] for name in ("listed", "fetched", "unchanged", "gone", "failed")
    )
    step("The crawl")
    say(f"{listed:,} listed, {fetched:,} fetched, {unchanged:,} unchanged, {gone:,} gone, {failed:,} failed")
    say(f"{format_size(crawled['anystore/fetched_bytes'])} fetched in {crawled['anystore/seconds']:.1f} s")
    if not fetched and not failed:
        say("Nothing is new or changed since the last run, so nothing was fetched.")
    if gone:
        say("What is gone is no longer listed; the store keeps it, the index leaves it out.")
    if failed:
        say(f"!! {failed:,} FAILED: listed, but not in the store. All others are there.")
        for failure in crawled["anystore/failures"].records[:MOST_FAILURES]:
            say(f"!! {failure.data['key']}: {failure.data['reason']}")
        if failed > MOST_FAILURES:
            say(f"!! and {failed - MOST_FAILURES:,} more, in the metadata of the asset documents (make ui)")


def tell_checks(result: dg.ExecuteInProcessResult) -> None:
    """Say which checks have passed, and why others have not."""
    checks = result.get_asset_check_evaluations()
    step(f"The checks: {sum(check.passed for check in checks)} of {len(checks)} passed")
    for check in checks:
        if not check.passed:
            say(f"!! {check.asset_key.to_user_string()}, {check.check_name}: {check.description}")


def tell_index(store: Store, *, parsed: int) -> None:
    """Show the head of the table that the IO manager keeps."""
    key = f"{ASSETS_FOLDER}/{asset_value_key(['document_index'])}"
    index: pa.Table = store.get(key, serialization_mode="parquet")
    step(f"The index: {index.num_rows:,} rows, {parsed:,} documents parsed in this run")
    rows = index.select(["key", "size", "type", "title"]).slice(0, HEAD_ROWS).to_pylist()
    for row in rows:
        size, kind = format_size(row["size"]), clip(row["type"], 25)
        say(f"{size:>10}  {kind:<25}  {clip(row['key'], 48):<48}  {clip(row['title'], 50)}".rstrip())
    if index.num_rows > len(rows):
        say(f"... and {index.num_rows - len(rows):,} more")


def tell_words(words: dict[str, pa.Table]) -> None:
    """Show the head of each partition."""
    step("The words of each top folder, a partition each")
    for folder, table in words.items():
        most = table["word"].to_pylist()[:HEAD_WORDS]
        say(f"{clip(folder, 20):<20}  {', '.join(most) if most else 'no plain text'}")


def tell_where(store: Store) -> None:
    """Say where everything is, and what to do next."""
    step("Where to look")
    say(f"store       {store.uri}{' (which ends with this process)' if store.uri.startswith('memory:') else ''}")
    say(f"documents   {DOCUMENTS_FOLDER}/ in it")
    say(f"index       {ASSETS_FOLDER}/{asset_value_key(['document_index'])} (Parquet)")
    say(f"report      {ASSETS_FOLDER}/{asset_value_key(['report'])} (Markdown)")
    say(f"Dagster     make ui, then http://{UI_HOST}:{UI_PORTS.start}/assets/report")
    say("            (with the URL and STORE of this run, if you set them)")
    say("elsewhere   make demo STORE=/tmp/elsewhere        (any URI that anystore takes)")
    say("yours       make demo URL=https://host/files/ STORE=./mine")


def tell_errors(result: dg.ExecuteInProcessResult) -> None:
    """Say which steps failed, and why."""
    step("The pipeline FAILED")
    for event in result.all_events:
        if event.is_step_failure:
            error = event.step_failure_data.error
            while error and error.cause and (error.cls_name or "").startswith("Dagster"):
                error = error.cause
            # The name of an error's class, without that of its module, says enough.
            reason = re.sub(r"\A(?:\w+\.)+(?=\w+: )", "", error.message.strip()) if error else "no reason given"
            say(f"{event.step_key}: {reason}")


def metadata_of(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    """Give the metadata of an asset that was materialised, as plain values."""
    [materialization] = result.asset_materializations_for_node(asset)
    return {name: value.value for name, value in materialization.metadata.items()}


def open_ui() -> int:
    """Run Dagster's own user interface until it is stopped; return its exit code."""
    step("Dagster")
    port = next((port for port in UI_PORTS if is_free(port)), UI_PORTS.start)
    say(f"http://{UI_HOST}:{port}/assets/report, in about ten seconds; Ctrl-C stops it")
    # Python's own -W: Dagster would have projects that dg knows use `dg dev`, and says so at every start.
    command = [sys.executable, "-W", "ignore:Function `dev_command` is superseded", "-m", "dagster", "dev"]
    command += ["--host", UI_HOST, "--port", str(port), "--log-level", "warning"]
    command += ["--working-directory", str(HERE), "--module-name", "pipeline.definitions"]
    with subprocess.Popen(command) as process:  # noqa: S603 - our own Python
        try:
            return process.wait()
        except SystemExit:
            # Whoever ended the demo ends Dagster too; Ctrl-C on a terminal reaches it by itself.
            process.send_signal(signal.SIGINT)
            raise
        finally:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
            process.kill()


def step(title: str) -> None:
    """Print a heading."""
    print(f"\n== {title}", flush=True)


def say(line: str) -> None:
    """Print a line below a heading."""
    print(f"   {line}", flush=True)


def clip(text: str, width: int) -> str:
    """Bring a text to a width."""
    return text if len(text) <= width else text[: width - 1] + "…"


if __name__ == "__main__":
    sys.exit(main())
