"""What would take away what is left: against errors that are known, and where nothing determines a solution."""

import jax.numpy as jnp
import numpy as np
import pytest

import stiffgrad as sg
from stiffgrad import pde
from stiffgrad.pde.defect import defect

D = pde.derivative
T = np.linspace(0, 1, 301)[:, None]


def test_the_change_is_the_error_of_an_equation_that_is_straight():
    """u'' = -pi^2 sin(pi x): whatever the network says, what is missing is what leads to sin(pi x)."""
    wave = pde.interior(lambda u, x: D(u, x, 0, 0) + np.pi**2 * np.sin(np.pi * x[0]), 256)
    problem = pde.Problem([(0, 1)], [wave, pde.boundary(0.0)], [10])
    found = defect(problem, problem.params, T)
    np.testing.assert_allclose(problem.evaluate(problem.params, T) + found.change, np.sin(np.pi * T[:, 0]), atol=1e-6)
    assert found.free == 0


def test_the_change_of_a_system_and_of_a_bent_equation_is_a_step_of_newton():
    """At y = 1 + z with z small, y' = 1 - y^2 from 1 asks for -z up to z^2."""
    bent = pde.interior(lambda u, t: [D(u, t)[0] - 1 + u(t)[0] ** 2, D(u, t)[1] - u(t)[0]], 256)
    network = (lambda w, x: np.array([1.0, 0.0]) + w["a"] * np.array([1e-3, 1.0]) * (1 + x[0]), {"a": np.array(1.0)})
    problem = pde.Problem([(0, 1)], [bent, pde.initial([1.0, 0.0])], network)
    change = defect(problem, problem.params, T).change
    assert change.shape == (301, 2)
    np.testing.assert_allclose(change[:, 0], -1e-3 * (1 + T[:, 0]), atol=1e-5)
    np.testing.assert_allclose(change[:, 1], T[:, 0] - (1 + T[:, 0]), atol=1e-5)


def test_conditions_that_the_network_meets_exactly_stay_met():
    network = pde.network([(0, 1)], [8], transform=lambda x, n: 1 + x[0] * n)
    problem = pde.Problem([(0, 1)], [pde.interior(lambda u, t: D(u, t) + 3 * u(t), 256)], network)
    found = defect(problem, problem.params, T)
    np.testing.assert_allclose(problem.evaluate(problem.params, T) + found.change, np.exp(-3 * T[:, 0]), atol=1e-6)
    assert found.free == 0


def test_coefficients_that_are_unknown_may_move_as_well():
    """u' = k, u(0) = 0, u(1) = 2: k = 2, whatever it was."""
    line = pde.interior(lambda u, t, p: D(u, t) - p["k"], 256)
    ends = pde.boundary(lambda t: 2 * t[0])
    problem = pde.Problem([(0, 1)], [line, ends], [8], unknowns={"k": 7.0})
    found = defect(problem, problem.params, T)
    np.testing.assert_allclose(problem.evaluate(problem.params, T) + found.change, 2 * T[:, 0], atol=1e-6)


def test_a_missing_condition_is_said():
    swing = pde.interior(lambda u, t: D(u, t, 0, 0) + u(t))
    for others, missing in (([], True), ([pde.initial(lambda u, t: D(u, t))], False)):
        problem = pde.Problem([(0, 5)], [swing, pde.initial(1.0), *others])
        solution = pde.solve(problem, "rosenbrock", until=sg.Until(loss=1e-12, steps=500, wall_seconds=None))
        assert ("do not determine the solution" in solution.verdict) == missing
        assert np.isnan(solution.error_estimate) == missing


def test_few_points_are_not_taken_for_missing_conditions():
    """A wide network has nearly as many units as there are points: some combinations vanish on nearly all of these."""
    growth = pde.interior(lambda u, z: D(u, z, 1) - 5 * u(z) * (1 - u(z)), 256)
    square = [(0, 1), (0, 1)]
    problem = pde.Problem(square, [growth, pde.initial(lambda z: np.cos(z[0]), 101)], [100, 100])
    assert defect(problem, problem.params, pde.interior_points(square, 1024)).free == 0


