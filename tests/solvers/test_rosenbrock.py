"""The mathematics of `rosenbrock`: order, Newton limit, energy, both forms of the linear algebra, counts."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import stiffgrad as sg
from stiffgrad.curvature import dense, linalg, point, rows
from stiffgrad.curvature.dense import GaussNewton
from stiffgrad.curvature.point import Point
from stiffgrad.objective import derivatives
from stiffgrad.objective.gram import lower_gram
from stiffgrad.objective.parameters import Layout
from stiffgrad.objective.products import Factors
from stiffgrad.solvers import ROS2, ROS34PW2, Rosenbrock
from stiffgrad.solvers._compiled import Rows
from stiffgrad.solvers.w_method import WMethod

DIAGONAL = np.array([0.5, 1.0, 2.0])
scaled_jacobian = jax.jit(derivatives.scaled_jacobian)
residual = jax.jit(derivatives.residual)
gauss_newton = jax.jit(derivatives.gauss_newton)


def quadratic():
    """E = 1/2 sum of q w^2, whose flow is w0 exp(-q t)."""
    return sg.least_squares(lambda w, q: jnp.sqrt(q) * w, np.array([1.0, -1.0, 2.0]), DIAGONAL[None, :])


def quartic():
    """E = 1/2 (w^2)^2, whose flow w' = -2 w^3 is w0 / sqrt(1 + 4 w0^2 t)."""
    return sg.least_squares(lambda w, _: w**2, np.array([1.0]), np.zeros((1, 1)))


def network(rows, seed=0, decay=0.0, loss="squared"):
    apply, params = sg.mlp([2, 6, 1], seed=seed)
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(rows, 2))
    y = np.sin(X[:, :1]) * X[:, 1:]
    return sg.supervised(apply, params, X, y if loss == "squared" else (y > 0), loss=loss, weight_decay=decay)


def path_error(solver, objective, exact, steps):
    solution = sg.solve(objective, solver, until=sg.Until(steps=steps))
    assert solution.statistics.steps == steps
    time = float(solution.trace["flow_time"][-1])
    return np.abs(solution.w - exact(time)).max(), time


@pytest.mark.parametrize(
    ("objective", "exact"),
    [
        (quadratic(), lambda t: np.array([1.0, -1.0, 2.0]) * np.exp(-DIAGONAL * t)),
        (quartic(), lambda t: np.array([1.0 / np.sqrt(1 + 4 * t)])),
    ],
    ids=["linear", "quartic"],
)
@pytest.mark.parametrize(
    ("solver", "order"),
    [
        (Rosenbrock(w_steps=0, curvature="gauss-newton"), 1),
        (Rosenbrock(w_steps=0, correction=False, curvature="gauss-newton"), 1),
        (Rosenbrock(w_steps=5, curvature="gauss-newton"), 1),
        (ROS2(curvature="hessian"), 2),
        (ROS2(curvature="gauss-newton"), 2),
        (ROS2(curvature="gauss-newton", reuse=5), 2),
        (ROS34PW2(curvature="hessian"), 3),
        (ROS34PW2(curvature="gauss-newton", reuse=5), 3),
    ],
    ids=["correction", "plain", "stale Jacobian", "ros2", "ros2 as W-method", "old J", "ros34pw2", "ros34pw2, old J"],
)
def test_order_in_flow_time(objective, exact, solver, order):
    errors = []
    for halvings in (0, 1, 2):
        steps = 200 * 2**halvings
        solver = dataclasses.replace(solver, h0=1.0 / steps, adaptive=False)
        error, time = path_error(solver, objective, exact, steps)
        assert time == pytest.approx(1.0, rel=1e-6)
        errors.append(error)
    seen = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert seen == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize(("name", "order"), [("rosenbrock", 1), ("ros2", 2), ("ros34pw2", 3)])
def test_the_trace_tells_the_order(name, order):
    trace = sg.solve(quartic(), name, until=sg.Until(steps=3)).trace
    assert np.all(trace["order"][1:] == order)


