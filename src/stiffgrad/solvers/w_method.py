"""Linearly implicit Euler as a W-method: dense curvature, geodesic correction, frozen Jacobians.

    (I/h + C) d = -g                 linearly implicit Euler: L-stable, Newton's method as h grows
    (I/h + C) a = -J'S f''[d, d]     geodesic correction, taken as w + d + a/2 (Transtrum and Sethna 2012)

C is Gauss-Newton or the Hessian. After a step that kept its promise, further ones follow with the same factorization
(W-steps, Steihaug and Wolfbrandt 1979), while each gets at least half of what its model promised.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from stiffgrad import _checks
from stiffgrad._arrays import cond, namespace
from stiffgrad._memory import require
from stiffgrad.curvature.dense import Curvature, GaussNewton, Hessian, Linearised
from stiffgrad.curvature.point import chosen, evaluated
from stiffgrad.objective import Objective
from stiffgrad.solvers._compiled import STALLED, STATIONARY, CompiledSolver, Condition, Level, Rows, serve
from stiffgrad.solvers._control import DEFAULT, Control, Verdict, judge
from stiffgrad.solvers._own import ROW, Place, blank_row
from stiffgrad.solvers._tally import Prices, dense_prices

W_STEPS = 5  # steps at most with one factorization, beyond the first
PAUSE = 16  # Jacobians at most between two tries of W-steps, where none was accepted
PROMISE = 0.5  # a further W-step needs the last one to have earned this part of its promise
ATTEMPTS = 40  # step sizes tried from one point before the run is called stalled
BEND = 0.75  # the correction is taken where 2|a| is at most this part of |d|
FIRST = 10.0  # the first step, in inverse traces of C
MUCH = 1e-3  # a point whose model promises this part of its loss, with this part of the largest gradient, is no end


class State(NamedTuple):
    """Between two trials."""

    place: Place
    base: jax.Array  # the weights of the Jacobian
    residual: Any  # of the point, where the dual form needs it
    promise: jax.Array  # of the first trial from the point
    steepest: jax.Array  # the largest norm of the gradient so far
    h: jax.Array
    factored_h: jax.Array  # the h of the factor
    reused: jax.Array  # W-steps with it
    again: jax.Array  # whether the next trial is one
    rest: jax.Array  # Jacobians until W-steps are tried again
    pause: jax.Array  # the next such rest
    worn: jax.Array  # whether the factor has served
    stale: jax.Array  # whether the Jacobian has


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["h0", "control", "promise"],
    meta_fields=["curvature", "correction", "w_steps", "adaptive"],
)
@dataclasses.dataclass(frozen=True)
class WMethod(CompiledSolver[State]):
    """One kind of curvature, from start to end; `Rosenbrock` changes between two. See there for the options."""

    curvature: str = "gauss-newton"
    correction: bool = True
    w_steps: int = W_STEPS
    h0: float | None = None
    adaptive: bool = True
    control: Control = DEFAULT
    promise: float = PROMISE

    name: ClassVar[str] = "rosenbrock"
    family: ClassVar[str] = "own"
    summary: ClassVar[str] = "linearly implicit Euler, geodesic correction, reused Jacobians; one kind of curvature"
    source: ClassVar[str] = "Hairer and Wanner (1996) IV.7; Transtrum and Sethna (2012), arXiv:1201.5885"
    bare_start: ClassVar[bool] = True
    hosted_side: ClassVar[int] = 128
    exact_rows: ClassVar[bool] = True
    lasting: ClassVar[tuple[str, ...]] = ("h",)
    columns: ClassVar[tuple[str, ...]] = (*ROW, "rho", "jacobian", "correction", "w_steps")
    reasons: ClassVar[dict[int, str]] = {
        STATIONARY: "the gradient vanishes to rounding",
        STALLED: "no step size lowers the loss: the promised decrease is below its rounding",
    }

    @property
    def within(self) -> WMethod:
        return dataclasses.replace(self, h0=None)

    @property
    def model(self) -> Curvature:
        """The curvature."""
        return Hessian() if self.curvature == "hessian" else GaussNewton()

    def check(self, objective: Objective) -> None:
        """Refuse unknown options, and problems whose dense matrices do not fit into memory."""
        _checks.choice("curvature", self.curvature, ("gauss-newton", "hessian"))
        if self.curvature == "gauss-newton" and not objective.has_gauss_newton:
            raise ValueError("curvature='gauss-newton' needs outputs, which minimise(loss) lacks: use 'hessian'")
        _checks.whole("w_steps", self.w_steps)
        _checks.number("promise", self.promise, least=0.0)
        if not isinstance(self.control, Control):
            raise TypeError(f"control={self.control!r} must be a stiffgrad.solvers.Control")
        self.control.check()
        for name in ("correction", "adaptive"):
            _checks.flag(name, getattr(self, name))
        if self.h0 is not None:
            _checks.positive("h0", self.h0)
        elif not self.adaptive:
            raise ValueError("adaptive=False needs the step size h0")
        remedy = "use solver='exponential', which forms no matrix"
        require(self.model.bytes(objective), "solver 'rosenbrock'", remedy)

    def weights(self, state: State) -> jax.Array:
        """Flat weights."""
        return state.place.point.w

    def side(self, objective: Objective) -> int:
        """That of the smaller of the two Gram matrices."""
        return self.model.side(objective)

    def prices(self, objective: Objective) -> Prices:
        """Of a Jacobian with its matrix, and of a factorization."""
        return dense_prices(objective, self.model.flops(objective), self.side(objective))

    def initial(self, objective: Objective, w: Any) -> tuple[State, dict[str, Any]]:
        """The start, nothing evaluated."""
        zero = np.zeros((), w.dtype)
        h = zero if self.h0 is None else np.asarray(self.h0, w.dtype)
        residual = np.zeros(objective.stacked_rows, w.dtype) if self._needs_residual(objective) else None
        no, yes = np.asarray(False), np.asarray(True)
        none, one = np.zeros((), np.int64), np.ones((), np.int64)
        state = State(Place.start(w), w, residual, zero, zero, h, zero, none, no, none, one, yes, yes)  # type: ignore[arg-type]
        return state, blank_row(self.columns)

    def _needs_residual(self, objective: Objective) -> bool:
        return self.curvature == "gauss-newton" and GaussNewton().dual(objective)

    def loop(self, objective: Objective, carry: Rows, going: Condition, within: Condition) -> Rows:
        """Linearise; factor for a step size; try steps until both have served; and again."""

        def linearise(old: State) -> tuple[Linearised, State]:
            base = namespace(old.base).where(old.stale, old.place.point.w, old.base)
            model = self.model.linearise(objective, base)
            return model, chosen(old.stale, self._linearised(old, model, base), old)

        def factor(model: Linearised, old: State) -> tuple[Any, State]:
            xp = namespace(old.base)
            h = xp.where(old.worn, old.h, old.factored_h)
            return model.factor(h), old._replace(factored_h=h, worn=xp.asarray(False))

        levels = Level(linearise, lambda state: state.stale), Level(factor, lambda state: state.worn)
        return serve(self, carry, going, within, levels, partial(self._trial, objective))

    def _linearised(self, state: State, model: Linearised, base: jax.Array) -> State:
        kind = "hessians" if self.curvature == "hessian" else "jacobians"
        xp = namespace(base)
        first = FIRST / xp.maximum(xp.abs(model.scale()), 1e-8)
        h = xp.where(state.h > 0, state.h, first)
        place = state.place._replace(tally=state.place.tally.plus(**{kind: 1}))
        no = xp.asarray(False)
        rest = xp.maximum(state.rest - 1, 0)
        reused = xp.zeros_like(state.reused)
        return state._replace(place=place, base=base, h=h, reused=reused, again=no, rest=rest, stale=no)

    def _trial(self, objective: Objective, model: Linearised, lower: Any, state: State) -> tuple[State, dict[str, Any]]:
        """One step: the first with a factor, or a W-step; what came of it; what comes next."""
        old, again, xp = state.place.point, state.again, namespace(state.base)
        h = state.factored_h
        d, toward = model.descend(lower, h, old, state.residual)
        step, corrected = self._corrected(objective, model, lower, d, again)
        step = xp.where(old.known, step, 0.0)  # the start is evaluated where it is, however indefinite the Hessian
        new = evaluated(objective, old.w + step)
        residual = self.model.residual(objective, new.w)
        promise = -0.5 * toward + 0.5 * (d @ d) / h
        verdict = judge(old, new, promise)
        accepted, started = verdict.accepted, old.known
        corrections = ~again if self._corrects(objective) else 0
        solves = 1 + corrections if self._corrects(objective) else 1
        counts = {"gradients": 1, "factorizations": ~again, "products": corrections, "solves": solves}
        place = state.place.moved(accepted, new, h, **counts)
        reused = state.reused + again
        more = accepted & started & (verdict.ratio > self.promise) & (reused < self.w_steps) & (state.rest == 0)
        # Where W-steps are refused they are tried the more rarely: a try costs an evaluation.
        refused = again & ~accepted & (reused == 1)
        pause = xp.where(refused, xp.minimum(2 * state.pause, PAUSE), xp.where(again & accepted, 1, state.pause))
        after = State(
            place=place,
            base=state.base,
            residual=None if residual is None else xp.where(accepted, residual, state.residual),
            promise=xp.where(state.place.tries == 0, promise, state.promise).astype(h.dtype),
            steepest=xp.maximum(state.steepest, xp.linalg.norm(place.point.gradient)),
            h=xp.where(again | ~started, state.h, self._next_h(state, verdict)),
            factored_h=h,
            reused=reused,
            again=more,
            worn=~more,
            rest=xp.where(refused, state.pause, state.rest),
            pause=pause,
            # A Jacobian has served when the point has moved and no W-step follows, which may have been refused.
            stale=(accepted & started & ~more) | (~accepted & again),
        )
        ended = self._ended(after, verdict)
        more_columns = {"rho": verdict.ratio, "correction": corrected, "w_steps": again, "step_size": h}
        row = place.row(objective, self.prices(objective), **more_columns)
        kind = 2.0 if self.curvature == "hessian" else 1.0
        return after, {**row, "jacobian": kind, "recorded": accepted | ~started, "ended": ended}

    def _next_h(self, state: State, verdict: Verdict) -> jax.Array:
        if self.adaptive:
            return self.control.next_step(state.h, verdict)
        return namespace(state.h).where(verdict.accepted, state.h, self.control.shrink * state.h)

    def _corrects(self, objective: Objective) -> bool:
        return self.correction and self.curvature == "gauss-newton"

    def _corrected(self, objective: Objective, model: Linearised, lower: Any, d: jax.Array, again: Any) -> Any:
        """The step with half the geodesic correction where that is small enough, and whether it was."""
        xp = namespace(d)
        if not self._corrects(objective):
            return d, xp.asarray(False)

        def correct() -> tuple[jax.Array, jax.Array]:
            a = model.bend(lower, d)
            good = 2.0 * xp.linalg.norm(a) <= BEND * xp.linalg.norm(d)
            return xp.where(good, d + 0.5 * a, d), good

        return cond(again, lambda: (d, xp.asarray(False)), correct)

    def _ended(self, state: State, verdict: Verdict) -> jax.Array:
        point, xp = state.place.point, namespace(state.base)
        norm = xp.linalg.norm(point.gradient)
        # In float64 a gradient that no step lowers is zero to rounding; in float32 better numbers would go on. But not
        # a large one: then the loss is not what its gradient says, or finite nowhere else.
        smallest = STATIONARY if point.loss.dtype == jnp.float64 else STALLED
        large = (state.promise > MUCH * abs(point.loss)) & (norm > MUCH * state.steepest)
        stuck = xp.where(verdict.hidden & ~large, smallest, STALLED)
        return xp.where(norm == 0.0, STATIONARY, xp.where(state.place.tries >= ATTEMPTS, stuck, 0))
