"""How far the solution would move to take away what its conditions leave, and whether they determine it at all.

With r what a solution u leaves and A the derivative of all conditions at u, the error is -A^-1 r as far as the
equations are straight: the defect correction of numerical analysis (Stetter 1978, Numerische Mathematik 29). A is taken
on functions that training did not have: units drawn at random, of several widths, beside the hidden units of the
network. So what a run does not see is seen: what grows along the way from a small residual, and functions that no
condition forbids.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from stiffgrad._config import QUICK, Program
from stiffgrad._float64 import float64
from stiffgrad._types import Params
from stiffgrad.objective import Term
from stiffgrad.objective.networks import ACTIVATIONS
from stiffgrad.objective.parameters import Layout
from stiffgrad.pde._numpy import as_array
from stiffgrad.pde.conditions import residual_of
from stiffgrad.pde.networks import Network, scalar
from stiffgrad.pde.pieces import Framed, Onset, Piece
from stiffgrad.pde.points import Domain, Points, interior_points
from stiffgrad.pde.problem import Problem
from stiffgrad.pde.slices import at_points

Values = NDArray[np.float64]
WIDTHS = (1.0, 3.0, 9.0, 27.0)  # lengths of the random units' weights, where the domain is [-1, 1]
UNITS = 32  # of each width, and in two dimensions or more twice as many
ALIKE = 1e-12  # functions are combinations of others, where so little of them is left
ROWS = 2  # inside for each function at least: of more functions some vanish on all points, whatever the conditions are
UNSEEN = 1e-7  # what a change of the solution by its size leaves in all residuals, where nothing determines it
SPREAD = 200  # points of a piece, on which functions are told from each other
FALLEN = 1 / 100  # and so much of what the half of all functions leaves at least, in more than one dimension
BENT = 2.0  # what is left with a change, over what is left without, where equations are not straight
ROUNDING = 1e-9  # so little left is no sign of it
LEAST = 1e-12  # an answer below it is rounding


class Defect(NamedTuple):
    """What the conditions tell of a solution.

    Attributes
    ----------
    change : array of shape (N,) or (N, k)
        What would take away what is left, at the points asked for.
    free : int
        How many functions may be added to the solution without a trace.
    bent : bool
        Whether the equations are not straight as far as the change goes: with it they leave more than without.
    least, least_of_half : float
        What functions of size one leave at least in all conditions: of all functions, and of the first half of them;
        the latter is NaN in one dimension, where it is not asked for.
    """

    change: Values
    free: int
    bent: bool
    least: float
    least_of_half: float


@float64
def defect(problem: Problem, params: Params, points: Points) -> Defect:
    """The change of the solution at points (N, d) that takes away what its conditions leave."""
    around = Around(problem.network, problem.domain)
    weights = problem.of_network(params)
    unknowns = params["unknowns"] if problem.inverse else {}
    terms = [
        dataclasses.replace(term, function=dataclasses.replace(residual_of(term), network=around))
        for term in problem.looked_at()
    ]
    inside = [name in problem.interiors for name in problem.terms]
    found = _correction(around, terms, inside, weights, unknowns, np.array(problem.scales.size), points)
    return found._replace(change=_changed(around, weights, found.change, points))


@float64
def defect_of_pieces(onset: Onset, pieces: Sequence[Piece], points: Points) -> Defect:
    """The same for a solution in pieces of time, at points (N, d): each begins with the change at the end of the last.

    So what is left early grows, or dies out, as the solution's neighbours do.
    """
    axis, outputs = onset.axis, len(pieces[0].frame.size)
    around = Around(onset.network, ((-1.0, 1.0),) * points.shape[1])
    moved_onset, whole = onset.of(around), np.zeros((len(points), outputs))
    spread, last = interior_points(around.sides, SPREAD, "grid"), None
    found: list[Defect] = []
    for piece in pieces:
        frame = piece.frame
        terms = [dataclasses.replace(term, function=term.function.of(around)) for term in piece.terms]  # type: ignore[attr-defined]  # of pieces
        if last is not None:
            targets = np.asarray(terms[-1].targets) + last * onset.factor(frame)
            terms[-1] = dataclasses.replace(terms[-1], targets=targets)
        inside = (points[:, axis] >= frame.low[axis]) & (points[:, axis] <= frame.high[axis])
        placed = 2.0 * (points[inside] - frame.low) / (frame.high - frame.low) - 1.0
        equations = [True] * (len(terms) - 1) + [False]  # the last is how the piece begins
        own = _correction(around, terms, equations, piece.weights, {}, np.ones(outputs), spread)
        found.append(own)
        if len(placed):
            whole[inside] = frame.size * _changed(around, piece.weights, own.change, placed).reshape(-1, outputs)
        end = frame.low.copy()
        end[axis] = frame.high[axis]
        last = np.asarray(_moved_onset(moved_onset, frame, piece.weights, own.change, end))
    return Defect(
        change=whole if outputs > 1 else whole[:, 0],
        free=max(own.free for own in found),
        bent=any(own.bent for own in found),
        least=min(own.least for own in found),
        least_of_half=float("nan"),
    )


def _correction(
    around: Around,
    terms: Sequence[Term],
    inside: Sequence[bool],
    weights: Params,
    unknowns: Any,
    size: Values,
    points: Points,
) -> Defect:
    """What the conditions tell, its change in coefficients of the functions, (functions, k).

    `terms`: the conditions on `around`, and which of them hold inside; `points`: where functions are told from each
    other.
    """
    functions = at_points(Functions(around), weights, points)
    residuals: Any = tuple(term.function for term in terms)
    samples = tuple(jax.tree.map(np.asarray, term.samples) for term in terms)
    start = {"change": np.zeros((functions.shape[1], len(size))), "unknowns": unknowns}
    answers = _answers(residuals, start, weights, size, samples)
    left = _left(terms, answers)
    rows = sum(np.size(r) for (r, _), within in zip(answers, inside, strict=True) if within)
    count = rows // (ROWS * len(size))
    _, spread, directions = np.linalg.svd(functions, full_matrices=False)
    kept = np.flatnonzero(spread > ALIKE * spread[0])[: max(count, 1)]
    # Combinations of the functions that are orthogonal and of size one on the points.
    basis = directions[kept].T / spread[kept] * len(points) ** 0.5
    q, r = np.linalg.qr(_derivatives(terms, answers, basis))
    u, singular, v = np.linalg.svd(r)
    seen = singular > LEAST
    step = -(v[seen].T / singular[seen]) @ (u[:, seen].T @ (q.T @ left))
    change = basis @ step[: basis.shape[1] * len(size)].reshape(basis.shape[1], len(size))
    layout = Layout.of(unknowns)
    flat = np.concatenate([np.zeros(0), *(np.ravel(leaf) for leaf in jax.tree.leaves(unknowns))])
    there = {"change": change, "unknowns": layout.unflatten(flat + step[change[0].size * basis.shape[1] :])}
    after = np.linalg.norm(_left(terms, _answers(residuals, there, weights, size, samples)))
    bent = not after <= np.maximum(BENT * np.linalg.norm(left), ROUNDING)
    half = r.shape[1] // 2 if points.shape[1] > 1 else 0
    of_half = np.linalg.svd(r[:half, :half], compute_uv=False)
    least_of_half = float(of_half[-1]) if half else float("nan")
    return Defect(size * change, _free(singular, of_half), bool(bent), float(singular[-1]), least_of_half)


def _left(terms: Sequence[Term], answers: Any) -> Values:
    """What all conditions leave, each by the root of its weight."""
    rows = []
    for term, (r, _) in zip(terms, answers, strict=True):
        left = np.asarray(r) - (0.0 if term.targets is None else np.asarray(term.targets))
        rows.append((term.weight / len(left)) ** 0.5 * left.ravel())
    return np.concatenate(rows)


def _derivatives(terms: Sequence[Term], answers: Any, basis: Values) -> Values:
    """The derivatives of that in combinations of functions, for each in all components, and in the unknowns."""
    rows = []
    for term, (r, slopes) in zip(terms, answers, strict=True):
        change = (np.moveaxis(np.asarray(slopes["change"]), 2, 3) @ basis).swapaxes(2, 3).reshape(np.size(r), -1)
        others = [np.asarray(leaf).reshape(np.size(r), -1) for leaf in jax.tree.leaves(slopes["unknowns"])]
        rows.append((term.weight / len(r)) ** 0.5 * np.concatenate([change, *others], axis=1))
    return np.concatenate(rows)


def _free(singular: Any, of_half: Any) -> int:
    """How many functions leave no trace, by what functions of size one leave in all conditions.

    With enough conditions the least of these hardly changes as functions come in: it is the constant of stability
    (Brezzi and Fortin 1991, section II.1). Without, functions of ever finer shape leave ever less, and none nothing:
    solutions of the heat equation that begin with zero, and are driven from an end where nothing is given.
    """
    least = np.min(of_half[of_half >= UNSEEN], initial=np.inf)
    return int(np.sum(singular < max(UNSEEN, FALLEN * least if np.isfinite(least) else 0.0)))


def _changed(around: Around, weights: Params, change: Values, points: Points) -> Values:
    """What a change does to the solution at points, (N,) or (N, k)."""
    if around.transform is None:
        moved = at_points(Functions(around), weights, points) @ change
        return moved if change.shape[1] > 1 else moved[:, 0]
    changed, same = (at_points(around, {"network": weights, "change": c}, points) for c in (change, 0 * change))
    return np.asarray(changed - same)


@dataclasses.dataclass(frozen=True)
class Around:
    """A network and a sum of other functions: parameters {"network": ..., "change": (units, k)}."""

    network: Any
    sides: Domain

    def __call__(self, params: Any, x: Any) -> Any:
        """The changed solution at one point."""
        x = as_array(x)
        outputs, functions = self.both(params["network"], x)
        changed = scalar(outputs + functions @ params["change"])
        return changed if self.transform is None else scalar(as_array(self.transform(x, changed)))

    @property
    def transform(self) -> Any:
        """What a network of `pde.network` does to its outputs, if anything."""
        return getattr(self.network, "transform", None)

    def both(self, weights: Any, x: Any) -> tuple[jax.Array, jax.Array]:
        """The outputs (k,) before the transform, and the other functions at one point.

        These are random units, a constant, and the network's own hidden units, evaluated once.
        """
        if not isinstance(self.network, Network):
            low, high = np.array(self.sides).T
            return jnp.atleast_1d(self.network(weights, x)), self._random((2.0 * x - (low + high)) / (high - low))
        z = self.network.features(x)
        functions = [self._random(z)]
        for layer in weights[:-1]:
            z = ACTIVATIONS[self.network.mlp.activation](layer["weight"] @ z + layer["bias"])
            functions.append(z)
        outputs = weights[-1]["weight"] @ z + weights[-1]["bias"]
        if self.network.size:
            outputs = np.array(self.network.shift) + np.array(self.network.size) * outputs
        return outputs, jnp.concatenate(functions)

    def _random(self, z: Any) -> Any:
        """Units that turn at points spread over the domain, and a constant."""
        weights, biases = _units(UNITS * min(len(self.sides), 2), z.shape[0])
        return jnp.append(jnp.tanh(weights @ z - biases), 1.0)


@dataclasses.dataclass(frozen=True)
class Functions:
    """The other functions of `around` at one point, (units,), of the network's weights."""

    around: Around

    def __call__(self, weights: Any, x: Any) -> jax.Array:
        return self.around.both(weights, x)[1]


