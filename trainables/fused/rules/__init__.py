"""Optimizers over rows: one step for all members of a pack, each with settings of its own."""

from trainables.fused.rules.choice import rule_of
from trainables.fused.rules.rule import Rule

__all__ = ["Rule", "rule_of"]
