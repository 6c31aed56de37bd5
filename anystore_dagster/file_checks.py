"""Whether the files of a stored collection still have the bytes that its manifest names."""

import json
from concurrent.futures import ThreadPoolExecutor

from anystore.errors import DoesNotExist
from anystore_dagster.stored import BlobRef
from anystore_dagster.values.file_collections import FileCollection, is_manifest

_HEAD_BYTES = 64
_THREADS = 8


def changed_files(value: BlobRef) -> list[str]:
    """Read the files of a :class:`FileCollection`, in bounded memory.

    Args:
        value: Any value.

    Returns:
        The names of the files that are gone or have other bytes, sorted; none if the value is no such collection.

    Raises:
        CodecError: If the manifest is damaged.
        DoesNotExist: If there is no value.

    Example:
        >>> from anystore import get_store
        >>> store = get_store("memory://file-checks")
        >>> entry = store.put("text", "no files")
        >>> changed_files(BlobRef(store, "text"))
        []
    """
    with value.open() as file:
        if not is_manifest(file.read(_HEAD_BYTES)):
            return []
    manifest = value.read()
    listed = json.loads(manifest).get("files")
    if not isinstance(listed, dict):
        return []  # of a crawl or mirror, whose documents have their own records
    files = FileCollection.from_manifest(value, manifest)

    def is_changed(name: str) -> bool:
        reference = files.reference(name)
        try:
            return bool(reference.store.checksum(reference.key) != listed[name].get("sha256"))
        except DoesNotExist:
            return True

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="anystore-check") as pool:
        return [name for name, changed in zip(listed, pool.map(is_changed, listed), strict=True) if changed]
