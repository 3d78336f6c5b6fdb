"""Shifted solves (I/h + M) d = -g for dense curvature: factor once, solve often, as two separate verbs.

Cholesky reads only the lower triangle, which is all that `objective.gram` forms.
"""

from __future__ import annotations

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
