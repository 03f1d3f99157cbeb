"""The charts' JavaScript as one text, made once a version and kept in the user's cache folder."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

_SNIPPET = "window.regatta = {embed: vegaEmbed};"
_END = "\n// regatta bundle, whole\n"


def cache_folder() -> Path:
    """Where generated files may be kept: ``$XDG_CACHE_HOME/regatta``, or ``~/.cache/regatta``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path("~/.cache").expanduser()) / "regatta"


def javascript(folder: Path | None = None) -> str:
    """Vega, Vega-Lite and Vega-Embed as one script that sets ``window.regatta.embed``.

    It declares names of its own at its top level, so it belongs into a ``<script type="module">``. Making it costs
    seconds, so it is kept in ``folder`` under a name that says the version; where that cannot be written, it is made
    each time.
    """
    from importlib.metadata import version

    import vl_convert

    name = f"vega-bundle-{version('vl-convert-python')}.js"
    path = (folder or cache_folder()) / name
    try:
        kept = path.read_text(encoding="utf-8")
        if kept.endswith(_END):
            return kept
    except (OSError, UnicodeDecodeError):
        pass  # not there yet, or unreadable: made again
    text = str(vl_convert.javascript_bundle(_SNIPPET))
    # The end of a script element may stand in a text or a comment, never inside the page's own script.
    text = text.replace("</script", "<\\/script") + _END
    _keep(path, text)
    return text


def _keep(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    except OSError:
        return
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).replace(path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
