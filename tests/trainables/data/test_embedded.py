"""A frozen front is run once, and what is learned behind it is what is learned with it in the model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.trainables.small import recipe, task
from trainables import FP64, ConflictError, Embedded, InMemory, KFold, Recipe, Splits, Stacked, Task, accuracy
from trainables.evaluate import evaluate
from trainables.fit import fit
from trainables.models import MLP

Count = list[int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Front:
    """Features drawn by a seed of its own, with dropout that must not be at work; tells how many samples went through."""

    seed: int = 0
    width: int = 6
    scale: float = 1.0
    seen: Count | None = None

    def build(self) -> nn.Module:
        seen = self.seen

        class Features(nn.Module):
            def __init__(self, width: int, seed: int, scale: float) -> None:
                super().__init__()
                drawn = torch.Generator().manual_seed(seed)
                self.layer = nn.Linear(2, width)
                with torch.no_grad():
                    for parameter in self.parameters():
                        parameter.copy_(torch.randn(parameter.shape, generator=drawn) * scale)
                self.dropout = nn.Dropout(0.5)

            def forward(self, points: Tensor) -> Tensor:
                if seen is not None:
                    seen.append(len(points))
                return torch.tanh(self.dropout(self.layer(points)))

        return Features(self.width, self.seed, self.scale)


HEAD = MLP(widths=(8,))


def embedded(folder: Path, seen: Count | None = None, **changes: Any) -> Embedded:
    settings: dict[str, Any] = {
        "data": task.data,
        "front": Front(seen=seen),
        "cache": folder,
        "precision": FP64(),
        "batch_size": 16,
    }
    return Embedded(**settings | changes)


def rows(on: Task, settings: Recipe) -> list[dict[str, float]]:
    return [dict(epoch.metrics) for epoch in fit(on, settings)]


def close(mine: list[dict[str, float]], theirs: list[dict[str, float]]) -> bool:
    return len(mine) == len(theirs) and all(
        a == pytest.approx(b, rel=0, abs=1e-10) for a, b in zip(mine, theirs, strict=True)
    )


@pytest.mark.parametrize("in_memory", [True, False])
def test_training_behind_the_front_is_the_same_run(in_memory: bool, tmp_path: Path) -> None:
    on = replace(task, data=embedded(tmp_path, in_memory=in_memory))
    for changes in ({}, {"split": KFold(folds=4)}, {"micro_batch": 5}):
        with_it = recipe(model=Stacked(front=Front(), head=HEAD), freeze=("front.*",), **changes)
        assert close(rows(on, recipe(model=HEAD, **changes)), rows(task, with_it)), changes


def test_the_front_runs_once_over_each_sample_whatever_the_split(tmp_path: Path) -> None:
    seen: Count = []
    data = embedded(tmp_path, seen)
    splits = [data(seed) for seed in (1, 2, 1)]
    assert sum(seen) == 101
    assert len(list(tmp_path.iterdir())) == 1
    assert not torch.equal(splits[0].train[1], splits[1].train[1])
    for seed, found in zip((1, 2), splits, strict=False):
        front = Front().build().double().eval()
        for name, (inputs, target) in task.data(seed).named().items():
            features, same = found.named()[name]
            with torch.no_grad():
                torch.testing.assert_close(features, front(inputs.double()), rtol=0, atol=1e-12)
            assert torch.equal(same, target)


def test_samples_that_are_alike_are_one(tmp_path: Path) -> None:
    def doubled(seed: int) -> Splits:
        splits = task.data(seed)
        return replace(splits, train=tuple(torch.cat([tensor, tensor]) for tensor in splits.train))

    seen: Count = []
    assert len(embedded(tmp_path, seen, data=doubled)(1).train[0]) == 122
    assert sum(seen) == 101


def moved(seed: int) -> Splits:
    splits = task.data(seed)
    return replace(splits, val=(splits.val[0] + 1, splits.val[1]))


@pytest.mark.parametrize(
    "changes",
    [{"front": Front(scale=1.001)}, {"front": Front(seed=1)}, {"front": Front(width=5)}, {"data": moved}],
    ids=["weights", "seed", "structure", "data"],
)
def test_what_it_follows_from_changes_the_file(changes: dict[str, Any], tmp_path: Path) -> None:
    embedded(tmp_path)(1)
    embedded(tmp_path, **changes)(1)
    assert len(list(tmp_path.iterdir())) == 2


@dataclass(frozen=True, slots=True)
class Coded:
    """A front without weights, from the text of a module."""

    text: str

    def build(self) -> nn.Module:
        return Plain() if self.text == "plain" else doubling().build()


class Plain(nn.Module):
    def forward(self, points: Tensor) -> Tensor:
        return points


def doubling() -> Any:
    class Plain(nn.Module):
        def forward(self, points: Tensor) -> Tensor:
            return 2 * points

    @dataclass(frozen=True, slots=True)
    class Made:
        def build(self) -> nn.Module:
            return Plain()

    return Made()


def test_code_of_the_same_name_is_told_apart(tmp_path: Path) -> None:
    plain, twice = (embedded(tmp_path, front=Coded(text))(1).train[0] for text in ("plain", "doubling"))
    assert torch.equal(2 * plain, twice)


FACTOR = 3.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Times:
    """A front whose factor stands in no weight, no text and no name: it is held, taken from around, or a constant of the module."""

    factor: float
    where: str

    def build(self) -> nn.Module:
        factor = self.factor

        class Held(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.factor = factor

            def forward(self, points: Tensor) -> Tensor:
                return self.factor * points

        class Around(nn.Module):
            def forward(self, points: Tensor) -> Tensor:
                return factor * points

        class Constant(nn.Module):
            def forward(self, points: Tensor) -> Tensor:
                return FACTOR * points

        return {"held": Held, "around": Around, "constant": Constant}[self.where]()


@pytest.mark.parametrize("where", ["held", "around", "constant"])
def test_a_setting_that_is_no_weight_tells_fronts_apart(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for factor in (1.0, 2.0, 1.0):
        monkeypatch.setattr("tests.trainables.data.test_embedded.FACTOR", factor)
        found.append(embedded(tmp_path, front=Times(factor=factor, where=where))(1).train[0])
    assert torch.equal(2 * found[0], found[1])
    assert torch.equal(found[0], found[2])
    assert len(list(tmp_path.iterdir())) == 2


def test_it_is_taken_from_the_disk_and_not_from_memory(tmp_path: Path) -> None:
    data = embedded(tmp_path, in_memory=False)
    first = data(1)
    (folder,) = tmp_path.iterdir()
    values = folder / "0.bin"
    values.write_bytes(b"\0" * values.stat().st_size)
    assert not bool(data(1).train.take(torch.arange(3))[0].any())
    assert first.train.samples == 61


def test_sources_are_embedded_too(tmp_path: Path) -> None:
    def sources(seed: int) -> Splits[Any]:
        splits = task.data(seed)
        return Splits(
            train=InMemory(splits.train), val=splits.val, test=splits.test, more={"again": InMemory(splits.val)}
        )

    found, plain = embedded(tmp_path, data=sources)(1), embedded(tmp_path)(1)
    assert torch.equal(found.train[0], plain.train[0])
    assert torch.equal(found.more["again"][0], found.val[0])


def test_the_whole_model_gives_what_the_head_gave(tmp_path: Path) -> None:
    """What is deployed: the front with the head that was trained behind it."""
    *_, last = fit(replace(task, data=embedded(tmp_path)), recipe(model=HEAD))
    stacked = Stacked(front=Front(), head=HEAD).adapted(task.load(3).shape(task.loss))
    whole = stacked.build().double()
    whole.head.load_state_dict(last.run.module.state_dict())  # type: ignore[union-attr]
    test = tuple(tensor.double() if tensor.is_floating_point() else tensor for tensor in task.data(3).val)
    found = evaluate(whole, test, loss=task.loss, metrics={"accuracy": accuracy}, precision=FP64(), size=64)
    assert found == pytest.approx(
        {name.removeprefix("val/"): value for name, value in last.metrics.items() if "val/" in name}
    )


def test_a_stream_is_refused(tmp_path: Path) -> None:
    class Stream:
        samples = 5

    data = embedded(tmp_path, data=lambda seed: replace(task.data(seed), train=Stream()))
    with pytest.raises(ConflictError, match="train is a stream"):
        data(1)
