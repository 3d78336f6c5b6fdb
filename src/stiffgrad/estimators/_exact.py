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
# Left out, as parts of the targets' variance: after one and after two judgements, without noise it is less.
HOPE = (0.1, 1e-3)
NIL = 1e-4  # left out, as a part of the variance of the targets: below there is no noise


@dataclasses.dataclass(frozen=True)
class Exact:
    """The point that was reached."""

    w: Matrix
    decay: float  # lambda, by MacKay's rule
    noise: float  # variance with which residuals of samples as left out are as large as the linearised model says
    left_out: float  # mean square of these residuals
    falling: bool  # whether it still fell at the end
    errors: Matrix  # residuals (N, k) of samples as left out


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
    return np.ravel(np.sqrt(problem.rows)[:, None] * rows)


class _Matrix:
    """M = A'A + D of a Jacobian A (m, n) and a number D, factored on its smaller side."""

    def __init__(self, a: Matrix, small: Matrix, shift: float) -> None:
        self.a, self.shift = a, shift
        while True:
            matrix = small.copy(order="F")
            matrix[np.diag_indices_from(matrix)] += self.shift
            try:
                self.lower = cholesky(matrix)
                break
            except np.linalg.LinAlgError:  # by rounding: the least shift is not enough for every matrix
                if not self.shift < np.diag(small).max():
                    raise
                self.shift *= 100.0

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
    total = float(problem.rows.sum()) * problem.y.shape[1]
    squares = rows.r**2
    noise = float((squares / rest**2).sum() / (problem.weights @ (1.0 / rest).reshape(problem.y.shape).sum(1)))
    errors = (rows.r / rest).reshape(problem.y.shape) / np.sqrt(problem.rows)[:, None]
    return Exact(rows.w, decay, noise, float((squares / rest**2).sum()) / total, True, errors)


class Run:
    """A run that can stop and go on: `best` is the best point so far by leave-one-out."""

    def __init__(self, problem: Problem, w: Matrix) -> None:
        self.problem, self.ended = problem, False
        self._rows, self._decay, self._h, self._idle = _Rows.at(problem, w), DECAY, FIRST, 0
        self._matrices = self._steps = self._rejected = self._solves = 0
        self._gradients = 1
        self._best: Exact | None = None

    @property
    def best(self) -> Exact:
        """The best point, and whether the run was still getting better."""
        assert self._best is not None
        return dataclasses.replace(self._best, falling=self._idle == 0)

    @property
    def left_out(self) -> float:
        """Mean square of the residuals of samples as left out there."""
        return self.best.left_out

    @property
    def matrices(self) -> int:
        """How many were formed."""
        return self._matrices

    def to(self, matrices: int, record: Record) -> Run:
        """Go on until so many matrices were formed, or as many as there are at most, and judge."""
        while not self.ended and self._matrices < matrices:
            self._matrices += 1
            a = self.problem.network.jacobian(self._rows.w, self._rows.seen, self.problem.heads(self._rows.seen))
            small = _small(a)
            self.ended = self._matrices >= MATRICES or record.outcome is not None
            last = self.ended or self._matrices >= matrices
            if last or self._matrices % JUDGED == 0:
                self._judge(a, small)
                self.ended = self.ended or self._idle >= PATIENCE
            if self.ended:
                break
            self._step(a, small, record)
            if last:
                break
        return self

    def _judge(self, a: Matrix, small: Matrix) -> None:
        found = _judge(self.problem, self._rows, a, small, max(_wanted(self._rows), _least(small)))
        self._idle = 0 if self._best is None or found.left_out < GAIN * self._best.left_out else self._idle + 1
        self._best = found if self._best is None or found.left_out < self._best.left_out else self._best

    def _step(self, a: Matrix, small: Matrix, record: Record) -> None:
        before = self._rows
        rows, self._h, further, tries = _advance(self.problem, before, a, small, self._decay, self._h)
        self._rows = rows
        self._steps, self._rejected = self._steps + (rows is not before) + further, self._rejected + tries
        self._gradients += 1 + further
        self._solves += 2 * (1 + tries) + further
        samples = self.problem.samples
        record.step(
            rows.w,
            steps=self._steps,
            rejected_steps=self._rejected,
            step_size=self._h,
            order=1.0,
            loss=rows.energy(self._decay) / samples,
            data_loss=rows.energy(0.0) / samples,
            gradient_norm=float(np.linalg.norm(rows.r @ a + self._decay * rows.w)) / samples,
            decay=self._decay,
            left_out=np.nan if self._best is None else self._best.left_out,
            rhs_evaluations=self._gradients,
            loss_evaluations=self._steps + self._rejected,
            jacobian_evaluations=self._matrices,
            factorizations=self._matrices + self._rejected,
            linear_solves=self._solves,
            presentations=self._gradients + self._steps + self._rejected + self.problem.y.shape[1] * self._matrices,
        )
        if rows is before:  # no step is left: whether the run was getting better is what the last judgement said
            idle = self._idle
            self._judge(a, small)
            self._idle, self.ended = idle, True
        self._decay = max(RELAX * self._decay, min(self._decay, SHARE * _wanted(rows)), _least(small))


def follow(problem: Problem, w: Matrix, record: Record) -> Exact:
    """The best point on the way from w, by leave-one-out."""
    return Run(problem, w).to(MATRICES, record).best


def _earned(fall: float, promised: float) -> float:
    """What part of a promised fall came; squares of which the promise is made may underflow to zero."""
    return fall / max(promised, np.finfo(float).tiny)


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
            ratio = _earned(fall, -0.5 * float(slope @ d) + 0.5 * float(d @ d) / h)
            longer = DEFAULT.next_step(np.float64(h), Verdict(np.True_, np.float64(ratio), np.False_))  # type: ignore[arg-type]
            further = 0
            while ratio > PROMISE and further < W_STEPS:
                slope = network.gradient(new.w, new.seen, problem.rows[:, None] * (new.seen.z - problem.y))
                slope = slope + decay * new.w
                d = -matrix.solve(slope)
                other = _Rows.at(problem, new.w + d)
                fall = new.energy(decay) - other.energy(decay)
                if not fall > 0:
                    break
                ratio = _earned(fall, -0.5 * float(slope @ d))
                new, further = other, further + 1
            return new, float(longer), further, refused
        h *= DEFAULT.shrink
    return rows, h, 0, ATTEMPTS