def test_path_control_meets_its_tolerance():
    errors = []
    for rtol in (1e-3, 1e-5):
        solver = ROS2(rtol=rtol, atol=rtol)
        solution = sg.solve(quartic(), solver, until=sg.Until(loss=1e-3))
        exact = 1.0 / np.sqrt(1 + 4 * solution.trace["flow_time"])
        errors.append(np.abs(np.sqrt(np.sqrt(2 * solution.trace["loss"])) - exact).max())
    assert errors[0] < 1e-2
    assert errors[1] < 1e-4


def test_newton_in_one_step_on_a_quadratic_with_a_large_step():
    solution = sg.solve(quadratic(), Rosenbrock(h0=1e12, w_steps=0), until=sg.Until(steps=1))
    assert np.abs(solution.w).max() < 1e-11


@given(st.integers(0, 50))
def test_primal_and_dual_give_the_same_step(seed):
    generator = np.random.default_rng(seed)
    a, r, w = generator.normal(size=(5, 9)), generator.normal(size=5), generator.normal(size=9)
    h, decay = jnp.asarray(10.0 ** generator.uniform(-2, 3)), 10.0 ** generator.uniform(-4, 0)
    here = Point(jnp.asarray(w), jnp.asarray(0.5 * r @ r), jnp.asarray(a.T @ r + decay * w))
    primal = dense.Primal(None, here.w, jnp.asarray(a.T @ a + decay * np.eye(9)))
    dual = dense.Dual(None, here.w, whole(a), jnp.asarray(a @ a.T), jnp.asarray(decay))
    step, slope = primal.descend(primal.factor(h), h, here, None)
    other, other_slope = dual.descend(dual.factor(h), h, here, jnp.asarray(r))
    assert np.allclose(other, step, rtol=1e-10, atol=1e-10 * np.abs(step).max())
    assert float(other_slope) == pytest.approx(float(slope), rel=1e-9)
    assert float(primal.scale()) == pytest.approx(float(dual.scale()))


