"""The one place where names of options and of environment variables become obstore's.

Users know the names of s3fs, adlfs and gcsfs, and those of each cloud's own tools; obstore has names of its own.
What has no counterpart is refused by its name.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from anystore.backend import check_options
from anystore.backends.objects import azure, gcs, s3
from anystore.backends.objects.options import COMMON, Given, Service
from anystore.errors import InvalidKey, InvalidOption, InvalidUri
from anystore.keys import parse_prefix
from anystore.uris import StoreUri, collect_secrets

Kind = Literal["s3", "gcs", "azure"]

KINDS: Mapping[str, Kind] = {
    "s3": "s3",
    "s3a": "s3",
    "gs": "gcs",
    "gcs": "gcs",
    "az": "azure",
    "abfs": "azure",
    "abfss": "azure",
}
"""The cloud that each scheme names."""

_CLOUDS = {"s3": s3, "gcs": gcs, "azure": azure}
