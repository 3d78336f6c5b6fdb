"""Shifted solves (I/h + M) d = -g for dense curvature: factor once, solve often, as two separate verbs.

Cholesky reads only the lower triangle, which is all that `objective.gram` forms.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stiffgrad._arrays import on_host


def factor(gram: jax.Array, shift: jax.Array) -> Any:
    """Lower Cholesky factor of gram + shift I; NaN where that is not positive definite. Reads the lower triangle."""
    size = gram.shape[0]
    if on_host(gram):
        try:
            return np.linalg.cholesky(gram + np.diag(np.full(size, shift)))
        except np.linalg.LinAlgError:
            return np.full_like(gram, np.nan)
    shifted = gram.at[jnp.diag_indices(size)].add(shift)
    return jax.lax.linalg.cholesky(shifted, symmetrize_input=False)


def solve(lower: jax.Array, rhs: jax.Array) -> Any:
    """Solve L L' x = rhs with the factor L from `factor`; rhs of shape (size,)."""
    return solve_triangle(lower, solve_triangle(lower, rhs), transpose=True)


def solve_triangle(matrix: jax.Array, rhs: jax.Array, *, lower: bool = True, transpose: bool = False) -> Any:
    """Solve T x = rhs, or T' x = rhs, with a triangular matrix; rhs of shape (size,).

    `jax.scipy.linalg` and `scipy.linalg` have the same, and take a tenth of a second to import.
    """
    if on_host(matrix):
        try:
            return np.linalg.solve(matrix.T if transpose else matrix, rhs)
        except np.linalg.LinAlgError:
            return np.full_like(rhs, np.nan)
    solved = jax.lax.linalg.triangular_solve(matrix, rhs[:, None], left_side=True, lower=lower, transpose_a=transpose)
    return solved[:, 0]
