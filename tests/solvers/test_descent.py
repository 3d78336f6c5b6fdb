"""Gradient descent against closed forms and Optax by hand; SciPy's minimisers on what they must solve."""

import jax
import numpy as np
import optax
import pytest

import stiffgrad as sg
from stiffgrad.solvers import _compiled
from stiffgrad.solvers.descent import METHODS, Descent
from stiffgrad.solvers.minimisers import BFGS, CG, LBFGS

EIGENVALUES = np.array([0.5, 1.0, 3.0])
ROTATION, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
HESSIAN = ROTATION * EIGENVALUES @ ROTATION.T
BEST = np.array([1.0, -2.0, 0.5])


def bowl(w):
    return 0.5 * (w - BEST) @ HESSIAN @ (w - BEST)


def valley(w):
    return (1 - w[0]) ** 2 + 100 * (w[1] - w[0] ** 2) ** 2


@pytest.fixture(scope="module")
def quadratic():
    return sg.minimise(bowl, np.zeros(3))


@pytest.fixture(scope="module")
def samples():
    """E = mean of 1/2 (x'w - y)^2 over 10 samples."""
    generator = np.random.default_rng(1)
    data = generator.normal(size=(10, 4)), generator.normal(size=10)
    return sg.least_squares(lambda w, s: s[0] @ w - s[1], np.zeros(4), data), data


def test_sgd_on_a_quadratic_is_a_power_of_a_matrix(quadratic):
    rate, steps = 0.3, 25
    solution = sg.solve(quadratic, Descent("sgd", rate), until=sg.Until(steps=steps))
    error = np.linalg.matrix_power(np.eye(3) - rate * HESSIAN, steps) @ (0 - BEST)
    np.testing.assert_allclose(solution.w, BEST + error, rtol=1e-13)
    trace = solution.trace
    np.testing.assert_allclose(trace["flow_time"], rate * np.arange(steps + 1), rtol=1e-14)
    powers = [np.linalg.matrix_power(np.eye(3) - rate * HESSIAN, k) @ (0 - BEST) for k in range(steps + 1)]
    np.testing.assert_allclose(trace["loss"], [0.5 * e @ HESSIAN @ e for e in powers], rtol=1e-11)
    np.testing.assert_allclose(trace["gradient_norm"], [np.linalg.norm(HESSIAN @ e) for e in powers], rtol=1e-11)


MAKERS = {
    "sgd": lambda rate: optax.sgd(rate),
    "momentum": lambda rate: optax.sgd(rate, momentum=0.9),
    "nesterov": lambda rate: optax.sgd(rate, momentum=0.9, nesterov=True),
    "adagrad": optax.adagrad,
    "adadelta": optax.adadelta,
    "rmsprop": optax.rmsprop,
    "adam": optax.adam,
    "adamw": optax.adamw,
    "nadam": optax.nadam,
}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_optax_by_hand(method, quadratic):
    optimiser = MAKERS[method](0.05)
    w = quadratic.w0
    state = optimiser.init(w)
    for _ in range(20):
        change, state = optimiser.update(quadratic.gradient(w), state, w)
        w = optax.apply_updates(w, change)
    solution = sg.solve(quadratic, Descent(method, learning_rate=0.05), until=sg.Until(steps=20))
    np.testing.assert_allclose(solution.w, w, rtol=1e-12)
    assert solution.trace["loss"][-1] == pytest.approx(float(quadratic.value(w)), rel=1e-12)


def test_momentum_and_its_closed_form(quadratic):
    # w_{k+1} = w_k - rate m_{k+1}, m_{k+1} = mu m_k + H (w_k - BEST): a linear recurrence of twice the size.
    rate, momentum, steps = 0.1, 0.7, 30
    block = np.block([[np.eye(3) - rate * HESSIAN, -rate * momentum * np.eye(3)], [HESSIAN, momentum * np.eye(3)]])
    end = np.linalg.matrix_power(block, steps) @ np.concatenate([-BEST, np.zeros(3)])
    solution = sg.solve(quadratic, Descent("momentum", rate, momentum=momentum), until=sg.Until(steps=steps))
    np.testing.assert_allclose(solution.w, BEST + end[:3], rtol=1e-12)


