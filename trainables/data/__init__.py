"""Where samples come from: memory, disk, shards; each in other words for the same batches."""

from trainables.data.balanced import Balanced
from trainables.data.chunked import Chunked
from trainables.data.held import Held
from trainables.data.indexed import Chosen, InMemory, Joined
from trainables.data.mapped import Mapped, write
from trainables.data.parquet import ParquetShards
from trainables.data.prefetch import Prefetch
from trainables.data.sampling import Sampling
from trainables.data.source import Indexed, Source, Streamed
from trainables.data.stream import Shards, Stream

__all__ = [
    "Balanced",
    "Chosen",
    "Chunked",
    "Held",
    "InMemory",
    "Indexed",
    "Joined",
    "Mapped",
    "ParquetShards",
    "Prefetch",
    "Sampling",
    "Shards",
    "Source",
    "Stream",
    "Streamed",
    "write",
]
