"""What `dagster dev` and `dg` load: what is in the folder `defs`, for the listing and the store of the environment."""

import logging
import os
from pathlib import Path

import dagster as dg

# A word about every slightly broken PDF helps nobody: its title stays empty.
logging.getLogger("pypdf").setLevel(logging.CRITICAL)


@dg.definitions
def defs() -> dg.Definitions:
    """Collect the definitions."""
    if not os.environ.get("URL") or not os.environ.get("STORE"):
        raise dg.DagsterInvariantViolationError(
            "set URL to the listing to crawl, such as https://host/files/, and STORE to the store that takes it, "
            "such as ./documents; `make ui` does both"
        )
    found = dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
    # Each step is shorter than the start of a process of its own would be.
    return dg.Definitions.merge(found, dg.Definitions(executor=dg.in_process_executor))
