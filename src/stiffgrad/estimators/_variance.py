"""Noise whose variance changes with the inputs: its logarithm as a function of them, fitted to squared residuals.

Noise of k outputs with variance s^2 exp(g) has, for a residual r, minus the log likelihood

    k/2 (g + q exp(-g)) + k/2 log(2 pi s^2),        q = |r|^2 / (k s^2),

convex in g, with the expected second derivative k/2 (Davidian and Carroll 1987, J. Am. Stat. Assoc. 82:1079). A second
network for g (Nix and Weigend 1994) follows single residuals; so g is linear in the inputs of the function, its
predictions (noise often grows with what is measured), and random waves of them (Rahimi and Recht 2007): a convex
problem, for which approximate leave-one-out is reliable. It chooses the decay, and, after one step, which waves there
are, and whether any further step is worth it. Outside of the values that g has at the samples it goes no further.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from stiffgrad.estimators._leave_one_out import BIASES, RATIO, STRONG, climb
from stiffgrad.estimators._network import Matrix, Network
from stiffgrad.estimators._problem import Problem
from stiffgrad.estimators._record import Record
from stiffgrad.run.until import Until

WAVES = 30
SCALE = 1.0  # of the waves, in standardised inputs, divided by the root of their number
WEAK = 0.1  # decay at least: with it g varies by 3 between samples, a standard deviation by a factor of 5
FLOOR = 1e-8  # q at least: exact zeros are of rounding
LEVELS = 8  # decays of a first step, from the weakest upwards
MOST = 3.0  # of |g| after a first step: one step goes too far where q is large
ROUNDING = 1e-9  # of the largest eigenvalue: at least


@dataclasses.dataclass(frozen=True)
class VarianceFunction:
    """The relative variance exp(g) of the noise as a function of inputs (N, d) and predictions (N, k)."""

    waves: Matrix  # of inputs and predictions, (waves, d + k)
    phases: Matrix  # (waves,)
    weights: Matrix  # of inputs, predictions and waves, (d + k + waves,)
    bias: float
    low: float  # bounds of g
    high: float

    def __call__(self, X: Matrix, z: Matrix) -> Matrix:
        """At inputs and predictions, (N,)."""
        a = np.column_stack([X, z])
        g = np.column_stack([a, np.sin(a @ self.waves.T + self.phases)]) @ self.weights + self.bias
        return np.exp(np.clip(g, self.low, self.high))

    def times(self, factor: float) -> VarianceFunction:
        """The same times a number."""
        up = float(np.log(factor))
        return dataclasses.replace(self, bias=self.bias + up, low=self.low + up, high=self.high + up)

    def widened(self, columns: NDArray[np.int64], count: int) -> VarianceFunction:
        """Of inputs of which these are `columns`, of `count`; the others do not count."""
        outputs = self.waves.shape[1] - len(columns)
        places = np.concatenate([columns, count + np.arange(outputs)])
        waves, line = np.zeros((len(self.waves), count + outputs)), np.zeros(count + outputs)
        waves[:, places], line[places] = self.waves, self.weights[: len(places)]
        return dataclasses.replace(self, waves=waves, weights=np.concatenate([line, self.weights[len(places) :]]))


@dataclasses.dataclass(frozen=True)
class Waves:
    """Random waves of standardised inputs and predictions, as many as there are directions."""

    directions: Matrix  # (waves, d + k)
    phases: Matrix  # (waves,)

    @property
    def unit(self) -> float:
        """Their amplitude: the sum of their squares is 1 on the average."""
        return float(np.sqrt(2.0 / max(len(self.phases), 1)))

    def features(self, inputs: Matrix) -> Matrix:
        """What g is linear in, (N, d + k + waves)."""
        return np.column_stack([inputs, self.unit * np.sin(inputs @ self.directions.T + self.phases)])


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A fit of g, with what it says of samples that are left out."""

    waves: Waves
    w: Matrix  # bias and weights
    level: float  # decay
    log_variance: Matrix  # g at the samples, (N,)
    left_out: Matrix  # g at each sample, of the fit without it, (N,)

    def function(self, mean: Matrix, scale: Matrix) -> VarianceFunction:
        """As a function of inputs and predictions, which were standardised by `mean` and `scale` (d + k,)."""
        directions, g, bias, weights = self.waves.directions / scale, self.log_variance, self.w[0], self.w[1:]
        line = weights[: len(mean)] / scale
        return VarianceFunction(
            directions,
            self.waves.phases - directions @ mean,
            np.concatenate([line, self.waves.unit * weights[len(mean) :]]),
            float(bias - line @ mean),
            float(g.min()),
            float(g.max()),
        )


