"""Diffrax's Tsit5, Kvaerno5 and implicit Euler, a step at a time inside one compiled loop, with its PID controller."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import optimistix as optx

from stiffgrad import _checks
from stiffgrad.objective import Objective, derivatives
from stiffgrad.solvers._base import require_matrices
from stiffgrad.solvers._compiled import FAILED, STALLED, STATIONARY, SteppedSolver
from stiffgrad.solvers._ode import LOOSE, REST

PATIENCE = 1000  # steps without progress after which the flow rests
LONGEST = 1e30  # step, finite in float32 too
MAX_REJECTIONS = 100  # in a row
SHOWN = ("flow_time", "step_size", "order", "loss", "gradient_norm")
COUNTED = ("steps", "rejected_steps", "error_test_failures", "rhs_evaluations", "loss_evaluations", "presentations")
EXPLICIT = (*SHOWN, *COUNTED)
NEWTON = ("newton_iterations", "newton_failures", "jacobian_evaluations", "factorizations", "linear_solves")


class DiffraxState(NamedTuple):
    """Where a run is; every count is cumulative."""

    w: jax.Array
    slope: jax.Array  # F(w), or the last stage's value of it where the method goes on with that
    step_size: jax.Array  # of the next attempt
    control: Any  # of Diffrax's controller
    flow_time: jax.Array
    steps: jax.Array
    attempts: jax.Array
    newton_failures: jax.Array
    newton_iterations: jax.Array
    rhs_evaluations: jax.Array
    lowest_loss: jax.Array
    lowest_norm: jax.Array
    largest_norm: jax.Array
    waited: jax.Array


class Attempt(NamedTuple):
    """One attempted step, accepted or not."""

    w: jax.Array
    error: jax.Array
    slope: jax.Array
    rhs_evaluations: Any
    newton_iterations: Any
    converged: Any


VectorField = Callable[[Any, Any, Any], Any]


@dataclasses.dataclass(frozen=True)
class DiffraxSolver(SteppedSolver[DiffraxState], abc.ABC):
    """The loop that all Diffrax methods share: attempt, ask the controller, record.

    Parameters
    ----------
    rtol : float
        Relative tolerance of Diffrax's controller, and of its Newton iterations; not a `ToleranceSchedule`.
    atol : float
        Absolute tolerance of both.
    """

    rtol: float = LOOSE
    atol: float = LOOSE

    family: ClassVar[str] = "Diffrax"
    order: ClassVar[int]
    error_order: ClassVar[int]
    matrices: ClassVar[int]  # Jacobians formed and factorised in each attempt
    reasons: ClassVar[dict[int, str]] = {
        STATIONARY: f"no progress in {PATIENCE} steps",
        STALLED: f"no progress in {PATIENCE} steps: the tolerances hide any further decrease",
        FAILED: f"{MAX_REJECTIONS} attempts at one step were rejected",
    }

    @property
    def follows_flow(self) -> bool:
        return True

    @abc.abstractmethod
    def attempt(self, field: VectorField, w: jax.Array, slope: jax.Array, h: jax.Array) -> Attempt:
        """One step of size h from w, with `slope` = F(w), by Diffrax."""

    def check(self, objective: Objective) -> None:
        """Raise ValueError or TypeError for a tolerance that is no positive number."""
        _checks.positive("rtol", self.rtol)
        _checks.positive("atol", self.atol)
        if self.matrices:
            require_matrices(objective, self.name, square=6, products=1.2 * objective.size)

    def weights(self, state: DiffraxState) -> jax.Array:
        """The flat weights."""
        return state.w

    def _controller(self) -> diffrax.PIDController:
        return diffrax.PIDController(rtol=self.rtol, atol=self.atol, error_order=self.error_order, dtmax=LONGEST)

    def initial(self, objective: Objective, w: jax.Array) -> tuple[DiffraxState, dict[str, Any]]:
        """Evaluate at the start, and once more to size the first step."""
        loss, gradient = derivatives.value_and_gradient(objective, w)
        norm = jnp.linalg.norm(gradient)

        def slope(terms: Any, t: Any, y: Any, args: Any) -> jax.Array:
            return -derivatives.gradient(objective, y)

        step_size, control = self._controller().init(
            diffrax.ODETerm(lambda t, y, args: y), jnp.zeros((), w.dtype), 1.0, w, None, None, slope, self.error_order
        )
        none = jnp.asarray(0.0)
        infinite = jnp.asarray(jnp.inf, w.dtype)
        state = DiffraxState(
            w=w,
            slope=-gradient,
            step_size=jnp.asarray(step_size, w.dtype),
            control=jax.tree.map(jnp.asarray, control),
            flow_time=none,
            steps=none,
            attempts=none,
            newton_failures=none,
            newton_iterations=none,
            rhs_evaluations=none + 3,  # the controller evaluates twice
            lowest_loss=infinite,
            lowest_norm=infinite,
            largest_norm=norm,
            waited=none,
        )
        # Strong types from the start: a loop that meets others in its second call compiles again.
        state = jax.tree.map(lambda leaf: jax.lax.convert_element_type(leaf, leaf.dtype), state)
        return state, self._row(objective, state, loss, norm, 0.0)

    def _row(self, objective: Objective, state: DiffraxState, loss: Any, norm: Any, h: Any) -> dict[str, Any]:
        rejected = state.attempts - state.steps
        resting = state.waited >= PATIENCE
        ended = jnp.where(resting, jnp.where(norm <= REST * state.largest_norm, STATIONARY, STALLED), 0)
        matrices = state.attempts * self.matrices
        return {
            "flow_time": state.flow_time,
            "step_size": h,
            "order": self.order,
            "loss": loss,
            "gradient_norm": norm,
            "steps": state.steps,
            "rejected_steps": rejected,
            "error_test_failures": rejected - state.newton_failures,
            "rhs_evaluations": state.rhs_evaluations,
            "loss_evaluations": state.steps,
            "presentations": state.rhs_evaluations + state.steps + 2 * objective.size * matrices,
            "newton_iterations": state.newton_iterations,
            "newton_failures": state.newton_failures,
            "jacobian_evaluations": matrices,
            "factorizations": matrices,
            "linear_solves": state.newton_iterations,
            "ended": ended,
        }

    def step(self, objective: Objective, state: DiffraxState) -> tuple[DiffraxState, dict[str, Any]]:
        """Attempt until a step is accepted; then evaluate loss and gradient norm at its end."""

        def field(t: Any, y: Any, args: Any) -> jax.Array:
            return -derivatives.gradient(objective, y)

        def going(carry: Any) -> Any:
            _, rejections, kept, _ = carry
            return ~kept & (rejections < MAX_REJECTIONS)

        def body(carry: Any) -> Any:
            state, rejections, _, _ = carry
            h = state.step_size
            state, kept = self._attempted(field, state)
            return state, rejections + 1, kept, h

        start = (state, jnp.asarray(0), jnp.asarray(False), state.step_size)
        state, _, kept, h = jax.lax.while_loop(going, body, start)
        loss, gradient = derivatives.value_and_gradient(objective, state.w)
        norm = jnp.linalg.norm(gradient)
        fell = (loss < state.lowest_loss - 4 * jnp.finfo(loss.dtype).eps * jnp.abs(loss)) | (
            norm < 0.9 * state.lowest_norm
        )
        state = state._replace(
            lowest_loss=jnp.minimum(loss, state.lowest_loss),
            lowest_norm=jnp.minimum(norm, state.lowest_norm),
            largest_norm=jnp.maximum(norm, state.largest_norm),
            waited=jnp.where(fell, 0.0, state.waited + 1),
        )
        row = self._row(objective, state, loss, norm, h)
        return state, {**row, "ended": jnp.where(kept, row["ended"], FAILED)}

    def _attempted(self, field: VectorField, state: DiffraxState) -> tuple[DiffraxState, jax.Array]:
        """The state after one attempt, and whether it was accepted."""
        h = state.step_size
        attempt = self.attempt(field, state.w, state.slope, h)
        finite = jnp.all(jnp.isfinite(attempt.w)) & jnp.all(jnp.isfinite(attempt.slope))
        error = jnp.where(finite & attempt.converged, attempt.error, jnp.inf)
        # The flow is autonomous: each step begins at time 0, so that no step size is lost in rounding.
        kept, begin, end, _, control, _ = self._controller().adapt_step_size(
            jnp.zeros_like(h), h, state.w, attempt.w, None, error, self.error_order, state.control
        )
        state = state._replace(
            w=jnp.where(kept, attempt.w, state.w),
            slope=jnp.where(kept, attempt.slope, state.slope),
            step_size=jnp.asarray(end - begin),
            control=control,
            flow_time=state.flow_time + jnp.where(kept, h, 0.0),
            steps=state.steps + kept,
            attempts=state.attempts + 1,
            newton_failures=state.newton_failures + ~jnp.asarray(attempt.converged),
            newton_iterations=state.newton_iterations + attempt.newton_iterations,
            rhs_evaluations=state.rhs_evaluations + attempt.rhs_evaluations,
        )
        return state, jnp.asarray(kept)


def _registered(cls: type[Any]) -> type[Any]:
    """Register as a pytree with its name, since JAX 0.10 takes tree structures of two dataclasses for equal.

    `jax.tree_util.register_dataclass` compares the fields alone, so compiled code of one class could serve another.
    """
    jax.tree_util.register_pytree_node(
        cls, lambda solver: ((solver.rtol, solver.atol), cls.name), lambda _, tolerances: cls(*tolerances)
    )
    return cls


@_registered
@dataclasses.dataclass(frozen=True)
class Tsit5(DiffraxSolver):
    """Tsitouras' explicit Runge-Kutta pair of order 5(4), for flows that are not stiff. See `DiffraxSolver`.

    Examples
    --------
    >>> import numpy as np
    >>> import stiffgrad as sg
    >>> objective = sg.minimise(lambda w: (w[0] - 1) ** 2 + 10 * (w[1] - w[0]) ** 2, np.zeros(2))
    >>> solution = sg.solve(objective, Tsit5(), until=sg.Until(loss=1e-6))
    >>> statistics = solution.statistics  # three evaluations before the first step, then six an attempt
    >>> statistics.rhs_evaluations == 3 + 6 * (statistics.steps + statistics.rejected_steps)
    True
    """

    name: ClassVar[str] = "tsit5"
    summary: ClassVar[str] = "explicit Runge-Kutta of order 5, not for stiff flows"
    source: ClassVar[str] = "Tsitouras, Comput. Math. Appl. 62 (2011)"
    columns: ClassVar[tuple[str, ...]] = EXPLICIT
    order: ClassVar[int] = 5
    error_order: ClassVar[int] = 5
    matrices: ClassVar[int] = 0

    def attempt(self, field: VectorField, w: jax.Array, slope: jax.Array, h: jax.Array) -> Attempt:
        """Six evaluations: the last stage is the next step's first."""
        w1, error, _, last, _ = diffrax.Tsit5(scan_kind="lax").step(
            diffrax.ODETerm(field), jnp.zeros_like(h), h, w, None, (jnp.asarray(False), slope), jnp.asarray(False)
        )
        assert last is not None
        return Attempt(w1, error, last[1], 6, 0, True)


