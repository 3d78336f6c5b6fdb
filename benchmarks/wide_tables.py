"""Few of many columns: FlowRegressor and FlowClassifier with nothing set, against methods that choose columns.

Held-out R2 (of the function without noise) or accuracy, means over `--draws` draws, and processor time of a fit of
Flow. Peers have their defaults, on standardised data.

Run with: python benchmarks/wide_tables.py
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable

import numpy as np
from plain_cases import TEST, Split, drawn, score, shuffled
from sklearn import datasets as sets
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LassoCV, LogisticRegressionCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.svm import SVC, SVR
from tables import scaled, scaled_target

from stiffgrad.estimators import FlowClassifier, FlowRegressor


def friedman(rows: int, idle: int) -> Callable[[int], Split]:
    def draw(seed: int) -> Split:
        X, y = sets.make_friedman1(rows + TEST, n_features=10 + idle, noise=1.0, random_state=seed)
        _, values = sets.make_friedman1(rows + TEST, n_features=10 + idle, noise=0.0, random_state=seed)
        return X[:rows], y[:rows], X[rows:], values[rows:]

    return draw


def classes(rows: int, columns: int, informative: int, apart: float, kinds: int = 2) -> Callable[[int], Split]:
    def draw(seed: int) -> Split:
        X, y = sets.make_classification(
            rows + TEST,
            columns,
            n_informative=informative,
            n_redundant=0,
            n_classes=kinds,
            class_sep=apart,
            random_state=seed,
        )
        return shuffled(X, y, rows, seed)

    return draw


def product(rows: int, columns: int) -> Callable[[int], Split]:
    def draw(seed: int) -> Split:
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(rows + TEST, columns))
        y = (X[:, 0] * X[:, 1] + 0.3 * rng.normal(size=len(X)) > 0).astype(int)
        return X[:rows], y[:rows], X[rows:], y[rows:]

    return draw


def all_matter(rows: int, columns: int) -> Callable[[int], Split]:
    def draw(seed: int) -> Split:
        rng = np.random.default_rng(seed)
        X, slopes = rng.normal(size=(rows + TEST, columns)), rng.normal(size=columns)
        y = (X @ slopes + rng.normal(size=len(X)) > 0).astype(int)
        return X[:rows], y[:rows], X[rows:], y[rows:]

    return draw


NUMBERS: dict[str, Callable[[int], Split]] = {
    "friedman1, 200 rows, 30 columns": friedman(200, 20),
    "friedman1, 100 rows, 50 columns": friedman(100, 40),
    "friedman1, 500 rows, 100 columns": friedman(500, 90),
    "product, 300 rows, 30 columns": drawn(lambda X: X[:, 0] * X[:, 1], 30, 300, 0.05),
    "line of 3, 100 rows, 50 columns": drawn(lambda X: X[:, 0] - 2 * X[:, 1] + X[:, 2], 50, 100, 0.3),
    "line of 3, 50 rows, 200 columns": drawn(lambda X: X[:, 0] - 2 * X[:, 1] + X[:, 2], 200, 50, 0.1),
    "line of 3, 100 rows, 400 columns": drawn(lambda X: X[:, 0] - 2 * X[:, 1] + X[:, 2], 400, 100, 0.3),
    "line of all, 200 rows, 40 columns": drawn(lambda X: X @ np.sin(np.arange(40)), 40, 200, 1.0),
    "line of all, 100 rows, 400 columns": drawn(lambda X: X @ np.sin(np.arange(400)), 400, 100, 1.0),
    "3 strong of 30, 200 rows": drawn(lambda X: X @ np.r_[4.0, 3.0, 2.0, np.full(27, 0.5)], 30, 200, 1.0),
}
CLASSES: dict[str, Callable[[int], Split]] = {
    "5 of 200, 50 rows": classes(50, 200, 5, 2.0),
    "5 of 100, 100 rows": classes(100, 100, 5, 1.5),
    "4 of 50, 200 rows": classes(200, 50, 4, 1.0),
    "5 of 40, 3 classes, 300 rows": classes(300, 40, 5, 1.0, 3),
    "product of 2 of 50, 300 rows": product(300, 50),
    "line of all, 200 rows, 40 columns": all_matter(200, 40),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--cases", nargs="*", default=[*NUMBERS, *CLASSES], help="by default all")
    parser.add_argument("--models", nargs="*", default=["Flow", "lasso", "forest", "boosting", "SVM"])
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    for cases, models in (
        (
            NUMBERS,
            {
                "Flow": FlowRegressor(random_state=0),
                "lasso": scaled_target(LassoCV()),
                "forest": RandomForestRegressor(random_state=0),
                "boosting": HistGradientBoostingRegressor(random_state=0),
                "SVM": scaled_target(SVR()),
            },
        ),
        (
            CLASSES,
            {
                "Flow": FlowClassifier(random_state=0),
                "lasso": scaled(OneVsRestClassifier(LogisticRegressionCV(penalty="l1", solver="liblinear"))),
                "forest": RandomForestClassifier(random_state=0),
                "boosting": HistGradientBoostingClassifier(random_state=0),
                "SVM": scaled(SVC()),
            },
        ),
    ):
        models = {label: models[label] for label in arguments.models}
        print("| data |", " | ".join(models), "| Flow, s |")
        print("|---|" + "---|" * (len(models) + 1), flush=True)
        for name, draw in cases.items():
            if name not in arguments.cases:
                continue
            splits, row, seconds = [draw(seed) for seed in range(arguments.draws)], [], 0.0
            for label, model in models.items():
                begin = time.process_time()
                row.append(float(np.mean([score(model, split, cases is CLASSES) for split in splits])))
                seconds = (time.process_time() - begin) / len(splits) if label == "Flow" else seconds
            best = max(value for value in row if value == value)
            cells = [f"**{value:.3f}**" if value == best else f"{value:.3f}" for value in row]
            print(f"| {name} |", " | ".join(cells), f"| {seconds:.2f} |", flush=True)
        print()


if __name__ == "__main__":
    main()
