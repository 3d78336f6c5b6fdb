"""The evidence: its value and derivatives against dense formulas, and what maximising it does to known data."""

import numpy as np
import pytest

import stiffgrad as sg
from stiffgrad.estimators import _evidence
from stiffgrad.estimators._curvature import Curvature, cholesky, gram, inverse
from stiffgrad.estimators._network import Network
from stiffgrad.estimators._problem import Problem
from stiffgrad.estimators._record import Record
from stiffgrad.run.until import Until


@pytest.mark.parametrize("shape", [(9, 5), (4, 7), (10, 12)], ids=["primal", "dual", "primal, wider"])
def test_curvature_against_the_dense_inverse(shape):
    rng = np.random.default_rng(0)
    a, d, v = rng.normal(size=shape), rng.uniform(0.1, 3, shape[1]), rng.normal(size=shape[1])
    M = np.diag(d) + a.T @ a
    curvature = Curvature.of(a, gram(a), d)
    dense = np.linalg.inv(M)
    np.testing.assert_allclose(curvature.solve(v), dense @ v, rtol=1e-9)
    np.testing.assert_allclose(curvature.determined, 1 - d * np.diag(dense), rtol=1e-9)
    np.testing.assert_allclose(curvature.adjoint(), a @ dense, rtol=1e-9, atol=1e-12)
    assert curvature.log_det() == pytest.approx(np.linalg.slogdet(M)[1] - np.log(d).sum())
    np.testing.assert_allclose(inverse(cholesky(M)), dense, rtol=1e-9, atol=1e-12)


def test_a_matrix_that_is_not_positive_definite_is_refused():
    with pytest.raises(np.linalg.LinAlgError, match="not positive definite"):
        cholesky(np.diag([1.0, -1.0]))


def maximised(problem, w, steps=400):
    with Record("evidence", Until(steps=steps), 0, False, None) as record:
        best = _evidence.maximise(problem, w, record)
    return best, record.solution(None, best.w, 0.0, 0.0, None)


def linear(rows=60, noise=0.5, groups=None, seed=0, loss="squared"):
    """A linear network of five inputs, one of them useless: every formula of the evidence is exact."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, 5))
    y = X @ [1.0, -2.0, 0.5, 0.0, 1.5] + noise * rng.normal(size=rows)
    groups = np.zeros(6, int) if groups is None else groups
    problem = Problem(Network((5, 1)), loss, X, y[:, None], np.ones(rows), groups, groups.max() + 1)
    return problem, np.full(6, 0.1)


def log_evidence(problem, alpha, beta):
    """Log marginal likelihood of Bayesian linear regression: y is normal with covariance 1/beta + X X'/alpha."""
    X, y = np.column_stack([np.ones(len(problem.X)), problem.X]), problem.y[:, 0]
    covariance = np.eye(len(y)) / beta + X @ X.T / alpha
    return -0.5 * (y @ np.linalg.solve(covariance, y) + np.linalg.slogdet(2 * np.pi * covariance)[1])


def test_on_a_linear_model_it_finds_the_maximum_of_the_exact_evidence():
    problem, w = linear()
    best, _ = maximised(problem, w)
    beta = np.exp(best.log_beta)
    alpha = beta * np.exp(best.log_lambda[0])
    reached = log_evidence(problem, alpha, beta)
    assert best.log_evidence == pytest.approx(reached, abs=1e-3)
    grid = [log_evidence(problem, alpha * a, beta * b) for a in (0.5, 0.8, 1.25, 2) for b in (0.8, 0.9, 1.1, 1.25)]
    assert reached > max(grid)
    assert beta == pytest.approx(1 / 0.5**2, rel=0.4)


def test_well_determined_weights_are_all_weights_where_data_abound():
    _, solution = maximised(*linear(rows=2000, noise=0.1))
    assert float(solution.trace["gamma"][-1]) == pytest.approx(6.0, abs=0.02)


def test_a_useless_column_is_pruned_and_the_useful_ones_are_not():
    best, _ = maximised(*linear(rows=200, groups=np.array([5, 0, 1, 2, 3, 4])))
    decays = np.exp(best.log_lambda)
    assert decays[3] > 10 * decays[[0, 1, 2, 4]].max()


