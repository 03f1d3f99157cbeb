"""Planted sweeps as folders, and a real browser."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from analysis.records import Status, TrialRecord
from tests.planted import planted_folder, planted_question, planted_records

if TYPE_CHECKING:
    from playwright.sync_api import Browser

LEVELS = {16: 0.962, 32: 0.971, 64: 0.974, 128: 0.973, 256: 0.955, 512: 0.92}


def six_levels(seeds: int = 8) -> dict[int, list[float]]:
    """Test accuracies of six batch sizes over some seeds; 32, 64 and 128 lie close together."""
    generator = np.random.default_rng(1)
    return {level: [float(mean + e) for e in generator.normal(0, 0.004, seeds)] for level, mean in LEVELS.items()}


def troubled() -> list[TrialRecord]:
    """Six levels with diverged and failed finals, and times that differ by level."""
    generator = np.random.default_rng(2)
    seconds = {
        level: [float(base * generator.uniform(1, 1.1)) for _ in range(8)]
        for level, base in zip(LEVELS, (9.2, 5.1, 3.1, 2.6, 2.4, 2.3), strict=True)
    }
    return planted_records(six_levels(), seconds=seconds, diverged=[(512, 2), (512, 5)], failed=[(128, 3), (16, 1)])


@pytest.fixture(scope="session")
def troubled_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep in which something went wrong."""
    question = planted_question(list(LEVELS), seeds=8, target=0.95)
    return planted_folder(tmp_path_factory.mktemp("troubled") / "planted", troubled(), question)


@pytest.fixture(scope="session")
def hostile_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep whose levels, errors and addresses try to be more than text."""
    evil = "</script><script>alert(1)</script>"
    scores = {evil: [0.9 + 0.001 * i for i in range(8)], '"><img src=x onerror=alert(2)>': [0.8] * 8}
    records = planted_records(scores, failed=[(evil, 3)])
    records = [
        replace(record, error=f"<b>{evil}</b> postgresql://me:hunter2@db/x")
        if record.status is Status.FAILED
        else record
        for record in records
    ]
    question = planted_question(list(scores), seeds=8) | {
        "command": "python sweeps/x.py --tracking-uri https://me:hunter2@mlflow.example.org/",
        "tracking": {
            "command": "mlflow server --backend-store-uri postgresql://me:hunter2@db/x",
            "url": "javascript:alert(3)",
            "compare_url": "https://me:hunter2@mlflow.example.org/#/compare",
        },
        "recipe": {"model": "<style>*{display:none}</style>"},
    }
    return planted_folder(tmp_path_factory.mktemp("hostile") / "planted", records, question)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The system's Chromium; without one the test is skipped, but never in CI."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("no Chromium on PATH; install chromium, since the page has to be seen in a browser")
        pytest.skip("no Chromium on PATH")
    from playwright.sync_api import sync_playwright

    switches = [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=switches)
        yield chromium
        chromium.close()
