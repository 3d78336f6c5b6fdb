"""The peers: they solve what they must, stop exactly, and count what they call."""

import jax
import numpy as np
import optax
import optimistix
import pytest

import stiffgrad as sg
from stiffgrad import flow
from stiffgrad.objective import derivatives
from stiffgrad.solvers import _compiled
from stiffgrad.solvers.descent import Descent
from stiffgrad.solvers.minimisers import MINPACK
from stiffgrad.solvers.peers import LevenbergMarquardt, OptaxLBFGS, OptimistixBFGS, SSBroyden
from stiffgrad.solvers.relay import AdamLBFGS

LEAST_SQUARES = ["levenberg-marquardt", "minpack"]
GRADIENTS = ["optimistix-bfgs", "ssbroyden", "optax-lbfgs"]


@pytest.fixture(scope="module")
def sine():
    """40 points of a sine, 31 weights."""
    x = np.linspace(-1, 1, 40)[:, None]
    apply, params = sg.mlp([1, 10, 1], seed=0)
    return sg.supervised(apply, params, x, np.sin(3 * x))


@pytest.fixture(scope="module")
def wide():
    """Fewer residuals than weights, which MINPACK does not take as it is."""
    x = np.linspace(-1, 1, 8)[:, None]
    apply, params = sg.mlp([1, 6, 1], seed=1)
    return sg.supervised(apply, params, x, np.abs(x))


@pytest.fixture(scope="module")
def ridge():
    """A linear fit with weight decay, solved by the normal equations."""
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(12, 5)), generator.normal(size=12)
    objective = sg.least_squares(lambda w, s: s[0] @ w - s[1], np.ones(5), (x, y), weight_decay=0.3)
    return objective, np.linalg.solve(x.T @ x / 12 + 0.3 * np.eye(5), x.T @ y / 12)


@pytest.mark.parametrize("name", [*LEAST_SQUARES, *GRADIENTS])
def test_a_sine_is_fitted_to_1e_8_with_an_exact_stop(name, sine):
    solution = sg.solve(sine, name, until=sg.Until(loss=1e-8, wall_seconds=60))
    assert solution.outcome is sg.Outcome.TARGET
    assert solution.loss <= 1e-8
    assert np.all(solution.trace["loss"][:-1] > 1e-8)
    assert solution.trace["loss"][-1] == pytest.approx(solution.loss, rel=1e-9)
    assert solution.trace["gradient_norm"][-1] == pytest.approx(solution.gradient_norm, rel=1e-6)
    assert np.all(np.diff(solution.trace["loss"]) < 0)


@pytest.mark.parametrize("name", LEAST_SQUARES)
def test_fewer_residuals_than_weights(name, wide):
    assert wide.rows < wide.size
    solution = sg.solve(wide, name, until=sg.Until(loss=1e-12, wall_seconds=60))
    assert solution.outcome is sg.Outcome.TARGET


@pytest.mark.parametrize("name", [*LEAST_SQUARES, *GRADIENTS])
def test_weight_decay_belongs_to_the_objective(name, ridge):
    objective, best = ridge
    solution = sg.solve(objective, name, until=sg.Until(gradient_norm=1e-9, wall_seconds=30))
    assert solution.outcome is sg.Outcome.TARGET
    np.testing.assert_allclose(solution.w, best, atol=1e-8)
    np.testing.assert_allclose(solution.trace["loss"][-1], float(objective.value(best)), rtol=1e-12)


@pytest.mark.parametrize("name", [*LEAST_SQUARES, *GRADIENTS])
def test_without_a_target_they_end_by_themselves(name, ridge):
    objective, best = ridge
    solution = sg.solve(objective, name, until=sg.Until(wall_seconds=30))
    assert solution.outcome in (sg.Outcome.STALLED, sg.Outcome.STATIONARY)
    np.testing.assert_allclose(solution.w, best, atol=1e-6)
    assert solution.wall_seconds < 20


