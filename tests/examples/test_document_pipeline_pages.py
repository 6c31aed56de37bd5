"""What somebody sees who opens the example in a browser: `dagster dev`, driven by Chromium.

With SCREENSHOTS=docs/images, which `make screenshots` sets, each test leaves a picture of what it looked at.
"""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from examples.document_pipeline import server as demo_server
from tests.dagster_webserver import PAGE_TIMEOUT, WINDOW, chromium, dagster_dev, new_page

EXAMPLE = Path(demo_server.__file__).parent
JOB = "/locations/__repository__@pipeline.definitions/jobs/refresh"
SENSOR = "/locations/__repository__@pipeline.definitions/sensors/new_documents"
FLAT = {"width": 1440, "height": 560}
LOST = "texts/Lost letter.txt"
LOGS = """
compute_logs:
  module: anystore_dagster
  class: AnystoreComputeLogManager
  config:
    uri: {uri}
"""

expect.set_options(timeout=PAGE_TIMEOUT)


@pytest.fixture(scope="module")
def place():
    """A folder whose name can be shown."""
    with tempfile.TemporaryDirectory(prefix="documents-") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def site(place):
    """A listing of the collection."""
    return shutil.copytree(EXAMPLE / "collection", place / "site")


@pytest.fixture(scope="module")
def server(site, place):
    (home := place / "home").mkdir()
    with demo_server.serve(site, port_file=place / "port") as url:
        variables = {"URL": url, "STORE": str(place / "store"), "PYTHONPATH": str(EXAMPLE.parents[1])}
        logs = LOGS.format(uri=place / "logs")
        with dagster_dev(home, EXAMPLE, "pipeline.definitions", variables, settings=logs) as server:
            yield server


@pytest.fixture(scope="module")
def page(server):
    with chromium() as browser:
        page = new_page(browser, server)
        page.goto(JOB)
        skip = page.get_by_role("button", name="Skip")  # Dagster's invitation, once for each instance
        skip.click()
        expect(skip).to_be_hidden()
        yield page


@pytest.fixture(autouse=True)
def usual_window(page):
    page.set_viewport_size(WINDOW)


@pytest.fixture(scope="module")
def run(page):
    """The address of a run that has materialized everything but the partitions, started from the page of the job."""
    page.goto(JOB)
    page.get_by_role("button", name="Materialize all").click()
    return follow_run(page)


@pytest.fixture(scope="module")
def broken_run(page, run, site):
    """A second run, of a listing that shows a document that is not there."""
    (site / LOST).symlink_to("nowhere")
    page.goto("/assets/documents")
    page.get_by_role("button", name="Materialize").first.click()
    return follow_run(page)


def follow_run(page: Page) -> str:
    """Go to the run that was launched a moment ago, and wait until it has ended well."""
    page.get_by_text("View", exact=True).click()
    page.wait_for_url("**/runs/*-*")
    expect(page.get_by_text("Success", exact=True).or_(page.get_by_text("Failure", exact=True))).to_be_visible()
    expect(page.get_by_text("Success", exact=True)).to_be_visible()
    return page.url


def metadata_row(page: Page, label: str) -> Locator:
    return page.get_by_role("row").filter(has=page.get_by_role("cell", name=label, exact=True))


def show(page: Page, asset: str, label: str) -> Locator:
    """Open what an asset's last event has as Markdown; return the dialog."""
    page.goto(f"/assets/{asset}?view=events")
    metadata_row(page, label).get_by_text("Show Markdown").click()
    return page.get_by_role("dialog")


def picture(page: Page, name: str) -> None:
    """Leave a picture, once nothing moves any more."""
    if folder := os.environ.get("SCREENSHOTS"):
        page.mouse.move(0, 0)
        page.screenshot(path=Path(folder) / f"dagster-{name}.png", animations="disabled", caret="hide")


