"""Few of many columns: which are seen to matter, one at a time or as a product of two, and whether others may go.

A network with one decay for all columns starts in the middle of all of them. Of many it sees two whose product matters
as little as the rest, and few rows do not tell the rest from zero. So terms x_j and x_i x_j, squares among them, join a
linear model one after the other, each the one that correlates most with what the others leave (orthogonal matching
pursuit: Pati, Rezaiifar and Krishnaprasad 1993), for as long as the best of all of them is no matter of luck. All
products at once are one matrix product, X' diag(r) X for a residual r, as in principal Hessian directions (Li 1992, J.
Am. Stat. Assoc. 87:1025).

A network of these columns only replaces the one of all, both with a decay for each column if need be, where both the
evidence and samples that are left out say that it is better; with fewer than three rows a column both are too hopeful
of the larger one, and cross-validation decides, which chooses the columns of each part anew. For classes, whose
indicators the terms correlate with, samples that are left out decide alone. Many columns that matter little each are
not seen this way, and then all stay.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc

from stiffgrad.estimators import _leave_one_out, _training
from stiffgrad.estimators._columns import PARTS, by_column
from stiffgrad.estimators._network import Matrix, Network
from stiffgrad.estimators._noise import CLEAR, OTHER, noise_of
from stiffgrad.estimators._training import Fitted, Member, Settings, Task

LEVEL = 0.05  # chance with which the best of all terms correlates as much where none matters
ROWS = 2000  # that choose, at most
SHARE = 5  # rows for each term at least
FAR = 3.0  # standard deviations to which columns are cut: products have no outliers
SAMPLES = 3  # rows a column, below which evidence and leave-one-out are too hopeful
MANY = 5  # columns at least, of which some may be few
PAIRS = 2000  # columns up to which products are terms
ENOUGH = 50  # rows a column, from which a decay for each column does as well
PART = 0.5  # of all columns: where more are seen to matter, all stay

Columns = NDArray[np.int64]


def columns_of(X: Matrix, y: Matrix, weights: Matrix) -> Columns:
    """Columns of X (N, d) in terms that correlate with y (N, k), in order; samples count with weights (N,)."""
    if len(X) > ROWS:
        rows = np.sort(np.random.default_rng(0).choice(len(X), ROWS, replace=False))
        X, y, weights = X[rows], y[rows], weights[rows]
    p, count = (weights / weights.sum())[:, None], float(weights.sum())
    X = X - (p * X).sum(0)
    deviation = np.sqrt((p * X**2).sum(0))
    X = np.clip(X / np.where(deviation > 0, deviation, 1.0), -FAR, FAR)
    X = X - (p * X).sum(0)
    d, root = X.shape[1], np.sqrt(p)
    single = np.sqrt((p * X**2).sum(0))
    single = np.where(single > 1e-6, single, np.inf)
    paired = d <= PAIRS
    if paired:
        double = np.sqrt(np.maximum((X**2).T @ (p * X**2) - (X.T @ (p * X)) ** 2, 0.0))
        double = np.where(double > 1e-6, double, np.inf)
        pairs = np.triu_indices(d)
    terms, rest, found = root, root * y, set()
    spread = np.sqrt(((rest - root * (root * rest).sum(0)) ** 2).sum(0))
    for _ in range(max(1, min(len(X) // SHARE, 2 * d))):
        q, _ = np.linalg.qr(terms)
        rest = root * y - q @ (q.T @ (root * y))
        size = np.sqrt((rest**2).sum(0))
        free = count - terms.shape[1] - 1.0
        if free < 2.0 or not np.any(size > 1e-6 * spread):
            break
        unit = root * (rest / np.where(size > 1e-6 * spread, size, np.inf))  # (N, k)
        lines = np.abs(X.T @ unit).max(1) / single
        i = j = int(np.argmax(lines))
        chance, column = _log_chance(float(lines[i]), free) + np.log(d * y.shape[1]), X[:, i]
        if paired:
            products = np.max([np.abs((X * each[:, None]).T @ X) / double for each in unit.T], axis=0)[pairs]
            best = int(np.argmax(products))
            other = _log_chance(float(products[best]), free) + np.log(len(products) * y.shape[1])
            if other < chance:
                i, j = int(pairs[0][best]), int(pairs[1][best])
                chance, column = other, X[:, i] * X[:, j]
        if chance > np.log(LEVEL):
            break
        terms = np.column_stack([terms, root[:, 0] * column])
        found |= {i, j}
    return np.array(sorted(found), np.int64)


def _log_chance(r: float, free: float) -> float:
    """Logarithm of the chance of a correlation beyond +-r of what does not depend, with so many degrees of freedom."""
    rest = 1.0 - min(r, 1.0 - 1e-15) ** 2
    chance = float(betainc(0.5 * free, 0.5, rest))
    return float(np.log(chance)) if chance > 0.0 else 0.5 * free * float(np.log(rest))  # which it goes to


def few(task: Task) -> Columns | None:
    """Those seen to matter, where they are few of all; else nothing."""
    return None if len(task.X) > ENOUGH * task.X.shape[1] else few_of(task.X, task.y, task.weights)


def few_of(X: Matrix, y: Matrix, weights: Matrix) -> Columns | None:
    """The same of samples, however many."""
    if X.shape[1] < MANY:
        return None
    found = columns_of(X, y, weights)
    return found if 0 < len(found) <= PART * X.shape[1] else None


def of_columns(task: Task, columns: Columns) -> Task:
    """The task with these columns only."""
    return dataclasses.replace(task, X=task.X[:, columns], sizes=(len(columns), *task.sizes[1:]))


@dataclasses.dataclass(frozen=True)
class Choice:
    """The columns that a fit is to, nothing meaning all, and the fit."""

    columns: Columns | None
    fitted: Fitted
    by_column: Fitted | None = None  # what `_columns.by_column` made of it, where that was asked


def better(task: Task, whole: Fitted, columns: Columns, narrow: Fitted, settings: Settings) -> Choice:
    """The fit to some columns of the task where it is worth more than the fit to the whole, else that."""
    if len(task.X) < SAMPLES * task.X.shape[1]:
        return Choice(columns, narrow) if _parts_say_so(task, settings) else Choice(None, whole)
    part = of_columns(task, columns)
    gain = _gain(task, whole, part, narrow)
    if gain > OTHER * task.weights.sum():
        return Choice(columns, narrow)
    if gain < CLEAR:
        return Choice(None, whole)
    wide, slim = by_column(whole, task, settings), by_column(narrow, part, settings)
    return Choice(columns, narrow, slim) if _gain(task, wide, part, slim) >= CLEAR else Choice(None, whole, wide)


def _gain(task: Task, whole: Fitted, part: Task, narrow: Fitted) -> float:
    """Nats by which samples that are left out are likelier with few columns; none where the evidence is against it."""
    assert whole.log_evidence is not None
    assert narrow.log_evidence is not None
    if narrow.log_evidence <= whole.log_evidence:
        return -np.inf
    return noise_of(part, narrow).log_density - noise_of(task, whole).log_density


def _parts_say_so(task: Task, settings: Settings) -> bool:
    """Whether parts that are held out are predicted better by few columns, chosen anew for each."""
    parts = np.arange(len(task.X)) % min(PARTS, len(task.X))
    losses = np.zeros((2, len(task.X)))
    for part in range(parts.max() + 1):
        seen, other = task.chosen(parts != part), parts == part
        chosen = few(seen)
        for row, columns in zip(losses, (np.arange(task.X.shape[1]), chosen)):
            if columns is None:  # the whole, once more
                row[other] = losses[0, other]
                continue
            narrow = of_columns(seen, columns)
            found = _training.train(narrow, settings, _training.start_of(narrow, 0), None)
            z = _training.outputs(narrow.network, found.solution.params, task.X[other][:, columns])
            row[other] = ((z - task.y[other]) ** 2).sum(1)
    return _leave_one_out.pays(losses[1], losses[0], task.rows)


def widened(fitted: Fitted, columns: Columns, count: int) -> Fitted:
    """A fit to some of `count` columns, as one to all of them, but for its covariance: other weights are zero."""
    narrow, wide = Network(fitted.sizes), Network((count, *fitted.sizes[1:]))
    w = np.zeros(wide.size)
    layers, own = wide.split(w), narrow.split(_training.flat(fitted.solution.params))
    layers[0][0][:, columns] = own[0][0]
    layers[0][1][...] = own[0][1]
    for (weight, bias), (a, b) in zip(layers[1:], own[1:]):
        weight[...], bias[...] = a, b
    solution = dataclasses.replace(fitted.solution, params=_training.unflat(wide, w), w=w)
    variance = None if fitted.variance is None else fitted.variance.widened(columns, count)
    return dataclasses.replace(fitted, sizes=wide.sizes, solution=solution, variance=variance)


def restricted(member: Member, columns: Columns) -> Member:
    """The network of a fit that was widened, of its own columns again, as its covariance is."""
    first, *others = member.params
    params = [{**first, "weight": first["weight"][:, columns]}, *others]
    return dataclasses.replace(member, sizes=(len(columns), *member.sizes[1:]), params=params)


__all__ = ["Choice", "better", "columns_of", "few", "few_of", "of_columns", "restricted", "widened"]
