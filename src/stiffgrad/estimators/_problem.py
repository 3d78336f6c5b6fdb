"""The summed loss of a network over a table and its derivatives, as plain functions of flat weights."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from stiffgrad.estimators._network import Matrix, Network, Pass

MOST = 100.0  # of minus the logarithm of a variance


@dataclasses.dataclass(frozen=True)
class Loss:
    """A loss l(z, y) of outputs (N, k), with S = R R' its Hessian in the outputs."""

    value: Callable[[Matrix, Matrix], Matrix]  # (N,)
    slope: Callable[[Matrix, Matrix], Matrix]  # (N, k)
    heads: Callable[[Matrix], Matrix]  # R', (N, k, k)


def _sums(a: Matrix) -> Matrix:
    """Of each row, (N,), by BLAS: NumPy takes five times as long where rows are short."""
    return a @ np.ones(a.shape[1])


def _tops(a: Matrix) -> Matrix:
    """The largest of each row, (N,)."""
    return functools.reduce(np.maximum, a.T)


def softmax(z: Matrix) -> Matrix:
    """Probabilities of classes (N, k); SciPy's takes many times as long for a small table."""
    e = np.exp(z - _tops(z)[:, None])
    return e / _sums(e)[:, None]


def _cross_entropy(z: Matrix, y: Matrix) -> Matrix:
    top = _tops(z)
    return _sums(y) * (np.log(_sums(np.exp(z - top[:, None]))) + top) - _sums(y * z)


def _cross_entropy_heads(z: Matrix) -> Matrix:
    p = softmax(z)
    return np.sqrt(p)[:, :, None] * (np.eye(z.shape[1]) - p[:, None, :])


def _binary_heads(z: Matrix) -> Matrix:
    return np.sqrt(expit(z) * expit(-z))[:, :, None] * np.eye(z.shape[1])


def _inverse_exp(z: Matrix) -> Matrix:
    """exp(-z), finite wherever a search looks."""
    return np.exp(-np.maximum(z, -MOST))


LOSSES: dict[str, Loss] = {
    "squared": Loss(
        lambda z, y: 0.5 * ((z - y) ** 2).sum(1),
        lambda z, y: z - y,
        lambda z: np.broadcast_to(np.eye(z.shape[1]), (len(z), z.shape[1], z.shape[1])),
    ),
    "cross_entropy": Loss(
        _cross_entropy,
        lambda z, y: _sums(y)[:, None] * softmax(z) - y,
        _cross_entropy_heads,
    ),
    "binary_cross_entropy": Loss(
        lambda z, y: (np.logaddexp(0, z) - y * z).sum(1),
        lambda z, y: expit(z) - y,
        _binary_heads,
    ),
    # z is the logarithm of a variance, y a squared residual; the Hessian is the expected one.
    "log_variance": Loss(
        lambda z, y: 0.5 * (z + y * _inverse_exp(z)).sum(1),
        lambda z, y: 0.5 * (1.0 - y * _inverse_exp(z)),
        lambda z: np.broadcast_to(np.sqrt(0.5) * np.eye(z.shape[1]), (len(z), z.shape[1], z.shape[1])),
    ),
}


class Samples:
    """What dataclasses with samples X (N, d) share: targets y (N, k), weights (N,), what is known of the noise."""

    X: Matrix
    y: Matrix
    weights: Matrix
    precisions: Matrix | None
    variances: Matrix | None

    @property
    def rows(self) -> Matrix:
        """What each sample counts for in the loss, (N,)."""
        return self.weights if self.precisions is None else self.weights * self.precisions

    def chosen(self, rows: NDArray[Any]) -> Self:
        """Some of the samples, by numbers or by truth values."""
        names = ("X", "y", "weights", "precisions", "variances")
        found = {name: getattr(self, name)[rows] for name in names if getattr(self, name) is not None}
        return dataclasses.replace(self, **found)  # type: ignore[type-var]  # every subclass is a dataclass


@dataclasses.dataclass(frozen=True)
class Problem(Samples):
    """The summed loss of a network over samples X (N, d) with targets y (N, k) and positive weights (N,)."""

    network: Network
    loss: str
    X: Matrix
    y: Matrix
    weights: Matrix
    groups: NDArray[np.int64]  # of each weight, (n,): weights of a group share a decay
    count: int  # of groups
    precisions: Matrix | None = None  # of the noise of each sample, (N,), relative; by default all the same
    variances: Matrix | None = None  # of these the part that follows from the inputs, (N,), relative

    @property
    def samples(self) -> float:
        """How many samples the weights stand for."""
        return float(self.weights.sum())

    def forward(self, w: Matrix) -> Pass:
        """Outputs of all samples."""
        return self.network.forward(w, self.X)

    def value(self, seen: Pass) -> float:
        """The summed loss."""
        return float(self.rows @ LOSSES[self.loss].value(seen.z, self.y))

    def gradient(self, w: Matrix, seen: Pass) -> Matrix:
        """Its gradient, (n,)."""
        return self.network.gradient(w, seen, self.rows[:, None] * LOSSES[self.loss].slope(seen.z, self.y))

    def heads(self, seen: Pass) -> Matrix:
        """R' (N, k, k) of each sample with R R' the Hessian of its weighted loss in the outputs."""
        return np.sqrt(self.rows)[:, None, None] * LOSSES[self.loss].heads(seen.z)

    def decayed(self, w: Matrix, decay: Matrix) -> tuple[float, Matrix]:
        """Summed loss with decay (n,) and its gradient."""
        seen = self.forward(w)
        return self.value(seen) + 0.5 * float(decay @ w**2), self.gradient(w, seen) + decay * w
