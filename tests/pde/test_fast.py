"""Fast and slow in one equation: the shortest time is found, and gets room."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import stiffgrad as sg
from stiffgrad import pde
from stiffgrad.pde.fast import Stretched

D = pde.derivative


def relaxation(rate, end=3.0, points=16):
    """y' = -rate (y - cos t) from 2."""
    equation = pde.interior(lambda u, t: D(u, t) + rate * (u(t) - np.cos(t[0])), points)
    return pde.Problem([(0, end)], [equation, pde.initial(2.0)], [4])


def test_the_shortest_time_is_that_of_the_fastest_rate():
    for rate in (1e3, 1e5):
        assert 0.3 < relaxation(rate).times.fast * rate < 4.0
    # In other units of time it is the same part of the interval.
    slow = pde.interior(lambda u, t: D(u, t) + 1e-3 * (u(t) - np.cos(1e-6 * t[0])), 16)
    other = pde.Problem([(0, 3e6)], [slow, pde.initial(2.0)], [4])
    assert other.times.fast == pytest.approx(1e6 * relaxation(1e3).times.fast, rel=1e-9)


def test_what_is_not_stiff_keeps_even_times():
    swing = pde.interior(lambda u, t: D(u, t, 0, 0) + u(t), 16)
    start = pde.initial(lambda u, t: [u(t) - 1, D(u, t)])
    for problem in (
        relaxation(10.0),
        pde.Problem([(0, 60)], [swing, start], [4]),
        pde.Problem([(0, 1)], [pde.interior(lambda u, x: D(u, x) - 1e-4 * D(u, x, 0, 0), 16), pde.boundary(0.0)], [4]),
    ):
        assert problem.times is None
        assert problem.network.fast == 0.0


def test_times_run_evenly_and_by_their_logarithm():
    times = Stretched(5.0, 105.0, 1e-3)
    t = 5.0 + np.concatenate([[0.0], np.geomspace(1e-5, 100, 50)])
    np.testing.assert_allclose(times.time(times.part(t)) - 5, t - 5, rtol=2e-3, atol=1e-12)
    assert times.part(np.array([5.0, 105.0])) == pytest.approx([0.0, 1.0])
    parts = times.part(t)
    assert np.all(np.diff(parts) > 0)
    # A decade of time far beyond the fast one and far below the end takes half of one over the number of decades.
    assert np.diff(times.part(5 + np.array([0.01, 0.1])))[0] == pytest.approx(0.5 / 5, rel=0.1)


def test_points_and_parts_of_the_time_leave_room_at_the_start():
    problem = relaxation(1e5, points=256)
    t = problem.points["interior"]
    for time in (1e-4, 3e-3, 0.3):  # so many of the points lie before
        assert np.mean(t < time) == pytest.approx(problem.times.part(np.array(time)), abs=0.01)
    assert np.mean(t < 3e-3) > 0.15  # a thousandth of the interval
    assert np.all(t <= 3.0)
    first = problem.until(0.25, t)
    assert np.all(first <= problem.times.time(0.25) + 1e-12)
    np.testing.assert_array_equal(problem.until(1.0, t), t)
    assert np.mean(problem.draw("interior", 256, "sobol", 1) < 3e-3) > 0.15


def test_the_logarithm_of_time_is_an_input():
    network, _ = pde.network([(2, 102)], [4], fast=0.1)
    np.testing.assert_allclose(network.features(np.array([2.0])), [-1, -1])
    np.testing.assert_allclose(network.features(np.array([102.0])), [1, 1])
    slopes = D(network.features, np.array([2.0]))  # at the start itself, where conditions are
    np.testing.assert_allclose(slopes, [0.02, 2 / 0.1 / np.log(1001)], rtol=1e-12)
    middle = 2 + 0.1 * (np.sqrt(1001) - 1)  # half of the logarithm
    np.testing.assert_allclose(network.features(np.array([middle]))[1], 0.0, atol=1e-12)
    for options, words in (({"fast": -1.0}, "fast=-1.0"), ({"fast": True}, "fast=True")):
        with pytest.raises(ValueError, match=words):
            pde.network([(0, 1)], [4], **options)
    with pytest.raises(ValueError, match="one coordinate"):
        pde.network([(0, 1), (0, 1)], [4], fast=0.1)


def test_kinetics_of_robertson():
    """Rates from 0.04 to 3e7, of three kinds that make 1 in all; by `Radau`."""

    def kinetics(u, t):
        (a, b, c), (da, db, dc) = u(t), D(u, t)
        return [da + 0.04 * a - 1e4 * b * c, db - 0.04 * a + 1e4 * b * c + 3e7 * b**2, dc - 3e7 * b**2]

    def rates(t, y):
        slow, middle, fast = 0.04 * y[0], 1e4 * y[1] * y[2], 3e7 * y[1] ** 2
        return [middle - slow, slow - middle - fast, fast]

    problem = pde.Problem([(0, 40)], [pde.interior(kinetics), pde.initial([1.0, 0.0, 0.0])], outputs=3)
    solution = pde.solve(problem, "rosenbrock", until=sg.Until(loss=1e-9, steps=800, wall_seconds=None))
    t = np.linspace(0, 40, 401)
    path = solve_ivp(rates, (0, 40), [1, 0, 0], method="Radau", rtol=1e-9, atol=1e-12, t_eval=t).y.T
    found = solution.u(t)
    np.testing.assert_allclose(found[:, [0, 2]], path[:, [0, 2]], atol=5e-3)
    np.testing.assert_allclose(found[1:, 1], path[1:, 1], rtol=5e-2)
    error = np.linalg.norm(found - path) / np.linalg.norm(path)
    assert solution.error_estimate > 0.2 * error  # 1/47 of the error it was, with a target that seemed reached
