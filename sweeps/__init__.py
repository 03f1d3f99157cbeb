"""Sweeps: questions as short files, and the engine that answers them."""

from sweeps.engine.also import Also
from sweeps.engine.errors import QuestionError
from sweeps.engine.search import CMAES, GP, PBT, TPE, Grid, Random, Rivals, Search, Sobol
from sweeps.engine.shards import RayShards
from sweeps.engine.space import choice, each, int_range, log_uniform, uniform
from sweeps.engine.spec import Resources, Sweep
from sweeps.engine.stopping import ASHA, EarlyStop, Hyperband, MedianStop
from sweeps.main import main

__all__ = [
    "ASHA",
    "CMAES",
    "GP",
    "PBT",
    "TPE",
    "Also",
    "EarlyStop",
    "Grid",
    "Hyperband",
    "MedianStop",
    "QuestionError",
    "Random",
    "RayShards",
    "Resources",
    "Rivals",
    "Search",
    "Sobol",
    "Sweep",
    "choice",
    "each",
    "int_range",
    "log_uniform",
    "main",
    "uniform",
]
