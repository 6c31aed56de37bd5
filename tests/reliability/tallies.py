"""What was tried, where, how often, and how many were lost: rows of many tests and processes become one table."""

import json
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

ROWS = "ANYSTORE_SOAK_ROWS"
"""The file that takes the rows of a run."""

_BEGIN, _END = "<!-- soak: begin -->", "<!-- soak: end -->"


def add_row(file: str, what: str, where: str, *, tried: int, lost: int) -> None:
    """Append one row; many processes do so at once, and the kernel keeps such short writes apart."""
    row = json.dumps({"what": what, "where": where, "tried": tried, "lost": lost}) + "\n"
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, row.encode())
    finally:
        os.close(descriptor)


def note(file: str | None, what: str, where: str, *, tried: int, lost: int) -> None:
    """Append a row, if rows are wanted, and fail if anything was lost."""
    assert tried > 0, f"{what}, {where}: nothing was tried"
    if file:
        add_row(file, what, where, tried=tried, lost=lost)
    assert lost == 0, f"{what}, {where}: {lost} of {tried} were lost"


def table_of(lines: Iterable[str]) -> str:
    """Add up the rows of one (what, where), and write them as a table."""
    tried: Counter[tuple[str, str]] = Counter()
    lost: Counter[tuple[str, str]] = Counter()
    for line in lines:
        row = json.loads(line)
        place = row["what"], row["where"]
        tried[place] += row["tried"]
        lost[place] += row["lost"]
    rows = [f"| {what} | {where} | {tried[what, where]:,} | {lost[what, where]:,} |" for what, where in sorted(tried)]
    return "\n".join(["| what was tried | where | how often | lost |", "|---|---|---:|---:|", *rows])


def put_into(page: Path, text: str) -> None:
    """Put a text between the two markers of a page, in place of what was there."""
    before, _, rest = page.read_text().partition(_BEGIN)
    _, _, after = rest.partition(_END)
    page.write_text(f"{before}{_BEGIN}\n\n{text}\n\n{_END}{after}")
