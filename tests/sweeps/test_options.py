"""What options stand for when they are not given, and what they refuse."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from sweeps import options
from sweeps.engine.errors import QuestionError
from tests.sweeps.small import small


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
