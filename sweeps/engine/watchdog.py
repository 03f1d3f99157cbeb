"""The watchdog: names what hangs, and ends a sweep that can never go on."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

from analysis import units
from analysis.records import Stage, TrialRecord
from sweeps.engine.capacity import FIXED, Growth
from sweeps.engine.cluster import Scene
from sweeps.engine.diagnosis import SHOWN, hopeless, reasons

PROCESSES = {"solo": "ImplicitFunc", "fused": "ImplicitFunc", "gang": "RayTrainWorker", "crew": "RayTrainWorker"}
"""The class that Ray runs in the processes that train, by lane."""

INTERRUPTED = 3
"""The exit status of a sweep that goes on when its command is given again."""


class StalledError(Exception):
    """The sweep hung and could never have gone on by itself: the message says on what. What is done is kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """The watchdog's patience, in seconds.

    It looks every ``look``. A trial that has told nothing for ``quiet``, and for ``times`` the longest pause between two epochs so
    far, is named; again after as long, then after twice as long each time. A sweep that can never go on has ``hopeless`` to live.
    Ray's head has ``answer`` for a question; when it has not answered for ``gone`` the sweep is ended: after 60 Ray itself would
    end the process, without words. A process that does not end ``leave`` after it was asked to is left at once.
    """

    look: float = 5.0
    quiet: float = 60.0
    times: float = 10.0
    hopeless: float = 600.0
    answer: float = 10.0
    gone: float = 35.0
    leave: float = 15.0


@dataclass(slots=True)
class _Trial:
    """One under way."""

    label: str
    told: float
    epoch: int = 0
    pause: float | None = None
    again: float = 0.0


@dataclass(frozen=True, slots=True)
class _Hopeless:
    """A state in which the sweep cannot go on; another one begins a new wait, since something moved."""

    cause: str
    since: float


