"""A limited memory of secant pairs, and the product with its inverse Jacobian, as pure functions.

A pair is a step s and the change y of the gradient along it. The pairs define the BFGS matrix of a scaled identity
(Nocedal 1980). Its inverse acts in compact form (Byrd, Nocedal and Schnabel 1994, theorem 2.2): two thin products with
the memory and a small triangular system, without the two-loop recursion, which would run one vector at a time.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular


class Memory(NamedTuple):
    """A ring of `size` pairs, each divided by |s|; the oldest is overwritten.

    Attributes
    ----------
    s, y : arrays of shape (size, n)
        Rows may be of lower precision than the weights: they only shape directions, which are then checked.
    sy, yy : arrays of shape (size, size)
        s_i'y_j and y_i'y_j.
    filled : scalar
        Pairs stored so far, also beyond `size`.
    """

    s: jax.Array
    y: jax.Array
    sy: jax.Array
    yy: jax.Array
    filled: jax.Array


def empty(size: int, n: int, dtype: Any) -> Memory:
    """A memory without pairs."""
    rows, small = jnp.zeros((size, n), dtype), jnp.zeros((size, size))
    return Memory(rows, rows, small, small, jnp.zeros((), jnp.int32))


def clear(memory: Memory) -> Memory:
    """The memory without its pairs."""
    return Memory(*(jnp.zeros_like(leaf) for leaf in memory))


def remember(memory: Memory, s: jax.Array, y: jax.Array) -> Memory:
    """Store a pair, unless its curvature s'y is not clearly positive: then the matrix would not be definite.

    Costs one pass over the memory.
    """
    length = jnp.linalg.norm(s)
    curved = jnp.vdot(s, y) > 1e-10 * length * jnp.linalg.norm(y)

    def store(memory: Memory) -> Memory:
        slot = memory.filled % memory.s.shape[0]
        row_s, row_y = (s / length).astype(memory.s.dtype), (y / length).astype(memory.y.dtype)
        rows_s, rows_y = memory.s.at[slot].set(row_s), memory.y.at[slot].set(row_y)
        with_s, with_y = rows_y @ row_s, jnp.stack([rows_s, rows_y]) @ row_y
        sy = memory.sy.at[slot, :].set(with_s.astype(memory.sy.dtype))
        sy = sy.at[:, slot].set(with_y[0].astype(sy.dtype))
        yy = memory.yy.at[slot, :].set(with_y[1].astype(memory.yy.dtype))
        yy = yy.at[:, slot].set(with_y[1].astype(yy.dtype))
        return Memory(rows_s, rows_y, sy, yy, memory.filled + 1)

    return jax.lax.cond(curved & jnp.isfinite(length), store, lambda memory: memory, memory)


def inverse_product(memory: Memory, g: jax.Array) -> jax.Array:
    """B^-1 g for the BFGS matrix B of the pairs, of shape (n,); g divided by max(1, |g|) where there is no pair yet.

    Costs two passes over the memory.

    Examples
    --------
    >>> H = jnp.diag(jnp.array([1.0, 4.0]))
    >>> memory = empty(2, 2, jnp.float64)
    >>> for s in (jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0])):
    ...     memory = remember(memory, s, H @ s)
    >>> [float(entry) for entry in inverse_product(memory, jnp.array([1.0, 1.0]))]
    [1.0, 0.25]
    """
    size = memory.s.shape[0]
    norm = jnp.linalg.norm(g)
    # Oldest first: while the ring is not full its empty slots come first, and they act as the identity.
    order = (memory.filled % size + jnp.arange(size)) % size
    valid = jnp.arange(size) >= size - memory.filled
    direction = (g / jnp.where(norm > 0, norm, 1.0)).astype(memory.s.dtype)
    along_s = (memory.s @ direction)[order].astype(memory.sy.dtype)
    along_y = (memory.y @ direction)[order].astype(memory.sy.dtype)
    sy, yy = memory.sy[order][:, order], memory.yy[order][:, order]
    diagonal = jnp.where(valid, jnp.diag(sy), 1.0)
    upper = jnp.triu(sy, 1) + jnp.diag(diagonal)
    newest = (memory.filled - 1) % size
    scale = jnp.where(
        memory.filled > 0, memory.sy[newest, newest] / memory.yy[newest, newest], 1.0 / jnp.maximum(1.0, norm)
    )
    forward = solve_triangular(upper, along_s)
    middle = (diagonal * forward) + scale * (yy @ forward) - scale * along_y
    back = solve_triangular(upper, middle, trans=1)
    to_s = jnp.zeros(size).at[order].set(jnp.where(valid, back, 0.0)).astype(memory.s.dtype)
    to_y = jnp.zeros(size).at[order].set(jnp.where(valid, -scale * forward, 0.0)).astype(memory.y.dtype)
    return scale * g + norm * (to_s @ memory.s + to_y @ memory.y).astype(g.dtype)
