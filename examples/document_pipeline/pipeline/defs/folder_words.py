"""The words of each top folder: an asset with a partition for each, so that one folder can be done again alone."""

import re
from collections import Counter

import dagster as dg
import pyarrow as pa

from anystore_dagster import FileCollection, content_changed
from pipeline.folders import FOLDERS

WORD = re.compile(r"[^\W\d_]{5,}")
MOST_WORDS = 100
MOST_CHARACTERS = 1 << 20


@dg.asset(
    group_name="documents",
    kinds={"table"},
    deps=["document_index"],  # which adds the partitions
    partitions_def=FOLDERS.definition,
    automation_condition=content_changed(),
)
def folder_words(context: dg.AssetExecutionContext, documents: FileCollection) -> pa.Table:
    """The hundred words that the plain texts of a folder use most."""
    counts = Counter[str]()
    for document in documents:
        if FOLDERS.covers(context.partition_key, document.key) and (document.mimetype or "").startswith("text/plain"):
            with document.open() as file:
                text = file.read(MOST_CHARACTERS).decode(errors="replace")
            counts.update(word.lower() for word in WORD.findall(text))
    words = counts.most_common(MOST_WORDS)
    return pa.table({"word": [word for word, _ in words], "count": [count for _, count in words]})
