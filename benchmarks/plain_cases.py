"""FlowClassifier and FlowRegressor with nothing set on what one tries first, each against standard methods.

Toys, the tables that scikit-learn brings, and what tables are like: few rows, many columns, a constant target, a column
twice, units that differ by powers of ten, outliers. Held-out accuracy or R2 (of the function without noise, where there
is one), the best of the peers, and whether Flow is within 0.01 of it, and of 5% of its error; means over `--draws`
draws. Peers have their defaults, on standardised data.

Run with: python benchmarks/plain_cases.py
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn import datasets as sets
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.linear_model import HuberRegressor, LogisticRegression, RidgeCV
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.svm import SVC, SVR
from tables import blobs, scaled, scaled_target, spirals

from stiffgrad.estimators import FlowClassifier, FlowRegressor

Split = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # X, y to fit, and to test
TEST = 2000


def shuffled(X: np.ndarray, y: np.ndarray, n: int, seed: int) -> Split:
    order = np.random.default_rng(seed).permutation(len(X))
    fit, test = order[:n], order[n:]
    return X[fit], y[fit], X[test], y[test]


def loaded(load: Callable[..., Any], seed: int) -> Split:
    X, y = load(return_X_y=True)
    fit, test, a, b = train_test_split(X, y, test_size=0.5, random_state=seed, stratify=y)
    return fit, a, test, b


CLASSES: dict[str, Callable[[int], Split]] = {
    **{
        f"moons, noise {noise}": lambda seed, noise=noise: shuffled(
            *sets.make_moons(400 + TEST, noise=noise, random_state=seed), 400, seed
        )
        for noise in (0.1, 0.2, 0.25)
    },
    "circles": lambda seed: shuffled(
        *sets.make_circles(400 + TEST, noise=0.1, factor=0.5, random_state=seed), 400, seed
    ),
    "exclusive or": lambda seed: shuffled(*blobs(400 + TEST), 400, seed),
    "three spirals": lambda seed: shuffled(*spirals(600 + TEST), 600, seed),
    "iris": lambda seed: loaded(sets.load_iris, seed),
    "wine": lambda seed: loaded(sets.load_wine, seed),
    "breast cancer": lambda seed: loaded(sets.load_breast_cancer, seed),
    "digits": lambda seed: loaded(sets.load_digits, seed),
    "circles, noise 0.2": lambda seed: shuffled(
        *sets.make_circles(300 + TEST, noise=0.2, factor=0.4, random_state=seed), 300, seed
    ),
    "three clouds": lambda seed: shuffled(*sets.make_blobs(300 + TEST, cluster_std=3.0, random_state=seed), 300, seed),
    "exclusive or, 8 idle inputs": lambda seed: idle(*blobs(500 + TEST), 8, 500, seed),
    "1 of 100": lambda seed: rare(1000, seed),
    "10 rows of two classes": lambda seed: shuffled(
        *sets.make_blobs(10 + TEST, centers=2, cluster_std=2.0, random_state=seed), 10, seed
    ),
    "50 rows, 200 inputs": lambda seed: shuffled(
        *sets.make_classification(50 + TEST, 200, n_informative=5, n_redundant=0, class_sep=2.0, random_state=seed),
        50,
        seed,
    ),
}


def idle(X: np.ndarray, y: np.ndarray, columns: int, n: int, seed: int) -> Split:
    """With columns that tell nothing."""
    return shuffled(np.column_stack([X, np.random.default_rng(seed).normal(size=(len(X), columns))]), y, n, seed)


def rare(n: int, seed: int) -> Split:
    """A class of one row in a hundred, in a corner of what the other one fills."""
    rng = np.random.default_rng(seed)
    y = (rng.uniform(size=n + TEST) < 0.01).astype(int)
    X = rng.normal(size=(n + TEST, 3)) * np.where(y, 0.5, 1.0)[:, None] + 2.0 * y[:, None]
    return shuffled(X, y, n, seed)


def drawn(
    function: Callable[[np.ndarray], np.ndarray],
    inputs: int,
    n: int,
    noise: float = 0.0,
    spread: Any = 1.0,
    unit: float = 1.0,
    outliers: int = 0,
) -> Callable[[int], Split]:
    """Points in [-1, 1]^inputs, with noise and outliers (10 times the spread) in the targets to fit only."""

    def draw(seed: int) -> Split:
        rng = np.random.default_rng(seed)
        X = rng.uniform(-1, 1, (n + TEST, inputs))
        y = unit * function(X)
        seen = y[:n] + unit * noise * rng.normal(size=y[:n].shape)
        if outliers:
            seen[:outliers] += 10 * y.std() * rng.choice([-1, 1], outliers)
        X = X * spread
        return X[:n], seen, X[n:], y[n:]

    return draw


def linear(X: np.ndarray) -> np.ndarray:
    return X @ np.linspace(-1, 2, X.shape[1])


def surface(X: np.ndarray) -> np.ndarray:
    return np.sin(3 * X[:, 0]) * np.cos(2 * X[:, 1]) + X[:, 0] * X[:, 1]


def twice(draw: Callable[[int], Split]) -> Callable[[int], Split]:
    def both(seed: int) -> Split:
        X, y, points, values = draw(seed)
        return np.column_stack([X, X[:, 0]]), y, np.column_stack([points, points[:, 0]]), values

    return both


def made(n: int, make: Callable[[int, float], tuple[np.ndarray, np.ndarray]]) -> Split:
    """From a maker of rows with noise to fit, and of the same ones without."""
    (X, y), (_, values) = make(n + TEST, 1.0), make(n + TEST, 0.0)
    return X[:n], y[:n], X[n:], values[n:]


def changed(
    draw: Callable[[int], Split], change: Callable[..., tuple[np.ndarray, np.ndarray]]
) -> Callable[[int], Split]:
    """With other rows to fit."""

    def both(seed: int) -> Split:
        X, y, points, values = draw(seed)
        return *change(X, y, np.random.default_rng(seed)), points, values

    return both


NUMBERS: dict[str, Callable[[int], Split]] = {
    "linear, noise 0.3": drawn(linear, 5, 200, 0.3),
    "linear, no noise": drawn(linear, 5, 200),
    "step": drawn(lambda X: (X[:, 0] > 0.2).astype(float), 1, 200, 0.05),
    "step in one of 3": drawn(lambda X: (X[:, 0] > 0.2) + 0.5 * X[:, 1], 3, 300, 0.05),
    "absolute value": drawn(lambda X: np.abs(X[:, 0]), 1, 100, 0.05),
    "sine, 1 period": drawn(lambda X: np.sin(np.pi * X[:, 0]), 1, 100, 0.1),
    "sine, 3 periods": drawn(lambda X: np.sin(3 * np.pi * X[:, 0]), 1, 100, 0.1),
    "sine, 6 periods": drawn(lambda X: np.sin(6 * np.pi * X[:, 0]), 1, 200, 0.1),
    "10 rows of a line": drawn(linear, 2, 10, 0.1),
    "10 rows of a parabola": drawn(lambda X: X[:, 0] ** 2, 1, 10, 0.02),
    "a column twice": twice(drawn(surface, 2, 200, 0.1)),
    "50 inputs, 100 rows": drawn(lambda X: X[:, 0] - 2 * X[:, 1] + X[:, 2], 50, 100, 0.3),
    "50 inputs, 100 rows, curved": drawn(lambda X: X[:, 0] - 2 * X[:, 1] + X[:, 2] ** 2, 50, 100, 0.3),
    "surface, noise 0.1": drawn(surface, 2, 300, 0.1),
    "surface of unit 1e6": drawn(surface, 2, 300, 0.1, unit=1e6),
    "surface of unit 1e-6": drawn(surface, 2, 300, 0.1, unit=1e-6),
    "inputs of 1e4 and 1e-4": drawn(surface, 2, 300, 0.1, spread=np.array([1e4, 1e-4])),
    "surface, 3 outliers": drawn(surface, 2, 300, 0.1, outliers=3),
    "surface, 15 outliers": drawn(surface, 2, 300, 0.1, outliers=15),
    "line, 10 outliers": drawn(linear, 3, 200, 0.1, outliers=10),
    "constant": drawn(lambda X: np.full(len(X), 3.0), 3, 100),
    "swiss roll": lambda seed: shuffled(*sets.make_swiss_roll(400 + TEST, noise=0.5, random_state=seed), 400, seed),
    "friedman1": lambda seed: made(200, lambda n, noise: sets.make_friedman1(n, noise=noise, random_state=seed)),
    "friedman2": lambda seed: made(200, lambda n, noise: sets.make_friedman2(n, noise=100 * noise, random_state=seed)),
    "friedman3": lambda seed: made(200, lambda n, noise: sets.make_friedman3(n, noise=0.1 * noise, random_state=seed)),
    "step, no noise": drawn(lambda X: (X[:, 0] > 0.2).astype(float), 1, 100),
    "absolute value, no noise": drawn(lambda X: np.abs(X[:, 0]), 1, 100),
    "sin(1/x)": drawn(lambda X: np.sin(1 / (0.56 + 0.5 * X[:, 0])), 1, 200, 0.05),
    "5 rows": drawn(lambda X: X[:, 0] + 0.5 * X[:, 1], 2, 5, 0.05),
    "every row 5 times": changed(drawn(surface, 2, 60, 0.1), lambda X, y, rng: (np.repeat(X, 5, 0), np.repeat(y, 5))),
    "a constant column": drawn(lambda X: surface(X) + 0 * X[:, 2], 3, 200, 0.1, spread=np.array([1, 1, 0])),
    "50 rows, 200 columns": drawn(lambda X: X[:, 0] - 2 * X[:, 1] + X[:, 2], 200, 50, 0.1),
    "Cauchy noise": changed(drawn(surface, 2, 300), lambda X, y, rng: (X, y + 0.1 * rng.standard_cauchy(len(y)))),
    "from 1e-3 to 1e6": drawn(lambda X: 10 ** (1.5 + 3.0 * X[:, 0] + 1.5 * X[:, 1] ** 3), 2, 300),
    "noise that grows": changed(
        drawn(surface, 2, 300),
        lambda X, y, rng: (X, y + (0.02 + 0.5 * np.maximum(X[:, 0], 0)) * rng.normal(size=len(y))),
    ),
    "counts": changed(drawn(lambda X: np.exp(1 + surface(X)), 2, 300), lambda X, y, rng: (X, 1.0 * rng.poisson(y))),
    "two targets": drawn(lambda X: np.column_stack([surface(X), 100 * X[:, 0] ** 2]), 2, 200, 0.1),
    "2 of 30 inputs, product": drawn(lambda X: X[:, 0] * X[:, 1], 30, 300, 0.05),
}


def peers(name: str, inputs: int) -> dict[str, Any]:
    if name in CLASSES:
        return {
            "linear": scaled(LogisticRegression(max_iter=5000)),
            "MLP": scaled(MLPClassifier(random_state=0, max_iter=1000)),
            "SVM": scaled(SVC()),
            "neighbours": scaled(KNeighborsClassifier()),
            "forest": RandomForestClassifier(random_state=0),
            "boosting": HistGradientBoostingClassifier(random_state=0),
        }
    kernel = ConstantKernel() * RBF(np.ones(inputs), (1e-2, 1e3)) + WhiteKernel(1e-2, (1e-10, 10))
    found = {
        "linear": scaled_target(RidgeCV(np.logspace(-6, 3, 19))),
        "Huber": scaled_target(HuberRegressor(max_iter=1000)),
        "MLP": scaled_target(MLPRegressor(random_state=0, max_iter=1000)),
        "SVM": scaled_target(SVR()),
        "boosting": HistGradientBoostingRegressor(random_state=0),
    }
    if inputs <= 10:
        found["GP"] = scaled_target(GaussianProcessRegressor(kernel))
    return found


def score(model: Any, split: Split, classes: bool) -> float:
    X, y, points, values = split
    try:
        found = model.fit(X, y).predict(points)
    except (ValueError, np.linalg.LinAlgError):
        return np.nan
    if classes:
        return float(np.mean(found == values))
    if np.ptp(values) == 0:  # R2 of a constant is 1 or 0: here 1 less the error as a part of it
        return 1.0 - float(np.abs(found - values).max() / np.abs(values).max())
    return float(r2_score(values, found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="*", default=[], choices=[*CLASSES, *NUMBERS], help="by default all")
    parser.add_argument("--draws", type=int, default=3)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    print("| case | Flow | best peer | which | Flow, s | below the best | error to its |", flush=True)
    print("|---|---|---|---|---|---|---|", flush=True)
    for name in arguments.cases or [*CLASSES, *NUMBERS]:
        classes, draw = name in CLASSES, (CLASSES | NUMBERS)[name]
        splits = [draw(seed) for seed in range(arguments.draws)]
        begin = time.process_time()
        kind = FlowClassifier if classes else FlowRegressor
        ours = float(np.mean([score(kind(random_state=0), split, classes) for split in splits]))
        seconds = (time.process_time() - begin) / len(splits)
        scores = {
            label: np.mean([score(model, split, classes) for split in splits])
            for label, model in peers(name, splits[0][0].shape[1]).items()
        }
        best = max((label for label in scores if scores[label] == scores[label]), key=lambda label: scores[label])
        behind = scores[best] - ours
        text = f"{behind:.3f}" if behind > 0.01 else ""
        ratio = np.sqrt((1.0 - ours) / (1.0 - scores[best])) if not classes and scores[best] < 1.0 else np.nan
        error = f"{ratio:.2f}" if ratio > 1.05 else ""  # of the root mean squares
        print(f"| {name} | {ours:.4f} | {scores[best]:.4f} | {best} | {seconds:.2f} | {text} | {error} |", flush=True)


if __name__ == "__main__":
    main()
