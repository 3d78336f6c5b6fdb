"""Classification: the weights, and one decay for all of them by approximate leave-one-out.

Maximising the evidence is no use where classes are separable: the Gauss-Newton matrix of the cross entropy vanishes at
the data, Laplace's approximation is far too wide, and decays come out that predict worse (`docs/estimators.md` has the
measured table). What a decay is worth to a sample that was not seen can be told directly. At a minimum w of the summed
loss plus decay, with H its Gauss-Newton matrix and V_i = J_i H^-1 J_i' for the output Jacobian J_i of sample i, a
Newton step from the minimum without sample i gives its outputs there (Rad and Maleki 2020, J. R. Stat. Soc. B 82:965)

    z_i + V_i (I - S_i V_i)^-1 dl/dz_i,        S_i the Hessian of the loss in the outputs.

The loss of these outputs is followed along a path of decays from a weak one upwards, each minimum starting from the
last. From above it would not do: under a strong decay the network is linear, and stays so for longer than it should. A
minimum is found by L-BFGS in the variables u = L'(w - w_0), H = L L' at the last minimum w_0: there the flow is no
longer stiff, and 25 steps do. For large networks it is the factor that judged w_0, at the decay there: one for the next
decay leads there no sooner. Of tables with many rows a part forms the matrices and judges.

Matrices of large networks are formed and factored in single precision, where that succeeds: they steer and judge, while
losses and gradients are double.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.linalg import get_blas_funcs, get_lapack_funcs
from scipy.optimize import minimize

from stiffgrad.estimators._curvature import LARGE, cholesky, inverse
from stiffgrad.estimators._network import Matrix
from stiffgrad.estimators._problem import LOSSES, Problem
from stiffgrad.estimators._record import Record

FIRST = 0.1  # decay of the weights at the start of the path
RATIO = np.sqrt(10.0)  # between neighbours on the path
STRONG = 10.0**1.5  # the path goes up to here, unless it is clear before that nothing more is won
RANGE = (1e-6, 1e4)
BIASES = 0.01  # decay of biases: next to nothing, but the Gauss-Newton matrix stays definite
AGAIN = 6  # further searches at most at the start of the path, while each pays
CLEAR = 2  # decays in a row whose loss is worse by two standard errors: the path ends
SEARCH = (25, 1e-3)  # iterations at most, and the largest entry of the gradient in u (root nats), on the path
ROUNDING = 1e-15  # of the largest diagonal entry: what is added to a matrix that rounding made indefinite
ROWS = 10_000  # samples at most that form a matrix or judge

Decays = Callable[[float], Matrix]  # a level -> decay of each weight, (n,)


@dataclasses.dataclass(frozen=True)
class Step:
    """A minimum on the path."""

    w: Matrix
    level: float  # decay of the weights
    left_out: Matrix  # outputs (N, k) of each sample that judges, of the fit without it
    losses: Matrix  # of these samples, (N,)
    gram: Matrix | None = None  # the Gauss-Newton matrix, where another factor of it is cheap


@dataclasses.dataclass(frozen=True)
class Point:
    """What a minimum is worth to samples that were not seen."""

    log_evidence: float
    left_out: Matrix  # outputs (N, k) of each sample, of the fit without it
    losses: Matrix  # of each sample where it is left out, (N,)
    spread: Matrix  # covariance of the outputs (N, k, k)
    gram: Matrix  # H without its decay (lower triangle), in the network's `order`
    lower: Matrix  # factor of H
    inverse: Matrix | None  # of H, where it was needed

    @property
    def covariance(self) -> Matrix:
        """H^-1, (n, n), in the network's `order`."""
        found = inverse(self.lower) if self.inverse is None else self.inverse
        return found.astype(float, copy=False)


def climb(
    problem: Problem, decays: Decays, w: Matrix, record: Record, first: float = FIRST, last: float | None = None
) -> list[Step]:
    """The path from decay `first` upwards to `last`, or, without that, as far as it pays, and then downwards."""
    judges = judging(problem)
    loss, slope = problem.decayed(w, decays(first))
    norm = float(np.linalg.norm(slope)) / problem.samples
    record.step(w, steps=0, loss=loss / problem.samples, gradient_norm=norm, decay=first)
    lower = factor_at(judges, w, decays(first))

    def visit(last: Step, level: float) -> Step:
        nonlocal lower
        if last.gram is not None:  # the factor for this very decay
            lower = factor(last.gram, judges, decays(level))
        w = descend(problem, last.w, lower, level, decays(level), record)
        point = judge(judges, w, decays(level))
        lower = point.lower
        return Step(w, level, point.left_out, point.losses, None if _large(judges) else point.gram)

    steps = [visit(Step(w, first, w, w), first)]
    for _ in range(AGAIN):  # from a random start the way is longer than from the last minimum
        further = visit(steps[0], first)
        paid = pays(further.losses, steps[0].losses, judges.weights)
        steps[0] = min(steps[0], further, key=lambda step: float(step.losses @ judges.weights))
        if not paid:
            break
    best, worse = steps[0], 0
    while last is not None and record.outcome is None and steps[-1].level < 0.9 * last:
        steps.append(visit(steps[-1], steps[-1].level * RATIO))
    while last is None and record.outcome is None and worse < CLEAR:
        above = steps[-1]
        if above.level > 0.9 * STRONG and (above is not best or above.level > RANGE[1]):
            break
        steps.append(visit(above, above.level * RATIO))
        best = min(best, steps[-1], key=lambda step: step.losses @ judges.weights)
        worse = worse + 1 if pays(best.losses, steps[-1].losses, judges.weights, 2.0) else 0
    while last is None and record.outcome is None and steps[0] is best and best.level > RANGE[0]:
        lower = factor_at(judges, best.w, decays(best.level))
        steps.insert(0, visit(best, best.level / RATIO))
        best = steps[0] if pays(steps[0].losses, best.losses, judges.weights) else best
    return steps