class _Counting(optx.AbstractRootFinder):
    """A root finder for the stages of {"w": F(w), "count": .}: it leaves its number of iterations as the count.

    Diffrax keeps no counts of its Newton iterations. So a counter rides along as one more component of the ODE, outside
    every norm; its slope in a stage is the number of iterations that the stage took.
    """

    rtol: float
    atol: float
    norm: Any
    inner: Any

    def init(
        self, fn: Any, y: Any, args: Any, options: Any, f_struct: Any, aux_struct: Any, tags: frozenset[object]
    ) -> Any:
        return self.inner.init(_only_w(fn), y["w"], args, options, f_struct["w"], aux_struct, tags)

    def step(self, fn: Any, y: Any, args: Any, options: Any, state: Any, tags: frozenset[object]) -> Any:
        w, state, aux = self.inner.step(_only_w(fn), y["w"], args, options, state, tags)
        return {"w": w, "count": y["count"]}, state, aux

    def terminate(self, fn: Any, y: Any, args: Any, options: Any, state: Any, tags: frozenset[object]) -> Any:
        return self.inner.terminate(_only_w(fn), y["w"], args, options, state, tags)

    def postprocess(
        self, fn: Any, y: Any, aux: Any, args: Any, options: Any, state: Any, tags: frozenset[object], result: Any
    ) -> Any:
        return {"w": y["w"], "count": state.step.astype(y["count"].dtype)}, aux, {}


