"""Empty stores on each kind of backend, and what lies in their medium beside the values."""

import uuid
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anystore import Store, get_store
from anystore.backends.redis.names import Names
from tests.object_servers import BUCKET

FILES = ("local folder", "SQLite", "zip archive")
SERVERS = ("PostgreSQL", "MariaDB", "Redis", "S3 (SeaweedFS)", "S3 (moto)")
KINDS = (*FILES, *SERVERS)

_FIXTURES = {
    "PostgreSQL": "postgres_server",
    "MariaDB": "mariadb_server",
    "Redis": "redis_server",
    "S3 (SeaweedFS)": "seaweedfs_server",
    "S3 (moto)": "moto_server",
}


@dataclass(frozen=True)
class Place:
    """An empty store.

    Attributes:
        kind: One of ``KINDS``.
        uri: Where it is.
        config: Its ``backend_config``.
        folder: For files of whoever works there.
        server: The server that it is on, or None.
    """

    kind: str
    uri: str
    folder: Path
    config: dict[str, Any] = field(default_factory=dict)
    server: Any = None

    @property
    def is_served(self) -> bool:
        """Whether a write that its client did not live to see confirmed may still take effect."""
        return self.kind in SERVERS

    def open(self, **config: Any) -> Store:
        """Open the store, of bytes."""
        return get_store(self.uri, serialization_mode="raw", backend_config=self.config | config)

    def litter(self, keys: set[str]) -> set[str]:
        """Look behind the backend's back for what is neither a value nor ours, nor goes by itself."""
        match self.kind:
            case "local folder":
                root = Path(self.uri)
                files = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
                return {name for name in files - keys if not name.startswith(".anystore/")}
            case "zip archive":
                return self._zip_litter(keys)
            case "Redis":
                prefix = self.uri.rpartition("/")[2] + "/"
                names = Names(prefix)
                found = set(self.server.command("KEYS", f"*{prefix}*"))
                unexplained = {name for name in found if name not in {names.name(key) for key in keys}}
                return {
                    name.decode()
                    for name in unexplained
                    if self.server.command("PTTL", name) == -1 and b"/crawl/" not in name and b"/leases/" not in name
                }
            case "S3 (SeaweedFS)" | "S3 (moto)":
                prefix = self.uri.rpartition("/")[2] + "/"
                listed = self.server.s3().list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
                names = {one["Key"].removeprefix(prefix) for one in listed}
                return {name for name in names - keys if not name.startswith(".anystore/")}
        return set()  # tables hold rows, and no names beside them

    def _zip_litter(self, keys: set[str]) -> set[str]:
        path = Path(self.uri)
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
            names = archive.namelist()
        beside = {name.name for name in path.parent.glob(f"{path.name}*")} - {path.name}
        assert len(set(names)) == len(names)
        return beside | {name for name in names if name not in keys and not name.startswith(".anystore/")}


def make_place(kind: str, ask: Callable[[str], Any], path: Path) -> Place:
    """Make an empty store; ``ask`` starts the server of a fixture's name."""
    name = f"t{uuid.uuid4().hex[:12]}"
    server = ask(_FIXTURES[kind]) if kind in _FIXTURES else None
    match kind:
        case "local folder":
            return Place(kind, f"{path}/{name}", path)
        case "SQLite":
            return Place(kind, f"sqlite:///{path}/{name}.db", path)
        case "zip archive":
            return Place(kind, f"{path}/{name}.zip", path)
        case "PostgreSQL" | "MariaDB":
            return Place(kind, server.url, path, {"table": name}, server)
        case "Redis":
            return Place(kind, f"redis://127.0.0.1:{server.port}/0/{name}", path, {}, server)
        case _:
            return Place(kind, f"s3://{BUCKET}/{name}", path, server.config, server)