def several(columns: int, outputs: int) -> list[Waves]:
    """No waves, waves of everything, and waves of the predictions, which are the last of the columns."""
    rng = np.random.default_rng(0)
    phases = rng.uniform(-np.pi, np.pi, WAVES)
    whole = rng.normal(size=(WAVES, columns)) * SCALE / np.sqrt(columns)
    alone = rng.normal(size=(WAVES, columns)) * SCALE / np.sqrt(outputs) * (np.arange(columns) >= columns - outputs)
    return [Waves(whole[:0], phases[:0]), Waves(whole, phases), Waves(alone, phases)]


def gain(waves: Waves, inputs: Matrix, outputs: int, squares: Matrix, weights: Matrix) -> float:
    """Nats by which g after one step makes left-out samples likelier than a constant, with the best decay.

    The step is one of Fisher scoring from a constant, a ridge regression of q (N,), whose samples as left out follow
    from one factorization. That is about half of what all steps gain.
    """
    root = np.sqrt(weights)[:, None]
    rows = root * np.column_stack([np.ones(len(inputs)), waves.features(inputs)])
    values, v = np.linalg.eigh(rows.T @ rows)
    values = np.maximum(values, ROUNDING * values[-1])
    u, q = rows @ v / np.sqrt(values), squares / np.average(squares, weights=weights)
    found = []
    for decay in WEAK * RATIO ** np.arange(LEVELS):
        kept = values / (values + 2.0 * decay / outputs)
        g = u @ (kept * (u.T @ (root[:, 0] * (q - 1.0)))) / root[:, 0]
        hat = np.minimum(1.0, 1.0 / weights) * (u**2 @ kept)  # one copy is left out
        g = np.clip((g - hat * (q - 1.0)) / np.maximum(1.0 - hat, ROUNDING), -MOST, MOST)
        found.append(0.5 * outputs * float(weights @ (q - g - q * np.exp(-g))))
    return max(found)


def fitted(
    waves: Waves, inputs: Matrix, outputs: int, squares: Matrix, weights: Matrix, last: Candidate | None = None
) -> Candidate:
    """A fit to q (N,) at standardised inputs and predictions (N, d + k), from where the `last` one was."""
    X = waves.features(inputs)
    network = Network((X.shape[1], 1))
    y, rows = np.maximum(squares, FLOOR)[:, None], np.full(len(X), float(outputs))  # each output observes g
    problem = Problem(network, "log_variance", X, y, weights, np.zeros(network.size, int), 1, rows)
    biases = np.arange(network.size) == 0
    w, first, end = np.zeros(network.size), WEAK, STRONG
    if last is not None:
        w, first, end = last.w, max(last.level / RATIO, WEAK), last.level * RATIO
    with Record("variance", Until(), 0, False, None) as record:
        steps = climb(problem, lambda level: np.where(biases, BIASES, level), w, record, first, end)
    best = min(steps, key=lambda step: float(step.losses @ weights))
    g = problem.forward(best.w).z[:, 0]
    return Candidate(waves, best.w, best.level, g, np.clip(best.left_out[:, 0], g.min(), g.max()))


__all__ = ["Candidate", "VarianceFunction", "Waves", "fitted", "gain", "several"]
