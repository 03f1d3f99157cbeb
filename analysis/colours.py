"""The colours of the compared levels, the same on the page and in MLflow."""

from __future__ import annotations

LEVELS = ("#0072b2", "#d55e00", "#00845c", "#b5568c", "#967100", "#4d5966", "#6f3fa0", "#8c4a2f")
"""In the order in which the sweep names its levels; told apart by colour-blind eyes, dark enough for lines on white."""
