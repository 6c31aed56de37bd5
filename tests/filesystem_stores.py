"""Empty stores on real backends, for tests of the filesystem."""

from anystore import get_store
from tests.places import make_place

REAL = ("sqlite", "redis", "seaweedfs")
"""What every library is tested on."""

ALL = ("memory", "folder", "zip", *REAL, "moto")


def opened(kind, ask, path):
    """Open an empty store."""
    uri, config = make_place(kind, ask, path)
    return get_store(uri, backend_config=config)