def pays(new: Matrix, old: Matrix, weights: Matrix, sure: float = 1.0) -> bool:
    """Whether the losses `new` (N,) are lower than `old`, by `sure` standard errors of their differences."""
    gain = old - new
    mean = float(np.average(gain, weights=weights))
    error = np.sqrt(float(np.average((gain - mean) ** 2, weights=weights)) / weights.sum())
    return mean > sure * error


def part(problem: Problem) -> Problem:
    """The samples, or a random part of them where there are very many."""
    count = len(problem.X)
    if count <= ROWS:
        return problem
    rows = np.sort(np.random.default_rng(0).choice(count, ROWS, replace=False))
    return problem.chosen(rows)


def judging(problem: Problem) -> Problem:
    """The samples that form matrices and judge: of very many a part, with as much weight as all."""
    found = part(problem)
    return dataclasses.replace(found, weights=found.weights * (problem.samples / found.samples))


def _large(problem: Problem) -> bool:
    return problem.samples * problem.network.size >= LARGE


def gram_at(problem: Problem, w: Matrix, double: bool = False) -> Matrix:
    """The Gauss-Newton matrix of the summed loss (lower triangle), in `order`; in single precision if it is large."""
    seen = problem.forward(w)
    dtype = np.float32 if _large(problem) and not double else np.float64
    return problem.network.gram(w, seen, problem.heads(seen), dtype)


def factor(gram: Matrix, problem: Problem, decay: Matrix) -> Matrix:
    """Factor of a Gauss-Newton matrix with decay (n,); of one in double precision at least up to rounding."""
    matrix = gram.copy(order="F")
    matrix[np.diag_indices_from(matrix)] += decay[problem.network.order]
    shift = ROUNDING * float(np.diag(matrix).max())
    while True:
        try:
            return cholesky(matrix)
        except np.linalg.LinAlgError:
            if matrix.dtype != np.float64 or not 0.0 < shift < np.diag(matrix).max():
                raise
            matrix[np.diag_indices_from(matrix)] += shift
            shift *= 100.0


def factor_at(problem: Problem, w: Matrix, decay: Matrix, double: bool = False) -> Matrix:
    """Factor of the Gauss-Newton matrix at w with decay (n,)."""
    try:
        return factor(gram_at(problem, w, double), problem, decay)
    except np.linalg.LinAlgError:  # of a matrix in single precision
        return factor(gram_at(problem, w, double=True), problem, decay)


def descend(problem: Problem, w: Matrix, lower: Matrix, level: float, decay: Matrix, record: Record) -> Matrix:
    """To the minimum at one decay, from w, where `lower` factors a matrix like that of the second derivatives."""
    if record.steps_left <= 0:
        return w
    samples, order = problem.samples, problem.network.order
    solve, norm = get_lapack_funcs("trtrs", (lower,)), np.nan

    def weights(u: Matrix) -> Matrix:
        found = w.copy()
        found[order] += solve(lower, u, lower=1, trans=1)[0]
        return found

    def function(u: Matrix) -> tuple[float, Matrix]:
        nonlocal norm
        value, slope = problem.decayed(weights(u), decay)
        norm = float(np.linalg.norm(slope)) / samples
        return value, solve(lower, slope[order], lower=1)[0].astype(float)

    def callback(intermediate_result: Any) -> None:
        row = {"loss": float(intermediate_result.fun) / samples, "gradient_norm": norm, "decay": level}
        if record.step(weights(intermediate_result.x), steps=record.steps + 1, **row):
            raise StopIteration

    options = {"maxiter": SEARCH[0], "maxfun": 10 * SEARCH[0], "ftol": 0.0, "gtol": SEARCH[1]}
    found = minimize(function, np.zeros_like(w), jac=True, method="L-BFGS-B", callback=callback, options=options)
    return weights(found.x)


def judge(problem: Problem, w: Matrix, decay: Matrix) -> Point:
    """What the minimum w is worth to samples that were not seen."""
    network, seen, gram = problem.network, problem.forward(w), gram_at(problem, w)
    try:
        lower = factor(gram, problem, decay)
    except np.linalg.LinAlgError:  # of a matrix in single precision
        gram = gram_at(problem, w, double=True)
        lower = factor(gram, problem, decay)
    whole = None
    if problem.y.shape[1] == 1:
        a = network.ordered(w, seen, np.ones((len(seen.z), 1, 1)), lower.dtype).T
        half = get_blas_funcs("trsm", (lower, a))(1.0, lower, a, lower=1)
        spread = np.einsum("ji,ji->i", half, half)[:, None, None]
    else:
        whole = inverse(lower)
        spread = network.spread(w, problem.X, whole)
    loss, unit = LOSSES[problem.loss], np.minimum(problem.weights, 1.0)  # of a repeated sample one copy is left out
    unit = unit * problem.rows / problem.weights
    heads = loss.heads(seen.z)
    curvature = heads.transpose(0, 2, 1) @ heads
    inner = (1.0 + 1e-6) * np.eye(problem.y.shape[1]) - unit[:, None, None] * (curvature @ spread)
    pushed = np.linalg.solve(inner, (unit[:, None] * loss.slope(seen.z, problem.y))[:, :, None])
    left_out = seen.z + (spread @ pushed)[:, :, 0]
    log_det = 2.0 * np.log(np.diag(lower).astype(float)).sum() - np.log(decay).sum()
    evidence = -problem.value(seen) - 0.5 * float(decay @ w**2) - 0.5 * log_det
    return Point(float(evidence), left_out, loss.value(left_out, problem.y), spread, gram, lower, whole)
