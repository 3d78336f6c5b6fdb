"""Did two runs find the same minimum? Distance after matching hidden units, and the barrier between."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from stiffgrad._float64 import float64
from stiffgrad._types import Params
from stiffgrad.analysis._match import ODD, as_sigmoid, as_tanh, is_mlp, match, match_scaled
from stiffgrad.analysis._modes import flat_point, positive_whole
from stiffgrad.objective import Objective
from stiffgrad.objective.networks import MLP

NEAR = 1e-3  # relative distance below which two points are one
LOW = 1e-3  # barrier, as a share of the loss that training removed, below which there is none

Vector = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class SameMinimum:
    """What `same_minimum` found.

    Attributes
    ----------
    same : bool
        Whether no barrier lies between the matched points.
    distance : float
        Euclidean distance after matching; `relative_distance` is its share of the larger point's norm.
    distance_unmatched : float
        Before matching.
    barrier : float
        Largest loss on the straight path between the matched points, less the larger loss of its ends; not below 0.
    relative_barrier : float
        The same as a share of the loss that training removed.
    losses : (float, float)
        At a and b.
    path : array of shape (points,)
        Loss along the path from a to the matched b.
    matched : bool
        Whether hidden units were matched.
    verdict : str
        In words.
    """

    same: bool
    distance: float
    relative_distance: float
    distance_unmatched: float
    barrier: float
    relative_barrier: float
    losses: tuple[float, float]
    path: Vector
    matched: bool
    verdict: str

    def __repr__(self) -> str:
        return (
            f"SameMinimum: {self.verdict}\n"
            f"  distance   {self.distance:.3e} ({self.distance_unmatched:.3e} before matching), "
            f"{100 * self.relative_distance:.2g}% of the weights' norm\n"
            f"  barrier    {self.barrier:.3e}, {100 * self.relative_barrier:.2g}% of the loss removed by training\n"
            f"  losses     {self.losses[0]:.6e} and {self.losses[1]:.6e}"
        )


@float64
def same_minimum(objective: Objective, a: Params, b: Params, *, points: int = 51) -> SameMinimum:
    """Compare two points, where they may differ by the order and sign of hidden units alone.

    Permuting hidden units leaves the outputs as they are; so does flipping the sign of a unit with tanh, and, with
    the bias above corrected, with sigmoid; without weight decay a unit with relu may be scaled against its outgoing
    weights. Hidden units of b are matched to those of a first.

    Parameters
    ----------
    objective : Objective
        Whose loss is looked at.
    a : pytree or array of shape (n,)
        One point. Matching needs the layout of `mlp`: a list of {"weight", "bias"}.
    b : pytree or array of shape (n,)
        The other.
    points : int
        On the path between.

    Returns
    -------
    SameMinimum
        Whether they are one minimum, and what says so.

    Raises
    ------
    ValueError, TypeError
        Points that do not fit the objective or are not finite; fewer than 3 points.

    Notes
    -----
    Assignment by `scipy.optimize.linear_sum_assignment`, layer by layer (Ainsworth, Hayase and Srinivasa 2023); beyond
    one hidden layer the matching may miss the nearest copy, so there "different" is less sure than "same".

    Examples
    --------
    >>> import stiffgrad as sg
    >>> apply, params = sg.mlp([1, 3, 1], seed=0)
    >>> X = np.linspace(-1, 1, 9)[:, None]
    >>> objective = sg.supervised(apply, params, X, X**2)
    >>> flipped = [{"weight": -params[0]["weight"], "bias": -params[0]["bias"]}, {**params[1]}]
    >>> flipped[1]["weight"] = -flipped[1]["weight"]
    >>> sg.same_minimum(objective, params, flipped).same
    True
    """
    points = positive_whole("points", points, 3)
    left, right = flat_point(objective, a, "a"), flat_point(objective, b, "b")
    moved, note = _matched(objective, left, right)
    path = np.array([float(objective.value((1 - t) * left + t * moved)) for t in np.linspace(0.0, 1.0, points)])
    ends = (float(path[0]), float(objective.value(right)))
    barrier = float(max(0.0, path.max() - max(ends))) if np.all(np.isfinite(path)) else np.inf
    start = float(objective.value(objective.w0))
    removed = max(start, *ends) - min(ends)
    rounding = 16 * np.finfo(float).eps * max(abs(end) for end in ends)
    relative = 0.0 if barrier <= rounding else barrier / max(removed, barrier)
    size = max(float(np.linalg.norm(left)), float(np.linalg.norm(right)), np.finfo(float).tiny)
    gap = float(np.linalg.norm(left - moved))
    same = relative <= LOW
    return SameMinimum(
        same=same,
        distance=gap,
        relative_distance=gap / size,
        distance_unmatched=float(np.linalg.norm(left - right)),
        barrier=barrier,
        relative_barrier=relative,
        losses=ends,
        path=path,
        matched=not note,
        verdict=_verdict(same, gap / size, relative) + note,
    )


def _matched(objective: Objective, left: Vector, right: Vector) -> tuple[Vector, str]:
    """The point b as near to a as matching brings it, and a note where nothing was matched."""
    # A function that wraps a network, for instance to add logistic outputs, holds it as `network`.
    functions = [getattr(block.function, "network", block.function) for block in objective.blocks]
    networks = {function for function in functions if isinstance(function, MLP)}
    a, b = objective.unflatten(left), objective.unflatten(right)
    if not is_mlp(a):
        return right, " No hidden units were matched: the parameters are not a list of {weight, bias} layers."
    if len(a) == 1:
        return right, ""
    # Without an MLP the activation is not known: order alone is safe, whatever it is.
    activation = networks.pop().activation if len(networks) == 1 else "unknown"
    if activation == "sigmoid":
        moved = as_sigmoid(match(as_tanh(a), as_tanh(b), odd=True))
    elif activation == "relu" and not np.any(np.asarray(objective.decay)):  # decay prefers one scale of the many
        moved = match_scaled(a, b)
    else:
        moved = match(a, b, odd=activation in ODD)
    return np.asarray(objective.flatten(moved), dtype=float), ""


def _verdict(same: bool, distance: float, barrier: float) -> str:
    if distance <= NEAR:
        return "the same point."
    if same:
        return f"the same valley: {100 * distance:.3g}% apart, and no barrier between."
    return f"different minima: {100 * distance:.3g}% apart, with a barrier of {100 * barrier:.3g}% of the loss removed."
