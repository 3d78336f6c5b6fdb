"""Shifted solves (I/h + M) d = -g for dense curvature: factor once, solve often, as two separate verbs.

Gauss-Newton matrices are solved on the smaller side: n x n for A'A (primal) or, by Woodbury, m x m for AA' (dual).
Only the lower triangle of a Gram matrix is formed, in blocks, for Cholesky reads no more.
"""

from __future__ import annotations

from typing import NamedTuple

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
    parts = []
    for start in range(0, size, block):
        stop = min(start + block, size)
        strip = a[start:stop] @ a[:stop].T
        parts.append(jnp.pad(strip, ((0, 0), (0, size - stop))))
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


class Shifted(NamedTuple):
    """A factored (shift I + M): what all steps with one Jacobian and one step size share.

    Primal: M is n x n. Dual: M = decay I + A'A by the m x m kernel AA', with `jacobian` = A of shape (m, n).
    """

    lower: jax.Array
    jacobian: jax.Array  # empty in the primal form
    shift: jax.Array  # 1/h
    decay: jax.Array  # dual: the one decay of all weights

    @classmethod
    def of(cls, gram: jax.Array, jacobian: jax.Array, shift: jax.Array, decay: jax.Array) -> Shifted:
        """Factor: one Cholesky factorization."""
        return cls(factor(gram, shift + decay), jacobian, shift, decay)

    def solve(self, rhs: jax.Array) -> jax.Array:
        """Primal: (shift I + M)^-1 rhs, for rhs of shape (n,)."""
        return solve(self.lower, rhs)

    def descend(self, residual: jax.Array, w: jax.Array) -> jax.Array:
        """Dual step from the residual r (m,) at w: d = -(shift I + decay + A'A)^-1 (A'r + decay w), by Woodbury.

        With C = shift + decay: d = -A'(C I + AA')^-1 (r - (decay/C) A w) - (decay/C) w. Unlike the textbook form
        this does not cancel as the shift goes to zero.
        """
        part = self.decay / (self.shift + self.decay)
        return self.pull(residual - part * (self.jacobian @ w)) - part * w

    def pull(self, b: jax.Array) -> jax.Array:
        """Dual: -(shift I + decay + A'A)^-1 A'b for b of shape (m,)."""
        return -(solve(self.lower, b) @ self.jacobian)
