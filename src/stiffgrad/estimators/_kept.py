"""The rows of all calls of `partial_fit`: of more than it keeps a random part, whatever calls they came in."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stiffgrad.estimators._network import Matrix

MOST = 10_000  # rows that are kept


class Kept(NamedTuple):
    """Rows X (N, d) and y with their weights (N,), in the order in which they came."""

    X: Matrix
    y: NDArray[Any]
    weights: Matrix
    places: Matrix  # where each stands in a random order of all rows that came
    seen: int  # how many came

    @classmethod
    def none_like(cls, X: Matrix, y: NDArray[Any], weights: Matrix) -> Kept:
        """No rows yet, of the shape of these."""
        return cls(X[:0], y[:0], weights[:0], np.zeros(0), 0)

    def joined(self, X: Matrix, y: NDArray[Any], weights: Matrix) -> Kept:
        """These with further ones. Raises ValueError where y has another shape."""
        if self.y.shape[1:] != y.shape[1:]:
            raise ValueError(f"y has the shape {y.shape}, and had {self.y.shape} in the calls before")
        seen = self.seen + len(X)
        new = (X, y, weights, np.random.default_rng(0).random(seen)[self.seen :])
        X, y, weights, places = (np.concatenate(pair) for pair in zip(self[:4], new, strict=True))
        first = np.sort(np.argsort(places, kind="stable")[:MOST])
        return Kept(X[first], y[first], weights[first], places[first], seen)
