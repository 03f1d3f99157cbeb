"""What a run uses up: seconds by phase, CPU time, memory, energy; what is not known is absent, never 0."""

from trainables.telemetry.meter import Meter
from trainables.telemetry.row import costs

__all__ = ["Meter", "costs"]
