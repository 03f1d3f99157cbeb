"""Every loss: its definition, its gradient, its mean."""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.trainables import small
from tests.trainables.loss_cases import CASES, CLASSES, IMPORTANCE, REAL, RULES, WEIGHTS, YES, B, C, Case, T, noise
from trainables import SGD, Splits, Task, accuracy
from trainables.batches import parts
from trainables.fit import fit
from trainables.losses import (
    BinaryCrossEntropy,
    Constraint,
    CrossEntropy,
    Focal,
    Huber,
    Loss,
    MeanSquaredError,
    Quantile,
    SampleWeighted,
    Sum,
    TemporalDifference,
    Unweighted,
    Weighing,
    mean,
    outputs,
    sudoku,
    weighed,
    weight,
)
from trainables.losses.loss import each
from trainables.models import MLP

every = pytest.mark.parametrize("case", CASES, ids=str)


@every
def test_it_is_its_definition(case: Case) -> None:
    pairs = zip(case.output.tolist(), case.target.tolist(), strict=True)
    expected = [case.value(output, target) for output, target in pairs]
    value = case.loss(case.output, case.target)
    assert value.shape == (B,)
    assert value.tolist() == pytest.approx([value for value, _ in expected], rel=1e-10, abs=1e-12)
    summed, counted = weighed(case.loss, case.output, case.target)
    assert counted == weight(case.loss, case.target)
    assert summed.item() == pytest.approx(sum(value for value, _ in expected), rel=1e-10)
    assert counted.item() == pytest.approx(sum(counts for _, counts in expected), rel=1e-12)
    if isinstance(case.loss, Weighing):
        assert case.loss.weights(case.target).tolist() == pytest.approx([counts for _, counts in expected], rel=1e-12)
    alike = each(case.loss, case.target)
    assert alike is None or [counts for _, counts in expected] == [alike] * B


@every
def test_its_gradient_is_its_slope(case: Case) -> None:
    output = case.output.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: mean(*weighed(case.loss, z, case.target)), (output,))


@every
def test_micro_batches_give_the_mean_of_the_whole(case: Case) -> None:
    """Value and gradient, from parts of uneven size, each divided by what the whole counts."""
    whole = case.output.clone().requires_grad_()
    expected = mean(*weighed(case.loss, whole, case.target))
    expected.backward()  # type: ignore[no-untyped-call]
    output = case.output.clone().requires_grad_()
    counted = weight(case.loss, case.target)
    total, weights = 0.0, 0.0
    for part, target in parts((output, case.target), 3):
        summed, counts = weighed(case.loss, part, target)
        (summed / counted).backward()  # type: ignore[no-untyped-call]
        total, weights = total + summed.item(), weights + counts.item()
    assert total / weights == pytest.approx(expected.item(), rel=1e-12)
    torch.testing.assert_close(output.grad, whole.grad, rtol=1e-10, atol=1e-14)


@every
def test_half_precision_is_summed_in_single(case: Case) -> None:
    low = case.target.half() if case.target.is_floating_point() else case.target
    summed, _ = weighed(case.loss, case.output.half(), low)
    assert summed.dtype == torch.float32
    assert summed.item() == pytest.approx(weighed(case.loss, case.output, case.target)[0].item(), rel=0.02)


@every
def test_it_stays_finite_with_its_gradient_at_certain_answers(case: Case) -> None:
    output = (case.output * 1e4).float().requires_grad_()
    low = case.target.float() if case.target.is_floating_point() else case.target
    loss = mean(*weighed(case.loss, output, low))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.isfinite()
    assert output.grad is not None
    assert output.grad.isfinite().all()


@every
def test_it_says_how_many_outputs_a_model_needs(case: Case) -> None:
    assert outputs(case.loss, [case.target[:4], case.target[4:]]) == case.outputs


@every
def test_it_is_settings_that_travel(case: Case) -> None:
    assert pickle.loads(pickle.dumps(case.loss)) == case.loss
    assert list(case.loss.conflicts()) == []  # type: ignore[attr-defined]


@pytest.mark.parametrize("shape", [(B, C), (B, C, T), (B, C, T, 2)], ids=str)
@pytest.mark.parametrize("ignore", [None, 1, -100])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_cross_entropy_s_mean_is_torch_s(
    smoothing: float, weights: tuple[float, ...] | None, ignore: int | None, shape: tuple[int, ...]
) -> None:
    output, target = noise(*shape), torch.randint(0, C, (B, *shape[2:]), generator=torch.Generator().manual_seed(0))
    if ignore == -100:
        target.view(-1)[::3] = -100
    theirs = functional.cross_entropy(
        output,
        target,
        weight=None if weights is None else torch.tensor(weights, dtype=torch.float64),
        ignore_index=-100 if ignore is None else ignore,
        label_smoothing=smoothing,
    )
    mine = mean(*weighed(CrossEntropy(smoothing=smoothing, class_weights=weights, ignore=ignore), output, target))
    torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=0)


