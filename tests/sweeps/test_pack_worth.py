"""When lane ``auto`` takes packs: planted gains, and a try that is a real one."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from analysis.records import Stage
from sweeps import TPE, Also, Random, Resources, Sweep, choice, each, log_uniform
from sweeps.engine.estimate import HEAT_SHARE
from sweeps.engine.pack_sizes import choices, room_for
from sweeps.engine.pack_worth import Laned, before_ray, gained, laned, worth
from sweeps.engine.pools import Pools
from tests.sweeps.small import small
from trainables import SGD, Cosine, Minimise, Recipe
from trainables.fused.probe import SIZES, Choice
from trainables.fused.structure import structure
from trainables.models import MLP

ROOT = Path(__file__).resolve().parents[2]

GAINS = {4: 2.0, 16: 4.0, 64: 8.0}


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray, which counts this machine, settles once in a process whether it asks for a token; other tests start it without."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")


PARTS = Recipe(model=MLP(widths=(8,)), batch_size=16, micro_batch=4, optimizer=SGD(lr=0.1), epochs=9)
"""What packs cannot do."""


def many(**changes: Any) -> Sweep:
    """One structure, 64 heats drawn at random and 40 finals, 9 epochs each."""
    recipe = Recipe(model=MLP(widths=(8,)), batch_size=16, optimizer=SGD(lr=log_uniform(1e-3, 1.0)), epochs=9)
    return small(**{"recipe": recipe, "search": Random(trials=64), "early_stop": None, "seeds": 40, **changes})


def planted(sweep: Sweep, size: int = 64, gains: Mapping[int, float] = GAINS) -> dict[str, Choice]:
    shapes = {structure(sweep.task, sweep.corner(level, end)) for level in sweep.levels() for end in range(sweep.ends)}
    return {shape: Choice(size=size, gains=gains) for shape in shapes}


def worth_of(sweep: Sweep, *, at_once: int = 1, size: int = 64, gains: Mapping[int, float] = GAINS) -> float:
    return worth(Pools.of(sweep, at_once=at_once), planted(sweep, size, gains))


def test_pools_hold_every_step_once() -> None:
    recipe = Recipe(model=MLP(widths=(8,)), batch_size=each(8, 32), optimizer=SGD(lr=log_uniform(1e-3, 1.0)), epochs=9)
    pools = Pools.of(small(recipe=recipe), at_once=1)
    epochs = {8: 8, 32: 2}  # steps of 61 samples
    # Five heats a level that learn and are stopped early, and six finals, all of them timed.
    assert pools.alone == sum(6 * 9 * steps for steps in epochs.values())
    assert pools.steps - pools.alone == pytest.approx(sum(5 * 9 * HEAT_SHARE * steps for steps in epochs.values()))
    assert {stage for stage, _ in pools.shared} == {Stage.HEAT, Stage.FINAL}
    assert max(pool.members for pool in pools.shared.values()) == 1  # a search that learns from five heats


def heats(sweep: Sweep, at_once: int) -> int:
    """Heats in a pack of a sweep that has one structure."""
    [members] = [
        pool.members for (stage, _), pool in Pools.of(sweep, at_once=at_once).shared.items() if stage is Stage.HEAT
    ]
    return members


def test_heats_share_packs_as_far_as_nothing_is_learned_from_them() -> None:
    assert [heats(many(), at_once) for at_once in (1, 2, 4)] == [64, 32, 16]
    assert [heats(many(search=TPE(trials=64)), at_once) for at_once in (1, 2, 4, 8)] == [16, 8, 4, 2]


def test_levels_of_one_structure_share_packs() -> None:
    two = many(recipe=replace(many().recipe, schedule=each(Cosine(), Cosine(warmup=0.1))))
    assert heats(two, 1) == 128
    assert heats(replace(two, search=TPE(trials=64)), 1) == 32


def test_the_worth_is_that_of_what_goes_into_packs() -> None:
    # 64 heats in one pack of 64, 8 finals alone, 32 in a pack.
    found = worth_of(many(), gains={4: 2.0, 32: 4.0, 64: 8.0})
    assert found == pytest.approx((64 + 8 + 32) / (64 / 8 + 8 + 32 / 4))
    # Where two packs are trained side by side, each has half of them.
    found = worth_of(many(), at_once=2, gains={4: 2.0, 16: 3.0, 32: 4.0, 64: 8.0})
    assert found == pytest.approx((64 + 8 + 32) / (64 / 4 + 8 + 32 / 3))
    assert worth_of(many(timed=0), gains={4: 1.0, 32: 1.0, 64: 1.0}) == pytest.approx(1.0)


def test_what_was_not_chosen_gains_nothing() -> None:
    assert worth_of(many(), size=1) == pytest.approx(1.0)
    assert worth(Pools.of(many(), at_once=1), {}) == pytest.approx(1.0)


@pytest.mark.parametrize(("members", "gain"), [(1, 1.0), (3, 1.0), (4, 2.0), (8, 3.0), (16, 4.0), (32, 4.0), (64, 4.0)])
def test_gains_lie_between_those_that_were_tried_and_end_at_the_size_that_was_chosen(members: int, gain: float) -> None:
    assert gained(Choice(size=16, gains=GAINS), members) == pytest.approx(gain)


@pytest.mark.parametrize(
    "changes",
    [
        {"seeds": 8, "search": TPE(trials=16)},
        {"seeds": 4, "search": None, "recipe": replace(PARTS, micro_batch=None)},
        {"log_every": 5},
        {"recipe": PARTS, "search": None},
        {"also": Also(goal=Minimise("cpu_seconds"))},
        {"lane": "fused", "log_every": 5},
        {"lane": "fused", "also": Also(goal=Minimise("cpu_seconds"))},
        {"lane": "fused", "recipe": PARTS, "search": None},
    ],
    ids=[
        *("too few finals", "fewer than are timed", "log_every", "micro_batch", "a goal that packs share out"),
        *("named, log_every", "named, a goal that packs share out", "named, micro_batch"),
    ],
)
def test_what_cannot_gain_is_not_tried(changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def tried(*_: Any) -> Mapping[str, Choice]:
        raise AssertionError("tried")

    monkeypatch.setattr("sweeps.engine.pack_worth.choices", tried)
    said: list[str] = []
    sweep = many(resources=Resources(gpus=0), **changes)
    assert laned(sweep, at_once=1, say=said.append) == Laned(sweep=sweep)
    assert said == []


def test_heats_of_which_nobody_knows_how_they_are_built_count_as_alone() -> None:
    recipe = replace(many().recipe, model=choice(MLP(widths=(8,)), MLP(widths=(16,))))
    pools = Pools.of(many(recipe=recipe), at_once=1)
    assert {stage for stage, _ in pools.shared} == {Stage.FINAL}
    assert pools.steps == Pools.of(many(), at_once=1).steps
    heat = next((Stage.HEAT, shape) for _, shape in pools.shared)
    assert pools.worth_a_pack(heat, learned_from=False)
    assert not pools.worth_a_pack(heat, learned_from=True)


def test_packs_are_no_larger_than_there_is_room_for_what_their_members_draw(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Finals that draw their split hold a set each, and the pack another of all; those that share one hold it once."""
    sweep = many()
    splits = sweep.task.load(0)
    size = sum(tensor.nbytes for samples in splits.named().values() for tensor in samples)
    assert room_for(sweep, splits, 20 * size) == 10
    assert room_for(replace(sweep, vary=("init", "order")), splits, 0) == max(SIZES)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("sweeps.engine.pack_sizes.room_for", lambda *_: 15)
    (chosen,) = choices(sweep, Pools.of(sweep, at_once=1)).values()
    assert chosen.gains.keys() == {4}


