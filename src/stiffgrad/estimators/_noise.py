"""Noise with heavy tails: Student's t as a scale mixture, recognised by left-out residuals.

Noise of a sample i is normal with variance s^2 / lambda_i, and lambda_i has a gamma distribution of mean 1 and shape
nu / 2: then the noise is t with nu degrees of freedom and scale s (Lange, Little and Taylor 1989, J. Am. Stat. Assoc.
84:881). Given the residual r_i of a sample, lambda_i has the mean

    lambda_i = (nu + k) / (nu + |r_i|^2 / s^2)        (k outputs share one lambda),

so a fit with these precisions, and new ones from its residuals, is an iteration of EM. The residuals are those of
samples as left out, else an outlier that bends the fit to itself would not be seen; they are divided by the root of
1 + v_i, where s^2 v_i is the variance of the network's output there. nu, on a grid, and s are most likely for them.

The same likelihood, that of each sample as predicted by the fit without it, chooses between three: normal noise; the
same fit with t noise, which changes quantiles only; and a fit with these precisions. More must be clearly likelier.
Where noise is skewed, the last one follows its bulk, and not its mean: so it must not have larger squared residuals,
unless it is so much likelier that what is far off is not the same noise.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from scipy.special import gammaln, ndtr

from stiffgrad.estimators import _leave_one_out, _training
from stiffgrad.estimators._evidence import spread_of
from stiffgrad.estimators._exact import NIL
from stiffgrad.estimators._network import Matrix
from stiffgrad.estimators._training import Fitted, Task

DEGREES = (3.0, 4.0, 6.0, 10.0, 20.0)  # of freedom that are tried; with less than 3 a standard deviation says little
CLEAR = 4.0  # nats by which something else must be likelier
OTHER = 0.5  # nats a sample from where squared residuals may be larger than those of the fit with normal noise
ROUNDS = 8  # of precisions at most
CHANGED = 0.1  # nats a sample that the first round gained, from where the second one begins anew too
GAIN = (0.5, 0.005)  # nats, and nats a sample: a round that gains less is the last one
EM = 200  # iterations at most for a scale
NODES = np.exp(np.linspace(-18.0, 4.0, 111))  # of lambda: the trapezoidal rule in its logarithm
RATIOS = np.logspace(-5, 5, 101)  # of the variance of a prediction to s^2, between which quantiles are interpolated


@dataclasses.dataclass(frozen=True)
class Noise:
    """The noise that is most likely for the residuals that a fit leaves out."""

    precisions: Matrix  # means of lambda, (N,)
    degrees: float
    variance: float  # s^2
    log_density: float  # of all samples, each predicted by the fit without it
    left_out: float  # mean square of their residuals


def fitted(
    normal: Fitted,
    task: Task,
    again: Callable[[Task], Fitted | None],
    onwards: Callable[[Task, Fitted], Fitted],
    needed: bool = False,
) -> Fitted:
    """The fit with t noise, where that is clearly likelier than normal noise, or `needed`; else the fit `normal`.

    `again` fits a task from the start, or says that there is no time left; `onwards` goes on from a fit.
    """
    if normal.decays is None or normal.noise is None:
        return normal
    before, first = noise_of(task, normal, (np.inf,)), noise_of(task, normal, DEGREES)
    normal = _widened(normal, before.variance)
    if not needed and not _likelier(first, before):
        return normal
    kept = _with(normal, task, first.degrees, first.variance)
    if not needed and _is_nil(first, task):
        return kept
    samples = float(task.weights.sum())
    enough = GAIN[0] + GAIN[1] * samples
    best, best_noise, now, gain = None, first, first, np.inf
    for number in range(ROUNDS):
        weighted = dataclasses.replace(task, precisions=now.precisions)
        anew = number < 2 and gain > CHANGED * samples
        found = again(weighted) if anew or best is None else onwards(weighted, best)
        if found is None:
            break
        degrees, now = now.degrees, noise_of(weighted, found, DEGREES)
        gain = now.log_density - best_noise.log_density
        if best is None or gain > 0:
            best, best_noise = _widened(_with(found, weighted, degrees), now.variance), now
        if gain < enough:
            break
    if best is None or not _likelier(best_noise, first):
        return kept
    other = best_noise.log_density > first.log_density + OTHER * samples
    return best if other or best_noise.left_out <= first.left_out else kept


def heavy(task: Task, fitted: Fitted) -> bool:
    """Whether there is noise, and with heavy tails."""
    before, first = noise_of(task, fitted, (np.inf,)), noise_of(task, fitted, DEGREES)
    return not _is_nil(first, task) and _likelier(first, before)


def _likelier(noise: Noise, other: Noise) -> bool:
    return noise.log_density >= other.log_density + CLEAR


def _is_nil(noise: Noise, task: Task) -> bool:
    """Whether there is none: what is left is the error of the fit."""
    return noise.left_out < NIL * spread_of(task.y, task.weights)


def widened(task: Task, fitted: Fitted) -> Fitted:
    """The fit with normal noise no smaller than what samples that are left out tell.

    Where a function has next to no noise, the evidence takes what the network misses of it for noise, and that is
    larger between the samples than at them.
    """
    return fitted if fitted.noise is None else _widened(fitted, noise_of(task, fitted, (np.inf,)).variance)


def _widened(fitted: Fitted, variance: float) -> Fitted:
    assert fitted.noise is not None
    factor = max(1.0, variance / fitted.noise)
    return dataclasses.replace(fitted, noise=factor * fitted.noise, covariance=factor * np.asarray(fitted.covariance))


def _with(fitted: Fitted, task: Task, degrees: float, variance: float | None = None) -> Fitted:
    """A fit with t noise; its evidence has the likelihood of that instead of the one that steered it."""
    assert fitted.noise is not None
    assert fitted.log_evidence is not None
    problem = _training.problem_of(task.like(fitted), fitted.solution.params, False)
    seen = problem.forward(_training.flat(fitted.solution.params))
    steered = -problem.value(seen) / fitted.noise
    steered -= 0.5 * problem.samples * problem.y.shape[1] * np.log(2.0 * np.pi * fitted.noise)
    variance = fitted.noise if variance is None else variance
    likely = float(
        problem.weights @ _log_densities(((seen.z - problem.y) ** 2).sum(1), problem.y.shape[1], degrees, variance)
    )
    evidence = fitted.log_evidence - steered + likely
    return dataclasses.replace(
        fitted, noise=variance, degrees=degrees, log_evidence=evidence, precisions=task.precisions
    )


def noise_of(task: Task, fitted: Fitted, degrees: tuple[float, ...] | None = None) -> Noise:
    """The most likely of some degrees of freedom, for the residuals that a fit of a task leaves out.

    By default noise is of the kind for which the task has its precisions.
    """
    degrees = degrees or ((np.inf,) if task.precisions is None else DEGREES)
    params = fitted.solution.params
    problem = _training.problem_of(task.like(fitted), params, False)
    judges, w = _leave_one_out.judging(problem), _training.flat(params)
    point = _leave_one_out.judge(judges, w, fitted.decay * problem.samples)
    # Without a sample it is v / (1 - lambda v), by a rank-one update; of several outputs the diagonal stands for it.
    spread = np.diagonal(point.spread, axis1=1, axis2=2)
    unit = np.minimum(judges.weights, 1.0) * judges.rows / judges.weights
    spread = spread / np.maximum(1.0 - unit[:, None] * spread, 1e-6)
    residuals = point.left_out - judges.y
    squares = (residuals**2 / (1.0 + spread)).sum(1)
    k, every = residuals.shape[1], squares
    if len(judges.X) < len(problem.X):  # with so many samples it does not matter whether one is left out
        every = ((problem.forward(w).z - problem.y) ** 2).sum(1)
    left_out, found = float(np.average((residuals**2).mean(1), weights=judges.weights)), []
    for each in degrees:
        variance = most_likely(squares, judges.weights, k, each)
        density = _log_densities(squares, k, each, variance) - 0.5 * np.log1p(spread).sum(1)
        total = float(judges.weights @ density)
        found.append(Noise(_precisions(every, k, each, variance), each, variance, total, left_out))
    return max(found, key=lambda each: each.log_density)


def most_likely(squares: Matrix, weights: Matrix, k: int, degrees: float) -> float:
    """The s^2 that is most likely for squared norms (N,) of residuals of k outputs."""
    tiny = np.finfo(float).tiny
    variance = max(float(np.average(squares, weights=weights)) / k, tiny)
    for _ in range(0 if np.isinf(degrees) else EM):
        last, precisions = variance, weights * _precisions(squares, k, degrees, variance)
        # Over the sum of precisions instead of weights: the same fixed point, and sooner (Kent, Tyler and Vardi 1994,
        # Commun. Stat. B 23:441).
        variance = max(float(precisions @ squares) / (float(precisions.sum()) * k), tiny)
        if abs(np.log(variance / last)) < 1e-8:
            break
    return variance


def _precisions(squares: Matrix, k: int, degrees: float, variance: float) -> Matrix:
    if np.isinf(degrees):
        return np.ones_like(squares)
    return (degrees + k) / (degrees + squares / variance)


def _log_densities(squares: Matrix, k: int, degrees: float, variance: float) -> Matrix:
    """Of the t distribution of k outputs, (N,), at squared norms."""
    if np.isinf(degrees):
        return -0.5 * (k * np.log(2.0 * np.pi * variance) + squares / variance)
    constant = gammaln(0.5 * (degrees + k)) - gammaln(0.5 * degrees) - 0.5 * k * np.log(degrees * np.pi * variance)
    return constant - 0.5 * (degrees + k) * np.log1p(squares / (degrees * variance))


def quantiles(q: Matrix, spread: Matrix, noise: float, degrees: float) -> Matrix:
    """Of t noise of squared scale `noise` plus a normal variable of variances `spread` (...): (quantiles, ...).

    The sum is a mixture of normal distributions over lambda. Its quantiles in units of s depend on spread / s^2 only.
    """
    half, logs = 0.5 * degrees, np.log(NODES)
    mass = np.exp(half * np.log(half) - gammaln(half) + half * logs - half * NODES) * (logs[1] - logs[0])
    widths = np.sqrt(RATIOS[:, None] + 1.0 / NODES)
    high = np.full((len(q), len(RATIOS)), 1e9) * np.sqrt(1.0 + RATIOS)
    low = -high
    for _ in range(90):
        middle = 0.5 * (low + high)
        below = (ndtr(middle[:, :, None] / widths) @ mass) < q[:, None]
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    shape = 0.5 * (low + high) / np.sqrt(1.0 + RATIOS)
    ratios = np.clip(spread / noise, RATIOS[0], RATIOS[-1])
    found = [np.interp(np.log(ratios), np.log(RATIOS), each) for each in shape]
    return np.asarray(found) * np.sqrt(noise + spread)


def variance_of(noise: float, degrees: float) -> float:
    """The variance of t noise."""
    return noise if np.isinf(degrees) else noise * degrees / (degrees - 2.0)
