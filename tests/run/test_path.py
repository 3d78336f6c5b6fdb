"""The flow at given times: against the exact flow of a quadratic, for every solver that follows it."""

import jax.numpy as jnp
import numpy as np
import pytest

import stiffgrad as sg
from stiffgrad import solvers
from stiffgrad.solvers import create

RATES = np.array([1.0, 10.0, 300.0])
START = np.array([1.0, -2.0, 3.0])
TIMES = np.array([0.0, 1e-3, 0.05, 0.3, 0.31, 2.0])
RTOL = 1e-5


def quadratic():
    return sg.minimise(lambda w: 0.5 * jnp.sum(jnp.asarray(RATES) * w**2), START)


def exact(times):
    return np.exp(-np.outer(times, RATES)) * START


FOLLOWING = {
    **{
        name: create(name, rtol=RTOL, atol=RTOL)
        for name in ("vode", "zvode", "lsoda", "dopri5", "dop853", "radau", "bdf")
    },
    **{name: create(name, rtol=RTOL, atol=RTOL) for name in ("cvode", "cvode-adams", "cvode-krylov")},
    **{name: create(name, rtol=RTOL, atol=RTOL) for name in ("tsit5", "kvaerno5", "implicit-euler", "chebyshev")},
    "ros2": solvers.ROS2(rtol=RTOL, atol=RTOL),
    "ros34pw2": solvers.ROS34PW2(rtol=RTOL, atol=RTOL),
}
# Local errors add up: on this flow to so many tolerances at most; one of first order controls them by its estimate.
SLACK = {"implicit-euler": 300.0}


@pytest.mark.parametrize("name", FOLLOWING)
def test_weights_at_given_times_are_those_of_the_exact_flow(name):
    until = sg.Until(wall_seconds=None, steps=5000)
    solution = sg.solve(quadratic(), FOLLOWING[name], until=until, save_at=TIMES)
    np.testing.assert_array_equal(solution.path.times, TIMES)
    assert np.abs(solution.path.weights - exact(TIMES)).max() < SLACK.get(name, 50.0) * RTOL
    np.testing.assert_array_equal(solution.path.weights[0], START)
    np.testing.assert_array_equal(solution.path.weights[-1], solution.w)
    assert solution.outcome is sg.Outcome.TARGET
    assert solution.trace["flow_time"][-1] == pytest.approx(2.0, rel=1e-12)
    assert solution.loss == pytest.approx(float(quadratic().value(solution.w)), rel=1e-12)
    assert solution.trace["loss"][-1] == pytest.approx(solution.loss, rel=1e-9)


@pytest.mark.parametrize("name", ["vode", "cvode", "radau"])
def test_interpolation_changes_nothing_of_the_run(name):
    plain = sg.solve(quadratic(), FOLLOWING[name], until=sg.Until(flow_time=2.0))
    saved = sg.solve(quadratic(), FOLLOWING[name], save_at=np.linspace(0.01, 2.0, 50))
    np.testing.assert_allclose(saved.w, plain.w, rtol=1e-12)
    assert saved.statistics.steps == plain.statistics.steps
    assert plain.path is None


@pytest.mark.parametrize("name", ["dopri5", "tsit5", "chebyshev", "lsoda"])
def test_a_run_ends_at_its_flow_time(name):
    solution = sg.solve(quadratic(), FOLLOWING[name], until=sg.Until(flow_time=0.7))
    assert solution.trace["flow_time"][-1] == pytest.approx(0.7, rel=1e-12)
    assert np.abs(solution.w - exact([0.7])[0]).max() < 50 * RTOL
    assert "flow time 0.7" in solution.message


def test_a_path_ends_where_the_run_ends():
    solution = sg.solve(quadratic(), FOLLOWING["vode"], until=sg.Until(loss=1.0), save_at=[0.0, 0.01, 50.0])
    assert solution.path.times.tolist() == [0.0, 0.01]
    assert len(solution.path) == len(solution.path.weights) == 2


def test_a_path_is_saved(tmp_path):
    solution = sg.solve(quadratic(), FOLLOWING["vode"], save_at=TIMES)
    solution.save(tmp_path / "a.npz")
    np.testing.assert_array_equal(sg.load(tmp_path / "a.npz").path.weights, solution.path.weights)


@pytest.mark.parametrize("name", [n for n in sg.solvers.names() if n not in FOLLOWING])
def test_others_say_which_solvers_follow_the_flow(name):
    with pytest.raises(ValueError, match=r"does not follow the flow.*'chebyshev', 'vode'.*'ros2'"):
        sg.solve(quadratic(), name, until=sg.Until(flow_time=1.0))


@pytest.mark.parametrize(
    ("save_at", "error", "match"),
    [
        ([1.0, 0.5], ValueError, "ascending"),
        ([-1.0], ValueError, "from 0 on"),
        ([np.nan], ValueError, "finite"),
        ([], ValueError, "save_at"),
        ("soon", TypeError, "save_at='soon'"),
    ],
)
def test_bad_times_are_named(save_at, error, match):
    with pytest.raises(error, match=match):
        sg.solve(quadratic(), "vode", save_at=save_at)


def test_what_does_not_go_together_is_named(tmp_path):
    with pytest.raises(ValueError, match="past Until"):
        sg.solve(quadratic(), "vode", until=sg.Until(flow_time=1.0), save_at=[2.0])
    with pytest.raises(ValueError, match="checkpoint"):
        sg.solve(quadratic(), "vode", save_at=[2.0], checkpoint=tmp_path / "a.npz")
    with pytest.raises(ValueError, match="multistart"):
        sg.multistart(quadratic(), [START], sg.Until(flow_time=1.0))
