"""A trained model for elsewhere: ONNX with a check against torch, INT8, pruning, and what each costs and gains.

Needs the extra ``export``: onnx, onnxruntime, onnxscript.
"""

from trainables.export.graph import exported
from trainables.export.integers import dynamic, static
from trainables.export.latency import Latency, timed
from trainables.export.needed import ExportError, needed
from trainables.export.paired import difference
from trainables.export.parity import Parity, Tolerance, parity, write
from trainables.export.pruned import pruned, tuned
from trainables.export.quantised import Quantised
from trainables.export.session import Session
from trainables.export.study import Row, Study, study
from trainables.export.template import Template

__all__ = [
    "ExportError",
    "Latency",
    "Parity",
    "Quantised",
    "Row",
    "Session",
    "Study",
    "Template",
    "Tolerance",
    "difference",
    "dynamic",
    "exported",
    "needed",
    "parity",
    "pruned",
    "static",
    "study",
    "timed",
    "tuned",
    "write",
]
