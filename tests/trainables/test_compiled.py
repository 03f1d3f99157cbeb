"""Compilation: the same numbers, its seconds told apart, and kept for the next process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.trainables.small import recipe
from trainables import Compile, DropoutRamp

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = """
import json
from dataclasses import replace
import torch
from torch._dynamo.utils import counters
import trainables.fit as loop
from tests.trainables.small import recipe, task as small
from trainables import Compile, EMA
from trainables.fit import fit
from trainables.models import MLP

torch.set_num_threads(1)
told = {}
warm = loop.warm


def counted(run):
    warm(run)
    told["graphs"] = counters["stats"]["unique_graphs"]


def larger(seed):
    # Batches are of 256 samples: 300 leave 44, and 513 leave one, which is compiled apart.
    splits = small.data(seed)
    val = tuple(torch.cat([tensor] * 32)[:513] for tensor in splits.val)
    return replace(splits, val=val, test=tuple(tensor[:300] for tensor in val))


loop.warm = counted
task = replace(small, data=larger)
for name, compile in (("eager", None), ("compiled", Compile())):
    epochs = list(fit(task, recipe(model=MLP(widths=(16,)), compile=compile, average=EMA(decay=0.9), epochs=2, micro_batch=5)))
    told[name] = [dict(epoch.metrics) for epoch in epochs]
    told[name + " seconds"] = [sorted(epoch.seconds) for epoch in epochs]
    told[name + " rows"] = ["compile_seconds" in row for row in epochs[-1].run.history]
told["hits"] = counters["inductor"]["fxgraph_cache_hit"] + counters["aot_autograd"]["autograd_cache_hit"]
told["misses"] = counters["inductor"]["fxgraph_cache_miss"]
told["frames"] = counters["frames"]["total"]
told["graphs in the end"] = counters["stats"]["unique_graphs"]
print(json.dumps(told))
"""


@pytest.mark.slow
def test_compiled_is_eager_and_the_next_process_starts_warm(tmp_path: Path) -> None:
    environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    told = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=environment, cwd=ROOT, check=False
        )
        assert done.returncode == 0, done.stderr
        told.append(json.loads(done.stdout.splitlines()[-1]))
    for result in told:
        assert result["frames"] > 0
        # All that training and validation need, batches that are left over included, was compiled before the first epoch.
        assert result["graphs in the end"] == result["graphs"] > 1
        for compiled, eager in zip(result["compiled"], result["eager"], strict=True):
            assert compiled == pytest.approx(eager, rel=0, abs=1e-10)
        assert result["compiled seconds"] == [["compile", "train", "validate"], ["train", "validate"]]
        assert result["eager seconds"] == [["train", "validate"]] * 2
        assert result["compiled rows"] == [True, False]
        assert result["eager rows"] == [False, False]
    cold, warm = told
    assert cold["misses"] > 0
    assert warm["misses"] == 0
    assert warm["hits"] > 0


def test_conflicts() -> None:
    assert "mode 'fast'" in next(iter(Compile(mode="fast").conflicts()))
    (said,) = recipe(compile=Compile(), dropout=DropoutRamp()).conflicts()
    assert "compiled anew" in said
