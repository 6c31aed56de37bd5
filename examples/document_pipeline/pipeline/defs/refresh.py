"""Everything at once, and when to do it: as soon as a document of the listing is new or has changed."""

import dagster as dg

from anystore_dagster import AnystoreResource, listing_sensor

refresh = dg.define_asset_job(
    "refresh",
    selection=["documents", "document_index", "report"],
    description="Fetch what is new, and bring the index and the report up to date.",
)

new_documents = listing_sensor(
    "new_documents",
    source=AnystoreResource(uri=dg.EnvVar("URL")),
    state=AnystoreResource(uri=dg.EnvVar("STORE")),
    target=refresh,
)
