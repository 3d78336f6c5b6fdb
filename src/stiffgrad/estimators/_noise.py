"""Noise that is not the same normal noise everywhere, recognised by left-out residuals.

Heavy tails: noise of a sample i is normal with variance s^2 / lambda_i, and lambda_i has a gamma distribution of mean 1
and shape nu / 2: then the noise is t with nu degrees of freedom and scale s (Lange, Little and Taylor 1989, J. Am.
Stat. Assoc. 84:881). Given the residual r_i of a sample, lambda_i has the mean

    lambda_i = (nu + k) / (nu + |r_i|^2 / s^2)        (k outputs share one lambda),

so a fit with these precisions, and new ones from its residuals, is an iteration of EM. A variance that changes with the
inputs: s^2 exp(g_i) instead of s^2, g from `_variance.py`, and r_i divided by exp(g_i / 2); the precisions are
lambda_i exp(-g_i). The residuals are those of samples as left out, else an outlier that bends the fit to itself would
not be seen; their squares are divided by exp(g_i) + v_i, where s^2 v_i is the variance of the network's output there.
nu, on a grid, and s are most likely for them.

The same likelihood, that of each sample as predicted by the fits without it, chooses: normal noise or t noise, and then
whether its variance changes. More must be clearly likelier, and a variance that changes by three standard errors too.
Each time there are two ways: the same fit with that noise, which changes quantiles only, and a fit with these
precisions. Where noise is skewed, t noise follows its bulk, and not its mean; and where noise is large, precisions say
that errors do not matter: so such a fit must not have larger squared residuals, unless it is so much likelier that what
is far off is not the same noise.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import gammaln, ndtr

from stiffgrad.estimators import _leave_one_out, _training, _variance
from stiffgrad.estimators._evidence import spread_of
from stiffgrad.estimators._exact import NIL
from stiffgrad.estimators._network import Matrix
from stiffgrad.estimators._training import Fitted, Task
from stiffgrad.estimators._variance import Candidate, VarianceFunction

DEGREES = (3.0, 4.0, 6.0, 10.0, 20.0)  # of freedom that are tried; with less than 3 a standard deviation says little
NORMAL = (np.inf,)
CLEAR = 4.0  # nats by which something else must be likelier
SURE = 3.0  # standard errors by which a variance that changes must be likelier
OTHER = 0.5  # nats a sample from where squared residuals may be larger than those of the fit with normal noise
ROUNDS = 8  # of precisions at most
CHANGED = 0.25  # nats a sample that precisions gained, from where a fit with them begins anew: t noise alone gains 0.2
GAIN = (0.5, 0.005)  # nats, and nats a sample: a round that gains less is the last one
VARIED = 3  # fits of a variance function to the same residuals
EM = 200  # iterations at most for a scale
NODES = np.exp(np.linspace(-18.0, 4.0, 111))  # of lambda: the trapezoidal rule in its logarithm
RATIOS = np.logspace(-5, 5, 101)  # of the variance of a prediction to s^2, between which quantiles are interpolated


@dataclasses.dataclass(frozen=True)
class Noise:
    """The noise that is most likely for the residuals that a fit leaves out."""

    precisions: Matrix  # means of lambda, divided by exp(g), (N,)
    degrees: float
    variance: float  # s^2
    densities: Matrix  # logarithms, of each sample that judges, predicted by the fit without it
    log_density: float  # of all of them
    left_out: float  # mean square of their residuals
    variances: Matrix | None = None  # exp(g), (N,)
    function: VarianceFunction | None = None
    candidate: Candidate | None = None  # of which it is

    def scaled(self) -> Noise:
        """The same noise, in such units that 1/exp(g) is 1 on the average."""
        assert self.function is not None
        assert self.variances is not None
        unit = float(np.mean(1.0 / self.variances))
        return dataclasses.replace(
            self,
            precisions=self.precisions / unit,
            variance=self.variance / unit,
            variances=self.variances * unit,
            function=self.function.times(unit),
        )


@dataclasses.dataclass(frozen=True)
class _Residuals:
    """What a fit leaves out at the samples that judge, and what is seen at all of them."""

    left_out: Matrix  # residuals (N, k)
    spread: Matrix  # variance of the network's outputs there, without the sample, in units of s^2, (N, k)
    weights: Matrix
    inputs: Matrix  # and predictions, (N, d + k)
    variances: Matrix | None  # of the noise that the task says
    whole: Matrix | None  # residuals (all, k) where not all samples judge
    everywhere: Matrix  # inputs and predictions at all samples
    known: Matrix | None  # what the task says of all
    noise: float  # s^2 of the fit
    decays: int = 0  # of the fit, each of which is fitted too

    @classmethod
    def of(cls, task: Task, fitted: Fitted) -> _Residuals:
        assert fitted.noise is not None
        problem = _training.problem_of(task.like(fitted), fitted.solution.params, False)
        judges, w = _leave_one_out.judging(problem), _training.flat(fitted.solution.params)
        point = _leave_one_out.judge(judges, w, fitted.decay * problem.samples)
        # Without a sample it is v / (1 - lambda v), by a rank-one update; of several outputs its diagonal will do.
        spread = np.diagonal(point.spread, axis1=1, axis2=2)
        unit = np.minimum(judges.weights, 1.0) * judges.rows / judges.weights
        spread = spread / np.maximum(1.0 - unit[:, None] * spread, 1e-6)
        z = problem.forward(w).z
        everywhere = inputs = np.column_stack([problem.X, z])
        whole = None
        if len(judges.X) < len(problem.X):  # with so many samples it does not matter whether one is left out
            whole, inputs = z - problem.y, np.column_stack([judges.X, judges.forward(w).z])
        residuals = point.left_out - judges.y
        weights = _leave_one_out.part(problem).weights  # a part tells no more than it has samples
        known = judges.variances, problem.variances
        decays = len(np.unique(fitted.decay))
        return cls(residuals, spread, weights, inputs, known[0], whole, everywhere, known[1], fitted.noise, decays)

    @property
    def outputs(self) -> int:
        return self.left_out.shape[1]

    def noise_of(self, degrees: tuple[float, ...], left_out: Matrix, everywhere: Matrix | None) -> Noise:
        """The most likely of some degrees of freedom, for variances exp(g) of each sample as left out, and as seen."""
        k, total = self.outputs, left_out[:, None] + self.spread
        squares = (self.left_out**2 / total).sum(1)
        every, found = squares, []
        if self.whole is not None:
            every = (self.whole**2).sum(1) / (1.0 if everywhere is None else everywhere)
        mean = float(np.average((self.left_out**2).mean(1), weights=self.weights))
        free = k * float(self.weights.sum())
        hidden = free / max(free - self.decays, 1.0)  # a sample is left out of the weights, and not of the decays
        for each in degrees:
            variance = most_likely(squares, self.weights, k, each)
            densities = _log_densities(squares, k, each, variance) - 0.5 * np.log(total).sum(1)
            precisions = _precisions(every, k, each, variance) / (1.0 if everywhere is None else everywhere)
            whole = float(self.weights @ densities)
            found.append(Noise(precisions, each, hidden * variance, densities, whole, mean, everywhere))
        return max(found, key=lambda each: each.log_density)

    def known_noise(self, degrees: tuple[float, ...]) -> Noise:
        """The same for the variances that the task says, by default the same everywhere."""
        return self.noise_of(
            degrees, np.ones(len(self.weights)) if self.variances is None else self.variances, self.known
        )

    def varied(self, heavy: bool, last: Candidate | None = None) -> Noise | None:
        """Noise with a variance function, fitted from where the `last` one was; `heavy`: its tails may be.

        Nothing where already a first step towards one makes left-out samples no likelier.
        """
        mean, scale = self.inputs.mean(0), self.inputs.std(0)
        scale = np.where(scale > 0, scale, 1.0)
        X, k = (self.inputs - mean) / scale, self.outputs

        def noise(candidate: Candidate) -> Noise:
            function = candidate.function(mean, scale)
            variances = function(self.everywhere[:, :-k], self.everywhere[:, -k:])
            found = self.noise_of(NORMAL, np.exp(candidate.left_out), variances)
            t = self.noise_of(DEGREES, np.exp(candidate.left_out), variances) if heavy else found
            return dataclasses.replace(t if _likelier(t, found) else found, function=function, candidate=candidate)

        def squares(noise: Noise, g: Matrix) -> Matrix:
            """What is left of squared residuals without the network's variance and what has a small lambda."""
            rest = (self.left_out**2 / (1.0 + self.spread / np.exp(g)[:, None])).mean(1)
            return rest * _precisions(k * rest / np.exp(g), k, noise.degrees, noise.variance) / noise.variance

        now = self.noise_of(DEGREES if heavy else NORMAL, np.ones(len(X)), None)
        q = squares(now, np.zeros(len(X)) if last is None else last.log_variance)
        if last is None:
            waves = _variance.several(X.shape[1], k)
            gains = [_variance.gain(each, X, k, q, self.weights) for each in waves]
            if max(gains) <= 0.0:
                return None
            chosen = waves[int(np.argmax(gains))]
        else:
            chosen = last.waves
        best = noise(_variance.fitted(chosen, X, k, q, self.weights, last))
        for _ in range(VARIED if last is not None or _likelier(best, now) else 0):
            last = best.candidate
            assert last is not None
            new = noise(_variance.fitted(last.waves, X, k, squares(best, last.log_variance), self.weights, last))
            if new.log_density < best.log_density + GAIN[0]:
                break
            best = new
        return best.scaled()


