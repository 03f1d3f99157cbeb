"""The bar in a terminal: two or three lines that stay where they are while everything else goes above them."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from trainables.progress.words import wrapped

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

REFRESH = 4
"""Times a second."""

MOST = 100
"""A wider bar says no more."""


class Bar:
    """Draws what ``look`` gives, from a thread of its own: the head, done and total (None where it is not known), and the facts.

    Prints of the program go above it, those of loggers that were set up before it too.
    """

    def __init__(self, console: Console, look: Callable[[], tuple[str, float, float | None, str, list[str]]]) -> None:
        from rich.live import Live

        self._look, self._console = look, console
        self._live = Live(
            console=console,
            get_renderable=self._draw,
            refresh_per_second=REFRESH,
            transient=True,
            # What goes into a file is left to go there.
            redirect_stdout=_shown(sys.stdout),
            redirect_stderr=_shown(sys.stderr),
        )
        before = (sys.stdout, sys.stderr)
        self._live.start(refresh=True)
        self._moved = _moved(before, (sys.stdout, sys.stderr))

    def stop(self) -> None:
        """Take the bar away and give the terminal back."""
        self._live.stop()
        for handler, stream in self._moved:
            handler.setStream(stream)

    def _draw(self) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        head, done, total, count, facts = self._look()
        # The last column stays free: some terminals break the line there.
        width = min(self._console.size.width - 1, MOST)
        row = Table.grid(padding=(0, 2, 0, 0))
        row.width = width
        row.add_column(no_wrap=True)
        row.add_column(ratio=1)
        row.add_column(no_wrap=True, justify="right")
        # Without a known end there is no telling how full it is; steps that are done are told in any case.
        bar = ProgressBar(total=total, completed=done) if total else ProgressBar(total=None)
        row.add_row(Text(head, style="bold"), bar, Text(count))
        lines = [Text(line, style="dim", no_wrap=True, overflow="ellipsis") for line in wrapped(facts, width)]
        return Group(row, *lines)


def _shown(stream: Any) -> bool:
    """True for a stream that ends in a terminal."""
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):
        return False


def _moved(before: tuple[Any, Any], now: tuple[Any, Any]) -> list[tuple[logging.StreamHandler[Any], Any]]:
    """Let loggers write where the program does now; each handler comes back with the stream that it had."""
    named = [logger for logger in logging.root.manager.loggerDict.values() if isinstance(logger, logging.Logger)]
    moved = []
    for logger in [logging.root, *named]:
        for handler in logger.handlers:
            for old, new in zip(before, now, strict=True):
                if type(handler) is logging.StreamHandler and handler.stream is old and new is not old:
                    handler.setStream(new)
                    moved.append((handler, old))
                    break
    return moved
