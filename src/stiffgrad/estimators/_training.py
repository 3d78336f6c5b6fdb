"""One fit, as plain functions of arrays: from standardised data to weights, decays and their uncertainty.

Everything compiled is a module-level function of arrays and of objects equal by value, so that a second fit of the
same shape compiles nothing. Rows are padded with samples of weight zero up to a bucket: cross-validation folds that
differ by a row then share compiled code too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from stiffgrad import derivatives
from stiffgrad._types import Params
from stiffgrad.driver import Step, Until, solve
from stiffgrad.networks import MLP, mlp
from stiffgrad.objective import Objective, supervised
from stiffgrad.solvers._base import Solver
from stiffgrad.solvers.evidence import START, Evidence
from stiffgrad.trace import Solution

Matrix = NDArray[np.float64]
BATCH = 256  # samples whose output Jacobians are formed at once, for error bars
DENSE = 3000  # weights up to which the evidence is maximised; beyond, its matrix would take minutes

ACTIVATIONS: dict[str, Callable[[Matrix], Matrix]] = {
    "tanh": np.tanh,
    "sigmoid": expit,
    "relu": lambda x: np.maximum(x, 0.0),
    "gelu": lambda x: 0.5 * x * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (x + 0.044715 * x**3))),
    "silu": lambda x: x * expit(x),
    "softplus": lambda x: np.logaddexp(x, 0.0),
}


@dataclasses.dataclass(frozen=True)
class Task:
    """What is fitted: standardised samples (N, d), targets (N, k), weights (N,), and how."""

    X: Matrix
    y: Matrix
    weights: Matrix
    loss: str
    sizes: tuple[int, ...]
    activation: str


@dataclasses.dataclass(frozen=True)
class Settings:
    """The part of an estimator's parameters that training needs."""

    alpha: str | float
    solver: str | Solver
    until: Until
    patience: int
    progress: bool


@dataclasses.dataclass(frozen=True)
class Fitted:
    """The result of one fit."""

    solution: Solution
    objective: Objective
    log_evidence: float | None = None
    decays: Matrix | None = None  # lambda of each group
    noise: float | None = None  # variance, in standardised units
    factor: Matrix | None = None  # C with C C' the posterior covariance of the flat weights


