"""The evidence: its value and derivatives against dense formulas, and what maximising it does to known data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import stiffgrad as sg
from stiffgrad.solvers.evidence import Curvature, Evidence


@pytest.mark.parametrize("shape", [(9, 5), (4, 7)], ids=["primal", "dual"])
def test_curvature_against_the_dense_inverse(shape):
    rng = np.random.default_rng(0)
    a, d, v = rng.normal(size=shape), rng.uniform(0.1, 3, shape[1]), rng.normal(size=shape[1])
    M = np.diag(d) + a.T @ a
    curvature = Curvature.of(jnp.asarray(a), jnp.asarray(a.T @ a), jnp.asarray(d))
    inverse = np.linalg.inv(M)
    np.testing.assert_allclose(curvature.solve(v), inverse @ v, rtol=1e-9)
    np.testing.assert_allclose(curvature.determined(), 1 - d * np.diag(inverse), rtol=1e-9)
    np.testing.assert_allclose(curvature.adjoint(), a @ inverse, rtol=1e-9, atol=1e-12)
    assert float(curvature.log_det()) == pytest.approx(np.linalg.slogdet(M)[1] - np.log(d).sum())


def linear(rows=60, noise=0.5, seed=0):
    """Linear regression without bias, one column of five useless: every formula of the evidence is exact."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, 5))
    y = X @ [1.0, -2.0, 0.5, 0.0, 1.5] + noise * rng.normal(size=rows)
    return X, y, sg.supervised(lambda p, x: p @ x, np.zeros(5) + 0.1, X, y)


def log_evidence(X, y, alpha, beta):
    """Log marginal likelihood of Bayesian linear regression: y is normal with covariance 1/beta + X X'/alpha."""
    covariance = np.eye(len(y)) / beta + X @ X.T / alpha
    return -0.5 * (y @ np.linalg.solve(covariance, y) + np.linalg.slogdet(2 * np.pi * covariance)[1])


def test_on_a_linear_model_it_finds_the_maximum_of_the_exact_evidence():
    X, y, objective = linear()
    solution = sg.solve(objective, Evidence(jnp.zeros(5, int), 1, 60.0, True), until=sg.Until(steps=400))
    best = solution.state.state.best
    beta = float(np.exp(best.log_beta))
    alpha = beta * float(np.exp(best.log_lambda[0]))
    reached = log_evidence(X, y, alpha, beta)
    assert float(solution.state.state.best_evidence) == pytest.approx(reached, abs=1e-6)
    grid = [log_evidence(X, y, alpha * a, beta * b) for a in (0.5, 0.8, 1.25, 2) for b in (0.8, 0.9, 1.1, 1.25)]
    assert reached > max(grid)
    assert beta == pytest.approx(1 / 0.5**2, rel=0.4)


def test_well_determined_weights_are_all_weights_where_data_abound():
    _, _, objective = linear(rows=2000, noise=0.1)
    solution = sg.solve(objective, Evidence(jnp.zeros(5, int), 1, 2000.0, True), until=sg.Until(steps=400))
    assert float(solution.trace["gamma"][-1]) == pytest.approx(5.0, abs=0.01)


def test_a_useless_column_is_pruned_and_the_useful_ones_are_not():
    _, _, objective = linear(rows=200)
    solution = sg.solve(objective, Evidence(jnp.arange(5), 5, 200.0, True), until=sg.Until(steps=400))
    decays = np.exp(np.asarray(solution.state.state.best.log_lambda))
    assert decays[3] > 20 * decays[[0, 1, 2, 4]].max()


@pytest.fixture(scope="module")
def curve():
    rng = np.random.default_rng(0)
    X = rng.uniform(-2, 2, (60, 1))
    y = np.sin(2 * X) + 0.2 * rng.normal(size=X.shape)
    apply, params = sg.mlp([1, 6, 1], seed=0)
    groups = np.repeat([0, 1, 2, 3], [6, 6, 1, 6])
    objective = sg.supervised(apply, params, X, y / y.std())
    solver = Evidence(jnp.asarray(groups), 4, 60.0, True)
    return objective, solver, sg.solve(objective, solver, until=sg.Until(steps=400))


def test_the_second_phase_never_lowers_the_evidence(curve):
    trace = curve[2].trace
    second = trace["log_evidence"][trace["phase"] == 1]
    # A row's evidence is that of the point before its step; decays and noise move between them, and may cost rounding.
    assert np.all(np.diff(second) > -0.05)
    assert second[-1] >= np.nanmax(trace["log_evidence"][trace["phase"] == 0]) - 0.05


def test_it_ends_by_itself_at_rest(curve):
    assert curve[2].outcome is sg.Outcome.STATIONARY
    assert "rest" in curve[2].message


def test_the_best_points_evidence_is_the_dense_formula(curve):
    objective, solver, solution = curve
    state = solution.state.state
    w, beta = np.asarray(state.best.w), float(np.exp(state.best.log_beta))
    alpha = beta * np.exp(np.asarray(state.best.log_lambda))[np.asarray(solver.groups)]
    N = 60
    S = beta * N * float(objective.value(w)) + 0.5 * np.sum(alpha * w**2)
    H = beta * N * np.asarray(objective.gauss_newton(w)) + np.diag(alpha)
    expected = -S - 0.5 * np.linalg.slogdet(H)[1] + 0.5 * np.log(alpha).sum() + 0.5 * N * np.log(beta / 2 / np.pi)
    assert float(state.best_evidence) == pytest.approx(expected, rel=1e-9)


def test_samples_of_weight_zero_do_not_count(curve):
    objective, solver, solution = curve
    block = objective.blocks[0]
    X, y = (np.concatenate([np.asarray(a), np.ones((4, 1))]) for a in (block.samples, block.targets))
    padded = sg.supervised(
        block.function, objective.unflatten(objective.w0), X, y, sample_weight=np.repeat([1.0, 0.0], [60, 4])
    )
    other = sg.solve(padded, solver, until=sg.Until(steps=400))
    assert float(other.state.state.best_evidence) == pytest.approx(float(solution.state.state.best_evidence), abs=0.05)


def test_cross_entropies_have_no_noise_to_estimate():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(80, 2))
    labels = (X[:, 0] + 0.7 * rng.normal(size=80) > 0).astype(float)
    objective = sg.supervised(lambda p, x: p @ x, np.zeros(2) + 0.1, X, labels, "binary_cross_entropy")
    solution = sg.solve(objective, Evidence(jnp.arange(2), 2, 80.0, False), until=sg.Until(steps=400))
    assert np.all(np.asarray(solution.state.state.best.log_beta) == 0)
    decays = np.exp(np.asarray(solution.state.state.best.log_lambda))
    assert decays[1] > 5 * decays[0]  # the second column says nothing


def test_it_needs_rows():
    with pytest.raises(ValueError, match="evidence needs a loss of this package"):
        sg.solve(sg.minimise(lambda p: (p**2).sum(), np.ones(2)), Evidence(jnp.zeros(2, int), 1, 1.0, True))


def test_the_solver_is_a_pytree_of_what_may_change_without_compiling():
    assert len(jax.tree.leaves(Evidence(jnp.zeros(5, int), 1, 60.0, True))) == 2
    assert len(jax.tree.leaves(Evidence(jnp.zeros(5, int), 1, 60.0, True, 3.0))) == 3
