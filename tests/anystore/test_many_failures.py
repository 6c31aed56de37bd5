"""Failures are counted and written down, and not all kept in memory."""

import pytest

from tests.anystore.test_mirroring_memory import growth

SOURCE = """
from datetime import UTC, datetime
from anystore.crawling import crawl
from anystore.errors import BackendError, InvalidKey
THEN = datetime(2024, 5, 1, tzinfo=UTC)
WHY = "a reason of some length, as errors of services have it, with a key and a URI in it: " * 3

class Endless(MemoryBackend):
    count = 0
    def scan(self, prefix="", after=None):
        for number in range(self.count):
            yield Entry(f"folder/of/some/depth/and/document-{number:09}.pdf", 1, THEN, "v")
"""

MIRROR = (
    SOURCE
    + """
class Source(Endless):
    def get_many(self, keys):
        return ((key, b"x") for key in keys)

class Target(MemoryBackend):
    def put(self, key, data, **options):
        self.refuse(key)
    def writer(self, key, **options):
        self.refuse(key)
    def refuse(self, key):
        raise InvalidKey(f"{key!r}: {WHY}")

from anystore.mirroring import crew
crew._MANY_FAILURES = 1 << 40  # to go on without hope

def case(count):
    Source.count = count
    report = mirror(Store(Source("source")), Store(Target("target")))
    assert (report.copied, report.failed, len(report.failures)) == (0, count, 1000), report
"""
)

CRAWL = (
    SOURCE
    + """
class Source(Endless):
    def reader(self, key):
        raise BackendError(f"{key!r}: {WHY}")

def case(count):
    Source.count = count
    report = crawl(Store(Source(f"source-{count}")), f"{sys.argv[2]}/target-{count}")
    assert (report.fetched, report.failed, len(report.failures)) == (0, count, 1000), report
"""
)


@pytest.mark.alone
def test_of_a_mirror(tmp_path):
    assert growth(MIRROR, tmp_path, 4000, 100_000) <= 16 << 20


@pytest.mark.alone
def test_of_a_crawl(tmp_path):
    # the index on disk has a cache of 16 MB, and lines of a second wait to be written
    assert growth(CRAWL, tmp_path, 4000, 60_000) <= 40 << 20
