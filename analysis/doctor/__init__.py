"""The doctor: what is wrong with the training runs of a sweep, by how much, and what to change."""

from analysis.doctor.examine import examine
from analysis.doctor.finding import Disease, Finding

__all__ = ["Disease", "Finding", "examine"]
