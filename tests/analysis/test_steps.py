"""Reading what trials note within their epochs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from analysis.steps import WHOLE, Tail, kept, place, read


def line(step: int, loss: float = 1.0, epoch: int = 1) -> bytes:
    return json.dumps({"epoch": epoch, "step": step, "loss": loss}).encode() + b"\n"


def put(path: Path, lines: Iterable[bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.writelines(lines)


def test_steps_told_again_count_once_with_the_last_word(tmp_path: Path) -> None:
    path = place(tmp_path, "abc")
    assert path == tmp_path / "artifacts" / "abc" / "steps.jsonl"
    assert read(path) == []
    put(path, [line(10, 0.9), line(20, 0.8), line(30, 0.7), line(20, 0.81)])
    # What was told of step 30 belongs to a course that was given up.
    assert [(row["step"], row["loss"]) for row in read(path)] == [(10, 0.9), (20, 0.81)]


def test_what_is_torn_or_no_line_of_ours_is_left_out(tmp_path: Path) -> None:
    path = place(tmp_path, "abc")
    put(
        path,
        [line(10), b'{"epoch": 1, "st\n', b"[]\n", b'{"step": "x", "epoch": 1}\n', line(20), b'{"epoch": 1, "step": 3'],
    )
    assert [row["step"] for row in read(path)] == [10, 20]


def test_a_tail_gives_what_has_come_until_it_is_taken(tmp_path: Path) -> None:
    path = place(tmp_path, "abc")
    tail = Tail(path)
    assert tail.due() == []
    put(path, [line(10), line(20), line(30)[:9]])
    assert [row["step"] for row in tail.due()] == [10, 20]
    put(path, [line(30)[9:], line(20), line(40)])
    assert [row["step"] for row in tail.due()] == [10, 20, 30, 40]  # not handed on yet, or in vain
    tail.taken()
    assert tail.due() == []
    put(path, [line(50)])
    assert [row["step"] for row in tail.due()] == [50]


def test_long_files_are_thinned_the_same_way_whoever_reads_on() -> None:
    assert all(map(kept, range(WHOLE)))
    assert sum(map(kept, range(WHOLE, 2 * WHOLE))) == WHOLE // 2
    assert sum(map(kept, range(2 * WHOLE, 4 * WHOLE))) == WHOLE // 2
    assert sum(map(kept, range(1_000_000))) < 7 * WHOLE
