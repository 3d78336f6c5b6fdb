"""The peers: Levenberg-Marquardt and quasi-Newton codes that people use for small networks today.

Optimistix's solvers and SSBroyden run through their public `init`, `step` and `terminate` inside our compiled loop, so
they are compiled, warmed up and stopped exactly as ours are. Their own tolerances are as tight as they go: a run ends
by itself only where a step changes nothing any more.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import equinox
import jax
import jax.numpy as jnp
import lineax
import numpy as np
import optax
import optimistix
import ssbroyden_optimistix
from numpy.typing import NDArray

from stiffgrad import _checks
from stiffgrad.flow import Flow
from stiffgrad.objective import Objective, derivatives
from stiffgrad.solvers._base import Monitor, Solver, check_sum_of_squares, has_decay, require_matrices
from stiffgrad.solvers._compiled import FAILED, STALLED, CompiledRun, SteppedSolver

REJECTIONS = 200  # steps in a row that may be rejected; halving 60 times changes no number of float64 any more


class PeerState(NamedTuple):
    """Accepted weights, the arrays of Optimistix's state, and how often its `step` was called."""

    w: jax.Array
    inner: Any
    calls: jax.Array


@dataclasses.dataclass(frozen=True)
class OptimistixSolver(SteppedSolver[PeerState], abc.ABC):
    """A solver with Optimistix's interface in our compiled loop: one row an accepted step.

    Each call of its `step` evaluates one trial point; our step repeats it until a trial is accepted.
    """

    family = "descent"
    columns: ClassVar[tuple[str, ...]] = (
        "step_size",
        "loss",
        "gradient_norm",
        "steps",
        "rejected_steps",
        "rhs_evaluations",
        "loss_evaluations",
        "jacobian_evaluations",
        "factorizations",
        "linear_solves",
        "presentations",
    )
    reasons: ClassVar[dict[int, str]] = {
        STALLED: "its steps change nothing any more",
        FAILED: "Optimistix reports a failed linear solve or line search",
    }

    @abc.abstractmethod
    def peer(self, dtype: Any) -> Any:
        """The Optimistix solver, its tolerances below anything that the number type can tell."""

    @abc.abstractmethod
    def function(self, objective: Objective, w: jax.Array) -> jax.Array:
        """What it minimises: the loss, or the residual."""

    @abc.abstractmethod
    def known(self, objective: Objective, inner: Any) -> tuple[Any, Any]:
        """Loss and gradient norm at the accepted weights, from Optimistix's state."""

    @abc.abstractmethod
    def flow_step(self, inner: Any) -> Any:
        """The step in flow time that its next trial takes; NaN where a trial is no step along the flow."""

    @abc.abstractmethod
    def counts(self, objective: Objective, calls: Any, accepted: Any) -> dict[str, Any]:
        """What that many calls of `step` evaluated; `accepted` of them were accepted, the start among them."""

    def initial(self, objective: Objective, w: jax.Array) -> tuple[PeerState, dict[str, Any]]:
        """Optimistix's initial state and the call of its `step` that evaluates the start."""
        inner = self._start(objective, w)
        w, inner = self._call(objective, w, inner)
        state = PeerState(w, equinox.filter(inner, equinox.is_array), jnp.asarray(1))
        return state, self._row(objective, state, inner, jnp.nan, 0)

    def step(self, objective: Objective, state: PeerState) -> tuple[PeerState, dict[str, Any]]:
        """Call Optimistix's `step` until it accepts a trial, ends, or has rejected too many."""
        frame = equinox.filter(self._start(objective, state.w), equinox.is_array, inverse=True)
        before = equinox.combine(frame, state.inner)
        most = state.calls + REJECTIONS

        def going(carry: Any) -> Any:
            _, inner, calls, _ = carry
            inner = equinox.combine(frame, inner)
            waiting = inner.num_accepted_steps == before.num_accepted_steps
            return waiting & (self._ended(inner) == 0) & (calls < most)

        def trial(carry: Any) -> Any:
            w, inner, calls, _ = carry
            inner = equinox.combine(frame, inner)
            used = self.flow_step(inner)
            w, inner = self._call(objective, w, inner)
            return w, equinox.filter(inner, equinox.is_array), calls + 1, used

        first = (state.w, state.inner, state.calls, self.flow_step(before))
        w, arrays, calls, used = jax.lax.while_loop(going, trial, first)
        inner = equinox.combine(frame, arrays)
        after = PeerState(w, arrays, calls)
        ended = jnp.where(calls >= most, STALLED, self._ended(inner))
        return after, self._row(objective, after, inner, used, ended)

    def weights(self, state: PeerState) -> jax.Array:
        """The accepted weights."""
        return state.w

    @property
    def _options(self) -> dict[str, Any]:
        return {}

    def _fn(self) -> Callable[[Any, Any], tuple[Any, None]]:
        return lambda w, objective: (self.function(objective, w), None)

    def _start(self, objective: Objective, w: jax.Array) -> Any:
        shape = jax.eval_shape(lambda w: self.function(objective, w), w)
        return self.peer(w.dtype).init(self._fn(), w, objective, self._options, shape, None, frozenset())

    def _call(self, objective: Objective, w: jax.Array, inner: Any) -> tuple[jax.Array, Any]:
        w, inner, _ = self.peer(w.dtype).step(self._fn(), w, objective, self._options, inner, frozenset())
        return w, inner

    def _ended(self, inner: Any) -> jax.Array:
        failed = inner.result != optimistix.RESULTS.successful
        return jnp.where(failed, FAILED, jnp.where(inner.terminate, STALLED, 0))

    def _row(self, objective: Objective, state: PeerState, inner: Any, used: Any, ended: Any) -> dict[str, Any]:
        accepted = inner.num_accepted_steps
        loss, norm = self.known(objective, inner)
        row = {
            **dict.fromkeys(self.columns, jnp.nan),
            "step_size": used,
            "loss": loss,
            "gradient_norm": norm,
            "steps": accepted - 1,
            "rejected_steps": state.calls - accepted,
            "ended": ended,
        }
        return {**row, **self.counts(objective, state.calls, accepted)}


