"""Shifted solves (I/h + M) d = -g for dense curvature: factor once, solve often, as two separate verbs.

Gauss-Newton matrices are solved on the smaller side: n x n for A'A (primal) or, by Woodbury, m x m for AA' (dual).
Only the lower triangle of a Gram matrix is formed, in blocks, for Cholesky reads no more.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular

GRAM_BLOCK = 256  # rows of a block of the Gram matrix: large enough for full matrix-product speed


def lower_gram(a: jax.Array, block: int = GRAM_BLOCK) -> jax.Array:
    """The lower triangle of a a' for `a` of shape (p, q), in blocks of rows; the strict upper blocks are zero.

    Costs p^2 q (1 + block/p) operations where the full product costs 2 p^2 q.
    """
    size = a.shape[0]
    if size <= 2 * block:
        return a @ a.T
    return lower_strips(size, lambda rows, columns: a[rows] @ a[columns].T, block)


def lower_strips(size: int, strip: Callable[[slice, slice], jax.Array], block: int = GRAM_BLOCK) -> jax.Array:
    """A lower triangle put together from strips of rows, each from its first column to its diagonal block."""
    parts = []
    for start in range(0, size, block):
        stop = min(start + block, size)
        parts.append(jnp.pad(strip(slice(start, stop), slice(0, stop)), ((0, 0), (0, size - stop))))
    return jnp.concatenate(parts)


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
