"""What options stand for when they are not given, and what they refuse."""

from __future__ import annotations

import argparse
import platform
from pathlib import Path

import pytest

from sweeps import ASHA, TPE, Random, Rivals, Search, each, options
from sweeps.engine.errors import QuestionError
from tests.sweeps.small import small
from trainables import ConflictError, tasks
from trainables.asked import shipped as shipped_tasks


def read(*given: str) -> options.Options:
    return options.read(given, program="sweep.py", description=None)


def test_runs_go_where_the_option_says_else_the_variable_else_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REGATTA_RUNS", raising=False)
    assert read().runs == Path("runs")
    monkeypatch.setenv("REGATTA_RUNS", "/shared/runs")
    assert read().runs == Path("/shared/runs")
    assert read("--runs", "here").runs == Path("here")
    monkeypatch.setenv("REGATTA_RUNS", "")
    assert read().runs == Path("runs")


def test_data_that_is_not_there_is_refused_with_the_machine_s_name(tmp_path: Path) -> None:
    absent = tmp_path / "flowers.csv"
    given = read("--task", "trainables.tasks:table", "--data", str(absent))
    with pytest.raises(QuestionError, match="does not exist on ") as refused:
        given.question(small())
    assert f"--data {absent} does not exist on {platform.node()}" in str(refused.value)
    absent.touch()
    assert given.question(small()).name == "small-table-flowers"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("2h30m", 9000), ("1.5h", 5400), (" 1M5S ", 65), ("0.5s", 0.5)],
)
def test_a_budget_is_read_by_its_units(text: str, seconds: float) -> None:
    assert options.duration(text) == seconds
    assert read("--budget", text).question(small()).budget_seconds == seconds


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("10", "'10' has no unit; write 10s, 10m or 10h"),
        ("2h30", "'2h30' is not a time above zero with its units; write 90s, 10m or 2h30m"),
        ("0m", "is not a time above zero"),
        ("0", "is not a time above zero"),
        ("", "is not a time above zero"),
        ("-5m", "is not a time above zero"),
        ("5m2h", "is not a time above zero"),
    ],
)
def test_a_budget_that_could_mean_two_things_or_none_is_refused(text: str, said: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError) as refused:
        options.duration(text)
    assert said in str(refused.value)


def test_a_budget_without_a_search_to_close_is_refused() -> None:
    unsearched = small(search=None, early_stop=None, recipe=small().corner({"batch_size": 8}, 0))
    with pytest.raises(QuestionError, match="--budget closes searches, and this sweep has nothing to search"):
        read("--budget", "1m").question(unsearched)
    with pytest.raises(QuestionError, match="--trials 3: this sweep has nothing to search"):
        read("--trials", "3").question(unsearched)


@pytest.mark.parametrize(("epochs", "grace"), [(1, 1), (2, 2), (30, 2)])
def test_early_stopping_begins_in_time_for_however_few_epochs(epochs: int, grace: int) -> None:
    sweep = read("--epochs", str(epochs)).question(small())
    sweep.check()
    assert isinstance(sweep.early_stop, ASHA)
    assert (sweep.recipe.epochs, sweep.early_stop.grace) == (epochs, grace)


def test_rivals_are_cut_to_as_many_trials_each() -> None:
    methods: tuple[Search, ...] = (TPE(), Random())
    rivals = small(search=Rivals(trials=16, method=each(*methods)))
    for given, trials in ((["--quick"], 4), (["--trials", "7"], 7), (["--quick", "--trials", "7"], 7)):
        sweep = read(*given).question(rivals)
        assert [sweep.heats(level) for level in sweep.levels()] == [trials] * 4


def test_compared_numbers_of_trials_stay_in_the_quick_form_and_no_option_replaces_them() -> None:
    for search in (TPE(trials=each(4, 8)), Rivals(trials=each(4, 8), method=TPE())):
        quick = read("--quick").question(small(search=search))
        quick.check()
        assert [quick.heats(level) for level in quick.levels()] == [4, 8, 4, 8]
        assert (quick.seeds, quick.recipe.epochs) == (6, 5)
        with pytest.raises(QuestionError, match=r"--trials 3: this sweep compares numbers of trials, each\(4, 8\)"):
            read("--trials", "3").question(small(search=search))


@pytest.mark.parametrize("given", [[], ["--quick"], ["--trials", "3"]])
def test_searches_compared_without_rivals_are_refused_in_words(given: list[str]) -> None:
    sweep = read(*given).question(small(search=each(TPE(), Random())))
    with pytest.raises(QuestionError, match=r"write search=Rivals\(trials=16, method=each\(…\)\)"):
        sweep.check()


def test_an_unknown_task_names_those_that_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "of_mine.py").write_text("from trainables.tasks import digits as numerals\nother = 3\n")
    (tmp_path / "of_nobody.py").write_text("")
    shipped = "trainables.tasks:digits, trainables.tasks:table"
    assert shipped_tasks() == shipped == ", ".join(f"trainables.tasks:{name}" for name in tasks.__all__)
    for task, said in (
        ("digits", f"--task digits: write MODULE:NAME; {shipped} come with the product"),
        ("trainables.tasks:cifar", f"trainables.tasks has no 'cifar'; its tasks: {shipped}"),
        ("of_mine:task", "of_mine has no 'task'; its tasks: of_mine:numerals"),
        ("of_mine:other", "other is a int, not a Task; its tasks: of_mine:numerals"),
        ("of_nobody:task", f"of_nobody has no 'task'; of_nobody holds no task; {shipped} come with the product"),
        ("of_none:task", f"{shipped} come with the product"),
    ):
        with pytest.raises(ConflictError) as refused:
            read("--task", task).question(small())
        assert said in str(refused.value)
    assert read("--task", "of_mine:numerals").question(small()).name == "small-digits"
