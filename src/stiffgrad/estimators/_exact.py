"""Data without noise: least squares on towards the rounding of the residuals, judged by leave-one-out.

Where targets are a function of the inputs, no noise ends a fit: what counts is how far the valley of the loss is
followed. Steps are the linearly implicit Euler steps of the solver `rosenbrock`, with the Gauss-Newton matrix of the
residuals r, whose Jacobian is A:

    (I/h + A'A + lambda) d = -(A'r + lambda w),      (I/h + A'A + lambda) a = -A' f''[d, d],

taken as w + d + a/2 where the geodesic correction a is small (Transtrum and Sethna 2012, arXiv:1201.5885); further
steps d follow with the same factor. The correction follows a bent valley in tens of steps, not hundreds. The decay
keeps near zero what the data leave open. It falls with the residual: with n determined weights MacKay's rule (1992)
gives lambda = n s^2 / |w|^2, s^2 the variance of the residual, and a tenth of it is taken, for the rule has a fixed
point at a useless network too.

Of the linearised model, sample i left out has the residual r_i / (1 - h_i), with h the diagonal of A (A'A + lambda)^-1
A'. Their mean square says what the network is worth where it was not fitted, and ends the run when it falls no more.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.linalg import lapack
from scipy.linalg.blas import dsyrk, dtrsm

from stiffgrad.estimators._curvature import cholesky, gram, inverse
from stiffgrad.estimators._network import Matrix, Pass
from stiffgrad.estimators._problem import Problem
from stiffgrad.estimators._record import Record
from stiffgrad.run.driver import Until
from stiffgrad.solvers._control import DEFAULT, Verdict
from stiffgrad.solvers.w_method import BEND, PROMISE, W_STEPS

FIRST = 0.01  # step size at the start
DECAY = 1.0  # lambda at the start
SHARE = 0.1  # of MacKay's decay
RELAX = 0.5  # factor of lambda at least, from matrix to matrix
ROUNDING = 1e-14  # lambda at least, as a part of the largest diagonal entry of A'A or AA'
ATTEMPTS = 12  # step sizes tried from one point
JUDGED = 15  # matrices between two judgements
GAIN = 0.8  # of the mean square of left-out residuals: where it stays above, a judgement has gained nothing
PATIENCE = 8  # judgements without gain that end a run
MATRICES = 400  # at most
HOPE = (0.1, 1e-3)  # left out, as parts of the targets' variance: the first judgements of data without noise are below


@dataclasses.dataclass(frozen=True)
class Exact:
    """The point that was reached."""

    w: Matrix
    decay: float  # lambda, by MacKay's rule
    noise: float  # variance with which residuals of samples as left out are as large as the linearised model says
    left_out: float  # mean square of these residuals
    falling: bool  # whether it still fell at the end


@dataclasses.dataclass(frozen=True)
class _Rows:
    """Residuals r (m,) of all outputs, weighted, at w, and their Jacobian A (m, n)."""

    w: Matrix
    seen: Pass
    r: Matrix

    @classmethod
    def at(cls, problem: Problem, w: Matrix) -> _Rows:
        seen = problem.forward(w)
        return cls(w, seen, _weighted(problem, seen.z - problem.y))

    def energy(self, decay: float) -> float:
        return 0.5 * float(self.r @ self.r + decay * (self.w @ self.w))


def _weighted(problem: Problem, rows: Matrix) -> Matrix:
    return np.ravel(np.sqrt(problem.weights)[:, None] * rows)


class _Matrix:
    """M = A'A + D of a Jacobian A (m, n) and a number D, factored on its smaller side."""

    def __init__(self, a: Matrix, small: Matrix, shift: float) -> None:
        self.a, self.shift = a, shift
        matrix = small.copy(order="F")
        matrix[np.diag_indices_from(matrix)] += shift
        self.lower = cholesky(matrix)

    @property
    def _dual(self) -> bool:
        return self.a.shape[0] < self.a.shape[1]

    def solve(self, v: Matrix) -> Matrix:
        """M^-1 v."""
        if not self._dual:
            return lapack.dpotrs(self.lower, v, lower=1)[0]
        return (v - lapack.dpotrs(self.lower, self.a @ v, lower=1)[0] @ self.a) / self.shift

    def hat(self) -> Matrix:
        """The diagonal of A M^-1 A', (m,)."""
        if self._dual:
            return 1.0 - self.shift * np.diag(inverse(self.lower))
        half = dtrsm(1.0, self.lower, self.a.T, lower=1)
        return np.einsum("ij,ij->j", half, half)


def _small(a: Matrix) -> Matrix:
    """The lower triangle of A'A or AA', whichever is smaller."""
    return gram(a) if a.shape[1] <= a.shape[0] else dsyrk(1.0, a.T, trans=1, lower=1)


def _wanted(rows: _Rows) -> float:
    """MacKay's decay where all weights are determined."""
    m, n = len(rows.r), len(rows.w)
    return float(rows.r @ rows.r) / max(m - n, 0.5 * m) * n / max(float(rows.w @ rows.w), np.finfo(float).tiny)


def _least(small: Matrix) -> float:
    """The least decay with which a factor is none of rounding."""
    return ROUNDING * float(np.diag(small).max())


