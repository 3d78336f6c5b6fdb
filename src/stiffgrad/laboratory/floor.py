"""What a dense step must cost at least on this machine: one Gram product and one factorization."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg

from stiffgrad import _checks
from stiffgrad.laboratory import problems
from stiffgrad.run.driver import solve


@dataclasses.dataclass(frozen=True)
class Floor:
    """A run against its floor.

    Attributes
    ----------
    problem : str
    rows, size : int
        Height m and width n of the outputs' Jacobian.
    gram_seconds, factor_seconds : float
        One product on the smaller side, and one Cholesky factorization of it, as fast as this machine does them.
    jacobians, factorizations : int
        Counted in the run.
    solve_seconds : float
        What the run took.
    """

    problem: str
    rows: int
    size: int
    gram_seconds: float
    factor_seconds: float
    jacobians: int
    factorizations: int
    solve_seconds: float

    @property
    def floor_seconds(self) -> float:
        """The products and factorizations of the run at the machine's speed."""
        return self.jacobians * self.gram_seconds + self.factorizations * self.factor_seconds

    @property
    def ratio(self) -> float:
        """Achieved over floor, at least about 1."""
        return self.solve_seconds / self.floor_seconds


def measure(rows: int, size: int, repeats: int = 5) -> tuple[float, float]:
    """Seconds of one float64 Gram product of an (m, n) matrix on its smaller side, and of its Cholesky factorization.

    Each is the shortest of `repeats` by the faster of two libraries (BLAS through NumPy and SciPy, and JAX).
    """
    matrix = np.random.default_rng(0).standard_normal((rows, size))
    tall = matrix if rows >= size else np.ascontiguousarray(matrix.T)
    gram = tall.T @ tall + np.eye(min(rows, size))
    on_device, shifted = jnp.asarray(tall), jnp.asarray(gram)
    products = (lambda: tall.T @ tall, lambda: _gram(on_device))
    factors = (lambda: scipy.linalg.cholesky(gram, lower=True, check_finite=False), lambda: _cholesky(shifted))
    return _shortest(products, repeats), _shortest(factors, repeats)


_gram = jax.jit(lambda matrix: matrix.T @ matrix)
_cholesky = jax.jit(jnp.linalg.cholesky)


def _shortest(calls: tuple[Callable[[], Any], ...], repeats: int) -> float:
    seconds = np.inf
    for call in calls:
        jax.block_until_ready(call())
        for _ in range(repeats):
            begin = time.perf_counter()
            jax.block_until_ready(call())
            seconds = min(seconds, time.perf_counter() - begin)
    return seconds


def floor(problem: str, seed: int = 0, seconds: float = 20.0) -> Floor:
    """Run rosenbrock on a problem to its deep target and set its time against the floor.

    Raises ValueError for an unknown problem.
    """
    _checks.positive("seconds", seconds)
    chosen = problems.get(problem)
    objective = chosen.objective(seed)
    solution = solve(objective, "rosenbrock", until=chosen.targets["deep"].until(seconds), throw=False)
    gram_seconds, factor_seconds = measure(objective.rows, objective.size)
    counts = solution.statistics
    return Floor(
        problem,
        objective.rows,
        objective.size,
        gram_seconds,
        factor_seconds,
        counts.jacobian_evaluations or 0,
        counts.factorizations or 0,
        solution.wall_seconds,
    )
