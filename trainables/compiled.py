"""Compilation of a module, with what it costs told apart from training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainables.modules import harmless

if TYPE_CHECKING:
    from torch import nn

    from trainables.data.source import Set
    from trainables.run import Run

MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")


@dataclass(frozen=True, kw_only=True, slots=True)
class Compile:
    """``torch.compile`` of the model, forward and backward (Ansel et al., 2024).

    The first steps are traced and compiled before the first epoch and told as ``seconds["compile"]``. What was compiled is kept on
    disk (``TORCHINDUCTOR_CACHE_DIR``), so that the next process starts warm. It pays in long runs of large models.
    """

    mode: str = "default"

    def apply(self, module: nn.Module) -> None:
        """Compile in place; names and state stay what they are, and copies are not compiled."""
        import torch
        from torch._dynamo.external_utils import wrap_inline

        # What nn.Module.compile does, but for the wrapper: without it a module whose forward is torch's own, such as nn.Sequential,
        # is passed over without a word.
        module._compiled_call_impl = torch.compile(wrap_inline(module._call_impl), mode=self.mode)

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        if self.mode not in MODES:
            yield f"Compile mode {self.mode!r} is none of {', '.join(MODES)}"


def warm(run: Run) -> None:
    """Compile what the epochs will need, by one pass over each size of micro-batch in training, and each in evaluation.

    Gradients, buffers and generators are as before.
    """
    import torch

    from trainables.data.source import head, moved
    from trainables.losses import summed
    from trainables.seeds import seeded

    buffers = [(buffer, buffer.clone()) for buffer in run.module.buffers()]
    modules = [run.module, *([run.average.module] if run.average is not None else [])]
    with seeded(run.device, "compile"):
        run.training()
        for size in sorted(run.plan.sizes(run.micro_batch), reverse=True):
            *inputs, target = moved(head(run.splits.train, size), run.device, run.recipe.precision.dtype())
            with run.recipe.precision.autocast(run.device):
                loss = summed(run.loss, run.module(*inputs), target)
            loss.backward()  # type: ignore[no-untyped-call]
        with torch.inference_mode():
            for module in modules:
                module.eval()
                for size, samples in _looked_at(run).items():
                    *inputs, _ = moved(head(samples, size), run.device, run.recipe.precision.dtype())
                    with run.recipe.precision.autocast(run.device):
                        harmless(module)(*inputs)
    run.optimizer.zero_grad()
    with torch.no_grad():
        for buffer, before in buffers:
            buffer.copy_(before)


def _looked_at(run: Run) -> dict[int, Set]:
    """The sizes of the batches that this worker meets in evaluation, full and left over, each with a set that has it."""
    from trainables.data.source import count

    found: dict[int, Set] = {}
    for name, samples in run.splits.named().items():
        if name != "train":
            begin, end = run.world.span(count(samples))
            full, rest = divmod(end - begin, run.evaluation_batch)
            found |= {size: samples for size in (run.evaluation_batch if full else 0, rest) if size}
    return found
