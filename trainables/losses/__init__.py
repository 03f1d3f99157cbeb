"""Losses: called with (output, target), they give one value a sample or the mean."""

from trainables.losses.binary_cross_entropy import BinaryCrossEntropy
from trainables.losses.constraint import Constraint, sudoku
from trainables.losses.cross_entropy import CrossEntropy
from trainables.losses.focal import Focal
from trainables.losses.huber import Huber
from trainables.losses.loss import Loss, Sizing, Weighing, mean, outputs, summed, weighed, weight
from trainables.losses.quantile import Quantile
from trainables.losses.sample_weighted import SampleWeighted, Unweighted
from trainables.losses.squared_error import MeanSquaredError
from trainables.losses.sum import Sum
from trainables.losses.temporal_difference import TemporalDifference

__all__ = [
    "BinaryCrossEntropy",
    "Constraint",
    "CrossEntropy",
    "Focal",
    "Huber",
    "Loss",
    "MeanSquaredError",
    "Quantile",
    "SampleWeighted",
    "Sizing",
    "Sum",
    "TemporalDifference",
    "Unweighted",
    "Weighing",
    "mean",
    "outputs",
    "sudoku",
    "summed",
    "weighed",
    "weight",
]
