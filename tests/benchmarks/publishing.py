"""Tables of benchmarks, on the screen and in ``docs/performance.md``."""

from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"


class Table:
    """A table that is printed row by row.

    Args:
        name: What stands in the comments around its place in the documentation.
        columns: The heads of its columns.
    """

    def __init__(self, name: str, *columns: str) -> None:
        self.name = name
        self._lines: list[str] = []
        self._add(columns)
        self._add(["---"] * len(columns))

    def row(self, name: str, *numbers: float | None) -> None:
        """Print a row; None is nothing to tell."""
        self._add([name, *("–" if number is None else f"{number:.2f}" for number in numbers)])

    def publish(self) -> None:
        """Put the table in the place of the one in the documentation."""
        begin, end = f"<!-- {self.name} -->\n", f"<!-- end of {self.name} -->"
        text = PAGE.read_text()
        head, found, rest = text.partition(begin)
        _, found_end, tail = rest.partition(end)
        if not found or not found_end:
            raise SystemExit(f"{PAGE} has no place for {self.name!r}: write {begin.strip()} and {end} there")
        PAGE.write_text("".join([head, begin, "\n", *(f"{line}\n" for line in self._lines), "\n", end, tail]))

    def _add(self, cells: "list[str] | tuple[str, ...]") -> None:
        self._lines.append(f"| {' | '.join(cells)} |")
        print(self._lines[-1], flush=True)
