"""One fit, as plain functions of arrays: from standardised data to weights, decays and their uncertainty.

With decays from the data everything runs in NumPy, and nothing is compiled. With a number as `alpha`, or a solver that
is asked for, the solvers of this package train; their compiled code is shared by fits of the same shape, and rows are
padded with samples of weight zero up to a bucket, so that cross-validation folds that differ by a row share it too.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from stiffgrad._types import Outcome, Params
from stiffgrad.estimators import _evidence, _exact, _leave_one_out
from stiffgrad.estimators._curvature import inverse
from stiffgrad.estimators._jobs import Jobs
from stiffgrad.estimators._network import Matrix, Network
from stiffgrad.estimators._problem import Problem, Samples
from stiffgrad.estimators._record import Record
from stiffgrad.estimators._variance import VarianceFunction
from stiffgrad.objective import Objective, Term
from stiffgrad.objective.networks import MLP, mlp
from stiffgrad.run.driver import Step, solve
from stiffgrad.run.trace import Solution
from stiffgrad.run.until import Until
from stiffgrad.solvers._base import Solver

BATCH = 1024  # samples whose error bars are computed at once
DENSE = 3000  # weights up to which decays follow from the data; beyond, their matrix would take minutes
ENTRIES = 2e8  # of the Jacobian, 1.6 GB, the same


@dataclasses.dataclass(frozen=True)
class Task(Samples):
    """What is fitted: standardised samples (N, d), targets (N, k), weights (N,), and how."""

    X: Matrix
    y: Matrix
    weights: Matrix
    loss: str
    sizes: tuple[int, ...]
    activation: str
    precisions: Matrix | None = None  # of the noise of each sample, (N,), relative; by default all the same
    variances: Matrix | None = None  # of these the part that follows from the inputs, (N,), relative

    @property
    def network(self) -> Network:
        """The network in NumPy."""
        return Network(self.sizes, self.activation)

    def like(self, other: Fitted | Network) -> Task:
        """The same for the architecture of a fit, or for a network."""
        return dataclasses.replace(self, sizes=other.sizes, activation=other.activation)


@dataclasses.dataclass(frozen=True)
class Settings:
    """The part of an estimator's parameters that training needs."""

    alpha: str | float
    solver: str | Solver | None
    until: Until
    patience: int
    progress: bool
    jobs: Jobs = dataclasses.field(default_factory=Jobs)

    def since(self, begin: float) -> Settings:
        """The same with the seconds that are left, since `begin` of the clock `time.perf_counter`."""
        seconds = self.until.wall_seconds
        if seconds is None:
            return self
        left = max(seconds - (time.perf_counter() - begin), 0.0)
        return dataclasses.replace(self, until=dataclasses.replace(self.until, wall_seconds=left))

    def late(self, begin: float) -> bool:
        """Whether more seconds than there are have gone since `begin`."""
        seconds = self.until.wall_seconds
        return seconds is not None and time.perf_counter() - begin > seconds


@dataclasses.dataclass(frozen=True)
class Fitted:
    """The result of one fit."""

    solution: Solution
    decay: Any  # of the mean objective: of each weight (n,), or one a leaf
    log_evidence: float | None = None
    decays: Matrix | None = None  # lambda of each group
    noise: float | None = None  # variance, in standardised units; of t noise its squared scale
    covariance: Matrix | None = None  # of the weights, (n, n), in the order of units
    left_out: Matrix | None = None  # outputs (N, k) of each sample, of the fit without it
    spread: Matrix | None = None  # covariance of the outputs (N, k, k)
    score: float | None = None  # what ranks restarts: higher is better
    sizes: tuple[int, ...] = ()  # of the network
    activation: str = ""
    share: float = 1.0  # of its outputs in those of all that were fitted
    determined: float = 0.0  # the part of its weights that the data determine
    judges: Problem | None = None  # the samples that were left out
    degrees: float = np.inf  # of freedom of t noise: infinity is normal noise
    precisions: Matrix | None = None  # of the noise of each sample that it was fitted with
    variance: VarianceFunction | None = None  # of the noise, relative, where it changes
    by_column: bool = False  # whether each input column has a decay; `decays` are then those from before


@dataclasses.dataclass(frozen=True)
class Member:
    """One network of a fitted estimator."""

    sizes: tuple[int, ...]
    params: Params
    share: float  # of its outputs in those of the estimator
    covariance: Matrix | None = None  # of the weights, (n, n), in the order of units
    decays: Matrix | None = None  # lambda of each group


