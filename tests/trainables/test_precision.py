"""Precisions: what each computes in, what scaling does to a step, what a device lacks."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.trainables.small import recipe, task
from tests.trainables.test_world import together
from trainables import (
    BF16,
    EMA,
    FP16,
    FP32,
    FP64,
    SGD,
    TF32,
    AdamW,
    ClipNorm,
    Clips,
    ClipValue,
    ConflictError,
    Cosine,
    PureBF16,
    Recipe,
)
from trainables.evaluate import total
from trainables.fit import Epoch, fit
from trainables.precision import Precision, tensor_float
from trainables.scaler import Scaler
from trainables.train import Ending, train
from trainables.world import World

CPU = torch.device("cpu")
EVERY: tuple[Precision, ...] = (FP64(), FP32(), BF16(), FP16(), PureBF16())


class Overflowing:
    """Cross-entropy with the usual value, whose gradient is not finite at the training batches ``at``, counted from 1."""

    def __init__(self, *at: int) -> None:
        self.at, self.calls = at, 0

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        value = functional.cross_entropy(output, target)
        if torch.is_grad_enabled():
            self.calls += 1
            if self.calls in self.at:
                value = value + (0 * output.float().sum()).sqrt()  # the slope of a root at 0
        return value


def last(settings: Recipe, world: World | None = None) -> Epoch:
    *_, epoch = fit(task, settings, world=world)
    return epoch


def trace(settings: Recipe, name: str = "train/loss") -> list[float]:
    return [epoch.metrics[name] for epoch in fit(task, settings)]


def going_on(history: Sequence[Mapping[str, Any]]) -> bool:
    return len(history) > 99


def weights(epoch: Epoch) -> Tensor:
    return torch.cat([parameter.detach().flatten().clone() for parameter in epoch.run.module.parameters()])


@pytest.mark.parametrize("precision", EVERY, ids=lambda precision: type(precision).__name__)
def test_every_precision_trains(precision: Precision) -> None:
    epochs = list(fit(task, recipe(precision=precision, epochs=10)))
    assert epochs[-1].metrics["train/loss"] < 0.7 * epochs[0].metrics["train/loss"]
    assert epochs[-1].metrics["val/accuracy"] > 0.7
    assert {parameter.dtype for parameter in epochs[-1].run.module.parameters()} == {precision.dtype()}


@pytest.mark.parametrize("settings", [{}, {"micro_batch": 5}, {"clip": ClipNorm(0.1)}, {"clip": ClipValue(0.01)}])
@pytest.mark.parametrize("scale", [1.0, 2.0**10, 2.0**16])
def test_fp16_is_close_to_fp32_at_every_scale(settings: dict[str, Any], scale: float) -> None:
    """Also with a clip: were it done before the unscaling, the steps would be too short by the scale."""
    half = list(fit(task, recipe(precision=FP16(init_scale=scale), **settings)))
    single = list(fit(task, recipe(precision=FP32(), **settings)))
    for mine, theirs in zip(half, single, strict=True):
        for name in ("train/loss", "val/loss", *(["train/grad_norm"] if "clip" in settings else [])):
            assert mine.metrics[name] == pytest.approx(theirs.metrics[name], rel=0.01)
    torch.testing.assert_close(weights(half[-1]), weights(single[-1]), rtol=0.02, atol=0.02)
    assert half[-1].metrics != single[-1].metrics


def test_the_scale_keeps_gradients_that_float16_would_lose() -> None:
    """A loss of a ten-millionth, and a learning rate to match: unscaled, the gradients round to 0 and nothing is learned."""

    def tiny(output: Tensor, target: Tensor) -> Tensor:
        return 1e-7 * functional.cross_entropy(output, target)

    usual = recipe(loss=tiny, optimizer=SGD(lr=1e6), epochs=10)
    single, scaled, lost = (
        trace(replace(usual, precision=precision), "val/accuracy")[-1]
        for precision in (FP32(), FP16(init_scale=2.0**24), FP16(init_scale=1.0))
    )
    assert scaled == single > 0.7
    assert lost < 0.6


def test_fp16_computes_in_float16_and_the_loss_in_single() -> None:
    seen = set()

    def spying(output: Tensor, target: Tensor) -> Tensor:
        value = functional.cross_entropy(output, target)
        seen.add((output.dtype, value.dtype))
        return value

    last(recipe(precision=FP16(), loss=spying, epochs=1))
    assert seen == {(torch.float16, torch.float32)}


def test_a_skipped_step_leaves_weights_average_optimizer_and_schedule_alone() -> None:
    """One step an epoch, the third overflows."""
    schedule = Cosine(warmup=0.2)
    settings = recipe(
        batch_size=61,
        epochs=6,
        loss=Overflowing(3),
        precision=FP16(),
        optimizer=AdamW(lr=0.01),
        schedule=schedule,
        average=EMA(decay=0.9),
        clip=ClipNorm(1.0),
    )
    seen = []
    for epoch in fit(task, settings):
        average = epoch.run.average
        assert average is not None
        buffer = io.BytesIO()
        torch.save([weights(epoch), average.state(), epoch.run.optimizer.state_dict()], buffer)
        seen.append((buffer.getvalue(), epoch))
    states, epochs = zip(*seen, strict=True)
    assert states[2] == states[1]
    assert len(set(states)) == 5
    assert [epoch.step for epoch in epochs] == [1, 2, 2, 3, 4, 5]
    assert [epoch.samples for epoch in epochs] == [61, 122, 183, 244, 305, 366]
    assert [row.get("skipped_steps") for row in epochs[-1].run.history] == [None, None, 1, 1, 1, 1]
    assert ["train/grad_norm" in epoch.metrics for epoch in epochs] == [True, True, False, True, True, True]
    middles = [0.5, 1.5, 1.5, 2.5, 3.5, 4.5]
    assert [epoch.lr for epoch in epochs] == pytest.approx([0.01 * schedule(middle / 6) for middle in middles])
    assert epochs[-1].metrics["train/loss"] < epochs[1].metrics["train/loss"]


def test_a_first_step_that_is_skipped_leaves_no_momentum() -> None:
    first, second = fit(task, recipe(batch_size=61, epochs=2, loss=Overflowing(1), precision=FP16()))
    assert first.run is second.run
    plain = next(iter(fit(task, recipe(batch_size=61, epochs=2, precision=FP16()))))
    torch.testing.assert_close(weights(second), weights(plain), rtol=0, atol=1e-3)
    held = next(iter(fit(task, recipe(batch_size=61, epochs=1, loss=Overflowing(1), precision=FP16())))).run.optimizer
    assert held.state_dict()["state"] == {}


def test_one_micro_batch_that_overflows_skips_the_whole_step() -> None:
    """61 samples are 4 steps, of 4, 4, 4 and 3 micro-batches; the second of the third step overflows."""
    run = last(recipe(batch_size=16, micro_batch=4, epochs=1, loss=Overflowing(10), precision=FP16())).run
    assert (run.step, run.samples, run.scaler.skipped) == (3, 61, 1)
    assert all(parameter.isfinite().all() for parameter in run.parameters)


def test_the_logged_norm_is_the_mean_over_the_steps_taken() -> None:
    """Leaving out each of four steps in turn, the means of the other three add up to the sum of all four."""

    def norm(*at: int) -> float:
        held = recipe(precision=FP16(), optimizer=SGD(lr=1e-30), clip=ClipNorm(math.inf), epochs=1)
        return last(replace(held, loss=Overflowing(*at))).metrics["train/grad_norm"]

    assert sum(norm(step) for step in (1, 2, 3, 4)) == pytest.approx(4 * norm(), rel=1e-4)


def test_a_scale_that_is_too_large_comes_down_and_training_goes_on() -> None:
    epoch = last(recipe(precision=FP16(init_scale=2.0**40), epochs=20))
    skipped = epoch.run.scaler.skipped
    assert 15 < skipped < 40
    assert epoch.step + skipped == 80
    assert epoch.run.history[-1]["skipped_steps"] == skipped
    assert epoch.metrics["train/loss"] < 0.7 * epoch.run.history[0]["train/loss"]


def test_gradients_that_overflow_at_any_scale_end_the_run_as_diverged(tmp_path: Path) -> None:
    always = recipe(loss=Overflowing(*range(1, 100)), precision=FP16(init_scale=2.0**-10), epochs=10)
    ended = train(task, always, folder=tmp_path, report=going_on)
    assert ended.ending is Ending.DIVERGED
    assert [row["step"] for row in ended.history] == [0, 4]
    assert ended.history[0]["skipped_steps"] == 4


@pytest.mark.parametrize("stop_after", [1, 3])
def test_a_resumed_run_has_the_scale_it_had_bit_for_bit(stop_after: int) -> None:
    settings = recipe(
        precision=FP16(init_scale=2.0**30, growth_interval=3, growth_factor=8.0),
        optimizer=AdamW(lr=0.01),
        schedule=Cosine(),
        average=EMA(decay=0.9),
        clip=Clips(ClipValue(0.1), ClipNorm(0.2)),
        micro_batch=5,
        epochs=8,
    )
    whole = list(fit(task, settings))
    buffer = io.BytesIO()
    for epoch in fit(task, settings):
        if epoch.epoch == stop_after:
            torch.save(epoch.run.state(), buffer)
            break
    buffer.seek(0)
    state = torch.load(buffer, weights_only=True)
    assert state["scaler"]["scaler"]["scale"] != 2.0**30
    resumed = list(fit(task, settings, state=state))
    assert resumed[-1].run.scaler.skipped > state["scaler"]["skipped"] > 0
    for mine, theirs in zip(resumed, whole[stop_after:], strict=True):
        assert (mine.metrics, mine.step, mine.lr) == (theirs.metrics, theirs.step, theirs.lr)
    assert resumed[-1].run.scaler.state() == whole[-1].run.scaler.state()
    assert torch.equal(weights(resumed[-1]), weights(whole[-1]))


def test_a_state_from_before_there_were_scalers_is_read() -> None:
    first = next(iter(fit(task, recipe())))
    state = {name: value for name, value in first.run.state().items() if name != "scaler"}
    assert [epoch.epoch for epoch in fit(task, recipe(), state=state)] == [2, 3, 4]


CHANGES: dict[str, Any] = {"init_scale": 2.0**21, "growth_factor": 4.0, "backoff_factor": 0.25, "growth_interval": 3}


@pytest.mark.parametrize("name", [field.name for field in fields(FP16)])
def test_every_setting_of_fp16_changes_the_run(name: str) -> None:
    base = FP16(init_scale=2.0**22, growth_interval=2)
    changed = replace(base, **{name: CHANGES[name]})
    assert trace(recipe(precision=changed, epochs=6)) != trace(recipe(precision=base, epochs=6))


def lopsided(world: World) -> tuple[list[Any], Tensor]:
    """The second worker's gradients overflow at its second batch, the first one's never do.

    Before that a run in whose batches of one the second worker has no share from the first step on.
    """
    last(recipe(batch_size=1, epochs=1, precision=FP16()), world)
    loss = Overflowing() if world.first else Overflowing(2)
    epoch = last(recipe(loss=loss, precision=FP16(), average=EMA(decay=0.9)), world)
    return [epoch.step, epoch.samples, epoch.run.scaler.state(), epoch.metrics["train/loss"]], weights(epoch)


def test_all_workers_skip_where_one_overflows() -> None:
    (mine, my_weights), (theirs, their_weights) = together(2, lopsided)
    assert mine == theirs
    assert mine[:2] == [15, 244]
    assert mine[2]["skipped"] == 1
    assert torch.equal(my_weights, their_weights)


def test_sums_of_half_precision_losses_do_not_overflow() -> None:
    assert total(torch.full((4,), 60000.0, dtype=torch.float16), 4).item() == pytest.approx(240000, rel=1e-3)
    assert total(torch.tensor(60000.0, dtype=torch.float16), 4).item() == pytest.approx(240000, rel=1e-3)
    assert total(torch.full((4,), 0.1, dtype=torch.float64), 4).dtype == torch.float64


@pytest.mark.parametrize(
    ("precision", "device", "said"),
    [
        (
            TF32(),
            "cpu",
            "TF32 needs an NVIDIA GPU of compute capability 8.0, and this run is on cpu; set precision=FP32()",
        ),
        (TF32(), "mps", "TF32 needs an NVIDIA GPU"),
        (
            FP16(),
            "mps",
            "FP16 needs an NVIDIA GPU of compute capability 7.0, and this run is on mps; set precision=FP32() or",
        ),
        (FP16(), "meta", "this run is on meta"),
        (FP64(), "mps", "FP64 is not there on mps"),
    ],
)
def test_a_device_that_lacks_it_is_refused_before_the_first_step(precision: Precision, device: str, said: str) -> None:
    with pytest.raises(ConflictError) as caught:
        next(iter(fit(task, recipe(precision=precision), device=device)))
    assert len(caught.value.conflicts) == 1
    assert said in caught.value.conflicts[0]


def test_a_gpu_that_is_too_old_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Tesla T4")
    device = torch.device("cuda")
    for precision in (TF32(), BF16()):
        assert "compute capability 8.0, Tesla T4 has 7.5; set precision=FP32()" in str(precision.unsupported(device))
    assert FP16().unsupported(device) is None
    assert FP32().unsupported(device) is None


def test_a_precision_by_name_and_wrong_settings_are_conflicts() -> None:
    with pytest.raises(ConflictError, match="precision 'fp16' is a str, not a part"):
        next(iter(fit(task, recipe(precision="fp16"))))
    with pytest.raises(ConflictError, match="FP16 growth_factor 1 must be above 1"):
        next(iter(fit(task, recipe(precision=FP16(growth_factor=1)))))


def switches() -> list[str]:
    """What torch's switches say, by the newer names and by the older ones."""
    backends: Any = torch.backends
    newer = (backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn, backends.mkldnn.matmul)
    older = (backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32, torch.get_float32_matmul_precision())
    return [*(switch.fp32_precision for switch in newer), *map(str, older)]


