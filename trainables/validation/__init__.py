"""When a run is validated, and by how much of its validation sets."""

from trainables.validation.every_epoch import EveryEpoch
from trainables.validation.int8 import Int8
from trainables.validation.on_plateau import OnPlateau
from trainables.validation.sampled import Sampled
from trainables.validation.thirds import Thirds
from trainables.validation.validation import Validation
from trainables.validation.within_epoch import WithinEpoch

__all__ = ["EveryEpoch", "Int8", "OnPlateau", "Sampled", "Thirds", "Validation", "WithinEpoch"]
