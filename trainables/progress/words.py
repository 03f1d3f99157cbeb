"""Numbers and times as a bar and a log show them."""

from __future__ import annotations

from collections.abc import Sequence


def number(x: float) -> str:
    """Four significant digits, zeros among them, so that a number that changes keeps its width: ``0.4120``, ``12.31``."""
    return f"{x:#.4g}".rstrip(".")


def rate(x: float) -> str:
    """A learning rate: ``3.0e-4``, ``0.050``; ``0`` where there is none."""
    if x == 0 or 0.01 <= abs(x) < 1000:
        return f"{x:#.2g}".rstrip(".") if x else "0"
    mantissa, exponent = f"{x:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def count(x: float) -> str:
    """A whole number, its thousands set apart where there are more than four digits: ``6800``, ``20 400``."""
    return f"{x:,.0f}".replace(",", "\u202f") if abs(x) >= 9999.5 else f"{x:.0f}"


def per_step(seconds: float) -> str:
    """``240 µs/step``, ``3.2 ms/step``, ``1.4 s/step``."""
    unit, size = next(
        ((unit, size) for unit, size in (("s", 1.0), ("ms", 1e-3)) if seconds >= 0.9995 * size), ("µs", 1e-6)
    )
    amount = seconds / size
    return f"{amount:.0f} {unit}/step" if amount >= 9.95 else f"{amount:.1f} {unit}/step"


def duration(seconds: float) -> str:
    """``0.4 s``, ``12 s``, ``4 min 10 s``, ``2 h 5 min``, ``3 d 4 h``."""
    if seconds < 9.95:
        return f"{max(seconds, 0.0):.1f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    major, minor, units = 0, 0, ("min", "s")
    for big, small, named in ((60, 1, ("min", "s")), (3600, 60, ("h", "min")), (86_400, 3600, ("d", "h"))):
        # The smaller unit is rounded first, so that 59.6 of it carry over.
        steps = round(seconds / small)
        if steps * small >= big:
            (major, minor), units = divmod(steps, big // small), named
    return f"{major} {units[0]}" + (f" {minor} {units[1]}" if minor else "")


def to_go(seconds: float) -> str:
    """A time that is left, without the digits that nobody knows: ``4 s``, ``about 6 min``, ``about 2 h 5 min``."""
    if seconds < 59.5:
        return f"{max(seconds, 0.0):.0f} s"
    if seconds < 570:
        return f"about {duration(10 * round(seconds / 10))}"
    return f"about {duration(60 * round(seconds / 60))}"


def wrapped(parts: Sequence[str], width: int, gap: str = "   ") -> list[str]:
    """The parts side by side, in as many lines as they need; a part is never broken."""
    lines: list[str] = []
    for part in filter(None, parts):
        if lines and len(lines[-1]) + len(gap) + len(part) <= width:
            lines[-1] += gap + part
        else:
            lines.append(part)
    return lines
