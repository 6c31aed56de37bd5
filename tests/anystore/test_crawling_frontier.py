"""The queue of folders: in order, however many, and on disk when they are many."""

import tempfile
import tracemalloc
from collections import deque
from random import Random

import pytest

from anystore.crawling.frontier import Frontier, Page
from anystore.errors import BackendError


def page(number):
    marks = tuple(bytes([number % 256, mark]) * 8 for mark in range(number % 5))
    return Page(f"für/\n{number}/", f"https://host/f?sig={number}", number % 40, marks, is_seed=False)


def test_the_first_comes_first():
    frontier, plain, random = Frontier(most=3), deque(), Random(1)
    for number in range(2000):
        if random.random() < 0.6 - 0.2 * (number % 500 > 250):
            frontier.add(page(number))
            plain.append(page(number))
        elif plain:
            assert frontier.take() == plain.popleft()
        assert len(frontier) == len(plain)
    while plain:
        assert frontier.take() == plain.popleft()
    assert not frontier
    with pytest.raises(IndexError):
        frontier.take()


def test_what_is_forgotten_does_not_come_back():
    frontier = Frontier(most=2)
    for number in range(20):
        frontier.add(page(number))
    frontier.clear()
    frontier.add(page(99))
    assert (len(frontier), frontier.take()) == (1, page(99))


@pytest.mark.alone
def test_many_folders_are_not_in_memory():
    frontier = Frontier()
    tracemalloc.start()
    try:
        for number in range(50_000):
            frontier.add(page(number))
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
    assert [frontier.take() for _ in range(len(frontier))] == [page(number) for number in range(50_000)]


def test_without_room_it_fails_loudly(monkeypatch):
    frontier = Frontier(most=1)
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda: open("/dev/full", "w+b"))  # noqa: SIM115 - as the real one
    with pytest.raises(BackendError, match="make room in the folder for temporary files"):
        for number in range(3):
            frontier.add(page(number))
