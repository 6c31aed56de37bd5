"""The records of a zip archive, as bytes; pure.

The standard library's ``zipfile`` reads and writes whole archives, but it can neither
drop an entry nor keep those of other programs byte for byte, which a change of one
value needs; and it forgets the bytes of a name that it cannot decode.
"""

import stat
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import Enum
from secrets import token_bytes
from struct import Struct, error, pack, unpack_from
from typing import NamedTuple, Self
from zlib import crc32

from anystore.backend import Entry
from anystore.keys import is_key, is_private

LOCAL_BYTES = 30
"""Length of a local header without its name and extra fields."""
END_BYTES = 22
"""Length of the end record without its comment."""
STORED, DEFLATED, BZIP2, LZMA = 0, 8, 12, 14
ENCRYPTED = 1 << 0

_LOCAL = Struct("<4s5H3L2H")
_CENTRAL = Struct("<4s6H3L5H2L")
_END = Struct("<4s4H2LH")
_END64 = Struct("<4sQ2H2L4Q")
_LOCATOR = Struct("<4sLQL")
_FIELD = Struct("<HH")
_LOCAL_SIGN, _CENTRAL_SIGN, _END_SIGN = b"PK\3\4", b"PK\1\2", b"PK\5\6"
_END64_SIGN, _LOCATOR_SIGN = b"PK\6\6", b"PK\6\7"

_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF
_DESCRIPTOR, _UTF8 = 1 << 3, 1 << 11
_VERSION_NEEDED = {STORED: 20, DEFLATED: 20, BZIP2: 46, LZMA: 63}
_VERSION_64 = 45
_UNIX, _MACOS = 3, 19
_FILE_MODE = (stat.S_IFREG | 0o644) << 16

_SIZES64, _TIMES, _UNICODE_PATH = 0x0001, 0x5455, 0x7075
# Of our own: eight random bytes, so that no two writes have one version. The text keeps others' fields apart.
_TOKEN = 0x6E61
_TOKEN_TEXT = b"any1"


class Malformed(ValueError):
    """The bytes are not what a zip archive has in this place."""


class Kind(Enum):
    """What an entry of an archive is to a store."""

    VALUE = "value"
    FOLDER = "folder"
    FOREIGN = "foreign"


