"""Functions of one point at many, by one program each: slices of one size, the last of them filled up.

A program is compiled for a number of points, and what is evaluated now and then, on the points of an objective, on
others and on a dense grid, is compiled for longer than it runs. So all of them share what one slice needs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from stiffgrad._config import QUICK, Program
from stiffgrad._types import Params
from stiffgrad.objective import Objective
from stiffgrad.pde.conditions import Residual

SLICE = 256  # points: the 64 of a short piece cost little more than a call, and 10,000 are 40 calls


def at_points(function: Callable[[Any, Any], Any], params: Params, points: Any) -> NDArray[Any]:
    """function(params, x) for each point x of a pytree of arrays (N, ...), stacked: (N, ...).

    `function` is hashable, and what is compiled is shared by all that are equal to it.

    Examples
    --------
    >>> at_points(lambda a, x: a * x[0], 2.0, np.arange(3.0)[:, None]).tolist()
    [0.0, 2.0, 4.0]
    """
    points = jax.tree.map(np.asarray, points)
    count = len(jax.tree.leaves(points)[0])
    slices = [
        np.asarray(_each(function, params, jax.tree.map(lambda leaf, start=start: _slice(leaf, start), points)))
        for start in range(0, count, SLICE)
    ]
    return np.concatenate(slices)[:count]


def _slice(leaf: NDArray[Any], start: int) -> NDArray[Any]:
    """SLICE rows from `start` on; where there are fewer, the last one again."""
    rows = leaf[start : start + SLICE]
    missing = SLICE - len(rows)
    return np.concatenate([rows, np.repeat(rows[-1:], missing, axis=0)]) if missing else rows


def left(objective: Objective, w: Any) -> list[NDArray[np.float64]]:
    """What each term of a problem's objective leaves at weights (n,), by the root of its coefficients: (N, k) each.

    Half of the sum of all squares is the energy.
    """
    params = objective.layout.unflatten(np.asarray(w))
    return [_left(block, params) for block in objective.blocks]


def _left(block: Any, params: Params) -> NDArray[np.float64]:
    flat = lambda leaf: np.asarray(leaf).reshape(-1, *leaf.shape[2:]) if block.chunked else np.asarray(leaf)  # noqa: E731
    samples, targets, coefficients = jax.tree.map(flat, (block.samples, block.targets, block.coefficients))
    function, units = plain(block.function)
    residual = np.asarray(at_points(function, params, samples), float).reshape(len(targets), -1) / units - targets
    # A padded sample has coefficient 0, and does not count even where it leaves infinity.
    return np.where(coefficients[:, None] > 0, np.sqrt(coefficients)[:, None] * residual, 0.0)


def plain(function: Any) -> tuple[Callable[[Any, Any], Any], Any]:
    """A condition in the units of its user, whatever others it was given; and these, (k,)."""
    if not isinstance(function, Residual):
        return function, 1.0
    return dataclasses.replace(function, units=()), np.array(function.units or 1.0)


def energy(objective: Objective, w: Any) -> float:
    """The energy of a problem's objective at weights (n,)."""
    with np.errstate(over="ignore", invalid="ignore"):
        return 0.5 * sum(float(np.sum(rows**2)) for rows in left(objective, w))


def _apply(function: Any, params: Params, points: Any) -> Any:
    return jax.vmap(function, in_axes=(None, 0))(params, points)


_each = Program(_apply, QUICK, static_argnums=0)