@pytest.mark.parametrize("shape", [(B, C), (B, C, T)], ids=str)
@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_takes_probabilities_as_torch_does(
    smoothing: float, weights: tuple[float, ...] | None, shape: tuple[int, ...]
) -> None:
    output, target = noise(*shape), (2 * noise(*shape)).cos().softmax(1)
    table = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    theirs = functional.cross_entropy(output, target, weight=table, label_smoothing=smoothing)
    mine = CrossEntropy(smoothing=smoothing, class_weights=weights)
    torch.testing.assert_close(mean(*weighed(mine, output, target)), theirs, rtol=1e-12, atol=0)
    assert outputs(mine, [target]) == C


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        (MeanSquaredError(), functional.mse_loss),
        (Huber(delta=0.7), lambda a, b: functional.huber_loss(a, b, delta=0.7)),
        (BinaryCrossEntropy(), lambda a, b: functional.binary_cross_entropy_with_logits(a, b.sigmoid())),
    ],
    ids=["mse", "huber", "bce"],
)
@pytest.mark.parametrize("shape", [(B,), (B, 1), (B, 3)], ids=str)
def test_regressions_are_torch_s(mine: Loss, theirs: Loss, shape: tuple[int, ...]) -> None:
    output, target = noise(*shape), noise(*shape).cos()
    wanted = target.sigmoid() if isinstance(mine, BinaryCrossEntropy) else target
    torch.testing.assert_close(mean(*weighed(mine, output, wanted)), theirs(output, target), rtol=1e-12, atol=0)


def test_positive_weight_is_torch_s() -> None:
    output = noise(B, 3)
    theirs = functional.binary_cross_entropy_with_logits(
        output, YES.double(), pos_weight=torch.tensor(3.0, dtype=torch.float64)
    )
    mine = mean(*weighed(BinaryCrossEntropy(positive_weight=3.0), output, YES))
    torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=0)


def test_focal_without_gamma_is_cross_entropy_and_with_it_minds_the_hard_samples() -> None:
    output = noise(B, C)
    torch.testing.assert_close(Focal(gamma=0.0)(output, CLASSES), CrossEntropy()(output, CLASSES), rtol=1e-12, atol=0)
    easy, hard = torch.tensor([[5.0, 0.0]]), torch.tensor([[-1.0, 0.0]])
    truth = torch.tensor([0])
    kept = [(Focal(gamma=2.0)(z, truth) / CrossEntropy()(z, truth)).item() for z in (easy, hard)]
    assert kept[0] < 1e-4 < 0.5 < kept[1]
    one = torch.tensor([[2.0], [-2.0]])
    with pytest.raises(ValueError, match="binary=True"):
        Focal()(one, torch.tensor([0, 0]))


def test_the_pinball_loss_is_least_at_the_quantile() -> None:
    values = torch.linspace(0, 1, 1001, dtype=torch.float64)
    for level in (0.1, 0.5, 0.9):
        guesses = torch.linspace(0, 1, 101, dtype=torch.float64)
        costs = [Quantile(levels=(level,))(guess.expand(1001, 1), values).mean().item() for guess in guesses]
        assert guesses[costs.index(min(costs))].item() == pytest.approx(level, abs=0.011)


