"""A decay for each input column, from a fit with one for all of them.

Of many inputs few may matter, and one decay cannot let these have large weights and keep the others from zero. With a
decay for each column from the start (automatic relevance determination, MacKay 1994) columns are lost before the
network has seen what they are good for. So these decays start where the fit with one decay has ended, and go on from
there by the evidence. That is kept where samples that are left out are clearly likelier, and where there are three
samples or more for each weight that the data determine: with fewer the evidence and leaving out are too hopeful.

With more columns than rows every fit with one decay goes through all samples: there is nothing to go on from, and both
judges are too hopeful. There a decay for each column from the start is tried, and cross-validation decides: where few
columns matter the error becomes smaller, where many do it would grow.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from stiffgrad.estimators import _leave_one_out, _training
from stiffgrad.estimators._noise import CLEAR, noise_of
from stiffgrad.estimators._training import Fitted, Settings, Task

SAMPLES = 3.0  # for each determined weight, at least
PARTS = 4  # of a cross-validation


def by_column(fitted: Fitted, task: Task, settings: Settings) -> Fitted:
    """The fit with a decay for each column where that is clearly better, else the one given."""
    if task.X.shape[1] < 2 or fitted.decays is None or settings.until.wall_seconds == 0.0:
        return fitted
    task = task.like(fitted)
    if task.X.shape[1] > len(task.X):
        better = _predicts_better(task, settings)
        found = _trained(task, settings, "relevance") if better else fitted
    else:
        found = _training.with_decays_by_column(task, fitted, settings)
        enough = SAMPLES * found.determined * task.network.size <= task.weights.sum() * task.y.shape[1]
        better = enough and noise_of(task, found).log_density >= noise_of(task, fitted).log_density + CLEAR
    return dataclasses.replace(found, decays=fitted.decays, by_column=True) if better else fitted


def _predicts_better(task: Task, settings: Settings) -> bool:
    """Whether decays for each column predict parts that are held out better, by a standard error."""
    parts = np.arange(len(task.X)) % min(PARTS, len(task.X))
    losses = np.zeros((2, len(task.X)))
    for part in range(parts.max() + 1 if len(task.X) > 1 else 0):
        other = parts == part
        for row, alpha in zip(losses, ("evidence", "relevance")):
            found = _trained(task.chosen(~other), settings, alpha)
            z = _training.outputs(task.network, found.solution.params, task.X[other])
            row[other] = ((z - task.y[other]) ** 2).sum(1)
    return _leave_one_out.pays(losses[1], losses[0], task.rows)


def _trained(task: Task, settings: Settings, alpha: str) -> Fitted:
    return _training.train(task, dataclasses.replace(settings, alpha=alpha), _training.start_of(task, 0), None)
