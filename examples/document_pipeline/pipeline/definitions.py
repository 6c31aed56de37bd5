"""What `dagster dev` loads: the pipeline, with the listing and the store that the environment names."""

import logging
import os

from dagster import DagsterInvariantViolationError, EnvVar

from .assets import build_definitions

# A word about every slightly broken PDF helps nobody: its title stays empty.
logging.getLogger("pypdf").setLevel(logging.CRITICAL)

if not os.environ.get("URL") or not os.environ.get("STORE"):
    raise DagsterInvariantViolationError(
        "set URL to the listing to crawl, such as https://host/files/, and STORE to the store that takes it, "
        "such as ./documents; `make ui` does both"
    )

# Names, not values: Dagster shows its resources to whoever opens its interface.
defs = build_definitions(EnvVar("URL"), EnvVar("STORE"))
