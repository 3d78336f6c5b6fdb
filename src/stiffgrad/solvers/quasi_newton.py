"""`quasi-newton`: a W-method whose dense inverse Jacobian is built from secants, self-scaled; a gradient a step."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from stiffgrad import _checks
from stiffgrad._memory import require
from stiffgrad.objective import Objective, derivatives
from stiffgrad.solvers._compiled import STALLED, STATIONARY, CompiledSolver

ARMIJO = 1e-4
TRIES = 20  # step lengths tried along one direction
EXPANSION = 4.0  # of the step length after a step along which the slope did not rise
ROUNDING = 8.0  # energies within so many units of rounding are equal
COUNTED: tuple[str, ...] = ("steps", "rejected_steps", "rhs_evaluations", "presentations")


class State(NamedTuple):
    """Between two steps."""

    w: jax.Array
    loss: jax.Array
    gradient: jax.Array
    inverse: jax.Array  # H, (n, n)
    direction: jax.Array  # -H g
    length: jax.Array  # of the first trial along it
    pairs: jax.Array  # secants in H; none: H is a multiple of the identity
    flow_time: jax.Array
    counts: dict[str, jax.Array]


class Line(NamedTuple):
    """The search along a direction: the last trial."""

    length: jax.Array  # of the next trial, where this one failed
    tried: jax.Array  # the length of this one
    w: jax.Array
    loss: jax.Array
    gradient: jax.Array
    tries: jax.Array
    good: jax.Array


@partial(jax.tree_util.register_dataclass, data_fields=[], meta_fields=["scaled"])
@dataclasses.dataclass(frozen=True)
class QuasiNewton(CompiledSolver[State]):
    """The linearised flow followed to its end, w - H g, with a dense H ~ A^-1 from all secants so far.

    A W-method: its Jacobian need not be exact. After each step H takes the BFGS update, and is scaled up before it
    where A proved softer along the step than H believed (Al-Baali 1998), so that stiff directions seen early do not
    hold back the soft ones. Step lengths are 1, or shorter by backtracking; the energy never rises by more than
    rounding. For networks of up to some hundreds of weights, where n^2 operations cost no more than a few gradients.

    Parameters
    ----------
    scaled : bool
        False: BFGS as it stands, for comparison.

    Notes
    -----
    `flow_time` adds |step| / |g|: the time in which the flow, at its present speed, covers the length of the step.

    Examples
    --------
    >>> QuasiNewton().name
    'quasi-newton'
    """

    scaled: bool = True

    name: ClassVar[str] = "quasi-newton"
    family: ClassVar[str] = "own"
    summary: ClassVar[str] = "W-method with a dense, self-scaled inverse Jacobian from secants; a gradient a step"
    source: ClassVar[str] = (
        "Al-Baali (1998), Comput. Optim. Appl. 9:191, self-scaled BFGS; Steihaug and Wolfbrandt (1979)"
    )
    columns: ClassVar[tuple[str, ...]] = ("flow_time", "step_size", "loss", "gradient_norm", *COUNTED)
    reasons: ClassVar[dict[int, str]] = {
        STATIONARY: "the gradient vanishes to rounding",
        STALLED: "no step along the gradient lowers the energy by more than rounding",
    }

    def check(self, objective: Objective) -> None:
        """Refuse problems whose dense matrix does not fit into memory."""
        _checks.flag("scaled", self.scaled)
        needed = 3 * objective.size**2 * objective.w0.dtype.itemsize
        require(needed, "solver 'quasi-newton'", "use solver='exponential', which forms no matrix")

    def weights(self, state: State) -> jax.Array:
        """Flat weights."""
        return state.w

    def initial(self, objective: Objective, w: jax.Array) -> tuple[State, dict[str, Any]]:
        """Steepest descent over a length of 1 at most."""
        loss, slope = derivatives.value_and_gradient(objective, w)
        inverse = _first_scale(slope) * jnp.eye(w.shape[0], dtype=w.dtype)
        zero, one = jnp.zeros((), w.dtype), jnp.ones((), w.dtype)
        counts = dict.fromkeys(COUNTED, zero) | {"rhs_evaluations": one, "presentations": one}
        state = State(w, loss, slope, inverse, -inverse @ slope, one, jnp.asarray(0), zero, counts)
        return state, _row(state, zero, jnp.asarray(0))

    def step(self, objective: Objective, state: State) -> tuple[State, dict[str, Any]]:
        """One gradient, more where a trial is rejected; and the secant of the step."""
        line = _search(objective, state)
        change = _change(state, line, self.scaled)
        length = jnp.where(change.pairs == state.pairs, EXPANSION * line.tried, 1.0)
        size = jnp.where(line.good, line.tried * _ratio(state.direction, state.gradient), 0.0)
        moved = line.good.astype(size.dtype)
        added = {"steps": moved, "rejected_steps": line.tries - moved}
        added |= dict.fromkeys(("rhs_evaluations", "presentations"), line.tries)
        counts = {name: count + added[name] for name, count in state.counts.items()}
        place = line.w, line.loss, line.gradient
        after = State(*place, change.inverse, change.direction, length, change.pairs, state.flow_time + size, counts)
        still = jnp.linalg.norm(after.gradient) == 0
        # In float64 a gradient that promises less than the rounding of the loss is zero to rounding; in float32 better
        # numbers would go on.
        hidden = (-state.gradient @ state.direction < _rounding(state.loss)) & (state.loss.dtype == jnp.float64)
        failed = jnp.where(line.good | (state.pairs > 0), 0, jnp.where(hidden, STATIONARY, STALLED))
        ended = jnp.where(still, STATIONARY, failed)
        return after, _row(after, size, ended)


def _row(state: State, size: jax.Array, ended: jax.Array) -> dict[str, Any]:
    return {
        "flow_time": state.flow_time,
        "step_size": size,
        "loss": state.loss,
        "gradient_norm": jnp.linalg.norm(state.gradient),
        **state.counts,
        "ended": ended,
    }


def _rounding(loss: jax.Array) -> jax.Array:
    return ROUNDING * jnp.finfo(loss.dtype).eps * jnp.abs(loss)


def _first_scale(slope: jax.Array) -> jax.Array:
    return 1.0 / jnp.maximum(1.0, jnp.linalg.norm(slope))


def _ratio(direction: jax.Array, slope: jax.Array) -> jax.Array:
    norm = jnp.linalg.norm(slope)
    return jnp.linalg.norm(direction) / jnp.where(norm > 0, norm, 1.0)


def _search(objective: Objective, state: State) -> Line:
    """Lengths from the first downwards, until Armijo's condition holds.

    Where rounding hides it, the approximate Wolfe condition (Hager and Zhang 2005, 1.3) and a smaller gradient.
    """
    slope = state.gradient @ state.direction
    slack = _rounding(state.loss)

    def attempt(line: Line) -> Line:
        length = line.length
        w = state.w + length * state.direction
        loss, gradient = derivatives.value_and_gradient(objective, w)
        lower = (loss <= state.loss + ARMIJO * length * slope) & (loss < state.loss - slack)
        flat = (gradient @ state.direction <= -0.8 * slope) & (gradient @ gradient < state.gradient @ state.gradient)
        good = lower | ((loss <= state.loss + slack) & flat)
        # The minimum of the parabola through what is known, bounded.
        part = -0.5 * slope * length / (loss - state.loss - length * slope)
        shorter = length * jnp.clip(jnp.nan_to_num(part), 0.1, 0.5)
        new = Line(shorter, length, w, loss, gradient, line.tries + 1, good)
        kept = line._replace(length=shorter, tried=length, tries=line.tries + 1)
        return jax.tree.map(partial(jnp.where, good), new, kept)

    none = jnp.zeros_like(slope)
    start = Line(state.length, none, state.w, state.loss, state.gradient, none, jnp.asarray(False))
    return jax.lax.while_loop(lambda line: ~line.good & (line.tries < TRIES), attempt, start)


class Change(NamedTuple):
    """The inverse Jacobian after a step, and the direction from there."""

    inverse: jax.Array
    direction: jax.Array
    pairs: jax.Array


def _change(state: State, line: Line, scaled: bool = True) -> Change:
    """Take in the secant of the step. One product with H serves that and the next direction."""
    s, y = line.w - state.w, line.gradient - state.gradient
    hg = state.inverse @ line.gradient
    hy = hg + state.direction
    sy, yhy = s @ y, y @ hy
    curved = line.good & (yhy > 0) & (sy > jnp.finfo(sy.dtype).eps * jnp.linalg.norm(s) * jnp.linalg.norm(y))
    sy, yhy = jnp.where(curved, sy, 1.0), jnp.where(curved, yhy, 1.0)
    # By H the curvature along s is -length g's; by the secant it is s'y. The first secant sets the scale by itself.
    believed = -line.tried * (s @ state.gradient)
    later = jnp.maximum(1.0, believed / sy) if scaled else 1.0
    scale = jnp.where(state.pairs > 0, later, sy / yhy)
    scale = jnp.where(curved, scale, 1.0)
    # (I - s y'/s'y) scale H (I - y s'/s'y) + s s'/s'y is a symmetric change of rank two.
    cross = jnp.where(curved, -scale / sy, 0.0)
    own = jnp.where(curved, (1.0 + scale * yhy / sy) / sy, 0.0)
    left = own * s + cross * hy
    direction = -(scale * hg + left * (s @ line.gradient) + cross * s * (hy @ line.gradient))
    inverse = scale * state.inverse + left[:, None] * s + (cross * s)[:, None] * hy
    # A direction that leads nowhere: forget the secants.
    lost = ~line.good | ~(direction @ line.gradient < 0)
    fresh = _first_scale(line.gradient)
    direction = jnp.where(lost, -fresh * line.gradient, direction)
    inverse = jnp.where(lost, fresh * jnp.eye(s.shape[0], dtype=s.dtype), inverse)
    return Change(inverse, direction, jnp.where(lost, 0, state.pairs + curved))