def fitted(
    normal: Fitted,
    task: Task,
    again: Callable[[Task], Fitted | None],
    onwards: Callable[[Task, Fitted], Fitted],
    needed: bool = False,
) -> Fitted:
    """The fit with other noise, where that is clearly likelier than normal noise, or t noise is `needed`.

    `again` fits a task from the start, or says that there is no time left; `onwards` goes on from a fit.
    """
    if normal.decays is None or normal.noise is None:
        return normal
    seen = _Residuals.of(task, normal)
    before, first = seen.known_noise(NORMAL), seen.known_noise(DEGREES)
    found, heavy = _widened(normal, before.variance), needed or _likelier(first, before)
    if heavy:
        gain = first.log_density - before.log_density
        same = not needed and _is_nil(first, task)
        found, task = _followed(found, task, first, onwards, again, gain, same)
    if needed or _is_nil(before, task):
        return found
    # Only now: around a fit that outliers bend, residuals are larger in some parts than in others.
    seen = _Residuals.of(task, found) if heavy else seen
    varied = _varied(seen, heavy)
    return found if varied is None else _followed(found, task, varied, onwards)[0]


def _followed(
    before: Fitted,
    task: Task,
    first: Noise,
    onwards: Callable[[Task, Fitted], Fitted],
    again: Callable[[Task], Fitted | None] | None = None,
    gain: float = 0.0,
    same: bool = False,
) -> tuple[Fitted, Task]:
    """The fit before with other noise, or, unless it must be the `same`, a fit for that; and its task.

    Where so much is gained that something bends the fit before, the first two rounds begin `again`; the first one where
    the network is not the task's too, for it was chosen under another noise.
    """
    kept = _with(before, task, first)
    if first.variances is not None:
        kept = dataclasses.replace(kept, covariance=_covariance(before, task, first))
    if same:
        return kept, task
    samples = float(task.weights.sum())
    enough = GAIN[0] + GAIN[1] * samples
    best, best_noise, now, last = None, first, first, task
    for number in range(ROUNDS):
        weighted = dataclasses.replace(task, precisions=now.precisions, variances=now.variances)
        chosen = best is None and (before.sizes, before.activation) != (task.sizes, task.activation)
        bent = number < 2 and (chosen or gain > CHANGED * samples)
        found = again(weighted) if again is not None and bent else onwards(weighted, best or before)
        if found is None:
            break
        seen = _Residuals.of(weighted, found)
        noise, now = now, _like(now, seen)
        gain = now.log_density - best_noise.log_density
        if best is None or gain > 0:
            level = now if noise.candidate is None else seen.known_noise((noise.degrees,))  # of the fit's own function
            best = _widened(_with(found, weighted, noise, found.noise), level.variance)
            best_noise, last = now, weighted
        if gain < enough:
            break
    if best is None or not _likelier(best_noise, first):
        return kept, task
    if best_noise.left_out <= first.left_out or best_noise.log_density > first.log_density + OTHER * samples:
        return best, last
    return kept, task