def test_each_step_costs_one_gradient(quadratic):
    calls = []

    def counted(w):
        jax.debug.callback(lambda: calls.append(1))
        return bowl(w)

    objective = sg.minimise(counted, np.zeros(3))
    begin = []
    solution = sg.solve(
        objective, Descent("adam", 0.1), until=sg.Until(steps=9), callback=lambda s: begin.append(len(calls))
    )
    jax.effects_barrier()
    # The driver shows the start and the solution; the solver evaluates the start and every step.
    assert len(calls) - begin[0] == 10 + 1
    assert solution.statistics.rhs_evaluations == solution.statistics.presentations == 10
    assert solution.trace["rhs_evaluations"].tolist() == list(range(1, 11))


def test_another_learning_rate_does_not_recompile(quadratic):
    for rate in (0.1, 0.03, 1, np.float64(1e-3), 1e-4):
        sg.solve(quadratic, Descent("adam", learning_rate=rate), until=sg.Until(steps=3))
        if rate == 0.1:
            before = _compiled._quick._cache_size()
    assert _compiled._quick._cache_size() == before


def test_divergence_is_found_raised_and_returned(quadratic):
    # |1 - 1 * 3| = 2 doubles the error in every step.
    with pytest.raises(sg.SolveError, match="learning_rate") as failure:
        sg.solve(quadratic, Descent("sgd", 1.0), until=sg.Until(steps=10_000))
    assert failure.value.outcome is sg.Outcome.DIVERGED
    solution = sg.solve(quadratic, Descent("sgd", 1.0), until=sg.Until(steps=10_000), throw=False)
    assert solution.outcome is sg.Outcome.DIVERGED
    start = float(quadratic.value(np.zeros(3)))
    assert solution.trace["loss"][-1] > 1e6 * (start + 1)
    assert np.all(solution.trace["loss"][:-1] <= 1e6 * (start + 1))
    assert solution.statistics.steps < 20


def test_a_loss_that_is_not_finite_is_divergence():
    objective = sg.minimise(lambda w: jax.numpy.sum(w**4), np.array([3.0]))
    solution = sg.solve(objective, Descent("sgd", 1e200), until=sg.Until(steps=100), throw=False)
    assert solution.outcome is sg.Outcome.DIVERGED


def test_sgd_notices_that_nothing_moves():
    objective = sg.minimise(lambda w: 0.5 * w @ w, np.array([1.0, 1.0]), dtype="float32")
    solution = sg.solve(objective, Descent("sgd", 1e-9), until=sg.Until(steps=1000))
    assert solution.outcome is sg.Outcome.STALLED
    assert solution.statistics.steps == 1


def test_mini_batches_present_every_sample_once_an_epoch(samples):
    objective, (x, y) = samples
    rate = 0.05
    solution = sg.solve(objective, Descent("sgd", rate, batch_size=3, seed=4), until=sg.Until(steps=4))
    # 10 samples in batches of 3, 3, 3 and 1; the gradient of a batch is the mean over it.
    _, order = jax.random.split(jax.random.key(4))
    w = np.zeros(4)
    for batch in np.split(np.asarray(jax.random.permutation(order, 10)), [3, 6, 9]):
        w = w - rate * np.mean((x[batch] @ w - y[batch])[:, None] * x[batch], axis=0)
    np.testing.assert_allclose(solution.w, w, rtol=1e-12)
    assert solution.trace["steps"].tolist() == [0, 4]
    assert solution.trace["loss"][-1] == pytest.approx(float(objective.value(w)), rel=1e-12)
    assert solution.statistics.presentations == 1 + 1 + 1  # the start's loss, an epoch, and its loss
    assert solution.statistics.rhs_evaluations == 4
    assert solution.statistics.loss_evaluations == 2


