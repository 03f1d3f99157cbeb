"""Recorded steps as CUDA graphs, on a GPU, real or by name; ``test_gpu.py`` has them run there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import vmap
from torch.nn import functional

from trainables.fused import graphed
from trainables.fused.graphed import Graphed
from trainables.fused.recorded import Recording

GPU = torch.device("cuda")
MEMBERS = 4

Given = tuple[Tensor, Tensor, Tensor]


@pytest.fixture(autouse=True)
def seeded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(graphed, "sooner", lambda *_: True)
    monkeypatch.setattr(graphed, "_failed", [])
    torch.manual_seed(0)
    with torch.no_grad():
        yield


def step(weights: Tensor, kept: Tensor, batch: Tensor) -> tuple[Tensor, Tensor]:
    """Something that writes into what it is given, as batch norm does."""
    hidden = torch.tanh(batch @ weights)
    kept.mul_(0.9).add_(hidden.mean((1, 2)))
    return hidden.sum((1, 2)), hidden * kept[:, None, None]


def given(members: int = MEMBERS) -> Given:
    """Weights, a buffer, and a batch that all members have, which lies in memory once."""
    return (
        torch.randn(members, 3, 5, device=GPU),
        torch.rand(members, device=GPU),
        torch.randn(1, 7, 3, device=GPU).expand(members, 7, 3),
    )


def player(call: Callable[..., object], arguments: Given) -> Graphed:
    found = Recording(call, arguments, 3).player(arguments)
    assert isinstance(found, Graphed)
    return found


def captured(played: Graphed) -> list[int]:
    """The sizes of packs that have a graph, the last that was used at the end."""
    assert not graphed._failed
    return [*played._graphs]


def check(played: Graphed, arguments: Given) -> None:
    weights, kept, batch = arguments
    expected_kept = kept.clone()
    expected = step(weights, expected_kept, batch)
    torch.testing.assert_close((*played(*arguments), kept), (*expected, expected_kept))


def test_a_graph_gives_what_the_operations_give_at_every_call() -> None:
    played = player(step, given())
    for _ in range(3):
        check(played, given())
    assert captured(played) == [MEMBERS]


def test_statistics_of_a_batch_norm_are_in_the_tensors_that_were_given() -> None:
    """Which torch does not say that it writes into."""

    def normed(weights: Tensor, mean: Tensor, spread: Tensor, batch: Tensor) -> Tensor:
        def one(weights: Tensor, mean: Tensor, spread: Tensor, batch: Tensor) -> Tensor:
            return functional.batch_norm(batch @ weights, mean, spread, training=True)

        return vmap(one)(weights, mean, spread, batch)

    def drawn() -> list[Tensor]:
        weights, _, batch = given()
        mean, spread = (torch.rand(MEMBERS, 5, device=GPU) + number for number in (0.0, 0.5))
        return [weights, mean, spread, batch]

    arguments = drawn()
    played = Recording(normed, arguments, 4).player(arguments)
    assert isinstance(played, Graphed)
    for _ in range(3):
        mine = drawn()
        its = [tensor.clone() for tensor in mine]
        torch.testing.assert_close(played(*mine), normed(*its))
        torch.testing.assert_close(mine, its)
    assert captured(played) == [MEMBERS]


def test_every_size_of_pack_has_its_own_and_few_are_kept() -> None:
    recording = Recording(step, given(9), 3)
    for members in (8, 7, 6, 5, 8, 4, 3):
        arguments = given(members)
        played = recording.player(arguments)
        assert isinstance(played, Graphed)
        check(played, arguments)
        sizes = captured(played)
    assert sizes == [5, 8, 4, 3]


def test_nothing_is_changed_by_making_one() -> None:
    def drawing(weights: Tensor, kept: Tensor, batch: Tensor) -> Tensor:
        return torch.dropout(batch @ weights, 0.5, train=True) * kept[:, None, None]

    arguments = given()
    played = player(drawing, arguments)
    stream = torch.cuda.current_stream()
    torch.manual_seed(1)
    first = played(*arguments).clone()
    assert torch.cuda.current_stream() == stream
    second = played(*arguments).clone()
    assert captured(played) == [MEMBERS]
    assert not torch.equal(first, second)
    torch.manual_seed(1)
    torch.testing.assert_close((drawing(*arguments), drawing(*arguments)), (first, second))


def test_one_that_gives_what_it_gave_when_it_was_captured_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = given()
    losses, hidden = step(arguments[0], arguments[1].clone(), arguments[2])
    monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", lambda _: None)
    played = player(step, arguments)

    class Stale:
        found = losses, hidden

        def __call__(self, *_: Tensor) -> tuple[Tensor, Tensor]:
            return self.found

    monkeypatch.setattr(graphed, "_Graph", lambda *_: Stale())
    check(played, arguments)
    assert captured(played) == []


@pytest.mark.parametrize("member", range(MEMBERS))
def test_one_that_is_wrong_for_one_member_is_not_taken(monkeypatch: pytest.MonkeyPatch, member: int) -> None:
    def growing(weights: Tensor, kept: Tensor, batch: Tensor) -> tuple[Tensor, Tensor]:
        sizes = torch.logspace(0, 6, MEMBERS, device=weights.device)
        return step(weights * sizes[:, None, None], kept, batch)

    arguments = given()
    played = player(growing, arguments)
    replay = torch.cuda.CUDAGraph.replay

    def wrong(self: torch.cuda.CUDAGraph) -> None:
        replay(self)
        for graph in made:
            graph.found[0][member] *= 1.001

    made: list[graphed._Graph] = []
    make = graphed._Graph.__init__

    def noted(self: graphed._Graph, *settings: Any) -> None:
        make(self, *settings)
        made.append(self)

    monkeypatch.setattr(graphed._Graph, "__init__", noted)
    monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", wrong)
    played(*arguments)
    assert made
    assert captured(played) == []


def test_it_is_made_when_a_size_has_come_often_enough_and_once() -> None:
    arguments = given()
    played = Recording(step, arguments, 3, captured_from=3).player(arguments)
    assert isinstance(played, Graphed)
    for expected in ([], [], [MEMBERS], [MEMBERS]):
        check(played, given())
        assert captured(played) == expected


def test_what_is_only_read_is_not_written_back() -> None:
    def reading(weights: Tensor, kept: Tensor, batch: Tensor) -> Tensor:
        return (batch @ weights).add_(kept[:, None, None]).mul_(batch.sum(2, keepdim=True)).add_(batch[..., :1])

    arguments = given()
    played = player(reading, arguments)
    torch.testing.assert_close(played(*arguments), reading(*arguments))
    assert played._written == [False, False, False]
    assert captured(played) == [MEMBERS]


def test_what_is_written_into_a_view_is_written_back() -> None:
    def writing(weights: Tensor, kept: Tensor, batch: Tensor) -> Tensor:
        kept.view(2, 2)[0].add_(1)
        return (batch @ weights) * kept[:, None, None]

    arguments = given()
    before = arguments[1].clone()
    played = player(writing, arguments)
    played(*arguments)
    assert played._written == [False, True, False]
    assert captured(played) == [MEMBERS]
    torch.testing.assert_close(arguments[1], before + torch.tensor([1.0, 1.0, 0.0, 0.0], device=GPU))


def test_what_cannot_be_captured_is_done_by_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    end = torch.cuda.CUDAGraph.capture_end
    graphed._common(0)

    def failing(self: torch.cuda.CUDAGraph) -> None:
        end(self)
        raise RuntimeError("CUDA error: operation failed due to a previous error during capture")

    monkeypatch.setattr(torch.cuda.CUDAGraph, "capture_end", failing)
    stream = torch.cuda.current_stream()
    for _ in range(2):
        played = player(step, given())
        check(played, given())
        assert not played._graphs
        assert torch.cuda.current_stream() == stream
    assert len(graphed._failed) == 1


def test_one_that_takes_longer_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphed, "sooner", lambda *_: False)
    played = player(step, given())
    check(played, given())
    assert captured(played) == []


def test_what_passes_from_the_processor_to_the_gpu_is_done_by_operations() -> None:
    def passing(weights: Tensor, kept: Tensor, batch: Tensor) -> Tensor:
        return (batch @ weights) * torch.ones(5).to(GPU) * kept[:, None, None]

    arguments = given()
    played = player(passing, arguments)
    torch.testing.assert_close(played(*arguments), passing(*arguments))
    assert captured(played) == []


def test_what_has_to_wait_cannot_be_captured() -> None:
    there = torch.ones(3, device=GPU)
    with pytest.raises(RuntimeError, match="captur"), torch.cuda.graph(torch.cuda.CUDAGraph()):
        there.sum().item()


def test_a_capture_holds_no_values_before_it_is_launched() -> None:
    there, graph = torch.ones(3, device=GPU), torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        there.add_(1)
        found = there * 2
    assert there.tolist() == [1, 1, 1]
    for expected in (4, 6):
        graph.replay()
        assert found.tolist() == [expected] * 3


def test_the_quicker_of_two_is_the_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # of what the fixture has put in its place
    seconds = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: seconds[0])

    def taking(longer: float) -> Callable[[], None]:
        def call() -> None:
            seconds[0] += longer

        return call

    assert graphed.sooner(taking(1.0), taking(2.0))
    assert not graphed.sooner(taking(2.0), taking(1.0))