def _judge(problem: Problem, rows: _Rows, a: Matrix, small: Matrix, decay: float) -> Exact:
    unit = np.repeat(np.minimum(1.0, 1.0 / problem.weights), problem.y.shape[1])  # one copy is left out
    rest = np.maximum(1.0 - unit * _Matrix(a, small, decay).hat(), 1e-12)
    total = problem.samples * problem.y.shape[1]
    squares = rows.r**2
    noise = float((squares / rest**2).sum() / (problem.weights @ (1.0 / rest).reshape(problem.y.shape).sum(1)))
    return Exact(rows.w, decay, noise, float((squares / rest**2).sum()) / total, True)


def hopeful(problem: Problem, w: Matrix, variance: float) -> bool:
    """Whether a short run from w predicts samples that it leaves out as if there were next to no noise."""
    left_out = follow(problem, w, Record("", Until(), 0, False, None), tuple(part * variance for part in HOPE)).left_out
    return left_out < HOPE[-1] * variance


def follow(problem: Problem, w: Matrix, record: Record, bounds: tuple[float, ...] = ()) -> Exact:
    """The best point on the way from w, by leave-one-out; with bounds, a run that ends with as many judgements.

    It ends before, where a judgement is not below its bound.
    """
    rows, decay, h, idle = _Rows.at(problem, w), DECAY, FIRST, 0
    steps, rejected, solves, gradients = 0, 0, 0, 1
    best: Exact | None = None
    for matrices in range(1, MATRICES + 1):
        a = problem.network.jacobian(rows.w, rows.seen, problem.heads(rows.seen))
        small = _small(a)
        ended = matrices == MATRICES or record.outcome is not None
        judged = matrices // JUDGED
        if ended or matrices % JUDGED == 0:
            found = _judge(problem, rows, a, small, max(_wanted(rows), _least(small)))
            ended = ended or (bool(bounds) and (found.left_out >= bounds[judged - 1] or judged == len(bounds)))
            idle = 0 if best is None or found.left_out < GAIN * best.left_out else idle + 1
            best = found if best is None or found.left_out < best.left_out else best
        if ended or idle >= PATIENCE:
            break
        before, tried = rows, rejected
        rows, h, further, tries = _advance(problem, rows, a, small, decay, h)
        steps, rejected, gradients = steps + (rows is not before) + further, rejected + tries, gradients + 1 + further
        solves += 2 * (1 + rejected - tried) + further
        record.step(
            rows.w,
            steps=steps,
            rejected_steps=rejected,
            step_size=h,
            order=1.0,
            loss=rows.energy(decay) / problem.samples,
            data_loss=rows.energy(0.0) / problem.samples,
            gradient_norm=float(np.linalg.norm(rows.r @ a + decay * rows.w)) / problem.samples,
            decay=decay,
            left_out=np.nan if best is None else best.left_out,
            rhs_evaluations=gradients,
            loss_evaluations=steps + rejected,
            jacobian_evaluations=matrices,
            factorizations=matrices + rejected,
            linear_solves=solves,
            presentations=gradients + steps + rejected + problem.y.shape[1] * matrices,
        )
        if rows is before:
            found = _judge(problem, rows, a, small, max(_wanted(rows), _least(small)))
            best = found if best is None or found.left_out < best.left_out else best
            break
        decay = max(RELAX * decay, min(decay, SHARE * _wanted(rows)), _least(small))
    assert best is not None
    return dataclasses.replace(best, falling=idle == 0)


def _advance(
    problem: Problem, rows: _Rows, a: Matrix, small: Matrix, decay: float, h: float
) -> tuple[_Rows, float, int, int]:
    """A step, and further ones with its factor: where it ends, the next h, how many further ones, how many refused."""
    network, slope, energy = problem.network, rows.r @ a + decay * rows.w, rows.energy(decay)
    for refused in range(ATTEMPTS):
        matrix = _Matrix(a, small, decay + 1.0 / h)
        d = -matrix.solve(slope)
        bend = -matrix.solve(_weighted(problem, network.bent(rows.w, rows.seen, d)) @ a)
        step = d + 0.5 * bend if 2.0 * np.linalg.norm(bend) <= BEND * np.linalg.norm(d) else d
        new = _Rows.at(problem, rows.w + step)
        fall = energy - new.energy(decay)
        if fall > 0:
            ratio = fall / (-0.5 * float(slope @ d) + 0.5 * float(d @ d) / h)
            longer = DEFAULT.next_step(np.float64(h), Verdict(np.True_, np.float64(ratio), np.False_))  # type: ignore[arg-type]
            further = 0
            while ratio > PROMISE and further < W_STEPS:
                slope = network.gradient(new.w, new.seen, problem.weights[:, None] * (new.seen.z - problem.y))
                slope = slope + decay * new.w
                d = -matrix.solve(slope)
                other = _Rows.at(problem, new.w + d)
                fall = new.energy(decay) - other.energy(decay)
                if not fall > 0:
                    break
                ratio = fall / max(-0.5 * float(slope @ d), np.finfo(float).tiny)
                new, further = other, further + 1
            return new, float(longer), further, refused
        h *= DEFAULT.shrink
    return rows, h, 0, ATTEMPTS
