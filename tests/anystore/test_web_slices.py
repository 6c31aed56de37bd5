"""A page that is read slice by slice says what it says as a whole."""

import subprocess
import sys
import urllib.request

import pytest

from anystore.web import slices
from anystore.web.listing import parse_listing
from anystore.web.slices import sliced
from tests.anystore.test_crawling_names import tree  # noqa: F401 - a fixture
from tests.anystore.test_crawling_servers import SERVERS


@pytest.mark.parametrize("server", [name for name in SERVERS if name not in ("nginx-json", "nginx-xml")])
@pytest.mark.parametrize("length", [1, 200, 5000])
def test_each_row_is_in_one_slice(server, length, tree, monkeypatch):  # noqa: F811 - the fixture
    for number in range(2000):
        (tree[0] / "plain" / f"{number:04} & more.txt").touch()
    with SERVERS[server](tree[0]) as url, urllib.request.urlopen(f"{url}plain/") as answer:
        body, found = answer.read(), answer.url
    whole = parse_listing(body, url=found, content_type="text/html")
    assert len(whole.entries) > 2100
    monkeypatch.setattr(slices, "SLICE_BYTES", length)
    assert len(list(sliced(body))) > 3
    assert parse_listing(body, url=found, content_type="text/html") == whole


def test_a_page_without_rows_is_one_slice(monkeypatch):
    monkeypatch.setattr(slices, "SLICE_BYTES", 10)
    assert list(sliced(b"<p>" + b"x" * 100)) == [b"<p>" + b"x" * 100]
    assert list(sliced(b"")) == []
    assert parse_listing(b"", url="http://host/", content_type="text/html") is None


PEAK = """
from anystore.web.listing import parse_listing

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))

top = '<html><head><title>Index of /</title></head><body><h1>Index of /</h1><hr><pre><a href="../">../</a>\\n'
row = '<a href="document-%07d.pdf">document-%07d.pdf</a>' + 30 * " " + "23-Nov-2024 02:07               12345\\n"

def listed(count):
    page = bytearray(top.encode())
    for number in range(count):
        page += (row % (number, number)).encode()
    before = peak()
    listing = parse_listing(bytes(page + b"</pre></body></html>"), url="http://h/", content_type="text/html")
    return len(listing.entries), before

listed(1000)
count, before = listed(250_000)
print(count, peak() - before)
"""


@pytest.mark.alone
def test_a_long_page_costs_no_more_memory_than_what_it_lists():
    done = subprocess.run([sys.executable, "-c", PEAK], check=True, capture_output=True, text=True, timeout=120)
    count, growth = map(int, done.stdout.split())
    assert count == 250_000
    assert growth < 200 << 20  # 600 bytes an entry, and the page itself
