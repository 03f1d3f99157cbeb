"""Searches: how the next point of a level is chosen. Each is a part that builds its sampler."""

from sweeps.engine.search.cma_es import CMAES
from sweeps.engine.search.domain import Domain
from sweeps.engine.search.gaussian_process import GP
from sweeps.engine.search.grid import Grid
from sweeps.engine.search.pbt import PBT
from sweeps.engine.search.random_draws import Random
from sweeps.engine.search.rivals import Rivals
from sweeps.engine.search.search import Search
from sweeps.engine.search.sobol import Sobol
from sweeps.engine.search.tpe import TPE

__all__ = ["CMAES", "GP", "PBT", "TPE", "Domain", "Grid", "Random", "Rivals", "Search", "Sobol"]
