"""The toys that everybody tries first: at most 0.01 below the best of three peers, with probabilities that hold."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_iris, make_gaussian_quantiles, make_moons
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from stiffgrad.estimators import FlowClassifier


def moons(n, noise):
    return make_moons(n + 1000, noise=noise, random_state=1)


def spirals(n):
    rng = np.random.default_rng(1)
    radius, label = rng.uniform(0.15, 1, n + 1000), rng.integers(0, 3, n + 1000)
    angle = 2 * np.pi * (1.25 * radius + label / 3)
    X = 3 * radius[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    return X + 0.15 * rng.normal(size=X.shape), label


def blobs(n):
    """Exclusive or."""
    rng = np.random.default_rng(1)
    corner = rng.integers(0, 2, (n + 1000, 2))
    return 2.0 * corner - 1 + 0.5 * rng.normal(size=corner.shape), corner.sum(1) % 2


def quantiles(n):
    X, y = make_gaussian_quantiles(n_samples=n + 1000, n_features=2, n_classes=3, random_state=1)
    order = np.random.default_rng(1).permutation(len(X))
    return X[order], y[order]


TOYS = {
    "moons, noise 0.1": (lambda n: moons(n, 0.1), 1000),
    "moons, noise 0.2": (lambda n: moons(n, 0.2), 500),
    "three spirals": (spirals, 600),
    "exclusive or": (blobs, 300),
    "gaussian quantiles": (quantiles, 400),
}


@pytest.mark.parametrize("name", TOYS)
def test_it_finds_the_structure(name):
    make, n = TOYS[name]
    X, y = make(n)
    peers = [
        make_pipeline(StandardScaler(), MLPClassifier(solver="lbfgs", max_iter=5000, random_state=0)),
        make_pipeline(StandardScaler(), SVC()),
        HistGradientBoostingClassifier(),
    ]
    best = max(peer.fit(X[:n], y[:n]).score(X[n:], y[n:]) for peer in peers)
    model = FlowClassifier(random_state=0).fit(X[:n], y[:n])
    assert model.score(X[n:], y[n:]) > best - 0.01
    p = model.predict_proba(X[n:])
    assert log_loss(y[n:], p) < log_loss(y[n:], peers[-1].predict_proba(X[n:]))
    sure = p.max(1)  # what is said with probability p happens about so often
    right = model.classes_[p.argmax(1)] == y[n:]
    assert sure.mean() == pytest.approx(right.mean(), abs=0.03)


@pytest.mark.parametrize("load", [load_iris, load_breast_cancer])
def test_where_linear_is_right_it_does_as_well(load):
    losses = []
    for seed in range(3):
        X, y = load(return_X_y=True)
        train, test, y, truth = train_test_split(X, y, test_size=0.5, random_state=seed, stratify=y)
        linear = make_pipeline(StandardScaler(), LogisticRegression()).fit(train, y)
        model = FlowClassifier(random_state=0).fit(train, y)
        losses.append([log_loss(truth, each.predict_proba(test)) for each in (model, linear)])
    ours, theirs = np.mean(losses, axis=0)
    assert ours < theirs + 0.02


def test_noise_around_a_line_is_left_to_the_linear_model():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2300, 6))
    p = 1 / (1 + np.exp(-X @ np.linspace(-1, 1, 6)))
    y = (rng.random(2300) < p).astype(int)
    model = FlowClassifier(random_state=0).fit(X[:300], y[:300])
    linear = LogisticRegression().fit(X[:300], y[:300])
    assert log_loss(y[300:], model.predict_proba(X[300:])) < log_loss(y[300:], linear.predict_proba(X[300:])) + 0.01
