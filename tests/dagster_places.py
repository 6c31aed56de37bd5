"""Empty stores that several processes of Dagster can share, on each kind of backend."""

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.object_servers import BUCKET

KINDS = ["folder", "sqlite", "postgres", "redis", "seaweedfs"]


def make_place(kind: str, ask: Callable[[str], Any], path: Path) -> tuple[str, dict[str, Any]]:
    """Give the URI and the ``backend_config`` of an empty store; ``ask`` starts the server of a fixture's name."""
    name = f"t{uuid.uuid4().hex[:12]}"
    match kind:
        case "folder":
            return f"{path}/folder", {}
        case "sqlite":
            return f"sqlite:///{path}/store.db", {}
        case "postgres":
            return ask("postgres_server").url, {"table": name}
        case "redis":
            return f"redis://127.0.0.1:{ask('redis_server').port}/0/{name}", {}
        case "seaweedfs":
            return f"s3://{BUCKET}/{name}", ask("seaweedfs_server").config
    raise ValueError(kind)
