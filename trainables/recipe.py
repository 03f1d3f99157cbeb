"""The recipe: everything that decides how one model is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

from trainables.augment import Augmentation
from trainables.averages import Average
from trainables.clip import Clip
from trainables.compiled import Compile
from trainables.curriculum import Curriculum
from trainables.data.prefetch import Prefetch
from trainables.data.sampling import Sampling
from trainables.dropout import DropoutRamp
from trainables.errors import ConflictError
from trainables.hooks import Hook
from trainables.losses import Loss
from trainables.micro_batch import Auto
from trainables.misfits import misfits, shown
from trainables.noise import GradientNoise
from trainables.optimizers import AdamW, Optimizer
from trainables.precision import FP32, Precision, PureBF16
from trainables.scaling import Scaling
from trainables.schedules import Constant, Schedule
from trainables.seeds import Seeds
from trainables.split import Split
from trainables.stopping import EarlyStopping
from trainables.validation import EveryEpoch, Validation

if TYPE_CHECKING:
    from torch import nn

    from trainables.task import Shape


PARTS = {
    "optimizer": "AdamW(lr=1e-3)",
    "schedule": "Cosine(warmup=0.1)",
    "scaling": "LinearScaling(reference=64)",
    "average": "EMA(decay=0.99)",
    "precision": "BF16()",
    "clip": "ClipNorm(1.0)",
    "noise": "GradientNoise()",
    "dropout": "DropoutRamp(start=0.5)",
    "augment": "Noise(std=0.1)",
    "curriculum": "Curriculum()",
    "sampling": "Chunked(chunk=4096)",
    "split": "KFold()",
    "prefetch": "Prefetch()",
    "compile": "Compile()",
    "validation": "EveryEpoch()",
    "stop": "EarlyStopping(patience=5)",
}
"""The fields that hold a part or None, each with one of its parts."""


@runtime_checkable
class Part(Protocol):
    """Settings that can say what is wrong with them."""

    def conflicts(self) -> Iterator[str]:
        """Each conflict as a sentence."""
        ...


@runtime_checkable
class Model(Protocol):
    """A part that builds a module; called as ``module(*inputs)`` with inputs [B, ...]."""

    def build(self) -> nn.Module:
        """A new module with fresh weights, drawn from torch's global generator."""
        ...


@runtime_checkable
class Adaptable(Protocol):
    """A model that takes its input and output sizes from the data when they are not given."""

    def adapted(self, shape: Shape) -> Model:
        """The same model with the sizes filled in."""
        ...


