"""A value as an IO manager keeps it, without Dagster around: through its form, and into a store."""

import tempfile
from pathlib import Path
from typing import Any

from anystore import Store, get_store
from anystore_dagster.stored import BlobRef, Encoded, Selection
from anystore_dagster.values import form_for
from anystore_dagster.writing import WriteRules, store_encoded

KEY = "one/value"
ALL = Selection()


def encode(value: Any, annotation: Any, *, mode: str = "auto") -> Encoded:
    """Make a value ready to be stored, in a folder that stays until the tests end."""
    return form_for(annotation, mode).encode(value, Path(tempfile.mkdtemp(prefix="anystore-test-")))


def keep(value: Any, annotation: Any, *, store: Store | None = None, mode: str = "auto") -> BlobRef:
    """Store a value under its annotation, and say where it is."""
    target = get_store("memory://keeping") if store is None else store
    with tempfile.TemporaryDirectory(prefix="anystore-test-") as folder:
        encoded = form_for(annotation, mode).encode(value, Path(folder))
        store_encoded(target, KEY, encoded, WriteRules(retries=0))
    return BlobRef(target, KEY)


def load(source: BlobRef, annotation: Any, *, mode: str = "auto", columns: Any = None, filters: Any = None) -> Any:
    """Load a value under an annotation."""
    return form_for(annotation, mode).decode(source, Selection(columns, filters))


def round_trip(value: Any, stored_as: Any, loaded_as: Any = None, *, mode: str = "auto") -> Any:
    """Store a value, and load it under the same annotation or another one."""
    source = keep(value, stored_as, mode=mode)
    return load(source, stored_as if loaded_as is None else loaded_as, mode=mode)
