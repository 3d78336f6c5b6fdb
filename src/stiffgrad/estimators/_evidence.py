"""Weights and their decays together, by maximising the evidence in Laplace's approximation.

With the negative log posterior  S = beta L(w) + sum over groups g of alpha_g/2 |w_g|^2,  L the summed loss, and the
Gauss-Newton matrix  H = beta G(w) + diag(alpha),  the log evidence is

    F(w, alpha, beta) = -S - 1/2 log det(H) + 1/2 sum of n_g log alpha_g + m/2 log(beta / 2 pi)

(m outputs over all samples). At fixed w it is stationary where (MacKay 1992, Neural Computation 4:448)

    gamma_g = n_g - alpha_g tr_g(H^-1)    the well-determined weights of a group
    alpha_g = gamma_g / |w_g|^2           beta = (m - sum of gamma) / (2 L)

so decays and noise follow from the Jacobian that an implicit-Euler step for the weights has anyway (Foresee and Hagan
1997). Two phases. First the weights follow the flow of S, while the decays fall from strong ones; the point of the
highest F is kept, for F falls again where this goes on (MacKay's rule leaves out how H changes with w). From there on
the weights follow the gradient of F itself, log determinant included: then every step raises F, and it ends at rest.
In the program everything is divided by beta: lambda = alpha/beta, and lambda/N is the decay in the mean objective.

The loop runs in NumPy: a step is a few calls of BLAS and LAPACK, and nothing has to be compiled.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from stiffgrad.estimators._curvature import Curvature, gram
from stiffgrad.estimators._network import Matrix, Pass
from stiffgrad.estimators._problem import Problem
from stiffgrad.estimators._record import Record

ATTEMPTS = 12  # step sizes tried from one point
START = 0.01  # lambda/N at the start: strong; but still stronger, and weights fall into a linear network
# Of each phase: the part of its way, in logarithms, that a decay goes in one step, and its largest change. Fast updates
# prune inputs that matter, as long as nothing but MacKay's rule steers.
RATE, MAX_CHANGE = (0.2, 0.5), (0.3, 1.0)
LOG_RANGE = 18.0  # decays stay within exp(+-18): a group that is pruned does not run off to infinity
GAIN = (0.1, 0.01)  # nats, and nats a sample: less in so many steps is not worth them
EXACT = 1e-10  # variance of the noise, of that of the targets, below which a phase ends: data without noise have no end
AGAIN = 3  # further steps of the weights at most with one matrix, in the first phase
PATIENCE = (5, 3)  # steps without that gain that end each phase
NEAR = (1, 3)  # the same from a fit to almost the same samples


@dataclasses.dataclass(frozen=True)
class Hyper:
    """Weights with the decays, the noise and the loss that belong to them."""

    w: Matrix
    log_lambda: Matrix  # (groups,): logarithm of alpha/beta
    log_beta: float
    loss: float  # L at w
    log_evidence: float = -np.inf
    rows: tuple[Matrix, Matrix] | None = None  # the Jacobian there and its Gram matrix, where they are known already


def _rows(problem: Problem, w: Matrix, seen: Pass) -> tuple[Matrix, Matrix]:
    a = problem.network.jacobian(w, seen, problem.heads(seen))
    return a, gram(a)


@dataclasses.dataclass(frozen=True)
class _Local:
    """What one Jacobian tells at a point."""

    seen: Pass
    heads: Matrix
    jacobian: Matrix
    gram: Matrix
    decay: Matrix  # lambda of each weight
    curvature: Curvature
    slope: Matrix  # of L + decay

    @classmethod
    def at(cls, problem: Problem, now: Hyper) -> _Local:
        decay = np.exp(now.log_lambda)[problem.groups]
        seen = problem.forward(now.w)
        heads = problem.heads(seen)
        a, small = now.rows or _rows(problem, now.w, seen)
        slope = problem.gradient(now.w, seen) + decay * now.w
        return cls(seen, heads, a, small, decay, Curvature.of(a, small, decay), slope)


@dataclasses.dataclass
class _Counts:
    """Cumulative, by the names of `Statistics`."""

    steps: int = 0
    rejected_steps: int = 0
    rhs_evaluations: int = 1
    loss_evaluations: int = 0
    jacobian_evaluations: int = 0
    factorizations: int = 0
    linear_solves: int = 0

    def row(self, outputs: int) -> dict[str, float]:
        """With presentations: a gradient counts 1, a loss 1, a Jacobian of k outputs k."""
        seen = self.rhs_evaluations + self.loss_evaluations + outputs * self.jacobian_evaluations
        return {**dataclasses.asdict(self), "presentations": seen}


def maximise(
    problem: Problem, w: Matrix, record: Record, start: Any = None, patience: tuple[int, int] = PATIENCE
) -> Hyper:
    """The point of the highest evidence; `start` are the first lambdas, one or one a group."""
    first = START * problem.samples if start is None else start
    loss = problem.value(problem.forward(w))
    log_lambda = np.log(np.broadcast_to(np.asarray(first, float), (problem.count,)))
    now = best = Hyper(w, log_lambda, float(np.log(_beta(problem, 0.0, loss))), loss)
    gain = GAIN[0] + GAIN[1] * problem.samples
    exact = EXACT * spread_of(problem.y, problem.rows) if problem.loss == "squared" else 0.0
    counts, phase, idle, mark, h = _Counts(), 0, 0, -np.inf, 1.0
    while True:
        here = _Local.at(problem, now)
        log_evidence = _log_evidence(problem, now, here)
        counts.jacobian_evaluations += now.rows is None
        counts.factorizations += 1
        now = dataclasses.replace(now, log_evidence=log_evidence, rows=None)
        best = now if log_evidence > best.log_evidence else best
        mark, idle = (log_evidence, 0) if log_evidence > mark + gain else (mark, idle + 1)
        if _report(problem, record, now, here, h, phase, counts):
            return best
        if idle > patience[phase] or np.exp(-now.log_beta) < exact:
            phase, idle, mark, h = phase + 1, 0, best.log_evidence, 1.0
            if phase == 2 or problem.loss != "squared":  # cross entropies have the first phase only
                return best
            now, here = best, _Local.at(problem, best)
        counts.steps += 1
        now, h, accepted = _step(problem, now, here, h, phase, counts)
        if phase == 1 and not accepted and idle >= 3:
            return best


def valued(problem: Problem, now: Hyper) -> Hyper:
    """The point with its evidence."""
    return dataclasses.replace(now, log_evidence=_log_evidence(problem, now, _Local.at(problem, now)))


def spread_of(y: Matrix, weights: Matrix) -> float:
    """The variance of targets (N, k), the mean over their columns."""
    mean = np.average(y, axis=0, weights=weights)
    return float(np.average((y - mean) ** 2, axis=0, weights=weights).mean())


def _report(problem: Problem, record: Record, now: Hyper, here: _Local, h: float, phase: int, counts: _Counts) -> bool:
    samples = problem.samples
    return record.step(
        now.w,
        step_size=h,
        order=1.0,
        loss=(now.loss + 0.5 * float(here.decay @ now.w**2)) / samples,
        gradient_norm=float(np.linalg.norm(here.slope)) / samples,
        data_loss=now.loss / samples,
        log_evidence=now.log_evidence,
        gamma=float(here.curvature.determined.sum()),
        phase=phase,
        **counts.row(problem.y.shape[1]),
    )


def _beta(problem: Problem, gamma: float, loss: float) -> float:
    """Precision of the noise; cross entropies have none to estimate."""
    if problem.loss != "squared":
        return 1.0
    free = max(problem.samples * problem.y.shape[1] - gamma, 1.0)
    return free / max(2.0 * loss, 1e-12 * free)


def _log_evidence(problem: Problem, now: Hyper, here: _Local) -> float:
    """F, in nats; for cross entropies too it compares models on the same data."""
    energy = now.loss + 0.5 * float(here.decay @ now.w**2)
    rows = problem.samples * problem.y.shape[1] if problem.loss == "squared" else 0.0
    noise = 0.5 * rows * (now.log_beta - np.log(2.0 * np.pi))
    return float(-np.exp(now.log_beta) * energy - 0.5 * here.curvature.log_det() + noise)


def _step(
    problem: Problem, now: Hyper, here: _Local, h: float, phase: int, counts: _Counts
) -> tuple[Hyper, float, bool]:
    """One implicit-Euler step of the weights, along the flow of S or of -F, and one of the decays."""
    unit = np.exp(-now.log_beta) if phase == 1 else 0.0  # of a nat, in units of the summed loss
    along = here.slope
    if unit:
        along = along + unit * problem.network.pulled(now.w, here.seen, here.heads, here.curvature.adjoint())
    w, loss, rows, h, accepted = _move(problem, now, here, along, unit, h, counts)
    gamma = np.bincount(problem.groups, here.curvature.determined, problem.count)
    beta = _beta(problem, float(gamma.sum()), loss)
    squares = np.bincount(problem.groups, w**2, problem.count)
    wanted = np.log(np.maximum(gamma, 1e-6) / np.maximum(beta * squares, np.finfo(float).tiny))
    change = RATE[phase] * (np.clip(wanted, -LOG_RANGE, LOG_RANGE) - now.log_lambda)
    log_lambda = now.log_lambda + np.clip(change, -MAX_CHANGE[phase], MAX_CHANGE[phase])
    return Hyper(w, log_lambda, float(np.log(beta)), loss, rows=rows), h, accepted


def _move(
    problem: Problem, now: Hyper, here: _Local, along: Matrix, unit: float, h: float, counts: _Counts
) -> tuple[Matrix, float, tuple[Matrix, Matrix] | None, float, bool]:
    """Step sizes from h downwards, until S (or -F) falls: weights, loss and rows there, next h, whether it fell."""
    decay, samples = here.decay, problem.samples
    before = now.loss + 0.5 * float(decay @ now.w**2) + 0.5 * unit * here.curvature.log_det()
    for _ in range(ATTEMPTS):
        matrix = Curvature.of(here.jacobian, here.gram, decay + samples / h)
        d = -matrix.solve(along)
        w = now.w + d
        seen = problem.forward(w)
        loss = problem.value(seen)
        new = loss + 0.5 * float(decay @ w**2)
        counts.factorizations += 1
        counts.linear_solves += 1
        counts.loss_evaluations += 1
        rows = None
        if unit and np.isfinite(new):
            rows = _rows(problem, w, seen)
            new += 0.5 * unit * Curvature.of(*rows, decay).log_det()
            counts.jacobian_evaluations += 1
        if np.isfinite(new) and new <= before:
            promised = -0.5 * float(along @ d) + 0.5 * float(d @ d) * samples / h
            rho = (before - new) / max(promised, np.finfo(float).tiny)
            growth = 6.0 if rho > 0.9 else 3.0 if rho > 0.75 else 0.5 if rho < 0.25 else 1.0
            counts.rhs_evaluations += 1
            if not unit:
                w, loss = _again(problem, w, loss, decay, matrix, counts)
            return w, loss, rows, min(h * growth, 1e12), True
        counts.rejected_steps += 1
        h *= 0.25
    return now.w, now.loss, None, h, False


def _again(
    problem: Problem, w: Matrix, loss: float, decay: Matrix, matrix: Curvature, counts: _Counts
) -> tuple[Matrix, float]:
    """Further steps with the matrix of the last one, each while S falls by half of what the matrix promises."""
    before, seen = loss + 0.5 * float(decay @ w**2), problem.forward(w)
    for _ in range(AGAIN):
        slope = problem.gradient(w, seen) + decay * w
        d = -matrix.solve(slope)
        seen = problem.forward(w + d)
        new = problem.value(seen)
        after = new + 0.5 * float(decay @ (w + d) ** 2)
        counts.rhs_evaluations += 1
        counts.linear_solves += 1
        counts.loss_evaluations += 1
        if not before - after >= -0.25 * float(slope @ d):
            break
        w, loss, before = w + d, new, after
    return w, loss
