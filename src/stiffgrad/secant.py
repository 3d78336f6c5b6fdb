"""A limited memory of secant pairs, and the product with its inverse Jacobian, as pure functions.

A pair is a step s and the change y of the gradient along it. The pairs define the BFGS matrix of a scaled identity
(Nocedal 1980). Its inverse acts in compact form (Byrd, Nocedal and Schnabel 1994, theorem 2.2): two thin products with
the memory and a small triangular system, without the two-loop recursion, which would run one vector at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
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
    return (scale * g + norm * (to_s @ memory.s + to_y @ memory.y)).astype(g.dtype)


Evaluate = Callable[[jax.Array], tuple[jax.Array, jax.Array]]
LINE_TRIES = 6
ROUNDING = 8.0  # energies within so many units of rounding are equal
SINGLE_SLACK = 1e-3  # relative, of an energy in float32, whose rounding follows the outputs and not their small loss


class Point(NamedTuple):
    """Weights (n,), their energy, and its gradient (n,)."""

    w: jax.Array
    loss: jax.Array
    gradient: jax.Array


class Sweep(NamedTuple):
    """The result of `sweep`.

    Attributes
    ----------
    point : Point
        The end, evaluated exactly; the start where `good` is False.
    memory : Memory
        With the pairs of the sweep.
    path : scalar
        Sum of |s| / |g| over its steps.
    exact, single : scalars
        Evaluations of either kind.
    taken : scalar
        Steps.
    alone : bool
        Whether the sweep fell back to one exact step.
    good : bool
        Whether the energy fell.
    """

    point: Point
    memory: Memory
    path: jax.Array
    exact: jax.Array
    single: jax.Array
    taken: jax.Array
    alone: jax.Array
    good: jax.Array


class _Line(NamedTuple):
    sweep: Sweep
    direction: jax.Array
    slope: jax.Array
    t: jax.Array
    tries: jax.Array
    done: jax.Array


def sweep(exact: Evaluate, single: Evaluate, start: Point, memory: Memory, repeats: int, alone: Any) -> Sweep:
    """Up to `repeats` secant steps w - t B^-1 g, all but the last evaluated by `single`, the last by `exact`.

    t is 1, or shorter by backtracking. A step is good if it fulfils Armijo's condition or, near rounding, the
    approximate Wolfe condition, which needs only gradients (Hager and Zhang 2005, equation 1.3). A sweep that does not
    lower the exact energy is taken back and repeated as one exact step.

    Parameters
    ----------
    exact, single : callables
        w -> (energy, gradient); `single` may be rounded to float32.
    start : Point
        Evaluated exactly.
    memory : Memory
        Pairs so far.
    repeats : int
        Steps of a sweep; fixed at compile time.
    alone : bool
        Take one exact step from the outset.

    Returns
    -------
    Sweep
    """
    first = -inverse_product(memory, start.gradient)
    slope = jnp.vdot(start.gradient, first)
    none, one = jnp.zeros((), jnp.int64), jnp.ones_like(start.loss)
    alone = jnp.asarray(alone) | (repeats == 1)

    def begin(alone: jax.Array, exact: jax.Array, single: jax.Array) -> _Line:
        fresh = Sweep(start, memory, jnp.zeros_like(start.loss), exact, single, none, alone, jnp.asarray(False))
        return _Line(fresh, first, slope, one, none, ~(slope < 0))

    def accept(line: _Line, s: jax.Array, new: Point) -> _Line:
        old = line.sweep
        taken = old.taken + 1
        length = jnp.linalg.norm(s) / jnp.linalg.norm(old.point.gradient)
        pairs = remember(old.memory, s, new.gradient - old.point.gradient)
        end = old.alone | (taken == repeats)
        direction = jax.lax.cond(end, lambda: line.direction, lambda: -inverse_product(pairs, new.gradient))
        fell = (new.loss < start.loss) | (
            (new.loss <= start.loss + ROUNDING * jnp.finfo(new.loss.dtype).eps * jnp.abs(start.loss))
            & (jnp.linalg.norm(new.gradient) < jnp.linalg.norm(start.gradient))
        )
        after = old._replace(point=new, memory=pairs, path=old.path + length, taken=taken, good=end & fell)
        return _Line(after, direction, jnp.vdot(new.gradient, direction), one, none, end & (fell | old.alone))

    def shorten(line: _Line, s: jax.Array, new: Point) -> _Line:
        excess = new.loss - line.sweep.point.loss - line.t * line.slope
        minimum = -line.slope * line.t / (2.0 * jnp.maximum(excess, jnp.finfo(excess.dtype).tiny))
        t = line.t * jnp.clip(jnp.nan_to_num(minimum / line.t), 0.1, 0.5)
        return line._replace(t=t, tries=line.tries + 1, done=line.sweep.alone & (line.tries + 1 >= LINE_TRIES))

    def body(line: _Line) -> _Line:
        old = line.sweep
        last = old.alone | (old.taken == repeats - 1)
        s = line.t * line.direction
        w = old.point.w + s
        loss, gradient = jax.lax.cond(last, exact, single, w)
        new = Point(w, jnp.where(jnp.isfinite(loss), loss, jnp.inf), gradient)
        slack = jnp.where(old.alone, ROUNDING * jnp.finfo(loss.dtype).eps, SINGLE_SLACK) * jnp.abs(old.point.loss)
        close = new.loss <= old.point.loss + slack
        good = (new.loss <= old.point.loss + 1e-4 * line.t * line.slope) | (
            close & (jnp.vdot(gradient, line.direction) <= -0.8 * line.slope)
        )
        counted = old._replace(exact=old.exact + last, single=old.single + ~last)
        line = jax.lax.cond(good, accept, shorten, line._replace(sweep=counted), s, new)
        lost = ((line.sweep.taken == repeats) & ~line.sweep.good) | (line.tries >= LINE_TRIES) | ~(line.slope < 0)
        again = begin(jnp.asarray(True), line.sweep.exact, line.sweep.single)
        return jax.tree.map(partial(jnp.where, lost & ~line.done), again, line)

    line = jax.lax.while_loop(lambda line: ~line.done, body, begin(alone, none, none))
    found = line.sweep
    return found._replace(point=jax.tree.map(partial(jnp.where, found.good), found.point, start))