@functools.cache
def _units(count: int, inputs: int) -> tuple[Values, Values]:
    """Weights and biases of so many random units of each width, (units, inputs) and (units,)."""
    generator = np.random.default_rng(0)
    directions = generator.normal(size=(len(WIDTHS), count, inputs))
    directions /= np.linalg.norm(directions, axis=2, keepdims=True)
    turns = np.sum(directions * generator.uniform(-1, 1, directions.shape), axis=2)
    widths = np.array(WIDTHS)[:, None]
    return (widths[:, :, None] * directions).reshape(-1, inputs), (widths * turns).ravel()


def _ask(residuals: Any, start: Any, weights: Any, size: Any, samples: Any) -> Any:
    """For each term what is left, (N, j), and its derivatives in the change and the unknowns."""

    def one(function: Any, x: Any) -> Any:
        def residual(p: Any) -> Any:
            network = {"network": weights, "change": size * p["change"]}
            inverse = getattr(function, "inverse", False)
            params = {"network": network, "unknowns": p["unknowns"]} if inverse else network
            left = jnp.ravel(function(params, x))
            return left, left

        slopes, left = jax.jacrev(residual, has_aux=True)(start)
        return left, slopes

    return [jax.vmap(lambda x, f=f: one(f, x))(x) for f, x in zip(residuals, samples, strict=True)]


def _onset(onset: Onset, frame: Any, weights: Any, change: Any, x: Any) -> Any:
    def at(change: Any) -> Any:
        framed = Framed(onset.network, frame)
        return onset.seen(lambda z: framed({"network": weights, "change": change}, z), x)

    return at(change) - at(0.0 * change)


_moved_onset = Program(_onset, QUICK, static_argnums=0)
_answers = Program(_ask, QUICK, static_argnums=0)
