"""The task that a command line names."""

from __future__ import annotations

import pytest

from tests.trainables.small import task
from trainables import ConflictError
from trainables.asked import imported, reading, shipped
from trainables.tasks import digits
from trainables.tasks.table import Table


def test_it_is_what_is_named_and_reads_the_file_that_is_named() -> None:
    assert imported("tests.trainables.small:task") is task
    read = reading(imported("trainables.tasks:table"), "flowers.csv")
    assert read.data == Table(path="flowers.csv")
    assert shipped() == "trainables.tasks:digits, trainables.tasks:table"


@pytest.mark.parametrize(
    ("place", "data", "said"),
    [
        ("digits", None, "--task digits: write MODULE:NAME; trainables.tasks:digits"),
        (":task", None, "--task :task: write MODULE:NAME"),
        ("nowhere.at.all:task", None, "ModuleNotFoundError: No module named 'nowhere'"),
        (
            "tests.trainables.small:tusk",
            None,
            "tests.trainables.small has no 'tusk'; its tasks: tests.trainables.small:task",
        ),
        ("tests.trainables.small:clusters", None, "clusters is a function, not a Task"),
        ("math:pi", None, "pi is a float, not a Task; math holds no task; trainables.tasks:digits"),
        (None, "flowers.csv", "--data flowers.csv: the data of task 'digits' is built in and reads no file"),
    ],
)
def test_what_is_wrong_is_said(place: str | None, data: str | None, said: str) -> None:
    with pytest.raises(ConflictError) as caught:
        reading(digits if place is None else imported(place), data or "")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
