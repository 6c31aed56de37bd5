"""The page of each backend names every option and scheme that the code takes, and no other."""

import re

import pytest

from anystore import get_store
from anystore.backends import _MODULE_OF_SCHEME
from anystore.errors import InvalidOption, InvalidUri
from tests import feature_matrix

PAGES = feature_matrix.PAGE.parent
# The heading of a table of options: None is the whole page.
OPTIONS = [
    ("memory.md", None, "memory://name", {}),
    ("local.md", None, "./folder", {}),
    ("zip.md", None, "archive.zip", {}),
    ("http.md", None, "https://host/", {}),
    ("redis.md", None, "redis://host/0", {}),
    ("sql.md", ("all", "SQLite"), "sqlite:///file.db", {}),
    ("sql.md", ("all", "servers"), "postgresql://host/database", {}),
    ("sql.md", ("all", "servers"), "mysql://host/database", {}),
    ("objects.md", ("all", "S3"), "s3://bucket", {}),
    ("objects.md", ("all", "Google"), "gs://bucket", {}),
    ("objects.md", ("all", "Azure"), "az://container", {"account_name": "account"}),
    ("filesystems.md", ("SFTP",), "sftp://host/folder", {}),
    ("filesystems.md", ("FTP",), "ftp://host/folder", {}),
    ("filesystems.md", ("WebDAV",), "webdav://host/folder", {}),
]
NAME = re.compile(r"`([\w.]+)`")


def taken(uri, config, error):
    """Ask the code which options it takes: it says so when it refuses another one."""
    with pytest.raises(error) as refusal:
        get_store(uri, backend_config=config)
    names = str(refusal.value).partition("it takes: ")[2]
    assert names
    return set() if names == "none" else set(names.split(", "))


def documented(page, headings):
    """Give the names in the first column of each table of options."""
    text = (PAGES / page).read_text()
    parts = re.split(r"^## ", text, flags=re.MULTILINE)
    wanted = [part for part in parts if part.startswith("Options")]
    if headings is not None:
        titles = [f"Options of {heading}\n" for heading in headings]
        wanted = [part for part in wanted if part.startswith(tuple(titles))]
        assert len(wanted) == len(titles)
    rows = [line for part in wanted for line in part.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in NAME.findall(row.split("|")[1])}


@pytest.mark.parametrize(("page", "headings", "uri", "config"), OPTIONS)
def test_every_option_is_on_the_page_and_no_other(page, headings, uri, config):
    found = taken(uri, config | {"no_such_option": 1}, InvalidOption)
    assert documented(page, headings) == found


def test_every_option_of_a_redis_uri_is_on_the_page():
    found = taken("redis://host/0?no_such_option=1", {}, InvalidUri)
    assert found - documented("redis.md", None) == {"db", "prefix"}
    assert "`db` and `prefix`" in (PAGES / "redis.md").read_text()


@pytest.mark.parametrize("scheme", sorted(_MODULE_OF_SCHEME))
def test_every_scheme_is_on_a_page_unless_it_is_refused(scheme):
    if scheme.endswith("+cluster"):
        with pytest.raises(InvalidUri, match="cluster"):
            get_store(f"{scheme}://host/0")
        return
    assert [page.name for page in PAGES.glob("*.md") if f"`{scheme}://" in page.read_text()]


def test_every_page_is_in_the_table_of_features_or_a_view():
    named = {page for _, page, _, _ in feature_matrix.BACKENDS}
    assert {page.name for page in PAGES.glob("*.md")} == named | {"index.md", "views.md"}


@pytest.mark.parametrize("page", sorted(PAGES.glob("*.md")), ids=lambda page: page.name)
def test_every_page_says_what_fails(page):
    if page.name != "index.md":
        assert "\n## Errors\n" in page.read_text()


def test_the_table_of_features_is_what_the_code_declares():
    wanted = feature_matrix.page(feature_matrix.table())
    assert feature_matrix.PAGE.read_text() == wanted, "write it anew: python -m tests.feature_matrix"
