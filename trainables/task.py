"""What is learned: data, loss, metrics and the goal."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic

from typing_extensions import TypeVar

from trainables.data.source import count, head, resident, targets
from trainables.errors import ConflictError
from trainables.losses import CrossEntropy, Loss, outputs

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.data.source import Indexed, Streamed

    Tensors = tuple[Tensor, ...]
    """Inputs, then the target last; all have the samples along their first dimension."""

    Metric = Callable[[Tensor, Tensor], Tensor]
    """(output [B, ...], target [B, ...]) -> one value a sample [B], or their plain mean (a scalar).

    Sets are evaluated in batches whose means are averaged; F1, AUC and others that are no mean over samples are given a whole set
    at once where they are a ``WholeSet``.
    """


GOAL_RULES = {
    "metric": 'must be the name of a metric, such as "accuracy"',
    "target": "must be a number, the value that counts as reached, such as target=0.9, or None",
}


@dataclass(frozen=True, slots=True)
class Maximise:
    """More is better; ``target`` is the value that counts as reached, if there is one."""

    metric: str
    target: float | None = None
    RULES: ClassVar[Mapping[str, str]] = GOAL_RULES
    mode: str = field(default="max", init=False)

    def better(self, a: float, b: float) -> bool:
        """True when a is strictly better than b; a NaN never is."""
        return a > b


@dataclass(frozen=True, slots=True)
class Minimise:
    """Less is better; ``target`` is the value that counts as reached, if there is one."""

    metric: str
    target: float | None = None
    RULES: ClassVar[Mapping[str, str]] = GOAL_RULES
    mode: str = field(default="min", init=False)

    def better(self, a: float, b: float) -> bool:
        """True when a is strictly better than b; a NaN never is."""
        return a < b


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """What a model must fit: the shape of one input without its batch dimension, and how many outputs the target asks for."""

    inputs: tuple[int, ...]
    outputs: int


S = TypeVar("S", bound="Tensors | Indexed | Streamed", default="Tensors")


@dataclass(frozen=True, kw_only=True, slots=True, weakref_slot=True)
class Splits(Generic[S]):
    """The data of one run: train to learn, ``val`` to choose, ``test`` to judge. Each is (input…, target).

    Tensors are moved to the device as a whole; of a ``Source`` (``trainables.data``) only batches are. The sets of one run may mix.
    ``more`` are further validation sets by name: what is measured on ``night`` is logged as ``val_night/…`` and chooses nothing.
    """

    train: S
    val: S
    test: S
    more: Mapping[str, S] = field(default_factory=dict)

    def named(self) -> dict[str, S]:
        """Every set by the name under which it is logged."""
        further = {f"val_{name}": tensors for name, tensors in self.more.items()}
        return {"train": self.train, "val": self.val, "test": self.test, **further}

    def shape(self, loss: Loss) -> Shape:
        """Inputs as the tensors have them, and the outputs that this loss needs for the targets of all sets."""
        needed = outputs(loss, [targets(samples) for samples in self.named().values()])
        return Shape(inputs=tuple(head(self.train, 1)[0].shape[1:]), outputs=needed)

    def digest(self) -> str | None:
        """A short text that tells data apart: sizes, targets and first samples of its sets; None where one is no tensors in memory.

        Equal data has equal digests; of targets a thousand at most are read, of samples sixteen.
        """
        import torch

        found = hashlib.sha256()
        for name, samples in self.named().items():
            if not resident(samples):
                return None
            for tensor in samples:
                most = 1000 if tensor is samples[-1] else 16
                read = tensor[:: max(1, len(tensor) // most)].detach().cpu().contiguous()
                found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype} ".encode())
                found.update(read.flatten().view(torch.uint8).numpy().tobytes())
        return found.hexdigest()[:16]

    def conflicts(self) -> Iterator[str]:
        """What makes this data unusable."""
        for name, samples in self.named().items():
            if "/" in name:
                yield f"the validation set {name!r} has a slash in its name, which parts the set from the metric; take it out"
            if not isinstance(samples, tuple):
                if count(samples) == 0:
                    yield f"{name} is empty; every split needs at least one sample"
                continue
            counts = [len(tensor) for tensor in samples]
            if len(counts) < 2:
                yield f"{name} holds {len(counts)} tensor; it needs inputs and a target"
            elif len(set(counts)) > 1:
                yield f"{name} holds tensors of {counts} samples; all must have the same number"
            elif counts[0] == 0:
                yield f"{name} is empty; every split needs at least one sample"


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """Data, loss, metrics and goal under a name.

    ``data(seed)`` returns the splits drawn with this seed; a part with settings works as well as a function. ``samples`` is the
    size of the training split where it is known without loading: the plan of a sweep is then shown without touching the data.
    ``ordered`` says that the samples of train, val and test lie in the order of time, one after the other. ``difficulty``, for a
    curriculum, gives how hard each sample of (input…, target) is, [N], in any unit.
    """

    name: str
    data: Callable[[int], Splits[Any]]
    goal: Maximise | Minimise
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    loss: Loss = CrossEntropy()
    samples: int | None = None
    ordered: bool = False
    difficulty: Callable[[Tensors], Tensor] | None = None

    RULES: ClassVar[Mapping[str, str]] = {
        "name": 'must be a text, such as name="digits"',
        "data": "must be a function of a seed that returns Splits(train=(x, y), val=(x, y), test=(x, y))",
        "goal": 'is {kind}, not a goal; write it as one, such as goal=Maximise("accuracy")',
        "metrics": 'must name its functions, such as metrics={"accuracy": accuracy}',
        "loss": "is {kind}, not a loss; write it as one, such as loss=CrossEntropy(), or give a function of output and target",
        "samples": "must be a whole number, the size of the training split; None counts it",
    }

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the declaration."""
        known = sorted({"loss", *self.metrics})
        if self.goal.metric not in known:
            yield f"the goal {self.goal.metric!r} is not among what the task reports ({', '.join(known)}); name one of them"
        if "loss" in self.metrics:
            yield "a metric is named 'loss', which the loss itself is reported as; give it another name"
        for name, metric in self.metrics.items():
            if "/" in name:
                yield f"the metric {name!r} has a slash in its name, which parts the set from the metric; take it out"
            if not callable(metric):
                yield f"the metric {name!r} is {metric!r}, not a function of output and target; give one, such as accuracy"

    def load(self, seed: int) -> Splits[Any]:
        """The splits drawn with this seed. Raises ConflictError when they cannot be trained on."""
        splits = self.data(seed)
        conflicts = list(splits.conflicts())
        if conflicts:
            raise ConflictError(f"data of task {self.name}", conflicts)
        return splits