@pytest.mark.parametrize(("linear_solver", "jacobian"), [("qr", "forward"), ("cholesky", "reverse")])
def test_levenberg_marquardt_is_optimistix_by_hand(linear_solver, jacobian, ridge):
    objective, _ = ridge

    def residual(w, args):
        rows = derivatives.residual(objective, w)
        return jax.numpy.concatenate([rows, np.sqrt(0.3) * w])

    method = optimistix.LevenbergMarquardt(rtol=0.0, atol=1e-300)
    # One call evaluates the start; each of the others takes a step: all are accepted, since the model is exact.
    steps = 4
    seen = optimistix.least_squares(residual, method, objective.w0, max_steps=steps + 1, throw=False)
    solver = LevenbergMarquardt(linear_solver, jacobian)
    solution = sg.solve(objective, solver, until=sg.Until(steps=steps))
    np.testing.assert_allclose(solution.w, seen.value, rtol=1e-12)
    # The damping starts at 1, and falls by 3.5 where the model is exact; its inverse is the step of implicit Euler.
    hessian, gradient = np.asarray(objective.hessian(objective.w0)), np.asarray(objective.gradient(objective.w0))
    assert solution.trace["step_size"][1] == 1.0
    first = sg.solve(objective, solver, until=sg.Until(steps=1)).w
    np.testing.assert_allclose(first, objective.w0 - np.linalg.solve(np.eye(5) + hessian, gradient), rtol=1e-12)


def test_bfgs_is_optimistix_by_hand(sine):
    method = optimistix.BFGS(rtol=0.0, atol=1e-300)
    solution = sg.solve(sine, OptimistixBFGS(), until=sg.Until(steps=20))
    calls = solution.statistics.presentations
    seen = optimistix.minimise(
        lambda w, o: derivatives.value(o, w), method, sine.w0, sine, max_steps=calls, throw=False
    )
    np.testing.assert_allclose(solution.w, seen.value, rtol=1e-9)
    assert solution.statistics.rhs_evaluations == 21
    assert solution.statistics.loss_evaluations == solution.statistics.rejected_steps == calls - 21


def test_lbfgs_is_optax_by_hand(sine):
    method = optax.lbfgs()
    w, inner = sine.w0, method.init(sine.w0)
    value = optax.value_and_grad_from_state(lambda w: derivatives.value(sine, w))
    calls = 1
    for _ in range(12):
        loss, gradient = value(w, state=inner)
        updates, inner = method.update(
            gradient, inner, w, value=loss, grad=gradient, value_fn=lambda w: derivatives.value(sine, w)
        )
        w = w + updates
        calls += int(inner[-1].info.num_linesearch_steps)
    solution = sg.solve(sine, OptaxLBFGS(), until=sg.Until(steps=12))
    np.testing.assert_allclose(solution.w, w, rtol=1e-8)
    assert solution.statistics.presentations == solution.statistics.rhs_evaluations == calls


def test_compiled_peers_count_the_calls_they_make():
    calls = []

    def counted(w):
        jax.debug.callback(lambda: calls.append(1))
        return 100 * (w[1] - w[0] ** 2) ** 2 + (1 - w[0]) ** 2

    for solver in (OptimistixBFGS(), SSBroyden()):
        begin = []
        objective = sg.minimise(counted, np.array([-1.2, 1.0]))
        until = sg.Until(steps=12)
        solution = sg.solve(objective, solver, until=until, callback=lambda s, b=begin: b.append(len(calls)))
        jax.effects_barrier()
        made = len(calls) - begin[0] - 1  # without the solution's own evaluation
        assert solution.statistics.presentations == made
        assert solution.statistics.rejected_steps == made - 13


def test_minpack_counts_the_calls_it_makes(sine, monkeypatch):
    calls = {"residual": 0, "scaled_jacobian": 0}
    programs = flow._programs

    def counting(objective):
        found = programs(objective)
        return found | {name: counted(name, found[name]) for name in calls}

    def counted(name, program):
        def call(w):
            calls[name] += 1
            return program(w)

        return call

    monkeypatch.setattr(flow, "_programs", counting)
    begin = {}
    statistics = sg.solve(
        sine, MINPACK(), until=sg.Until(steps=10), callback=lambda s: begin.update(calls) if not begin else None
    ).statistics
    assert statistics.steps == 10
    assert statistics.loss_evaluations == calls["residual"] - begin["residual"]
    assert statistics.jacobian_evaluations == calls["scaled_jacobian"] - begin["scaled_jacobian"] == 11
    assert statistics.rejected_steps == statistics.loss_evaluations - 1 - 10
    assert statistics.presentations == statistics.loss_evaluations + statistics.jacobian_evaluations


