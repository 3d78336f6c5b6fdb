"""A decay for each input column, from a fit with one for all of them.

Of many inputs few may matter, and one decay cannot let these have large weights and keep the others from zero. With a
decay for each column from the start (automatic relevance determination, MacKay 1994) columns are lost before the
network has seen what they are good for. So these decays start where the fit with one decay has ended, and go on from
there by the evidence. That is kept where samples that are left out are clearly likelier, and where there are three
samples or more for each weight that the data determine: with fewer the evidence and leaving out are too hopeful. Where
there are fewer with one decay for all columns too, as of many columns and few rows, decays for each from the start may
drop most columns, and are tried.
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
    if not _enough(found, task) and not _enough(fitted, task):
        found = _from_the_start(task, settings)
    if not _enough(found, task):
        return fitted
    if noise_of(task, found).log_density < noise_of(task, fitted).log_density + CLEAR:
        return fitted
    return dataclasses.replace(found, decays=fitted.decays, by_column=True)


def _enough(found: Fitted, task: Task) -> bool:
    """Whether there are so many samples for each weight that the data determine."""
    return SAMPLES * found.determined * task.network.size <= task.weights.sum() * task.y.shape[1]


def _from_the_start(task: Task, settings: Settings) -> Fitted:
    """A fit that has had a decay for each column from the start: where columns are many, and it drops most of them."""
    return _training.train(task, dataclasses.replace(settings, alpha="relevance"), _training.start_of(task, 0), None)


def onwards(task: Task, last: Fitted, settings: Settings) -> Fitted:
    """From a fit to a task like it, whose samples count otherwise; what has a decay for each column keeps them."""
    task = task.like(last)
    if last.by_column:
        found = _training.with_decays_by_column(task, last, settings)
        return dataclasses.replace(found, decays=last.decays, by_column=True)
    found = _training.refined(task, _training.flat(last.solution.params), last.decays, settings)
    return found if settings.alpha == "relevance" else by_column(found, task, settings)
