"""One change of the recipe for each disease, in the words of its fields."""

from __future__ import annotations

import math
from collections.abc import Sequence

from analysis import units
from analysis.doctor.course import Group
from analysis.edges import Range, read_range
from analysis.records import Scalar

RATE = "optimizer.lr"


def written(value: float) -> str:
    """A number as a recipe would have it."""
    return units.label(float(f"{value:.2g}"))


def short(value: float) -> str:
    """A number of the evidence."""
    return f"{value:.3g}"


def number(group: Group, path: str) -> float | None:
    """A setting that is a number; None where it is none."""
    value = group.settings.get(path)
    return (
        float(value)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        else None
    )


def off(value: Scalar) -> bool:
    """True for a part that is not there."""
    return value is None or value in ("none", "None")


def rate(group: Group, factor: float) -> str:
    """The learning rate times a factor: of a searched one the range, cut or widened there."""
    now = number(group, RATE)
    if now is None or now <= 0:
        return f"{RATE} times {factor:g}"
    wanted = tidy(now * factor)
    known = read_range(group.spaces.get(RATE))
    if known is None:
        return f"{RATE} {written(now)} -> {written(wanted)}"
    low, high = (known.low, max(wanted, 1.01 * known.low)) if factor < 1 else (min(wanted, known.high), known.high)
    if factor < 1 and wanted <= known.low:
        low = tidy(wanted / 10)
    if factor > 1 and wanted >= known.high:
        low, high = known.low, tidy(wanted * 3)
    return f"{RATE} {known.text} -> {_range(known, low, high)}"


def clip(group: Group) -> str:
    """Clipping by norm where there is none, else a third of the rate."""
    norms = [float(value) for course in group.courses for value in course.norm.values]
    if off(group.settings.get("clip")) and "clip" in group.settings:
        return "clip=ClipNorm(1.0)"
    limit = number(group, "clip.norm")
    if limit is not None and norms and limit > sorted(norms)[len(norms) // 2]:
        return f"clip=ClipNorm({written(limit)}) -> ClipNorm({written(tidy(limit / 3))})"
    return rate(group, 1 / 3)


def calmer(group: Group) -> str:
    """For losses that swing: whole shuffles where batches are runs of neighbours, else a third of the learning rate."""
    pieces, batch = number(group, "sampling.pieces"), number(group, "batch_size")
    if pieces is not None and batch is not None and batch >= pieces:
        return f"sampling={group.settings['sampling']}(pieces={pieces:.0f}) -> None"
    return rate(group, 1 / 3)


def diverged(group: Group, first: Sequence[int]) -> str:
    """For runs that left the finite: a wider number format, a smaller rate for those that never began, else clipping."""
    if group.settings.get("precision") in ("FP16", "PureBF16"):
        return f"precision={group.settings['precision']}() -> FP32()"
    if all(epoch <= 1 for epoch in first) or not off(group.settings.get("clip")):
        return rate(group, 1 / 3)
    return clip(group)


def regularise(group: Group) -> str:
    """More of the regularisation that is there, or some where there is none."""
    dropout = number(group, "model.dropout")
    if dropout is not None and dropout < 0.5:
        return f"model.dropout {written(dropout)} -> {written(min(0.5, dropout + 0.2))}"
    decay = number(group, "optimizer.weight_decay")
    if decay is not None and "optimizer.weight_decay" not in group.spaces:
        return f"optimizer.weight_decay {written(decay)} -> {written(10 * decay if decay else 0.01)}"
    return "stop=EarlyStopping(patience=5)" if off(group.settings.get("stop")) else "average=EMA(decay=0.999)"


def longer(group: Group) -> str:
    """Twice the epochs."""
    epochs = number(group, "epochs")
    return f"epochs {epochs:.0f} -> {2 * epochs:.0f}" if epochs else "epochs times 2"


def warmer(group: Group) -> str:
    """A warm-up where there is none, else a smaller rate."""
    if number(group, "schedule.warmup") == 0:
        return "schedule.warmup 0 -> 0.1"
    return rate(group, 1 / 3)


def wider(known: Range, end: str) -> str:
    """A range ten times as wide at one end, or half as wide again where it is searched evenly."""
    if known.log:
        low, high = (known.low / 10, known.high) if end == "lower" else (known.low, 10 * known.high)
    else:
        span = 0.5 * (known.high - known.low)
        low, high = (known.low - span, known.high) if end == "lower" else (known.low, known.high + span)
    if known.whole:
        low, high = math.floor(low), math.ceil(high)
        low = max(low, 1) if known.low >= 1 else low
    return _range(known, low, high)


def tidy(value: float) -> float:
    """The nearest of 1, 2, 3, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    return min((one * power for one in (1, 2, 3, 5, 10)), key=lambda one: abs(math.log(one / value)))


def _range(known: Range, low: float, high: float) -> str:
    kind = known.text.partition("(")[0]
    log = ", log=True" if known.whole and known.log else ""
    return f"{kind}({low:g}, {high:g}{log})"
