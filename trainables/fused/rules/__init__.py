"""Optimizers over rows: one step for all members of a pack, each with settings of its own."""

from trainables.fused.rules.choice import rule_of
from trainables.fused.rules.one_by_one import OneByOne
from trainables.fused.rules.rule import Rule

__all__ = ["OneByOne", "Rule", "rule_of"]