def _counting(method: Any, solver: DiffraxSolver) -> _Counting:
    tolerances = {"rtol": solver.rtol, "atol": solver.atol, "norm": optx.rms_norm}
    return _Counting(**tolerances, inner=method(**tolerances))


def _only_w(fn: Any) -> Any:
    def on_w(w: Any, args: Any) -> Any:
        out, aux = fn({"w": w, "count": jnp.zeros((), w.dtype)}, args)
        return out["w"], aux

    return on_w


def _counted(field: VectorField) -> diffrax.ODETerm:
    return diffrax.ODETerm(lambda t, y, args: {"w": field(t, y["w"], args), "count": jnp.zeros_like(y["count"])})


def _with_count(vector: jax.Array) -> dict[str, jax.Array]:
    return {"w": vector, "count": jnp.zeros((), vector.dtype)}


@_registered
@dataclasses.dataclass(frozen=True)
class Kvaerno5(DiffraxSolver):
    """Kvaerno's ESDIRK pair of order 5(4), L-stable, with exact Jacobians; see `DiffraxSolver`.

    Notes
    -----
    Diffrax forms and factorises two Jacobians in each attempt: one for its implicit stages, and before that one with a
    step of size zero, to have something of the right shape. Both are counted, as both are computed.
    """

    name: ClassVar[str] = "kvaerno5"
    summary: ClassVar[str] = "implicit Runge-Kutta (ESDIRK) of order 5, L-stable"
    source: ClassVar[str] = "Kvaerno, BIT 44 (2004)"
    columns: ClassVar[tuple[str, ...]] = (*EXPLICIT, *NEWTON)
    order: ClassVar[int] = 5
    error_order: ClassVar[int] = 5
    matrices: ClassVar[int] = 2

    def attempt(self, field: VectorField, w: jax.Array, slope: jax.Array, h: jax.Array) -> Attempt:
        """Six implicit stages; each Newton iteration evaluates once."""
        finder = _counting(diffrax.VeryChord, self)
        method = diffrax.Kvaerno5(root_finder=finder, scan_kind="lax")
        begin = (jnp.asarray(False), _with_count(slope))
        y, error, dense, last, result = method.step(
            _counted(field), jnp.zeros_like(h), h, _with_count(w), None, begin, jnp.asarray(False)
        )
        iterations = jnp.round(jnp.sum(dense["k"]["count"]) / h)
        assert last is not None
        converged = result == diffrax.RESULTS.successful
        return Attempt(y["w"], error["w"], last[1]["w"], iterations, iterations, converged)