@given(st.sampled_from([1, 200, 512, 513, 700, 768, 769]), st.integers(0, 5))  # blocks of 256, from 513 on
def test_lower_gram(size, seed):
    a = np.random.default_rng(seed).normal(size=(size, 3))
    assert np.allclose(np.tril(lower_gram(jnp.asarray(a))), np.tril(a @ a.T), atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("loss", ["squared", "binary_cross_entropy"])
@pytest.mark.parametrize("decay", [0.0, 1e-3])
def test_energy_never_rises(seed, loss, decay):
    """But for its own rounding, where the gradient judges."""
    losses = sg.solve(network(40, seed, decay, loss), "rosenbrock", until=sg.Until(steps=60)).trace["loss"]
    assert np.all(np.diff(losses) <= 8 * np.finfo(float).eps * losses[:-1])


def whole(a):
    """A as one block of rows and one leaf."""
    return rows.FactoredRows([[Factors(jnp.asarray(a))]], Layout.of(np.zeros(a.shape[1])))


def products(found, d, b):
    return found.kernel(), found.gram(), found.push(d), found.pull(b)


@pytest.mark.parametrize("loss", ["squared", "binary_cross_entropy", "cross_entropy"])
def test_rows_by_layers_are_the_dense_rows(loss):
    """Both Gram matrices from layer factors, A d and A'b without A."""
    apply, params = sg.mlp([3, 5, 4, 2], seed=3)
    generator = np.random.default_rng(3)
    targets = generator.integers(0, 2, 7) if loss == "cross_entropy" else generator.uniform(size=(7, 2))
    objective = sg.supervised(apply, params, generator.normal(size=(7, 3)), targets, loss=loss)
    w, d, b = objective.w0, generator.normal(size=objective.size), generator.normal(size=14)
    a = np.asarray(scaled_jacobian(objective, w))

    def of_rows(w, d, b):
        layered = rows.rows_at(objective, w)
        assert isinstance(layered, rows.LayeredRows)
        return products(layered, d, b)

    of_whole = jax.jit(lambda a, d, b: products(whole(a), d, b))
    for kernel, gram, push, pull in (jax.jit(of_rows)(w, d, b), of_whole(a, d, b)):
        assert np.allclose(np.tril(kernel), np.tril(a @ a.T), atol=1e-13)
        assert np.allclose(np.tril(gram), np.tril(a.T @ a), atol=1e-13)
        assert np.allclose(push, a @ d, atol=1e-13)
        assert np.allclose(pull, b @ a, atol=1e-13)


def test_dual_is_used_where_the_kernel_is_smaller():
    assert GaussNewton().dual(network(10))
    assert not GaussNewton().dual(network(40))


@pytest.mark.parametrize("samples", [10, 40], ids=["dual", "primal"])
def test_the_model_by_numpy_is_that_by_jax(samples):
    objective = network(samples)
    w = np.array(objective.w0)
    start = point.evaluated(objective, w)
    found = []
    for at in (w, jnp.asarray(w)):
        model = GaussNewton().linearise(objective, at)
        h = np.asarray(0.3) if at is w else jnp.asarray(0.3)
        lower = model.factor(h)
        d, toward = model.descend(lower, h, start, derivatives.residual(objective, w))
        found.append([np.asarray(part) for part in (d, toward, model.bend(lower, d), model.scale())])
    for by_numpy, by_jax in zip(*found, strict=True):
        assert np.linalg.norm(by_jax) > 0
        assert np.allclose(by_numpy, by_jax, rtol=1e-9, atol=1e-12)


def test_correction_lowers_the_residual_error_by_one_order():
    """At large h with m < n the first stage zeroes the linear model: what is left is O(|d|^2), with a/2 O(|d|^3)."""
    objective = network(6)
    w = objective.w0
    a, r = scaled_jacobian(objective, w), residual(objective, w)
    dual = GaussNewton().linearise(objective, w)
    h = jnp.asarray(1e9)
    lower = dual.factor(h)
    direction, _ = dual.descend(lower, h, point.evaluated(objective, w), r)
    errors = {"plain": [], "corrected": []}
    for scale in (0.1, 0.05, 0.025):
        d = scale * direction
        correction = dual.bend(lower, d)
        linear = r + a @ d
        errors["plain"].append(np.linalg.norm(residual(objective, w + d) - linear))
        errors["corrected"].append(np.linalg.norm(residual(objective, w + d + 0.5 * correction) - linear))
    for name, order in (("plain", 2), ("corrected", 3)):
        assert np.log2(errors[name][0] / errors[name][1]) == pytest.approx(order, abs=0.3)
        assert np.log2(errors[name][1] / errors[name][2]) == pytest.approx(order, abs=0.2)


def noisy():
    """Targets that no network of this size can meet."""
    generator = np.random.default_rng(1)
    apply, params = sg.mlp([2, 4, 1], seed=1)
    X = generator.normal(size=(60, 2))
    return sg.supervised(apply, params, X, generator.normal(size=60), weight_decay=1e-2)


def test_quadratic_convergence_with_the_hessian():
    """Where residuals do not vanish; Gauss-Newton is only linear there."""
    until = sg.Until(gradient_norm=1e-13, steps=400)
    norms = sg.solve(noisy(), Rosenbrock("hessian", w_steps=0), until=until).trace["gradient_norm"]
    near = norms[norms < 1e-3]
    assert len(near) >= 3
    rates = np.log(near[1:]) / np.log(near[:-1])
    assert rates.max() > 1.5
    assert near[-1] < 1e-13  # below the rounding of the loss, where only the gradient can judge
    slow = sg.solve(noisy(), Rosenbrock("gauss-newton"), until=sg.Until(gradient_norm=1e-10, steps=400))
    assert slow.statistics.steps > 2 * len(norms)


def test_the_hessian_takes_over_only_where_it_earns_its_cost():
    """On a plateau of Gauss-Newton the race tries the Hessian once it is a small part of what was spent."""
    solution = sg.solve(noisy(), "rosenbrock", until=sg.Until(gradient_norm=1e-11, steps=4000))
    trace = solution.trace
    assert solution.gradient_norm <= 1e-11
    tried = np.flatnonzero(trace["jacobian"] == 2)
    if len(tried):
        price = 4 * 2 * noisy().size
        assert trace["cost"][tried[0] - 1] >= price


@pytest.mark.parametrize("rows_of_data", [40, 12], ids=["primal", "dual"])
def test_counters_equal_calls(monkeypatch, rows_of_data):
    """Uncompiled, every derivative is called as often as the counts say."""
    calls = dict.fromkeys(("value_and_gradient", "rows_at", "factor", "curvature"), 0)

    def counting(module, name, key=None):
        real = getattr(module, name)

        def wrapped(*args, **kwargs):
            calls[key or name] += 1
            return real(*args, **kwargs)

        monkeypatch.setattr(module, name, wrapped)

    objective = network(rows_of_data, seed=2)
    counting(point, "_value_and_gradient", "value_and_gradient")
    counting(dense, "rows_at")
    counting(linalg, "factor")
    for name in ("_curvature_rows", "_curvature_gradient"):
        counting(dense, name, "curvature")
    solver = WMethod()
    with jax.disable_jit():
        state, row = solver.initial(objective, np.asarray(objective.w0))
        packed = jnp.asarray([float(row[name]) for name in (*solver.columns, "ended")])
        carry = Rows(state, packed, jnp.zeros((64, len(packed))), jnp.asarray(0), jnp.asarray(0))
        going = lambda carry: carry.count < 20  # noqa: E731
        tally = solver.loop(objective, carry, going, lambda carry: True).state.place.tally
    assert calls["value_and_gradient"] == tally.gradients
    assert calls["rows_at"] == tally.jacobians
    assert calls["factor"] == tally.factorizations
    assert calls["curvature"] == tally.products
    assert tally.losses == tally.hessians == 0
    assert tally.steps + tally.rejected == tally.gradients - 1  # but for the start
    assert tally.solves == tally.gradients + tally.products
    assert tally.presentations(objective) == tally.gradients + 2 * tally.products + tally.jacobians


def test_indefinite_hessian():
    saddle = sg.minimise(lambda w: 0.25 * w[0] ** 4 - 0.5 * w[0] ** 2 + 0.5 * w[1] ** 2, np.array([1e-3, 1.0]))
    solution = sg.solve(saddle, "rosenbrock", until=sg.Until(gradient_norm=1e-10, steps=100))
    assert solution.outcome is sg.Outcome.TARGET
    assert solution.loss == pytest.approx(-0.25)


def test_zero_gradient_is_stationary():
    solution = sg.solve(sg.minimise(lambda w: jnp.sum(w**2), np.zeros(3)), "rosenbrock", until=sg.Until())
    assert solution.outcome is sg.Outcome.STATIONARY
    assert solution.statistics.steps == 0


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_tiny_and_huge_gradients(scale):
    objective = sg.minimise(lambda w: scale * 0.5 * jnp.sum((w - 1.0) ** 2), np.zeros(3))
    solution = sg.solve(objective, "rosenbrock", until=sg.Until(loss=1e-20 * scale, steps=100))
    assert solution.outcome is sg.Outcome.TARGET


def test_rank_deficient_jacobian():
    objective = sg.least_squares(lambda w, s: (w[0] + w[1]) * s - 2.0 * s, np.zeros(2), np.ones(3))
    solution = sg.solve(objective, "rosenbrock", until=sg.Until(loss=1e-24, steps=50))
    assert solution.outcome is sg.Outcome.TARGET
    assert solution.w == pytest.approx([1.0, 1.0])  # the flow never leaves the row space


def test_infinite_loss_on_a_trial_step():
    """log(w) is not defined below zero: trial steps there are rejected."""
    objective = sg.minimise(lambda w: jnp.sum(w - jnp.log(w)), np.array([30.0]))
    solution = sg.solve(objective, Rosenbrock(h0=1e4), until=sg.Until(gradient_norm=1e-10, steps=100))
    assert solution.w == pytest.approx([1.0])
    assert solution.statistics.rejected_steps > 0


def test_trace_tells_what_the_step_did():
    trace = sg.solve(network(40), "rosenbrock", until=sg.Until(steps=10)).trace
    assert set(trace["jacobian"][1:]) <= {1.0, 2.0}
    assert set(trace["w_steps"][1:]) <= {0.0, 1.0}  # 1 where the step reused the factorization of the one before
    assert set(trace["correction"][1:]) <= {0.0, 1.0}
    assert np.all(np.diff(trace["flow_time"]) > 0)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"curvature": "newton"}, "curvature"),
        ({"w_steps": -1}, "w_steps"),
        ({"h0": 0.0}, "h0"),
        ({"adaptive": False}, "adaptive"),
    ],
)
def test_bad_options(options, word):
    with pytest.raises(ValueError, match=word):
        sg.solve(network(10), Rosenbrock(**options))


