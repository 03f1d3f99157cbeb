"""Tasks that ship with the product; their data comes inside a library, so nothing is downloaded."""

from trainables.tasks.digits import digits
from trainables.tasks.table import table

__all__ = ["digits", "table"]
