"""The demo's Dagster code location: documents, an index of them, a report."""