FULL = ["ieee", "ieee", "ieee", "ieee", "False", "False", "highest"]


@contextmanager
def level(name: str) -> Iterator[None]:
    """The process as another library may have left it."""
    torch.set_float32_matmul_precision(name)
    yield
    torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("name", ["highest", "high", "medium"])
def test_switches_are_put_back_also_when_nested_and_after_an_error(name: str) -> None:
    with level(name):
        before = switches()
        with TF32().arithmetic():
            allowed = switches()
            with FP32().arithmetic():
                assert switches() == FULL
            assert switches() == allowed
        assert allowed[:3] == ["tf32"] * 3
        assert allowed[4:6] == ["True", "True"]
        assert switches() == before
        with pytest.raises(ZeroDivisionError), tensor_float(allowed=True):
            raise ZeroDivisionError
        assert switches() == before


@pytest.mark.parametrize("precision", EVERY, ids=lambda precision: type(precision).__name__)
def test_a_run_computes_in_full_precision_whatever_the_process_was_left_in(precision: Precision) -> None:
    """Forward, backward and validation; and between epochs, where the caller's own code runs, nothing is changed."""
    seen = []

    def spying(output: Tensor, target: Tensor) -> Tensor:
        seen.append(switches())
        if output.requires_grad:
            output.register_hook(lambda _: seen.append(switches()))  # type: ignore[no-untyped-call]
        return functional.cross_entropy(output, target)

    with level("high"):
        before = switches()
        for _ in fit(task, recipe(precision=precision, loss=spying)):
            assert switches() == before
        assert switches() == before
    assert len(seen) > 4 * 4 * 2
    assert all(state == FULL for state in seen)


