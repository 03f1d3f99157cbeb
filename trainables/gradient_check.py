"""Is a module's backward pass right? Its gradient by autograd against central differences, in double precision.

    python -m trainables.gradient_check [--json] [--parameters N…] [--batch B] [--step H] [--limit SECONDS]

The command shows what each way to a gradient costs and how exact it is: forward passes, error against autograd, the measured
order of the error and CPU seconds, for perceptrons of several sizes. One's own model is checked by ``check``.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from trainables.differences import Objective
    from trainables.gradient_methods import Row
    from trainables.losses import Loss

SIZES = (1_000, 10_000, 100_000)
"""Parameters of the command's perceptrons, about."""

SLIGHT = 1e-3
"""An error counts against the parameter's largest derivative, but at least against this share of the largest of all."""

ROUNDING = 64 * 2.0**-52
"""Rounding in a forward pass, relative to the loss (or to 1, where that is more): what a difference may be off without fault."""

CLOSE = 1e-6
"""Where both ways agree to this, relatively, one step says enough."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Deviation:
    """A derivative by both ways. ``index`` is its element in the parameter; None is the derivative along a random direction.

    ``error`` is their difference, less what rounding explains, as a share of the parameter's largest derivative.
    """

    parameter: str
    index: tuple[int, ...] | None
    autograd: float
    difference: float
    error: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """The outcome of a check: ``parameters`` holds the worst deviation of each parameter, by name."""

    parameters: Mapping[str, Deviation]
    tolerance: float
    passes: int

    @property
    def worst(self) -> Deviation:
        """The worst of all."""
        return max(self.parameters.values(), key=lambda one: _rank(one.error))

    @property
    def passed(self) -> bool:
        """True when no deviation is above the tolerance; a NaN is."""
        return all(one.error <= self.tolerance for one in self.parameters.values())

    def says(self) -> str:
        """The outcome as a sentence."""
        worst = self.worst
        where = f"{list(worst.index)}" if worst.index is not None else " along a random direction"
        if self.passed:
            return (
                f"The backward pass is right: {len(self.parameters)} parameters agree with central differences to "
                f"{worst.error:.1e} (worst: {worst.parameter}{where}; allowed {self.tolerance:g}; {self.passes} forward passes)."
            )
        wrong = sorted(name for name, one in self.parameters.items() if not one.error <= self.tolerance)
        return (
            f"The backward pass is wrong: for {worst.parameter}{where} it gives {worst.autograd:.6g}, central differences give "
            f"{worst.difference:.6g}, off by {worst.error:.1e} of its largest derivative (allowed {self.tolerance:g}). "
            f"Wrong are {', '.join(wrong)}; look at the operations between them and the loss."
        )


def check(
    module: nn.Module,
    inputs: Tensor | Sequence[Tensor],
    target: Tensor,
    loss: Loss,
    *,
    step: float = 1e-5,
    tolerance: float = 1e-4,
    elements: int = 64,
    seed: int = 0,
) -> Checked:
    """Compare autograd's gradient of a batch's mean loss with central differences, for every parameter that is trained.

    Works on a copy of the module in double precision, in the mode that the module is in (dropout draws the same masks in every
    pass). ``inputs`` are one tensor or several, each [B, ...]; ``target`` is [B, ...]. Of each parameter up to ``elements``
    elements are moved, the one of the largest derivative and others drawn from ``seed``, then all of it along one random
    direction: about 2 ``elements`` + 2 passes. What disagrees is looked at again with a hundredth of the step, since a kink such
    as ReLU's may lie within the first; a value that lies exactly on a kink is found wrong, as no derivative is right there.

    Raises ValueError when nothing can be checked: no parameter is trained or changes the loss, the loss is not finite, or a second
    call gives another one.
    """
    import torch

    from trainables.differences import Objective

    devices = sorted({one.device.index or 0 for one in module.parameters() if one.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices):
        objective = Objective(module, inputs, target, loss)
        _sound(objective)
        gradient = objective.gradient()
        source = torch.Generator().manual_seed(seed)
        found = {name: list(_compared(objective, name, gradient[name], step, elements, source)) for name in gradient}
    largest = {name: max(pair.size for pair in pairs) for name, pairs in found.items()}
    most = max(largest.values())
    if most <= _noise(objective, step):
        raise ValueError("check: no parameter changes the loss, neither by autograd nor by differences")
    worst = {}
    for name, pairs in found.items():
        scale = max(largest[name], SLIGHT * most)
        pair = max(pairs, key=lambda one: _rank(one.excess))
        worst[name] = Deviation(
            parameter=name,
            index=pair.index,
            autograd=pair.autograd,
            difference=pair.difference,
            error=pair.excess / scale,
        )
    return Checked(parameters=worst, tolerance=tolerance, passes=objective.passes)


def _sound(objective: Objective) -> None:
    """Raises ValueError where the loss cannot be differentiated by differences."""
    if not objective.parameters:
        raise ValueError("check: no parameter of the module is trained (requires_grad); there is nothing to check")
    here, again = objective.here(), objective()
    if not math.isfinite(here):
        raise ValueError(f"check: the loss is {here}; give inputs at which it is finite")
    if here != again:
        raise ValueError(
            f"check: the loss is {here!r} at first and {again!r} when called again; "
            "take out what is random, or draw it from torch's global generators in training mode"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Pair:
    """One derivative by both ways, and how far they are apart beyond what rounding explains."""

    index: tuple[int, ...] | None
    autograd: float
    difference: float
    excess: float

    @property
    def size(self) -> float:
        """The larger of the two that is a number, or 0."""
        return max((abs(one) for one in (self.autograd, self.difference) if math.isfinite(one)), default=0.0)


def _compared(
    objective: Objective, name: str, gradient: Tensor, step: float, elements: int, source: torch.Generator
) -> Iterator[_Pair]:
    """Some elements of one parameter, then a random direction."""
    import torch

    chosen = torch.randperm(gradient.numel(), generator=source)[:elements]
    chosen[0] = gradient.abs().argmax()
    for at in sorted(set(chosen.tolist())):
        direction = torch.zeros_like(gradient)
        direction.view(-1)[at] = 1.0
        index = tuple(int(one) for one in torch.unravel_index(torch.tensor(at), gradient.shape))
        yield _pair(objective, name, index, gradient, direction, step)
    direction = torch.randn(gradient.shape, generator=source, dtype=torch.float64).to(gradient.device)
    yield _pair(objective, name, None, gradient, direction / direction.norm(), step)


def _pair(
    objective: Objective, name: str, index: tuple[int, ...] | None, gradient: Tensor, direction: Tensor, step: float
) -> _Pair:
    from trainables.differences import along

    by_autograd = float((gradient * direction).sum())
    pairs = []
    for size in (step, step / 100):
        difference = along(objective, name, direction, size)
        apart = abs(by_autograd - difference)
        excess = apart - _noise(objective, size)
        pairs.append(
            _Pair(index=index, autograd=by_autograd, difference=difference, excess=0.0 if excess <= 0 else excess)
        )
        if apart <= CLOSE * abs(by_autograd):
            break
    return min(pairs, key=lambda one: _rank(one.excess))


def _noise(objective: Objective, step: float) -> float:
    """What rounding may make of a central difference."""
    return ROUNDING * max(1.0, abs(objective.here())) / step


def _rank(value: float) -> float:
    """A NaN is the worst there is."""
    return math.inf if math.isnan(value) else value


def main(arguments: Sequence[str]) -> int:
    """Print the table, or one JSON object; the exit status comes back, 1 where a difference is not what it should be."""
    from trainables.gradient_methods import measured

    options = _options(arguments)
    rows = [row for size in options.parameters for row in measured(size, options.batch, options.step, options.limit)]
    if options.json:
        print(json.dumps({"rows": [asdict(row) for row in rows], **_conditions(options)}, indent=1, allow_nan=False))
    else:
        _show(rows, options)
    return 0 if all(row.as_expected for row in rows) else 1


def _conditions(options: argparse.Namespace) -> dict[str, object]:
    import torch

    return {
        "batch": options.batch,
        "step": options.step,
        "limit_seconds": options.limit,
        "threads": 1,
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }


def _show(rows: Sequence[Row], options: argparse.Namespace) -> None:
    """The table, as plain text."""
    import torch

    print(
        f"Gradient of a perceptron's mean loss over {options.batch} samples, float64, step {options.step:g}, one thread"
    )
    print(f"{'parameters':>10}  {'method':<22}{'forward passes':>16}{'max rel. error':>16}{'order':>8}{'CPU-s':>12}")
    for row in rows:
        passes = f"{row.passes:,}" + (" + backward" if row.order is None else "")
        seconds = f"{'~' if row.evaluated < row.parameters else ''}{row.seconds:.3g}"
        error = "-" if row.error is None else f"{row.error:.1e}"
        order = "exact" if row.order is None else f"{row.order:.2f}"
        print(f"{row.parameters:>10,}  {row.method:<22}{passes:>16}{error:>16}{order:>8}{seconds:>12}")
    for row in rows:
        if row.evaluated < row.parameters:
            print(
                f"~ {row.method} at {row.parameters:,}: {row.evaluated:,} parameters were evaluated, the time is in proportion; "
                f"--limit {options.limit:g} seconds a size"
            )
    print(f"torch {torch.__version__}, Python {platform.python_version()}")


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m trainables.gradient_check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument(
        "--parameters", nargs="+", type=_natural, default=SIZES, metavar="N", help="sizes, about (1000 10000 100000)"
    )
    parser.add_argument("--batch", type=_natural, default=32, metavar="B", help="samples (32)")
    parser.add_argument("--step", type=_positive, default=1e-4, metavar="H", help="of the differences (1e-4)")
    parser.add_argument(
        "--limit",
        type=_positive,
        default=60.0,
        metavar="SECONDS",
        help="CPU time a size, about; beyond it, estimated (60)",
    )
    return parser.parse_args(arguments)


def _natural(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < math.inf:
        raise ValueError(text)
    return number


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
