"""Gram matrices: only the lower triangle is formed, in blocks of rows, for Cholesky reads no more."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

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