class Watchdog:
    """Follows a sweep's trials and looks at its cluster from a thread of its own; a context manager around the run.

    When it was the watchdog that ended the run, leaving it raises StalledError. ``look`` asks Ray's head and may hang, ``answers``
    must not. ``spoke`` tells how many seconds ago a trial has last said how far it is in an epoch, None where it has not:
    one that still does is not silent, however long its epochs. ``interrupt`` asks the main thread to stop, by default as SIGTERM
    does; ``abandon`` ends the process, with words, when that was not heeded.
    """

    def __init__(
        self,
        *,
        lane: str,
        say: Callable[[str], None],
        look: Callable[[], Scene],
        answers: Callable[[], bool],
        growth: Growth = FIXED,
        spoke: Callable[[str], float | None] | None = None,
        limits: Limits | None = None,
        interrupt: Callable[[], None] | None = None,
        abandon: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kind, self._growth, self._limits = PROCESSES[lane], growth, limits or Limits()
        self._say, self._look, self._answers, self._clock = say, look, answers, clock
        self._interrupt, self._abandon = interrupt or _terminate, abandon or _leave
        self._spoke = spoke or (lambda _: None)
        self._trials: dict[str, _Trial] = {}
        self._longest = 0.0
        self._gone_before: Sequence[str] | None = None
        self._hopeless: _Hopeless | None = None
        self._unheard: float | None = None
        self._asked: threading.Thread | None = None
        self._words: str | None = None
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        if self._words is not None and error is not None:
            raise StalledError(self._words) from error

    @property
    def words(self) -> str | None:
        """Why the watchdog has ended the run; None when it has not."""
        return self._words

    def started(self, record: TrialRecord) -> None:
        """A trial starts, or goes on."""
        which = f"s{record.seed}" if record.stage is Stage.FINAL else f"t{record.number or 0:03d}"
        label = f"{units.level(record.level, record.sweep)} {record.stage.value} {which}"
        with self._lock:
            self._trials[record.id] = _Trial(label, self._clock())

    def reported(self, record_id: str, row: Mapping[str, Any]) -> None:
        """An epoch of it has ended."""
        now = self._clock()
        with self._lock:
            trial = self._trials.get(record_id)
            if trial is None:
                return
            if trial.epoch:
                self._longest = max(self._longest, now - trial.told)
            trial.told, trial.epoch, trial.pause = now, row["epoch"], None

    def ended(self, record: TrialRecord) -> None:
        """It has ended, one way or the other."""
        with self._lock:
            self._trials.pop(record.id, None)

    def check(self) -> None:
        """Look once: say what is to be said, end what can never go on."""
        now = self._clock()
        limit, silent, everything = self._silent(now)
        due = [trial for trial in silent if trial.pause is None or now >= trial.again]
        if not everything:
            self._hopeless = None
        if not self._answers():
            self._not_answered(now)
            return
        if not due and not everything:
            self._unheard = None
            return
        scene = self._scene()
        if scene is None:
            self._not_answered(now)
            return
        self._unheard = None
        cause = hopeless(scene, self._kind, self._growth) if everything else None
        if cause is None or self._hopeless is None or self._hopeless.cause != cause:
            self._hopeless = None if cause is None else _Hopeless(cause, now)
        if self._hopeless is not None and now - self._hopeless.since >= self._limits.hopeless:
            self._stop(f"{_who(silent, now)}, and nothing can change that: {cause}")
        elif due:
            for trial in silent:
                trial.pause = limit if trial.pause is None else 2 * trial.pause
                trial.again = now + trial.pause
            self._say(f"{_who(silent, now)}: {reasons(scene, self._kind, self._growth)}")

    def _silent(self, now: float) -> tuple[float, list[_Trial], bool]:
        """The limit, the trials beyond it, the longest silence first, and whether that is all there are."""
        with self._lock:
            limit = max(self._limits.quiet, self._limits.times * self._longest)
            quiet = {name: trial for name, trial in self._trials.items() if now - trial.told > limit}
            number = len(self._trials)
        last = {name: self._spoke(name) for name in quiet}
        mute = [trial for name, trial in quiet.items() if (ago := last[name]) is None or ago > limit]
        return limit, sorted(mute, key=lambda trial: trial.told), bool(mute) and len(mute) == number

    def _scene(self) -> Scene | None:
        """What Ray's head knows, without machines that were gone before; None when it does not say so in time."""
        found: list[Scene] = []

        def ask() -> None:
            try:
                found.append(self._look())
            except Exception:  # Ray's own errors are of many kinds; all mean that there is no answer
                found.clear()

        if self._asked is None or not self._asked.is_alive():  # a question that hangs is not asked twice
            self._asked = threading.Thread(target=ask, name="watchdog's question", daemon=True)
            self._asked.start()
            self._asked.join(self._limits.answer)
        if not found:
            return None
        scene = found[0]
        if self._gone_before is None:
            self._gone_before = scene.gone
        return replace(scene, gone=tuple(name for name in scene.gone if name not in self._gone_before))

    def _not_answered(self, now: float) -> None:
        """Say so the first time, end the run when it lasts."""
        if self._unheard is None:
            self._unheard = now
            left = units.seconds(self._limits.gone)
            self._say(f"Ray's head (GCS) does not answer; if it stays so for {left}, the sweep ends here")
        elif now - self._unheard >= self._limits.gone:
            self._stop("Ray's head (GCS) does not answer any more: it was killed, or its machine is gone")

    def _stop(self, words: str) -> None:
        self._words = words
        self._interrupt()

    def _watch(self) -> None:
        while not self._over.wait(self._limits.look):
            self.check()
            if self._words is not None:
                if not self._over.wait(self._limits.leave):
                    self._abandon(self._words)
                return


def _who(silent: Sequence[_Trial], now: float) -> str:
    """Which trials wait, since when and at which epoch."""
    named = [
        f"{trial.label} ({f'epoch {trial.epoch}' if trial.epoch else 'not begun'}, {units.seconds(now - trial.told)})"
        for trial in silent[:SHOWN]
    ]
    more = f" and {len(silent) - SHOWN} more" if len(silent) > SHOWN else ""
    return f"No word from {', '.join(named)}{more}"


def _terminate() -> None:
    """Interrupt the main thread, also in a call that waits."""
    main = threading.main_thread().ident
    if main is not None:
        signal.pthread_kill(main, signal.SIGTERM)


def _leave(words: str) -> None:
    """End this process without further ado; the ledger is whole at any moment, and Ray's processes end with their parent."""
    print(f"error: {words}\nWhat is done is kept; run the same command to go on.", file=sys.stderr, flush=True)
    os._exit(INTERRUPTED)
