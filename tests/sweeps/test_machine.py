"""The hash of the code that decides a trial's numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeps.engine.machine import source_hash

SCRIPT = '''"""What is asked."""
from sweeps import Sweep, main
from trainables import Recipe, Task

SAMPLES = 100


def data(seed):
    return seed + SAMPLES


task = Task(name="own", data=data)
recipe = Recipe(epochs=3)
sweep = Sweep(task=task, recipe=recipe, seeds=12)

if __name__ == "__main__":
    main(sweep)
'''


@pytest.mark.parametrize(
    ("before", "after", "is_other"),
    [
        ("seeds=12", "seeds=14", False),
        ("epochs=3", "epochs=4", False),  # the question's own identity knows of it
        ("What is asked", "What I ask", False),
        ("    return", "    # of one's own\n    return", False),
        ("main(sweep)", "main(sweep, )", False),
        ("SAMPLES = 100", "SAMPLES = 200", True),
        ("seed + SAMPLES", "seed - SAMPLES", True),
        ("data=data", "data=print", True),
        ("def data(seed):", "def data(seed:", True),  # not a script of Python's
    ],
)
def test_what_changes_no_number_is_no_other_code(tmp_path: Path, before: str, after: str, is_other: bool) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    first = source_hash(script)
    assert before in SCRIPT
    script.write_text(SCRIPT.replace(before, after))
    assert (source_hash(script) != first) == is_other
    assert source_hash(None) != first
