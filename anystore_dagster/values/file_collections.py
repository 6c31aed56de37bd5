"""Many files as one value: a folder of files, and a manifest that names them."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

from anystore.backend import CHUNK_BYTES
from anystore.errors import CodecError, InvalidKey, Unsupported
from anystore.extras import load
from anystore.keys import parent_folders, parse_key
from anystore.virtual.copies import download
from anystore.virtual.folders import local_errors, make_held
from anystore.virtual.watching import watched_prefix
from anystore_dagster.metadata import PREVIEW, PREVIEW_ROWS, preview_rows
from anystore_dagster.stored import BlobRef, Encoded, Form, Selection, files_folder, refuse_selection
from anystore_dagster.values.spooling import as_file, file_to_store, hold_bytes, local_reference

_FILES = "anystore.files"
_CRAWL = "anystore.crawl"
_MIRROR = "anystore.mirror"
_WORKERS = 8


@dataclass(frozen=True, slots=True)
class SeenRun:
    """A crawl that somebody has seen.

    Attributes:
        run: Its number.
        root: The checksum over all documents after it, by which its journal is known again.
    """

    run: int
    root: str


class FileCollection(Mapping[str, BlobRef]):
    """Files by name, which are one value together.

    Return one made of local files, bytes or references; annotate an input with it to get a reference for each name.
    All of them are stored before the value is, so that whoever loads it sees all of one version.

    The value of a crawl asset is one, too: it gives the documents of the crawl instead of names; see
    :class:`anystore_dagster.values.crawls.CrawledFiles`.

    Args:
        files: What each file is made of, by its relative name, such as ``2024/may.pdf``.

    Raises:
        CodecError: If a name is no key, or is also the folder of another one.

    Example:
        >>> pages = FileCollection({"index.html": b"<p>", "img/logo.png": b"PNG"})
        >>> sorted(pages), pages["index.html"].read()
        (['img/logo.png', 'index.html'], b'<p>')
    """

    counts_runs: ClassVar[bool] = False
    """Whether it tells what is new since a run that whoever loads it has seen."""

    def __init__(self, files: Mapping[str, Path | bytes | BlobRef]) -> None:
        if not isinstance(files, Mapping):
            raise CodecError(
                f"FileCollection takes a dict of name and Path, bytes or BlobRef, not {type(files).__name__}; "
                "for a folder write FileCollection.from_folder(path)"
            )
        _check_names(files)
        for name, content in files.items():
            if not isinstance(content, Path | bytes | BlobRef):
                raise CodecError(f"the file {name!r} is {type(content).__name__}; give a Path, bytes or a BlobRef")
        self._files: dict[str, Path | bytes | BlobRef] = dict(files)
        self._known: Mapping[str, Any] = {}  # size and checksum of files that are stored already

    @classmethod
    def from_folder(cls, folder: str | os.PathLike[str]) -> "FileCollection":
        """Collect every file of a folder and of the folders in it; empty folders are left out.

        Args:
            folder: A folder of this machine. A link to a file stands for the file.

        Returns:
            The collection; the files are read when it is stored.

        Raises:
            CodecError: If it is no folder, or something in it is neither a file nor a folder, or a link to a folder.
        """
        root = Path(folder)
        if not root.is_dir():
            raise CodecError(f"{str(root)!r} is no folder of this machine")
        return cls({path.relative_to(root).as_posix(): path for path in _walk(root)})

    def __getitem__(self, name: str) -> BlobRef:
        """Give the reference to a file.

        Raises:
            KeyError: If there is none of this name.
        """
        content = self._files[name]
        if isinstance(content, bytes):
            content = hold_bytes(content)
        if isinstance(content, Path):
            content = local_reference(content)
        return content

    def __iter__(self) -> Iterator[Any]:
        """Go through the names; in the value of a crawl asset, through its documents."""
        return iter(self._files)

    def __len__(self) -> int:
        """Count the files."""
        return len(self._files)

    def __repr__(self) -> str:
        """Tell the number of files."""
        return f"<FileCollection of {len(self):,} files>"

    @property
    def new(self) -> Collection[Any]:
        """Of a crawl asset, the documents that the last successful run of the asset that loads this did not see.

        Raises:
            Unsupported: If this is no value of a crawl asset, and so knows of no runs.
        """
        raise self._no_runs("new")

    @property
    def changed(self) -> Collection[Any]:
        """Of a crawl asset, the documents that have other bytes than that run saw; errors as for ``new``."""
        raise self._no_runs("changed")

    @property
    def gone(self) -> Collection[Any]:
        """Of a crawl asset, the documents that have gone from the listing since that run; errors as for ``new``."""
        raise self._no_runs("gone")

    @property
    def run(self) -> SeenRun:
        """Of a crawl asset, the crawl that this is about; errors as for ``new``."""
        raise self._no_runs("run")

    def since(self, seen: SeenRun | None) -> "FileCollection":  # noqa: ARG002 - for those that have runs
        """Give the same documents of a crawl asset, with what is new counted from another crawl.

        Args:
            seen: That crawl, such as the ``run`` of a collection that was loaded before; None makes all of them new.

        Returns:
            A collection beside this one.

        Raises:
            Unsupported: If this is no value of a crawl asset.
        """
        raise self._no_runs("since")

    def _no_runs(self, name: str) -> Unsupported:
        return Unsupported(f"{name} is known of the documents of a crawl asset; of these files, no runs are remembered")

    @contextmanager
    def local_folder(self) -> Iterator[Path]:
        """Give all files as a local folder for the time of a ``with`` block; it is a copy.

        Yields:
            The folder; the files have their names in it.

        Raises:
            DoesNotExist: If a file is gone.
            BackendError: If there is no room.
        """
        with local_errors("make a temporary folder"):
            held = make_held(watched_prefix())
        try:
            root = Path(held.path)

            def fetch(name: str) -> None:
                target = root / name
                source = self.reference(name)
                with local_errors(f"copy the file {name!r} to a temporary folder"):
                    target.parent.mkdir(parents=True, exist_ok=True)
                download(source.store.backend, parse_key(source.key), str(target))

            with ThreadPoolExecutor(_WORKERS, thread_name_prefix="anystore-files") as pool:
                list(pool.map(fetch, self.keys()))
            yield root
        finally:
            if held.is_mine:
                shutil.rmtree(held.path, ignore_errors=True)
            held.release()

    def reference(self, name: str) -> BlobRef:
        """Give the reference to a file.

        Args:
            name: Its name.

        Raises:
            KeyError: If there is none of this name.
        """
        return self[name]

    def to_encoded(self, folder: PathLike[str]) -> Encoded:
        """Make the manifest; each file is read once for its checksum.

        Args:
            folder: A private folder.

        Returns:
            The manifest as bytes, and the files.

        Raises:
            CodecError: If a local file is missing.
            DoesNotExist: If what a reference points to is gone.
        """
        files = {name: _storable(self._files[name], folder) for name in sorted(self._files)}
        with ThreadPoolExecutor(_WORKERS, thread_name_prefix="anystore-files") as pool:
            measured = pool.map(lambda name: self._known.get(name) or _measure(files[name]), files)
            listed = dict(zip(files, measured, strict=True))
        manifest = write_manifest(_FILES, {"files": listed})
        return Encoded(manifest, files, _describe(listed))

    @classmethod
    def from_manifest(cls, source: BlobRef, manifest: bytes) -> "FileCollection":
        """Open a collection that was stored.

        Args:
            source: Where its manifest is.
            manifest: The bytes there.

        Returns:
            The collection; no file is read, and no other store is asked.

        Raises:
            CodecError: If the bytes are no manifest, or one of a kind that this version does not know.
        """
        try:
            content = json.loads(manifest)
            opener = _OPENERS[content["kind"]]
        except (ValueError, TypeError, LookupError) as error:
            raise CodecError(
                "the stored value is no manifest of files that this version knows; annotate what was stored"
            ) from error
        return opener(source, manifest, content)


def write_manifest(kind: str, content: Mapping[str, Any]) -> bytes:
    """Make a manifest.

    Args:
        kind: Tells how it is opened.
        content: Plain values.

    Returns:
        JSON that begins with the kind, with blanks that no other value is written with.
    """
    return json.dumps({"kind": kind, **content}, indent=1, ensure_ascii=False).encode()


def is_manifest(data: bytes) -> bool:
    """Tell whether bytes are a manifest."""
    return data.startswith(_STARTS)


def _open_files(source: BlobRef, manifest: bytes, content: Mapping[str, Any]) -> FileCollection:
    listed = content.get("files")
    if not isinstance(listed, dict) or not all(isinstance(known, dict) for known in listed.values()):
        raise CodecError("the manifest of the files is damaged; materialize the asset again")
    folder = files_folder(source.key, manifest)
    collection = FileCollection({name: BlobRef(source.store, f"{folder}/{name}") for name in listed})
    collection._known = listed  # noqa: SLF001 - of the class above
    return collection


def _open_crawl(_source: BlobRef, _manifest: bytes, content: Mapping[str, Any]) -> FileCollection:
    opened: FileCollection = load("anystore_dagster.values.crawls").open_crawl(content)
    return opened


def _open_mirror(_source: BlobRef, _manifest: bytes, content: Mapping[str, Any]) -> FileCollection:
    opened: FileCollection = load("anystore_dagster.values.mirrors").open_mirror(content)
    return opened


# by what a manifest says of itself: how its files are found
_OPENERS: Mapping[str, Callable[[BlobRef, bytes, Mapping[str, Any]], FileCollection]] = {
    _FILES: _open_files,
    _CRAWL: _open_crawl,
    _MIRROR: _open_mirror,
}
_STARTS = tuple(write_manifest(kind, {"": 0}).partition(b",")[0] + b"," for kind in _OPENERS)


def _check_names(names: Mapping[str, object]) -> None:
    """Refuse names that lead elsewhere, and those that no file system can hold beside each other."""
    for name in names:
        try:
            parse_key(name)
        except InvalidKey as error:
            raise CodecError(f"a file of the collection cannot be called so: {error}") from error
    for name in names:
        for above in parent_folders(name):
            if above in names:
                raise CodecError(f"the file {above!r} is also the folder of {name!r}; give one of them another name")


def _walk(root: Path) -> Iterator[Path]:
    """Find files, in the order of their names."""
    for path in sorted(root.iterdir()):
        if path.is_symlink() and path.is_dir():
            raise CodecError(f"{str(path)!r} is a link to a folder, which could lead anywhere; copy the folder instead")
        if path.is_dir():
            yield from _walk(path)
        elif path.is_file():
            yield path
        else:
            raise CodecError(
                f"{str(path)!r} is neither a file nor a folder; remove it, or collect the files one by one"
            )


def _storable(content: Path | bytes | BlobRef, folder: PathLike[str]) -> Path | BlobRef:
    if isinstance(content, bytes):
        return as_file(content, folder)
    return file_to_store(content, folder) if isinstance(content, Path) else content


def _measure(content: Path | BlobRef) -> dict[str, Any]:
    digest, size = hashlib.sha256(), 0
    with content.open("rb") if isinstance(content, Path) else content.open() as file:
        while piece := file.read(CHUNK_BYTES):
            digest.update(piece)
            size += len(piece)
    return {"size": size, "sha256": digest.hexdigest()}


def _describe(listed: Mapping[str, Any]) -> dict[str, Any]:
    rows = [(name, known["size"]) for name, known in list(listed.items())[:PREVIEW_ROWS]]
    return {
        "anystore/files": len(listed),
        "anystore/files_bytes": sum(known["size"] for known in listed.values()),
        PREVIEW: preview_rows(("name", "bytes"), rows),
    }


class FileCollectionForm(Form):
    """How a :class:`FileCollection` is stored: its files in a folder beside the value, which is their manifest."""

    name = "FileCollection"
    extension = "json"

    def encode(self, value: Any, folder: PathLike[str]) -> Encoded:
        """Make the manifest."""
        if not isinstance(value, FileCollection):
            raise CodecError(
                f"this is {type(value).__qualname__}, and FileCollection is annotated; return "
                "FileCollection({name: path}) or FileCollection.from_folder(path)"
            )
        return value.to_encoded(folder)

    def decode(self, source: BlobRef, selection: Selection) -> FileCollection:
        """Read the manifest."""
        refuse_selection(self.name, selection)
        return FileCollection.from_manifest(source, source.read())
