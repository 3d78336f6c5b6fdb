"""Gradient descent and its variants from Optax, to compare with: the whole loop is compiled."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from stiffgrad import _checks
from stiffgrad.objective import Objective, derivatives
from stiffgrad.solvers._compiled import DIVERGED, STALLED, SteppedSolver

EXPLODED = 1e6  # diverged: the loss is this many times the first one plus one


class _Method(NamedTuple):
    """One of Optax's methods: its default learning rate, one line, its paper, and how it is made."""

    learning_rate: float
    summary: str
    source: str
    make: Callable[[Descent, Any], optax.GradientTransformation]


METHODS: dict[str, _Method] = {
    "sgd": _Method(
        0.1,
        "gradient descent: explicit Euler on the flow, with the learning rate as its step",
        "Cauchy 1847",
        lambda s, rate: optax.sgd(rate),
    ),
    "momentum": _Method(
        0.1,
        "gradient descent with momentum",
        "Polyak 1964",
        lambda s, rate: optax.sgd(rate, momentum=s.momentum),
    ),
    "nesterov": _Method(
        0.1,
        "gradient descent with Nesterov's momentum",
        "Nesterov 1983; Sutskever et al. 2013",
        lambda s, rate: optax.sgd(rate, momentum=s.momentum, nesterov=True),
    ),
    "adagrad": _Method(
        0.1,
        "a learning rate for each weight, from the sum of its squared gradients",
        "Duchi, Hazan and Singer 2011",
        lambda s, rate: optax.adagrad(rate),
    ),
    "adadelta": _Method(
        1.0,
        "steps in the units of the weights, from moving averages",
        "Zeiler 2012",
        lambda s, rate: optax.adadelta(rate),
    ),
    "rmsprop": _Method(
        0.003,
        "a learning rate for each weight, from a moving average of its squared gradients",
        "Hinton 2012",
        lambda s, rate: optax.rmsprop(rate),
    ),
    "adam": _Method(
        0.003,
        "momentum, and a learning rate for each weight",
        "Kingma and Ba 2015",
        lambda s, rate: optax.adam(rate),
    ),
    "adamw": _Method(
        0.003,
        "Adam with decoupled weight decay (Optax's 1e-4), so it ends beside the minimum of the objective",
        "Loshchilov and Hutter 2019",
        lambda s, rate: optax.adamw(rate),
    ),
    "nadam": _Method(
        0.003,
        "Adam with Nesterov's momentum",
        "Dozat 2016",
        lambda s, rate: optax.nadam(rate),
    ),
}