def test_memory_is_checked_first(monkeypatch):
    monkeypatch.setattr("stiffgrad._memory.available_bytes", lambda: 1000.0)
    with pytest.raises(MemoryError, match="exponential"):
        sg.solve(network(10), "rosenbrock")


def test_every_point_took_one_linear_solve():
    # Without the geodesic correction, which solves once more; the start is a step of length zero.
    generator = np.random.default_rng(0)
    data = generator.normal(size=(9, 3)), np.arange(9.0)
    line = sg.least_squares(lambda p, s: p["a"] @ s[0] - s[1], {"a": np.zeros(3)}, data)
    bowl = sg.minimise(lambda w: 0.5 * w @ np.diag([1.0, 30.0, 1000.0]) @ w, np.ones(3))
    for objective in (line, bowl):
        until = sg.Until(gradient_norm=1e-9)
        counts = sg.solve(objective, sg.solvers.create("rosenbrock", correction=False), until=until).statistics
        assert counts.rejected_steps == 0
        assert counts.linear_solves == counts.rhs_evaluations > 1


# ---- one trial, by NumPy: what comes next


def trial(method, objective, scale=1.0, **fields):
    """One trial from the start, its factor multiplied by `scale`: a small one makes a step far too long."""
    w = np.asarray(objective.w0)
    state, _ = method.initial(objective, w)
    model = method.model.linearise(objective, w)
    state = state._replace(place=state.place._replace(point=point.evaluated(objective, w)), base=w, h=np.float64(1.0))
    state = state._replace(**{"factored_h": np.float64(1.0), "worn": False, "stale": False, "pause": 4, **fields})
    return method._trial(objective, model, scale * model.factor(1.0), state)[0]


