"""Where an ETag of S3 is the MD5 of a value: of one that was written in one request, and not encrypted by a key of KMS.

Source:
    Amazon S3 API Reference, "Object": the ETag of an object that is plain or encrypted with SSE-S3 is the MD5 of its
    content; of one in parts, or encrypted by SSE-C or SSE-KMS, it is not.
"""

import re
import ssl
import urllib.request
from datetime import timedelta
from typing import Any

import obstore

from anystore.backend import Entry
from anystore.backends.objects.probing import is_directory_bucket
from anystore.backends.objects.service import ERRORS, Service
from anystore.backends.objects.values import PART_BYTES

_MD5 = re.compile("[0-9a-f]{32}")
_ENCRYPTION = "x-amz-server-side-encryption"
_OWN_KEY = "x-amz-server-side-encryption-customer-algorithm"
_SIGNED_FOR = timedelta(minutes=5)
_TIMEOUT = 30.0  # seconds


def digest_algorithm(service: Service, size: int | None) -> str | None:
    """Name the algorithm of ETags, if a value of this length is written in one request."""
    if service.configuration.kind != "s3" or is_directory_bucket(service.configuration.container):
        return None
    return "md5" if size is not None and size <= PART_BYTES else None


def digest_of(service: Service, entry: Entry, *, doubted: bool) -> str | None:
    """Give the MD5 that an ETag is.

    Args:
        service: The container.
        entry: What it said of a value.
        doubted: Whether the content has another MD5, so that its encryption is looked at.
    """
    version = entry.version or ""
    if digest_algorithm(service, 0) is None or not _MD5.fullmatch(version):
        return None
    return None if doubted and _is_encrypted(service, entry.key) else version


def _is_encrypted(service: Service, key: str) -> bool:
    """Ask how a value is encrypted; obstore does not hand on the headers that tell."""
    try:
        signed = obstore.sign(service.store, "HEAD", service.existing(key), _SIGNED_FOR)
        # only what obstore has signed for the service comes here
        request = urllib.request.Request(signed, method="HEAD")  # noqa: S310
        with urllib.request.urlopen(request, timeout=_TIMEOUT, context=_tls(service)) as answer:  # noqa: S310
            return answer.headers.get(_ENCRYPTION, "").startswith("aws:kms") or _OWN_KEY in answer.headers
    except (*ERRORS, TypeError):  # it cannot be signed for, or asked
        return False


def _tls(service: Service) -> Any:
    client = service.configuration.client
    context = ssl.create_default_context()
    if "root_certificate" in client:
        context.load_verify_locations(cadata=client["root_certificate"].decode("latin-1"))
    if client.get("allow_invalid_certificates"):
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
