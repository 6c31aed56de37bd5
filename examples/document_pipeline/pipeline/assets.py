"""Three assets: the documents of a listing, an index of them, and a report."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC

import dagster as dg
import pyarrow as pa

from anystore import Store
from anystore.crawling import Document
from anystore.crawling import documents as crawled_documents
from anystore_dagster import AnystoreIOManager, AnystoreResource, crawl_asset

from .reporting import preview, write_report
from .titles import read_title

DOCUMENTS_FOLDER = "documents"
ASSETS_FOLDER = "assets"
TITLES_KEY = "cache/titles.json"

INDEX_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("size", pa.int64()),
        ("type", pa.string()),
        ("modified", pa.timestamp("us", tz="UTC")),
        ("sha256", pa.string()),
        ("title", pa.string()),
    ]
)
_WORKERS = 8


@dg.asset(deps=["documents"], group_name="documents", kinds={"table"})
def document_index(context: dg.AssetExecutionContext, files: AnystoreResource) -> pa.Table:
    """A row for each document: key, size, type, time of change, checksum, title or first line."""
    store = files.store
    present = [document for document in crawled_documents(store.under(DOCUMENTS_FOLDER)) if document.status == "ok"]
    titles, parsed = read_titles(store, present)
    rows = [
        {
            "key": document.key,
            "size": document.size,
            "type": (document.mimetype or "unknown").partition(";")[0],
            "modified": document.modified and document.modified.astimezone(UTC),
            "sha256": document.sha256,
            "title": titles[document.sha256],
        }
        for document in present
    ]
    index = pa.Table.from_pylist(rows, schema=INDEX_SCHEMA)
    context.add_output_metadata({"parsed": parsed, "preview": dg.MetadataValue.md(preview(index))})
    return index


@dg.asset(group_name="documents", kinds={"markdown"})
def report(context: dg.AssetExecutionContext, document_index: pa.Table, files: AnystoreResource) -> str:
    """What kinds of documents there are, the biggest and the newest, with a picture."""
    sources = sorted({document.source for document in crawled_documents(files.store.under(DOCUMENTS_FOLDER))})
    markdown = write_report(document_index, source=", ".join(sources))
    context.add_output_metadata({"report": dg.MetadataValue.md(markdown)})
    return markdown


def read_titles(store: Store, documents: list[Document]) -> tuple[dict[str, str], int]:
    """Read the titles of documents, except of those whose content was parsed by an earlier run.

    Args:
        store: The store that holds them in its folder ``documents``, and the titles known so far.
        documents: The documents.

    Returns:
        Titles by checksum, and how many documents were parsed.
    """
    known: dict[str, str] = store.get(TITLES_KEY, raise_on_nonexist=False) or {}
    new = {document.sha256: document.key for document in documents if document.sha256 not in known}
    files = store.under(DOCUMENTS_FOLDER)
    with ThreadPoolExecutor(_WORKERS) as pool:
        titles = dict(zip(new, pool.map(lambda key: read_title(files, key), new.values()), strict=True))
    if titles:
        store.put(TITLES_KEY, {**known, **titles})
    return {**known, **titles}, len(titles)


def build_definitions(url: str, store: str) -> dg.Definitions:
    """Put the pipeline together.

    Args:
        url: The listing to crawl.
        store: URI of the store that takes everything: documents, index and report.

    Returns:
        The definitions of the code location.
    """
    files = AnystoreResource(uri=store)
    documents = crawl_asset(
        "documents",
        source=AnystoreResource(uri=url),
        target=AnystoreResource(uri=store, prefix=DOCUMENTS_FOLDER),
        group_name="documents",
        description="Every document of the listing, fetched once, and again when it has changed.",
    )
    return dg.Definitions(
        assets=[documents, document_index, report],
        resources={"files": files, "io_manager": AnystoreIOManager(uri=store, prefix=ASSETS_FOLDER)},
    )