class Record(NamedTuple):
    """What the directory says of one entry; sizes and offset are whole, whether or not they needed zip64."""

    name: bytes
    made: int
    flags: int
    method: int
    time: int
    date: int
    crc: int
    packed: int
    size: int
    extra: bytes
    comment: bytes
    internal: int
    external: int
    offset: int

    @classmethod
    def new(cls, key: str, *, method: int, crc: int, packed: int, size: int) -> Self:
        """Describe a value that is written now."""
        now = int(time.time())
        local = time.localtime(now)
        year = min(max(local.tm_year, 1980), 2107)
        times = pack("<HHBL", _TIMES, 5, 1, now & _FULL32)
        token = pack("<HH", _TOKEN, len(_TOKEN_TEXT) + 8) + _TOKEN_TEXT + token_bytes(8)
        return cls(
            name=key.encode(),
            made=_UNIX << 8 | _VERSION_NEEDED[method],
            flags=_UTF8,
            method=method,
            time=local.tm_hour << 11 | local.tm_min << 5 | min(local.tm_sec, 59) // 2,
            date=(year - 1980) << 9 | local.tm_mon << 5 | local.tm_mday,
            crc=crc,
            packed=packed,
            size=size,
            extra=times + token,
            comment=b"",
            internal=0,
            external=_FILE_MODE,
            offset=0,
        )

    @classmethod
    def parse(cls, data: bytes, at: int = 0) -> Self:
        """Read a record of the directory.

        Raises:
            Malformed: If there is none.
        """
        try:
            sign, made, _, flags, method, clock, date, crc, packed, size, *rest = _CENTRAL.unpack_from(data, at)
        except error:
            raise Malformed("its directory ends in the middle of a record") from None
        name_size, extra_size, comment_size, _, internal, external, offset = rest
        begin = at + _CENTRAL.size
        middle = begin + name_size
        end = middle + extra_size
        if sign != _CENTRAL_SIGN or end + comment_size > len(data):
            raise Malformed("its directory is damaged")
        extra = data[middle:end]
        if _FULL32 in (packed, size, offset):
            size, packed, offset = _whole_sizes(extra, size, packed, offset)
            extra = _without(extra, _SIZES64)
        return cls(
            data[begin:middle],
            made,
            flags,
            method,
            clock,
            date,
            crc,
            packed,
            size,
            extra,
            data[end : end + comment_size],
            internal,
            external,
            offset,
        )

    def central(self) -> bytes:
        """Write the record for the directory."""
        size, packed, offset, large = self.size, self.packed, self.offset, b""
        if max(size, packed) >= _FULL32:
            large = pack("<QQ", size, packed)
            size = packed = _FULL32
        if offset >= _FULL32:
            large += pack("<Q", offset)
            offset = _FULL32
        extra = pack("<HH", _SIZES64, len(large)) + large + self.extra if large else self.extra
        needed = self._needed(large=bool(large))
        head = _CENTRAL.pack(
            *(_CENTRAL_SIGN, self.made & 0xFF00 | max(self.made & 0xFF, needed), needed, self.flags, self.method),
            *(self.time, self.date, self.crc, packed, size, len(self.name), len(extra), len(self.comment)),
            *(0, self.internal, self.external, offset),
        )
        return head + self.name + extra + self.comment

    def local(self) -> bytes:
        """Write the header that stands before the value."""
        size, packed, extra = self.size, self.packed, self.extra
        if max(size, packed) >= _FULL32:
            extra = pack("<HHQQ", _SIZES64, 16, size, packed) + extra
            size = packed = _FULL32
        needed = self._needed(large=size == _FULL32)
        head = (_LOCAL_SIGN, needed, self.flags, self.method, self.time, self.date, self.crc, packed, size)
        return _LOCAL.pack(*head, len(self.name), len(extra)) + self.name + extra

    def _needed(self, *, large: bool) -> int:
        return max(_VERSION_NEEDED.get(self.method, self.made & 0xFF), _VERSION_64 if large else 0)

    def without_descriptor(self) -> Self:
        """Give the record of an entry whose sizes stand in its local header, not behind the value."""
        return self._replace(flags=self.flags & ~_DESCRIPTOR)

    @property
    def extent(self) -> int:
        """How many bytes the entry takes in the archive, about."""
        return LOCAL_BYTES + len(self.name) + len(self.extra) + self.packed

    @property
    def text(self) -> str | None:
        """The name, or None where its bytes are no UTF-8."""
        try:
            if not self.flags & _UTF8:
                unicode_path = _field(self.extra, _UNICODE_PATH)
                if unicode_path[:5] == b"\1" + pack("<L", crc32(self.name)):
                    return unicode_path[5:].decode()
            return self.name.decode()
        except UnicodeDecodeError:
            return None

    def classify(self) -> tuple[Kind, str]:
        """Tell what the entry is, and its name; for one whose name is no text, as a literal."""
        name = self.text
        if name is None:
            return Kind.FOREIGN, ascii(self.name)
        if is_key(name) or (is_private(name) and is_key(name[1:])):
            system, mode = self.made >> 8, self.external >> 16
            if system not in (_UNIX, _MACOS):
                # to whoever wrote it, a backslash may be the separator of folders
                return (Kind.FOREIGN if "\\" in name else Kind.VALUE), name
            # a symbolic link must not be read as if it were the value it leads to
            return (Kind.VALUE if stat.S_IFMT(mode) in (0, stat.S_IFREG) else Kind.FOREIGN), name
        return (Kind.FOLDER if name.endswith("/") else Kind.FOREIGN), name

    def entry(self, key: str) -> Entry:
        """Say what is known of the value."""
        token = _field(self.extra, _TOKEN)
        if token.startswith(_TOKEN_TEXT):
            version = f"{token[len(_TOKEN_TEXT) :].hex()}-{self.crc:08x}"
        else:
            version = f"{self.date:04x}{self.time:04x}-{self.crc:08x}-{self.size:x}"
        times = _field(self.extra, _TIMES)
        modified = None
        if len(times) >= 5 and times[0] & 1:  # noqa: PLR2004 - a byte of flags, and four of the first time
            modified = datetime.fromtimestamp(int.from_bytes(times[1:5], "little", signed=True), UTC)
        return Entry(key, self.size, modified, version)


class End(NamedTuple):
    """Where the directory of an archive is."""

    start: int
    size: int
    base: int
    """What stands before the first byte that offsets count from, such as a program that unpacks the archive."""
    comment: bytes


