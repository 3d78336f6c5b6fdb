"""How a classifier's weight decay should follow from the data: held-out accuracy and log loss of three ways.

One decay by approximate leave-one-out (what FlowClassifier does), the decay of the highest evidence on the same path,
and the decays of the four groups that maximise the evidence by MacKay's rule. 2-fold cross-validation, repeated.

Run with: python benchmarks/decay_choice.py --out benchmarks/decay_choice.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from estimators import data, environment
from sklearn.model_selection import RepeatedStratifiedKFold

from stiffgrad.estimators import _evidence, _leave_one_out, _training
from stiffgrad.estimators._base import mean_and_scale
from stiffgrad.estimators._problem import LOSSES, Problem
from stiffgrad.estimators._record import Record
from stiffgrad.run.driver import Until

NAMES = ["iris", "wine", "breast cancer", "churn", "credit", "digits"]
DOWN, UP = 10.0 ** np.arange(1.0, -2.0, -0.5), 10.0 ** np.array([1.5, 2.0])


def problem_of(X: np.ndarray, y: np.ndarray) -> tuple[Problem, np.ndarray]:
    k = int(y.max()) + 1
    targets = np.eye(k)[y] if k > 2 else y[:, None].astype(float)
    loss = "cross_entropy" if k > 2 else "binary_cross_entropy"
    task = _training.Task(X, targets, np.ones(len(X)), loss, (X.shape[1], 20, targets.shape[1]), "silu")
    start = _training.start_of(task, 0)
    return _training.problem_of(task, start, False), _training.flat(start)


def decays(problem: Problem, level: float) -> np.ndarray:
    return np.array([level, _leave_one_out.BIASES] * 2)[problem.groups]


def record() -> Record:
    return Record("benchmark", Until(steps=10**6), 0, False, None)


def candidates(problem: Problem, start: np.ndarray) -> dict[str, np.ndarray]:
    """Weights by each of the three ways."""
    found = {"leave-one-out": _leave_one_out.search(problem, lambda v: decays(problem, v), start, record(), None).w}
    points: list[_leave_one_out.Point] = []
    for levels in (DOWN, UP):
        w = points[0].w if points else start
        lower = (
            points[0].lower if points else _leave_one_out.factor_at(problem, start, decays(problem, levels[0]), False)
        )
        for level in levels:
            w = _leave_one_out.descend(problem, w, lower, level, decays(problem, level), record())
            points.append(_leave_one_out.judge(problem, w, level, decays(problem, level)))
            lower = points[-1].lower
    found["evidence"] = max(points, key=lambda point: point.log_evidence).w
    return found | {"evidence, decay per group": _evidence.maximise(problem, start, record()).w}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="*", default=NAMES, choices=NAMES)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    rows = []
    for name in arguments.data:
        X, y, _ = data(name)
        found: dict[str, list[tuple[float, float]]] = {}
        folds = RepeatedStratifiedKFold(n_splits=2, n_repeats=arguments.repeats, random_state=0)
        for train, test in folds.split(X, y):
            mean, scale = mean_and_scale(X[train], np.ones(len(train)))
            problem, start = problem_of((X[train] - mean) / scale, y[train])
            held_out, _ = problem_of((X[test] - mean) / scale, y[test])
            for way, w in candidates(problem, start).items():
                z = held_out.forward(w).z
                labels = z.argmax(1) if z.shape[1] > 1 else z[:, 0] > 0
                loss = float(LOSSES[held_out.loss].value(z, held_out.y).mean())
                found.setdefault(way, []).append((float(np.mean(labels == y[test])), loss))
        for way, scores in found.items():
            accuracy, loss = np.mean(scores, axis=0)
            rows.append({"data": name, "way": way, "accuracy": float(accuracy), "log_loss": float(loss)})
            print(f"{name:14} {way:26} accuracy {accuracy:.4f}  log loss {loss:.4f}", flush=True)
        if arguments.out is not None:
            arguments.out.write_text(json.dumps({"environment": environment(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