def test_a_solved_sudoku_breaks_no_rule_and_two_swapped_cells_do() -> None:
    groups = sudoku()
    assert len(groups) == 27
    assert {len(set(group)) for group in groups} == {9}
    assert all(sum(cell in group for group in groups) == 3 for cell in range(81))
    grid = torch.tensor([[(3 * row + row // 3 + column) % 9 for column in range(9)] for row in range(9)])
    sure = 200.0 * functional.one_hot(grid, 9).double().permute(2, 0, 1).unsqueeze(0)
    loss = Constraint(groups=groups)
    assert loss(sure, grid.unsqueeze(0)).item() == pytest.approx(0.0, abs=1e-12)
    wrong = sure.clone()
    wrong[..., 0, 0], wrong[..., 0, 1] = sure[..., 0, 1].clone(), sure[..., 0, 0].clone()
    # Two columns lack a digit and hold another twice; the row and the box stay whole.
    assert loss(wrong, grid.unsqueeze(0)).item() == pytest.approx(4 / (27 * 9))
    with pytest.raises(ValueError, match="9 cells for 4 digits"):
        loss(noise(1, 4, 81), grid.flatten().unsqueeze(0))


@pytest.mark.parametrize(
    ("loss", "target"),
    [
        (CrossEntropy(ignore=-1), torch.full((B, T), -1)),
        (CrossEntropy(ignore=-1, smoothing=0.1, class_weights=WEIGHTS), torch.full((B, T), -1)),
        (CrossEntropy(class_weights=WEIGHTS), torch.full((B, T), 3)),
        (Sum(CrossEntropy(ignore=-1), RULES), torch.full((B, T), -1)),
        (SampleWeighted(CrossEntropy()), torch.zeros(B, T + 1, dtype=torch.float64)),
    ],
    ids=str,
)
def test_a_batch_of_which_nothing_counts_is_0_with_no_gradient(loss: Loss, target: Tensor) -> None:
    output = noise(B, C, T).requires_grad_()
    value = mean(*weighed(loss, output, target))
    value.backward()  # type: ignore[no-untyped-call]
    assert value.item() == 0.0
    assert output.grad is not None
    assert output.grad.abs().max() == 0.0


def test_plain_functions_are_counted_by_samples() -> None:
    output, target = noise(B, 3), REAL
    expected = (functional.l1_loss(output, target).item() * B, B)
    for reduction in ("none", "mean"):
        loss = _reduced(reduction)
        assert [x.item() for x in weighed(loss, output, target)] == pytest.approx(expected, rel=1e-12)
    with pytest.raises(ValueError, match=r"\(21,\) for 7 samples"):
        weighed(lambda a, b: (a - b).flatten(), output, target)
    with pytest.raises(ValueError, match='reduction="none"'):
        Sum(_reduced("mean"), MeanSquaredError())(output, target)
    both = Sum(_reduced("none"), MeanSquaredError(), 2.0)
    torch.testing.assert_close(
        mean(*weighed(both, output, target)),
        functional.l1_loss(output, target) + 2 * functional.mse_loss(output, target),
        rtol=1e-12,
        atol=0,
    )


def _reduced(reduction: str) -> Loss:
    return lambda a, b: functional.l1_loss(a, b, reduction=reduction)


def test_wrong_numbers_of_weights_are_said() -> None:
    with pytest.raises(ValueError, match="2 weights for 4 outputs"):
        CrossEntropy(class_weights=(1.0, 2.0))(noise(B, C), CLASSES)
    with pytest.raises(ValueError, match="2 weights for 4 outputs"):
        Focal(alpha=(1.0, 2.0))(noise(B, C), CLASSES)
    with pytest.raises(ValueError, match="carry no weights"):
        SampleWeighted(CrossEntropy())(noise(B, C), CLASSES)
    with pytest.raises(ValueError, match="no target holds a class"):
        outputs(CrossEntropy(ignore=1), [torch.ones(3, dtype=torch.long)])


def test_a_wrong_class_is_not_passed_over() -> None:
    """torch's own default leaves a target of -100 out without a word."""
    with pytest.raises(IndexError):
        CrossEntropy()(noise(2, C), torch.tensor([0, -100]))


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (CrossEntropy(smoothing=1.1), "smoothing 1.1"),
        (CrossEntropy(class_weights=(1.0,)), "at least two"),
        (CrossEntropy(class_weights=(1.0, -1.0)), "none negative"),
        (CrossEntropy(class_weights=(0.0, 0.0)), "not all 0"),
        (CrossEntropy(class_weights=(1.0, math.inf)), "finite"),
        (CrossEntropy(ignore=0.5), "ignore 0.5"),  # type: ignore[arg-type]
        (BinaryCrossEntropy(positive_weight=0.0), "positive_weight 0.0"),
        (BinaryCrossEntropy(smoothing=-0.1), "smoothing -0.1"),
        (Focal(gamma=-1.0), "gamma -1.0"),
        (Focal(alpha=0.25), "binary=True"),
        (Focal(alpha=(1.0, math.nan)), "alpha"),
        (Focal(alpha=1.0, binary=True), "between 0 and 1"),
        (Focal(alpha=(0.5, 0.5), binary=True), "between 0 and 1"),
        (Huber(delta=0.0), "delta 0.0"),
        (TemporalDifference(delta=math.inf), "delta inf"),
        (Quantile(levels=()), "levels ()"),
        (Quantile(levels=(0.5, 0.1)), "ascend"),
        (Quantile(levels=(0.0, 0.5)), "between 0 and 1"),
        (Constraint(groups=()), "empty"),
        (Constraint(groups=((0, 1), (0, 1, 2))), "[2, 3] cells"),
        (Constraint(groups=((0, 0),)), "different cells"),
        (Constraint(groups=((0, -1),)), "counted from 0"),
        (Sum(CrossEntropy(), Huber(delta=0.0)), "delta 0.0"),
        (Sum(CrossEntropy(), Huber(), -1.0), "weight -1.0"),
        (Sum(CrossEntropy(), 3), "cannot be called"),  # type: ignore[arg-type]
        (SampleWeighted(CrossEntropy(smoothing=2.0)), "smoothing 2.0"),
    ],
    ids=repr,
)
def test_settings_that_make_no_sense_are_said(loss: Any, said: str) -> None:
    conflicts = list(loss.conflicts())
    assert len(conflicts) == 1
    assert said in conflicts[0]


def test_unweighted_metrics_see_the_bare_targets() -> None:
    packed = torch.column_stack((CLASSES.double(), IMPORTANCE))
    output = noise(B, C)
    assert Unweighted(accuracy)(output, packed).tolist() == accuracy(output, CLASSES).tolist()
    flat = Unweighted(lambda a, b: a[:, 0] - b, classes=False)
    assert flat(output, torch.column_stack((REAL[:, 0], IMPORTANCE))).tolist() == (output[:, 0] - REAL[:, 0]).tolist()


def packed(seed: int) -> Splits:
    """The clusters, each point weighing 0, 1 or 2."""
    splits = small.clusters(seed)

    def with_weights(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        points, classes = tensors
        return points, torch.column_stack((classes.float(), torch.arange(len(classes)) % 3))

    return Splits(train=with_weights(splits.train), val=with_weights(splits.val), test=with_weights(splits.test))


WEIGHED_TASK = Task(name="packed", data=packed, goal=small.task.goal, metrics={"accuracy": Unweighted(accuracy)})

TRAINED: list[tuple[Task, Any]] = [
    (small.task, CrossEntropy(smoothing=0.1)),
    (small.task, CrossEntropy(class_weights=(5.0, 1.0, 0.2))),
    (small.task, CrossEntropy(class_weights=(5.0, 1.0, 0.2), ignore=1)),
    (small.task, Focal(gamma=2.0)),
    (small.task, Focal(gamma=2.0, alpha=(5.0, 1.0, 0.2))),
    (small.task, Sum(CrossEntropy(), Focal(), 0.5)),
    (WEIGHED_TASK, SampleWeighted(CrossEntropy())),
]


def rows(task: Task, **changes: Any) -> Iterator[list[float]]:
    """Training and validation loss and accuracy of each epoch."""
    model = MLP(widths=(8,), outputs=3)
    for epoch in fit(task, small.recipe(model=model, **changes)):
        yield [epoch.metrics[name] for name in ("train/loss", "val/loss", "val/accuracy")]


@pytest.mark.parametrize(
    ("task", "loss"), TRAINED, ids=lambda part: part.name if isinstance(part, Task) else str(part)[:60]
)
def test_a_run_minimises_it_whatever_the_micro_batch(task: Task, loss: Any) -> None:
    """16 samples at once or at most 3: the same run, and another one than that of plain cross-entropy."""
    whole, split = (list(rows(task, loss=loss, micro_batch=micro)) for micro in (None, 3))
    for a, b in zip(whole, split, strict=True):
        assert a == pytest.approx(b, rel=1e-9)
    assert whole[-1][0] < whole[0][0]
    assert [row[0] for row in whole] != pytest.approx([row[0] for row in rows(small.task)], rel=1e-3)


def test_a_run_divides_by_what_the_whole_batch_counts() -> None:
    """One step over the whole set: torch's own mean of the same logits, and the step that its gradient gives."""
    weights = (5.0, 1.0, 0.2)
    loss = CrossEntropy(class_weights=weights, ignore=1, smoothing=0.1)
    changes: dict[str, Any] = {
        "loss": loss,
        "batch_size": 61,
        "micro_batch": 4,
        "epochs": 1,
        "optimizer": SGD(lr=0.1),
    }
    model = MLP(widths=(), outputs=3)
    (after,) = fit(small.task, small.recipe(model=model, **changes))
    (before,) = fit(small.task, small.recipe(model=model, **changes | {"optimizer": SGD(lr=1e-300)}))
    module, (points, classes) = before.run.module, before.run.splits.train
    theirs = functional.cross_entropy(
        module(points),
        classes,
        weight=torch.tensor(weights, dtype=torch.float64),
        ignore_index=1,
        label_smoothing=0.1,
    )
    theirs.backward()  # type: ignore[no-untyped-call]
    assert after.metrics["train/loss"] == pytest.approx(theirs.item(), rel=1e-12)
    for stepped, parameter in zip(after.run.module.parameters(), module.parameters(), strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(stepped, parameter - 0.1 * parameter.grad, rtol=1e-10, atol=1e-14)


@every
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_low_precision_outputs_lose_nothing_more(case: Case, dtype: torch.dtype) -> None:
    """Inside autocast the value is that of the rounded outputs in single precision: targets and settings are not rounded too."""
    rounded = case.output.to(dtype)
    target = case.target.float() if case.target.is_floating_point() else case.target
    with torch.autocast("cpu", dtype=dtype):
        summed, _ = weighed(case.loss, rounded, target)
    assert summed.item() == pytest.approx(weighed(case.loss, rounded.float(), target)[0].item(), rel=1e-5)