def test_what_grows_along_the_way_is_part_of_the_error():
    """y' = 10 (y - cos t) - sin t: what is left at the start is e^30 times as large at t = 3."""
    unstable = pde.interior(lambda u, t: D(u, t) - 10 * (u(t) - np.cos(t[0])) + np.sin(t[0]))
    problem = pde.Problem([(0, 3)], [unstable, pde.initial(1.0)])
    solution = pde.solve(problem, "rosenbrock", until=sg.Until(loss=1e-15, steps=400, wall_seconds=None))
    error = solution.errors(lambda t: np.cos(t[0])).relative_l2
    assert solution.error_estimate > 0.2 * error
    assert solution.error_estimate == pytest.approx(error, rel=30)


@pytest.mark.parametrize("missing", [True, False])
def test_an_end_where_nothing_is_given_is_said(missing):
    """Heat flows in from there as it likes: the finer a function is, the less it leaves, and none leaves nothing."""
    heat = pde.interior(lambda u, z: D(u, z, 1) - 0.25 * D(u, z, 0, 0))
    ends = [] if missing else [pde.boundary(0.0)]
    problem = pde.Problem([(0, 1), (0, 1)], [heat, pde.initial(lambda z: np.sin(np.pi * z[0])), *ends])
    found = defect(problem, problem.params, problem.points["interior"])
    assert (found.free > 0) == missing
    assert (found.least_of_half > 100 * found.least) == missing


def test_what_functions_leave_at_least_is_in_the_units_of_the_equation():
    """3 u leaves three times what u does; in one dimension half of the functions are not asked for."""
    found = []
    for factor in (1.0, 3.0):
        value = pde.interior(lambda u, x, factor=factor: factor * u(x), 256)
        problem = pde.Problem([(0, 1)], [value], [4], balance=False)
        found.append(defect(problem, problem.params, problem.points["interior"]))
    assert found[1].least == pytest.approx(3.0 * found[0].least)
    assert np.isnan(found[0].least_of_half)


def test_an_equation_that_is_not_straight_as_far_as_the_change_is_said():
    """u'^2 = 1 with 0 at both ends: from u = 0.01 sin(pi x) a step of Newton's method goes far beyond 1 / 2."""
    eikonal = pde.interior(lambda u, x: D(u, x) ** 2 - 1, 256)
    network = lambda w, x: w["a"] * jnp.sin(jnp.pi * x[0])  # noqa: E731
    problem = pde.Problem([(0, 1)], [eikonal, pde.boundary(0.0)], (network, {"a": np.array(0.01)}), balance=False)
    assert defect(problem, problem.params, T).bent
    straight = pde.interior(lambda u, x: D(u, x, 0, 0) + 1, 256)
    problem = pde.Problem([(0, 1)], [straight, pde.boundary(0.0)], (network, {"a": np.array(0.01)}), balance=False)
    assert not defect(problem, problem.params, T).bent


@pytest.mark.parametrize("sharpness", [1.0, 3.0])
def test_few_points_inside_are_no_missing_condition(sharpness):
    """An equation that draws its points is looked at on enough of them, however few it is trained on."""
    start = pde.initial(lambda u, z: [u(z) - np.sin(np.pi * z[0]), D(u, z, 1)], 257)
    equation = pde.interior(lambda u, z: D(u, z, 1, 1) - 4 * D(u, z, 0, 0), 40)
    problem = pde.Problem([(0, 1)] * 2, [equation, pde.boundary(0.0, 202), start])
    assert defect(problem, problem.sharper(sharpness), pde.grid_points(problem.domain)[::20]).free == 0


def test_points_of_ones_own_limit_the_functions():
    """On points that the user gives nothing can be seen between them: no more functions than these can tell."""
    inside = np.random.default_rng(0).uniform(size=(40, 2))
    equation = pde.interior(lambda u, z: pde.laplacian(u, z), inside)
    problem = pde.Problem([(0, 1)] * 2, [equation, pde.boundary(0.0, 400)])
    assert defect(problem, problem.params, pde.grid_points(problem.domain)[::20]).free == 0
