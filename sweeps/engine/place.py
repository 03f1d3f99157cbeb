"""Where in the user's own code an exception came from."""

from __future__ import annotations

import sysconfig
import traceback
from functools import cache
from pathlib import Path

from sweeps.engine.machine import ROOT

INSTALLED = frozenset({"site-packages", "dist-packages"})
"""Folders of what is installed."""

INNER = 3
"""Innermost frames that are shown."""

PRODUCT = ("trainables", "analysis", "reports", "sweeps/engine")
"""The packages of this product; what else is in ``sweeps/`` is a question, and may be the user's."""


def own_frame(raised: BaseException) -> traceback.FrameSummary | None:
    """The innermost frame of an exception that is neither a library's nor this product's; None where there is none."""
    frames = traceback.extract_tb(raised.__traceback__)
    return next((frame for frame in reversed(frames) if _own(frame.filename)), None)


def short(frame: traceback.FrameSummary) -> str:
    """File and line: ``mine.py:12``."""
    return f"{Path(frame.filename).name}:{frame.lineno}"


def said(raised: BaseException) -> str:
    """What an exception of the user's code says, and where: ``mine.py:12 in forward: x = self.b(x)``, and the innermost frames."""
    frame, inner = own_frame(raised), traceback.extract_tb(raised.__traceback__)[-INNER:]
    place = (
        f"\n  at {short(frame)} in {frame.name}{f': {frame.line}' if frame.line else ''}" if frame is not None else ""
    )
    frames = [frame, *inner] if frame is not None and frame not in inner else inner
    return f"{type(raised).__name__}: {raised}{place}\n\n{''.join(traceback.format_list(frames)).rstrip()}"


def _own(name: str) -> bool:
    path = Path(name)
    if name.startswith("<") or INSTALLED.intersection(path.parts):  # "<string>", "<frozen importlib._bootstrap>"
        return False
    there = path.resolve()
    return not any(there.is_relative_to(library) for library in _libraries())


@cache
def _libraries() -> tuple[Path, ...]:
    """Torch has a place of its own, since it may be built from its sources."""
    import torch

    standard = [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")]
    built = Path(str(torch.__file__)).parent.resolve()
    return (*standard, built, *(ROOT / package for package in PRODUCT))
