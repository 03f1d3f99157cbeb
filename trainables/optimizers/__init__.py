"""Optimizers: settings that build torch's own, and LAMB."""

from trainables.optimizers.adam import Adam, AdamW
from trainables.optimizers.lamb import LAMB
from trainables.optimizers.optimizer import Optimizer
from trainables.optimizers.radam import RAdam
from trainables.optimizers.rmsprop import RMSprop
from trainables.optimizers.sgd import SGD

__all__ = ["LAMB", "SGD", "Adam", "AdamW", "Optimizer", "RAdam", "RMSprop"]