@_registered
@dataclasses.dataclass(frozen=True)
class ImplicitEuler(DiffraxSolver):
    """Implicit Euler, L-stable, with Heun's method as its error estimate; one Jacobian (exact) and one LU an attempt.

    See `DiffraxSolver`.
    """

    name: ClassVar[str] = "implicit-euler"
    summary: ClassVar[str] = "implicit Euler with error control, L-stable"
    source: ClassVar[str] = "Hairer and Wanner, Solving ODEs II (1996), IV.3"
    columns: ClassVar[tuple[str, ...]] = (*EXPLICIT, *NEWTON)
    order: ClassVar[int] = 1
    error_order: ClassVar[int] = 2
    matrices: ClassVar[int] = 1

    def attempt(self, field: VectorField, w: jax.Array, slope: jax.Array, h: jax.Array) -> Attempt:
        """One evaluation at the start, and one each Newton iteration."""
        finder = _counting(optx.Chord, self)
        y, error, _, _, result = diffrax.ImplicitEuler(root_finder=finder).step(
            _counted(field), jnp.zeros_like(h), h, _with_count(w), None, None, jnp.asarray(False)
        )
        iterations = y["count"]
        converged = result == diffrax.RESULTS.successful
        return Attempt(y["w"], error["w"], jnp.zeros_like(w), 1 + iterations, iterations, converged)
