"""Early stopping of heats: each rule is a part that builds what stops the trials of one level."""

from sweeps.engine.stopping.asha import ASHA
from sweeps.engine.stopping.early_stop import EarlyStop, Stopper
from sweeps.engine.stopping.hyperband import Hyperband
from sweeps.engine.stopping.levels import Levels
from sweeps.engine.stopping.median import MedianStop

__all__ = ["ASHA", "EarlyStop", "Hyperband", "Levels", "MedianStop", "Stopper"]
