"""What can be wrong with a question, before anything is run."""

from __future__ import annotations

from collections.abc import Sequence


class ConflictError(Exception):
    """All conflicts of a recipe, a task or its data, each naming the value, the rule and the way out."""

    def __init__(self, subject: str, conflicts: Sequence[str]) -> None:
        super().__init__(subject, tuple(conflicts))
        self.subject = subject
        self.conflicts = tuple(conflicts)

    def __str__(self) -> str:
        if len(self.conflicts) == 1:
            return f"{self.subject}: {self.conflicts[0]}"
        return "\n".join([f"{self.subject}: {len(self.conflicts)} conflicts", *(f"  - {c}" for c in self.conflicts)])