@dataclass(frozen=True, slots=True)
class PerWorker:
    """A batch size that grows with the workers: ``samples`` for each of them."""

    samples: int

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        if not isinstance(self.samples, int) or self.samples < 1:
            yield f"PerWorker samples {self.samples} must be a whole number from 1; 64 is a usual start"


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How one model is trained.

    ``batch_size`` is the effective batch: samples per optimizer step over all workers; ``PerWorker(64)`` lets it grow with their
    number, which changes what is learned. ``micro_batch`` is what one device holds at a time (None: the whole share of a worker,
    ``Auto()``: as much as fits); the gradient is the exact mean over the effective batch either way. ``scaling`` takes the
    optimizer's lr as that of a reference batch. ``loss`` None means the task's. ``average`` weights, when there are any, are the
    ones validated, kept and judged. ``noise`` is added to the clipped gradients, ``dropout`` sets the rate of the model's dropout
    layers as the run goes on, ``augment`` changes training batches, ``curriculum`` starts with easy samples, ``sampling`` draws
    epochs in another way, ``split`` divides the task's training and validation samples anew, ``prefetch`` looks batches up ahead.
    ``validation`` says after which epochs, and where within them, the validation sets are looked at, and whether at all of them.
    ``freeze`` and ``recompute`` name parameters and submodules by patterns such as ``blocks.0.*``: not trained, and without
    activations kept for the backward pass. ``hooks`` are one's own code around the epochs. ``deterministic`` allows torch's
    deterministic algorithms alone, which a GPU needs for the same numbers twice. ``seed`` is one number for initialisation,
    order and split alike, or ``Seeds`` to name each.
    """

    model: Model
    batch_size: int | PerWorker = 64
    micro_batch: int | Auto | None = None
    epochs: int = 20
    optimizer: Optimizer = AdamW()
    schedule: Schedule = Constant()
    scaling: Scaling | None = None
    loss: Loss | None = None
    average: Average | None = None
    precision: Precision = FP32()
    clip: Clip | None = None
    noise: GradientNoise | None = None
    dropout: DropoutRamp | None = None
    augment: Augmentation | None = None
    curriculum: Curriculum | None = None
    sampling: Sampling | None = None
    split: Split | None = None
    prefetch: Prefetch | None = None
    freeze: tuple[str, ...] = ()
    recompute: tuple[str, ...] = ()
    compile: Compile | None = None
    validation: Validation = EveryEpoch()
    stop: EarlyStopping | None = None
    hooks: tuple[Hook, ...] = ()
    deterministic: bool = False
    seed: int | Seeds = 0

    RULES: ClassVar[Mapping[str, str]] = {
        **{
            name: f"is {{kind}}, not a part that fits there; write one, such as {name}={part}"
            for name, part in PARTS.items()
        },
        "model": "has no build(); give MLP(widths=(128, 128)), or a class of your own with build()",
        "loss": "is {kind}, not a loss; write it as one, such as loss=CrossEntropy(), or give a function of output and target",
        "batch_size": "must be a whole number from 1; 64 is a usual start",
        "micro_batch": "must be a whole number from 1; None takes the whole batch at once, Auto() as much as fits",
        "epochs": "must be a whole number from 1; write epochs=20",
        "freeze": 'must be a tuple of patterns, such as freeze=("blocks.0.*",)',
        "recompute": 'must be a tuple of patterns, such as recompute=("blocks.*",)',
        "hooks": "must be a tuple of generator functions over the epochs, such as hooks=(mine,)",
        "seed": "must be a whole number, such as seed=0, or Seeds(init=0, order=0, split=0)",
    }

    @property
    def seeds(self) -> Seeds:
        """The three seeds."""
        if isinstance(self.seed, Seeds):
            return self.seed
        return Seeds(init=self.seed, order=self.seed, split=self.seed)

    def effective_batch(self, workers: int) -> int:
        """Samples per optimizer step over all workers."""
        return self.batch_size.samples * workers if isinstance(self.batch_size, PerWorker) else self.batch_size

    def conflicts(self) -> Iterator[str]:
        """Everything that is wrong with the recipe, each naming the value, the rule and the way out."""
        wrong = list(misfits(self))
        whole = {place: text for place, text in wrong if "." not in place}
        if self.validation is None:
            whole["validation"] = (
                "validation None would leave a run without a value to choose by; give EveryEpoch(), Thirds() or another policy"
            )
        yield from whole.values()
        unfit = whole.keys()
        yield from (text for place, text in wrong if place.startswith("seed."))
        if not unfit & {"batch_size", "micro_batch"}:
            yield from self._batch_conflicts()
        if "epochs" not in unfit and not _counts(self.epochs):
            yield f"epochs {self.epochs} {self.RULES['epochs']}"
        for name in (*PARTS, "model", "loss", "micro_batch"):
            part = getattr(self, name)
            if name not in unfit and (isinstance(part, Part) or (name in PARTS and part is not None)):
                inner = {place: text for place, text in wrong if place.startswith(f"{name}.")}
                yield from _part_conflicts(name, part, inner)
        if "model" not in unfit and not isinstance(self.model, Model):
            yield f"model {shown(self.model)} {self.RULES['model']}"
        for hook in () if "hooks" in unfit else self.hooks:
            if not callable(hook):
                yield f"hooks holds {hook!r}, which cannot be called; give generator functions over the epochs"
        if isinstance(self.precision, PureBF16) and self.average is not None:
            yield (
                "precision PureBF16 and average: an average moves by less than bfloat16 can tell apart; "
                "set average=None, or precision=BF16(), whose parameters are in single precision"
            )
        if self.curriculum is not None and self.sampling is not None:
            yield "curriculum and sampling both say which samples an epoch has; set one of the two to None"
        if self.compile is not None and self.dropout is not None:
            yield (
                "compile and dropout: a rate that changes with every epoch is compiled anew each time; "
                "take one of the two, or a fixed rate in the model"
            )

    def _batch_conflicts(self) -> Iterator[str]:
        """What is wrong with the batch and its parts."""
        if isinstance(self.batch_size, PerWorker):
            yield from self.batch_size.conflicts()
        elif not _counts(self.batch_size):
            yield f"batch_size {self.batch_size} {self.RULES['batch_size']}"
        elif isinstance(self.micro_batch, int) and not 1 <= self.micro_batch <= self.batch_size:
            yield (
                f"micro_batch {self.micro_batch} must lie between 1 and batch_size {self.batch_size}; "
                "None takes the whole batch at once, Auto() as much as fits"
            )

    def check(self) -> None:
        """Raises ConflictError with all conflicts at once; returns when there is none."""
        conflicts = list(self.conflicts())
        if conflicts:
            raise ConflictError("recipe", conflicts)


def _counts(value: object) -> bool:
    """True for a whole number from 1."""
    return isinstance(value, int) and value >= 1


def _part_conflicts(name: str, part: object, wrong: Mapping[str, str]) -> Iterator[str]:
    """What a part says of itself, then of its values of the wrong type those that it has no words for."""
    if not isinstance(part, Part):
        kind = type(part).__name__
        example = f"{name}={PARTS[name]}" if name in PARTS else "a frozen dataclass with conflicts()"
        yield f"{name} {shown(part)} is a {kind}, not a part that fits there; write one, such as {example}"
        return
    try:
        own = list(part.conflicts())
    except (TypeError, ValueError, AttributeError) as error:
        if not wrong and not isinstance(error, TypeError):
            raise
        own = [] if wrong else [f"{name} {part!r} holds a value of the wrong type ({error})"]
    yield from own
    yield from (text for place, text in wrong.items() if place.rpartition(".")[2] not in " ".join(own))
