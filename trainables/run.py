"""The live state of one training run."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from trainables import dropout
from trainables.averages import Averaged
from trainables.data.source import Indexed, Streamed, by_sample, count, head, moved, resident
from trainables.errors import ConflictError
from trainables.heap import hold
from trainables.keep import FORMAT
from trainables.losses import Loss
from trainables.micro_batch import Auto
from trainables.modules import freeze, recompute
from trainables.plan import Plan
from trainables.preparing import Prepare, prepare
from trainables.recipe import Adaptable, Part, Recipe
from trainables.scaler import Scaler
from trainables.schedules import Schedule, reactive
from trainables.seeds import Seeds, generator, seeded
from trainables.split import Split
from trainables.tally import Tally, shared
from trainables.task import Splits, Task
from trainables.validation.validation import Picking
from trainables.world import World, idle_parameters

P = TypeVar("P")


@dataclass(kw_only=True, slots=True)
class Run:
    """Module, optimizer, average and counters of one run; ``state`` and ``load`` make it go on in another process.

    ``history`` has one row an epoch. ``replica`` is the module as it is called in training, where gradients meet those of the other
    workers. ``deployed`` are the weights that are validated, kept and judged. ``step`` counts the optimizer's steps; ``samples``
    also counts those of steps that the scaler skipped. ``micro_batch`` is what is held at a time now, ``curve`` the schedule of
    this epoch, ``rate`` its dropout where that changes, ``tally`` how far it has come, ``frozen`` the submodules that stay in
    evaluation mode. ``broken_off`` is the part of the next epoch that was trained before the state which the run goes on from.
    ``made`` is what parts have built once from how the module is built, not from its weights, by name: no part of the state.
    ``tested`` says whether the test set is looked at, in epochs that validation chooses; no part of the state either.
    """

    task: Task
    recipe: Recipe
    plan: Plan
    splits: Splits[Any]
    device: torch.device
    seeds: Seeds
    loss: Loss
    world: World
    module: nn.Module
    replica: nn.Module
    optimizer: torch.optim.Optimizer
    average: Averaged | None
    scaler: Scaler
    parameters: list[nn.Parameter]
    frozen: list[nn.Module]
    micro_batch: int
    curve: Schedule
    tally: Tally
    lr: float = 0.0
    rate: float | None = None
    epoch: int = 0
    step: int = 0
    samples: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    broken_off: Mapping[str, Any] | None = None
    made: dict[str, Any] = field(default_factory=dict, repr=False)
    tested: bool = True

    @classmethod
    def start(
        cls,
        task: Task,
        recipe: Recipe,
        *,
        splits: Splits[Any] | None,
        device: torch.device,
        world: World | None = None,
        tested: bool = True,
        prepare: Prepare = prepare,
    ) -> Self:
        """A run before its first step. Raises ConflictError when recipe, task or data cannot be trained on this device.

        What ``prepare`` makes of the splits may be held for several runs.
        """
        conflicts = [*task.conflicts(), *recipe.conflicts(), *_disagreements(task, recipe)]
        unsupported = recipe.precision.unsupported(device) if isinstance(recipe.precision, Part) else None
        if unsupported:
            conflicts.append(unsupported)
        if conflicts:
            raise ConflictError(f"task {task.name}", conflicts)
        world = world or World()
        if device.type == "cpu":
            hold()
        seeds = recipe.seeds
        if splits is None:
            splits = task.load(seeds.split)
        if conflicts := list(_in_order_alone(splits, recipe)):
            raise ConflictError(f"task {task.name}", conflicts)
        splits, dtype = prepare(splits, recipe, device), recipe.precision.dtype()
        recipe, loss = _own_parts(recipe), _own_copy(recipe.loss or task.loss)
        model = recipe.model.adapted(splits.shape(loss)) if isinstance(recipe.model, Adaptable) else recipe.model
        with seeded(device, "init", seeds.init):
            built = model.build()
        if not isinstance(built, nn.Module):
            raise ConflictError(
                "model",
                [f"{type(recipe.model).__name__}.build() returned {type(built).__name__}, not a torch.nn.Module"],
            )
        if any(isinstance(parameter, DTensor) for parameter in built.parameters()):
            raise ConflictError(
                "model",
                [
                    "build() returned a sharded module (FSDP); the model must fit one device: return the plain module, and save "
                    'memory by precision=BF16(), recompute=("blocks.*",) and micro_batch=Auto()'
                ],
            )
        module = built.to(device=device, dtype=dtype)
        frozen = freeze(module, recipe.freeze)
        recompute(module, recipe.recompute)
        parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        if not parameters:
            reason = "freeze leaves nothing" if recipe.freeze else "has no parameter"
            raise ConflictError("model", [f"{type(recipe.model).__name__}: {reason} to train"])
        if recipe.dropout is not None and not dropout.apply(module, recipe.dropout.start):
            raise ConflictError(
                "model", [f"{type(recipe.model).__name__} has no dropout layer; set dropout=None, or add one"]
            )
        replica = module
        plan = Plan.of(recipe, count(splits.train), world.size)
        average = recipe.average.build(module) if recipe.average is not None else None
        if recipe.compile is not None:
            recipe.compile.apply(module)
        if world.size > 1 and not isinstance(recipe.micro_batch, Auto):
            first = moved(head(splits.train, 2), device, dtype)
            with seeded(device, "init", seeds.init):
                replica = world.joined(module, unused=idle_parameters(module, first, loss))
        return cls(
            task=task,
            recipe=recipe,
            plan=plan,
            splits=splits,
            device=device,
            seeds=seeds,
            loss=loss,
            world=world,
            module=module,
            replica=replica,
            optimizer=recipe.optimizer.build(parameters),
            average=average,
            scaler=recipe.precision.scaler(device),
            parameters=parameters,
            frozen=frozen,
            micro_batch=plan.micro_batch,
            curve=recipe.schedule,
            tally=Tally.begun(device, seeds.order, 0),
            tested=tested,
        )

    @property
    def deployed(self) -> nn.Module:
        """The module whose weights would be used: the average where there is one."""
        return self.average.module if self.average is not None else self.module

    @property
    def evaluation_batch(self) -> int:
        """Samples in an evaluation batch: no activations are kept, so twice the micro-batch fits; small ones are not worth it."""
        return 2 * self.micro_batch if isinstance(self.recipe.micro_batch, Auto) else max(2 * self.micro_batch, 256)

    @property
    def buffers(self) -> list[torch.Tensor]:
        """What the module and its average keep beside their parameters."""
        averaged = [*self.average.module.buffers()] if self.average is not None else []
        return [*self.module.buffers(), *averaged]

    def begin_epoch(self) -> None:
        """Count the next epoch, and set what holds for all of it: the mode, the schedule's curve and the rate of dropout."""
        self.epoch += 1
        self.tally = Tally.begun(self.device, self.seeds.order, self.epoch)
        if self.broken_off is not None:
            self.tally.load(self.broken_off)
            self.broken_off = None
        schedule, ramp = self.recipe.schedule, self.recipe.dropout
        self.curve = schedule.after(self.history, self.task.goal) if reactive(schedule) else schedule
        if ramp is not None:
            self.rate = ramp((self.epoch - 1) / max(1, self.plan.epochs - 1))
            dropout.apply(self.module, self.rate)
        self.training()

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Torch's generators as this worker's training draws from them: from the epoch's seed, or on from where it broke off."""
        with seeded(self.device, self.seeds.order, self.epoch, *self.world.stream):
            self.tally.draw_on()
            yield

    def training(self) -> None:
        """Training mode, but for what is frozen as a whole."""
        parts = self.replica.modules()
        if not self.frozen and all(part.training and type(part).train is nn.Module.train for part in parts):
            return  # the members of a pack are in no other, and to set it takes ten times as long as to look
        self.replica.train()
        for part in self.frozen:
            part.eval()

    def order(self) -> Tensor:
        """Indices of this epoch's training samples, [N], on the CPU."""
        drawn, samples = generator(self.seeds.order, self.epoch), self.plan.samples
        if self.recipe.curriculum is None or self.task.difficulty is None:
            return torch.randperm(samples, generator=drawn)
        difficulty = by_sample(self.splits.train, self.task.difficulty)
        return self.recipe.curriculum.order(difficulty, self.epoch, self.plan.epochs, drawn)

    def whole(self, batch: tuple[Tensor, ...]) -> int:
        """Samples of the batch that comes next, over all workers; of a stream each of them has its own alone."""
        if not self.streamed:
            return len(batch[-1])
        return min(self.plan.batch_size, self.plan.samples - self.tally.batches * self.plan.batch_size)

    @property
    def streamed(self) -> bool:
        """True when batches hold this worker's samples alone."""
        train = self.splits.train
        return not resident(train) and isinstance(train, Streamed)  # asked in every step; the second takes microseconds

    def schedule(self) -> None:
        """Set the learning rate of the step that comes next."""
        scaling = self.recipe.scaling
        peak = self.recipe.optimizer.lr * (scaling(self.plan.batch_size) if scaling is not None else 1.0)
        self.lr = peak * self.curve(self.plan.progress(self.step))
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr

    def improves(self, metrics: Mapping[str, float]) -> bool:
        """True when there was a full pass and the goal's validation value is better than in every one before."""
        name, goal = f"val/{self.task.goal.metric}", self.task.goal
        value = metrics.get(name)
        if value is None or value != value:
            return False
        before = [row[name] for row in self.history if name in row]
        return not any(not goal.better(value, one) for one in before if one == one)

    def state(self, *, within: bool = False) -> dict[str, Any]:
        """All that a resumed run needs, as tensors and plain values; the tensors are the live ones, not copies.

        At the end of an epoch no generator is in it: every epoch draws from its own seed. ``within`` an epoch, between two steps,
        it holds how far each worker has come; all of them call it, and the first has the whole.
        """
        return {
            "format": FORMAT,
            "epoch": self.epoch - 1 if within else self.epoch,
            "within": self.world.gathered(self._own()) if within else None,
            "step": self.step,
            "samples": self.samples,
            "lr": self.lr,
            "history": self.history,
            "module": self.module.state_dict(),
            "optimizer": [self.optimizer.state.get(parameter, {}) for parameter in self.parameters],
            "average": self.average.state() if self.average is not None else None,
            "scaler": self.scaler.state(),
            "micro_batch": self.micro_batch,
        }

    def _own(self) -> dict[str, Any]:
        """What is this worker's alone in mid-epoch; its buffers (BatchNorm's statistics) are settled only at the end."""
        buffers = [buffer.cpu() for buffer in self.buffers] if self.world.size > 1 else []
        return {**self.tally.state(), "buffers": buffers}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state``; settings are the recipe's, whatever they were. Raises ValueError for a state of another format."""
        if state["format"] != FORMAT:
            raise ValueError(
                f"the checkpoint has format {state['format']}, this version reads {FORMAT}; delete it and train anew, or go on "
                "with the version that wrote it"
            )
        self.epoch, self.step, self.samples, self.lr = state["epoch"], state["step"], state["samples"], state["lr"]
        self.history = [dict(row) for row in state["history"]]
        self.module.load_state_dict(state["module"])
        self._load_optimizer(state["optimizer"])
        if self.average is not None:
            self.average.load(state["average"])
        self.scaler.load(state.get("scaler", {}))
        self.micro_batch = state.get("micro_batch", self.micro_batch)
        if state["within"] is not None:
            self.broken_off = shared(state["within"], self.world.rank, self.world.size)
            for buffer, own in zip(self.buffers, self.broken_off["buffers"], strict=False):
                buffer.copy_(own)

    def _load_optimizer(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Give every parameter its state; torch's own format has it by group, and groups depend on settings."""
        place = {parameter: number for number, parameter in enumerate(self.parameters)}
        held = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        by_group = {
            number: states[place[parameter]] for number, parameter in enumerate(held) if states[place[parameter]]
        }
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": by_group, "param_groups": groups})


def _own_parts(recipe: Recipe) -> Recipe:
    """The recipe with a clip and noise of this run's own: they may remember what they have seen."""
    return replace(recipe, clip=_own_copy(recipe.clip), noise=_own_copy(recipe.noise))


def _own_copy(part: P) -> P:
    """A copy, or the part itself where it cannot be copied."""
    try:
        return copy.deepcopy(part)
    except Exception:
        return part


def _disagreements(task: Task, recipe: Recipe) -> Iterator[str]:
    """What the recipe asks of the task and does not get."""
    if recipe.curriculum is not None and task.difficulty is None:
        yield f"curriculum: the task {task.name} does not say how hard a sample is; give Task(difficulty=...), or curriculum=None"
    if isinstance(recipe.split, Split) and recipe.split.ordered and not task.ordered:
        yield (
            f"split: {type(recipe.split).__name__} needs samples in the order of time, which the task {task.name} does not "
            "promise; set Task(ordered=True) if they are, or take KFold()"
        )


def _in_order_alone(splits: Splits[Any], recipe: Recipe) -> Iterator[str]:
    """What the recipe asks of sets that are read from front to end."""
    if isinstance(splits.train, Streamed):
        for name in ("curriculum", "sampling", "split"):
            if getattr(recipe, name) is not None:
                yield (
                    f"{name}: the training set is a stream, whose order is drawn shard by shard; set {name}=None, or put the "
                    "samples on disk by trainables.data.write"
                )
    policy = recipe.validation
    if isinstance(policy, Picking) and policy.picks:
        for name, samples in splits.named().items():
            if name.startswith("val") and not resident(samples) and not isinstance(samples, Indexed):
                yield (
                    f"validation {type(policy).__name__} draws samples by number, and {name} is a stream; take Thirds() or "
                    "OnPlateau(), or put that set on disk by trainables.data.write"
                )
