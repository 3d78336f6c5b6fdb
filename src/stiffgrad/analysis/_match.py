"""Hidden units of one network matched to those of another: order and, where the activation is odd, sign."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Layer = dict[str, NDArray[np.float64]]
ODD = ("tanh",)


def is_mlp(params: Any) -> bool:
    """Whether the parameters are a list of {"weight": (out, in), "bias": (out,)} that fit each other."""
    if not isinstance(params, list | tuple) or not params:
        return False
    if not all(isinstance(layer, dict) and set(layer) == {"weight", "bias"} for layer in params):
        return False
    shapes = [np.shape(layer["weight"]) for layer in params]
    if any(len(shape) != 2 or np.shape(layer["bias"]) != shape[:1] for shape, layer in zip(shapes, params)):
        return False
    return all(above[1] == below[0] for below, above in itertools.pairwise(shapes))


def copy(params: Sequence[Any]) -> list[Layer]:
    """The layers as NumPy arrays of their own."""
    return [{name: np.array(layer[name], dtype=float) for name in ("weight", "bias")} for layer in params]


def as_tanh(params: Sequence[Layer]) -> list[Layer]:
    """A sigmoid network written as the tanh network with the same outputs: sigmoid(z) = (1 + tanh(z/2)) / 2."""
    layers = copy(params)
    for hidden, above in itertools.pairwise(layers):
        hidden["weight"] /= 2.0
        hidden["bias"] /= 2.0
        above["bias"] += above["weight"].sum(axis=1) / 2.0
        above["weight"] /= 2.0
    return layers


def as_sigmoid(params: Sequence[Layer]) -> list[Layer]:
    """The inverse of `as_tanh`."""
    layers = copy(params)
    for hidden, above in itertools.pairwise(layers):
        above["weight"] *= 2.0
        above["bias"] -= above["weight"].sum(axis=1) / 2.0
        hidden["weight"] *= 2.0
        hidden["bias"] *= 2.0
    return layers


def distance(a: Sequence[Layer], b: Sequence[Layer]) -> float:
    """Euclidean distance of all weights."""
    return float(np.sqrt(sum(np.sum((p[name] - q[name]) ** 2) for p, q in zip(a, b) for name in ("weight", "bias"))))


def reorder(params: Sequence[Layer], layer: int, order: NDArray[np.intp], sign: NDArray[np.float64]) -> list[Layer]:
    """The same function with the units of one hidden layer in another order and, for an odd activation, flipped."""
    layers = copy(params)
    hidden, above = layers[layer], layers[layer + 1]
    hidden["weight"] = sign[:, None] * hidden["weight"][order]
    hidden["bias"] = sign * hidden["bias"][order]
    above["weight"] = above["weight"][:, order] * sign
    return layers


Scales = list[NDArray[np.float64]]  # one factor for each unit of each hidden layer


def rescaled(params: Sequence[Layer], scales: Scales) -> list[Layer]:
    """The same function of a relu network: incoming weights of each hidden unit times its factor, outgoing over it."""
    layers = copy(params)
    for (hidden, above), scale in zip(itertools.pairwise(layers), scales, strict=True):
        hidden["weight"] *= scale[:, None]
        hidden["bias"] *= scale
        above["weight"] /= scale
    return layers


def balancing(params: Sequence[Layer], sweeps: int = 50) -> Scales:
    """The factors that make the norms of incoming (with bias) and outgoing weights of every hidden unit equal.

    A layer's outgoing weights are the next one's incoming, so several hidden layers take several sweeps.
    """
    scales = [np.ones(len(layer["bias"])) for layer in params[:-1]]
    for _ in range(sweeps if len(scales) > 1 else 1):
        layers = rescaled(params, scales)
        for (hidden, above), scale in zip(itertools.pairwise(layers), scales, strict=True):
            into = np.hypot(np.linalg.norm(hidden["weight"], axis=1), hidden["bias"])
            out = np.linalg.norm(above["weight"], axis=0)
            alive = (into > 0) & (out > 0)
            scale[alive] *= np.sqrt(out[alive] / into[alive])
    return scales


def match_scaled(a: Sequence[Any], b: Sequence[Any]) -> list[Layer]:
    """`match` for relu, where a hidden unit may also be scaled against its outgoing weights: b comes in a's scale."""
    scales = balancing(copy(a))
    matched = match(rescaled(copy(a), scales), rescaled(copy(b), balancing(copy(b))), odd=False)
    return rescaled(matched, [1.0 / scale for scale in scales])


def _align(a: Sequence[Layer], b: Sequence[Layer], layer: int, odd: bool, outgoing: bool) -> list[Layer]:
    """The best order and signs of one hidden layer of b, all else fixed: a linear assignment problem."""
    likeness = a[layer]["weight"] @ b[layer]["weight"].T + np.outer(a[layer]["bias"], b[layer]["bias"])
    if outgoing:
        likeness = likeness + a[layer + 1]["weight"].T @ b[layer + 1]["weight"]
    _, order = linear_sum_assignment(np.abs(likeness) if odd else likeness, maximize=True)
    chosen = likeness[np.arange(len(order)), order]
    sign = np.where(chosen < 0, -1.0, 1.0) if odd else np.ones(len(order))
    return reorder(b, layer, order, sign)


def match(a: Sequence[Any], b: Sequence[Any], odd: bool, passes: int = 5, seed: int = 0) -> list[Layer]:
    """The network b with its hidden units in the order and sign that bring it nearest to a.

    Layer by layer, until nothing changes, from several starts; for one hidden layer the result is the nearest of all.
    This is the weight matching of Ainsworth, Hayase and Srinivasa (2023, section 3.2), with signs.
    """
    left, best = copy(a), copy(b)
    hidden = len(left) - 1
    generator = np.random.default_rng(seed)
    for attempt in range(passes if hidden > 1 else 1):
        trial = copy(b)
        if attempt == 1:  # bottom up: each layer by its incoming weights alone
            for layer in range(hidden):
                trial = _align(left, trial, layer, odd, outgoing=False)
        elif attempt > 1:
            for layer in range(hidden):
                units = len(trial[layer]["bias"])
                trial = reorder(trial, layer, generator.permutation(units), np.ones(units))
        before = np.inf
        while (now := distance(left, trial)) < before - 1e-12 * (1.0 + now):
            before = now
            for layer in generator.permutation(hidden):
                trial = _align(left, trial, int(layer), odd, outgoing=True)
        if distance(left, trial) < distance(left, best):
            best = trial
    return best
