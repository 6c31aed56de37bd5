"""A bar on a terminal, drawn by rich on standard error."""

import sys

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.table import Column
from rich.text import Text

from anystore.legible import escaped, readable_size
from anystore.progress import Progress

_BAR_WIDTH = 24


class Bar:
    """One line: what is done, a bar, counts and sizes, and the time that is left.

    Args:
        console: Where rich draws it.
        live: Whether rich draws it itself, again and again.
    """

    def __init__(self, console: Console, *, live: bool) -> None:
        self.display = RichProgress(
            _Title(table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
            BarColumn(_BAR_WIDTH),
            _Counts(table_column=Column(no_wrap=True)),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            console=console,
            expand=True,
            auto_refresh=live,
            # rich would write what is printed meanwhile to its own console, and so past a pipe
            redirect_stdout=live and sys.stdout is not None and sys.stdout.isatty(),
        )
        self._task = self.display.add_task("", total=None, progress=Progress(""))

    def update(self, progress: Progress) -> None:
        """Take over how far the run is."""
        by_bytes = bool(progress.total_bytes)
        total = progress.total_bytes if by_bytes else progress.total
        done = progress.bytes if by_bytes else progress.done
        if progress.finished and progress.done == progress.total:
            done = total = max(total or 0, 1)  # what was there already is not moved, and done all the same
        self.display.update(
            self._task,
            total=None if progress.listing and not progress.finished else total,
            completed=done,
            description=progress.title,
            progress=progress,
        )
        if progress.finished:
            self.display.stop_task(self._task)


class TerminalBar:
    """A watcher that draws a bar on standard error, and leaves it there when the run has ended."""

    def __init__(self) -> None:
        """Draw nothing yet."""
        self._bar = Bar(Console(stderr=True), live=True)

    def __call__(self, progress: Progress) -> None:
        """Draw how far the run is."""
        self._bar.update(progress)
        if progress.finished:
            self._bar.display.stop()
        else:
            self._bar.display.start()


class _Title(ProgressColumn):
    """The title as it is: a URI may hold what rich would take for markup."""

    def render(self, task: Task) -> Text:
        return Text(escaped(task.description))


class _Counts(ProgressColumn):
    """Values and bytes: done, and to be done."""

    def render(self, task: Task) -> Text:
        progress: Progress = task.fields["progress"]
        more = "+" if progress.listing else ""
        text = Text(f"{progress.done:,}/{progress.total:,}{more}")
        if progress.bytes:
            text.append(f"  {readable_size(progress.bytes)}")
            if task.elapsed:
                text.append(f"  {readable_size(int(progress.bytes / task.elapsed))}/s")
        if progress.failed:
            text.append(f"  {progress.failed:,} failed", style="bold red")
        return text
