"""A pytest plugin (``-p tests.gpu.plugin``) with which runs that tests start on the CPU are on the GPU, real or by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.gpu.patches import Properties
from trainables.fused import graphed, program
from trainables.fused.graphed import Graphed
from trainables.run import Run

OF_THE_CPU = {
    "test_modules.py::test_a_buffer_with_two_names_stays_one": "torch takes such a buffer apart where it moves a module",
    "test_fit.py::test_it_is_a_plain_loop": "the loop beside it is on the CPU",
    "test_train.py::test_a_killed_pack_goes_on": "the processes that it kills are on the CPU",
}
"""Tests that say nothing about a GPU, and why."""

REFUSED = "test_dry.py::test_what_cannot_be_computed_for_several_is_refused_with_the_reason"

BEYOND_A_NAME = {
    f"{REFUSED}[two layers]": "its recurrent layers are made of what vmap takes",
    f"{REFUSED}[both ways]": "its recurrent layers are made of what vmap takes",
    f"{REFUSED}[projection]": "its recurrent layers are made of what vmap takes",
    "test_dry.py::test_every_architecture_is_let_through[cnn batch-mixed]": "its batch norm does not mix types",
    "test_settings.py::test_other_precisions_are_near[mixed-model1]": "its batch norm does not mix types",
}
"""Tests of what only a real GPU does, and why the one by name does not."""

started, launched = [0], [0]
"""How many runs were, and how many of their packs' steps and passes were CUDA graphs."""


def pytest_configure() -> None:
    on_cpu = Run.start.__func__  # type: ignore[attr-defined]

    def start(cls: type[Run], *given: Any, **settings: Any) -> Run:
        run: Run = on_cpu(cls, *given, **settings | {"device": torch.device("cuda")})
        started[0] += all(parameter.is_cuda for parameter in run.parameters)
        return run

    Run.start = classmethod(start)  # type: ignore[method-assign, assignment]
    call = Graphed.graph_for

    def counted(self: Graphed, arguments: Sequence[Tensor]) -> Any:
        graph = call(self, arguments)
        launched[0] += graph is not None
        return graph

    Graphed.graph_for = counted  # type: ignore[method-assign]
    # Steps here are few, and take a processor as long either way.
    program.CAPTURED, graphed.sooner = 1, lambda *_: True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    by_name = torch.cuda.get_device_name() == Properties.name
    left_out = OF_THE_CPU | (BEYOND_A_NAME if by_name else {})
    named = {f"{item.path.name}::{item.name}": item for item in items}
    there = {item.path.name for item in items}
    for name, reason in left_out.items():
        if name.partition("::")[0] in there:
            named[name].add_marker(
                pytest.mark.skip(reason=reason)
            )  # a KeyError says that there is no such test any more


def pytest_terminal_summary(terminalreporter: Any) -> None:
    terminalreporter.write_line(f"{started[0]} runs were on cuda, {launched[0]} steps were graphs")
