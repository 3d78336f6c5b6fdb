"""A limited memory of secant pairs, and the product with its inverse Jacobian, as pure functions.

A pair is a step s and the change y of the gradient along it. The pairs define the BFGS matrix of a scaled identity
(Nocedal 1980). Its inverse acts in compact form (Byrd, Nocedal and Schnabel 1994, theorem 2.2): two thin products with
the memory and a small triangular system, without the two-loop recursion, which would run one vector at a time.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from stiffgrad._arrays import namespace, on_host, put
from stiffgrad.curvature.linalg import solve_triangle


class Coordinates(Protocol):
    """A linear change of coordinates w = P u, in which the pairs are kept."""

    def weights(self, u: jax.Array) -> jax.Array:
        """P u."""

    def coordinates(self, w: jax.Array) -> jax.Array:
        """P^-1 w."""

    def slope(self, g: jax.Array) -> jax.Array:
        """P' g, the gradient in the coordinates."""

    def gradient(self, slope: jax.Array) -> jax.Array:
        """P^-T of a slope, the gradient in the weights."""


class Memory(NamedTuple):
    """A ring of pairs, each divided by |s|; the oldest is overwritten. One slot is always free, to write into.

    Attributes
    ----------
    rows : array of shape (2 (size + 1), n)
        The s, then the y. They may be of lower precision than the weights: they only shape directions, which are then
        checked.
    sy, yy : arrays of shape (size + 1, size + 1)
        s_i'y_j and y_i'y_j.
    filled : scalar
        Pairs stored so far, also beyond `size`; 0 forgets them all.
    space : Coordinates or None
        The coordinates in which the pairs are kept, and in which the matrix without pairs is the identity.
    """

    rows: jax.Array
    sy: jax.Array
    yy: jax.Array
    filled: jax.Array
    space: Coordinates | None = None


def empty(size: int, n: int, dtype: Any, space: Coordinates | None = None) -> Memory:
    """A memory for `size` pairs, without any: NumPy's arrays, so that nothing is compiled for them."""
    small = np.zeros((size + 1, size + 1))
    rows = np.zeros((2 * (size + 1), n), dtype)
    return Memory(rows, small, small, np.zeros((), np.int32), space)  # type: ignore[arg-type]


def moved(memory: Memory, space: Coordinates) -> Memory:
    """The same pairs in other coordinates."""
    assert memory.space is not None
    old = memory.space
    s, y = jnp.split(memory.rows, 2)
    # One vector at a time: all at once would need several times the memory.
    s = jax.lax.map(lambda u: space.coordinates(old.weights(u)), s)
    y = jax.lax.map(lambda slope: space.slope(old.gradient(slope)), y)
    length = jnp.linalg.norm(s, axis=1, keepdims=True)
    s, y = (vectors / jnp.where(length > 0, length, 1.0) for vectors in (s, y))
    sy, yy = ((left @ y.T).astype(memory.sy.dtype) for left in (s, y))
    return Memory(jnp.concatenate([s, y]).astype(memory.rows.dtype), sy, yy, memory.filled, space)


def remember(memory: Memory, s: jax.Array, y: jax.Array, when: Any = True) -> Memory:
    """Store a pair, unless its curvature s'y is not clearly positive: then the matrix would not be definite.

    Costs two passes over the memory, also where nothing is stored: a branch would copy the memory.
    """
    if memory.space is not None and not on_host(s):  # there they are still the identity
        s, y = memory.space.coordinates(s), memory.space.slope(y)
    xp = namespace(s)
    length = xp.linalg.norm(s)
    stored = xp.asarray(when) & xp.isfinite(length) & (xp.vdot(s, y) > 1e-10 * length * xp.linalg.norm(y))
    slot = memory.filled % memory.sy.shape[0]
    pair = (xp.stack([s, y]) / xp.where(length > 0, length, 1.0)).astype(memory.rows.dtype)
    pair = xp.where(stored, pair, xp.zeros_like(pair))
    # Products before the update, updates that are no scatters, and two dimensions: else XLA copies the rows.
    with_s, with_y = ((memory.rows @ vector).astype(memory.sy.dtype).reshape(2, -1) for vector in pair)
    own = pair.astype(memory.sy.dtype)
    sy = put(put(memory.sy, with_s[1], slot, 0), put(with_y[0], own[0] @ own[1], slot, 0), slot, 1)
    along_y = put(with_y[1], own[1] @ own[1], slot, 0)
    yy = put(put(memory.yy, along_y, slot, 0), along_y, slot, 1)
    rows = put(put(memory.rows, pair[0], slot, 0), pair[1], slot + memory.sy.shape[0], 0)
    return Memory(rows, sy, yy, memory.filled + stored, memory.space)


def inverse_product(memory: Memory, g: jax.Array) -> jax.Array:
    """B^-1 g for the BFGS matrix B of the pairs, of shape (n,).

    Where there is no pair yet, B is the identity in the memory's coordinates, or max(1, |g|) where it has none. Costs
    two passes over the memory.

    Examples
    --------
    >>> H = jnp.diag(jnp.array([1.0, 4.0]))
    >>> memory = empty(2, 2, jnp.float64)
    >>> for s in (jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0])):
    ...     memory = remember(memory, s, H @ s)
    >>> [float(entry) for entry in inverse_product(memory, jnp.array([1.0, 1.0]))]
    [1.0, 0.25]
    """
    if memory.space is not None and not on_host(g):
        d = _inverse_product(memory, memory.space.slope(g), 1.0)
        return memory.space.weights(d).astype(g.dtype)
    return _inverse_product(memory, g, 1.0 / namespace(g).maximum(1.0, namespace(g).linalg.norm(g)))


def _inverse_product(memory: Memory, g: jax.Array, first: Any) -> jax.Array:
    xp = namespace(g)
    slots = memory.sy.shape[0]
    norm = xp.linalg.norm(g)
    # Oldest first, after the slot to be written next; slots without a pair come first, and act as the identity.
    order = (memory.filled % slots + xp.arange(slots)) % slots
    valid = xp.arange(slots) >= xp.maximum(1, slots - memory.filled)
    both = valid[:, None] & valid
    direction = (g / xp.where(norm > 0, norm, 1.0)).astype(memory.rows.dtype)
    along = xp.where(valid, (memory.rows @ direction).reshape(2, -1)[:, order].astype(memory.sy.dtype), 0.0)
    sy, yy = (xp.where(both, matrix[order][:, order], 0.0) for matrix in (memory.sy, memory.yy))
    diagonal = xp.where(valid, xp.diag(sy), 1.0)
    upper = xp.triu(sy, 1) + xp.diag(diagonal)
    some = memory.filled > 0
    scale = xp.where(some, sy[-1, -1] / xp.where(some, yy[-1, -1], 1.0), first)
    forward = solve_triangle(upper, along[0], lower=False)
    back = solve_triangle(upper, diagonal * forward + scale * (yy @ forward - along[1]), lower=False, transpose=True)
    slot = (xp.arange(slots) - memory.filled) % slots  # turns `order` back
    mix = xp.where(valid, xp.stack([back, -scale * forward]), 0.0)[:, slot]
    return (scale * g + norm * mix.astype(memory.rows.dtype).ravel() @ memory.rows).astype(g.dtype)
