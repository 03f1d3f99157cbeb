"""What a lane takes of the machine."""

from __future__ import annotations

import pytest

from sweeps import QuestionError, Resources
from sweeps.engine.lanes.solo import capacity


@pytest.mark.parametrize(
    ("resources", "there", "trials"),
    [
        (Resources(), {"CPU": 2.0}, 2),
        (Resources(cpus=3), {"CPU": 8.0}, 2),
        (Resources(gpus=1.0), {"CPU": 16.0, "GPU": 4.0}, 4),
        (Resources(cpus=8, gpus=0.5), {"CPU": 16.0, "GPU": 4.0}, 2),
        (Resources(gpus=0.25), {"CPU": 16.0, "GPU": 1.0}, 4),
    ],
)
def test_capacity_is_what_is_there_over_what_a_trial_takes(
    resources: Resources, there: dict[str, float], trials: int
) -> None:
    assert capacity(resources, there) == trials


def test_what_cannot_fit_is_refused_with_the_sum() -> None:
    with pytest.raises(QuestionError, match="a trial takes 4 CPUs and 0 GPUs, Ray has 2 CPUs and 0 GPUs in all"):
        capacity(Resources(cpus=4), {"CPU": 2.0})
    with pytest.raises(QuestionError, match="1 GPUs"):
        capacity(Resources(gpus=1.0), {"CPU": 2.0})
