"""Numbers as words (temporary)."""
from __future__ import annotations


def value(x: float | None, metric: str = "") -> str:
    return "–" if x is None else f"{x:.4f}"


def gap(x: float | None, metric: str = "") -> str:
    return "–" if x is None else f"{x:+.4f}".replace("-", "−")


def seconds(x: float | None) -> str:
    return "–" if x is None else f"{x:.3g} s"


def p_value(p: float | None) -> str:
    return "–" if p is None else ("< 0.001" if p < 0.001 else f"{p:.3f}")


def plain(x: object) -> str:
    if isinstance(x, float):
        return f"{x:.3g}"
    return str(x)


from collections.abc import Callable
from analysis.verdict import Interval


def interval(x: Interval | None, text: Callable[[float | None], str]) -> str:
    if x is None:
        return ""
    low, high = x
    return f"[{'−∞' if low is None else text(low)}, {'∞' if high is None else text(high)}]"


def count(x: float) -> str:
    return f"{x:,.0f}".replace(",", "\u202f")


def ratio(x: float | None) -> str:
    return "–" if x is None else f"{x:.2f}×"
