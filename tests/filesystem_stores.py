"""Empty stores on real backends, for tests of the filesystem."""

import uuid

from anystore import get_store
from tests.object_servers import BUCKET

REAL = ("sqlite", "redis", "seaweedfs")
"""What every library is tested on."""

ALL = ("memory", "folder", "zip", *REAL, "moto")


def place(kind, ask, path):
    """Give the URI and the configuration of an empty store.

    Args:
        kind: One of ``ALL``.
        ask: Gives the fixture of a name, so that only the servers that are needed are started.
        path: A temporary folder.
    """
    name = f"t{uuid.uuid4().hex[:12]}"
    match kind:
        case "memory":
            return f"memory://{name}", {}
        case "folder":
            return f"{path}/{name}", {}
        case "zip":
            return f"{path}/{name}.zip", {}
        case "sqlite":
            return f"sqlite:///{path}/{name}.db", {}
        case "redis":
            return f"redis://127.0.0.1:{ask('redis_server').port}/0/{name}", {}
        case _:
            return f"s3://{BUCKET}/{name}", ask(f"{kind}_server").config


def opened(kind, ask, path):
    """Open an empty store."""
    uri, config = place(kind, ask, path)
    return get_store(uri, backend_config=config)