@dataclass(frozen=True, kw_only=True, slots=True)
class Anywhere:
    """TF32 that no device is refused: its switches can be looked at without a GPU."""

    inner: TF32 = TF32()

    def dtype(self) -> torch.dtype:
        return self.inner.dtype()

    def autocast(self, device: torch.device) -> AbstractContextManager[object]:
        return self.inner.autocast(device)

    def arithmetic(self) -> AbstractContextManager[object]:
        return self.inner.arithmetic()

    def scaler(self, device: torch.device) -> Scaler:
        return self.inner.scaler(device)

    def unsupported(self, device: torch.device) -> str | None:  # noqa: ARG002
        return None

    def conflicts(self) -> Iterator[str]:
        yield from self.inner.conflicts()


def test_a_run_in_tf32_does_not_reach_the_next_one() -> None:
    seen = []

    def spying(output: Tensor, target: Tensor) -> Tensor:
        seen.append(switches()[:3])
        return functional.cross_entropy(output, target)

    for _ in fit(task, recipe(precision=Anywhere(), loss=spying, epochs=2)):
        break
    assert seen
    assert all(state == ["tf32"] * 3 for state in seen)
    seen.clear()
    last(recipe(precision=FP32(), loss=spying, epochs=1))
    assert seen
    assert all(state == ["ieee"] * 3 for state in seen)


