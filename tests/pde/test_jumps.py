"""Equations that jump: where they do is found, and the solution is smooth on either side of it only."""

import functools

import numpy as np
import pytest

import stiffgrad as sg
from stiffgrad import pde

D = pde.derivative


def source(u, x):
    return D(u, x, 0, 0) + np.where(x[0] < 0.4, 10.0, 0.0)


def switched(u, t):
    return D(u, t) + u(t) - np.where(t[0] >= 2, 1.0, 0.0)


def test_jumps_are_found_to_the_last_digit_with_the_order_of_the_equation():
    for equation, side, at, smooth in ((source, 1, 0.4, 1), (switched, 5, 2.0, 0)):
        problem = pde.Problem([(0, side)], [pde.interior(equation, 16), pde.initial(1.0)], [4])
        np.testing.assert_allclose(problem.jumps["interior"].points, [[at]], rtol=1e-15)
        assert problem.network.kinks == tuple(problem.jumps["interior"].points[:, 0])
        assert problem.network.smooth == smooth
        assert not problem.jumps["interior"].derived.any()


@pytest.mark.parametrize(
    "equation",
    [
        lambda u, t: D(u, t) - np.sin(t[0]),  # no choice at all
        lambda u, t: D(u, t) - np.abs(t[0] - 1),  # a kink
        lambda u, t: D(u, t) - np.where(t[0] < 1, t[0], 1.0),  # another
        lambda u, t: D(u, t) - np.where(u(t) < 0.1, 0.0, 1.0),  # jumps where the solution says so
    ],
)
def test_what_does_not_jump_or_moves_is_no_jump(equation):
    problem = pde.Problem([(0, 2)], [pde.interior(equation, 16), pde.initial(0.0)], [4])
    assert len(problem.jumps["interior"].points) == 0
    assert problem.network.kinks == ()


def test_jumps_along_a_surface_lie_on_it():
    disc = pde.interior(lambda u, z: pde.laplacian(u, z) + np.where(z[0] ** 2 + z[1] ** 2 < 0.25, 1.0, 0.0), 32)
    problem = pde.Problem([(-1, 1), (-1, 1)], [disc, pde.boundary(0.0, 8)], [4])
    found = problem.jumps["interior"].points
    assert len(found) > 10
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 0.5, rtol=1e-12)


def test_the_network_bends_at_its_kinks_and_has_as_many_derivatives_as_were_asked_for():
    for smooth in (0, 1, 2):
        network, params = pde.network([(0, 3)], [5], kinks=[1.0], smooth=smooth)
        u = functools.partial(network, params)
        for order in range(smooth + 2):
            below, above = (float(D(u, np.array([x]), *[0] * order)) if order else float(u(np.array([x])))
                            for x in (np.nextafter(1.0, 0.0), 1.0))  # fmt: skip
            assert (abs(above - below) > 1e-3) == (order == smooth + 1)
    for kinks, words in (([3.0], "inside"), ("a", "list of numbers"), ([[1.0]], "list of points")):
        with pytest.raises((ValueError, TypeError), match=words):
            pde.network([(0, 3)], [5], kinks=kinks)
    with pytest.raises(ValueError, match="one coordinate"):
        pde.network([(0, 3), (0, 1)], [5], kinks=[1.0])
    with pytest.raises(ValueError, match="smooth=-1"):
        pde.network([(0, 3)], [5], kinks=[1.0], smooth=-1)


def test_a_source_that_is_switched_on_is_solved_as_a_smooth_one():
    problem = pde.Problem([(0, 5)], [pde.interior(switched), pde.initial(1.0)])
    solution = pde.solve(problem, "rosenbrock", until=sg.Until(loss=1e-12, steps=600))
    exact = lambda t: np.exp(-t[0]) + max(0.0, 1 - np.exp(2 - t[0]))  # noqa: E731
    error = solution.errors(exact).relative_l2
    assert error < 1e-5  # 3e-4 of a smooth network, whose verdict expected a tenth of that
    assert 0.2 * error < solution.error_estimate < 100 * error


def test_the_derivative_of_what_jumps_is_not_trusted_and_a_flux_of_its_own_is():
    k = lambda x: np.where(x[0] < 0.5, 1.0, 10.0)  # noqa: E731
    flow = 1 / (0.5 + 0.05)
    exact = lambda x: flow * (x[0] if x[0] < 0.5 else 0.5 + (x[0] - 0.5) / 10)  # noqa: E731
    until = sg.Until(loss=1e-13, steps=800, wall_seconds=None)

    divergence = pde.interior(lambda u, x: pde.divergence(lambda y: k(y) * pde.gradient(u, y), x))
    plain = pde.solve(pde.Problem([(0, 1)], [divergence, pde.boundary(lambda x: x[0])]), "rosenbrock", until=until)
    assert plain.errors(exact).relative_l2 > 0.1
    assert plain.verdict.startswith("Not to be trusted: 'interior' differentiates a function that jumps, at (0.5)")
    assert np.isnan(plain.error_estimate)

    def mixed(u, x):
        (_, q), (slope, change) = u(x), D(u, x)
        return [q - k(x) * slope, change]

    ends = pde.boundary(lambda u, x: u(x)[0] - x[0])
    problem = pde.Problem([(0, 1)], [pde.interior(mixed), ends], outputs=2)
    solution = pde.solve(problem, "rosenbrock", until=until)
    x = np.linspace(0, 1, 101)
    found = solution.u(x)
    np.testing.assert_allclose(found[:, 0], [exact([v]) for v in x], atol=1e-4)
    np.testing.assert_allclose(found[:, 1], flow, rtol=1e-4)
    assert "jumps" not in solution.verdict
