"""What exporting, INT8 and pruning cost and gain: variants of one trained model over the same test samples."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from trainables.checkpoints.files import made, whole
from trainables.export import latency
from trainables.export.graph import single
from trainables.export.integers import CALIBRATED, dynamic, static
from trainables.export.latency import Latency
from trainables.export.needed import ExportError
from trainables.export.paired import Interval, difference
from trainables.export.parity import Parity, Tolerance, parity, write
from trainables.export.pruned import pruned, zeros
from trainables.export.samples import answers, first, targets
from trainables.export.session import Session
from trainables.export.template import Template
from trainables.losses.loss import counted, weighs
from trainables.metrics import WholeSet

if TYPE_CHECKING:
    from torch import Tensor, nn

    from trainables.losses import Loss
    from trainables.task import Splits, Task

SHARES = (0.5, 0.8)
"""Shares of the weights that are pruned."""

BATCHES = (1, 64)
"""Samples in a timed call."""

CONFIDENCE = 0.95

_LOOSE = Tolerance(absolute=0.0, relative=0.0)
"""For what is not meant to be the same."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A variant: its ``value`` of the goal's metric on the test samples and the ``difference`` from torch, paired by sample.

    ``file`` holds it, of ``size`` bytes, ``packed`` when deflated. ``zeros`` is the share of its prunable weights that is zero,
    ``same`` the number of samples with the class that the module in torch gives. Where it was ``refused``, in words, all else is
    None.
    """

    name: str
    refused: str | None = None
    file: str | None = None
    value: float | None = None
    difference: Interval | None = None
    same: int | None = None
    size: int | None = None
    packed: int | None = None
    zeros: float | None = None
    latency: tuple[Latency, ...] = ()

    def at(self, batch: int) -> Latency | None:
        """How long it takes to answer so many samples; None where that was not timed."""
        return next((one for one in self.latency if one.batch == batch), None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """All variants, torch's own first; ``parity`` is that of the exported model, ``threads`` what each had."""

    task: str
    metric: str
    mode: str
    samples: int
    confidence: float
    threads: int
    tolerance: Tolerance
    parity: Parity
    rows: tuple[Row, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Variant:
    """What is compared: ``outputs`` [N, ...] over the test samples, and the timed call for some inputs."""

    name: str
    outputs: Tensor
    call: Callable[[tuple[Tensor, ...]], Callable[[], object]]
    data: bytes | None
    file: str | None
    zeros: float


def study(
    module: nn.Module,
    task: Task,
    splits: Splits[Any],
    folder: Path,
    *,
    loss: Loss | None = None,
    tune: Callable[[nn.Module], nn.Module] | None = None,
    shares: Sequence[float] = SHARES,
    threads: int = 1,
    tolerance: Tolerance | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Study:
    """Write each variant of a trained module into ``folder`` and compare them on the test samples of ``splits``.

    Static ranges are calibrated on validation samples. ``tune`` trains a pruned module a little further.

    Raises ExportError where the module itself cannot be exported, or where the exported model does not answer as it does; a variant
    that cannot be had is a row that says why.
    """
    tolerance = tolerance or Tolerance()
    made(folder)
    with latency.threads(threads):
        say("Exporting …")
        template = Template(module, first(splits.test, 2))
        model = template.filled(module)
        agreed = write(folder / "model.onnx", model, module, splits.test, tolerance=tolerance, threads=threads)
        plain, share = single(module), zeros(module)
        variants: list[_Variant | Row] = [
            _Variant(
                name="torch",
                outputs=answers(plain, splits.test),
                call=partial(_in_torch, plain),
                data=None,
                file=None,
                zeros=share,
            ),
            _answering("ONNX", model, splits, "model.onnx", share, threads),
        ]
        say("Quantising …")
        variants += _quantised(model, splits, folder, share, threads)
        for part in shares:
            say(f"Pruning {100 * part:.0f} % …")
            variants += _pruned(template, module, part, tune, splits, folder, tolerance, threads)
        kept = [one.file for one in variants]
        for old in folder.glob("pruned-*.onnx"):  # of shares that were asked for before, and of other weights
            if old.name not in kept:
                old.unlink()
        say("Timing …")
        times = _timed([one for one in variants if isinstance(one, _Variant)], splits)
    rows = _rows(variants, times, task, loss or task.loss, targets(splits.test))
    return Study(
        task=task.name,
        metric=task.goal.metric,
        mode=task.goal.mode,
        samples=agreed.samples,
        confidence=CONFIDENCE,
        threads=threads,
        tolerance=tolerance,
        parity=agreed,
        rows=tuple(rows),
    )


def scored(task: Task, loss: Loss, output: Tensor, target: Tensor) -> Tensor:
    """The goal's metric by sample [N], whose mean is what a run reports; a metric that gives a mean is asked for each by itself."""
    name = task.goal.metric
    if name == "loss":
        if weighs(loss):
            values, counts = counted(loss, output, target)
            return values.double() * (len(target) / counts.sum().double())
        metric: Callable[[Tensor, Tensor], Tensor] = loss
    else:
        metric = task.metrics[name]
        if isinstance(metric, WholeSet):
            raise ExportError(
                f"{name} is measured over a whole set, and what a variant loses is judged sample by sample; export for a goal that "
                "is a mean over samples"
            )
    values = metric(output, target)
    if values.ndim == 0:
        values = torch.stack([metric(output[at : at + 1], target[at : at + 1]) for at in range(len(target))])
    return values.reshape(len(target), -1).double().mean(1)


def _in_torch(plain: nn.Module, inputs: tuple[Tensor, ...]) -> Callable[[], object]:
    def call() -> object:
        with torch.inference_mode():
            return plain(*inputs)

    return call


def _in_session(session: Session, inputs: tuple[Tensor, ...]) -> Callable[[], object]:
    return partial(session.run, session.fed(inputs))


def _answering(name: str, data: bytes, splits: Splits[Any], file: str, share: float, threads: int) -> _Variant:
    session = Session(data, threads=threads)
    return _Variant(
        name=name,
        outputs=answers(session, splits.test),
        call=partial(_in_session, session),
        data=data,
        file=file,
        zeros=share,
    )


def _quantised(model: bytes, splits: Splits[Any], folder: Path, share: float, threads: int) -> list[_Variant | Row]:
    """The INT8 variants, dynamic and static."""
    ways: dict[str, Callable[[], bytes]] = {
        "dynamic": lambda: dynamic(model),
        "static": lambda: static(model, first(splits.val, min(CALIBRATED, _count(splits)))),
    }
    found: list[_Variant | Row] = []
    for way, quantise in ways.items():
        name, file = f"INT8 {way}", folder / f"int8-{way}.onnx"
        try:
            variant = _answering(name, quantise(), splits, file.name, share, threads)
        except ExportError as error:
            file.unlink(missing_ok=True)
            found.append(Row(name=name, refused=str(error)))
            continue
        _stored(file, variant.data)
        found.append(variant)
    return found


def _pruned(
    template: Template,
    module: nn.Module,
    part: float,
    tune: Callable[[nn.Module], nn.Module] | None,
    splits: Splits[Any],
    folder: Path,
    tolerance: Tolerance,
    threads: int,
) -> list[_Variant | Row]:
    """One share of the weights at zero, as it is and after a little more training."""
    name = f"{100 * part:g} % pruned"
    try:
        bare = pruned(module, part)
    except ExportError as error:
        return [Row(name=name, refused=str(error))]
    made_so = {name: bare} | ({f"{name}, tuned": tune(bare)} if tune is not None else {})
    found: list[_Variant | Row] = []
    for called, each in made_so.items():
        file = folder / f"pruned-{100 * part:g}{'-tuned' if each is not bare else ''}.onnx"
        try:
            data = template.filled(each)
            write(file, data, each, splits.test, tolerance=tolerance, threads=threads)
            found.append(_answering(called, data, splits, file.name, zeros(each), threads))
        except ExportError as error:
            found.append(Row(name=called, refused=str(error)))
    return found


def _timed(variants: Sequence[_Variant], splits: Splits[Any]) -> dict[str, tuple[Latency, ...]]:
    """Each variant's latency at every batch size."""
    by_batch = []
    for batch in BATCHES:
        inputs = first(splits.test, batch)
        by_batch.append(latency.timed({one.name: one.call(inputs) for one in variants}, batch))
    return {one.name: tuple(times[one.name] for times in by_batch) for one in variants}


def _rows(
    variants: Sequence[_Variant | Row], times: dict[str, tuple[Latency, ...]], task: Task, loss: Loss, target: Tensor
) -> list[Row]:
    reference = next(one for one in variants if isinstance(one, _Variant))
    before = scored(task, loss, reference.outputs, target)
    rows = []
    for one in variants:
        if isinstance(one, Row):
            rows.append(one)
            continue
        values = scored(task, loss, one.outputs, target)
        rows.append(
            Row(
                name=one.name,
                file=one.file,
                value=float(values.mean()),
                difference=difference(before, values, confidence=CONFIDENCE) if one is not reference else None,
                same=parity(reference.outputs, one.outputs, _LOOSE).same,
                size=len(one.data) if one.data is not None else None,
                packed=len(zlib.compress(one.data, 6)) if one.data is not None else None,
                zeros=one.zeros,
                latency=times[one.name],
            )
        )
    return rows


def _stored(path: Path, data: bytes | None) -> None:
    if data is not None:
        with whole(path) as temporary:
            temporary.write_bytes(data)


def _count(splits: Splits[Any]) -> int:
    from trainables.data.source import count

    return count(splits.val)