@pytest.mark.parametrize(("pause", "longer"), [(4, 8), (16, 16)])
def test_a_refused_w_step_makes_the_next_try_wait(pause, longer):
    after = trial(WMethod(), network(40), 1e-3, again=np.bool_(True), pause=np.int64(pause))
    assert (after.place.tally.rejected, after.stale, after.worn, after.again) == (1, True, True, False)
    assert (after.rest, after.pause) == (pause, longer)
    assert after.h == 1.0
    counts = after.place.tally
    assert (counts.gradients, counts.factorizations, counts.products, counts.solves) == (1, 0, 0, 1)


def test_waiting_ends_with_a_w_step_that_is_accepted():
    accepted = trial(WMethod(), network(40), again=np.bool_(True))
    assert (accepted.place.tally.steps, accepted.pause, accepted.rest, accepted.reused) == (1, 1, 0, 1)


def test_a_second_w_step_that_is_refused_is_no_reason_to_wait():
    after = trial(WMethod(), network(40), 1e-3, again=np.bool_(True), reused=np.int64(1))
    assert (after.place.tally.rejected, after.rest, after.pause, after.stale) == (1, 0, 4, True)


def test_a_rejected_step_keeps_the_jacobian_and_shrinks():
    after = trial(WMethod(), network(40), 1e-3)
    assert (after.place.tally.rejected, after.stale, after.worn, after.h) == (1, False, True, 0.25)
    assert (after.rest, after.pause) == (0, 4)
    counts = after.place.tally
    assert (counts.factorizations, counts.products, counts.solves) == (1, 1, 2)


