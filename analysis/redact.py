"""Taking credentials out of what is shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_USERINFO = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*://)(?:[^\s/@:'\"<>]*:[^\s'\"<>]*|[^\s/'\"<>]*)@")
_ASSIGNED = re.compile(
    r"((?:password|passwd|secret|api[_-]?key|access[_-]?key(?:[_-]id)?)['\"]?\s*[=:]\s*['\"]?)[^\s&'\",;]+",
    re.IGNORECASE,
)
# A token is a word of language models too (pad_token=0): only what is long enough to be a credential.
_TOKEN = re.compile(r"(token['\"]?\s*[=:]\s*['\"]?)[A-Za-z0-9+/._\-]{12,}=*", re.IGNORECASE)
_BEARER = re.compile(r"((?:Bearer|Authorization: Basic)\s+)[A-Za-z0-9+/=._\-]{8,}")


def redact(text: str) -> str:
    """The text with user names and passwords in addresses, and values of ``password=``, ``token=`` and the like, as ``…``."""
    text = _USERINFO.sub(r"\1…@", text)
    for pattern in (_ASSIGNED, _TOKEN, _BEARER):
        text = pattern.sub(r"\1…", text)
    return text


def redact_all(value: Any) -> Any:
    """The same for every text inside lists and mappings."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {redact(str(key)): redact_all(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact_all(item) for item in value]
    return value
