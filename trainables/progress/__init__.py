"""Showing how a run gets on: a bar for people, lines for logs."""

from trainables.progress.progress import Progress, shown

__all__ = ["Progress", "shown"]