def _tolerances(dtype: Any) -> tuple[float, float]:
    # Zero would be compared as 0/0; with the smallest number a run ends where weights and loss stay exactly the same.
    return 0.0, float(jnp.finfo(dtype).tiny)  # relative, absolute


def _check_float64(objective: Objective, name: str) -> None:
    if objective.w0.dtype != jnp.float64:
        raise ValueError(f"dtype={objective.w0.dtype.name!r}: {name!r} mixes in float64 numbers; use dtype='float64'")


@dataclasses.dataclass(frozen=True)
class _Minimiser(OptimistixSolver, abc.ABC):
    """One that minimises the loss itself, along directions that are no steps of the flow."""

    def function(self, objective: Objective, w: jax.Array) -> jax.Array:
        """E(w)."""
        return derivatives.value(objective, w)

    def known(self, objective: Objective, inner: Any) -> tuple[Any, Any]:
        """From its state."""
        return inner.f_info.f, jnp.linalg.norm(inner.f_info.grad)

    def flow_step(self, inner: Any) -> Any:
        """None along the flow."""
        return jnp.asarray(jnp.nan)


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class OptimistixBFGS(_Minimiser):
    """Optimistix's BFGS with its defaults: dense inverse matrix and a backtracking line search.

    A rejected trial costs a loss, an accepted one its gradient as well.

    Examples
    --------
    >>> from stiffgrad import Until, minimise, solve
    >>> bowl = minimise(lambda w: 0.5 * (w**2).sum(), np.array([1.0, 2.0]))
    >>> solve(bowl, OptimistixBFGS(), until=Until(loss=1e-12)).statistics.steps
    1
    """

    name = "optimistix-bfgs"
    summary = "Optimistix's BFGS, compiled, with a backtracking line search"
    source = "Nocedal and Wright 2006, section 6.1; optimistix.BFGS"

    def check(self, objective: Objective) -> None:
        """Refuse problems whose dense matrix does not fit into memory."""
        require_matrices(objective, self.name, square=4)

    def peer(self, dtype: Any) -> Any:
        """BFGS, as a user would make it."""
        return optimistix.BFGS(*_tolerances(dtype))

    def counts(self, objective: Objective, calls: Any, accepted: Any) -> dict[str, Any]:
        """Gradients of accepted trials, losses of the others."""
        return {"rhs_evaluations": accepted, "loss_evaluations": calls - accepted, "presentations": calls}


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class SSBroyden(_Minimiser):
    """Self-scaled Broyden with the defaults of ssbroyden-optimistix: dense inverse matrix, Zoom line search.

    Every trial costs a loss and a gradient.
    """

    name = "ssbroyden"
    summary = "self-scaled Broyden with a Wolfe line search, compiled"
    source = "Bioli and Mendibe Abarrategi 2026 (arXiv:2603.10599); ssbroyden_optimistix.SSBroyden"

    def check(self, objective: Objective) -> None:
        """It does not run in float32 while JAX allows float64."""
        _check_float64(objective, self.name)
        require_matrices(objective, self.name, square=5)

    def peer(self, dtype: Any) -> Any:
        """SSBroyden, as a user would make it."""
        return ssbroyden_optimistix.SSBroyden(*_tolerances(dtype))

    def counts(self, objective: Objective, calls: Any, accepted: Any) -> dict[str, Any]:
        """A gradient for each trial."""
        return {"rhs_evaluations": calls, "loss_evaluations": 0 * calls, "presentations": calls}


