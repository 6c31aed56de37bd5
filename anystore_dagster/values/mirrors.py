"""The value of a mirror asset: a small manifest, and the values that its store has."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from os import PathLike
from typing import Any

from pydantic import TypeAdapter, ValidationError

from anystore.errors import CodecError, InvalidKey
from anystore.keys import Selection
from anystore_dagster.stored import BlobRef, Encoded
from anystore_dagster.values.file_collections import FileCollection, write_manifest
from anystore_dagster.values.known_stores import Places, find_stores

_KIND = "anystore.mirror"


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorManifest:
    """What is stored of a mirror, beside the values themselves; nothing of it is secret.

    Attributes:
        asset: The asset that mirrors, as text.
        source: URI of the store that was read, with secrets masked.
        store: URI of the store that was filled, with secrets masked.
        prefix: The folder that was mirrored, if not all.
        exclude_prefix: The folder that was left out.
        glob: The pattern of keys that were mirrored.
        counts: What was counted: ``values`` and ``bytes`` that the store has, ``copied``, ``failed`` and others.
    """

    asset: str
    source: str
    store: str
    prefix: str | None = None
    exclude_prefix: str | None = None
    glob: str | None = None
    counts: dict[str, int] = field(default_factory=dict)


_MANIFEST = TypeAdapter(MirrorManifest)
_OF_MANIFEST = [one.name for one in fields(MirrorManifest)]


class MirroredFiles(FileCollection):
    """The values that a mirror asset keeps in step: a reference for each key, listed when they are asked for.

    Args:
        manifest: What is stored.
        places: Its store, if it is open.
    """

    def __init__(self, manifest: MirrorManifest, *, places: Places | None = None) -> None:
        super().__init__({})
        self.manifest = manifest
        self._places = places

    def at(self, store: Any) -> "MirroredFiles":
        """Give the same values from a store that the caller has opened.

        Args:
            store: The :class:`anystore.Store` that holds them.

        Returns:
            A collection beside this one.
        """
        return MirroredFiles(self.manifest, places=Places(store))

    def __iter__(self) -> Iterator[str]:
        """List the keys."""
        of = self.manifest
        return self._stores().store.iterate_keys(prefix=of.prefix, exclude_prefix=of.exclude_prefix, glob=of.glob)

    def __len__(self) -> int:
        """Count the keys; they are listed for that."""
        return sum(1 for _ in self)

    def __getitem__(self, name: str) -> BlobRef:
        """Give the reference to a value.

        Raises:
            KeyError: If there is none.
        """
        of = self.manifest
        try:
            is_there = Selection(of.prefix, of.exclude_prefix, of.glob).covers(name) and self._has(name)
        except InvalidKey:
            is_there = False
        if not is_there:
            raise KeyError(name)
        return BlobRef(self._stores().store, name)

    def __repr__(self) -> str:
        """Tell where they are; nothing is listed for that."""
        return f"<MirroredFiles of {self.manifest.store}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the manifest, and no store with its credentials: it is found anew."""
        return open_mirror, (asdict(self.manifest),)

    def reference(self, name: str) -> BlobRef:
        """Give the reference to a value that was listed."""
        return BlobRef(self._stores().store, name)

    def to_encoded(self, folder: PathLike[str]) -> Encoded:  # noqa: ARG002 - as of any collection
        """Make the manifest."""
        return Encoded(write_manifest(_KIND, asdict(self.manifest)))

    def _has(self, name: str) -> bool:
        return self._stores().store.exists(name)

    def _stores(self) -> Places:
        if self._places is None:
            self._places = find_stores(self.manifest.asset, self.manifest.store, None)
        return self._places


def open_mirror(content: Mapping[str, Any]) -> MirroredFiles:
    """Open what was stored.

    Args:
        content: Of the manifest.

    Returns:
        The values; nothing is listed yet.

    Raises:
        CodecError: If it is damaged.
    """
    try:
        manifest = _MANIFEST.validate_python({name: content[name] for name in _OF_MANIFEST if name in content})
    except ValidationError as error:
        raise CodecError("the manifest of the mirror is damaged; materialize the asset again") from error
    return MirroredFiles(manifest)