def test_mini_batches_reach_a_target_of_the_full_batch(samples):
    objective, _ = samples
    least = float(objective.value(np.linalg.solve(objective.hessian(np.zeros(4)), -objective.gradient(np.zeros(4)))))
    solution = sg.solve(objective, Descent("adam", 0.01, batch_size=5), until=sg.Until(loss=1.1 * least))
    assert solution.outcome is sg.Outcome.TARGET
    assert float(objective.value(solution.w)) <= 1.1 * least
    again = sg.solve(objective, Descent("adam", 0.01, batch_size=5, seed=1), until=sg.Until(loss=1.1 * least))
    assert not np.array_equal(again.w, solution.w)


@pytest.mark.parametrize(
    ("options", "word"),
    [({"learning_rate": 0}, "learning_rate"), ({"momentum": 1.0}, "momentum"), ({"batch_size": 0}, "batch_size")],
)
def test_bad_numbers_are_named(options, word, quadratic):
    with pytest.raises(ValueError, match=word):
        sg.solve(quadratic, Descent("momentum", **options))


def test_mini_batches_need_one_term():
    term = sg.Term(lambda w, x: w * x, np.ones(3))
    with pytest.raises(ValueError, match="batch_size"):
        sg.solve(sg.Objective(np.ones(1), [term, term]), Descent("sgd", batch_size=2))


@pytest.mark.parametrize("solver", [LBFGS(), LBFGS(memory=3), BFGS(), CG()])
def test_minimisers_solve_a_curved_valley_with_an_exact_stop(solver):
    objective = sg.minimise(valley, np.array([-1.0, 1.0]))
    solution = sg.solve(objective, solver, until=sg.Until(loss=1e-10))
    assert solution.outcome is sg.Outcome.TARGET
    assert solution.loss <= 1e-10
    assert np.all(solution.trace["loss"][:-1] > 1e-10)
    np.testing.assert_allclose(solution.w, [1.0, 1.0], atol=1e-4)


@pytest.mark.parametrize("solver", ["lbfgs", "bfgs", "cg"])
def test_minimisers_go_on_until_rounding_stops_them(solver, samples):
    objective, (x, y) = samples
    solution = sg.solve(objective, solver, until=sg.Until(wall_seconds=20))
    assert solution.outcome in (sg.Outcome.STALLED, sg.Outcome.STATIONARY)
    best, *_ = np.linalg.lstsq(x, y, rcond=None)
    np.testing.assert_allclose(solution.w, best, rtol=1e-6)
    assert solution.loss == pytest.approx(float(objective.value(best)), rel=1e-13)


def test_lbfgs_on_a_convex_problem_of_badly_scaled_weights():
    scales = np.logspace(0, 4, 40)
    objective = sg.minimise(lambda w: 0.5 * w @ (scales * w), np.ones(40))
    solution = sg.solve(objective, "lbfgs", until=sg.Until(loss=1e-10))
    assert solution.outcome is sg.Outcome.TARGET


@pytest.mark.parametrize(
    ("factor", "outcome", "word"),
    [
        # Wrong in sign: nothing is lower along it. Too long by far: no line search is content, yet descent is possible.
        (-1.0, sg.Outcome.STALLED, "no step along the gradient"),
        (1e8, sg.Outcome.FAILED, "SciPy says"),
    ],
)
def test_the_end_of_a_line_search_is_judged_by_the_loss(factor, outcome, word):
    @jax.custom_vjp
    def lie(w):
        return 0.5 * w @ w

    lie.defvjp(lambda w: (lie(w), w), lambda w, g: (factor * g * w,))
    solution = sg.solve(sg.minimise(lie, np.ones(2)), "lbfgs", until=sg.Until(loss=1e-10), throw=False)
    assert solution.outcome is outcome
    assert word in solution.message


def test_memory_must_be_positive():
    with pytest.raises(ValueError, match="memory=0"):
        sg.solve(sg.minimise(valley, np.ones(2) * 2), LBFGS(memory=0))
