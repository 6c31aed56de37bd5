"""A bar in a notebook: the one that a terminal shows, as HTML that is replaced in its place.

Rich's own live display wants ipywidgets, whose bars vanish from a saved notebook.
"""

from io import StringIO
from typing import Any

from IPython.display import display
from rich.console import Console

from anystore.progress import Progress
from anystore.terminal_bars import Bar

_WIDTH = 96  # characters that fit into a cell beside a file browser
_HTML = (
    '<pre style="white-space:pre;overflow-x:auto;line-height:normal;margin:0;'
    "font-family:Menlo,'DejaVu Sans Mono',consolas,'Courier New',monospace\">{code}</pre>"
)


class NotebookBar:
    """A watcher that shows a bar below the cell, and leaves it there when the run has ended."""

    def __init__(self) -> None:
        """Show nothing yet."""
        self._console = Console(
            file=StringIO(),
            record=True,
            width=_WIDTH,
            force_terminal=True,
            force_jupyter=False,
            color_system="truecolor",
        )
        self._bar = Bar(self._console, live=False)
        self._handle: Any = None

    def __call__(self, progress: Progress) -> None:
        """Show how far the run is."""
        self._bar.update(progress)
        self._console.print(self._bar.display)
        text = self._console.export_text(clear=False).rstrip()
        html = self._console.export_html(inline_styles=True, code_format=_HTML).rstrip()
        shown = {"text/plain": text, "text/html": html}
        if self._handle is None:
            self._handle = display(shown, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(shown, raw=True)
