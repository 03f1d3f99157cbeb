"""Learning-rate schedules: functions of a run's progress from 0 to 1 that give a multiplier of the optimizer's lr."""

from trainables.schedules.constant import Constant
from trainables.schedules.cosine import Cosine
from trainables.schedules.exponential import Exponential
from trainables.schedules.one_cycle import OneCycle
from trainables.schedules.plateau import Plateau
from trainables.schedules.restarts import WarmRestarts
from trainables.schedules.schedule import Reactive, Schedule, curve, reactive
from trainables.schedules.step import Step

__all__ = [
    "Constant",
    "Cosine",
    "Exponential",
    "OneCycle",
    "Plateau",
    "Reactive",
    "Schedule",
    "Step",
    "WarmRestarts",
    "curve",
    "reactive",
]
