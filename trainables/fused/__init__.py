"""Several runs of one structure trained at once: the same numbers as alone, for less, where a step is mostly overhead."""