def bucket(count: int) -> int:
    """The next number of rows that is shared: at most an eighth more."""
    step = max(8, 2 ** max(0, count.bit_length() - 4))
    return -(-count // step) * step


def objective_of(task: Task, params: Params, decay: Any = 0.0) -> Objective:
    """The mean loss over the samples, padded to a bucket of rows."""
    extra = bucket(len(task.X)) - len(task.X)
    X, y = (np.pad(array, ((0, extra), (0, 0)), mode="edge") for array in (task.X, task.y))
    weights = np.pad(task.weights, (0, extra))
    return supervised(MLP(task.sizes, task.activation), params, X, y, task.loss, decay, sample_weight=weights)


def start_of(task: Task, seed: int) -> Params:
    """A seeded start."""
    return mlp(task.sizes, task.activation, seed=seed)[1]


def train(
    task: Task,
    settings: Settings,
    start: Params,
    validation: Callable[[Params], float] | None,
    start_decays: Matrix | None = None,
) -> Fitted:
    """Fit once from one start; `validation` is lower for better parameters."""
    if settings.alpha in ("evidence", "relevance"):
        fitted = _by_evidence(task, settings, start, validation, start_decays)
        if settings.solver == "auto":
            return fitted
        objective = fitted.objective.with_start(start)  # another solver was asked for: it trains with these decays
        solution = _solve(objective, settings.solver, settings, validation)
        return dataclasses.replace(fitted, solution=solution, objective=objective)
    decay = float(settings.alpha) / task.weights.sum()
    objective = objective_of(task, start, [{"weight": decay, "bias": 0.0} for _ in start])
    return Fitted(_solve(objective, settings.solver, settings, validation), objective)


def _solve(objective: Objective, solver: str | Solver, settings: Settings, validation: Any) -> Solution:
    callback = None if validation is None else _Patience(settings.patience)
    solution = solve(
        objective,
        solver,
        until=settings.until,
        validation=validation,
        callback=callback,
        progress=settings.progress,
        throw=False,
    )
    return _kept(solution, objective)


def _kept(solution: Solution, objective: Objective, params: Params | None = None) -> Solution:
    """The solution at its best validation score, or at `params`; without the solver's state, which holds the data."""
    params = solution.best_params if params is None else params
    if params is None:
        return dataclasses.replace(solution, params=_numpy(solution.params), state=None)
    w = np.asarray(objective.flatten(params))
    loss, slope = objective.value_and_gradient(w)
    norm = float(np.linalg.norm(np.asarray(slope)))
    best = None if solution.best_params is None else _numpy(solution.best_params)
    return dataclasses.replace(
        solution, params=_numpy(params), w=w, loss=float(loss), gradient_norm=norm, best_params=best, state=None
    )


def _numpy(params: Params) -> Params:
    return jax.tree.map(np.asarray, params)


class _Patience:
    """Ends a run after so many steps without a better validation score."""

    def __init__(self, patience: int) -> None:
        self._patience = patience
        self._best = np.inf
        self._idle = 0

    def __call__(self, step: Step) -> bool:
        score = step.row["validation"]
        self._idle = 0 if score < self._best else self._idle + 1
        self._best = min(self._best, score)
        return self._idle > self._patience


# ---- the evidence


def _by_evidence(
    task: Task,
    settings: Settings,
    start: Params,
    validation: Callable[[Params], float] | None,
    start_decays: Matrix | None,
) -> Fitted:
    groups, count = groups_of(start, settings.alpha == "relevance")
    objective = objective_of(task, start)
    decays = np.full(count, START * task.weights.sum()) if start_decays is None else start_decays
    method = Evidence(jnp.asarray(groups), count, float(task.weights.sum()), task.loss == "squared", decays)
    solution = solve(
        objective,
        method,
        until=settings.until,
        validation=validation,
        callback=None if validation is None else _Patience(settings.patience + 25),
        progress=settings.progress,
        throw=False,
    )
    best = solution.state.state.best
    objective = objective.with_decay(method.decay(best.log_lambda))
    params = solution.best_params if validation is not None else objective.unflatten(best.w)
    kept = _kept(solution, objective, params)
    beta = float(np.exp(best.log_beta)) if task.loss == "squared" else 1.0
    factor = _posterior_factor(objective, kept.w, beta * float(task.weights.sum()))
    evidence = float(solution.state.state.best_evidence)
    noise = 1.0 / beta if task.loss == "squared" else None
    return Fitted(kept, objective, evidence, np.exp(np.asarray(best.log_lambda)), noise, np.asarray(factor))


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


@jax.jit
def _posterior_factor(objective: Objective, w: jax.Array, scale: Any) -> jax.Array:
    """C with C C' = (beta N (G + decay))^-1, the covariance of the weights in Laplace's approximation."""
    root = jnp.sqrt(objective.decay)
    a = derivatives.scaled_jacobian(objective, w) / root
    lower = jnp.linalg.cholesky(a.T @ a + jnp.eye(w.shape[0], dtype=w.dtype))
    inverse = jax.scipy.linalg.solve_triangular(lower, jnp.eye(w.shape[0], dtype=w.dtype), lower=True)
    return (inverse / root).T / jnp.sqrt(scale)


# ---- using what was fitted


def outputs(params: Params, activation: str, X: Matrix) -> Matrix:
    """Outputs of the network, (N, k), in NumPy: nothing is compiled to predict."""
    for layer in params[:-1]:
        X = ACTIVATIONS[activation](X @ layer["weight"].T + layer["bias"])
    return X @ params[-1]["weight"].T + params[-1]["bias"]


def covariances(network: MLP, params: Params, factor: Matrix, X: Matrix) -> Matrix:
    """Covariance of the outputs of each sample under the posterior of the weights, (N, k, k)."""
    parts = []
    for begin in range(0, len(X), BATCH):
        part = X[begin : begin + BATCH]
        padded = np.pad(part, ((0, BATCH - len(part)), (0, 0)))
        parts.append(np.asarray(_covariances(network, params, factor, padded))[: len(part)])
    return np.concatenate(parts)


def _covariances_of(network: MLP, params: Params, factor: Any, X: Any) -> jax.Array:
    def one(x: jax.Array) -> jax.Array:
        rows = jax.jacrev(network)(params, x)
        flat = jnp.concatenate([leaf.reshape(network.sizes[-1], -1) for leaf in jax.tree.leaves(rows)], axis=1)
        half = flat @ factor
        return half @ half.T

    return jax.lax.map(one, X, batch_size=32)


_covariances = jax.jit(_covariances_of, static_argnums=0)
