"""Timing a run from outside."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import torch

from trainables.profiler.clock import Clock, Mark, clock_of
from trainables.profiler.durations import Durations, timings
from trainables.profiler.settings import Profile
from trainables.profiler.timing import Profiled
from trainables.profiler.trace import Trace

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.batches import Through
    from trainables.fit import Epoch
    from trainables.run import Run
    from trainables.scaler import Scaler
    from trainables.task import Tensors
    from trainables.world import World

PENDING = 4096
"""Intervals that wait to be read; a GPU's are read once it has come there."""


class Profiler:
    """Times a run by phase: it stands around the batches, between loss and backward pass, and around the epochs.

    ``data`` is the wait for a batch, augmentation and copy to the device included; ``forward`` the model and its loss,
    ``backward`` the gradients, over the workers too, both for each micro-batch; ``optimizer`` what is done with them: unscaling,
    clipping, noise, schedule, step, average. ``validation`` is everything from the last step to the epoch's figures, and looks
    within it; ``checkpoint`` what the run waits for its state to be copied; ``other`` what lies between. All of it together is the
    time from asking for an epoch until it is there, without a gap.

    While an epoch's batches are trained on, the run's scaler and its optimizer's ``zero_grad`` are stood in for; before and after,
    and in a run without a profiler, nothing is. No hook is put on the module, so what is compiled stays so. The first epoch of
    several warms up and is left out, and so are steps that are traced. ``every`` is the number of steps between two checkpoints
    within an epoch.
    """

    def __init__(
        self,
        settings: Profile,
        device: torch.device,
        *,
        trace: Path | None = None,
        every: int | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._device, self._every = device, every
        self._clock = clock or clock_of(device)
        self._durations: dict[str, Durations] = {}
        self._pending: deque[tuple[str, Mark, Mark]] = deque()
        self._last: Mark = self._clock.now()
        self._after: Mark = None
        self._stepping = False
        self._epochs: list[int] = []
        self._of_epoch: dict[str, float] = defaultdict(float)
        self._trace: Trace | None = None
        if settings.trace is not None and trace is not None:
            self._trace = Trace(*settings.trace, trace, device)

    def around(self, inner: Through) -> Through:
        """What batches go through, with every batch timed; ``inner`` comes from others and may do something after each step."""

        def through(run: Run, batches: Iterator[Tensors]) -> Iterator[Tensors]:
            if len(self._epochs) == 1:
                self._durations.clear()  # of the epoch that has warmed up
            with self._joined(run):
                self._close("other")
                self._begins()
                for batch in inner(run, self._fetched(run, batches)):
                    looks = len(run.tally.looks)
                    self._label("forward")
                    yield batch
                    self._close("validation" if len(run.tally.looks) > looks else "other")
                    self._ended()
                    if run.tally.batches < run.plan.steps_per_epoch:
                        self._begins()
                self._label(None)
                self._close("other")

        return through

    def validated(self, epochs: Iterable[Epoch]) -> Iterator[Epoch]:
        """The epochs as the loop hands them out."""
        for epoch in epochs:
            self._close("validation")
            yield epoch

    def handed_over(self, epochs: Iterable[Epoch]) -> Iterator[Epoch]:
        """The epochs as they come to be kept; their rows say how much of its steps the run has waited for data."""
        for epoch in epochs:
            self._close("other")
            self._settle()
            steps = sum(self._of_epoch[phase] for phase in ("data", "forward", "backward", "optimizer"))
            if steps:
                epoch.run.history[-1]["system/data_percent"] = 100 * self._of_epoch["data"] / steps
            yield epoch

    def whole(self, epochs: Iterable[Epoch]) -> Generator[Epoch]:
        """The epochs with all that is done to them; what comes after, a report say, is not the run's."""
        inner = iter(epochs)
        try:
            while True:
                self._last = self._clock.now()
                self._of_epoch.clear()
                epoch = next(inner, None)
                if epoch is None:
                    return
                self._close("checkpoint")
                self._settle()
                self._epochs.append(epoch.epoch)
                yield epoch
        finally:
            if self._trace is not None:
                self._trace.close()

    def profiled(self, world: World) -> Profiled | None:
        """What was found, None where no epoch was trained; of several workers all call it, and the first knows of the others."""
        if not self._epochs:
            return None
        means = world.gathered({phase: each.mean for phase, each in self._durations.items()})
        data = self._durations.get("data")
        return Profiled(
            device=_named(self._device),
            workers=world.size,
            epochs=tuple(self._epochs[1:] or self._epochs),
            steps=data.count if data is not None else 0,
            seconds=sum(each.total for each in self._durations.values()),
            phases=timings(self._durations, list(means)),
            trace=str(self._trace.path) if self._trace is not None and self._trace.written is not None else None,
            traced=self._trace.written if self._trace is not None else None,
        )

    def loss_is_there(self) -> None:
        """A micro-batch's forward pass has ended, and with it what came before: the backward pass of another one."""
        if self._after is not None:
            self._close("backward", self._after)
            self._after = None
        self._close("forward")
        self._label("backward")

    def backward_has_ended(self) -> None:
        """Whether it was the step's last is not known yet."""
        self._after = self._clock.now()
        self._label(None)

    def gradients_are_whole(self) -> None:
        """All micro-batches are through, and the workers have met."""
        self._after = None
        self._close("backward")
        self._stepping = True
        self._label("optimizer")

    def _zeroed(self) -> None:
        """The step is done; gradients are also zeroed before a step that is taken again, in smaller micro-batches."""
        if self._stepping:
            self._stepping = False
            self._close("optimizer")
            self._label(None)

    @contextmanager
    def _joined(self, run: Run) -> Iterator[None]:
        """Stand between the loop and what it calls in each step, and go again."""
        scaler, optimizer = run.scaler, run.optimizer
        run.scaler = Marking(scaler, self)
        optimizer.zero_grad = _then(optimizer.zero_grad, self._zeroed)  # type: ignore[method-assign, assignment]
        try:
            yield
        finally:
            run.scaler = scaler
            del optimizer.zero_grad

    def _fetched(self, run: Run, batches: Iterator[Tensors]) -> Iterator[Tensors]:
        """The batches themselves, before anything else has had them."""
        inner, first = iter(batches), True
        while True:
            if not first:
                kept = self._every is not None and run.step % self._every == 0
                self._close("checkpoint" if kept else "other")
            batch = next(inner, None)
            if batch is None:
                return
            first = False
            self._close("data")
            yield batch

    def _begins(self) -> None:
        """Another step begins."""
        if self._trace is not None:
            self._trace.step_begins()
            self._last = self._clock.now()
            self._trace.label("data")

    def _ended(self) -> None:
        """It has ended; writing a trace takes no part of any."""
        if self._trace is not None:
            self._trace.step_ended()
            self._last = self._clock.now()

    def _label(self, phase: str | None) -> None:
        if self._trace is not None:
            self._trace.label(phase)

    def _close(self, phase: str, at: Mark = None) -> None:
        """What has passed since the mark before belongs to a phase."""
        end = self._clock.now() if at is None else at
        if self._trace is None or not self._trace.watching:
            self._pending.append((phase, self._last, end))
        self._last = end
        if len(self._pending) >= PENDING:
            self._read()

    def _settle(self) -> None:
        """Take in all intervals, once they can be read."""
        self._clock.settle()
        self._read(everything=True)

    def _read(self, *, everything: bool = False) -> None:
        """Take in the intervals that can be read, without waiting for others."""
        pending, passed, readable = self._pending, self._clock.passed, self._clock.readable
        taken: dict[str, list[float]] = defaultdict(list)
        while pending and (everything or readable(pending[0][2])):
            phase, begin, end = pending.popleft()
            taken[phase].append(passed(begin, end))
        for phase, seconds in taken.items():
            self._durations.setdefault(phase, Durations()).take(seconds)
            self._of_epoch[phase] += sum(seconds)


@final
class Marking:
    """A scaler that also tells a profiler how far the step has come."""

    def __init__(self, inner: Scaler, profiler: Profiler) -> None:
        self._inner, self._profiler = inner, profiler

    @property
    def skipped(self) -> int:
        """Steps skipped since the run began."""
        return self._inner.skipped

    def scale(self, loss: Tensor) -> Tensor:
        """The loss as its backward pass shall start from it, which then says when it has ended."""
        self._profiler.loss_is_there()
        scaled = self._inner.scale(loss)
        told = self._profiler.backward_has_ended

        def backward() -> None:
            del scaled.backward  # or the tensor would hold itself
            try:
                scaled.backward()  # type: ignore[no-untyped-call]
            finally:
                told()

        scaled.backward = backward  # type: ignore[method-assign, assignment]
        return scaled

    def unscale(self, optimizer: torch.optim.Optimizer) -> bool:
        """Bring the gradients back to their own size; False when this step must be skipped."""
        self._profiler.gradients_are_whole()
        return self._inner.unscale(optimizer)

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs."""
        return self._inner.state()

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self._inner.load(state)


def _then(first: Callable[[], None], after: Callable[[], None]) -> Callable[[], None]:
    def both() -> None:
        first()
        after()

    return both


def _named(device: torch.device) -> str:
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    threads = torch.get_num_threads()
    return f"{device.type.upper()}, {threads} thread{'' if threads == 1 else 's'}"


@final
class Untimed:
    """No profiler: everything is handed on as it is."""

    def around(self, inner: Through) -> Through:
        """The transform itself."""
        return inner

    def validated(self, epochs: Iterator[Epoch]) -> Iterator[Epoch]:
        """The epochs themselves."""
        return epochs

    def handed_over(self, epochs: Iterator[Epoch]) -> Iterator[Epoch]:
        """The epochs themselves."""
        return epochs

    def whole(self, epochs: Generator[Epoch]) -> Generator[Epoch]:
        """The epochs themselves."""
        return epochs

    def profiled(self, _: World) -> None:
        """Nothing was timed."""
