"""Checksums that a server tells of a body; pure."""

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from typing import Protocol

from anystore.errors import BackendError

_ALGORITHMS = {"md5": "md5", "sha": "sha1", "sha-256": "sha256", "sha-512": "sha512"}
_MEMBER = re.compile(r"([a-z0-9-]+)\s*=\s*:?([A-Za-z0-9+/=]+):?", re.IGNORECASE)
_SUMS_LINE = re.compile(r"(?P<sum>[0-9a-f]{64}) [ *](?P<name>.+)", re.IGNORECASE)

SUMS_NAMES = frozenset({"SHA256SUMS", "SHA256SUMS.txt", "sha256sums.txt", "SHA256SUM"})
"""Names under which checksums lie beside the files of a folder."""


def expected_digests(headers: Mapping[str, str]) -> dict[str, bytes]:
    """Read the checksums that an answer tells of its value.

    Args:
        headers: The headers of an answer with the whole value.

    Returns:
        Checksums by the name of their algorithm in ``hashlib``; what cannot be read is left out.

    Example:
        >>> expected_digests({"content-md5": "XUFAKrxLKna5cZ2REBfFkg=="})["md5"].hex()
        '5d41402abc4b2a76b9719d911017c592'

    Source:
        RFC 9530 (Repr-Digest), RFC 3230 (Digest), RFC 1864 (Content-MD5).
    """
    members = [("md5", headers["content-md5"])] if "content-md5" in headers else []
    for name in ("digest", "repr-digest"):
        if name in headers:
            members += _MEMBER.findall(headers[name])
    found = {}
    for name, text in members:
        algorithm = _ALGORITHMS.get(name.lower())
        if algorithm is None:
            continue
        try:
            value = base64.b64decode(text.strip(), validate=True)
        except binascii.Error:
            continue
        if len(value) == hashlib.new(algorithm, usedforsecurity=False).digest_size:
            found[algorithm] = value
    return found


def parse_sums(body: bytes) -> dict[str, bytes]:
    r"""Read a ``SHA256SUMS`` file.

    Args:
        body: Lines of a checksum in hexadecimal, two signs, and a name.

    Returns:
        Checksums by the names of files in the same folder.

    Example:
        >>> list(parse_sums(b"%s  a b.txt\n" % (b"0" * 64)))
        ['a b.txt']
    """
    found = {}
    for line in body.decode("utf-8", "replace").splitlines():
        match = _SUMS_LINE.fullmatch(line)
        if match:
            found[match["name"].removeprefix("./")] = bytes.fromhex(match["sum"])
    return found


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...

    def digest(self) -> bytes: ...

    def hexdigest(self) -> str: ...


class Checksums:
    """Computes the SHA-256 of a body, and whatever else it has to be compared with.

    Args:
        expected: Checksums by the name of their algorithm in ``hashlib``.
    """

    def __init__(self, expected: Mapping[str, bytes]) -> None:
        self._expected = expected
        self._sha256: _Hash = hashlib.sha256(usedforsecurity=False)
        self._hashes: dict[str, _Hash] = {
            name: hashlib.new(name, usedforsecurity=False) for name in expected if name != "sha256"
        }
        self._hashes["sha256"] = self._sha256
        self.size = 0

    def update(self, data: bytes) -> None:
        """Take a piece."""
        self.size += len(data)
        for one in self._hashes.values():
            one.update(data)

    @property
    def sha256(self) -> str:
        """The checksum of all pieces, in hexadecimal."""
        return self._sha256.hexdigest()

    @property
    def fits(self) -> bool:
        """Whether each checksum is the one that was expected."""
        return all(self._hashes[name].digest() == value for name, value in self._expected.items())

    def check(self, where: str) -> None:
        """Compare.

        Args:
            where: What the body is called in an error.

        Raises:
            BackendError: If a checksum is another one than was expected.
        """
        for name, value in self._expected.items():
            found = self._hashes[name].digest()
            if found != value:
                raise BackendError(
                    f"{where} came with another {name} than the server tells: {value.hex()} was expected, and the body "
                    f"has {found.hex()}; it was spoilt on the way, and is not stored"
                )
