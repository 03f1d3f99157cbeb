"""How values are written for people: metrics, gaps, seconds, bytes, counts, p-values, labels.

Every function gives text; None (unknown) is a dash. The minus sign is the typographic one, thousands are set apart by a
narrow space that does not break.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence

from analysis.records import Scalar
from analysis.verdict import Interval

DASH = "–"
THIN = "\u202f"

_LARGE = {"cpu": "CPU", "gpu": "GPU"}
DRAWN = {"init": "initialisation", "order": "data order", "split": "split"}
"""What a seed can draw, in words."""
_PER_WORKER = re.compile(r"PerWorker\(samples=(\d+)\)")

_SHARES = frozenset(
    {
        "accuracy",
        "acc",
        "precision",
        "recall",
        "sensitivity",
        "specificity",
        "f1",
        "auc",
        "auroc",
        "auprc",
        "ap",
        "map",
        "iou",
        "miou",
        "dice",
        "jaccard",
        "rate",
    }
)


def is_share(metric: str) -> bool:
    """True for a metric that is written in percent: accuracy, precision, recall, F1, AUC, a rate…; by its name alone."""
    return not _SHARES.isdisjoint(metric.rsplit("/", 1)[-1].lower().split("_"))


def value(x: float | None, metric: str, *, spread: float | None = None) -> str:
    """A metric's value: ``97.8 %`` for a share, else by significant digits.

    ``spread`` is the half-width of its interval, in the metric's own unit: it sets how many digits mean anything.
    """
    if x is None:
        return DASH
    return f"{number(x, metric, spread=spread)} %" if is_share(metric) else number(x, metric, spread=spread)


def number(x: float | None, metric: str, *, spread: float | None = None) -> str:
    """A metric's value without its unit, as it stands within an interval."""
    if x is None:
        return DASH
    if not math.isfinite(x):
        return "NaN" if math.isnan(x) else _signed("∞", x)
    if is_share(metric):
        return _signed(f"{abs(100 * x):.{_share_decimals(spread)}f}", x)
    return _digits(x, spread)


def target(x: float | None, metric: str) -> str:
    """A value that somebody set: all its digits and no more, ``97 %`` or ``0.25``."""
    if x is None:
        return DASH
    return f"{_signed(f'{abs(100 * x):.6g}', x)} %" if is_share(metric) else _signed(f"{abs(x):.6g}", x)


def gap(x: float | None, metric: str, *, spread: float | None = None, signed: bool = False) -> str:
    """A difference of two values: ``1.9 points`` for a share, else by significant digits; with a plus when ``signed``."""
    if x is None:
        return DASH
    text = number(x, metric, spread=spread)
    text = f"+{text}" if signed and x > 0 else text
    if not is_share(metric):
        return text
    return f"{text} point" if text.lstrip("+−") in ("1", "1.0") else f"{text} points"


def interval(ends: Interval | None, text: Callable[[float], str]) -> str:
    """``[low, high]``, each end written by ``text`` (say, without its unit), infinity for an unbounded end.

    Empty for None, and where both ends are unbounded: that says nothing.
    """
    if ends is None or ends == (None, None):
        return ""
    low, high = ends
    return f"[{'−∞' if low is None else text(low)}, {'∞' if high is None else text(high)}]"


def half_width(ends: Interval | None) -> float | None:
    """Half the width of an interval; None where a side is unbounded or there is no interval."""
    if ends is None or ends[0] is None or ends[1] is None:
        return None
    return (ends[1] - ends[0]) / 2