class LBFGSState(NamedTuple):
    """Weights and Optax's state, in which loss and gradient at the weights lie; counts are cumulative."""

    w: jax.Array
    inner: Any
    steps: jax.Array
    evaluations: jax.Array


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class OptaxLBFGS(SteppedSolver[LBFGSState]):
    """Optax's L-BFGS with its defaults: the last ten steps, and a zoom line search for the strong Wolfe conditions.

    Every trial of the line search costs a loss and a gradient.

    Examples
    --------
    >>> from stiffgrad import Until, minimise, solve
    >>> valley = minimise(lambda w: (1 - w[0]) ** 2 + 100 * (w[1] - w[0] ** 2) ** 2, np.array([-1.0, 1.0]))
    >>> solve(valley, OptaxLBFGS(), until=Until(loss=1e-12)).outcome.success
    True
    """

    name = "optax-lbfgs"
    family = "descent"
    summary = "Optax's L-BFGS, compiled, with a zoom line search"
    source = "Nocedal and Wright 2006, algorithms 7.5 and 3.5; optax.lbfgs"
    columns: ClassVar[tuple[str, ...]] = ("loss", "gradient_norm", "steps", "rhs_evaluations", "presentations")
    reasons: ClassVar[dict[int, str]] = {STALLED: "its line search finds nothing lower"}

    def initial(self, objective: Objective, w: jax.Array) -> tuple[LBFGSState, dict[str, Any]]:
        """Evaluate at the start; Optax's state then hands both on."""
        loss, gradient = derivatives.value_and_gradient(objective, w)
        *memory, search = optax.lbfgs().init(w)
        inner = (*memory, search._replace(value=loss, grad=gradient))
        # Strong types from the start: a loop that meets others in its second call compiles again.
        inner = jax.tree.map(lambda leaf: jax.lax.convert_element_type(leaf, jnp.result_type(leaf)), inner)
        state = LBFGSState(w, inner, jnp.asarray(0), jnp.asarray(1))
        return state, self._row(state, jnp.asarray(0))

    def step(self, objective: Objective, state: LBFGSState) -> tuple[LBFGSState, dict[str, Any]]:
        """One update along one line search."""
        known = {"value": state.inner[-1].value, "grad": state.inner[-1].grad}
        updates, inner = optax.lbfgs().update(
            known["grad"], state.inner, state.w, **known, value_fn=lambda w: derivatives.value(objective, w)
        )
        inner = jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), inner, state.inner)
        trials = inner[-1].info.num_linesearch_steps
        after = LBFGSState(state.w + updates, inner, state.steps + 1, state.evaluations + trials)
        now = {"value": inner[-1].value, "grad": inner[-1].grad}
        flat = ~(now["value"] < known["value"])
        resting = flat & ~(jnp.linalg.norm(now["grad"]) < 0.9 * jnp.linalg.norm(known["grad"]))
        return after, self._row(after, jnp.where(resting, STALLED, 0))

    def weights(self, state: LBFGSState) -> jax.Array:
        """The weights."""
        return state.w

    def _row(self, state: LBFGSState, ended: Any) -> dict[str, Any]:
        search = state.inner[-1]
        return {
            "loss": search.value,
            "gradient_norm": jnp.linalg.norm(search.grad),
            "steps": state.steps,
            "rhs_evaluations": state.evaluations,
            "presentations": state.evaluations,
            "ended": ended,
        }


