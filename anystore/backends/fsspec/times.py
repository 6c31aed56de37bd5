"""When a filesystem says that a file was modified."""

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

_TIME_FIELDS = ("LastModified", "last_modified", "mtime", "modified", "updated", "modify")
_FTP_TIME = re.compile(r"\d{14}(?:\.\d+)?")


def modified_of(info: Mapping[str, Any]) -> datetime | None:
    """Read the time from what a filesystem says of a file; never one whose zone is not known."""
    for name in _TIME_FIELDS:
        moment = info.get(name)
        if isinstance(moment, (int, float)) and not isinstance(moment, bool):
            return datetime.fromtimestamp(moment, UTC)
        if isinstance(moment, str):
            moment = _parse_time(moment)
        if isinstance(moment, datetime) and moment.tzinfo is not None:  # else nobody knows which clock it is
            return moment.astimezone(UTC)
    return None


def _parse_time(text: str) -> datetime | None:
    if _FTP_TIME.fullmatch(text):  # RFC 3659, section 2.3: always UTC
        return datetime.strptime(text[:14], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    with suppress(ValueError):
        return datetime.fromisoformat(text)
    return None
