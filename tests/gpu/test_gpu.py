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

from tests.gpu.stand_in import ROOT, compiler, environment

PACKS = [
    f"tests/trainables/fused/test_{name}.py"
    for name in (
        *("architectures", "data", "drops", "dry", "general", "members", "modules", "recorded", "rules", "settings"),
        *("short_runs", "train"),
    )
]
"""Packs beside the same runs alone."""

RUNS = [
    f"tests/trainables/test_{name}.py"
    for name in ("augment", "averages", "clip", "curriculum", "dropout", "fit", "noise", "preparing", "steps")
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
there, here, number = torch.ones(3, device="cuda"), torch.ones(3), torch.ones(())
adam = {"lr": 0.1, "beta1": 0.9, "beta2": 0.99, "weight_decay": 0.0, "eps": 1e-8, "amsgrad": False, "maximize": False}
found = {}
for name, tried in {
    "sum": lambda: there + here,
    "stack": lambda: torch.stack([there, here]),
    "product": lambda: torch.nn.Linear(3, 2)(there),
    "numbers": lambda: torch.stack([there.sum(), number]),
    "number written": lambda: number.add_(there.sum()),
    "index of a kernel": lambda: there.index_select(0, torch.tensor(0)),
    "index there": lambda: here[torch.tensor([0, 2], device="cuda")],
    "values": lambda: there.clone().index_put_([torch.tensor([0])], torch.ones(1)),
    "step": lambda: torch._fused_adam_(*([there.clone()] for _ in range(4)), [], [number.clone()], **adam),
    "numpy": lambda: there.numpy(),
    "number": lambda: there + number,
    "index": lambda: there[torch.tensor([0, 2])],
    "copy": lambda: there.copy_(here).cpu() + here,
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
    found = json.loads(done.stdout)
    assert [found.pop(name) for name in ("number", "index", "copy", "numpy")] == [
        "cuda:0",
        "cuda:0",
        "cpu",
        "TypeError",
    ]
    assert set(found.values()) == {"RuntimeError"}, found


def passing(settings: dict[str, str], *tests: str) -> str:
    options = ["-n0", "-p", "no:cacheprovider"]
    done = python(settings, "-m", "pytest", *options, *tests)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize(("tests", "least", "graphs"), [(PACKS, 1000, 500), (RUNS, 100, 0)], ids=["packs", "runs"])
def test_what_holds_on_a_cpu_holds_there(
    settings: dict[str, str], tests: Sequence[str], least: int, graphs: int
) -> None:
    found = re.search(
        r"(\d+) runs were on cuda, (\d+) steps were graphs", passing(settings, "-p", "tests.gpu.plugin", *tests)
    )
    assert found is not None
    assert int(found[1]) >= least
    assert int(found[2]) >= graphs


def test_steps_as_graphs(settings: dict[str, str]) -> None:
    found = re.search(r"(\d+) passed", passing(settings, "tests/gpu/graphs.py"))
    assert found is not None
    assert int(found[1]) >= 15


SWEPT = """
import json, sys
from dataclasses import replace
from pathlib import Path
from sweeps import Resources
from sweeps.engine.drive import drive
from sweeps.engine.lanes import solo
from sweeps.engine.machine import Machine
from tests.sweeps.test_fused import losses, plain
from trainables.fused.structure import structure

def records(lane, **changes):
    folder = Path(sys.argv[1]) / lane
    folder.mkdir()
    sweep = replace(plain(), **changes)
    sizes = {structure(sweep.task, sweep.corner({}, 0)): 6}
    ran = drive(sweep, folder, lane=lane, concurrency=1, machine=Machine.here(None), followers=[], sizes=sizes)
    return {record.id: record for record in ran}

solo.start(Resources(gpus=1))
there = records("fused", resources=Resources(gpus=1))
solo.stop()
here = records("local", resources=Resources(gpus=0), early_stop=None)
print(json.dumps([
    (
        record.lane,
        max(row.get("shared", 1) for row in record.history),
        record.cost.gpu_seconds is not None and here[name].cost.gpu_seconds is None,
        max(abs(mine - its) for mine, its in zip(losses(record), losses(here[name]))),
    )
    for name, record in there.items() if name in here and record.history
]))
"""


def test_a_sweep_in_packs_there_has_the_numbers_of_one_on_a_cpu(settings: dict[str, str], tmp_path: Path) -> None:
    done = python({**settings, "RAY_AUTH_MODE": "disabled"}, "-c", SWEPT, str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    trials = json.loads(done.stdout.splitlines()[-1])
    assert len(trials) >= 24
    assert {lane for lane, *_ in trials} >= {"fused"}
    assert max(shared for _, shared, *_ in trials) == 6
    assert all(counted for *_, counted, _ in trials)
    assert max(difference for *_, difference in trials) < 1e-9
