"""Checksums that a server tells."""

import base64
import hashlib

import pytest

from anystore.errors import BackendError
from anystore.web.digests import Checksums, expected_digests, parse_sums
from anystore.web.headers import Headers

BODY = b"hello"


def encoded(name):
    return base64.b64encode(hashlib.new(name, BODY).digest()).decode()


@pytest.mark.parametrize(
    ("header", "text", "names"),
    [
        ("Content-MD5", encoded("md5"), {"md5"}),
        ("Digest", f"SHA-256={encoded('sha256')},md5={encoded('md5')}", {"sha256", "md5"}),
        ("Repr-Digest", f"sha-512=:{encoded('sha512')}:, sha-256=:{encoded('sha256')}:", {"sha512", "sha256"}),
        ("Digest", f"sha={encoded('sha1')}, unixsum=30637, adler32=03da0195", {"sha1"}),
        ("Content-MD5", "not base64!", set()),
        ("Content-MD5", encoded("sha256"), set()),  # of the wrong length
        ("Digest", "", set()),
        ("Content-Digest", f"sha-256=:{encoded('sha256')}:", set()),  # of what is sent, perhaps packed
    ],
)
def test_headers(header, text, names):
    found = expected_digests(Headers([(header, text)]))
    assert found == {name: hashlib.new(name, BODY).digest() for name in names}
    sums = Checksums(found)
    sums.update(BODY[:2])
    sums.update(BODY[2:])
    sums.check("it")
    assert (sums.size, sums.sha256) == (5, hashlib.sha256(BODY).hexdigest())


def test_another_body_is_refused():
    sums = Checksums({"md5": hashlib.md5(b"other").digest()})
    sums.update(BODY)
    with pytest.raises(BackendError, match="it came with another md5"):
        sums.check("it")


def test_sums():
    one, two = hashlib.sha256(b"1").hexdigest(), hashlib.sha256(b"2").hexdigest()
    body = f"{one}  a b.txt\n{two.upper()} *./b\r\nno line\n{one[:-1]}  short\n# {one}  c\n".encode() + b"\xff\xfe\n"
    assert parse_sums(body) == {"a b.txt": hashlib.sha256(b"1").digest(), "b": hashlib.sha256(b"2").digest()}
    assert parse_sums(b"") == {}
