"""Shifted solves (I/h + M) d = -g for dense curvature: factor once, solve often, as two separate verbs.

Gauss-Newton matrices are solved on the smaller side: n x n for A'A (primal) or, by Woodbury, m x m for AA' (dual).
Cholesky reads only the lower triangle, which is all that `objective.gram` forms.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular


def factor(gram: jax.Array, shift: jax.Array) -> jax.Array:
    """Lower Cholesky factor of gram + shift I; NaN where that is not positive definite. Reads the lower triangle."""
    size = gram.shape[0]
    shifted = gram.at[jnp.diag_indices(size)].add(shift)
    return jax.lax.linalg.cholesky(shifted, symmetrize_input=False)


def solve(lower: jax.Array, rhs: jax.Array) -> jax.Array:
    """Solve L L' x = rhs with the factor L from `factor`; rhs of shape (size,)."""
    half = solve_triangular(lower, rhs, lower=True)
    return solve_triangular(lower, half, lower=True, trans=1)


@dataclasses.dataclass(frozen=True)
class Primal:
    """A factored (shift I + M), M of shape (n, n)."""

    lower: jax.Array
    shift: jax.Array  # 1/h

    def solve(self, rhs: jax.Array) -> jax.Array:
        """(shift I + M)^-1 rhs, for rhs of shape (n,)."""
        return solve(self.lower, rhs)


@dataclasses.dataclass(frozen=True)
class Dual:
    """A factored (shift + decay) I + AA', (m, m), which solves with shift I + decay I + A'A by Woodbury.

    `push` is d -> A d and `pull` is b -> A'b: the Jacobian A itself (m x n) is not needed any more.
    """

    lower: jax.Array
    shift: jax.Array  # 1/h
    decay: jax.Array  # the one decay of all weights
    push: Callable[[jax.Array], jax.Array]
    pull: Callable[[jax.Array], jax.Array]

    def solve(self, b: jax.Array) -> jax.Array:
        """(shift I + decay I + A'A)^-1 A'b for b of shape (m,)."""
        return self.pull(solve(self.lower, b))

    def descend(self, residual: jax.Array, w: jax.Array) -> jax.Array:
        """The step from the residual r (m,) at w: d = -(shift I + decay I + A'A)^-1 (A'r + decay w).

        With C = shift + decay: d = -A'(C I + AA')^-1 (r - (decay/C) A w) - (decay/C) w. Unlike the textbook form
        this does not cancel as the shift goes to zero.
        """
        part = self.decay / (self.shift + self.decay)
        return -self.solve(residual - part * self.push(w)) - part * w
