"""Several runs of one structure trained at once: the same numbers as alone, for less, where a step is mostly overhead."""

from trainables.fused.dry import refused
from trainables.fused.pack import Pack
from trainables.fused.program import Program
from trainables.fused.structure import shapes, structure, unfit, unfit_run

__all__ = ["Pack", "Program", "refused", "shapes", "structure", "unfit", "unfit_run"]
