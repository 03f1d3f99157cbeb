"""What runs on a GPU: a real one where there is one, else one by name, which shows tensors on the wrong device."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from analysis.ledger import read_ledger
from analysis.records import Status
from tests.gpu.stand_in import ROOT, compiler, environment

PACKS = [
    f"tests/trainables/fused/test_{name}.py"
    for name in (
        "architectures",
        "data",
        "drops",
        "dry",
        "general",
        "members",
        "modules",
        "recorded",
        "rules",
        "settings",
    )
]
"""Packs beside the same runs alone."""

RUNS = [
    f"tests/trainables/test_{name}.py"
    for name in ("augment", "averages", "clip", "curriculum", "dropout", "fit", "noise", "steps")
]
"""Runs with every part of a recipe."""


@pytest.fixture(scope="module")
def settings(request: pytest.FixtureRequest) -> dict[str, str]:
    if not torch.cuda.is_available() and compiler() is None:
        pytest.skip("no GPU, and no compiler of C++ to make one by name")
    return environment(Path(request.config.cache.mkdir("gpu")))


def python(settings: dict[str, str], *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], env=settings, cwd=cwd, capture_output=True, text=True, check=False, timeout=800
    )


MIXED = """
import json, torch
there, here = torch.ones(3, device="cuda"), torch.ones(3)
found = {}
for name, tried in {
    "sum": lambda: there + here, "stack": lambda: torch.stack([there, here]), "scalar": lambda: there + torch.ones(()),
    "scalars": lambda: torch.stack([there.sum(), here.sum()]), "copy": lambda: there.copy_(here).cpu() + here,
    "index": lambda: there[torch.tensor([0, 2])], "index of it": lambda: here[torch.tensor([0, 2], device="cuda")],
    "numpy": lambda: there.numpy(), "product": lambda: torch.nn.Linear(3, 2)(there),
}.items():
    try:
        found[name] = str(tried().device)
    except Exception as error:
        found[name] = type(error).__name__
print(json.dumps(found))
"""


def test_a_gpu_by_name_refuses_what_a_real_one_does(settings: dict[str, str]) -> None:
    done = python(settings, "-c", MIXED)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "sum": "RuntimeError",
        "stack": "RuntimeError",
        "scalar": "cuda:0",
        "scalars": "RuntimeError",
        "copy": "cpu",
        "index": "cuda:0",
        "index of it": "RuntimeError",
        "numpy": "TypeError",
        "product": "RuntimeError",
    }


@pytest.mark.parametrize(("tests", "least"), [(PACKS, 1000), (RUNS, 100)], ids=["packs", "runs"])
def test_what_holds_on_a_cpu_holds_there(settings: dict[str, str], tests: Sequence[str], least: int) -> None:
    options = ["-n0", "-p", "tests.gpu.plugin", "-p", "no:cacheprovider"]
    done = python(settings, "-m", "pytest", *options, *tests)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    started = re.search(r"(\d+) runs were on cuda", done.stdout)
    assert started is not None
    assert int(started[1]) >= least


def test_a_sweep_is_run_there(settings: dict[str, str], tmp_path: Path) -> None:
    options = ["--runs", str(tmp_path), "--lane", "fused", "--trials", "2", "--seeds", "12", "--epochs", "2"]
    own = {**settings, "XDG_CACHE_HOME": str(tmp_path)}
    done = python(own, str(ROOT / "tests" / "sweeps" / "small.py"), *options)
    assert done.returncode == 0, done.stdout + done.stderr
    records = read_ledger(tmp_path / "small")
    assert {record.status for record in records} == {Status.COMPLETED}
    assert all(record.cost.gpu_seconds is not None for record in records)
    assert "a trial takes 1 CPU, 1 GPU" in " ".join(done.stdout.split())
    assert {record.lane for record in records} <= {"fused", "solo"}