def test_pure_bf16_holds_everything_in_bfloat16_and_refuses_an_average() -> None:
    epoch = last(recipe(precision=PureBF16(), optimizer=AdamW(lr=0.05)))
    held = [*epoch.run.module.parameters(), *(state["exp_avg"] for state in epoch.run.optimizer.state.values())]
    assert {tensor.dtype for tensor in held} == {torch.bfloat16}
    (said,) = recipe(precision=PureBF16(), average=EMA(decay=0.9)).conflicts()
    assert "set average=None, or precision=BF16()" in said


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_each_precision_rounds_as_it_says() -> None:
    """A product in TF32 is off by far more than one in FP32; and every precision that is not refused trains."""
    device = torch.device("cuda")
    draw = torch.Generator().manual_seed(0)
    a, b = (torch.randn(256, 256, generator=draw, dtype=torch.float64) for _ in range(2))
    errors = {}
    for precision in (FP32(), TF32()):
        if precision.unsupported(device) is None:
            with precision.arithmetic():
                product = a.float().to(device) @ b.float().to(device)
            errors[type(precision)] = (product.double().cpu() - a @ b).abs().max().item()
    assert errors[FP32] < 1e-3
    assert errors.get(TF32, 1.0) > 10 * errors[FP32]
    for every in (*EVERY, TF32()):
        if every.unsupported(device) is None:
            *_, epoch = fit(task, recipe(precision=every, epochs=10), device=device)
            assert epoch.metrics["val/accuracy"] > 0.7
