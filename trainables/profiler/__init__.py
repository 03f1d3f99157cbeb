"""Where the time of a run goes: data, forward, backward, optimizer, validation, checkpoint, and what is left over."""

from trainables.profiler.measured import profile
from trainables.profiler.settings import Profile
from trainables.profiler.timing import PHASES, Profiled, Timing

__all__ = ["PHASES", "Profile", "Profiled", "Timing", "profile"]