def test_a_real_try_puts_many_small_trials_into_packs_and_leaves_alone_what_names_its_lane(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    said: list[str] = []
    sweep = many(timed=0, resources=Resources(gpus=0))
    tried = laned(sweep, at_once=2, say=said.append)
    taken = tried.sweep
    assert taken.lane == "fused"
    assert said[0] == "Trying packs of trials …"
    assert "so they are, as with --lane fused" in said[1]
    assert set(tried.sizes.values()) <= {16, 32}  # no more than there are trials for
    for other in (many(lane="solo"), many(resources=Resources(workers=2)), small()):
        assert laned(other, at_once=2, say=said.append) == Laned(sweep=other)
    assert len(said) == 2
    assert laned(taken, at_once=2, say=said.append) == tried
    assert said[2] == "Trying packs of trials …"
    assert re.fullmatch(r"  in packs of up to (16|32), all trials take about \d+ % of the time .*", said[3])


BESIDE_A_GPU = """
import json, os, ray
from sweeps import Resources
from sweeps.engine.pack_sizes import choices
from sweeps.engine.pools import Pools
from tests.sweeps.test_pack_worth import many

ray.init(address="local", num_cpus=1, num_gpus=1, include_dashboard=False, log_to_driver=False)
sweep = many(timed=0, resources=Resources(gpus=0.5))
print(json.dumps({alike: choice.size for alike, choice in choices(sweep, Pools.of(sweep, at_once=2)).items()}))
"""


def test_where_trials_take_a_gpu_packs_are_tried_in_a_task_that_takes_one(tmp_path: Path) -> None:
    """The GPU is one in name; what is computed on it is computed on the processor."""
    if torch.cuda.is_available():
        pytest.skip("with a GPU the sizes are its own")
    settings = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "RAY_AUTH_MODE": "disabled"}
    done = subprocess.run(
        [sys.executable, "-c", BESIDE_A_GPU], env=settings, cwd=ROOT, capture_output=True, text=True, check=True
    )
    sweep = many()
    assert json.loads(done.stdout.splitlines()[-1]).keys() == {structure(sweep.task, sweep.corner({}, 0))}
    assert len([*(tmp_path / "regatta" / "packs").iterdir()]) == 1


