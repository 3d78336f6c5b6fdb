"""Collocation points: inside of a box, and on its faces."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree
from scipy.stats import qmc

Points = NDArray[np.float64]
Domain = tuple[tuple[float, float], ...]
SAMPLINGS = ("sobol", "latin", "grid", "uniform")
ROUNDING = 1e-9  # a point this part of a side outside of the box still counts as on its face


def box(domain: Any) -> Domain:
    """The domain as a tuple of (low, high), one for each coordinate. Raises ValueError or TypeError for what is none.

    Examples
    --------
    >>> box([(0, 1), [-1, 1]])
    ((0.0, 1.0), (-1.0, 1.0))
    """
    try:
        sides = np.asarray(domain, float)
    except (TypeError, ValueError):
        raise TypeError(f"domain={domain!r} must be a list of (low, high), one for each coordinate") from None
    if sides.ndim != 2 or sides.shape[1] != 2 or not len(sides):
        raise ValueError(
            f"domain={domain!r} must be a list of (low, high), one for each coordinate, as [(0, 1), (0, 1)]"
        )
    if not np.all(np.isfinite(sides)) or np.any(sides[:, 0] >= sides[:, 1]):
        raise ValueError(f"domain={domain!r}: each low must be below its high, and both finite")
    return tuple((float(low), float(high)) for low, high in sides)


def interior_points(domain: Any, count: int, sampling: str = "sobol", seed: int = 0) -> Points:
    """Points inside of a box.

    Parameters
    ----------
    domain : sequence of (low, high)
        One pair for each coordinate.
    count : int
        How many; a grid has the nearest number of the same count along every side, at least two.
    sampling : "sobol", "latin", "grid" or "uniform"
        Scrambled Sobol points and a Latin hypercube (`scipy.stats.qmc`), an even grid that includes the faces, or
        independent random points.
    seed : int
        Of the draw.

    Returns
    -------
    array of shape (count, d)
        The points.

    Raises
    ------
    ValueError, TypeError
        For a count below 1, an unknown sampling, or a domain that is none.

    Examples
    --------
    >>> interior_points([(0, 1), (0, 2)], 9, "grid").max(axis=0).tolist()
    [1.0, 2.0]
    """
    sides = box(domain)
    if _whole(count, "count") < 1:
        raise ValueError(f"count={count} must be at least 1: a term without points has no meaning")
    return _scaled(sides, _unit(len(sides), int(count), _known(sampling), _whole(seed, "seed")))


def between(points: Points) -> Points:
    """Points halfway from each point (N, d) to its (d + 1)-th nearest neighbour, whatever the region they fill.

    Examples
    --------
    >>> between(np.array([[0.0], [1.0], [2.5], [4.5]])).ravel().tolist()
    [1.25, 1.75, 3.5, 2.75]
    """
    neighbours = KDTree(points).query(points, min(len(points), points.shape[1] + 2))[1]
    return 0.5 * (points + points[neighbours[:, -1]])


def boundary_points(
    domain: Any, count: int, sampling: str = "sobol", seed: int = 0, faces: Sequence[tuple[int, float]] | None = None
) -> Points:
    """Points on the faces of a box, shared out by their sizes; every face gets at least one.

    Parameters
    ----------
    domain : sequence of (low, high)
        As for `interior_points`.
    count : int
        How many over all faces, at least one for each.
    sampling : str
        As for `interior_points`.
    seed : int
        As for `interior_points`.
    faces : sequence of (axis, value), optional
        Which faces: (0, 1.0) is the one where the coordinate 0 is 1. By default all of them.

    Returns
    -------
    array of shape (count, d)
        The points, face after face.

    Examples
    --------
    >>> boundary_points([(0, 1)], 2).tolist()
    [[0.0], [1.0]]
    """
    sides = box(domain)
    chosen = all_faces(sides) if faces is None else [check_face(sides, face) for face in faces]
    if not chosen:
        raise ValueError("faces is empty: name at least one, as (0, 1.0) where the coordinate 0 is 1")
    if _whole(count, "count") < len(chosen):
        raise ValueError(f"count={count} leaves a face without points: there are {len(chosen)} faces, so give more")
    if len(sides) == 1:
        return np.array([[value] for _, value in chosen])
    parts = []
    for index, ((axis, value), number) in enumerate(zip(chosen, _shares(sides, chosen, int(count)))):
        others = sides[:axis] + sides[axis + 1 :]
        inside = _scaled(others, _unit(len(others), number, _known(sampling), _whole(seed, "seed") + index))
        parts.append(np.insert(inside, axis, value, axis=1))
    return np.concatenate(parts)


def all_faces(sides: Domain, without: int | None = None) -> list[tuple[int, float]]:
    """Every face as (axis, value), but for those of one axis."""
    return [(axis, value) for axis, pair in enumerate(sides) if axis != without for value in pair]


def check_face(sides: Domain, face: Any) -> tuple[int, float]:
    """A face as (axis, value). Raises ValueError where the value is not an end of that side."""
    try:
        axis, value = int(face[0]), float(face[1])
    except (TypeError, ValueError, IndexError):
        raise TypeError(
            f"face={face!r} must be a pair (axis, value), as (0, 1.0) where the coordinate 0 is 1"
        ) from None
    if not -len(sides) <= axis < len(sides):
        raise ValueError(f"face={face!r}: axis {axis} is beyond the coordinates, which are 0 to {len(sides) - 1}")
    low, high = sides[axis]
    for end in (low, high):
        if abs(value - end) <= ROUNDING * (high - low):
            return axis % len(sides), end
    raise ValueError(f"face={face!r}: the coordinate {axis} ends at {low:g} and {high:g}, not at {value:g}")


def check_inside(sides: Domain, points: Any, name: str) -> Points:
    """Points as an array (N, d), all inside of the box or on its faces. Raises ValueError with the first outside."""
    try:
        array = np.asarray(points, float)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be an array of numbers of shape (N, {len(sides)})") from None
    if array.ndim == 1 and len(sides) == 1:
        array = array[:, None]
    if array.ndim != 2 or array.shape[1] != len(sides):
        raise ValueError(
            f"{name} has shape {array.shape}; give (N, {len(sides)}), one row for each point of the domain"
        )
    if not len(array):
        raise ValueError(f"{name} is empty: a term without points has no meaning")
    low, high = np.array(sides).T
    slack = ROUNDING * (high - low)
    outside = ~np.all((array >= low - slack) & (array <= high + slack), axis=1)  # NaN is outside as well
    if outside.any():
        first = int(np.argmax(outside))
        raise ValueError(
            f"{name}: {int(outside.sum())} of {len(array)} points lie outside of the domain {list(sides)}, the first "
            f"is {name}[{first}] = {array[first].tolist()}; move them, or enlarge the domain"
        )
    return array


def _whole(number: Any, name: str) -> int:
    if isinstance(number, bool) or not isinstance(number, int | np.integer):
        raise TypeError(f"{name}={number!r} must be a whole number")
    return int(number)


def _known(sampling: Any) -> str:
    if sampling not in SAMPLINGS:
        raise ValueError(f"sampling={sampling!r} must be one of {', '.join(SAMPLINGS)}")
    return str(sampling)


def _shares(sides: Domain, faces: list[tuple[int, float]], count: int) -> list[int]:
    """Points for each face, in proportion to its size, at least one, `count` in all."""
    lengths = np.array([high - low for low, high in sides])
    size = np.array([np.prod(np.delete(lengths, axis)) for axis, _ in faces])
    exact = (count - len(faces)) * size / size.sum()
    shares = np.floor(exact).astype(int)
    for index in np.argsort(shares - exact)[: count - len(faces) - shares.sum()]:
        shares[index] += 1
    return [int(share) + 1 for share in shares]


def _scaled(sides: Domain, unit: Points) -> Points:
    low, high = np.array(sides).T
    return low + (high - low) * unit


def _unit(dimension: int, count: int, sampling: str, seed: int) -> Points:
    """Points of the unit cube."""
    if sampling == "uniform":
        return np.random.default_rng(seed).random((count, dimension))
    if sampling == "latin":
        return np.asarray(qmc.LatinHypercube(dimension, rng=seed).random(count))
    if sampling == "sobol":
        with warnings.catch_warnings():  # a count that is no power of 2 loses the last bit of balance, and no more
            warnings.simplefilter("ignore", UserWarning)
            return np.asarray(qmc.Sobol(dimension, rng=seed).random(count))
    side = max(2, round(count ** (1 / dimension))) if count > 1 else 1
    line = np.linspace(0.0, 1.0, side) if side > 1 else np.array([0.5])
    return np.stack(np.meshgrid(*[line] * dimension, indexing="ij"), axis=-1).reshape(-1, dimension)


def some_of(total: int, most: int) -> NDArray[np.int64]:
    """Indices, in order, of at most so many of all points, drawn once and for all.

    Every n-th of Sobol's points would lie in one corner of the domain, and the first of faces on one face.

    Examples
    --------
    >>> some_of(3, 5).tolist(), len(some_of(1024, 64))
    ([0, 1, 2], 64)
    """
    if total <= most:
        return np.arange(total)
    return np.sort(np.random.default_rng(0).choice(total, most, replace=False))


def default_counts(dimension: int) -> tuple[int, int]:
    """Points inside and on all faces where the user names no number."""
    return {1: (512, 2), 2: (1024, 256)}.get(dimension, (2048, 128 * math.ceil(dimension)))
