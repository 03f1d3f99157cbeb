"""A loop in a process of its own, which stands still but for its turns."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, final

from benchmarks.conditions import environment
from benchmarks.loops.variants import LAP, SCORES, Variant
from benchmarks.loops.work import Scores, Work


@dataclass(frozen=True, kw_only=True, slots=True)
class Used:
    """CPU and wall seconds a step of each epoch in a round, and what the run came to."""

    cpu: Sequence[float]
    seconds: Sequence[float]
    scores: Scores


class FailedError(Exception):
    """A loop did not come to its end."""


@final
class Running:
    """The process, until it is left; what it writes to stderr goes to ``log``. Its methods raise FailedError when it fails."""

    def __init__(self, variant: Variant, work: Work, epochs: int, log: Path) -> None:
        self.variant = variant
        self._work, self._log = work, log
        self._laps: list[tuple[float, float]] = []
        command = [sys.executable, "-m", "benchmarks.loops.variants", variant.name, work.name, str(epochs)]
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def warmed(self) -> None:
        """Wait until its warm-up is over."""
        self._read(LAP)

    def turn(self) -> None:
        """One epoch."""
        self._go_on()
        cpu, seconds = self._read(LAP)
        self._laps.append((cpu / self._work.steps, seconds / self._work.steps))

    def ended(self) -> Used:
        """What it used, once it has no more turns."""
        self._go_on()
        scores = Scores(**self._read(SCORES))
        return Used(cpu=[cpu for cpu, _ in self._laps], seconds=[seconds for _, seconds in self._laps], scores=scores)

    def _go_on(self) -> None:
        assert self._process.stdin is not None
        try:
            print(file=self._process.stdin, flush=True)
        except BrokenPipeError:
            return  # it is gone; reading tells why

    def _read(self, word: str) -> Any:
        """The next line that begins with the word; what else libraries print is passed over."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(word):
                return json.loads(line.removeprefix(word))
        status = self._process.wait()
        tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-30:])
        raise FailedError(f"{self.variant.name} on {self._work.name} ended with status {status}:\n{tail}")
