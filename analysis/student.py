"""Student's t: what of it the analysis needs, without ``scipy.stats``, which takes more than a second to import."""

from __future__ import annotations

import math


def tail(x: float, freedom: float) -> float:
    """The chance of more than ``x``."""
    from scipy.special import stdtr

    return float(stdtr(freedom, -x))


def beyond(chance: float, freedom: float) -> float:
    """The value that is exceeded with this chance."""
    from scipy.special import stdtrit

    return -float(stdtrit(freedom, chance))


def shifted_tail(x: float, freedom: float, shift: float) -> float:
    """The chance of more than ``x`` where the mean of the normal above lies at ``shift``: the noncentral t."""
    from scipy.special import nctdtr

    chance = 1.0 - float(nctdtr(freedom, shift, x))
    if math.isnan(chance):  # it does not reach every shift
        from scipy.stats import nct

        chance = float(nct.sf(x, freedom, shift))
    return chance
