"""Architectures as parts: settings that build a module."""

from trainables.models.mlp import MLP

__all__ = ["MLP"]