def test_a_try_that_shows_no_gain_leaves_trials_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    sweep = many(resources=Resources(gpus=0))
    monkeypatch.setattr("sweeps.engine.pack_worth.choices", lambda sweep, _: planted(sweep, gains={4: 1.1, 64: 1.2}))
    assert laned(sweep, at_once=2, say=said.append) == Laned(sweep=sweep)
    assert "each is trained alone" in said[1]
    named = replace(sweep, lane="fused")
    monkeypatch.setattr("sweeps.engine.pack_worth.choices", lambda sweep, _: planted(sweep, size=1))
    assert laned(named, at_once=2, say=said.append) == Laned(sweep=named, sizes=dict.fromkeys(planted(sweep), 1))
    assert said[3] == "  each is trained alone: no pack gains a tenth"
    refused = Choice(size=1, reason="Own: vmap cannot take it (RuntimeError)")
    monkeypatch.setattr("sweeps.engine.pack_worth.choices", lambda *_: dict.fromkeys(planted(sweep), refused))
    laned(named, at_once=2, say=said.append)
    assert said[5] == "  each is trained alone: Own: vmap cannot take it (RuntimeError)"
    monkeypatch.setattr("sweeps.engine.pack_worth.choices", lambda *_: {})  # the try has failed
    assert laned(named, at_once=2, say=said.append) == Laned(sweep=named)
    assert said[7] == "  the try has failed, or no machine was free for it: packs have up to 32 members"
    assert laned(sweep, at_once=2, say=said.append) == Laned(sweep=sweep)
    assert said[9] == "  the try has failed, or no machine was free for it: each is trained alone"


def test_what_is_trained_alone_is_named_by_its_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    recipe = Recipe(model=MLP(widths=each((4,), (8,), (16,))), batch_size=16, optimizer=SGD(lr=0.1), epochs=9)
    sweep = many(recipe=recipe, search=None, resources=Resources(gpus=0), lane="fused")
    refused = Choice(size=1, reason="MLP: vmap cannot take it (RuntimeError)")
    first, second, third = (structure(sweep.task, sweep.corner(level, 0)) for level in sweep.levels())
    both = {first: refused, second: Choice(size=16, gains=GAINS), third: refused}
    monkeypatch.setattr("sweeps.engine.pack_worth.choices", lambda *_: both)
    assert laned(sweep, at_once=2, say=said.append).sizes == {first: 1, second: 16, third: 1}
    named = r"alone: \(4,\), \(16,\) \(MLP: vmap cannot take it \(RuntimeError\)\)"
    assert re.fullmatch(rf"  in packs of up to 16, .*; {named}", said[1])
    other = {first: refused, second: replace(refused, reason="MLP: it draws"), third: refused}
    monkeypatch.setattr("sweeps.engine.pack_worth.choices", lambda *_: other)
    laned(sweep, at_once=2, say=said.append)
    assert said[3] == (
        "  each is trained alone: (4,), (16,) (MLP: vmap cannot take it (RuntimeError)); (8,) (MLP: it draws)"
    )


def test_it_is_said_where_heats_go_into_no_pack(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("sweeps.engine.pack_worth.choices", lambda sweep, _: planted(sweep))
    few = (
        "; heats are trained alone: the search learns from them, so that a worker would have 2 at a time, "
        "and a pack of heats has 8 at least"
    )
    for sweep, alone in (
        (many(search=TPE(trials=8)), few),
        (many(search=TPE(trials=80)), ""),
        (many(search=Random(trials=8)), ""),
        (many(), ""),
    ):
        laned(replace(sweep, lane="fused"), at_once=1, say=said.append)
        assert said[-1].endswith(f"one by one{alone}")
    laned(many(search=TPE(trials=8), seeds=2000), at_once=1, say=said.append)
    assert said[-1].endswith(f"so they are, as with --lane fused{few}")


def test_packs_are_tried_before_ray_is_up_on_this_machine_s_processors_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("RAY_OVERRIDE_RESOURCES", raising=False)
    assert before_ray(many(resources=Resources(gpus=0)))
    assert before_ray(many()) or torch.cuda.is_available()
    monkeypatch.setenv("RAY_OVERRIDE_RESOURCES", '{"GPU": 1}')
    assert not before_ray(many())
    assert before_ray(many(resources=Resources(gpus=0)))
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert not before_ray(many(resources=Resources(gpus=0)))
