"""`rosenbrock`: linearly implicit, curvature-corrected, Jacobian-reusing integration of gradient flows, dense.

First stage (linearly implicit Euler, L-stable, Newton as h grows):  (I/h + G) d = -g.
Geodesic correction (Transtrum and Sethna 2012):  (I/h + G) a = -J'S f''[d, d],  taken as w + d + a/2.
W-steps (Steihaug and Wolfbrandt 1979): further first stages with the same factorization.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from stiffgrad import _checks
from stiffgrad._memory import require
from stiffgrad.curvature import linalg
from stiffgrad.objective import Objective, derivatives
from stiffgrad.solvers._compiled import FAILED, STALLED, STATIONARY, CompiledSolver
from stiffgrad.solvers._ros2 import PathOptions, path_step

W_STEPS = 5  # first stages at most with one factorization, beyond the first
W_PROMISE = 0.5  # a further W-step needs the last one to have earned this part of its promise
ATTEMPTS = 40  # step sizes tried from one point before the run is called stalled
EXACT_ATTEMPTS = 6  # and with the exact Hessian, before Gauss-Newton takes over again
ROUNDINGS = 8.0  # a change of the loss below so many of its roundings tells nothing
SLOW = 0.3  # a step that leaves more than this of the gradient, though h does not limit it, is slow
SLOW_FALL = 0.02  # and so is one that lowers the loss by less than this part
SLOW_STEPS = 2  # so many slow steps in a row, and the exact Hessian takes over
SLOW_STEPS_SQUARES = 10  # and for squares without decay, which may fall to zero: there valleys are slow as well

GROWTH = ((-jnp.inf, 0.5), (0.25, 1.0), (0.75, 1.5), (0.9, 2.0))  # rho above the first: h times the second
NEWTON_GROWTH = 10.0
BEND = 0.75  # the correction is taken where 2|a| is at most this part of |d|
SHRINK = 0.25  # a rejected step

COUNTED: tuple[str, ...] = (
    "steps",
    "rejected_steps",
    "rhs_evaluations",
    "loss_evaluations",
    "jacobian_evaluations",
    "hessian_products",
)
COUNTED += ("factorizations", "linear_solves", "presentations")


class State(NamedTuple):
    """Where a run is: everything that the next step needs."""

    w: jax.Array
    loss: jax.Array
    gradient: jax.Array
    h: jax.Array
    flow_time: jax.Array
    exact: jax.Array  # whether the next Jacobian is the exact Hessian
    slow: jax.Array  # slow Gauss-Newton steps in a row
    counts: dict[str, jax.Array]


class Trial(NamedTuple):
    """A trial of one step size, and what came of it."""

    h: jax.Array  # for the next trial or step
    w: jax.Array
    loss: jax.Array
    rho: jax.Array
    accepted: jax.Array
    tiny: jax.Array  # the promised decrease is below the rounding of the loss
    tries: jax.Array
    lower: jax.Array  # Cholesky factor
    used_h: jax.Array
    corrected: jax.Array
    first: jax.Array  # the first stage d


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["rtol", "atol", "h0"],
    meta_fields=["curvature", "correction", "w_steps", "adaptive", "path"],
)
@dataclasses.dataclass(frozen=True)
class Rosenbrock(CompiledSolver[State]):
    """Linearly implicit Euler with geodesic correction, W-steps and step control by energy; the loss never rises.

    Parameters
    ----------
    curvature : "auto", "gauss-newton" or "hessian"
        "auto" starts with Gauss-Newton and takes the exact Hessian where Gauss-Newton converges only linearly.
    correction : bool
        Use the geodesic correction.
    w_steps : int
        Further stages with one factorization, at most.
    h0 : float, optional
        First step in flow time; by default ten explicit steps' worth.
    adaptive : bool
        False: every accepted step is h0 long.
    path : bool
        Follow the path of the flow itself by ROS2, an L-stable method of order 2, with the local error held below
        atol + rtol |w| in the root mean square; without it only the descent matters.
    rtol, atol : float
        Relative and absolute tolerance of the path.

    Examples
    --------
    >>> Rosenbrock(w_steps=0).curvature
    'auto'
    """

    curvature: str = "auto"
    correction: bool = True
    w_steps: int = W_STEPS
    h0: float | None = None
    adaptive: bool = True
    path: bool = False
    rtol: float = 1e-4
    atol: float = 1e-6

    name: ClassVar[str] = "rosenbrock"
    factorizes: ClassVar[bool] = True
    family: ClassVar[str] = "own"
    summary: ClassVar[str] = (
        "linearly implicit Euler, geodesic correction, reused Jacobians; dense, to a few 1000 weights"
    )
    source: ClassVar[str] = "Hairer and Wanner (1996) IV.7; Transtrum and Sethna (2012), arXiv:1201.5885"
    columns: ClassVar[tuple[str, ...]] = (
        "flow_time", "step_size", "order", "loss", "gradient_norm", *COUNTED, "rho", "jacobian", "correction", "w_steps"
    )  # fmt: skip
    reasons: ClassVar[dict[int, str]] = {
        STATIONARY: "the gradient vanishes to rounding",
        STALLED: "no step size lowers the loss: the promised decrease is below its rounding",
        FAILED: "no step size meets the tolerances: loosen rtol and atol",
    }

    @property
    def follows_flow(self) -> bool:
        return self.path

    def check(self, objective: Objective) -> None:
        """Refuse unknown options, and problems whose dense matrices do not fit into memory."""
        _checks.choice("curvature", self.curvature, ("auto", "gauss-newton", "hessian"))
        if self.curvature == "gauss-newton" and not objective.has_gauss_newton:
            raise ValueError("curvature='gauss-newton' needs outputs, which minimise(loss) lacks: use 'hessian'")
        _checks.whole("w_steps", self.w_steps)
        for name in ("correction", "adaptive", "path"):
            _checks.flag(name, getattr(self, name))
        for name in ("rtol", "atol", "h0"):
            if name != "h0" or self.h0 is not None:
                _checks.positive(name, getattr(self, name))
        if not self.adaptive and self.h0 is None:
            raise ValueError("adaptive=False needs the step size h0")
        needed = dense_bytes(objective, self.path, self.curvature)
        require(needed, "solver 'rosenbrock'", "use solver='exponential', which forms no matrix")

    def weights(self, state: State) -> jax.Array:
        """Flat weights."""
        return state.w

    def initial(self, objective: Objective, w: jax.Array) -> tuple[State, dict[str, Any]]:
        """Loss, gradient, and a first step size from the curvature along the gradient."""
        loss, slope = derivatives.value_and_gradient(objective, w)
        counts = {name: jnp.zeros((), w.dtype) for name in COUNTED} | {"rhs_evaluations": jnp.ones((), w.dtype)}
        if self.h0 is None:
            norm = jnp.linalg.norm(slope)
            sharpness = jnp.linalg.norm(derivatives.hvp(objective, w, slope)) / jnp.where(norm > 0, norm, 1.0)
            h = 10.0 / jnp.maximum(sharpness, 1e-8)
            counts |= {"hessian_products": jnp.ones((), w.dtype), "presentations": jnp.full((), 3.0, w.dtype)}
        else:
            h = jnp.asarray(self.h0, w.dtype)
            counts |= {"presentations": jnp.ones((), w.dtype)}
        exact = jnp.asarray(self.curvature == "hessian" or not objective.has_gauss_newton)
        state = State(w, loss, slope, h, jnp.zeros((), w.dtype), exact, jnp.asarray(0), counts)
        nothing = dict.fromkeys(("rho", "jacobian", "correction", "w_steps"), jnp.nan)
        return state, {**_row(state), **nothing, "step_size": h, "ended": 0}

    def step(self, objective: Objective, state: State) -> tuple[State, dict[str, Any]]:
        """One accepted first stage with its correction, and the W-steps after it; or a step along the path."""
        if self.path:
            return self._path_step(objective, state)
        gram = self._linearise(objective, state)
        trial = self._attempts(objective, state, gram)
        w, loss, slope, moved, reused, evaluations = self._reuse(objective, state, trial)
        trial = trial._replace(accepted=moved)
        tried = _counted(objective, state, trial, evaluations, self._corrects(objective))
        counts = {name: state.counts[name] + jnp.asarray(more, w.dtype) for name, more in tried.items()}
        flow_time = state.flow_time + jnp.where(trial.accepted, trial.used_h * (1 + reused), 0.0)
        exact, slow, stuck = self._judge(objective, state, trial, loss, slope)
        after = State(w, loss, slope, trial.h, flow_time, exact, slow, counts)
        # In float64 a gradient that no step lowers is zero to rounding; in float32 better numbers would go on.
        smallest = STATIONARY if w.dtype == jnp.float64 else STALLED
        ending = jnp.where(trial.tiny, smallest, STALLED)
        still = jnp.linalg.norm(slope) == 0.0
        return after, {
            **_row(after),
            "step_size": trial.used_h,
            "rho": trial.rho,
            "jacobian": jnp.where(state.exact, 2.0, 1.0),
            "correction": trial.corrected,
            "w_steps": reused,
            "ended": jnp.where(still, STATIONARY, jnp.where(stuck, ending, 0)),
        }

    def _path_step(self, objective: Objective, state: State) -> tuple[State, dict[str, Any]]:
        gauss_newton = self.curvature == "gauss-newton"
        options = PathOptions(self.adaptive, gauss_newton, ATTEMPTS)
        trial = path_step(objective, state.w, state.gradient, state.h, (self.rtol, self.atol), options)
        tries, moved = trial.tries, trial.accepted
        jacobian = objective.rows / objective.samples if gauss_newton else 2.0 * objective.size
        added: dict[str, Any] = {"steps": moved, "rejected_steps": tries - moved, "rhs_evaluations": 2 * tries}
        added |= {"jacobian_evaluations": 1, "factorizations": tries, "linear_solves": 2 * tries}
        added |= {"presentations": jacobian + 2 * tries}
        counts = {name: count + jnp.asarray(added.get(name, 0), count.dtype) for name, count in state.counts.items()}
        w, loss = jnp.where(moved, trial.w, state.w), jnp.where(moved, trial.loss, state.loss)
        slope = jnp.where(moved, trial.gradient, state.gradient)
        flow_time = state.flow_time + jnp.where(moved, trial.used_h, 0.0)
        after = State(w, loss, slope, trial.h, flow_time, state.exact, state.slow, counts)
        nothing = dict.fromkeys(("rho", "correction", "w_steps"), jnp.nan)
        kind = {"order": 2.0, "jacobian": 1.0 if gauss_newton else 2.0, "step_size": trial.used_h}
        return after, {**_row(after), **nothing, **kind, "ended": jnp.where(moved, 0, FAILED)}

    def _corrects(self, objective: Objective) -> bool:
        return self.correction and objective.has_gauss_newton and self.curvature != "hessian"

    def _is_dual(self, objective: Objective) -> bool:
        return self.curvature != "hessian" and is_dual(objective)

    def _linearise(self, objective: Objective, state: State) -> jax.Array:
        """The lower triangle of the curvature matrix, n x n, or of the kernel AA', m x m."""
        hessian = partial(derivatives.hessian, objective, state.w)
        gauss_newton = partial(derivatives.gauss_newton_lower, objective, state.w)
        if self.curvature == "hessian" or not objective.has_gauss_newton:
            return hessian()
        if is_dual(objective):
            return derivatives.kernel(objective, state.w)
        if self.curvature == "gauss-newton":
            return gauss_newton()
        return jax.lax.cond(state.exact, hessian, gauss_newton)

    def _factored(self, objective: Objective, base: jax.Array, lower: jax.Array, shift: jax.Array) -> Any:
        """What solves with the curvature at `base`, once it is factored."""
        if not self._is_dual(objective):
            return linalg.Primal(lower, shift)
        push, pull = partial(derivatives.push, objective, base), partial(derivatives.pull, objective, base)
        return linalg.Dual(lower, shift, objective.decay[0], push, pull)

    def _correct(self, objective: Objective, w: jax.Array, factored: Any, d: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The step with the geodesic correction where that is small enough, and whether it was."""
        dual = isinstance(factored, linalg.Dual)
        bend = derivatives.curvature_rows if dual else derivatives.curvature_gradient
        a = -factored.solve(bend(objective, w, d))
        good = 2.0 * jnp.linalg.norm(a) <= BEND * jnp.linalg.norm(d)
        return jnp.where(good, d + 0.5 * a, d), good

    def _attempts(self, objective: Objective, state: State, gram: jax.Array) -> Trial:
        """Try step sizes from h downwards until the energy falls; the Gram matrix is kept."""
        dual = self._is_dual(objective)
        noise = ROUNDINGS * jnp.finfo(state.w.dtype).eps * jnp.abs(state.loss)
        most = jnp.where(state.exact & (self.curvature == "auto"), EXACT_ATTEMPTS, ATTEMPTS)
        no = jnp.asarray(False)

        def attempt(trial: Trial) -> Trial:
            shift = 1.0 / trial.h
            lower = linalg.factor(gram, shift + (objective.decay[0] if dual else 0.0))
            factored = self._factored(objective, state.w, lower, shift)
            if dual:
                d = factored.descend(derivatives.residual(objective, state.w), state.w)
            else:
                d = -factored.solve(state.gradient)
            step, corrected = d, no
            if self._corrects(objective):
                correct = partial(self._correct, objective, state.w, factored)
                step, corrected = jax.lax.cond(state.exact, lambda d: (d, no), correct, d)
            promise = -0.5 * state.gradient @ d + 0.5 * shift * (d @ d)
            loss = derivatives.value(objective, state.w + step)
            # Where rounding hides the promised decrease, the gradient judges instead, in `_reuse`.
            tiny = promise < noise
            rho = jnp.where(tiny, 1.0, (state.loss - loss) / promise)
            accepted = jnp.isfinite(loss) & ((loss < state.loss) | (tiny & (loss <= state.loss + noise)))
            h = trial.h * self._growth(rho, accepted, state.exact)
            tries = trial.tries + 1
            return Trial(h, state.w + step, loss, rho, accepted, tiny, tries, lower, trial.h, corrected, d)

        blank, zero = jnp.zeros_like(gram), jnp.zeros_like(state.h)
        start = Trial(
            state.h, state.w, state.loss, zero, no, no, jnp.asarray(0), blank, state.h, no, jnp.zeros_like(state.w)
        )
        return jax.lax.while_loop(lambda t: ~t.accepted & (t.tries < most), attempt, start)

    def _growth(self, rho: jax.Array, accepted: jax.Array, exact: jax.Array) -> jax.Array:
        if not self.adaptive:
            return jnp.where(accepted, 1.0, SHRINK)
        growth = jnp.ones_like(rho)
        for threshold, factor in GROWTH:
            growth = jnp.where(rho > threshold, factor, growth)
        # A Hessian model that holds is Newton's method once h no longer limits it: get there quickly.
        growth = jnp.where(exact & (jnp.abs(rho - 1.0) < 0.1), NEWTON_GROWTH, growth)
        return jnp.where(accepted, growth, SHRINK)

    def _reuse(self, objective: Objective, state: State, trial: Trial) -> Any:
        """W-steps: first stages at the new points with the old factorization, while they keep their promise."""
        shift = 1.0 / trial.used_h
        factored = self._factored(objective, state.w, trial.lower, shift)

        def propose(w: jax.Array, slope: jax.Array) -> tuple[jax.Array, jax.Array]:
            if isinstance(factored, linalg.Dual):
                residual = derivatives.residual(objective, w)
                d = factored.descend(residual, w)
                toward = residual @ factored.push(d) + factored.decay * (w @ d)
            else:
                d = -factored.solve(slope)
                toward = slope @ d
            return w + d, -0.5 * toward + 0.5 * shift * (d @ d)

        def stage(carry: Any) -> Any:
            w, loss, slope, candidate, promise, count, _, evaluations = carry
            new_loss, new_slope = derivatives.value_and_gradient(objective, candidate)
            less = jnp.linalg.norm(new_slope) < jnp.linalg.norm(slope)
            better = jnp.isfinite(new_loss) & jnp.where(trial.tiny, less, new_loss < loss)
            kept = better & jnp.where(count > 0, loss - new_loss >= W_PROMISE * promise, trial.rho > W_PROMISE)
            more = trial.accepted & kept & (count < self.w_steps)
            w, loss = jnp.where(better, candidate, w), jnp.where(better, new_loss, loss)
            slope = jnp.where(better, new_slope, slope)
            nothing = (w, jnp.zeros_like(loss))
            candidate, promise = jax.lax.cond(more, propose, lambda w, slope: nothing, w, slope)
            return w, loss, slope, candidate, promise, count + better, more, evaluations + 1

        start = (state.w, state.loss, state.gradient, trial.w, jnp.zeros_like(state.loss), 0, jnp.asarray(True), 0)
        w, loss, slope, _, _, count, _, evaluations = jax.lax.while_loop(lambda carry: carry[6], stage, start)
        return w, loss, slope, count > 0, jnp.maximum(count - 1, 0), evaluations

    def _judge(self, objective: Objective, state: State, trial: Trial, loss: Any, slope: Any) -> Any:
        """Which Jacobian comes next, how many slow steps there were, and whether the run is stuck."""
        if self.curvature != "auto" or not objective.has_gauss_newton or is_dual(objective):
            return state.exact, state.slow, ~trial.accepted
        norm, before = jnp.linalg.norm(slope), jnp.linalg.norm(state.gradient)
        unlimited = jnp.linalg.norm(trial.first) < 0.1 * trial.used_h * before
        slow = (unlimited & (norm > SLOW * before)) | (state.loss - loss < SLOW_FALL * jnp.abs(state.loss))
        slow = jnp.where(slow & ~state.exact, state.slow + 1, 0)
        exact = jnp.where(state.exact, trial.accepted, (slow >= _patience(objective)) | ~trial.accepted)
        # Both curvatures in turn have failed to lower the loss: the count of slow steps says so without a new field.
        stuck = ~trial.accepted & ~state.exact & (state.slow < 0)
        slow = jnp.where(state.exact & ~trial.accepted, -1, slow)
        return exact, slow, stuck


def _patience(objective: Objective) -> Any:
    """Slow steps in a row before the exact Hessian takes over."""
    if any(block.loss.name != "squared" for block in objective.blocks):
        return SLOW_STEPS
    return jnp.where(jnp.any(objective.decay > 0), SLOW_STEPS, SLOW_STEPS_SQUARES)


def is_dual(objective: Objective) -> bool:
    """Whether the m x m kernel is the smaller side, and Woodbury applies (one decay for all weights)."""
    whole = not any(block.chunked for block in objective.blocks)
    return whole and objective.has_rows and objective.uniform_decay and objective.rows < objective.size


def dense_bytes(objective: Objective, path: bool = False, curvature: str = "auto") -> float:
    """Memory that one step needs: the Jacobian, the Gram matrix or the Hessian, its factor and their copies."""
    dual = is_dual(objective) and not path and curvature != "hessian"
    side = float(min(objective.rows, objective.size) if dual else objective.size)
    exact = curvature == "hessian" or not objective.has_gauss_newton or (path and curvature != "gauss-newton")
    jacobian = 0.0 if exact else 2.0 * objective.rows * objective.size
    return objective.w0.dtype.itemsize * (jacobian + 4.0 * side**2)


def _row(state: State) -> dict[str, Any]:
    norm = jnp.linalg.norm(state.gradient)
    row = {"flow_time": state.flow_time, "order": 1.0, "loss": state.loss, "gradient_norm": norm}
    return row | state.counts


def _counted(objective: Objective, state: State, trial: Trial, evaluations: Any, corrects: bool) -> dict[str, Any]:
    """What one macro step added to the counts."""
    tries = trial.tries
    jacobian = jnp.where(state.exact, 2.0 * objective.size, objective.rows / objective.samples)
    corrections = jnp.where(state.exact, 0, tries) if corrects else 0
    return {
        "steps": trial.accepted,
        "rejected_steps": tries - trial.accepted,
        "rhs_evaluations": evaluations,
        "loss_evaluations": tries,
        "jacobian_evaluations": 1,
        "hessian_products": corrections,
        "factorizations": tries,
        "linear_solves": tries + corrections + evaluations - 1,
        "presentations": jacobian + tries + 2 * corrections + evaluations,
    }
