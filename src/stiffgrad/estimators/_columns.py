"""A decay for each input column, from a fit with one for all of them.

Of many inputs few may matter, and one decay cannot let these have large weights and keep the others from zero. With a
decay for each column from the start (automatic relevance determination, MacKay 1994) columns are lost before the
network has seen what they are good for. So these decays start where the fit with one decay has ended, and go on from
there by the evidence. That is kept where samples that are left out are clearly likelier, and where there are three
samples or more for each weight that the data determine: with fewer the evidence and leaving out are too hopeful.
"""

from __future__ import annotations

import dataclasses

from stiffgrad.estimators import _training
from stiffgrad.estimators._noise import CLEAR, noise_of
from stiffgrad.estimators._training import Fitted, Settings, Task

SAMPLES = 3.0  # for each determined weight, at least


def by_column(fitted: Fitted, task: Task, settings: Settings) -> Fitted:
    """The fit with a decay for each column where that is clearly better, else the one given."""
    if task.X.shape[1] < 2 or fitted.decays is None or settings.until.wall_seconds == 0.0:
        return fitted
    task = task.like(fitted)
    found = _training.with_decays_by_column(task, fitted, settings)
    determined = found.determined * task.network.size
    if SAMPLES * determined > task.weights.sum() * task.y.shape[1]:
        return fitted
    if noise_of(task, found).log_density < noise_of(task, fitted).log_density + CLEAR:
        return fitted
    return dataclasses.replace(found, decays=fitted.decays)  # of what a further fit would start with
