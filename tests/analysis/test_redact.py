"""Credentials never reach a page, a tag or a link."""

from __future__ import annotations

import pytest

from analysis.redact import redact, redact_all


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://me:hunter2@host:5000/x", "http://…@host:5000/x"),
        ("http://me:hun@ter2@host/x", "http://…@host/x"),
        ("postgresql://me:pa/ss@host/db", "postgresql://…@host/db"),
        ("http://token@host", "http://…@host"),
        ("sqlite:////tmp/mlflow.db", "sqlite:////tmp/mlflow.db"),
        ("http://127.0.0.1:5000/#/experiments/1", "http://127.0.0.1:5000/#/experiments/1"),
        ("password=hunter2&x=1", "password=…&x=1"),
        ("MLFLOW_TRACKING_TOKEN=abcdefghijklmnop", "MLFLOW_TRACKING_TOKEN=…"),
        ("pad_token=0", "pad_token=0"),
    ],
)
def test_what_is_secret_goes_and_the_rest_stays(text: str, shown: str) -> None:
    assert redact(text) == shown


def test_inside_lists_and_mappings_too() -> None:
    assert redact_all({"a": ["http://me:x@h", 3], "b": None}) == {"a": ["http://…@h", 3], "b": None}
