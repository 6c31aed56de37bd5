"""The index: a table with a row for each document, and what is checked of it."""

from concurrent.futures import ThreadPoolExecutor

import dagster as dg
import pyarrow as pa

from anystore import Store
from anystore.crawling import Document
from anystore_dagster import AnystoreResource, FileCollection, content_changed, row_count_at_least
from pipeline.folders import FOLDERS
from pipeline.titles import read_title


def column(name: str, kind: pa.DataType, description: str) -> pa.Field:
    """Make a column with a description, which Dagster shows."""
    return pa.field(name, kind, metadata={"description": description})


INDEX_SCHEMA = pa.schema(
    [
        column("key", pa.string(), "Where the document is, in the store as in the listing"),
        column("title", pa.string(), "The title of a page or PDF, the first line of a text"),
        column("type", pa.string(), "The media type that the server says"),
        column("size", pa.int64(), "Bytes"),
        column("modified", pa.timestamp("us", tz="UTC"), "When the server says that it changed"),
        column("sha256", pa.string(), "Checksum of the stored bytes"),
    ]
)
TITLES = "cache/titles.json"
WORKERS = 8
MOST_NAMED = 5


@dg.asset(group_name="documents", kinds={"table"}, automation_condition=content_changed())
def document_index(context: dg.AssetExecutionContext, documents: FileCollection, files: AnystoreResource) -> pa.Table:
    """A row for each document: key, title or first line, type, size, time of change, checksum."""
    present = [document for document in documents if document.status == "ok"]
    titles, parsed = read_titles(present, files.store)
    # Each top folder is a partition of the asset `folder_words`.
    context.instance.add_dynamic_partitions(FOLDERS.name, sorted({FOLDERS.partition_of(one.key) for one in present}))
    # Counted since the last index, however often the crawl ran in between.
    counts = {"new": len(documents.new), "changed": len(documents.changed), "gone": len(documents.gone)}
    print(f"{len(present):,} documents:", ", ".join(f"{count:,} {what}" for what, count in counts.items()))
    context.add_output_metadata({**counts, "parsed": parsed})
    rows = [
        {
            "key": document.key,
            "title": titles[document.sha256],
            "type": (document.mimetype or "unknown").partition(";")[0],
            "size": document.size,
            "modified": document.modified,
            "sha256": document.sha256,
        }
        for document in present
    ]
    return pa.Table.from_pylist(rows, schema=INDEX_SCHEMA)


has_rows = row_count_at_least(document_index, 1)


@dg.asset_check(asset=document_index, description="Half of the documents, or more, have a title or a first line.")
def has_titles(document_index: pa.Table) -> dg.AssetCheckResult:
    """Look for documents whose title could not be read."""
    keys, titles = document_index["key"].to_pylist(), document_index["title"].to_pylist()
    untitled = [key for key, title in zip(keys, titles, strict=True) if not title]
    named = ", ".join(untitled[:MOST_NAMED]) + (", …" if len(untitled) > MOST_NAMED else "")
    return dg.AssetCheckResult(
        passed=2 * len(untitled) <= len(keys),
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{len(untitled):,} of {len(keys):,} documents have no title" + (f": {named}" if named else ""),
        metadata={"without_title": len(untitled)},
    )


def read_titles(documents: list[Document], store: Store) -> tuple[dict[str, str], int]:
    """Read the titles of documents, except of those whose content was parsed by an earlier run.

    Args:
        documents: The documents.
        store: Remembers the titles.

    Returns:
        Titles by checksum, and how many documents were parsed.
    """
    known: dict[str, str] = store.get(TITLES, raise_on_nonexist=False) or {}
    new = {document.sha256: document for document in documents if document.sha256 not in known}
    with ThreadPoolExecutor(WORKERS) as pool:
        titles = dict(zip(new, pool.map(read_title, new.values()), strict=True))
    if titles:
        store.put(TITLES, {**known, **titles})
    return {**known, **titles}, len(titles)
