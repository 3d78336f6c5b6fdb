"""Several starts of one network for regression: the mean of their outputs, and how far they differ.

Where a function has no noise, starts of the same network end in different minima, and differ at points that were not
seen by about as much as they err there. Their mean errs less, and how far they differ is told at every point, without
a model of the curvature. What they say of samples that are left out gives their shares, and the size of the rest.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from stiffgrad.estimators._evidence import spread_of
from stiffgrad.estimators._exact import NIL
from stiffgrad.estimators._leave_one_out import pays
from stiffgrad.estimators._noise import widened
from stiffgrad.estimators._training import Fitted, Task

LEAST = 0.1  # of the largest share: a start with less is left out
SURE = 2.0  # standard errors by which the best of noisy samples must be better than one that is left out
LUCK = 50.0  # samples of which what the best starts leave out counts as much as what all do


def mixed(found: Sequence[Fitted], task: Task) -> list[Fitted]:
    """Fits of several starts with their shares, the largest first.

    Shares fall with the root mean squares of the errors at samples that are left out. Those of the mean of the outputs
    are smaller than their mean, and so are its variances. But of few samples a start that leaves them out better than
    the others was lucky too: the fewer, the more the median of all starts counts.
    Where there may be noise, starts that are clearly worse are left out of all this.
    """
    errors = np.array([np.asarray(each.left_out) - task.y for each in found])
    squares = np.average((errors**2).mean(2), axis=1, weights=task.rows)
    order = np.argsort(squares, kind="stable")
    order = order[squares[order] <= squares.min() / LEAST**2]
    if squares.min() >= NIL * spread_of(task.y, task.rows):  # noise hides by how much others are worse
        losses = (errors**2).mean(2)
        order = order[[i == order[0] or not pays(losses[order[0]], losses[i], task.rows, SURE) for i in order]]
        squares = np.where(np.isin(np.arange(len(squares)), order), squares, np.nan)
    fits = [widened(task, found[i]) for i in order]
    if len(fits) == 1:
        return fits
    shares = squares[order] ** -0.5 / (squares[order] ** -0.5).sum()
    mean = np.average((np.tensordot(shares, errors[order], 1) ** 2).mean(1), weights=task.rows)
    own = float(shares @ squares[order])
    luck = max(1.0, float(np.nanmedian(squares)) / own) ** (LUCK / (LUCK + task.rows.sum()))
    factor = luck * float(mean) / own
    noise = factor * float(shares @ [each.noise for each in fits])
    return [
        dataclasses.replace(each, share=float(share), covariance=factor * np.asarray(each.covariance), noise=noise)
        for share, each in zip(shares, fits)
    ]
