"""The network in NumPy against JAX and dense formulas; approximate leave-one-out against leaving one out."""

import numpy as np
import pytest
from scipy.optimize import minimize

import stiffgrad as sg
from stiffgrad.estimators import _committee, _leave_one_out
from stiffgrad.estimators._network import ACTIVATIONS, BENDS, Network
from stiffgrad.estimators._problem import LOSSES, Problem, softmax
from stiffgrad.estimators._record import Record
from stiffgrad.run.until import Until

RNG = np.random.default_rng(0)


def case(loss, k, sizes=(4, 5, 3), activation="silu", samples=7):
    X = RNG.normal(size=(samples, sizes[0]))
    y = RNG.normal(size=(samples, k)) if loss == "squared" else np.eye(k)[RNG.integers(0, k, samples)]
    network = Network((*sizes, k), activation)
    return network, X, y, 0.5 * RNG.normal(size=network.size)


@pytest.mark.parametrize("loss", [name for name in LOSSES if name != "log_variance"])  # which no objective has
def test_value_gradient_and_jacobian_are_those_of_the_objective(loss):
    network, X, y, w = case(loss, 3)
    apply, params = sg.mlp(network.sizes, network.activation)
    objective = sg.supervised(apply, params, X, y, loss)
    seen, chosen = network.forward(w, X), LOSSES[loss]
    assert chosen.value(seen.z, y).mean() == pytest.approx(float(objective.value(w)))
    slope = network.gradient(w, seen, chosen.slope(seen.z, y)) / 7
    np.testing.assert_allclose(slope, objective.gradient(w), atol=1e-12)
    a = network.jacobian(w, seen, chosen.heads(seen.z)) / np.sqrt(7)
    np.testing.assert_allclose(a, objective.scaled_jacobian(w), atol=1e-12)


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_derivatives_of_activations(activation):
    z = np.linspace(-3, 3, 20)
    h = 1e-6
    a, slope = ACTIVATIONS[activation](z)
    bend = BENDS[activation](z)
    up, down = ACTIVATIONS[activation](z + h), ACTIVATIONS[activation](z - h)
    np.testing.assert_allclose(slope, (up[0] - down[0]) / (2 * h), atol=1e-8)
    np.testing.assert_allclose(bend, (up[1] - down[1]) / (2 * h), atol=1e-8)
    activation = activation.replace("logistic", "sigmoid")
    np.testing.assert_allclose(sg.mlp([1, 1, 1], activation)[0]([*_identity()], z[:1]), a[:1], atol=1e-12)


def _identity():
    one = {"weight": np.ones((1, 1)), "bias": np.zeros(1)}
    return one, one


def test_the_derivative_of_the_jacobian():
    network, X, _, w = case("squared", 2)
    seen, heads = network.forward(w, X), RNG.normal(size=(7, 3, 2))
    directions = RNG.normal(size=(21, network.size))

    def total(u):
        return (directions * network.jacobian(u, network.forward(u, X), heads)).sum()

    h = 1e-6
    numeric = [(total(w + h * e) - total(w - h * e)) / (2 * h) for e in np.eye(w.size)]
    np.testing.assert_allclose(network.pulled(w, seen, heads, directions), numeric, atol=1e-6)


@pytest.mark.parametrize(("sizes", "heads"), [((4, 5, 3, 3), 2), ((4, 3), 3), ((3, 4, 1), 1)])
def test_gram_and_spread_are_the_dense_products(sizes, heads):
    network, X = Network(sizes, "tanh"), RNG.normal(size=(9, sizes[0]))
    w, k, order = 0.5 * RNG.normal(size=network.size), sizes[-1], network.order
    seen, rows = network.forward(w, X), RNG.normal(size=(9, heads, k))
    a = network.jacobian(w, seen, rows)[:, order]
    np.testing.assert_allclose(np.tril(network.gram(w, seen, rows)), np.tril(a.T @ a), atol=1e-10)
    half = RNG.normal(size=(network.size, network.size))
    covariance = half @ half.T
    plain = network.jacobian(w, seen, np.broadcast_to(np.eye(k), (9, k, k)))[:, order].reshape(9, k, -1)
    expected = np.einsum("nja,ab,nkb->njk", plain, covariance, plain)
    np.testing.assert_allclose(network.spread(w, X, covariance), expected, atol=1e-9)


