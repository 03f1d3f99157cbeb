"""Data: batches, splits, the tasks that ship, tables of one's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables import ConflictError, CrossEntropy, Maximise, Plan, Splits, Task
from trainables.batches import parts, shuffled, split
from trainables.models import MLP
from trainables.recipe import Recipe
from trainables.seeds import Seeds, derived, generator
from trainables.splitting import random, stratified
from trainables.tasks import digits
from trainables.tasks.table import Table


@given(st.integers(1, 20_000), st.integers(1, 300))
@settings(max_examples=40, deadline=None)
def test_shuffled_batches_hold_every_sample_once(count: int, size: int) -> None:
    x = torch.arange(count)
    batches = list(shuffled((x, 2 * x), size, generator(1)))
    assert torch.equal(torch.cat([b[0] for b in batches]).sort().values, x)
    assert all(torch.equal(b[1], 2 * b[0]) for b in batches)
    assert [len(b[0]) for b in batches[:-1]] == [size] * (len(batches) - 1)
    assert len(batches) == -(-count // size)


def test_the_order_is_the_generator_s() -> None:
    x = (torch.arange(50),)
    first, again, other = (torch.cat([b[0] for b in shuffled(x, 7, generator(s))]) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@given(st.integers(1, 500), st.integers(1, 500))
def test_parts_are_even_and_complete(count: int, limit: int) -> None:
    x = torch.arange(count)
    sizes = [len(part[0]) for part in parts((x,), limit)]
    assert sum(sizes) == count
    assert max(sizes) <= limit
    assert max(sizes) - min(sizes) <= 1
    assert len(sizes) == -(-count // limit)


def test_split_keeps_the_order() -> None:
    assert [b[0].tolist() for b in split((torch.arange(5),), 2)] == [[0, 1], [2, 3], [4]]


@given(st.integers(30, 400), st.integers(2, 5), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_stratified_splits_cover_everything_in_fair_shares(count: int, classes: int, seed: int) -> None:
    target = torch.arange(count) % classes
    splits = stratified(torch.arange(count), target, seed=seed)
    together = torch.cat([splits.train[0], splits.val[0], splits.test[0]])
    assert torch.equal(together.sort().values, torch.arange(count))
    for part, share in ((splits.val, 0.2), (splits.test, 0.2), (splits.train, 0.6)):
        for value in range(classes):
            whole = int((target == value).sum())
            assert abs(int((part[1] == value).sum()) - share * whole) <= 2
    other = stratified(torch.arange(count), target, seed=seed + 1)
    assert len(other.train[0]) == len(splits.train[0])
    assert not torch.equal(other.train[0], splits.train[0])


def test_random_splits_cover_everything() -> None:
    splits = random(torch.arange(10), torch.zeros(10), seed=0)
    assert [len(part[0]) for part in (splits.train, splits.val, splits.test)] == [6, 2, 2]


def test_the_digits_are_the_ones_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    splits = digits.load(1)
    assert [len(part[0]) for part in (splits.train, splits.val, splits.test)] == [1079, 359, 359]
    assert digits.samples == 1079
    theirs = load_digits()
    mine = torch.cat([splits.train[0], splits.val[0], splits.test[0]]).double().numpy() * 16
    assert sorted(map(tuple, mine)) == sorted(map(tuple, theirs.data))
    assert splits.shape(CrossEntropy()).inputs == (64,)
    assert splits.shape(CrossEntropy()).outputs == 10


def test_plan_counts() -> None:
    plan = Plan.of(Recipe(model=MLP(), batch_size=16, micro_batch=5, epochs=3), 61)
    assert (plan.steps_per_epoch, plan.steps, plan.accumulation) == (4, 12, 4)
    assert Plan.of(Recipe(model=MLP(), batch_size=512), 61).batch_size == 61
    assert 0 < plan.progress(0) < plan.progress(11) < 1


def test_seeds_are_stable_over_machines() -> None:
    assert derived("init", 0) == 6227323262129794652
    assert derived("init", 0) != derived("init", 1) != derived("order", 1)
    assert Recipe(model=MLP(), seed=4).seeds == Seeds(init=4, order=4, split=4)


def csv(path: Path, text: str) -> Table:
    path.write_text(text)
    return Table(path=str(path))


def rows(count: int = 60) -> str:
    numbers = np.random.default_rng(0).normal(size=(count, 2))
    return "a,b,kind\n" + "".join(f"{a:.3f},{10 * b + 5:.3f},{'yes' if a > 0 else 'no'}\n" for a, b in numbers)


def test_a_csv_table_is_scaled_by_its_training_split(tmp_path: Path) -> None:
    splits = csv(tmp_path / "t.csv", rows())(3)
    x = splits.train[0]
    torch.testing.assert_close(x.mean(0), torch.zeros(2), rtol=0, atol=1e-5)
    torch.testing.assert_close(x.std(0, correction=0), torch.ones(2), rtol=0, atol=1e-5)
    assert sorted(set(splits.test[1].tolist())) == [0, 1]
    assert splits.shape(CrossEntropy()).outputs == 2


def test_a_parquet_table_gives_the_same(tmp_path: Path) -> None:
    table = csv(tmp_path / "t.csv", rows())
    from pyarrow import csv as reader

    pq.write_table(reader.read_csv(tmp_path / "t.csv"), tmp_path / "t.parquet")
    torch.testing.assert_close(Table(path=str(tmp_path / "t.parquet"), target="kind")(3).train[0], table(3).train[0])
    assert pa.__version__


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,kind\n1,x\n,y\n" * 1, "row 2, column 'a' is empty; fill it, or drop the row"),
        ("a,kind\nhello,x\nthere,y\n", "row 1, column 'a' holds 'hello', which is no number"),
        ("kind\nx\ny\n", "no column beside the target"),
        ("a,kind\n" + "".join(f"{i},{i}\n" for i in range(100)), "does not look like classes"),
        ("a,kind\n2,y\n1,x,3\n", "row 2 has 3 cells where the header has 2: '1,x,3'; mend or drop it"),
        ("a,kind\ninf,x\n1,y\n", "row 1, column 'a' holds inf; all must be finite"),
        ("a,a,kind\n1,2,x\n1,2,y\n", "more than one column 'a'"),
    ],
)
def test_a_bad_table_names_file_and_column(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConflictError, match=r"t\.csv") as caught:
        csv(tmp_path / "t.csv", text)(0)
    assert said in str(caught.value)


def test_a_table_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConflictError, match=r"nowhere\.csv does not exist"):
        Table(path=str(tmp_path / "nowhere.csv"))(0)
    with pytest.raises(ConflictError, match="--data PATH"):
        Table()(0)
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ConflictError, match="no column 'kind'; it has a, b"):
        Table(path=str(tmp_path / "t.csv"), target="kind")(0)


def test_splits_that_cannot_be_trained_on_are_refused() -> None:
    def broken(_: int) -> Splits:
        return Splits(
            train=(torch.zeros(3, 2), torch.zeros(2)), val=(torch.zeros(0, 2), torch.zeros(0)), test=(torch.zeros(1),)
        )

    with pytest.raises(ConflictError) as caught:
        Task(name="broken", data=broken, goal=Maximise("loss")).load(0)
    assert len(caught.value.conflicts) == 3