@pytest.fixture(scope="module")
def curve():
    rng = np.random.default_rng(0)
    X = rng.uniform(-2, 2, (60, 1))
    y = np.sin(2 * X) + 0.2 * rng.normal(size=X.shape)
    _, params = sg.mlp([1, 6, 1], seed=0)
    groups = np.repeat([0, 1, 2, 3], [6, 6, 1, 6])
    w = np.concatenate([np.r_[layer["bias"], layer["weight"].ravel()] for layer in params])
    problem = Problem(Network((1, 6, 1)), "squared", X, y / y.std(), np.ones(60), groups, 4)
    return problem, w, *maximised(problem, w)


def test_the_second_phase_never_lowers_the_evidence(curve):
    trace = curve[3].trace
    second = trace["log_evidence"][trace["phase"] == 1]
    # A row's evidence is that of the point before its step; decays and noise move between them, and may cost rounding.
    assert np.all(np.diff(second) > -0.05)
    assert second[-1] >= np.nanmax(trace["log_evidence"][trace["phase"] == 0]) - 0.05


def test_it_ends_by_itself(curve):
    assert curve[3].outcome is sg.Outcome.TARGET
    assert curve[3].statistics.steps < 400


def test_the_best_points_evidence_is_the_dense_formula(curve):
    problem, _, best, _ = curve
    w, beta = best.w, np.exp(best.log_beta)
    apply, params = sg.mlp([1, 6, 1], seed=0)
    objective = sg.supervised(apply, params, problem.X, problem.y)
    alpha = beta * np.exp(best.log_lambda)[problem.groups]
    N = 60
    S = beta * N * float(objective.value(w)) + 0.5 * np.sum(alpha * w**2)
    H = beta * N * np.asarray(objective.gauss_newton(w)) + np.diag(alpha)
    expected = -S - 0.5 * np.linalg.slogdet(H)[1] + 0.5 * np.log(alpha).sum() + 0.5 * N * np.log(beta / 2 / np.pi)
    assert best.log_evidence == pytest.approx(expected, rel=1e-9)


def test_the_gradient_of_the_evidence_is_that_of_its_value(curve):
    problem, _, best, _ = curve
    log_lambda, log_beta = best.log_lambda, best.log_beta

    def at(w):
        now = _evidence.Hyper(w, log_lambda, log_beta, problem.value(problem.forward(w)))
        return now, _evidence._Local.at(problem, now)

    now, here = at(best.w + 0.1)
    unit = np.exp(-log_beta)
    slope = here.slope + unit * problem.network.pulled(now.w, here.seen, here.heads, here.curvature.adjoint())
    step = 1e-6

    def value(w):
        return -unit * _evidence._log_evidence(problem, *at(w))

    numeric = [(value(now.w + step * e) - value(now.w - step * e)) / (2 * step) for e in np.eye(now.w.size)]
    np.testing.assert_allclose(slope, numeric, rtol=1e-5, atol=1e-6)


def test_a_sample_of_weight_two_is_two_samples(curve):
    problem, w, _, _ = curve
    twice = Problem(problem.network, "squared", problem.X, problem.y, np.full(60, 2.0), problem.groups, 4)
    X, y = np.repeat(problem.X, 2, axis=0), np.repeat(problem.y, 2, axis=0)
    repeated = Problem(problem.network, "squared", X, y, np.ones(120), problem.groups, 4)
    assert maximised(twice, w, 5)[0].log_evidence == pytest.approx(maximised(repeated, w, 5)[0].log_evidence, rel=1e-8)


def test_cross_entropies_have_no_noise_to_estimate():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(80, 2))
    labels = (X[:, :1] + 0.7 * rng.normal(size=(80, 1)) > 0).astype(float)
    problem = Problem(Network((2, 1)), "binary_cross_entropy", X, labels, np.ones(80), np.array([2, 0, 1]), 3)
    best, solution = maximised(problem, np.full(3, 0.1))
    assert best.log_beta == 0
    assert set(solution.trace["phase"]) == {0.0}
    decays = np.exp(best.log_lambda)
    assert decays[1] > 5 * decays[0]  # the second column says nothing
