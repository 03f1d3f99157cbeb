"""The live state of one training run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import nn

from trainables.averages import Averaged
from trainables.errors import ConflictError
from trainables.losses import Loss
from trainables.plan import Plan
from trainables.recipe import Adaptable, Part, Recipe
from trainables.scaler import Scaler
from trainables.seeds import Seeds, seeded
from trainables.task import Splits, Task
from trainables.world import World, idle_parameters

FORMAT = 1
"""Version of the state's layout."""


@dataclass(kw_only=True, slots=True)
class Run:
    """Module, optimizer, average and counters of one run; ``state`` and ``load`` make it go on in another process.

    ``history`` has one row an epoch. ``replica`` is the module as it is called in training, where gradients meet those of the other
    workers. ``deployed`` are the weights that are validated, kept and judged. ``step`` counts the optimizer's steps; ``samples``
    also counts those of steps that the scaler skipped.
    """

    task: Task
    recipe: Recipe
    plan: Plan
    splits: Splits
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
    lr: float = 0.0
    epoch: int = 0
    step: int = 0
    samples: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def start(
        cls, task: Task, recipe: Recipe, *, splits: Splits | None, device: torch.device, world: World | None = None
    ) -> Self:
        """A run before its first step. Raises ConflictError when recipe, task or data cannot be trained on this device."""
        conflicts = [*task.conflicts(), *recipe.conflicts()]
        unsupported = recipe.precision.unsupported(device) if isinstance(recipe.precision, Part) else None
        if unsupported:
            conflicts.append(unsupported)
        if conflicts:
            raise ConflictError(f"task {task.name}", conflicts)
        world = world or World()
        seeds = recipe.seeds
        if splits is None:
            splits = task.load(seeds.split)
        dtype = recipe.precision.dtype()
        splits = _moved(splits, device, dtype)
        model = recipe.model.adapted(splits.shape()) if isinstance(recipe.model, Adaptable) else recipe.model
        with seeded(device, "init", seeds.init):
            built = model.build()
        if not isinstance(built, nn.Module):
            raise ConflictError(
                "model",
                [f"{type(recipe.model).__name__}.build() returned {type(built).__name__}, not a torch.nn.Module"],
            )
        module = built.to(device=device, dtype=dtype)
        parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        if not parameters:
            raise ConflictError("model", [f"{type(recipe.model).__name__} has no parameter to train"])
        loss = recipe.loss or task.loss
        replica = module
        if world.size > 1:
            first = tuple(tensor[:2] for tensor in splits.train)
            with seeded(device, "init", seeds.init):
                replica = world.joined(module, unused=idle_parameters(module, first, loss))
        return cls(
            task=task,
            recipe=recipe,
            plan=Plan.of(recipe, len(splits.train[-1]), world.size),
            splits=splits,
            device=device,
            seeds=seeds,
            loss=loss,
            world=world,
            module=module,
            replica=replica,
            optimizer=recipe.optimizer.build(parameters),
            average=recipe.average.build(module) if recipe.average is not None else None,
            scaler=recipe.precision.scaler(device),
            parameters=parameters,
        )

    @property
    def deployed(self) -> nn.Module:
        """The module whose weights would be used: the average where there is one."""
        return self.average.module if self.average is not None else self.module

    @property
    def buffers(self) -> list[torch.Tensor]:
        """What the module and its average keep beside their parameters."""
        averaged = [*self.average.module.buffers()] if self.average is not None else []
        return [*self.module.buffers(), *averaged]

    def schedule(self) -> None:
        """Set the learning rate of the step that comes next."""
        self.lr = self.recipe.optimizer.lr * self.recipe.schedule(self.plan.progress(self.step))
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr

    def improves(self, metrics: Mapping[str, float]) -> bool:
        """True when the goal's validation value is better than in every epoch before."""
        name, goal = f"val/{self.task.goal.metric}", self.task.goal
        value = metrics[name]
        if value != value:
            return False
        return not any(not goal.better(value, row[name]) for row in self.history if row[name] == row[name])

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs, as tensors and plain values; the tensors are the live ones, not copies.

        No generator is in it: every epoch draws from its own seed.
        """
        return {
            "format": FORMAT,
            "epoch": self.epoch,
            "step": self.step,
            "samples": self.samples,
            "history": self.history,
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state() if self.average is not None else None,
            "scaler": self.scaler.state(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state``. Raises ValueError for a state of another format."""
        if state["format"] != FORMAT:
            raise ValueError(f"the checkpoint has format {state['format']}, this version reads {FORMAT}; train anew")
        self.epoch, self.step, self.samples = state["epoch"], state["step"], state["samples"]
        self.history = [dict(row) for row in state["history"]]
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None:
            self.average.load(state["average"])
        self.scaler.load(state.get("scaler", {}))


def _moved(splits: Splits, device: torch.device, dtype: torch.dtype) -> Splits:
    def moved(tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return tuple(t.to(device=device, dtype=dtype if t.is_floating_point() else t.dtype) for t in tensors)

    return Splits(train=moved(splits.train), val=moved(splits.val), test=moved(splits.test))