def heavy(task: Task, fitted: Fitted) -> bool:
    """Whether there is noise, and with heavy tails."""
    seen = _Residuals.of(task, fitted)
    before = seen.known_noise(NORMAL)
    return not _is_nil(before, task) and _likelier(seen.known_noise(DEGREES), before)


def _varied(seen: _Residuals, heavy: bool) -> Noise | None:
    """Noise whose variance changes, where samples are likelier with it by more than their differences leave open."""
    same, varied = seen.known_noise(DEGREES if heavy else NORMAL), seen.varied(heavy)
    if varied is None:
        return None
    more = _leave_one_out.pays(-varied.densities, -same.densities, seen.weights, SURE)
    return varied if more and _likelier(varied, same) else None


def _like(noise: Noise, seen: _Residuals) -> Noise:
    """Noise of the same kind for other residuals."""
    if noise.candidate is None:
        return seen.known_noise(DEGREES)
    varied = seen.varied(True, noise.candidate)
    assert varied is not None
    return varied


def _likelier(noise: Noise, other: Noise) -> bool:
    return noise.log_density >= other.log_density + CLEAR


def _is_nil(noise: Noise, task: Task) -> bool:
    """Whether there is none: what is left is the error of the fit."""
    return noise.left_out <= NIL * spread_of(task.y, task.weights)  # both are zero where targets are constant


