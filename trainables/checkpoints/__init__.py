"""Checkpoints: what a run goes on from and what it has learned, on disk, written while it trains on."""

from trainables.checkpoints.files import DamagedError, Size, load, save
from trainables.checkpoints.found import Found, found, tidied
from trainables.checkpoints.keeper import Keeper, Written
from trainables.checkpoints.needed import Needed, needed, size
from trainables.checkpoints.weights import Weights, load_weights, save_weights

__all__ = [
    "DamagedError",
    "Found",
    "Keeper",
    "Needed",
    "Size",
    "Weights",
    "Written",
    "found",
    "load",
    "load_weights",
    "needed",
    "save",
    "save_weights",
    "size",
    "tidied",
]
