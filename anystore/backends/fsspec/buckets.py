"""Objects of S3 through s3fs: as ``fsspec+s3://``, for what the backend of ``s3://`` cannot do.

The service itself keeps writes whole, so nothing is written under another name first.
"""

import atexit
import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from typing import Any, cast
from weakref import WeakSet

from s3fs.utils import FileExpired

from anystore.backend import CHUNK_BYTES, Entry, Feature, Reader, Writer
from anystore.backends.fsspec import failures
from anystore.backends.fsspec.files import Files, Info
from anystore.backends.fsspec.media import Medium
from anystore.backends.fsspec.values import entry_of, get_whole
from anystore.errors import AnystoreError, BackendError, DoesNotExist, InvalidKey
from anystore.keys import MAX_KEY_BYTES, Key, private_key

_PART_BYTES = 8 << 20
# A service takes 10,000 parts, so they grow as they become many.
_PARTS_OF_ONE_LENGTH = 2_500
_CHANGED = (412, 416)
_PIECE_BYTES = 4 * CHUNK_BYTES
# botocore alone would wait for a minute, six times over.
_PATIENCE = {"connect_timeout": 10, "read_timeout": 60, "retries": {"max_attempts": 2}}


class BucketFiles(Files):
    """A bucket, or a folder of it."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._bucket_seen = False
        self._keeps_backslash: bool | None = None

    def path(self, key: str) -> str:
        path = super().path(key)
        if len(path.partition("/")[2].encode()) > MAX_KEY_BYTES:
            raise InvalidKey(f"{self.uri} cannot hold {key!r}: S3 takes {MAX_KEY_BYTES:,} bytes, the folder among them")
        return path

    def connect(self) -> Any:
        given = dict(self.arguments)
        given["config_kwargs"] = _PATIENCE | dict(given.get("config_kwargs") or {})
        return self._class(**given, skip_instance_cache=True, use_listings_cache=False)

    def look(self, fs: Any, path: str) -> Info:
        try:
            return super().look(fs, path)
        except FileNotFoundError:
            self.check_bucket(fs, path)
            raise

    def list_folder(self, fs: Any, path: str) -> list[Info]:
        fs.invalidate_cache()
        try:
            listed = fs.ls(path, detail=True)
        except FileNotFoundError:
            self.check_bucket(fs, path)
            raise
        names = ((info, str(info["name"])[len(path) + 1 :]) for info in listed)
        # What has no name of its own is the mark of the folder, or a value of the folder's name.
        return [{**info, "name": name} for info, name in names if name or info["type"] == "directory"]

    def check_name(self, fs: Any, key: str) -> None:
        """Refuse a backslash where the service makes a slash of it, and so another key.

        Raises:
            InvalidKey: If it does.
        """
        if "\\" not in key:
            return
        if self._keeps_backslash is None:
            folder = self.path(private_key(f"probe-{secrets.token_hex(8)}"))
            fs.pipe_file(f"{folder}/a\\b", b"")
            self._keeps_backslash = [info["name"] for info in self.list_folder(fs, folder)] == ["a\\b"]
            fs.rm_file(f"{folder}/a\\b")
        if not self._keeps_backslash:
            raise InvalidKey(f"{self.uri} cannot hold {key!r}: its service turns a backslash into a slash")

    def check_bucket(self, fs: Any, path: str) -> None:
        """Tell a missing bucket from a missing value, of which s3fs says the same.

        Raises:
            BackendError: If there is no such bucket.
        """
        if self._bucket_seen:
            return
        bucket = fs.split_path(path)[0]
        try:
            with suppress(PermissionError):  # who may read objects may still not ask for the bucket
                fs.call_s3("head_bucket", Bucket=bucket)
        except FileNotFoundError:
            raise BackendError(f"{self.uri}: there is no bucket {bucket!r}; make it, or correct the URI") from None
        self._bucket_seen = True


_writers: WeakSet["BucketWriter"] = WeakSet()


@cache
def _abort_at_exit() -> None:
    """Abort what is still open at the end of Python, while the thread lives in which s3fs works."""
    atexit.register(_abort_all)


def _abort_all() -> None:
    for writer in list(_writers):
        writer.abort()


class BucketWriter(Writer):
    """A value sent as one object, or in parts once it is longer than one; the service publishes it whole."""

    def __init__(self, files: Files, key: Key) -> None:
        self._files = files
        self._key = key
        self._lease = files.borrow()
        self._process = os.getpid()
        self._buffer = bytearray()
        self._size = 0
        self._upload = ""
        self._parts: list[dict[str, Any]] = []
        with files.errors(key, "write", writing=True):
            cast("BucketFiles", files).check_name(self._lease.fs, key)
        self._closed = False
        _abort_at_exit()
        _writers.add(self)

    def write(self, data: bytes | bytearray | memoryview) -> int:
        self._check_open()
        piece = memoryview(data).cast("B")
        for start in range(0, len(piece), CHUNK_BYTES):  # so that a long value is not in memory twice
            self._buffer += piece[start : start + CHUNK_BYTES]
            if len(self._buffer) >= _PART_BYTES << len(self._parts) // _PARTS_OF_ONE_LENGTH:
                try:
                    self._send_part()
                except BaseException:
                    self.abort()
                    raise
        self._size += len(piece)
        return len(piece)

    def commit(self) -> Entry:
        self._check_open()
        try:
            if self._upload:
                if self._buffer:
                    self._send_part()
                self._call("complete_multipart_upload", UploadId=self._upload, MultipartUpload={"Parts": self._parts})
            else:
                self._call("put_object", Body=bytes(self._buffer))
        except BaseException:
            self.abort()
            raise
        self._closed = True
        try:
            return entry_of(self._key, self._files.info(self._key), protocol=self._files.protocol)
        except DoesNotExist:  # somebody was quick to delete it
            return Entry(self._key, self._size, None)

    def abort(self) -> None:
        closed, self._closed = self._closed, True
        self._buffer = bytearray()
        if not closed and self._upload and self._process == os.getpid():  # in a forked child, it is the parent's
            with suppress(AnystoreError):
                self._call("abort_multipart_upload", UploadId=self._upload)

    def _send_part(self) -> None:
        if not self._upload:
            self._upload = self._call("create_multipart_upload")["UploadId"]
        number = len(self._parts) + 1
        sent = self._call("upload_part", UploadId=self._upload, PartNumber=number, Body=bytes(self._buffer))
        self._parts.append({"PartNumber": number, "ETag": sent["ETag"]})
        self._buffer = bytearray()

    def _call(self, method: str, **arguments: Any) -> Any:
        with self._files.errors(self._key, "write", writing=True):
            bucket, name, _ = self._lease.fs.split_path(self._files.path(self._key))
            return self._lease.fs.call_s3(method, Bucket=bucket, Key=name, **arguments)

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError(f"the writer of {self._key!r} is closed")

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            self.abort()


class BucketReader(Reader):
    """One version of an object: each part is asked for with the ETag that was seen (If-Match)."""

    def __init__(self, files: Files, key: Key) -> None:
        self._files = files
        info = files.info(key)
        self.entry = entry_of(key, info, protocol=files.protocol)
        self._lease = files.borrow()
        with files.errors(key, "read"):
            self._handle = self._lease.fs.open(files.path(key), "rb", cache_type="none")
        if self._handle.size != self.entry.size:
            raise failures.changed(files, key)

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        key, size = Key(self.entry.key), self.entry.size or 0
        end = size if stop is None else min(stop, size)
        position = start
        while position < end:
            piece = self._fetch(key, position, min(position + _PIECE_BYTES, end))
            if not piece:
                raise failures.changed(self._files, key)
            position += len(piece)
            yield piece

    def _fetch(self, key: Key, start: int, stop: int) -> bytes:
        try:
            with self._files.errors(key, "read"):
                self._handle.seek(start)
                piece: bytes = self._read(key, stop - start)
                return piece
        except DoesNotExist:
            raise failures.changed(self._files, key) from None

    def _read(self, key: Key, length: int) -> bytes:
        try:
            piece: bytes = self._handle.read(length)
            return piece
        except FileExpired as error:
            raise failures.changed(self._files, key) from error
        except OSError as error:  # some services say "precondition failed" in words of their own
            said = getattr(error.__cause__, "response", {}).get("ResponseMetadata", {}).get("HTTPStatusCode")
            if said in _CHANGED:
                raise failures.changed(self._files, key) from error
            raise

    def close(self) -> None:
        """There is nothing to close."""


def get_at_once(files: Files, key: Key) -> bytes:
    """Read a whole value."""
    try:
        return get_whole(files, key)
    except DoesNotExist:
        with files.calling(key, "read") as fs:
            cast("BucketFiles", files).check_bucket(fs, files.path(key))
        raise


MEDIUM = Medium(
    files=BucketFiles,
    get=get_at_once,
    open_reader=BucketReader,
    open_writer=BucketWriter,
    features=Feature.WRITE | Feature.LIST | Feature.ATOMIC | Feature.OVERLAP,
)
