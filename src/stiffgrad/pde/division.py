"""The march through a problem in pieces of time, whose lengths follow the solution as steps of an integrator do.

A piece that is met to a tolerance, on its points and between them, is kept, and the next one may be longer; one that is
not is begun again, shorter (Hairer and Wanner 1996, section IV.8, for the control of steps).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from stiffgrad._config import QUICK, Program
from stiffgrad._float64 import float64
from stiffgrad._types import Params
from stiffgrad.objective import Objective, Term
from stiffgrad.pde.conditions import moved, residual_of
from stiffgrad.pde.jumps import orders
from stiffgrad.pde.networks import network
from stiffgrad.pde.pieces import Frame, Framed, InFrame, Onset, Piece, Pieces, Placed
from stiffgrad.pde.points import Points
from stiffgrad.pde.problem import Problem

Values = NDArray[np.float64]
POINTS = 64  # of an equation in a piece
LOOKED = 512  # and where it was not trained: a spike that goes the wrong way lies between fewer
JUDGED = 128  # and of a piece whose error is estimated
SAMPLES = 16  # of them tell the unit of an equation
GOAL, ENOUGH, NEARLY = 1e-14, 1e-11, 1e-8  # energies: where a piece ends, where it will do, where it is near
STEPS = 60
FIRST, FASTER = 1 / 16, 10.0  # length of the first piece, over that of the interval and over the shortest time
LONGER, SHORTER, FAR_SHORTER = 1.6, 0.7, 0.35  # lengths of the next piece over that of the last
QUICKLY = 0.5  # of the steps: the next piece may be longer
LEAST = 1e-9  # of the interval: a shorter piece means that there is no solution
FLOOR = 1e-9  # of the solution's size: what is smaller counts as that
TINY = 1e-200
OTHER, RESIZED = 30.0, 3  # a first piece whose solution has another size begins again with that, so many times


class Division:
    """The march through a problem: `next` gives what is to be solved, `judge` takes what was found.

    Attributes
    ----------
    found : list of Piece
        Those that are kept.
    at, length : float
        Where the next piece begins, and how long it is to be.
    """

    def __init__(self, problem: Problem, seed: int = 0) -> None:
        assert problem.time is not None
        assert problem.hidden is not None
        self.problem, self.axis = problem, problem.time
        self._size = np.array(problem.scales.size)
        box = [(-1.0, 1.0)] * len(problem.domain)
        self.network, self._start = network(box, problem.hidden, len(self._size), seed=seed)
        self._weights = self._start
        interiors = [problem.terms[name] for name in problem.interiors]
        highest = orders(interiors, problem.domain, problem.scales, problem.params, self.axis)
        self.onset = Onset(self.network, self.axis, highest)
        self._functions: dict[str, InFrame] = {
            name: InFrame(dataclasses.replace(residual_of(term), network=self.network, units=()))
            for name, term in problem.terms.items()
        }
        self.found: list[Piece] = []
        self.at, self._end = problem.domain[self.axis]
        fast = np.inf if problem.times is None else problem.times.fast
        self.length = min(FIRST * (self._end - self.at), FASTER * fast)
        self._resized = 0

    @property
    def done(self) -> bool:
        """Whether pieces cover all of the time."""
        return bool(self.at >= self._end)

    @property
    def hopeless(self) -> bool:
        """Whether pieces have become so short that there seems to be no solution."""
        low, high = self.problem.domain[self.axis]
        return self.length < LEAST * (high - low)

    @property
    def whole(self) -> tuple[Pieces, list[Params]]:
        """The pieces as one network, and its parameters."""
        frames = tuple(Frame(*(tuple(map(float, part)) for part in piece.frame)) for piece in self.found)
        return Pieces(self.network, self.axis, frames), [piece.weights for piece in self.found]

    @float64
    def next(self) -> tuple[Objective, Objective]:
        """The objective of the next piece, and that of the same conditions on points that it is not trained on."""
        self._frame = frame = self._framed()
        on, off = (self._terms(frame, points) for points in (_chebyshev(POINTS), _between(LOOKED)))
        return Objective(self._weights, on), Objective(self._weights, off)

    @float64
    def judge(self, weights: Params, energy: float, steps: int) -> bool:
        """Keep what was found, where its energy on and between the points is low enough; and set the next length."""
        frame = self._frame
        length = frame.high[self.axis] - frame.low[self.axis]
        if not energy <= ENOUGH:
            self.length = length * (SHORTER if energy <= NEARLY else FAR_SHORTER)
            self._weights = self._start  # those of the piece before may be sharp where this one is smooth
            return False
        self._weights = weights
        self._size = np.maximum(self._largest(frame, weights), FLOOR * np.array(self.problem.scales.size))
        apart = np.max(np.abs(np.log(self._size / frame.size)))
        if not self.found and apart > np.log(OTHER) and self._resized < RESIZED:
            self._resized += 1
            return False
        self.found.append(Piece(frame, weights, self._terms(frame, _between(JUDGED))))
        self.at = float(frame.high[self.axis])
        self.length = length * (LONGER if steps <= QUICKLY * STEPS else 1.0 if energy <= GOAL else SHORTER)
        return True

    def _largest(self, frame: Frame, weights: Params) -> Values:
        """The largest value of each component in a piece, (k,)."""
        values = _values(self.network, frame, weights, self._points(frame, _between(POINTS)))
        return np.abs(np.asarray(values).reshape(-1, len(self._size))).max(axis=0)

    def _framed(self) -> Frame:
        low, high = (np.array(ends) for ends in zip(*self.problem.domain, strict=True))
        stops = self.problem.stops[self.problem.stops > self.at]  # a jump is an end
        low[self.axis] = self.at
        high[self.axis] = end = min([self.at + self.length, self._end, *stops[:1]])
        if self._end - end < 0.5 * self.length and not len(stops):  # no short rest
            high[self.axis] = self._end
        shift = np.array(self.problem.scales.shift)
        if self.found:
            shift = np.asarray(self._before(low[None])[0])[np.cumsum([0, *self.onset.orders[:-1]])]
        return Frame(low, high, shift, self._size)

    def _before(self, points: Points) -> Values:
        """Where the piece before has ended, (N, the sum of the orders)."""
        frame, weights, _ = self.found[-1]
        return np.asarray(_onsets(self.onset, frame, weights, points))

    def _points(self, frame: Frame, part: Values) -> Points:
        """At parts of a piece."""
        (low, high) = (end[self.axis] for end in frame[:2])
        return (low + (high - low) * part)[:, None]

    def _terms(self, frame: Frame, part: Values) -> list[Term]:
        """Equations at parts of a piece, the initial condition, which is felt in the first only, and the onset."""
        problem, terms = self.problem, []
        for name, function in self._functions.items():
            inside = name in problem.interiors
            points = self._points(frame, part) if inside else problem.points[name]
            term = moved(problem.terms[name], problem.conditions[name], name, points)
            factor = self._factor(function, frame, points) * (inside or not self.found)
            targets = term.targets
            if targets is not None:
                targets = np.asarray(targets) * np.array(residual_of(term).units or 1.0) * factor
            terms.append(dataclasses.replace(term, function=function, samples=_placed(points, frame, factor),
                                             targets=targets, weight=problem.conditions[name].weight))  # fmt: skip
        return [*terms, self._onset(frame)]

    def _onset(self, frame: Frame) -> Term:
        """Where the piece begins; not felt in the first."""
        point, factor = frame.low[None], self.onset.factor(frame)
        if not self.found:
            return Term(self.onset, _placed(point, frame, 0.0 * factor), np.zeros((1, len(factor))))
        return Term(self.onset, _placed(point, frame, factor), self._before(point) * factor)

    def _factor(self, function: InFrame, frame: Frame, points: Points) -> Values:
        """How much the network's outputs change with its weights, over how much entries of a condition do, (j,)."""
        some = points[:: -(-len(points) // SAMPLES)]
        by_entry, by_output = _slopes(function, self._start, _placed(some, frame, np.ones(())))
        answers = np.sqrt(np.asarray(by_output) / np.maximum(np.asarray(by_entry), TINY))
        return np.where((answers < np.sqrt(1 / TINY)) & np.isfinite(answers), answers, 1.0)


def _chebyshev(count: int) -> Values:
    """Points of [0, 1], closer together at its ends (Trefethen 2000, chapter 5)."""
    return np.asarray(0.5 * (1.0 - np.cos(np.pi * (np.arange(count) + 0.5) / count)))


def _between(count: int) -> Values:
    """Those between them."""
    return np.asarray(0.5 * (1.0 - np.cos(np.pi * np.arange(1, count) / count)))


def _placed(points: Points, frame: Frame, factor: Values) -> Placed:
    """Samples of a term, one row for each point."""
    rows = jax.tree.map(lambda leaf: np.tile(leaf, (len(points), *[1] * np.ndim(leaf))), (frame, np.asarray(factor)))
    return Placed(points, *rows)


def _mean_squares(function: InFrame, weights: Params, samples: Placed) -> Any:
    """Mean squares of the derivatives in the weights: of each entry of a condition (j,), and of the outputs of N."""

    def squares(f: Any, x: Any) -> Any:
        slopes = jax.jacrev(lambda w: jnp.ravel(f(w, x)))(weights)
        return sum(jnp.sum(leaf.reshape(leaf.shape[0], -1) ** 2, axis=1) for leaf in jax.tree.leaves(slopes))

    low, high = samples.frame.low, samples.frame.high
    z = (2.0 * samples.x - (low + high)) / (high - low)
    outputs = jax.vmap(lambda x: squares(function.residual.network, x))(z)
    return jnp.mean(jax.vmap(lambda x: squares(function, x))(samples), axis=0), jnp.mean(outputs)


def _evaluated(network: Any, frame: Frame, weights: Params, points: Any) -> Any:
    return jax.vmap(lambda x: Framed(network, frame)(weights, x))(points)


def _seen(onset: Onset, frame: Frame, weights: Params, points: Any) -> Any:
    framed = Framed(onset.network, frame)
    return jax.vmap(lambda x: onset.seen(lambda z: framed(weights, z), x))(points)


_slopes = Program(_mean_squares, QUICK, static_argnums=0)
_values = Program(_evaluated, QUICK, static_argnums=0)
_onsets = Program(_seen, QUICK, static_argnums=0)