class DescentState(NamedTuple):
    """Weights, what is known there, and Optax's own state."""

    w: jax.Array
    gradient: jax.Array
    loss: jax.Array
    gradient_norm: jax.Array
    inner: Any
    steps: jax.Array
    exploded: jax.Array  # a loss above this is divergence
    key: jax.Array


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["learning_rate", "momentum", "seed"],
    meta_fields=["method", "batch_size"],
)
@dataclasses.dataclass(frozen=True)
class Descent(SteppedSolver[DescentState]):
    """A method of gradient descent from Optax, with a constant learning rate; the whole loop is compiled.

    A full-batch step costs exactly one loss and gradient, at the new weights: the loss recorded belongs to the weights
    recorded. With `batch_size` one row of the trace is one epoch: every sample is presented once, in a new order, then
    the loss of the full batch is evaluated once (so two presentations an epoch); the gradient norm is not known then.

    Parameters
    ----------
    method : str
        A key of `METHODS`: "sgd", "momentum", "nesterov", "adagrad", "adadelta", "rmsprop", "adam", "adamw", "nadam".
    learning_rate : float, optional
        Positive; the step in flow time for "sgd". None: a default for each method. Another one does not recompile.
    momentum : float
        For "momentum" and "nesterov".
    batch_size : int, optional
        Samples a step; the last batch of an epoch may be smaller. None: all.
    seed : int
        Of the shuffling.

    Raises
    ------
    ValueError
        For an unknown method, a number out of range, or mini-batches of an objective with several terms.

    Examples
    --------
    >>> from stiffgrad import Until, minimise, solve
    >>> bowl = minimise(lambda w: 0.5 * (w**2).sum(), np.array([1.0, 2.0]))
    >>> solution = solve(bowl, Descent("sgd", learning_rate=0.5), until=Until(steps=2))
    >>> solution.w.tolist(), solution.statistics.rhs_evaluations
    ([0.25, 0.5], 3)
    """

    method: str = "sgd"
    learning_rate: Any = None
    momentum: Any = 0.9
    batch_size: int | None = None
    seed: Any = 0

    name = "descent"
    family = "descent"
    summary = "Optax's gradient descent and variants, with a learning rate to choose"
    source = "Optax"
    columns: ClassVar[tuple[str, ...]] = (
        "flow_time",
        "step_size",
        "loss",
        "gradient_norm",
        "steps",
        "rhs_evaluations",
        "loss_evaluations",
        "presentations",
    )
    reasons: ClassVar[dict[int, str]] = {
        STALLED: "a step no longer changes the loss: the learning rate times the gradient is below rounding",
        DIVERGED: f"the loss exceeds {EXPLODED:g} times the first one: lower learning_rate",
    }

    def __post_init__(self) -> None:
        _checks.choice("method", self.method, tuple(METHODS))
        chosen = METHODS[self.method]
        values: dict[str, Any] = {"name": self.method, "summary": chosen.summary, "source": chosen.source}
        if self.learning_rate is None:
            values["learning_rate"] = chosen.learning_rate
        elif isinstance(self.learning_rate, int | np.number) and not isinstance(self.learning_rate, bool):
            values["learning_rate"] = float(self.learning_rate)  # one type, so one compilation
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def check(self, objective: Objective) -> None:
        """Raise where an option cannot be used, before anything is compiled."""
        _checks.positive("learning_rate", self.learning_rate)
        _checks.number("momentum", self.momentum, least=0.0, below=1.0)
        _checks.whole("seed", self.seed, most=2**63 - 1)
        if self.batch_size is None:
            return
        _checks.whole("batch_size", self.batch_size, 1, objective.samples, remedy="None takes all samples")
        if len(objective.blocks) > 1 or objective.blocks[0].chunked:
            raise ValueError("batch_size needs an objective of one term without chunk_samples; use batch_size=None")

    def initial(self, objective: Objective, w: jax.Array) -> tuple[DescentState, dict[str, Any]]:
        """The loss and gradient at the start; the loss alone with mini-batches."""
        if self.batch_size is None:
            loss, gradient = derivatives.value_and_gradient(objective, w)
            norm = jnp.linalg.norm(gradient)
        else:
            loss, gradient = derivatives.value(objective, w), jnp.zeros_like(w)
            norm = jnp.full_like(loss, jnp.nan)
        zero = jnp.zeros((), jnp.int64)
        exploded = EXPLODED * (jnp.abs(loss) + 1.0)
        inner = self._transformation(w).init(w)
        key = jax.random.key(self.seed)
        state = DescentState(w, gradient, loss, norm, inner, zero, exploded, key)
        return state, self._row(objective, state, zero)

    def step(self, objective: Objective, state: DescentState) -> tuple[DescentState, dict[str, Any]]:
        """One update; with mini-batches an epoch of them."""
        if self.batch_size is not None:
            return self._epoch(objective, state, self.batch_size)
        w, inner = self._update(state.gradient, state.inner, state.w)
        loss, gradient = derivatives.value_and_gradient(objective, w)
        norm = jnp.linalg.norm(gradient)
        after = state._replace(
            w=w,
            gradient=gradient,
            loss=loss,
            gradient_norm=norm,
            inner=inner,
            steps=state.steps + 1,
        )
        ended = self._exploded(after)
        if self.method == "sgd":  # no memory: equal numbers mean that nothing moves any more
            ended = jnp.where((loss == state.loss) & (norm == state.gradient_norm), STALLED, ended)
        return after, self._row(objective, after, ended)

    def weights(self, state: DescentState) -> jax.Array:
        """The flat weights."""
        return state.w

    def _transformation(self, w: jax.Array) -> optax.GradientTransformation:
        return METHODS[self.method].make(self, jnp.asarray(self.learning_rate, w.dtype))

    def _update(self, gradient: jax.Array, inner: Any, w: jax.Array) -> tuple[jax.Array, Any]:
        change, inner = self._transformation(w).update(gradient, inner, w)
        return w + change, inner

    def _epoch(self, objective: Objective, state: DescentState, size: int) -> tuple[DescentState, dict[str, Any]]:
        """Every sample once, in a new order, then the loss over all."""
        count = objective.blocks[0].coefficients.shape[0]
        batches = -(-count // size)
        key, order = jax.random.split(state.key)
        indices = jnp.pad(jax.random.permutation(order, count), (0, batches * size - count), constant_values=-1)

        def one(carry: Any, chosen: jax.Array) -> tuple[Any, None]:
            w, inner = carry
            gradient = derivatives.gradient(_batch(objective, chosen), w)
            return self._update(gradient, inner, w), None

        (w, inner), _ = jax.lax.scan(one, (state.w, state.inner), indices.reshape(batches, size))
        after = state._replace(
            w=w,
            loss=derivatives.value(objective, w),
            inner=inner,
            steps=state.steps + batches,
            key=key,
        )
        return after, self._row(objective, after, self._exploded(after))

    def _exploded(self, state: DescentState) -> jax.Array:
        return jnp.where(state.loss <= state.exploded, 0, DIVERGED)  # NaN explodes, too

    def _row(self, objective: Objective, state: DescentState, ended: jax.Array) -> dict[str, Any]:
        if self.batch_size is None:
            gradients = presentations = state.steps + 1
            losses = jnp.zeros_like(gradients)
        else:
            epochs = state.steps // -(-objective.blocks[0].coefficients.shape[0] // self.batch_size)
            gradients, losses = state.steps, epochs + 1
            presentations = epochs + losses
        return {
            "flow_time": state.steps * self.learning_rate if self.method == "sgd" else jnp.nan,
            "step_size": self.learning_rate,
            "loss": state.loss,
            "gradient_norm": state.gradient_norm,
            "steps": state.steps,
            "rhs_evaluations": gradients,
            "loss_evaluations": losses,
            "presentations": presentations,
            "ended": ended,
        }


def _batch(objective: Objective, chosen: jax.Array) -> Objective:
    """The objective over some samples, its mean an unbiased estimate of the whole; index -1 is padding."""
    block = objective.blocks[0]
    used = chosen >= 0
    take = jnp.where(used, chosen, 0)
    samples, targets = jax.tree.map(lambda leaf: leaf[take], (block.samples, block.targets))
    scale = block.coefficients.shape[0] / jnp.sum(used)
    coefficients = jnp.where(used, block.coefficients[take] * scale, 0.0)
    part = copy.copy(objective)
    part.blocks = (
        dataclasses.replace(block, samples=samples, targets=targets, coefficients=coefficients.astype(part.w0.dtype)),
    )
    return part