def test_probabilities_add_up_and_do_not_overflow():
    np.testing.assert_allclose(softmax(np.array([[1e4, 0.0], [-1e4, -1e4]])), [[1, 0], [0.5, 0.5]])


def fitted(problem, decay):
    start = np.zeros(problem.network.size)
    return minimize(lambda w: problem.decayed(w, decay), start, jac=True, options={"gtol": 1e-9}).x


@pytest.mark.parametrize(("loss", "k"), [("binary_cross_entropy", 1), ("cross_entropy", 3)])
def test_approximate_leave_one_out_is_close_to_leaving_one_out(loss, k):
    # Without hidden layer the minimum is unique, so every fit can be repeated without one of the samples.
    X = RNG.normal(size=(30, 2))
    noisy = X[:, 0] + 0.5 * RNG.normal(size=30)
    labels = (noisy > 0).astype(int) if k == 1 else np.digitize(noisy, [-0.5, 0.5])
    y = labels[:, None].astype(float) if k == 1 else np.eye(k)[labels]
    network = Network((2, k))
    decay = np.full(network.size, 0.5)
    problem = Problem(network, loss, X, y, np.ones(30), np.zeros(network.size, int), 1)
    w = fitted(problem, decay)
    point = _leave_one_out.judge(problem, w, decay)
    exact = []
    for i in range(30):
        rest = np.delete(np.arange(30), i)
        part = Problem(network, loss, X[rest], y[rest], np.ones(29), problem.groups, 1)
        z = network.forward(fitted(part, decay), X[i : i + 1]).z
        exact.append(LOSSES[loss].value(z, y[i : i + 1])[0])
    training = LOSSES[loss].value(problem.forward(w).z, y).mean()
    assert np.mean(exact) > 1.1 * training  # there is something to correct
    assert point.losses.mean() == pytest.approx(np.mean(exact), rel=0.02)


def searched(noise, samples=150):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(samples, 3))
    y = (X[:, :1] - X[:, 1:2] + noise * rng.normal(size=(samples, 1)) > 0).astype(float)
    network = Network((3, 4, 1), "silu")
    problem = Problem(network, "binary_cross_entropy", X, y, np.ones(samples), np.zeros(network.size, int), 1)
    with Record("leave-one-out", Until(steps=1000), 0, False, None) as record:
        w = rng.normal(size=network.size)
        steps = _leave_one_out.climb(problem, lambda level: np.full(network.size, level), w, record)
    return min(steps, key=lambda step: step.losses.mean())


def test_noisier_labels_get_a_stronger_decay():
    assert searched(noise=3.0).level > searched(noise=0.1).level


def test_the_shares_of_a_committee_are_those_of_a_logistic_regression_with_its_prior():
    # One column of outputs tells the class, one is noise: the objective is convex, so its gradient says it all.
    X = RNG.normal(size=(200, 1))
    y = (X + 0.5 * RNG.logistic(size=X.shape) > 0).astype(float)
    problem = Problem(Network((1, 1)), "binary_cross_entropy", X, y, np.ones(200), np.zeros(2, int), 1)
    z = [3 * X, RNG.normal(size=X.shape)]
    shares = _committee.stacked(z, problem)
    assert shares[0] > shares[1] > 0
    slope = 1 / (1 + np.exp(-sum(c * each for c, each in zip(shares, z)))) - y
    gradient = [float((slope * each).sum()) + _committee.PULL * (2 - 1 / c) for c, each in zip(shares, z)]
    np.testing.assert_allclose(gradient, 0, atol=0.2)


def test_a_part_that_judges_stands_for_all(monkeypatch):
    monkeypatch.setattr(_leave_one_out, "ROWS", 100)
    network, X, y, w = case("binary_cross_entropy", 1, sizes=(4, 5), samples=1000)
    weights = RNG.uniform(0.5, 2, 1000)
    problem = Problem(network, "binary_cross_entropy", X, y, weights, np.zeros(network.size, int), 1)
    part = _leave_one_out.judging(problem)
    assert len(part.X) == 100
    assert part.samples == pytest.approx(problem.samples)
    assert part.value(part.forward(w)) == pytest.approx(problem.value(problem.forward(w)), rel=0.3)
