"""At which scale a function varies: leave-one-out of random features, and starts of networks at that scale.

A network whose first layer is drawn for functions that vary slowly stays in the best straight line where a function
oscillates: every weight between looks worse. A linear model of random waves sin(v'x + b) has no such traps, and what
leaving out each sample costs it is a formula. So the scale of v is told by a few small decompositions
(random features as in Rahimi and Recht 2007), and the first layer is drawn at that scale.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np

from stiffgrad.estimators._network import Matrix

SCALES = 0.5 * 2.0 ** np.arange(7)  # of v in standardised inputs, divided by the root of their number
FEATURES = 100
ROWS = 500  # that judge
COLUMNS = 100  # inputs up to which scales are tried: random waves of more tell nothing
DECAYS = np.logspace(-12, 1, 14)
ROUNDING = 1e-12  # of the largest eigenvalue: directions of less are of rounding
BEND = 0.3  # deviation of the biases of a second layer


@dataclasses.dataclass(frozen=True)
class Scale:
    """The scale with which random features predict samples that they leave out best, and their mean square error."""

    value: float
    left_out: float


def scale_of(X: Matrix, y: Matrix, weights: Matrix) -> Scale:
    """The scale of a function from standardised samples X (N, d), targets y (N, k) and positive weights (N,)."""
    if X.shape[1] > COLUMNS or len(X) < 4:
        return Scale(1.0, np.inf)
    rng = np.random.default_rng(0)
    waves = rng.normal(size=(FEATURES, X.shape[1])) / np.sqrt(X.shape[1])
    phases = rng.uniform(-np.pi, np.pi, FEATURES)
    rows = np.sort(rng.choice(len(X), min(len(X), ROWS), replace=False))
    X, y, root = X[rows], y[rows], np.sqrt(weights[rows])[:, None]
    unit = np.minimum(1.0, 1.0 / weights[rows])[:, None]  # one copy is left out
    found = [Scale(float(s), _left_out(X, y, root, unit, s * waves, phases)) for s in SCALES]
    return min(found, key=lambda each: each.left_out)


def _left_out(X: Matrix, y: Matrix, root: Matrix, unit: Matrix, waves: Matrix, phases: Matrix) -> float:
    """Mean square error of samples that are left out, with the decay for which it is least."""
    features = np.sqrt(2.0 / len(phases)) * np.sin(X @ waves.T + phases)
    rows = root * np.column_stack([np.ones(len(X)), X, features])
    if len(rows) > rows.shape[1]:  # from the eigenvectors of their products: a fraction of the time of a SVD
        squares, v = np.linalg.eigh(rows.T @ rows)
        real = squares > ROUNDING * squares[-1]
        squares, u = squares[real], rows @ v[:, real] / np.sqrt(squares[real])
    else:
        u, s, _ = np.linalg.svd(rows, full_matrices=False)
        squares = s**2
    kept = DECAYS[:, None] / (squares + DECAYS[:, None])  # of each direction, in the residuals
    seen, outside = u.T @ (root * y), np.zeros_like(y)
    free = np.zeros(len(X))  # what of a sample no direction reaches
    if u.shape[0] > u.shape[1]:
        outside, free = root * y - u @ seen, np.maximum(1.0 - (u**2).sum(1), 0.0)
    rest = 1.0 - unit + unit * (free[:, None] + u**2 @ kept.T)  # (N, decays), without cancellation
    residuals = outside + np.einsum("nr,dr,rk->dnk", u, kept, seen)
    squares = ((residuals**2).sum(2).T / np.maximum(rest, 1e-300) ** 2).sum(0)
    return float(squares.min() / ((root**2).sum() * y.shape[1]))


def start_at(sizes: tuple[int, ...], scale: float, X: Matrix, seed: int) -> Matrix:
    """Flat weights (n,) whose first layer varies at that scale, each unit zero at a sample."""
    rng, parts = np.random.default_rng(seed), []
    for index, (before, after) in enumerate(itertools.pairwise(sizes)):
        weight = rng.normal(size=(after, before)) / np.sqrt(before)
        bias = np.zeros(after)
        if index == 0:
            weight *= scale
            bias = -np.einsum("ij,ij->i", weight, X[rng.integers(0, len(X), after)])
        elif index < len(sizes) - 2:
            bias = BEND * rng.normal(size=after)
        parts += [bias, weight.ravel()]
    return np.concatenate(parts)