def seconds(x: float | None) -> str:
    """A time: ``0.82 s``, ``3.1 s``, ``42 s``, ``4 min 10 s``, ``2 h 5 min``, ``3 d 4 h``."""
    if x is None:
        return DASH
    if not math.isfinite(x):
        return _signed("∞", x)
    if abs(x) < 59.5:
        size = abs(x)
        text = f"{size:.0f}" if size >= 9.95 else f"{size:.1f}" if size >= 0.995 else _plain_significant(size, 2)
        return f"{_signed(text, x)} s"
    whole = round(abs(x))
    for big, small, large_unit, small_unit in ((86_400, 3_600, "d", "h"), (3_600, 60, "h", "min"), (60, 1, "min", "s")):
        # The smaller unit is rounded first, so that 59.6 of it carry over.
        steps = round(whole / small)
        if steps * small >= big:
            major, minor = divmod(steps, big // small)
            return _signed(f"{major} {large_unit}" + (f" {minor} {small_unit}" if minor else ""), x)
    raise AssertionError(f"{x} s is a minute or longer and has no unit")


def seconds_interval(ends: Interval | None) -> str:
    """``[0.55, 0.87]`` below a minute, else with the units of each end."""
    below = ends is not None and all(x is None or abs(x) < 59.5 for x in ends)
    return interval(ends, lambda x: seconds(x).removesuffix(" s") if below else seconds(x))


def p_value(p: float | None, relation: str = "=") -> str:
    """``p = 0.41``, ``p = 0.012``, ``p < 0.001``; with ``≥`` as the relation it is rounded down, so that it stays true."""
    if p is None:
        return f"p {relation} {DASH}"
    if p < 0.001:
        return "p < 0.001"
    decimals = 2 if p >= 0.0995 else 3
    shown = math.floor(p * 10**decimals + 1e-9) / 10**decimals if relation == "≥" else p
    return f"p {relation if shown < 1 else '='} {shown:.{decimals}f}"  # none is above 1


def ratio(x: float | None) -> str:
    """How many times: ``2.4x``, ``1.04x`` close to 1, ``12x``."""
    return DASH if x is None else f"{factor(x)}x"


def factor(x: float) -> str:
    """A ratio without its sign, as it stands within an interval."""
    if not math.isfinite(x):
        return "∞"
    if x >= 9.95:
        return count(x)
    return f"{x:.2f}" if 0.095 < x < 1.25 else f"{x:.1f}" if x >= 1 else _plain_significant(x, 2)


def size(x: float | None) -> str:
    """Bytes in decimal units: ``300 MB``, ``24.9 GB``."""
    if x is None:
        return DASH
    scaled, units = float(x), ["B", "kB", "MB", "GB", "TB", "PB"]
    while abs(scaled) >= 999.5 and len(units) > 1:
        scaled, units = scaled / 1000, units[1:]
    return f"{scaled:.0f} {units[0]}" if abs(scaled) >= 99.5 or units[0] == "B" else f"{scaled:.3g} {units[0]}"


def energy(x: float | None) -> str:
    """Joules in decimal units: ``0.25 J``, ``12.3 kJ``, ``3.6 MJ``, a kilowatt-hour."""
    if x is None:
        return DASH
    scaled, units = float(x), ["J", "kJ", "MJ", "GJ"]
    while abs(scaled) >= 999.5 and len(units) > 1:
        scaled, units = scaled / 1000, units[1:]
    return f"{scaled:.0f} {units[0]}" if abs(scaled) >= 99.5 else f"{scaled:.3g} {units[0]}"


def count(x: float | None) -> str:
    """A whole number with thin grouping: ``12 345``; four digits stand together."""
    if x is None:
        return DASH
    digits = f"{abs(x):.0f}"
    return _signed(digits if len(digits) < 5 else f"{int(digits):,}".replace(",", THIN), x)


def label(x: Scalar) -> str:
    """A level's or a hole's value: ``64``, ``1e-3``, ``0.05``, ``1e5``, ``none``, ``128 a worker``, ``''``; text as it is."""
    if x is None:
        return "none"
    if not isinstance(x, float):
        grows = _PER_WORKER.fullmatch(x) if isinstance(x, str) else None
        return f"{grows[1]} a worker" if grows else str(x) or "''"
    if x and math.isfinite(x) and not 0.01 <= abs(x) < 1e5:
        mantissa, exponent = f"{x:.5e}".split("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    return f"{x:.6g}"


def level(values: Mapping[str, Scalar], otherwise: str) -> str:
    """A level's values in the order of its factors, ``64, AdamW``; ``otherwise`` where there are no factors.

    A yes or no, an absence and a number of workers mean nothing without their factor: ``norm=False``, ``average=none``,
    ``2 workers``. Beside a number of workers a batch says whose it is: ``256 in all``, ``128 a worker``.
    """
    return ", ".join(level_value(path, x, values) for path, x in values.items()) or otherwise


def name(path: str) -> str:
    """What a factor's or a hole's path is called: its last part, ``batch size`` for ``batch_size``.

    A place in a tuple needs the tuple's name: ``widths 0``. ``cpu`` and ``gpu`` are written large. What seeds draw is a source.
    """
    if path == "vary":
        return "source"
    *before, last = path.split(".")
    text = f"{before[-1]} {last}" if before and last.isdecimal() else last
    return " ".join(_LARGE.get(word, word) for word in text.replace("_", " ").split(" "))


def level_value(path: str, x: Scalar, beside: Mapping[str, Scalar]) -> str:
    """One value of a level as ``level`` writes it; ``beside`` are all factors of the sweep, by path."""
    if x is None or isinstance(x, bool):
        return f"{name(path)}={label(x)}"
    if path == "vary":
        return drawn(str(x).split(" + "))
    if name(path) == "workers":
        return f"{label(x)} worker{'' if x == 1 else 's'}"
    if path == "batch_size" and isinstance(x, int) and any(name(other) == "workers" for other in beside):
        return f"{label(x)} in all"
    return label(x)


def drawn(names: Sequence[str]) -> str:
    """What seeds draw: ``initialisation``, ``data order + split``, and ``all three``."""
    return "all three" if set(names) == set(DRAWN) else " + ".join(DRAWN.get(name, name) for name in names)


def _signed(text: str, x: float) -> str:
    return f"−{text}" if x < 0 and any(c in "123456789∞" for c in text) else text


def _share_decimals(spread: float | None) -> int:
    """One decimal of a percent, more where the interval is narrower than a tenth of a point."""
    if spread is None or not spread > 0 or not math.isfinite(spread):
        return 1
    return min(4, max(1, -math.floor(math.log10(100 * spread))))


def _digits(x: float, spread: float | None) -> str:
    """Four significant digits, or as many decimals as two digits of the spread need; powers of ten outside 1e-4 to 1e6."""
    if x == 0 or not spread or not math.isfinite(spread):
        text = _plain_significant(abs(x), 4) if x == 0 or 1e-4 <= abs(x) < 1e6 else f"{abs(x):.3e}"
        return _signed(text, x)
    if max(abs(x), spread) < 1e-4 or abs(x) >= 1e6:
        return _signed(f"{abs(x):.2e}", x)
    decimals = min(8, max(0, 1 - math.floor(math.log10(spread))))
    return _signed(f"{abs(x):.{decimals}f}", x)


def _plain_significant(x: float, digits: int) -> str:
    """So many significant digits without a power of ten; trailing zeros stay, since they are significant."""
    if x == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(x)))
    return f"{x:.{min(decimals, 12)}f}"
