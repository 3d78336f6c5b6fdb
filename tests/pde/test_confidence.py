"""The error that a run lets one expect, on a run whose errors are known."""

import numpy as np
import pytest

from stiffgrad import Until, pde
from stiffgrad.pde.confidence import Path, scatter
from stiffgrad.pde.judgement import _on_many
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


def test_observations_that_are_missed_by_more_than_their_noise_are_no_fit():
    t = np.linspace(0, 3, 40)
    y = np.exp(-t) + 0.01 * np.random.default_rng(0).normal(size=40)
    seen = pde.observations(t[:, None], y)
    decay = pde.interior(lambda u, t, p: pde.derivative(u, t) + p["k"] * u(t))
    wrong = pde.interior(lambda u, t, p: pde.derivative(u, t) + p["k"])  # a line
    for equation, missed in ((decay, False), (wrong, True)):
        problem = pde.Problem([(0, 3)], [equation, pde.initial(1.0), seen], [8], unknowns={"k": 0.5})
        solution = pde.solve(problem, until=Until(steps=150, wall_seconds=None))
        assert solution.verdict.startswith("Not to be trusted: observations 'observations' are missed") == missed


def test_noise_is_read_off_the_lines_between_neighbours():
    """Also at uneven points, of several components; not of few."""
    generator = np.random.default_rng(1)
    x = np.sort(generator.uniform(0, 1, 2000))
    y = np.stack([3 * x, np.cos(3 * x)], axis=1) + 0.05 * generator.normal(size=(2000, 2))
    assert scatter(x, y) == pytest.approx(0.05, rel=0.05)
    assert scatter(x, 3 * x) < 1e-12
    assert np.isnan(scatter(x[:5], y[:5]))


def test_a_pole_of_a_coefficient_at_an_end_is_no_doubt():
    # On the end itself the residual is infinite: the verdict once said that the error cannot be told.
    def ball(u, x):  # sin(x) / x
        return pde.derivative(u, x, 0, 0) + 2 / x[0] * pde.derivative(u, x) + u(x)

    start = pde.initial(lambda u, x: [u(x) - 1, pde.derivative(u, x)])
    solution = pde.solve(pde.Problem([(0, 2)], [pde.interior(ball, 64), start], [8]), until=Until(loss=1e-11))
    error = solution.errors(lambda x: np.sinc(x[0] / np.pi)).relative_l2
    assert np.isfinite(solution.held_out["interior"])
    assert error < 3 * solution.error_estimate < 1e-2
    assert "cannot be told" not in solution.verdict


def test_a_solution_that_is_zero_is_said():
    # Without a norm every eigenfunction may vanish, and the eigenvalue is any.
    def eigen(u, x, p):
        return pde.derivative(u, x, 0, 0) + p["k"] * u(x)

    def solve(*norm):
        conditions = [pde.interior(eigen, 64), pde.boundary(0.0), *norm]
        return pde.solve(pde.Problem([(0, 1)], conditions, [10], unknowns={"k": 8.0}), until=Until(loss=1e-13))

    assert "The solution found is zero" in solve().verdict
    slope = pde.boundary(lambda u, x: pde.derivative(u, x) - 1, faces=[(0, 0.0)], name="norm")
    found = solve(slope)
    assert "is zero" not in found.verdict
    assert found.unknowns["k"] == pytest.approx(np.pi**2, rel=1e-5)


def test_values_on_a_face_are_looked_at_on_many_points():
    """A bump on a hundredth of a face lies between its points, and leaves a tenth in the root mean square."""

    def bump(z):
        return np.where((z[0] > 0.405) & (z[0] < 0.415), 1.0, 0.0)

    nothing = (lambda a, z: 0.0 * a[0] * z[0]), [np.ones(())]
    conditions = [pde.interior(lambda u, z: pde.derivative(u, z, 1), 16), pde.initial(bump, 16)]
    problem = pde.Problem([(0, 1), (0, 1)], conditions, nothing, balance=False)
    assert not np.any(bump(problem.points["initial"].T))
    seen = _on_many(problem, problem.params)
    assert list(seen) == ["initial"]
    assert seen["initial"] == pytest.approx(0.1, rel=0.05)
