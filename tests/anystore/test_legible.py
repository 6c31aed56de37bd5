"""Names, sizes and times as people read them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from anystore.legible import escaped, readable_size, readable_time


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (9_949, "9.9 kB"),
        (9_951, "10 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (10**18, "1.0 EB"),
        (10**22, "10,000 EB"),
    ],
)
def test_sizes(size, text):
    assert readable_size(size) == text


def test_times_are_in_utc():
    assert readable_time(datetime(2024, 1, 1, 1, tzinfo=timezone(timedelta(hours=2)))) == "2023-12-31 23:00"
    assert readable_time(datetime(1, 1, 1, tzinfo=UTC)).endswith("-01-01 00:00")
    assert readable_time(None) == "-"


def test_what_turns_or_hides_text_is_escaped():
    assert escaped("a\u202eb\u200bc\x07\udc80 ü") == "a\\u202eb\\u200bc\\x07\\udc80 ü"