def test_minpack_stops_within_its_time(sine):
    solution = sg.solve(sine, "minpack", until=sg.Until(wall_seconds=0.05))
    assert solution.outcome in (sg.Outcome.OUT_OF_TIME, sg.Outcome.STALLED)
    assert solution.wall_seconds < 1.0


@pytest.mark.parametrize("name", LEAST_SQUARES)
def test_other_losses_are_refused_with_the_remedy(name):
    apply, params = sg.mlp([2, 3], seed=0)
    objective = sg.supervised(apply, params, np.ones((4, 2)), np.array([0, 1, 2, 0]), loss="cross_entropy")
    with pytest.raises(ValueError, match=f"{name}.*cross_entropy.*loss='squared'"):
        sg.solve(objective, name)
    with pytest.raises(ValueError, match="identity"):
        sg.solve(sg.minimise(lambda w: w @ w, np.ones(2)), name)


@pytest.mark.parametrize("name", ["levenberg-marquardt", "ssbroyden"])
def test_float32_is_refused_where_the_peer_cannot(name):
    objective = sg.least_squares(lambda w, s: w - s, np.ones(2), np.zeros((3, 2)), dtype="float32")
    with pytest.raises(ValueError, match="float64"):
        sg.solve(objective, name)


@pytest.mark.parametrize("name", ["optimistix-bfgs", "minpack", "lbfgs"])
def test_float32_runs_where_the_peer_can(name):
    objective = sg.least_squares(lambda w, s: w - s, np.ones(2), np.zeros((3, 2)), dtype="float32")
    assert sg.solve(objective, name, until=sg.Until(loss=1e-10)).outcome is sg.Outcome.TARGET


@pytest.mark.parametrize("option", ["linear_solver", "jacobian"])
def test_unknown_options_are_named(option, ridge):
    with pytest.raises(ValueError, match=option):
        sg.solve(ridge[0], LevenbergMarquardt(**{option: "unheard of"}))


def test_a_second_run_compiles_nothing(sine):
    for solver in (LevenbergMarquardt(), OptimistixBFGS()):
        sg.solve(sine, solver, until=sg.Until(steps=2))
        before = _compiled._quick._cache_size()
        sg.solve(sine, solver, until=sg.Until(steps=3))
        assert _compiled._quick._cache_size() == before


def test_adam_hands_on_to_lbfgs_after_its_part_of_the_steps():
    """Counts go on, the loss goes on from where Adam ended, and each part is what its method does alone."""
    valley = sg.minimise(lambda w: (1 - w[0]) ** 2 + 100 * (w[1] - w[0] ** 2) ** 2, np.array([-1.0, 1.0]))
    solution = sg.solve(valley, AdamLBFGS(part=0.25), until=sg.Until(steps=40, wall_seconds=None))
    trace, second = solution.trace, solution.trace["second"].astype(bool)
    adam = sg.solve(valley, Descent("adam", learning_rate=1e-3), until=sg.Until(steps=10))
    last = np.flatnonzero(~second)[-1]
    assert trace["steps"][last] == 10
    assert trace["loss"][last] == adam.loss
    rest = sg.solve(valley.with_start(adam.params), "optax-lbfgs", until=sg.Until(steps=solution.statistics.steps - 10))
    np.testing.assert_array_equal(solution.w, rest.w)
    assert solution.statistics.presentations == adam.statistics.presentations + rest.statistics.presentations
    assert np.all(np.diff(trace["steps"]) == 1)
    assert solution.loss < 1e-6 * adam.loss


def test_adam_hands_on_after_its_part_of_the_seconds():
    valley = sg.minimise(lambda w: (1 - w[0]) ** 2 + 100 * (w[1] - w[0] ** 2) ** 2, np.array([-1.0, 1.0]))
    solution = sg.solve(valley, "adam-lbfgs", until=sg.Until(loss=1e-25, wall_seconds=0.4))
    first = solution.trace["wall_seconds"][np.argmax(solution.trace["second"])]
    assert solution.trace["second"][-1] == 1.0
    assert 0.1 < first < 0.4
