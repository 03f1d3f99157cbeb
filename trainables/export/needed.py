"""What exporting needs beside the rest, and how it refuses."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO

LIBRARIES = ("onnx", "onnxruntime", "onnxscript")
"""Those of the extra ``export``."""


class ExportError(ValueError):
    """What cannot be exported: the message names what, why, and the way out."""


def needed() -> None:
    """Raises ExportError, naming the extra, where a library is not installed."""
    missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        raise ExportError(
            f"exporting needs {', '.join(missing)}; install the extra: pip install -c constraints.txt -e '.[export]'"
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Without what the exporter and the quantiser say of their own insides; what goes wrong is raised all the same."""
    silent = logging.root.manager.disable
    with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        for kind in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
            warnings.simplefilter("ignore", kind)
        # Of recurrent layers, which set a list of their own weights anew: the same ones.
        warnings.filterwarnings("ignore", message="The tensor attributes? .*_flat_weights")
        try:
            logging.disable(logging.CRITICAL)
            yield
        finally:
            logging.disable(silent)


def first_line(error: BaseException) -> str:
    """What an exception says, cut to a line that can stand in a sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}"[:240] if lines else type(error).__name__