LINEAR_SOLVERS: dict[str, Callable[[], Any]] = {
    "qr": lineax.QR,
    "cholesky": lambda: lineax.Normal(lineax.Cholesky()),
    "lsmr": lambda: lineax.LSMR(rtol=1e-6, atol=1e-6),
}
JACOBIANS = ("auto", "forward", "reverse")


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class _LevenbergMarquardt(OptimistixSolver):
    """The compiled part of `LevenbergMarquardt`, which knows whether there is weight decay."""

    linear_solver: str
    reverse: bool
    decayed: bool

    name = "levenberg-marquardt"
    summary = "Optimistix's Levenberg-Marquardt, compiled"
    source = "optimistix.LevenbergMarquardt"

    def peer(self, dtype: Any) -> Any:
        """Levenberg-Marquardt, as a user would make it."""
        solver = LINEAR_SOLVERS[self.linear_solver]()
        return optimistix.LevenbergMarquardt(*_tolerances(dtype), linear_solver=solver)

    def function(self, objective: Objective, w: jax.Array) -> jax.Array:
        """The residual r with E = 1/2 |r|^2, flat; weight decay adds the rows sqrt(decay) w."""
        rows = derivatives.residual(objective, w)
        return jnp.concatenate([rows, jnp.sqrt(objective.decay) * w]) if self.decayed else rows

    def known(self, objective: Objective, inner: Any) -> tuple[Any, Any]:
        """From its residual, and one product with its transposed Jacobian."""
        info = inner.f_info
        return 0.5 * jnp.sum(info.residual**2), jnp.linalg.norm(info.jac.transpose().mv(info.residual))

    def flow_step(self, inner: Any) -> Any:
        """The inverse of the damping: it is linearly implicit Euler on the flow."""
        return inner.search_state.step_size

    def counts(self, objective: Objective, calls: Any, accepted: Any) -> dict[str, Any]:
        """Every call evaluates the residual, and forms and factorises a Jacobian, after a rejection too."""
        outputs = -(-objective.rows // objective.samples)
        row = dict.fromkeys(("loss_evaluations", "jacobian_evaluations"), calls)
        if self.linear_solver != "lsmr":  # which is iterative, and does not tell how often
            row |= {"factorizations": calls, "linear_solves": calls}
        return {**row, "presentations": calls * (1 + outputs)}

    @property
    def _options(self) -> dict[str, Any]:
        return {"jac": "bwd" if self.reverse else "fwd"}


@dataclasses.dataclass(frozen=True)
class LevenbergMarquardt(Solver):
    """Optimistix's Levenberg-Marquardt, for sums of squares.

    `step_size` is the inverse damping, a step in flow time: the method is linearly implicit Euler on the flow. A
    Jacobian counts as many presentations as there are outputs, by our convention, although Optimistix takes a pass
    over all samples for each weight or residual.

    Parameters
    ----------
    linear_solver : str
        "qr" is Optimistix's default; "cholesky" solves the normal equations, and is not faster here: forming the
        Jacobian dominates; "lsmr" is matrix-free, with cheap steps that stop making progress before deep targets.
    jacobian : str
        Optimistix's option: "forward" mode, its default; "reverse" mode; "auto" takes the cheaper, which is reverse
        mode where there are fewer residuals than weights.

    Raises
    ------
    ValueError
        For another loss than "squared", or an unknown option.

    Examples
    --------
    >>> from stiffgrad import Until, least_squares, solve
    >>> line = least_squares(lambda p, s: p["k"] * s[0] - s[1], {"k": 0.0}, np.array([[1.0, 2.0], [2.0, 4.0]]))
    >>> solve(line, LevenbergMarquardt(), until=Until(loss=1e-12)).outcome.success
    True
    """

    linear_solver: str = "qr"
    jacobian: str = "auto"

    name = "levenberg-marquardt"
    family = "descent"
    summary = "Optimistix's Levenberg-Marquardt, compiled; squared losses only"
    source = "Levenberg 1944; Marquardt 1963; optimistix.LevenbergMarquardt"
    squares_only = True

    def start(self, flow: Flow, w: NDArray[np.float64]) -> CompiledRun:
        """Compile the initial evaluation and the loop."""
        check_sum_of_squares(flow.objective, self.name)
        _check_float64(flow.objective, self.name)
        _checks.choice("linear_solver", self.linear_solver, tuple(LINEAR_SOLVERS))
        _checks.choice("jacobian", self.jacobian, JACOBIANS)
        decayed = has_decay(flow.objective)
        rows = flow.objective.rows + decayed * flow.size
        reverse = self.jacobian == "reverse" or (self.jacobian == "auto" and rows < flow.size)
        if self.linear_solver != "lsmr":
            require_matrices(flow.objective, self.name, tall=4.0, products=0.5 * (rows if reverse else flow.size))
        return _LevenbergMarquardt(self.linear_solver, reverse, decayed).start(flow, w)

    def advance(self, state: CompiledRun, monitor: Monitor) -> CompiledRun:
        """Run one chunk."""
        state.run_chunk(monitor)
        return state
