"""Dense models of the curvature at a point: what a step of size h should be, and how far the energy should fall.

A model linearises the flow once, is factored for a step size, and is then solved with as often as wanted:

    (I/h + C) d = -g        linearly implicit Euler, L-stable, Newton's method as h grows

with C the Gauss-Newton matrix A'A + decay or the Hessian. Gauss-Newton is solved on its smaller side: n x n, or m x m
by Woodbury's identity. Only this file knows which, what it costs and how many bytes it takes.
"""

from __future__ import annotations

import abc
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stiffgrad._arrays import either, namespace, on_host
from stiffgrad.curvature import linalg
from stiffgrad.curvature.point import Point
from stiffgrad.curvature.rows import DenseRows, Rows, kernel_costs, rows_at
from stiffgrad.objective import derivatives
from stiffgrad.objective.objective import Objective


class Linearised(abc.ABC):
    """The curvature at one point: `factor` for a step size, then solve often."""

    matrix: jax.Array  # lower triangle
    decay: Any = 0.0  # what the matrix does not hold of it

    def factor(self, h: jax.Array) -> jax.Array:
        """Lower Cholesky factor of I/h + C, or of its dual; NaN where that is not positive definite."""
        return linalg.factor(self.matrix, 1.0 / h + self.decay)

    @abc.abstractmethod
    def descend(self, lower: jax.Array, h: jax.Array, point: Point, residual: Any) -> tuple[jax.Array, jax.Array]:
        """The step d (n,) from a point with the factored curvature, and g'd."""

    @abc.abstractmethod
    def bend(self, lower: jax.Array, d: jax.Array) -> jax.Array:
        """The geodesic acceleration a (n,) along d: (I/h + C) a = -J'S f''[d, d] (Transtrum and Sethna 2012)."""

    @abc.abstractmethod
    def scale(self) -> jax.Array:
        """The trace of C, which bounds its largest eigenvalue."""


@dataclasses.dataclass(frozen=True)
class Primal(Linearised):
    """C itself, (n, n), with the rows of A where these are at hand."""

    objective: Objective
    w: jax.Array
    matrix: jax.Array
    rows: Rows | None = None

    def descend(self, lower: jax.Array, h: jax.Array, point: Point, residual: Any) -> tuple[jax.Array, jax.Array]:
        d = -linalg.solve(lower, point.gradient)
        return d, point.gradient @ d

    def bend(self, lower: jax.Array, d: jax.Array) -> jax.Array:
        if self.rows is None:
            return -linalg.solve(lower, _curvature_gradient(self.objective, self.w, d))
        return -linalg.solve(lower, self.rows.pull(_curvature_rows(self.objective, self.w, d)))

    def scale(self) -> jax.Array:
        return namespace(self.matrix).trace(self.matrix)


@dataclasses.dataclass(frozen=True)
class Dual(Linearised):
    """The kernel AA', (m, m), and the one decay of all weights.

    With c = 1/h + decay the step is d = -A'(cI + AA')^-1 (r - (decay/c) A w) - (decay/c) w. Unlike the textbook form
    this does not cancel as 1/h goes to zero.
    """

    objective: Objective
    w: jax.Array
    rows: Rows
    matrix: jax.Array
    decay: jax.Array

    def descend(self, lower: jax.Array, h: jax.Array, point: Point, residual: Any) -> tuple[jax.Array, jax.Array]:
        part = self.decay / (1.0 / h + self.decay)
        d = -self.rows.pull(linalg.solve(lower, residual - part * self.rows.push(point.w))) - part * point.w
        return d, residual @ self.rows.push(d) + self.decay * (point.w @ d)

    def bend(self, lower: jax.Array, d: jax.Array) -> jax.Array:
        return -self.rows.pull(linalg.solve(lower, _curvature_rows(self.objective, self.w, d)))

    def scale(self) -> jax.Array:
        return namespace(self.matrix).trace(self.matrix) + self.decay * self.w.shape[0]


