"""Sweeps: questions as short files, and the engine that answers them."""

from sweeps.engine.errors import QuestionError
from sweeps.engine.halving import ASHA
from sweeps.engine.search import TPE, Random
from sweeps.engine.space import choice, each, int_range, log_uniform, uniform
from sweeps.engine.spec import Resources, Sweep
from sweeps.main import main

__all__ = [
    "ASHA",
    "TPE",
    "QuestionError",
    "Random",
    "Resources",
    "Sweep",
    "choice",
    "each",
    "int_range",
    "log_uniform",
    "main",
    "uniform",
]
