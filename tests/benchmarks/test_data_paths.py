"""The paths are measured on the same training, orders are seen for what they are."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.sources import fronts, orders, work
from benchmarks.sources.paths import PATHS, PLAIN, Loader
from trainables.fit import fit

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_smallest_run() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.data_paths", "--json", "--quick"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["same_training"]
    assert list(result["paths"]) == [way.name for way in PATHS]
    assert result["paths"][PLAIN.name]["cpu_over_memory"]["median"] == 1.0
    for name in ("mapped_vs_memory", "dataloader_vs_memory", "dataloader_2_vs_memory", "prefetch_on_slow_storage"):
        assert result[name] > 0
    assert result["indices"] == 1_000_000
    assert result["chunked_peak_vs_full"] < 1
    assert all(order["each_once"] for order in result["orders"].values())
    assert result["orders"]["chunked_1"]["spread"] > 10 * result["orders"]["chunked"]["spread"]
    assert list(result["embeddings"]) == list(result["embeddings_speed_up"]) == [front.name for front in fronts.FRONTS]
    assert {"command", "machine", "versions", "rounds", "threads"} <= result.keys()


def test_the_loader_gives_the_plain_batches() -> None:
    loader, (inputs, target) = Loader(0), work.tensors()
    for epoch in (1, 2):
        order = torch.randperm(work.SAMPLES, generator=work.generator(0, epoch))
        for number, (x, y) in zip(range(3), loader.stream(work.BATCH, 0, 1, 0, epoch), strict=False):
            rows = order[number * work.BATCH : (number + 1) * work.BATCH]
            assert torch.equal(x, inputs[rows])
            assert torch.equal(y, target[rows])


def test_every_order_is_whole() -> None:
    for name, (_, order) in orders.ORDERS.items():
        assert torch.equal(torch.cat(list(order(3001))).sort().values, torch.arange(3001)), name


def test_a_front_is_no_part_of_what_is_learned() -> None:
    front = fronts.FRONTS[0].model()
    settings = work.recipe(1, model=fronts.t.Stacked(front=front, head=fronts.HEAD), freeze=("front.*",))
    (epoch,) = fit(replace(work.task()), settings)
    names = {id(parameter): name for name, parameter in epoch.run.module.named_parameters()}
    assert all(names[id(parameter)].startswith("head.") for parameter in epoch.run.parameters)
    assert 0 < fronts._share(fronts.FRONTS[0]) < 1


def test_an_unknown_part_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks/data_paths.py"), "--only", "pathos"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "invalid choice: 'pathos'" in done.stderr
