"""Architectures as parts: settings that build a module."""

from trainables.models.cnn import CNN
from trainables.models.count import parameters
from trainables.models.gru import GRU
from trainables.models.lstm import LSTM
from trainables.models.mlp import MLP
from trainables.models.multi_plasticity import MultiPlasticity
from trainables.models.residual_mlp import ResidualMLP
from trainables.models.state_space import StateSpace
from trainables.models.tcn import TCN
from trainables.models.transformer import Transformer

__all__ = [
    "CNN",
    "GRU",
    "LSTM",
    "MLP",
    "TCN",
    "MultiPlasticity",
    "ResidualMLP",
    "StateSpace",
    "Transformer",
    "parameters",
]
