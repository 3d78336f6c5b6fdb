"""The error that a run lets one expect, on a run whose errors are known."""

import numpy as np
import pytest

from stiffgrad.pde.confidence import Path
from stiffgrad.pde.verdict import trusted


@pytest.mark.parametrize("stiffness", [1.0, 1e-6])
def test_the_estimate_is_the_error_of_a_linear_problem(stiffness):
    """E = |A (w - 1)|^2 / 2 with A = stiffness * I: what is the error in w is known."""
    path, exact = Path(), np.ones(3)
    for error in 10.0 ** -np.arange(0.0, 6.0, 0.2):
        w = exact + error * np.array([1.0, -1.0, 1.0]) / np.sqrt(3)
        energy = 0.5 * float(np.sum((stiffness * (w - exact)) ** 2))
        path.add(energy, w)
    true = np.linalg.norm(w - exact) / np.linalg.norm(w)
    assert path.error(energy, w, lambda v: v) == pytest.approx(true, rel=1e-6)
    # The same energies with errors that stay: the solution has not moved, and no error is seen.
    assert len(path.seen) < 30


def test_a_run_that_went_nowhere_tells_nothing():
    path = Path()
    path.add(1.0, np.ones(2))
    path.add(np.nan, np.ones(2))
    assert np.isnan(path.error(1.0, np.ones(2), lambda v: v))
    assert np.isnan(Path().error(0.0, np.ones(2), lambda v: v))


def test_what_is_not_good_to_five_digits_is_said():
    assert trusted(float("nan")) == ""
    assert "not to be trusted to 1e-05" in trusted(2e-5)
    assert "not to be trusted" not in trusted(9e-6)
    assert "about 9e-06" in trusted(9e-6)
