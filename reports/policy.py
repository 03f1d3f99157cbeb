"""The page's content security policy: nothing runs and nothing is loaded but what the page itself carries."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence


def digest(text: str) -> str:
    """The source expression that allows exactly this inline text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def policy(*, scripts: Sequence[str], styles: Sequence[str]) -> str:
    """A policy that allows these inline scripts and styles, pictures as data, and nothing else."""
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {' '.join(digest(text) for text in scripts)}",
            f"style-src {' '.join(digest(text) for text in styles)}",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
