"""The report of the index, which Dagster shows with its picture."""

import dagster as dg
import pyarrow as pa

from anystore_dagster import checksum_matches, content_changed
from pipeline.reporting import write_report


@dg.asset(group_name="documents", kinds={"markdown"}, automation_condition=content_changed())
def report(context: dg.AssetExecutionContext, document_index: pa.Table) -> str:
    """What kinds of documents there are, the biggest and the newest, with a picture."""
    markdown = write_report(document_index)
    context.add_output_metadata({"report": dg.MetadataValue.md(markdown)})
    return markdown


is_unchanged = checksum_matches(report)
