"""Student's t against scipy's own distributions."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest

from analysis.student import beyond, shifted_tail, tail

FREEDOMS = (1, 2, 4.5, 7, 63, 999)


@pytest.mark.parametrize("freedom", FREEDOMS)
def test_tails_and_quantiles_are_scipy_s(freedom: float) -> None:
    from scipy.stats import t

    for x in (-3.0, -0.5, 0.0, 0.5, 2.0, 30.0):
        assert tail(x, freedom) == pytest.approx(float(t.sf(x, freedom)), rel=1e-9)
    for chance in (0.4, 0.05, 0.025, 1e-4):
        assert beyond(chance, freedom) == pytest.approx(float(t.isf(chance, freedom)), rel=1e-9)


@pytest.mark.parametrize("freedom", FREEDOMS)
def test_the_shifted_tail_is_scipy_s_for_every_shift(freedom: float) -> None:
    from scipy.stats import nct

    for effect in (0.0, 0.01, 0.3, 1.0, 5.0, 100.0):
        shift = effect * math.sqrt(freedom + 1)
        for x in (0.5, 2.0, 4.0, 12.7):
            assert shifted_tail(x, freedom, shift) == pytest.approx(float(nct.sf(x, freedom, shift)), abs=1e-9)


def test_it_does_without_what_is_slow_to_import() -> None:
    used = "tail(1, 5), beyond(0.1, 5), shifted_tail(2, 7, 1)"
    code = f"import sys; from analysis.student import *; {used}; print('scipy.stats' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