def test_the_lineage_leads_from_the_documents_to_the_report(page, run):
    page.set_viewport_size(FLAT)
    page.goto("/asset-groups")
    for asset in ("documents", "document_index", "folder_words", "report"):
        expect(page.get_by_text(asset, exact=True).first).to_be_visible()
    expect(page.get_by_text("Materialized", exact=True)).to_have_count(3)
    expect(page.get_by_text("3 / 3 Passed")).to_be_visible()
    expect(page.get_by_text("5 partitions")).to_be_visible()
    picture(page, "lineage")


def test_the_table_shows_its_columns_and_first_rows(page, run):
    page.goto("/assets/document_index")
    expect(page.get_by_text("The title of a page or PDF, the first line of a text")).to_be_visible()
    picture(page, "columns")
    dialog = show(page, "document_index", "anystore/preview")
    row = dialog.get_by_role("row").filter(has_text="data/Länder & Gebiete.tab")
    expect(row).to_contain_text("ISO 3166 alpha-2 country codes")
    expect(dialog.get_by_role("row")).to_have_count(11)
    picture(page, "preview")


def test_the_report_has_its_picture(page, run):
    dialog = show(page, "report", "report")
    drawn = dialog.get_by_role("img", name="Documents by type")
    expect(drawn).to_be_visible()
    assert drawn.evaluate("async image => { await image.decode(); return image.naturalWidth }") > 300
    expect(dialog).to_contain_text("16 documents")
    picture(page, "report")


def test_what_a_step_prints_is_shown(page, run):
    page.goto(run)
    page.get_by_role("button", name="stdout").click()
    page.get_by_placeholder("Select a step").click()
    page.get_by_role("menuitem").or_(page.get_by_role("option")).first.click()
    expect(page.get_by_text("16 documents: 16 new, 0 changed, 0 gone")).to_be_visible()
    picture(page, "stdout")


def test_a_partition_is_materialized_alone(page, run):
    page.goto("/assets/folder_words")
    page.get_by_role("button", name="Materialize").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("Select a partition").click()
    page.get_by_role("menuitem", name="licences").click()
    page.keyboard.press("Escape")
    dialog.get_by_role("button", name="Launch 1 run").click()
    follow_run(page)
    page.goto("/assets/folder_words?view=partitions&partition=licences")
    expect(metadata_row(page, "dagster/partition_row_count")).to_contain_text("100")
    picture(page, "partitions")


def test_the_schedule_and_the_sensor_wait_to_be_turned_on(page):
    page.set_viewport_size(FLAT)
    page.goto("/automation")
    expect(page.get_by_text("new_documents")).to_be_visible()
    expect(page.get_by_text("documents_schedule")).to_be_visible()
    expect(page.get_by_text("Scheduled At 03:00 AM UTC")).to_be_visible()
    picture(page, "automation")


def test_a_sensor_that_is_turned_on_asks_for_a_run(page, run):
    page.goto(SENSOR)
    expect(page.get_by_text("Sensor has never run")).to_be_visible()
    switch = metadata_row(page, "Running").locator("label").filter(has=page.locator("input[type=checkbox]"))
    switch.click()
    expect(metadata_row(page, "Latest tick")).to_contain_text("1 run requested")
    switch.click()
    page.get_by_role("button", name="Runs", exact=True).click()
    expect(page.get_by_text("anystore/documents:")).to_be_visible()
    expect(page.get_by_text("Success", exact=True)).to_be_visible()


def test_what_failed_is_a_table(page, broken_run):
    page.goto("/assets/documents?view=events")
    row = metadata_row(page, "anystore/failures")
    row.scroll_into_view_if_needed()
    expect(row).to_contain_text(LOST)
    expect(row).to_contain_text("(status 404)")
    expect(metadata_row(page, "anystore/unchanged").first).to_contain_text("16")
    picture(page, "failures")


def test_a_failed_check_says_why(page, broken_run):
    page.goto("/assets/documents?view=checks&checkDetail=no_failures")
    expect(page.get_by_text(f"1 failed; the first: {LOST}: there is nothing at")).to_be_visible()
    expect(page.get_by_text("(status 404)").first).to_be_visible()
    picture(page, "check")
