"""Where samples come from: memory, disk, shards; each in other words for the same batches."""

from trainables.data.balanced import Balanced
from trainables.data.chunked import Chunked
from trainables.data.indexed import Chosen, InMemory, Joined
from trainables.data.mapped import Mapped, write
from trainables.data.prefetch import Prefetch
from trainables.data.sampling import Sampling
from trainables.data.source import Indexed, Source, Streamed

__all__ = [
    "Balanced",
    "Chosen",
    "Chunked",
    "InMemory",
    "Indexed",
    "Joined",
    "Mapped",
    "Prefetch",
    "Sampling",
    "Source",
    "Streamed",
    "write",
]
