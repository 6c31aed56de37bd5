"""Where the reliability tests keep values: an empty store of each kind, on the servers that the tests share."""

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.object_servers import BUCKET
from tests.servers import HOST

KINDS = ["memory", "folder", "zip", "sqlite", "postgres", "mariadb", "redis", "seaweedfs", "moto"]
SHOWN = {
    "memory": "memory",
    "folder": "local folder",
    "zip": "zip archive",
    "sqlite": "SQLite",
    "postgres": "PostgreSQL",
    "mariadb": "MariaDB",
    "redis": "Redis",
    "seaweedfs": "S3 (SeaweedFS)",
    "moto": "S3 (moto)",
}
"""The names of the kinds in the table."""


def place_of(kind: str, ask: Callable[[str], Any], folder: Path) -> tuple[str, dict[str, Any]]:
    """Give the URI and the configuration of an empty store; ``ask`` gives a fixture by its name."""
    name = f"t{uuid.uuid4().hex[:12]}"
    match kind:
        case "memory":
            return f"memory://{name}", {}
        case "folder":
            return f"{folder}/{name}", {}
        case "zip":
            return f"{folder}/{name}.zip", {}
        case "sqlite":
            return f"sqlite:///{folder}/{name}.db", {}
        case "postgres" | "mariadb":
            return ask(f"{kind}_server").url, {"table": name}
        case "redis":
            return f"redis://{HOST}:{ask('redis_server').port}/0/{name}", {}
        case "seaweedfs" | "moto":
            return f"s3://{BUCKET}/{name}", ask(f"{kind}_server").config
    raise ValueError(kind)