def parse_end(tail: bytes, size: int) -> End:
    """Find the directory of an archive.

    Args:
        tail: The last bytes of the archive.
        size: Length of the archive.

    Raises:
        Malformed: If there is none.
    """
    begin = size - len(tail)
    at = _find_end(tail)
    _, disk, _, _, count, length, offset, comment_size = _END.unpack_from(tail, at)
    position = begin + at
    locator = at - _LOCATOR.size
    if locator >= 0 and tail.startswith(_LOCATOR_SIGN, locator):
        _, _, place, _ = _LOCATOR.unpack_from(tail, locator)
        # `place` does not count what stands before the archive; then the record is looked for where it usually is
        for whole in (place - begin, locator - _END64.size):
            if whole >= 0 and tail.startswith(_END64_SIGN, whole) and whole + _END64.size <= locator:
                _, _, _, _, disk, _, _, count, length, offset = _END64.unpack_from(tail, whole)
                position = begin + whole
                break
    start = position - length
    if disk not in (0, _FULL16) or start < 0 or start < offset or length < count * _CENTRAL.size:
        raise Malformed("it is one of several parts, or its directory is damaged")
    return End(start, length, start - offset, tail[at + END_BYTES : at + END_BYTES + comment_size])


def _find_end(tail: bytes) -> int:
    """Find the end record; the comment behind it may hold whatever looks like one."""
    fallback = -1
    at = tail.rfind(_END_SIGN)
    while at >= 0:
        if at + END_BYTES <= len(tail):
            behind = at + END_BYTES + unpack_from("<H", tail, at + END_BYTES - 2)[0]
            if behind == len(tail):
                return at
            if behind < len(tail):
                fallback = max(fallback, at)
        at = tail.rfind(_END_SIGN, 0, at)
    if fallback < 0:
        raise Malformed("it has no end record")
    return fallback


def write_end(count: int, size: int, offset: int, comment: bytes) -> bytes:
    """Write what stands behind the directory.

    Args:
        count: How many records the directory has.
        size: Its length.
        offset: Where it starts, counted like the offsets in it.
        comment: The archive's comment.
    """
    large = b""
    if count >= _FULL16 or max(size, offset) >= _FULL32:
        versions = (_UNIX << 8 | _VERSION_64, _VERSION_64)
        large = _END64.pack(_END64_SIGN, _END64.size - 12, *versions, 0, 0, count, count, size, offset)
        large += _LOCATOR.pack(_LOCATOR_SIGN, 0, offset + size, 1)
    counts = (min(count, _FULL16),) * 2
    return large + _END.pack(_END_SIGN, 0, 0, *counts, min(size, _FULL32), min(offset, _FULL32), len(comment)) + comment


def parse_directory(data: bytes) -> Iterator[tuple[Record, bytes]]:
    """Read the records of a directory, each with its bytes.

    Raises:
        Malformed: If one is damaged.
    """
    at = 0
    while at < len(data):
        record = Record.parse(data, at)
        end = at + _CENTRAL.size + sum(unpack_from("<3H", data, at + 28))
        yield record, data[at:end]
        at = end


def local_header_size(header: bytes) -> int:
    """Tell how long a local header is, with its name and extra fields.

    Raises:
        Malformed: If it is none.
    """
    if len(header) < LOCAL_BYTES or not header.startswith(_LOCAL_SIGN):
        raise Malformed("its header is damaged")
    name_size, extra_size = _LOCAL.unpack_from(header)[-2:]
    return LOCAL_BYTES + int(name_size) + int(extra_size)


def starts_with_entry(head: bytes) -> bool:
    """Tell whether an archive begins with an entry, or its end: not with a foreign program."""
    return head.startswith((_LOCAL_SIGN, _END_SIGN, _CENTRAL_SIGN)) or not head


def _field(extra: bytes, wanted: int) -> bytes:
    """Give the data of an extra field, or nothing."""
    at, last = 0, len(extra) - 4
    while at <= last:
        number, size = _FIELD.unpack_from(extra, at)
        if number == wanted:
            return extra[at + 4 : at + 4 + size]
        at += 4 + size
    return b""


def _without(extra: bytes, unwanted: int) -> bytes:
    """Leave an extra field out."""
    at, kept = 0, []
    while at + 4 <= len(extra):
        number, size = _FIELD.unpack_from(extra, at)
        if number != unwanted:
            kept.append(extra[at : at + 4 + size])
        at += 4 + size
    return b"".join(kept)


def _whole_sizes(extra: bytes, size: int, packed: int, offset: int) -> tuple[int, int, int]:
    """Put the long numbers in the place of those that did not fit; they come in this order, each if it is needed."""
    data, at = _field(extra, _SIZES64), 0
    values = [size, packed, offset]
    for place, value in enumerate(values):
        if value == _FULL32 and at + 8 <= len(data):
            values[place] = unpack_from("<Q", data, at)[0]
            at += 8
    return values[0], values[1], values[2]
