"""How a classifier's weight decay should follow from the data: held-out accuracy and log loss of three ways.

One network of 20 units, from one start: the decay by approximate leave-one-out (what FlowClassifier does), the decay of
the highest evidence on the same path, and the decays of the four groups that maximise the evidence by MacKay's rule.
2-fold cross-validation, repeated.

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
from stiffgrad.estimators._problem import LOSSES, Problem
from stiffgrad.estimators._record import Record
from stiffgrad.estimators._samples import mean_and_scale
from stiffgrad.run.until import Until

NAMES = ["iris", "wine", "breast cancer", "churn", "credit", "digits"]


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
    steps = _leave_one_out.climb(problem, lambda v: decays(problem, v), start, record())
    found = {"leave-one-out": min(steps, key=lambda step: step.losses.mean()).w}
    points = [(_leave_one_out.judge(problem, step.w, decays(problem, step.level)).log_evidence, step) for step in steps]
    found["evidence"] = max(points, key=lambda point: point[0])[1].w
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
