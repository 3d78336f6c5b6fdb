"""The mathematics of `rosenbrock`: order, Newton limit, energy, both forms of the linear algebra, counts."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import stiffgrad as sg
from stiffgrad.curvature import linalg
from stiffgrad.objective import derivatives
from stiffgrad.objective.gram import lower_gram
from stiffgrad.solvers import Rosenbrock
from stiffgrad.solvers.rosenbrock import is_dual

DIAGONAL = np.array([0.5, 1.0, 2.0])


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
    ("options", "order"),
    [
        ({"w_steps": 0, "curvature": "gauss-newton"}, 1),
        ({"w_steps": 0, "correction": False, "curvature": "gauss-newton"}, 1),
        ({"w_steps": 5, "curvature": "gauss-newton"}, 1),
        ({"path": True}, 2),
        ({"path": True, "curvature": "gauss-newton"}, 2),
    ],
    ids=["correction", "plain", "stale Jacobian", "ros2", "ros2 as W-method"],
)
def test_order_in_flow_time(objective, exact, options, order):
    errors = []
    for halvings in (0, 1, 2):
        stages = 1 + options.get("w_steps", 0)
        solver = Rosenbrock(h0=0.005 / 2**halvings, adaptive=False, **options)
        error, time = path_error(solver, objective, exact, 200 * 2**halvings // (10 if stages > 1 else 1))
        assert time == pytest.approx(1.0 if stages == 1 else 0.6, rel=1e-6)
        errors.append(error)
    seen = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert seen == pytest.approx(order, abs=0.15)


def test_path_control_meets_its_tolerance():
    errors = []
    for rtol in (1e-3, 1e-5):
        solver = Rosenbrock(path=True, rtol=rtol, atol=rtol)
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
    shift, decay = 10.0 ** generator.uniform(-3, 2), 10.0 ** generator.uniform(-4, 0)
    primal = linalg.Primal(linalg.factor(jnp.asarray(a.T @ a + decay * np.eye(9)), shift), shift)
    lower = linalg.factor(jnp.asarray(a @ a.T), shift + decay)
    dual = linalg.Dual(lower, shift, decay, lambda d: a @ d, lambda b: a.T @ b)
    step = -primal.solve(a.T @ r + decay * w)
    assert np.allclose(dual.descend(r, w), step, rtol=1e-10, atol=1e-10 * np.abs(step).max())


@given(st.integers(1, 700), st.integers(0, 5))
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


@pytest.mark.parametrize("loss", ["squared", "binary_cross_entropy", "cross_entropy"])
def test_kernel_and_products_by_layers(loss):
    """The kernel from layer factors, A d and A'b without A: equal to the dense rows."""
    apply, params = sg.mlp([3, 5, 4, 2], seed=3)
    generator = np.random.default_rng(3)
    targets = generator.integers(0, 2, 7) if loss == "cross_entropy" else generator.uniform(size=(7, 2))
    objective = sg.supervised(apply, params, generator.normal(size=(7, 3)), targets, loss=loss)
    w, d, b = objective.w0, generator.normal(size=objective.size), generator.normal(size=14)
    a = np.asarray(derivatives.scaled_jacobian(objective, w))
    assert np.allclose(np.tril(derivatives.kernel(objective, w)), np.tril(a @ a.T), atol=1e-13)
    assert np.allclose(derivatives.push(objective, w, d), a @ d, atol=1e-13)
    assert np.allclose(derivatives.pull(objective, w, b), b @ a, atol=1e-13)


def test_dual_is_used_where_the_kernel_is_smaller():
    assert is_dual(network(10))
    assert not is_dual(network(40))


def test_correction_lowers_the_residual_error_by_one_order():
    """At large h with m < n the first stage zeroes the linear model: what is left is O(|d|^2), with a/2 O(|d|^3)."""
    objective = network(6)
    w = objective.w0
    a, r = derivatives.scaled_jacobian(objective, w), derivatives.residual(objective, w)
    lower = linalg.factor(derivatives.kernel(objective, w), 1e-9)
    push, pull = partial(derivatives.push, objective, w), partial(derivatives.pull, objective, w)
    dual = linalg.Dual(lower, 1e-9, 0.0, push, pull)
    direction = dual.descend(r, w)
    errors = {"plain": [], "corrected": []}
    for scale in (0.1, 0.05, 0.025):
        d = scale * direction
        correction = -dual.solve(derivatives.curvature_rows(objective, w, d))
        linear = r + a @ d
        errors["plain"].append(np.linalg.norm(derivatives.residual(objective, w + d) - linear))
        errors["corrected"].append(np.linalg.norm(derivatives.residual(objective, w + d + 0.5 * correction) - linear))
    for name, order in (("plain", 2), ("corrected", 3)):
        assert np.log2(errors[name][0] / errors[name][1]) == pytest.approx(order, abs=0.3)
        assert np.log2(errors[name][1] / errors[name][2]) == pytest.approx(order, abs=0.2)


