"""The features of each backend, as the code declares them, and their table in ``docs/backends/index.md``.

``python -m tests.feature_matrix`` writes the table; a test compares it.
"""

from pathlib import Path

from anystore import Feature, get_store

PAGE = Path(__file__).parents[1] / "docs" / "backends" / "index.md"
BEGIN, END = "<!-- features -->\n", "<!-- end of features -->"
YES, ASKED, NO = "yes", "asked", "–"

# What stands in the first column, the page, a URI, and the options that it cannot be opened without.
BACKENDS = [
    ("memory", "memory.md", "memory://name", {}),
    ("folder", "local.md", "./folder", {}),
    ("SQLite, PostgreSQL, MySQL", "sql.md", "sqlite:///file.db", {}),
    ("Redis, Valkey", "redis.md", "redis://host/0", {}),
    ("Amazon S3", "objects.md", "s3://bucket", {}),
    ("other S3", "objects.md", "s3://bucket", {"endpoint_url": "https://host", "key": "key", "secret": "secret"}),
    ("Google", "objects.md", "gs://bucket", {}),
    ("Azure", "objects.md", "az://container", {"account_name": "account"}),
    ("zip", "zip.md", "archive.zip", {}),
    ("zip elsewhere", "zip.md", "zip+https://host/archive.zip", {}),
    ("web server", "http.md", "https://host/files/", {}),
    ("SFTP", "filesystems.md", "sftp://host/folder", {}),
    ("FTP", "filesystems.md", "ftp://host/folder", {}),
    ("WebDAV", "filesystems.md", "webdav://host/folder", {}),
    ("`fsspec+s3://`", "filesystems.md", "fsspec+s3://bucket", {}),
    ("others of fsspec", "filesystems.md", "fsspec+memory://folder", {}),
]


def table():
    """Make the lines of the table; nothing is connected."""
    rows = [["", *((feature.name or "").lower() for feature in Feature)], ["---"] * (len(Feature) + 1)]
    for name, page, uri, config in BACKENDS:
        sure, asked = get_store(uri, backend_config=config).backend.sure_features()
        marks = [YES if one in sure else ASKED if one in asked else NO for one in Feature]
        rows.append([f"[{name}]({page})", *marks])
    return [f"| {' | '.join(row)} |" for row in rows]


def page(lines):
    """Give the text of the page with a table in its place."""
    head, begin, rest = PAGE.read_text().partition(BEGIN)
    _, end, tail = rest.partition(END)
    assert begin, f"{PAGE} has no {BEGIN.strip()}"
    assert end, f"{PAGE} has no {END}"
    return "".join([head, begin, "\n", *(f"{line}\n" for line in lines), "\n", end, tail])


if __name__ == "__main__":
    PAGE.write_text(page(table()))