def test_w_steps_follow_while_they_keep_their_promise_and_are_few():
    objective = network(40)
    first = trial(WMethod(), objective)
    assert (first.place.tally.steps, first.again, first.stale, first.worn) == (1, True, False, False)
    assert not trial(WMethod(promise=1e9), objective).again
    assert not trial(WMethod(w_steps=0), objective).again
    assert not trial(WMethod(), objective, rest=np.int64(3)).again
    assert trial(WMethod(), objective, again=np.bool_(True), reused=np.int64(3)).again
    last = trial(WMethod(), objective, again=np.bool_(True), reused=np.int64(4))
    assert (last.again, last.stale, last.worn, last.reused) == (False, True, True, 5)


@pytest.mark.parametrize(
    ("age", "h", "stale", "rejected"), [(0, 1e6, False, 1), (3, 1e6, True, 1), (3, 1e-6, False, 0), (10, 1e-6, True, 0)]
)
def test_a_jacobian_serves_until_a_step_fails_with_it(age, h, stale, rejected):
    """With `reuse=10` it serves eleven steps; one that fails with a new Jacobian is not due to that."""
    method, objective = ROS34PW2(reuse=10), network(40)
    w = jnp.asarray(objective.w0)
    state, _ = method.initial(objective, np.asarray(objective.w0))
    place = state.place._replace(point=point.evaluated(objective, w))
    state = state._replace(place=place, age=jnp.asarray(age), h=jnp.asarray(h), stale=jnp.asarray(False))
    after, _ = jax.jit(method._trial)(objective, gauss_newton(objective, w), state)
    assert (bool(after.stale), int(after.place.tally.rejected)) == (stale, rejected)


@pytest.mark.parametrize("rows", [40, 10])
def test_the_correction_is_taken_where_it_is_small_beside_the_step(rows):
    """Half of a, where 2|a| is at most three quarters of |d|; a grows with the square of d."""
    method, objective = WMethod(), network(rows)
    w = np.asarray(objective.w0)
    model = method.model.linearise(objective, w)
    lower, d = model.factor(1.0), np.linspace(-1.0, 1.0, objective.size)
    bend = np.linalg.norm(model.bend(lower, d))
    edge = 0.75 * np.linalg.norm(d) / (2.0 * bend)  # as long as d may be, in its own lengths
    for scale, taken in ((0.01 * edge, True), (0.99 * edge, True), (1.01 * edge, False), (100 * edge, False)):
        step, good = method._corrected(objective, model, lower, scale * d, np.bool_(False))
        assert bool(good) == taken
        expected = scale * d + (0.5 * model.bend(lower, scale * d) if taken else 0.0)
        np.testing.assert_allclose(step, expected, rtol=1e-12, atol=1e-15)


# ---- what dense work costs


def test_costs_of_dense_curvature_are_counted_from_its_shapes():
    primal, dual = network(40), network(10)
    (m, n), few = (40, primal.size), 10
    assert GaussNewton().flops(primal) == m * n**2
    assert GaussNewton().bytes(primal) == 2 * 8 * m * n + 4 * 8 * n**2
    assert GaussNewton().flops(dual) == few**2 * n
    assert GaussNewton().bytes(dual) == 2 * 8 * few * n + 4 * 8 * few**2
    assert (GaussNewton().side(primal), GaussNewton().side(dual)) == (n, few)
    assert (dense.Hessian().flops(primal), dense.Hessian().side(dual)) == (0.0, n)
    assert dense.Hessian().bytes(primal) == 5 * 8 * n**2


@pytest.mark.parametrize("name", ["ros2", "ros34pw2"])
def test_the_first_step_of_a_follower_is_in_the_units_of_its_flow(name):
    """A flow that is a million times as fast starts with a step that is as much shorter."""
    steps = []
    for speed in (1.0, 1e6):
        bowl = sg.minimise(lambda w, c=speed: 0.5 * c * w @ w, np.ones(2))
        trace = sg.solve(bowl, name, until=sg.Until(steps=1), throw=False).trace
        steps.append(trace["flow_time"][-1])
    assert steps[0] / steps[1] == pytest.approx(1e6, rel=1e-9)
