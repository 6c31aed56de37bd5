"""The title of a document, read from no more of it than is needed."""

import codecs
import gzip
import io
import re
import zlib
from typing import IO, Protocol

from pypdf import PdfReader
from pypdf.errors import DependencyError, PyPdfError
from selectolax.lexbor import LexborHTMLParser

from anystore import AnystoreError

HEAD_BYTES = 64 * 1024
LONGEST_TITLE = 160
MOST_EXPANDED_BYTES = 64 * 1024 * 1024

_GZIP = b"\x1f\x8b"
_PDF = b"%PDF-"
# The possessive `*+` keeps a page of a thousand comments from taking for ever.
_HTML = re.compile(r"(?:\s|<!--.*?-->|<\?.*?\?>)*+<(?:!doctype\s+html|html|head)\b", re.IGNORECASE | re.DOTALL)
# Parsers take whatever they find, so a damaged file ends in nearly any error.
_BROKEN = (
    PyPdfError,
    DependencyError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
    zlib.error,
)


class Opens(Protocol):
    """A document, or whatever else can be opened."""

    def open(self) -> IO[bytes]:
        """Open it for reading."""


def read_title(document: Opens) -> str:
    """Read the title of an HTML page or a PDF, or the first line of a text; of gzipped ones, too.

    Args:
        document: The document.

    Returns:
        The title on one line; ``""`` for a document that has none or cannot be parsed.

    Raises:
        AnystoreError: If the store cannot be read.
    """
    with document.open() as file:
        try:
            title = _title_of_gzip(file) if file.read(2) == _GZIP else _title_of(file)
        except AnystoreError:
            # The store's own trouble is no property of the document, though it shares bases with the errors below.
            raise
        except _BROKEN:
            return ""
    return " ".join(title.split())[:LONGEST_TITLE]


def _title_of_gzip(file: IO[bytes]) -> str:
    file.seek(0)
    with gzip.open(file) as plain:
        head = plain.read(HEAD_BYTES)
        # The title of a PDF is found from its end, so that all of it is needed.
        rest = plain.read(MOST_EXPANDED_BYTES) if head.startswith(_PDF) else b""
    return _title_of(io.BytesIO(head + rest))


def _title_of(file: IO[bytes]) -> str:
    file.seek(0)
    head = file.read(HEAD_BYTES)
    if head.startswith(_PDF):
        return _title_of_pdf(file)
    if b"\0" in head:  # an image, an archive
        return ""
    text = _decode(head)
    return _title_of_html(text) if _HTML.match(text) else _first_line(text)


def _title_of_pdf(file: IO[bytes]) -> str:
    file.seek(0)
    reader = PdfReader(file)
    title = reader.metadata.title if reader.metadata else None
    return str(title or "").strip() or _first_line(reader.pages[0].extract_text())


def _title_of_html(text: str) -> str:
    page = LexborHTMLParser(text)
    found = (page.css_first("title"), page.css_first("h1"))
    return next((title for node in found if node and (title := node.text().strip())), "")


def _decode(head: bytes) -> str:
    try:
        # Incremental, since the head may end inside a character.
        return codecs.getincrementaldecoder("utf-8-sig")().decode(head)
    except UnicodeDecodeError:
        return head.decode("latin-1")


def _first_line(text: str) -> str:
    return next((line for line in text.splitlines() if line.strip()), "")
