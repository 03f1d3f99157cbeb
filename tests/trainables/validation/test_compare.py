"""What the comparison says of a policy is what a run by that policy does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor
from torch.nn.functional import cross_entropy

from tests.trainables.small import clusters, recipe, task
from tests.trainables.test_world import Normed
from tests.trainables.validation.test_passes import Restless
from trainables import (
    EMA,
    SGD,
    ConflictError,
    EarlyStopping,
    EveryEpoch,
    OnPlateau,
    Sampled,
    Splits,
    Thirds,
    WithinEpoch,
)
from trainables.fit import fit
from trainables.recipe_file import write
from trainables.train import best_epoch
from trainables.validation import Validation
from trainables.validation.__main__ import main, show
from trainables.validation.compare import Comparison, compared

POLICIES: Sequence[Validation] = (
    EveryEpoch(),
    Thirds(early=3, mid=2, late=2),
    OnPlateau(patience=1, every=3),
    Sampled(share=0.4, every=4),
    WithinEpoch(every=0.5),
    WithinEpoch(every=1, share=0.5),
)
SETTINGS = recipe(model=Normed(), epochs=11, average=EMA(decay=0.9), stop=EarlyStopping(patience=1))


def far(seed: int) -> Splits[Any]:
    splits = clusters(seed)
    return replace(splits, more={"far": tuple(tensor[:9] for tensor in splits.val)})


def interrupting(seed: int) -> Splits[Any]:  # noqa: ARG001
    raise KeyboardInterrupt


def failing(seed: int) -> Splits[Any]:  # noqa: ARG001
    raise ZeroDivisionError("nothing to divide by")


more = replace(task, data=far)
failed = replace(task, data=failing)
interrupted = replace(task, data=interrupting)


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return compared(more, SETTINGS, POLICIES)


def history(policy: Validation) -> list[dict[str, Any]]:
    *_, epoch = fit(more, replace(SETTINGS, validation=policy, stop=None))
    return epoch.run.history


def test_it_counts_the_passes(comparison: Comparison) -> None:
    assert comparison.epochs == 11
    assert comparison.samples == {"val": 20, "val_far": 9}
    counts = [(one.full, one.partial) for one in comparison.outcomes]
    # Four batches an epoch: one look in the middle, or three.
    assert counts[:2] == [(11, 0), (5, 0)]
    assert counts[3:] == [(3, 8), (11, 11), (11, 33)]
    assert [one.policy for one in comparison.outcomes][3] == "Sampled(share=0.4, every=4)"


@pytest.mark.parametrize("place", range(len(POLICIES)), ids=[str(policy) for policy in POLICIES])
def test_it_says_of_each_policy_what_its_own_run_does(comparison: Comparison, place: int) -> None:
    outcome, own, every = comparison.outcomes[place], history(POLICIES[place]), history(EveryEpoch())
    assert outcome.full == sum("val/loss" in row for row in own)
    assert outcome.best_epoch == best_epoch(own, task.goal)
    best = max(row["val/accuracy"] for row in every)
    assert outcome.best_epoch is not None
    assert outcome.lost == pytest.approx(best - every[outcome.best_epoch - 1]["val/accuracy"])
    for name in ("val", "val_far"):
        off, known = [], None
        for mine, whole in zip(own, every, strict=True):
            known = mine.get(f"{name}/accuracy", mine.get(f"{name}/accuracy_sample", known))
            if known is not None:
                off.append(abs(known - whole[f"{name}/accuracy"]))
        if not isinstance(POLICIES[place], WithinEpoch):
            assert outcome.errors[name].mean == pytest.approx(sum(off) / len(off))
            assert outcome.errors[name].largest == pytest.approx(max(off))


def test_nothing_is_saved_or_missed_by_a_full_pass_after_every_epoch(comparison: Comparison) -> None:
    every, _, _, sampled, within, part = comparison.outcomes
    assert (every.saved, every.lost, every.seconds) == (0.0, 0.0, comparison.seconds)
    assert every.errors["val"].largest == within.errors["val"].largest == 0.0
    assert within.saved < 0
    assert sampled.errors["val"].largest > 0
    assert part.errors["val"].largest > 0


@pytest.mark.parametrize(
    "changes", [{"model": Restless()}, {"model": Normed(), "freeze": ("1.*",)}], ids=["drawing", "a frozen norm"]
)
def test_the_run_is_trained_as_if_no_policy_looked_within(changes: dict[str, Any]) -> None:
    def losses(*policies: Validation) -> list[float]:
        seen = []

        def noted(output: Tensor, target: Tensor) -> Tensor:
            value = cross_entropy(output, target, reduction="none")
            if value.requires_grad:
                seen.append(float(value.detach().sum()))
            return value

        compared(task, recipe(epochs=2, loss=noted, **changes), policies)
        return seen

    assert losses(EveryEpoch()) == losses(EveryEpoch(), WithinEpoch(every=1), WithinEpoch(every=0.5, share=0.5))


def test_what_cannot_be_compared_is_said() -> None:
    with pytest.raises(ConflictError, match="Sampled share 2 must lie above 0"):
        compared(task, recipe(), [Sampled(share=2)])
    with pytest.raises(ConflictError, match="epochs 0 must be"):
        compared(task, recipe(epochs=0), [EveryEpoch()])
    with pytest.raises(ConflictError, match=r"val/loss is nan after epoch 1.*take a lower learning rate"):
        compared(task, recipe(optimizer=SGD(lr=1e200)), [EveryEpoch()])


def test_the_table_fits_a_terminal_and_shows_every_set(
    comparison: Comparison, capsys: pytest.CaptureFixture[str]
) -> None:
    show(comparison)
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 80 for line in lines), lines
    assert "val 20, val_far 9" in lines[0]
    # What is too long goes on below itself.
    assert sum(line.startswith("Sampled(share=0.4,") for line in lines) == 2
    assert any(line == "  share=0.5)" for line in lines)
    row = next(line.split() for line in lines if line.startswith("EveryEpoch"))
    assert row[1] == "11"
    assert row[3:5] == ["0", "%"]


SMALL = "tests.trainables.small:task"


def test_the_command_prints_a_table_or_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--task", SMALL, "--epochs", "3", "--seed", "5"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("clusters, 3 epochs, accuracy; samples: val 20.")
    assert all(len(line) <= 80 for line in out.splitlines())
    assert main(["--task", SMALL, "--epochs", "3", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["epochs"] == 3
    assert [one["policy"] for one in told["outcomes"]][:3] == ["EveryEpoch", "Thirds", "OnPlateau(patience=2)"]
    assert told["outcomes"][0]["saved"] == 0


def test_a_recipe_of_one_s_own_parts_is_taken_where_its_module_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(write(tmp_path / "mine.yaml", recipe(model=Normed(), epochs=2)))
    assert main(["--task", SMALL, "--recipe", path]) == 2
    assert "tests.trainables.test_world, which may not be imported" in capsys.readouterr().err
    assert main(["--task", SMALL, "--recipe", path, "--module", "tests", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["epochs"] == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--task", "nowhere:task"], "--task nowhere:task: ModuleNotFoundError"),
        (["--task", "digits"], "--task digits: write MODULE:NAME; trainables.tasks:digits"),
        (
            ["--task", "tests.trainables.small:recipe"],
            "recipe is a function, not a Task; its tasks: tests.trainables.small:task",
        ),
        (["--task", "math:pi"], "pi is a float, not a Task; math holds no task"),
        (["--task", SMALL, "--data", "x.csv"], "--data x.csv: the data of task 'clusters' is built in"),
        (["--task", "trainables.tasks:table"], "task table: no file is named; add --data PATH"),
        (["--task", SMALL, "--epochs", "0"], "epochs 0 must be a whole number from 1"),
        (["--task", SMALL, "--device", "abacus"], "--device: 'abacus' is no device; take cpu or cuda"),
        (["--task", SMALL, "--recipe", "nowhere.json"], "nowhere.json: there is no such file"),
        (["--task", f"{__name__}:failed"], "ZeroDivisionError: nothing to divide by (/"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_question_is_one_line_and_status_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_an_interruption_is_status_3(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--task", "tests.trainables.validation.test_compare:interrupted"]) == 3
    assert "run it again" in capsys.readouterr().err


def test_an_option_that_is_not_known_is_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--often"])
    assert left.value.code == 2
    assert "--help lists the options" in capsys.readouterr().err
