"""Intervals of FlowRegressor with nothing set where the noise changes with the inputs, on toys and real tables.

By the mean pinball loss over 19 quantiles (twice that is the continuous ranked probability score), in standard
deviations of the targets, and how many held-out targets 90% intervals cover: of all, and of those of the quarter with
the least and the most noise. Against the same fits with `noise="gaussian"`, whose noise is the same everywhere, and
scikit-learn's boosting of each quantile. Of toys means over `--draws` draws, of tables two folds of 1,500 rows at most.

Run with: python benchmarks/intervals.py
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import tables
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.model_selection import KFold

from stiffgrad.estimators import FlowRegressor

QUANTILES = np.linspace(0.05, 0.95, 19)
TEST = 2000
Draw = tuple[np.ndarray, np.ndarray, np.ndarray]  # inputs, the function, the standard deviation of the noise


def sine(rng: np.random.Generator, n: int) -> Draw:
    X = rng.uniform(-3, 3, (n, 1))
    return X, np.sin(X[:, 0]), 0.05 + 0.3 * np.abs(X[:, 0])


def half(rng: np.random.Generator, n: int) -> Draw:
    X = rng.uniform(-1, 1, (n, 2))
    return X, np.sin(3 * X[:, 0]) * np.cos(2 * X[:, 1]), 0.02 + 0.5 * np.maximum(X[:, 0], 0)


def percent(rng: np.random.Generator, n: int) -> Draw:
    X = rng.uniform(-1, 1, (n, 3))
    y = np.exp(1 + X @ [1.0, -0.5, 0.3])
    return X, y, 0.2 * y


def friedman(rng: np.random.Generator, n: int) -> Draw:
    X = rng.uniform(0, 1, (n, 10))
    y = 10 * np.sin(np.pi * X[:, 0] * X[:, 1]) + 20 * (X[:, 2] - 0.5) ** 2 + 10 * X[:, 3] + 5 * X[:, 4]
    return X, y, 0.3 + 2 * X[:, 5]


def same(rng: np.random.Generator, n: int) -> Draw:
    X = rng.uniform(-1, 1, (n, 2))
    return X, np.sin(3 * X[:, 0]) * np.cos(2 * X[:, 1]), np.full(n, 0.2)


TOYS: dict[str, Callable[[np.random.Generator, int], Draw]] = {
    "sine": sine,
    "half": half,
    "percent": percent,
    "friedman1": friedman,
    "same everywhere": same,
}
TABLES = (
    "diabetes",
    "Wage",
    "diamonds",
    "MASS/Boston",
    "MASS/Melanoma",
    "MASS/OME",
    "MASS/Pima.te",
    "ISLR/Auto",
    "ISLR/Carseats",
    "ISLR/College",
    "ISLR/Hitters",
    "Ecdat/Capm",
    "modeldata/biomass",
    "modeldata/Sacramento",
    "Ecdat/BudgetUK",
    "Ecdat/CRSPday",
)


def flow(noise: str) -> Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]:
    def quantiles(X: np.ndarray, y: np.ndarray, points: np.ndarray) -> np.ndarray:
        return np.asarray(FlowRegressor(random_state=0, noise=noise).fit(X, y).predict(points, quantiles=QUANTILES))

    return quantiles


def boosting(X: np.ndarray, y: np.ndarray, points: np.ndarray) -> np.ndarray:
    models = [HistGradientBoostingRegressor(loss="quantile", quantile=q, random_state=0) for q in QUANTILES]
    return np.sort([model.fit(X, y).predict(points) for model in models], axis=0)


METHODS = {"Flow": flow("auto"), "Flow, gaussian": flow("gaussian"), "boosting": boosting}


def scores(found: np.ndarray, y: np.ndarray, unit: float, order: Any) -> list[float]:
    """CRPS, coverage of all, and of the first and the last quarter in an order."""
    d = (y - found) / unit
    pinball = np.where(d > 0, QUANTILES[:, None] * d, (QUANTILES[:, None] - 1) * d).mean()
    inside = (y > found[0]) & (y < found[-1])
    quarter = len(y) // 4
    return [2 * pinball, inside.mean(), inside[order[:quarter]].mean(), inside[order[-quarter:]].mean()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--rows", type=int, nargs="*", default=[100, 300, 1000])
    parser.add_argument("--tables", nargs="*", default=list(TABLES))
    parser.add_argument("--models", nargs="*", default=list(METHODS), help="of " + ", ".join(METHODS))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    print("| data | rows |", " | ".join(arguments.models), "|")
    print("|---|---|" + "---|" * len(arguments.models), flush=True)
    cases: list[tuple[str, int, list[Any]]] = []
    for name, draw in TOYS.items():
        for rows in arguments.rows:
            parts = []
            for seed in range(arguments.draws):
                rng = np.random.default_rng(seed)
                X, mean, std = draw(rng, rows + TEST)
                y = mean + std * rng.normal(size=len(mean))
                parts.append((X[:rows], y[:rows], X[rows:], y[rows:], np.argsort(std[rows:], kind="stable")))
            cases.append((name, rows, parts))
    for name in arguments.tables:
        X, y, _ = tables.data(name)
        chosen = np.random.default_rng(0).permutation(len(X))[:1500]
        X, y = X[chosen], y[chosen]
        folds = KFold(2, shuffle=True, random_state=0).split(X)
        cases.append((name, len(X) // 2, [(X[a], y[a], X[b], y[b], None) for a, b in folds]))
    for name, rows, parts in cases:
        cells = []
        for method in (METHODS[each] for each in arguments.models):
            begin, found = time.process_time(), []
            for X, y, points, values, order in parts:
                other = np.arange(len(values)) if order is None else order
                found.append(scores(method(X, y, points), values, float(y.std()), other))
            crps, cover, low, high = np.mean(found, axis=0)
            seconds = (time.process_time() - begin) / len(parts)
            apart = "" if parts[0][-1] is None else f" ({low:.2f}, {high:.2f})"
            cells.append(f"{crps:.4f}, {cover:.2f}{apart}, {seconds:.2f} s")
        print(f"| {name} | {rows} |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
