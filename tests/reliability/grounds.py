"""Empty stores on each kind of backend, and what lies in their medium beside the values."""

import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anystore import Store, get_store
from anystore.backends.redis.names import Names
from tests.object_servers import BUCKET
from tests.places import make_place

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
"""The places, by the name of the kind or of its server, and what the table calls them."""

SERVERS = tuple(SHOWN[kind] for kind in ("postgres", "mariadb", "redis", "seaweedfs", "moto"))
FILES = tuple(SHOWN[kind] for kind in ("folder", "sqlite", "zip"))
KINDS = (*FILES, *SERVERS)
_NAMES = {shown: kind for kind, shown in SHOWN.items()}


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


def new_place(shown: str, ask: Callable[[str], Any], path: Path) -> Place:
    """Make an empty store of one of ``KINDS``; ``ask`` starts the server of a fixture's name."""
    kind = _NAMES[shown]
    uri, config = make_place(kind, ask, path)
    return Place(shown, uri, path, config, ask(f"{kind}_server") if shown in SERVERS else None)
