"""Functions at many points, slice by slice: against each point alone, and one program for all numbers of points."""

import jax.numpy as jnp
import numpy as np
import pytest

from stiffgrad import pde
from stiffgrad.objective import Objective, Term
from stiffgrad.pde import slices

D = pde.derivative


def wave(a, x):
    return a["k"] * jnp.sin(x)


def test_points_of_any_number_share_a_program_and_are_those_alone():
    x = np.random.default_rng(0).normal(size=(2 * slices.SLICE + 1, 2))
    compiled = slices._each._cache_size()
    for count in (1, slices.SLICE - 1, slices.SLICE, slices.SLICE + 1, len(x)):
        found = slices.at_points(wave, {"k": np.array(3.0)}, x[:count])
        np.testing.assert_allclose(found, 3 * np.sin(x[:count]), rtol=1e-13)
    assert slices._each._cache_size() == compiled + 1


@pytest.mark.parametrize("points", [40, 700])  # less than a slice, and more
def test_what_is_left_is_that_of_the_objective(points):
    """With units, targets, and samples in chunks that are padded; so are the energy, and the root mean squares."""
    interior = pde.interior(lambda u, t: [D(u, t)[0] - 50 * u(t)[1], D(u, t)[1] + 0.02 * u(t)[0]], points)
    problem = pde.Problem([(0, 1)], [interior, pde.initial([100.0, 1.0])], [5], outputs=2)
    objective = problem.objective
    rows = np.concatenate([r.ravel() for r in slices.left(objective, objective.w0)])
    np.testing.assert_allclose(rows, objective.residual(objective.w0), rtol=1e-10, atol=1e-12)
    assert slices.energy(objective, objective.w0) == pytest.approx(float(objective.value(objective.w0)), rel=1e-12)
    assert objective.blocks[0].function.units  # which are put in and taken out


def test_padded_samples_leave_nothing():
    term = Term(lambda p, x: p["a"] / x, 1.0 + np.arange(5.0)[:, None], np.ones((5, 1)), weight=3.0)
    whole, chunked = (Objective({"a": np.array(2.0)}, [term], chunk_samples=n) for n in (None, 3))
    assert len(slices.left(chunked, chunked.w0)[0]) == 6
    assert slices.energy(chunked, chunked.w0) == pytest.approx(float(whole.value(whole.w0)), rel=1e-12)
