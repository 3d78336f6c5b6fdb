"""The samples of a table before they are fitted: alike ones merged, columns brought to one scale."""

from __future__ import annotations

import numpy as np

from stiffgrad.estimators._network import Matrix

CONTINUOUS = 0.9  # different values for each different row, from which a column is one of numbers that do not repeat


def mean_and_scale(X: Matrix, weights: Matrix) -> tuple[Matrix, Matrix]:
    """Weighted mean and standard deviation of each column; a constant one gets the scale 1, or that of its rounding.

    Columns are brought near 1 by a power of two first, which changes no digit, so that no square over- or underflows.
    """
    unit = np.exp2(np.floor(np.log2(np.maximum(np.abs(X).max(axis=0), np.finfo(float).tiny))))
    X = X / unit
    mean = np.average(X, axis=0, weights=weights)
    scale = unit * np.sqrt(np.average((X - mean) ** 2, axis=0, weights=weights))
    mean = unit * mean
    rounding = 10 * np.finfo(float).eps * np.abs(mean)
    return mean, np.where(scale > rounding, scale, np.maximum(1.0, rounding))


def merged(X: Matrix, y: Matrix, weights: Matrix) -> tuple[Matrix, Matrix, Matrix]:
    """Different samples, in an order of their own, with the weights that their repetitions add up to.

    So neither the order of samples matters, nor whether one is given several times or with a weight: not even rounding.
    """
    rows = np.ascontiguousarray(np.column_stack([X, y])[weights > 0]) + 0.0  # no negative zeros
    keys = rows.view(f"V{rows.shape[1] * rows.itemsize}").ravel()
    _, first, place = np.unique(keys, return_index=True, return_inverse=True)
    rows, total = rows[first], np.bincount(place, weights[weights > 0]).astype(np.float64)
    return rows[:, : X.shape[1]].copy(), rows[:, X.shape[1] :].copy(), total


def may_repeat(X: Matrix, y: Matrix) -> bool:
    """Whether alike rows are alike by chance, each a sample of its own: no column is of numbers that hardly repeat.

    Else they are copies, from which nothing is learned about the noise; then weights, which are the same, count among
    each other only, as in weighted least squares, and not as so many samples.
    """
    values = np.sort(np.column_stack([X, y]), axis=0)
    return bool(np.all((np.diff(values, axis=0) != 0).sum(axis=0) + 1 < CONTINUOUS * len(X)))


__all__ = ["may_repeat", "mean_and_scale", "merged"]