class Curvature(abc.ABC):
    """A kind of dense curvature for an objective, and what it costs."""

    @abc.abstractmethod
    def linearise(self, objective: Objective, w: jax.Array) -> Linearised:
        """The curvature at w."""

    @abc.abstractmethod
    def residual(self, objective: Objective, w: jax.Array) -> Any:
        """What `descend` needs of a point beside its gradient."""

    @abc.abstractmethod
    def side(self, objective: Objective) -> int:
        """Rows of the matrix that is factored."""

    @abc.abstractmethod
    def flops(self, objective: Objective) -> float:
        """Operations to form the matrix, derivatives left out."""

    def step_flops(self, objective: Objective) -> float:
        """Operations to form the matrix and to factor it."""
        return self.flops(objective) + self.side(objective) ** 3 / 3.0

    @abc.abstractmethod
    def bytes(self, objective: Objective) -> float:
        """Memory of a step: the Jacobian, the matrix, its factor and their copies."""


@dataclasses.dataclass(frozen=True)
class GaussNewton(Curvature):
    """A'A + decay, on the smaller side. The right Jacobian of the flow while residuals go to zero."""

    def dual(self, objective: Objective) -> bool:
        """Whether the m x m kernel is the smaller side, and Woodbury applies (one decay for all weights)."""
        return objective.whole_rows and objective.uniform_decay and objective.rows < objective.size

    def linearise(self, objective: Objective, w: jax.Array) -> Linearised:
        if self.dual(objective):
            if on_host(w):
                rows, kernel = _rows_and_kernel(objective, w)
                return Dual(objective, w, DenseRows(rows), kernel, np.asarray(objective.decay)[0])
            by_layers = rows_at(objective, w)
            return Dual(objective, w, by_layers, by_layers.kernel(), objective.decay[0])
        if on_host(w) and objective.whole_rows:
            rows = DenseRows(_rows(objective, w))  # NumPy's product needs no compilation, and A' spares one of its own
            return Primal(objective, w, rows.gram() + np.diag(np.asarray(objective.decay)), rows)
        return Primal(objective, w, _gauss_newton(objective, w))

    def residual(self, objective: Objective, w: jax.Array) -> Any:
        return _residual(objective, w) if self.dual(objective) else None

    def side(self, objective: Objective) -> int:
        return objective.stacked_rows if self.dual(objective) else objective.size

    def flops(self, objective: Objective) -> float:
        if self.dual(objective):
            return kernel_costs(objective).flops
        return float(objective.rows) * float(objective.size) ** 2

    def bytes(self, objective: Objective) -> float:
        square = 4.0 * objective.w0.dtype.itemsize * self.side(objective) ** 2
        if self.dual(objective):
            return kernel_costs(objective).bytes + square
        entries = float(objective.rows) * objective.size if objective.whole_rows else 0.0
        return 2.0 * objective.w0.dtype.itemsize * entries + square


@dataclasses.dataclass(frozen=True)
class Hessian(Curvature):
    """The exact Hessian, n x n, by n products. Not positive definite near a saddle: small h mends that."""

    def linearise(self, objective: Objective, w: jax.Array) -> Linearised:
        return Primal(objective, w, _hessian(objective, w))

    def residual(self, objective: Objective, w: jax.Array) -> Any:
        return None

    def side(self, objective: Objective) -> int:
        return objective.size

    def flops(self, objective: Objective) -> float:
        return 0.0

    def bytes(self, objective: Objective) -> float:
        return 5.0 * objective.w0.dtype.itemsize * objective.size**2


@either
def _gauss_newton(objective: Objective, w: jax.Array) -> jax.Array:
    """The lower triangle of A'A + decay."""
    if objective.whole_rows:
        return rows_at(objective, w).gram() + jnp.diag(objective.decay)
    return derivatives.gauss_newton_lower(objective, w)


@either
def _rows_and_kernel(objective: Objective, w: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A and the lower triangle of AA'."""
    rows = DenseRows(derivatives.scaled_jacobian(objective, w))
    return rows.a, rows.kernel()


_rows = either(derivatives.scaled_jacobian)
_residual = either(derivatives.residual)
_hessian = either(derivatives.hessian)
_curvature_gradient = either(derivatives.curvature_gradient)
_curvature_rows = either(derivatives.curvature_rows)
