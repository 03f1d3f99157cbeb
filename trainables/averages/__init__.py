"""Weight averaging: the weights that are evaluated and kept may be an average over the run."""

from trainables.averages.average import Average, Averaged
from trainables.averages.ema import EMA
from trainables.averages.swa import SWA

__all__ = ["EMA", "SWA", "Average", "Averaged"]
