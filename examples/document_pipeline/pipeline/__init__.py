"""The demo's Dagster project: documents, an index of them, the words of each folder, and a report."""