def noisy():
    """Targets that no network of this size can meet."""
    generator = np.random.default_rng(1)
    apply, params = sg.mlp([2, 4, 1], seed=1)
    X = generator.normal(size=(60, 2))
    return sg.supervised(apply, params, X, generator.normal(size=60), weight_decay=1e-2)


def test_exact_hessian_takes_over_where_residuals_do_not_vanish():
    """Gauss-Newton is only linear there; with the Hessian a gradient norm of 1e-10 takes few further steps."""
    trace = sg.solve(noisy(), "rosenbrock", until=sg.Until(gradient_norm=1e-10, steps=400)).trace
    assert trace["gradient_norm"][-1] <= 1e-10
    assert trace["jacobian"][-1] == 2
    slow = sg.solve(noisy(), Rosenbrock(curvature="gauss-newton"), until=sg.Until(gradient_norm=1e-10, steps=400))
    assert slow.statistics.steps > 2 * len(trace)


def test_quadratic_convergence_with_the_hessian():
    norms = sg.solve(noisy(), Rosenbrock(w_steps=0), until=sg.Until(gradient_norm=1e-13, steps=400)).trace[
        "gradient_norm"
    ]
    near = norms[norms < 1e-3]
    assert len(near) >= 3
    rates = np.log(near[1:]) / np.log(near[:-1])
    assert rates.max() > 1.5
    assert near[-1] < 1e-13  # below the rounding of the loss, where only the gradient can judge


def test_counters_equal_calls(monkeypatch):
    """Uncompiled, every derivative is called as often as the counts say."""
    calls = dict.fromkeys(("value", "value_and_gradient", "gauss_newton_lower", "hvp", "factor"), 0)

    def counting(module, name):
        real = getattr(module, name)

        def wrapped(*args, **kwargs):
            calls[name] += 1
            return real(*args, **kwargs)

        monkeypatch.setattr(module, name, wrapped)

    objective = network(40, seed=2)
    for name in ("value", "value_and_gradient", "gauss_newton_lower", "hvp"):
        counting(derivatives, name)
    counting(linalg, "factor")
    solver = Rosenbrock(curvature="gauss-newton")
    with jax.disable_jit():
        state, _ = solver.initial(objective, objective.w0)
        for _ in range(6):
            state, _ = solver.step(objective, state)
    count = {name: int(value) for name, value in state.counts.items()}
    # `value` is called once a trial; the derivatives module calls its own `value` nowhere else.
    assert calls["value"] == count["loss_evaluations"]
    assert calls["value_and_gradient"] == count["rhs_evaluations"]
    assert calls["gauss_newton_lower"] == count["jacobian_evaluations"] == 6
    assert calls["factor"] == count["factorizations"]
    assert count["steps"] + count["rejected_steps"] == count["factorizations"]
    expected = count["rhs_evaluations"] + count["loss_evaluations"] + 2 * count["hessian_products"] + 6
    assert count["presentations"] == expected


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
    assert np.all((trace["w_steps"][1:] >= 0) & (trace["w_steps"][1:] <= 5))
    assert set(trace["correction"][1:]) <= {0.0, 1.0}
    assert np.all(np.diff(trace["flow_time"]) > 0)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"curvature": "newton"}, "curvature"),
        ({"w_steps": -1}, "w_steps"),
        ({"rtol": -1.0}, "rtol"),
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


def test_every_point_but_the_start_took_one_linear_solve():
    # Without the geodesic correction, which solves once more.
    generator = np.random.default_rng(0)
    data = generator.normal(size=(9, 3)), np.arange(9.0)
    line = sg.least_squares(lambda p, s: p["a"] @ s[0] - s[1], {"a": np.zeros(3)}, data)
    bowl = sg.minimise(lambda w: 0.5 * w @ np.diag([1.0, 30.0, 1000.0]) @ w, np.ones(3))
    for objective in (line, bowl):
        until = sg.Until(gradient_norm=1e-9)
        counts = sg.solve(objective, sg.solvers.create("rosenbrock", correction=False), until=until).statistics
        assert counts.rejected_steps == 0
        assert counts.linear_solves == counts.rhs_evaluations - 1 > 0
