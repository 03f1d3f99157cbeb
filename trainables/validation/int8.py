"""An INT8 copy of the model asked after every epoch, the model itself now and then."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainables.describe import text
from trainables.errors import ConflictError
from trainables.validation.validation import whole

if TYPE_CHECKING:
    from trainables.export import Quantised
    from trainables.run import Run
    from trainables.task import Maximise, Minimise

MADE = "int8"
"""The graph's name among what a run has made."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Int8:
    """An INT8 copy on ONNX Runtime passes over every validation set after each epoch, as ``val/accuracy_int8``; every ``every``-th
    epoch has a full pass beside it.

    The graph is made once, before the first step, in seconds; each pass gives it the weights as they are. Where both were asked
    the history has both, and how far the copy is off, ``val/accuracy_int8_error``; the copy's values choose nothing. It runs on the
    CPU and saves time where products of large matrices are what a pass costs: a small model is faster as it is. A recurrent layer
    is quantised anew as a whole, which takes longer. Needs the extra ``export``.
    """

    every: int = 5

    @property
    def kind(self) -> str:
        """Values are the copy's."""
        return "int8"

    @property
    def beside(self) -> bool:
        """Full passes have the copy's beside them."""
        return True

    def full(
        self,
        epoch: int,
        epochs: int,  # noqa: ARG002
        history: Sequence[Mapping[str, Any]],  # noqa: ARG002
        goal: Maximise | Minimise,  # noqa: ARG002
    ) -> bool:
        """By the epoch's number alone."""
        return epoch % self.every == 0

    def prepare(self, run: Run) -> None:
        """Make the graph, and ask it for two samples. Raises ConflictError for a model that has no such copy."""
        from trainables.data.source import head
        from trainables.export.needed import ExportError, first_line

        try:
            self._graph(run).copied(run.deployed)(*head(run.splits.val, 2)[:-1])
        except Exception as error:  # the runtime's own have no common class
            said = str(error) if isinstance(error, ExportError) else first_line(error)
            raise ConflictError(
                "validation",
                [
                    f"{text(self)} needs an INT8 copy of {text(run.recipe.model)}, and there is none: {said}; or take "
                    "EveryEpoch(), Thirds() or another policy, which ask the model itself"
                ],
            ) from error

    def instead(self, run: Run) -> Mapping[str, float]:
        """The copy's values, with the weights that would be used."""
        from trainables.evaluate import evaluate
        from trainables.precision import FP32
        from trainables.validation.passes import sets

        copy, named = self._graph(run).copied(run.deployed), run.splits.named()
        precision = run.recipe.precision if copy is run.deployed else FP32()  # of a run that has diverged
        found: dict[str, float] = {}
        for name in sets(run):
            values = evaluate(
                copy,
                named[name],
                loss=run.loss,
                metrics=run.task.metrics,
                precision=precision,
                size=run.evaluation_batch,
                world=run.world,
            )
            found |= {f"{name}/{metric}": value for metric, value in values.items()}
        return found

    def within(self, steps: int) -> frozenset[int]:  # noqa: ARG002
        """Nowhere."""
        return frozenset()

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings, and with what is installed."""
        yield from whole("Int8", "every", self.every, "epochs")
        missing = [name for name in ("onnx", "onnxruntime", "onnxscript") if importlib.util.find_spec(name) is None]
        if missing:
            yield f"Int8 needs {', '.join(missing)}; install the extra: pip install -c constraints.txt -e '.[export]'"

    def _graph(self, run: Run) -> Quantised:
        """What weights are put into: made once a run."""
        import torch

        from trainables.data.source import head
        from trainables.export.quantised import Quantised
        from trainables.export.template import stirred

        if MADE not in run.made:
            inputs = head(run.splits.val, 2)[:-1]
            # Weights are found in the graph by their values, of which a model that has not learned yet may have many alike.
            run.made[MADE] = Quantised(stirred(run.deployed), inputs, threads=torch.get_num_threads())
        made: Quantised = run.made[MADE]
        return made
