"""Empty stores on each kind of backend, which several processes can share."""

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.object_servers import BUCKET

SHARED = ["folder", "sqlite", "postgres", "redis", "seaweedfs"]
"""One kind of each that machines can share."""


def make_place(kind: str, ask: Callable[[str], Any], path: Path) -> tuple[str, dict[str, Any]]:
    """Give the URI and the ``backend_config`` of an empty store.

    Args:
        kind: ``folder``, ``zip``, or the name of a server.
        ask: Gives the fixture of a name, so that only the servers that are needed are started.
        path: A temporary folder.
    """
    name = f"t{uuid.uuid4().hex[:12]}"
    match kind:
        case "memory":
            return f"memory://{name}", {}
        case "folder":
            return f"{path}/{name}", {}
        case "fsspec":
            return f"fsspec+file://{path}/{name}", {}
        case "zip":
            return f"{path}/{name}.zip", {}
        case "sqlite":
            return f"sqlite:///{path}/{name}.db", {}
        case "postgres" | "mariadb":
            return ask(f"{kind}_server").url, {"table": name}
        case "redis" | "valkey":
            return f"{kind}://127.0.0.1:{ask(f'{kind}_server').port}/0/{name}", {}
        case "seaweedfs" | "moto":
            return f"s3://{BUCKET}/{name}", ask(f"{kind}_server").config
        case "azurite":
            server = ask("azurite_server")
            config = {"account_name": server.user, "account_key": server.password, "endpoint_url": server.url}
            return f"az://{BUCKET}/{name}", config
    raise ValueError(kind)
