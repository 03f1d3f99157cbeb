"""What the command lines of this room and of the reports have in common."""

from __future__ import annotations

import argparse
from typing import NoReturn

WRONG = 2
"""The exit status of a command that asks for what there is not."""


class Parser(argparse.ArgumentParser):
    """Errors are one line that says where to read on."""

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG, f"{self.prog}: {message}; --help lists the options\n")


def natural(text: str) -> int:
    """A whole number from 1. Raises argparse.ArgumentTypeError for anything else."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)
