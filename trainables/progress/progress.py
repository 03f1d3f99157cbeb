"""The progress of one run, for whoever watches it."""

from __future__ import annotations

import importlib.util
import math
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from trainables.describe import text
from trainables.progress import words
from trainables.progress.standing import Standing, usual

if TYPE_CHECKING:
    from rich.console import Console

    from trainables.fit import Epoch
    from trainables.progress.bar import Bar
    from trainables.run import Run
    from trainables.task import Tensors

LOOK = 0.25
"""Seconds between two looks at the loss: on a GPU each waits for the steps that are under way."""

PAUSE, WITHIN, LONGEST = 1.0, 10.0, 60.0
"""Seconds between two lines of a log: epochs, steps within one. They grow with the run, to a minute."""


class Progress:
    """Shows one run: a bar in a terminal, lines with the time of day anywhere else, nothing when ``quiet``.

    Around the epochs, with the steps where ``fit`` is given ``through``::

        progress = Progress()
        for epoch in progress.shown(fit(task, recipe, through=progress.through)):
            ...

    Around a whole run with checkpoints, which is shown from where it goes on::

        with Progress() as progress:
            train(task, recipe, folder=folder, report=progress.report, through=progress.through)

    It writes to stderr (in a notebook, beneath the cell), so what a program prints stays its own. Of several workers the first one
    shows. The loss is the mean over the epoch so far, of the first worker's samples; the time to go has validation in it, and what
    comes between two epochs. Nothing of it changes what is learned, and a device is asked at most four times a second.
    """

    def __init__(
        self, *, quiet: bool = False, console: Console | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._quiet, self._given, self._clock = quiet, console, clock
        self._console = console
        self._standing = Standing()
        self._run: Run | None = None
        self._row: Mapping[str, Any] | None = None
        self._best: tuple[float, int] | None = None
        self._open = False
        self._bar: Bar | None = None
        self._began = self._said = self._due = 0.0
        self._stops = False
        # The bar is drawn by a thread of its own.
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._standing, self._run, self._row, self._best = Standing(), None, None, None
        self._console = self._given  # one that was found is looked for again
        self._open = not self._quiet
        self._began = self._clock()
        self._said, self._due = -math.inf, 0.0
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def shown(self, epochs: Iterable[Epoch]) -> Iterator[Epoch]:
        """The epochs, shown as they come; the terminal is given back when they end, or are left."""
        with self:
            for epoch in epochs:
                if epoch.run.world.first:
                    self._knows(epoch.run)
                    self._ended({**epoch.metrics, "epoch": epoch.epoch, "lr": epoch.lr})
                yield epoch

    def report(self, history: Sequence[Mapping[str, Any]]) -> bool:
        """An epoch has ended; for ``train``, which is never asked to stop."""
        if self._run is None or self._run.world.first:
            self._ended(history[-1])
        return False

    def through(self, run: Run, batches: Iterator[Tensors]) -> Iterator[Tensors]:
        """The batches, counted; for ``fit`` and ``train``."""
        if not run.world.first:
            self._run = run
        if not self._open or not run.world.first:
            yield from batches
            return
        self._knows(run)
        with self._lock:
            self._standing.epoch_begins(run.epoch, run.tally.batches, self._clock())
        self._show()
        for batch in batches:
            yield batch
            now = self._clock()
            if now >= self._due:
                self._due = now + LOOK
                self._look(run, now)
        with self._lock:
            self._standing.done = run.tally.batches
            self._standing.validates(self._clock())

    def close(self) -> None:
        """Take the bar away, leave a line that says how far the run has come; a second call does nothing."""
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.stop()
        if self._open and self._row is not None:
            self._print(self._summary(), timed=bar is None)
        self._open = False

    def _knows(self, run: Run) -> None:
        """What the run tells of itself, once."""
        if self._run is run or not self._open:
            return
        # What a log is found by later: when it began, on what, and with what that is not usual.
        self._print(f"{run.task.name}: {text(run.recipe)}", timed=True, counts=False)
        self._run, standing = run, self._standing
        with self._lock:
            standing.epochs, standing.steps, standing.batch = (
                run.plan.epochs,
                run.plan.steps_per_epoch,
                run.plan.batch_size,
            )
            standing.usual = usual(run.history)
            self._stops = run.recipe.stop is not None
            for row in run.history:
                self._weigh(row)
            if run.history:
                self._row = run.history[-1]
                standing.ended = self._row["epoch"]

    def _look(self, run: Run, now: float) -> None:
        """Take in the steps so far; in a log, say them now and then."""
        tally = run.tally
        weight = float(tally.weight)
        with self._lock:
            self._standing.stepped(tally.batches, now)
            self._standing.lr = run.lr
            self._standing.loss = float(tally.loss) * run.world.size / weight if weight else None
        if self._bar is None and now - max(self._said, self._began) >= max(WITHIN, self._pause(now)):
            self._print(self._step_line(now))

    def _ended(self, row: Mapping[str, Any]) -> None:
        """An epoch is over."""
        if not self._open:
            return
        now = self._clock()
        with self._lock:
            pace = self._standing.step_seconds(now)
            self._standing.epoch_ends(row["epoch"], now)
            self._standing.lr = row.get("lr")
            self._weigh(row)
            self._row = row
        self._show()
        if self._bar is None and now - self._said >= self._pause(now) and row["epoch"] != self._standing.epochs:
            self._print(self._epoch_line(row, pace, now))

    def _weigh(self, row: Mapping[str, Any]) -> None:
        """Keep the best value so far, as the goal has it."""
        if self._run is None:
            return
        goal = self._run.task.goal
        value = row.get(f"val/{goal.metric}")
        if value is not None and math.isfinite(value) and (self._best is None or goal.better(value, self._best[0])):
            self._best = (value, row["epoch"])

    def _pause(self, now: float) -> float:
        return min(max(PAUSE, (now - self._began) / 30), LONGEST)

    def _show(self) -> None:
        """Put the bar up, where there is a terminal for it."""
        if self._bar is not None or not self._open:
            return
        console = self._terminal()
        if console is not None:
            from trainables.progress.bar import Bar

            self._console = console
            self._bar = Bar(console, self._drawn)

    def _terminal(self) -> Console | None:
        """The console that a bar can be drawn on; None for a pipe, a dumb terminal, and where rich is not installed."""
        if self._console is not None:
            return self._console if self._console.is_interactive else None
        if importlib.util.find_spec("rich") is None:
            return None
        from rich.console import Console

        # FORCE_COLOR makes rich take a pipe for a terminal; a log would be full of bars.
        console = Console(stderr=True, force_interactive=None if sys.stderr.isatty() else False)
        if console.is_jupyter:
            return Console() if importlib.util.find_spec("ipywidgets") is not None else None
        return console if console.is_interactive else None

    def _print(self, said: str, *, timed: bool = True, counts: bool = True) -> None:
        """A line: in a log with the time of day before it; one that ``counts`` puts off the next."""
        if counts:
            self._said = self._clock()
        line = f"{time.strftime('%H:%M:%S')}  {said}" if timed else said
        if self._console is not None:
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            print(line, file=sys.stderr, flush=True)

    def _drawn(self) -> tuple[str, float, float | None, str, list[str]]:
        """What the bar shows: head, steps done and in all, their count, and the facts."""
        now = self._clock()
        with self._lock:
            standing, best = self._standing, self._best
            steps, done = standing.steps, standing.done
            head = self._head(standing.epoch)
            count = f"{words.count(done)} of {words.count(steps)} steps" if steps else f"{words.count(done)} steps"
            if standing.trained is not None:
                count = "validating"
            elif standing.begun is None and standing.ended:
                count = "done"
            facts = self._facts(now, standing)
            if best is not None:
                facts.append(f"best {self._name()} {words.number(best[0])} (epoch {best[1]})")
        return head, done, steps, count, facts

    def _facts(self, now: float, standing: Standing) -> list[str]:
        """Loss, rate, pace and time to go, as far as they are known."""
        pace, epoch, run = standing.step_seconds(now), standing.epoch_left(now), standing.run_left(now)
        most = " at most" if self._stops else ""
        return [
            f"loss {words.number(standing.loss)}" if standing.loss is not None else "",
            f"lr {words.rate(standing.lr)}" if standing.lr is not None else "",
            words.per_step(pace) if pace is not None else "",
            f"{words.count(standing.batch / pace)} samples/s" if pace is not None and standing.batch else "",
            f"epoch {words.to_go(epoch)} to go" if epoch is not None and standing.epochs != 1 else "",
            f"run {words.to_go(run)} to go{most}" if run is not None else "",
        ]

    def _head(self, epoch: int) -> str:
        return f"epoch {epoch} of {self._standing.epochs}" if self._standing.epochs is not None else f"epoch {epoch}"

    def _name(self) -> str:
        return f"val {self._run.task.goal.metric}" if self._run is not None else ""

    def _step_line(self, now: float) -> str:
        with self._lock:
            standing = self._standing
            of = f" of {words.count(standing.steps)}" if standing.steps else ""
            facts = [f"step {words.count(standing.done)}{of}", *filter(None, self._facts(now, standing))]
            return f"{self._head(standing.epoch)}: {', '.join(facts)}"

    def _epoch_line(self, row: Mapping[str, Any], pace: float | None, now: float) -> str:
        with self._lock:
            left = self._standing.run_left(now)
            facts = [*self._values(row), f"lr {words.rate(row['lr'])}" if row.get("lr") is not None else ""]
            facts += [words.per_step(pace) if pace is not None else ""]
            facts += [f"{words.to_go(left)} to go{' at most' if self._stops else ''}" if left is not None else ""]
            return f"{self._head(row['epoch'])}: {', '.join(filter(None, facts))}"

    def _values(self, row: Mapping[str, Any]) -> list[str]:
        """Training loss and what is aimed at, the latter marked where it is the best so far."""
        names = ["train/loss", f"val/{self._run.task.goal.metric}" if self._run is not None else "val/loss"]
        shown = [f"{name.replace('/', ' ')} {words.number(row[name])}" for name in names if row.get(name) is not None]
        if shown and self._best is not None and self._best[1] == row["epoch"]:
            shown[-1] += " (best)"
        return shown

    def _summary(self) -> str:
        """How far the run has come, for the line that stays."""
        if self._row is None:
            return ""
        ended, epochs = self._row["epoch"], self._standing.epochs
        of = (
            f"{ended} of {epochs} epochs"
            if epochs is not None and ended != epochs
            else f"{ended} epoch{'s' * (ended != 1)}"
        )
        facts = self._values(self._row)
        if self._best is not None and self._best[1] != ended:
            facts.append(f"best {words.number(self._best[0])} (epoch {self._best[1]})")
        return f"{of} in {words.duration(self._clock() - self._began)}: {', '.join(facts)}"


def shown(epochs: Iterable[Epoch], *, quiet: bool = False) -> Iterator[Epoch]:
    """The epochs of a run, shown as they come: a bar in a terminal, lines elsewhere.

    With the steps inside an epoch: ``Progress``.
    """
    return Progress(quiet=quiet).shown(epochs)
