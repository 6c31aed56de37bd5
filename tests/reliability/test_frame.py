"""The frame of the reliability tests keeps count, ends in time, and writes its table where it belongs."""

import pytest

from tests.reliability.effort import SOAK, UNTIL, Effort, effort_of_this_run
from tests.reliability.tallies import add_row, note, put_into, table_of


def test_rows_of_many_processes_add_up(tmp_path):
    rows = tmp_path / "rows"
    for lost in (0, 1):
        add_row(str(rows), "put, killed", "folder", tried=600, lost=lost)
    add_row(str(rows), "move, killed", "Redis", tried=50, lost=0)
    assert table_of(rows.read_text().splitlines()).splitlines()[2:] == [
        "| move, killed | Redis | 50 | 0 |",
        "| put, killed | folder | 1,200 | 1 |",
    ]


def test_table_replaces_the_one_before(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Title\n\n<!-- soak: begin -->\n\nold\n\n<!-- soak: end -->\n\nThe end\n")
    put_into(page, "new")
    assert page.read_text() == "# Title\n\n<!-- soak: begin -->\n\nnew\n\n<!-- soak: end -->\n\nThe end\n"


def test_something_lost_fails_the_test(tmp_path):
    rows = str(tmp_path / "rows")
    with pytest.raises(AssertionError, match="2 of 50"):
        note(rows, "put, killed", "nowhere", tried=50, lost=2)
    with pytest.raises(AssertionError, match="nothing"):
        note(rows, "put, killed", "nowhere", tried=0, lost=0)
    assert table_of((tmp_path / "rows").read_text().splitlines()).endswith("| 50 | 2 |")


def test_effort(monkeypatch):
    monkeypatch.delenv(SOAK, raising=False)
    assert effort_of_this_run().times(2, 50) == 2
    monkeypatch.setenv(SOAK, "30")
    half = effort_of_this_run()
    assert (half.long, half.times(2, 50), half.seconds(1, 600)) == (True, 25, 300)
    monkeypatch.setenv(UNTIL, "0")
    over = effort_of_this_run()
    assert (over.times(2, 50), over.seconds(1, 600), list(over.turns(2, 50))) == (2, 1, [0, 1])
    assert list(Effort(long=True).turns(2, 5)) == [0, 1, 2, 3, 4]