def widened(task: Task, fitted: Fitted) -> Fitted:
    """The fit with normal noise no smaller than what samples that are left out tell.

    Where a function has next to no noise, the evidence takes what the network misses of it for noise, and that is
    larger between the samples than at them.
    """
    if fitted.noise is None:
        return fitted
    return _widened(fitted, _Residuals.of(task, fitted).known_noise(NORMAL).variance)


def _widened(fitted: Fitted, variance: float) -> Fitted:
    assert fitted.noise is not None
    factor = max(1.0, variance / fitted.noise)
    return dataclasses.replace(fitted, noise=factor * fitted.noise, covariance=factor * np.asarray(fitted.covariance))


def _with(fitted: Fitted, task: Task, noise: Noise, variance: float | None = None) -> Fitted:
    """A fit with other noise; its evidence has the likelihood of that instead of the one that steered it."""
    assert fitted.noise is not None
    assert fitted.log_evidence is not None
    problem = _training.problem_of(task.like(fitted), fitted.solution.params, False)
    seen = problem.forward(_training.flat(fitted.solution.params))
    k = problem.y.shape[1]
    squares = ((seen.z - problem.y) ** 2).sum(1)
    if np.isinf(fitted.degrees):
        steered = -problem.value(seen) / fitted.noise
        steered -= 0.5 * problem.samples * k * np.log(2.0 * np.pi * fitted.noise)
    else:  # it has had this done to it before
        steered = float(problem.weights @ _log_densities(squares, k, fitted.degrees, fitted.noise))
    variance = noise.variance if variance is None else variance
    variances = np.ones(len(seen.z)) if noise.variances is None else noise.variances
    likely = _log_densities(squares / variances, k, noise.degrees, variance) - 0.5 * k * np.log(variances)
    evidence = fitted.log_evidence - steered + float(problem.weights @ likely)
    return dataclasses.replace(
        fitted,
        noise=variance,
        degrees=noise.degrees,
        log_evidence=evidence,
        precisions=task.precisions,
        variance=noise.function,
    )


def _covariance(fitted: Fitted, task: Task, noise: Noise) -> Matrix:
    """Of the weights of a fit for which noise was the same everywhere, where it is not.

    With H = A'P A + lambda, P the precisions of the fit, the weights err by H^-1 (A'P e - lambda w), for noise e of
    variances V and weights w of the prior variance s^2 / lambda: that has the covariance
    H^-1 (A'P V P A + s^2 lambda) H^-1.
    """
    assert fitted.noise is not None
    problem = _training.problem_of(task.like(fitted), fitted.solution.params, False)
    variances = variance_of(noise.variance, noise.degrees) * np.asarray(noise.variances)
    precisions = 1.0 if problem.precisions is None else problem.precisions
    judges = _leave_one_out.judging(dataclasses.replace(problem, precisions=precisions**2 * variances))
    lower = np.tril(_leave_one_out.gram_at(judges, _training.flat(fitted.solution.params), double=True))
    middle = lower + np.tril(lower, -1).T
    order = problem.network.order
    middle[np.diag_indices_from(middle)] += fitted.noise * fitted.decay[order] * problem.samples
    inverse = np.asarray(fitted.covariance) / fitted.noise
    return inverse @ middle @ inverse


def noise_of(task: Task, fitted: Fitted) -> Noise:
    """The most likely noise of the kind for which the task has its precisions, for what a fit of it leaves out."""
    return _Residuals.of(task, fitted).known_noise(NORMAL if task.precisions is None else (*DEGREES, *NORMAL))


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


def quantiles(q: Matrix, spread: Matrix, noise: float | Matrix, degrees: float) -> Matrix:
    """Of t noise of squared scale `noise` plus a normal variable of variances `spread` (...): (quantiles, ...).

    The squared scale is a number or (...). The sum is a mixture of normal distributions over lambda, whose quantiles in
    units of s depend on spread / s^2 only.
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


def variance_of(noise: Any, degrees: float) -> Any:
    """The variance of t noise of the squared scale `noise`, a number or an array."""
    return noise if np.isinf(degrees) else noise * degrees / (degrees - 2.0)