def bucket(count: int) -> int:
    """The next number of rows that is shared: at most an eighth more."""
    step = max(8, 2 ** max(0, count.bit_length() - 4))
    return -(-count // step) * step


def objective_of(task: Task, params: Params, decay: Any = 0.0) -> Objective:
    """The mean loss over the samples, padded to a bucket of rows; `decay` of each weight (n,), or one a leaf."""
    extra = bucket(len(task.X)) - len(task.X)
    X, y = (np.pad(array, ((0, extra), (0, 0)), mode="edge") for array in (task.X, task.y))
    weights = np.pad(task.rows, (0, extra))
    flat = isinstance(decay, np.ndarray)
    plain = 0.0 if flat else decay
    # Not by `supervised`, which would warn of sizes: what can be done about them has been done here.
    found = Objective(params, [Term(MLP(task.sizes, task.activation), X, y, task.loss, sample_weight=weights)], plain)
    return found.with_decay(decay) if flat else found


def start_of(task: Task, seed: int) -> Params:
    """A seeded start."""
    return mlp(task.sizes, task.activation, seed=seed)[1]


def flat(params: Params) -> Matrix:
    """The flat vector (n,) of parameters."""
    return np.concatenate([np.ravel(np.asarray(leaf, float)) for leaf in jax.tree.leaves(params)])


def unflat(network: Network, w: Matrix) -> Params:
    """The parameters of a flat vector (n,)."""
    return [{"weight": weight.copy(), "bias": bias.copy()} for weight, bias in network.split(np.asarray(w, float))]


def train(
    task: Task,
    settings: Settings,
    start: Params,
    validation: Callable[[Params], float] | None,
    start_decays: Matrix | None = None,
) -> Fitted:
    """Fit once from one start; `validation` is lower for better parameters."""
    if isinstance(settings.alpha, str):
        problem = problem_of(task, start, settings.alpha == "relevance")
        fitted = _with_decays(problem, settings, start, validation, start_decays)
        return retrained(task, problem, fitted, settings, start, validation)
    decay = float(settings.alpha) / task.weights.sum()
    leaves = [{"weight": decay, "bias": 0.0} for _ in start]
    solution = _solve(objective_of(task, start, leaves), settings, validation)
    return Fitted(solution, leaves, score=-solution.loss, sizes=task.sizes, activation=task.activation)


def _solve(objective: Objective, settings: Settings, validation: Any) -> Solution:
    patience = None if validation is None else _Patience(settings.patience)
    solution = solve(
        objective,
        "auto" if settings.solver is None else settings.solver,
        until=settings.until,
        validation=validation,
        callback=patience,
        progress=settings.progress,
        throw=False,
    )
    if solution.outcome is Outcome.INTERRUPTED and not (patience and patience.ended):
        raise KeyboardInterrupt  # `solve` returns what there is: half a fit is none
    params = solution.best_params
    if params is None:
        return dataclasses.replace(solution, params=_numpy(solution.params), state=None)
    w = np.asarray(objective.flatten(params))
    loss, slope = objective.value_and_gradient(w)
    norm, best = float(np.linalg.norm(np.asarray(slope))), _numpy(params)
    return dataclasses.replace(
        solution, params=best, w=w, loss=float(loss), gradient_norm=norm, best_params=best, state=None
    )


def _numpy(params: Params) -> Params:
    return jax.tree.map(np.asarray, params)


class _Patience:
    """Ends a run after so many steps without a better validation score."""

    def __init__(self, patience: int) -> None:
        self._patience = patience
        self._best = np.inf
        self._idle = 0
        self.ended = False

    def __call__(self, step: Step) -> bool:
        score = step.row["validation"]
        self._idle = 0 if score < self._best else self._idle + 1
        self._best = min(self._best, score)
        self.ended = self._idle > self._patience
        return self.ended


# ---- decays from the data


def problem_of(task: Task, params: Params, relevance: bool) -> Problem:
    """The samples that count, and the groups of weights that share a decay."""
    used = task.chosen(task.weights > 0)
    groups, count = groups_of(params, relevance)
    noise = used.precisions, used.variances
    return Problem(task.network, task.loss, used.X, used.y, used.weights, groups, count, *noise)


def _with_decays(
    problem: Problem,
    settings: Settings,
    start: Params,
    validation: Callable[[Params], float] | None,
    start_decays: Matrix | None,
) -> Fitted:
    score = None if validation is None else lambda w: validation(unflat(problem.network, w))
    by_evidence = settings.alpha == "relevance" or problem.loss == "squared"
    name = "evidence" if by_evidence else "leave-one-out"
    with Record(name, settings.until, settings.patience + 25, settings.progress, score) as record:
        if by_evidence:
            return _by_evidence(problem, flat(start), record, start_decays)
        return _by_leave_one_out(problem, flat(start), record, start_decays)


def retrained(
    task: Task, problem: Problem, fitted: Fitted, settings: Settings, start: Params, validation: Any = None
) -> Fitted:
    """The same decays and noise at the weights that the solver finds, where one is asked for."""
    if settings.solver is None:
        return fitted
    assert fitted.decays is not None
    solution = _solve(objective_of(task, start, fitted.decay), settings, validation)
    judges = _leave_one_out.judging(problem)
    point = _leave_one_out.judge(judges, flat(solution.params), fitted.decays[problem.groups])
    covariance = point.covariance * (1.0 if fitted.noise is None else fitted.noise)
    return dataclasses.replace(
        fitted, solution=solution, covariance=covariance, left_out=point.left_out, spread=point.spread, judges=judges
    )


def exactly(task: Task, run: _exact.Run, record: Record, settings: Settings) -> Fitted:
    """A fit of data that seem to have no noise, from its run.

    Where leaving out samples tells that more steps gain nothing, there is some noise: the evidence takes over.
    """
    found = run.best
    if found.falling or record.outcome is not None:
        return reached(run, record)
    until = dataclasses.replace(settings.until, steps=record.steps_left)
    return refined(task, found.w, found.decay, dataclasses.replace(settings, until=until))


def reached(run: _exact.Run, record: Record) -> Fitted:
    """The fit at the best point of a run."""
    problem, found = run.problem, run.best
    loss = problem.value(problem.forward(found.w))
    log_decays = np.full(problem.count, np.log(found.decay))
    best = _evidence.Hyper(found.w, log_decays, -float(np.log(found.noise)), loss)
    return _fitted_by_evidence(problem, _evidence.valued(problem, best), record)


def refined(task: Task, w: Matrix, decays: Any, settings: Settings) -> Fitted:
    """The evidence from weights w and lambdas, one or one a group."""
    problem = problem_of(task, unflat(task.network, w), settings.alpha == "relevance")
    with Record("evidence", settings.until, 0, settings.progress, None) as record:
        return _by_evidence(problem, w, record, np.broadcast_to(decays, (problem.count,)))


def with_decays_by_column(task: Task, fitted: Fitted, settings: Settings) -> Fitted:
    """The evidence with a decay for each input column, from a fit with one for all of them."""
    return _from(task, fitted, settings, True, _evidence.PATIENCE)


def onwards(task: Task, last: Fitted, settings: Settings) -> Fitted:
    """The evidence from a fit to a task like it, whose samples count otherwise, with decays of the same kind."""
    by_column = last.by_column or settings.alpha == "relevance"
    found = _from(task.like(last), last, settings, by_column, _evidence.NEAR)
    return dataclasses.replace(found, decays=last.decays, by_column=True) if last.by_column else found


def _from(task: Task, fitted: Fitted, settings: Settings, by_column: bool, patience: tuple[int, int]) -> Fitted:
    """The evidence from the weights and decays of a fit."""
    problem = problem_of(task, fitted.solution.params, by_column)
    decays = np.empty(problem.count)
    decays[problem.groups] = fitted.decay * problem.samples
    with Record("evidence", settings.until, 0, settings.progress, None) as record:
        return _by_evidence(problem, flat(fitted.solution.params), record, decays, patience)


def paced(task: Task, w: Matrix, noise: float, settings: Settings) -> Fitted:
    """The evidence from weights w whose sizes are right: decays start where they are MacKay's for such a noise."""
    groups = groups_of(unflat(task.network, w), False)[0]
    counts, squares = np.bincount(groups), np.bincount(groups, w**2)
    return refined(task, w, counts * noise / np.maximum(squares, 1e-6 * counts), settings)


def left_out(task: Task, fitted: Fitted) -> float:
    """Mean square error of samples, each predicted by the fit without it."""
    judges, outputs = _left_out(task, fitted)
    return float(np.average(((outputs - judges.y) ** 2).mean(1), weights=judges.rows))


def outputs_left_out(task: Task, fitted: Fitted) -> Matrix:
    """Outputs (N, k) at the samples that judge, each of the fit without that sample."""
    return _left_out(task, fitted)[1]


def _left_out(task: Task, fitted: Fitted) -> tuple[Problem, Matrix]:
    assert fitted.decays is not None
    problem = _leave_one_out.judging(problem_of(task, fitted.solution.params, False))
    return problem, _leave_one_out.judge(problem, flat(fitted.solution.params), fitted.decays[problem.groups]).left_out


def _by_evidence(
    problem: Problem,
    w: Matrix,
    record: Record,
    start_decays: Matrix | None,
    patience: tuple[int, int] = _evidence.PATIENCE,
) -> Fitted:
    """Decays and noise of tables with very many rows are those of a part; then the weights are fitted to all rows."""
    part = _leave_one_out.part(problem)
    best = _evidence.maximise(part, w, record, start_decays, patience)
    if part is not problem:
        decay = np.exp(best.log_lambda)[problem.groups]
        lower = _leave_one_out.factor_at(_leave_one_out.judging(problem), best.w, decay)
        w = _leave_one_out.descend(problem, best.w, lower, np.nan, decay, record)
        loss = problem.value(problem.forward(w))
        best = dataclasses.replace(best, w=w, loss=loss, log_beta=best.log_beta, rows=None)
    return _fitted_by_evidence(problem, best, record)


def _fitted_by_evidence(problem: Problem, best: _evidence.Hyper, record: Record) -> Fitted:
    decays, beta = np.exp(best.log_lambda), float(np.exp(best.log_beta))
    w = best.w if record.best_w is None else record.best_w
    decay = decays[problem.groups]
    covariance = inverse(_leave_one_out.factor_at(_leave_one_out.judging(problem), w, decay, double=True)) / beta
    noise = 1.0 / beta if problem.loss == "squared" else None
    solution = _solution(problem, record, w, decay)
    found = Fitted(solution, decay / problem.samples, best.log_evidence, decays, noise, covariance)
    found = dataclasses.replace(found, sizes=problem.network.sizes, activation=problem.network.activation)
    determined = 1.0 - float(decay[problem.network.order] @ np.diag(covariance)) * beta / len(w)
    found = dataclasses.replace(found, score=best.log_evidence, determined=determined)
    if problem.loss == "squared":
        return found
    judges = _leave_one_out.judging(problem)
    point = _leave_one_out.judge(judges, w, decay)
    return dataclasses.replace(found, left_out=point.left_out, spread=point.spread, judges=judges)


def decay_by(problem: Problem) -> Callable[[float], Matrix]:
    """The decay of each weight, (n,), at a decay of the weights: biases have next to none."""
    return lambda level: _levels(problem, level)[problem.groups]


def _levels(problem: Problem, level: float) -> Matrix:
    return np.where(np.arange(problem.count) % 2 == 0, level, _leave_one_out.BIASES)


def _by_leave_one_out(problem: Problem, w: Matrix, record: Record, start_decays: Matrix | None) -> Fitted:
    first = _leave_one_out.FIRST if start_decays is None else float(start_decays[0])
    steps = _leave_one_out.climb(problem, decay_by(problem), w, record, first)
    weights = _leave_one_out.judging(problem).weights
    best = min(steps, key=lambda step: float(step.losses @ weights))
    return fitted_at(problem, record, best.w if record.best_w is None else record.best_w, best.level)


def fitted_at(problem: Problem, record: Record, w: Matrix, level: float) -> Fitted:
    """A minimum at one decay, as a fit."""
    decay, judges = decay_by(problem)(level), _leave_one_out.judging(problem)
    point = _leave_one_out.judge(judges, w, decay)
    return Fitted(
        _solution(problem, record, w, decay),
        decay / problem.samples,
        point.log_evidence,
        _levels(problem, level),
        covariance=point.covariance,
        left_out=point.left_out,
        spread=point.spread,
        judges=judges,
        score=-float(np.average(point.losses, weights=judges.weights)),
        sizes=problem.network.sizes,
        activation=problem.network.activation,
    )


def _solution(problem: Problem, record: Record, w: Matrix, decay: Matrix) -> Solution:
    value, slope = problem.decayed(w, decay)
    norm = float(np.linalg.norm(slope)) / problem.samples
    best = None if record.best_w is None else unflat(problem.network, record.best_w)
    return record.solution(unflat(problem.network, w), w, value / problem.samples, norm, best)


def groups_of(params: Params, relevance: bool) -> tuple[NDArray[np.int64], int]:
    """The group of each weight: weights and biases of each layer, and with `relevance` each column of the first."""
    columns = params[0]["weight"].shape[1] if relevance else 1
    labels, count = [], columns
    for index, layer in enumerate(params):
        first = np.arange(columns) if relevance else np.zeros(1, int)
        weight = np.broadcast_to(first if index == 0 else count, layer["weight"].shape)
        count += index > 0
        labels.append({"weight": weight, "bias": np.full(layer["bias"].shape, count)})
        count += 1
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(labels)]), count


# ---- using what was fitted


def outputs(network: Network, params: Params, X: Matrix) -> Matrix:
    """Outputs (N, k)."""
    return network.forward(flat(params), X).z


def covariances(network: Network, params: Params, covariance: Matrix, X: Matrix) -> Matrix:
    """Covariance of the outputs of each sample under the posterior of the weights, (N, k, k)."""
    w = flat(params)
    parts = [network.spread(w, X[begin : begin + BATCH], covariance) for begin in range(0, len(X), BATCH)]
    return np.concatenate(parts)
