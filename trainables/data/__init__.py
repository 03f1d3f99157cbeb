"""Where samples come from: memory, disk, shards; each in other words for the same batches."""

from trainables.data.indexed import Chosen, InMemory, Joined
from trainables.data.source import Indexed, Source, Streamed

__all__ = ["Chosen", "InMemory", "Indexed", "Joined", "Source", "Streamed"]
