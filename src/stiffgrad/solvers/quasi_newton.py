"""`quasi-newton`: a W-method whose dense inverse Jacobian is built from secants, self-scaled; a gradient a step."""

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
from stiffgrad.curvature.point import Point, evaluated
from stiffgrad.objective import Objective
from stiffgrad.solvers._compiled import STALLED, STATIONARY, SteppedSolver
from stiffgrad.solvers._control import judge
from stiffgrad.solvers._own import ROW, Place, blank_row, relative_length
from stiffgrad.solvers._tally import Prices

ARMIJO = 1e-4
TRIES = 20  # step lengths tried along one direction
EXPANSION = 4.0  # of the step length after a step along which the slope did not rise


class State(NamedTuple):
    """Between two trials."""

    place: Place
    inverse: jax.Array  # H, (n, n)
    direction: jax.Array  # -H g
    length: jax.Array  # of the next trial along it
    pairs: jax.Array  # secants in H; none: H is a multiple of the identity


@partial(jax.tree_util.register_dataclass, data_fields=["armijo"], meta_fields=["scaled"])
@dataclasses.dataclass(frozen=True)
class QuasiNewton(SteppedSolver[State]):
    """The linearised flow followed to its end, w - H g, with a dense H ~ C^-1 from all secants so far.

    A W-method: its Jacobian need not be exact. After each step H takes the BFGS update, and is scaled up before it
    where C proved softer along the step than H believed (Al-Baali 1998), so that stiff directions seen early do not
    hold back the soft ones. Step lengths are 1, or shorter by backtracking; the energy never rises by more than
    rounding. For networks of up to some hundreds of weights, where n^2 operations cost no more than a few gradients.

    Parameters
    ----------
    scaled : bool
        False: BFGS as it stands, for comparison.
    armijo : float
        Part of its slope that a step must earn.

    Notes
    -----
    `flow_time` adds |step| / |g|: the time in which the flow, at its present speed, covers the length of the step.

    Examples
    --------
    >>> QuasiNewton().name
    'quasi-newton'
    """

    scaled: bool = True
    armijo: float = ARMIJO

    name: ClassVar[str] = "quasi-newton"
    family: ClassVar[str] = "own"
    summary: ClassVar[str] = "W-method with a dense, self-scaled inverse Jacobian from secants; a gradient a step"
    source: ClassVar[str] = (
        "Al-Baali (1998), Comput. Optim. Appl. 9:191, self-scaled BFGS; Steihaug and Wolfbrandt (1979)"
    )
    bare_start: ClassVar[bool] = True
    hosted_side: ClassVar[int] = 0
    exact_rows: ClassVar[bool] = True
    columns: ClassVar[tuple[str, ...]] = ROW
    reasons: ClassVar[dict[int, str]] = {
        STATIONARY: "the gradient vanishes to rounding",
        STALLED: "no step along the gradient lowers the energy by more than rounding",
    }

    def check(self, objective: Objective) -> None:
        """Refuse problems whose dense matrix does not fit into memory."""
        _checks.flag("scaled", self.scaled)
        _checks.number("armijo", self.armijo, least=0.0, below=0.5)
        needed = 3 * objective.size**2 * objective.w0.dtype.itemsize
        require(needed, "solver 'quasi-newton'", "use solver='exponential', which forms no matrix")

    def weights(self, state: State) -> jax.Array:
        """Flat weights."""
        return state.place.point.w

    def prices(self, objective: Objective) -> Prices:
        """A gradient comes with four operations, slow ones, on every entry of H."""
        return Prices(gradient=1.0 + 8.0 * objective.size**2 / objective.gradient_flops)

    def initial(self, objective: Objective, w: Any) -> tuple[State, dict[str, Any]]:
        """The start, nothing evaluated; H follows from the first gradient."""
        one, none = np.ones((), w.dtype), np.zeros((), np.int64)
        inverse = np.zeros((len(w), len(w)), w.dtype)
        state = State(Place.start(w), inverse, np.zeros(len(w), w.dtype), one, none)  # type: ignore[arg-type]
        return state, blank_row(self.columns)

    def step(self, objective: Objective, state: State) -> tuple[State, dict[str, Any]]:
        """One trial along the direction, and the secant of the step."""
        old, xp = state.place.point, namespace(state.place.point.w)
        new = evaluated(objective, old.w + state.length * state.direction)
        slope = old.gradient @ state.direction
        verdict = judge(old, new, -state.length * slope, self.armijo)
        accepted, started = verdict.accepted, old.known
        secant = _secant(state, new, accepted & started, self.scaled)
        place = state.place.moved(accepted, new, relative_length(new.w - old.w, old.gradient), gradients=1)
        # Too many tries along a direction that leads nowhere, or none that leads down: forget the secants.
        lost = ~started | (place.tries >= TRIES) | (accepted & ~(secant.direction @ new.gradient < 0))
        gradient = xp.where(accepted | ~started, new.gradient, old.gradient)
        fresh = 1.0 / xp.maximum(1.0, xp.linalg.norm(gradient))
        direction = xp.where(accepted, secant.direction, state.direction)
        # After a rejection the minimum of the parabola through what is known, bounded.
        part = -0.5 * slope * state.length / (new.loss - old.loss - state.length * slope)
        shorter = state.length * xp.clip(xp.nan_to_num(part), 0.1, 0.5)
        longer = xp.where(secant.curved, 1.0, EXPANSION * state.length)
        after = State(
            place,
            cond(
                lost,
                lambda: fresh * xp.eye(len(gradient), dtype=gradient.dtype),
                partial(secant.update, state.inverse),
            ),
            xp.where(lost, -fresh * gradient, direction),
            xp.where(lost, 1.0, xp.where(accepted, longer, shorter)).astype(gradient.dtype),
            xp.where(lost, 0, state.pairs + secant.curved),
        )
        # In float64 a gradient that promises less than the rounding of the loss is zero to rounding; in float32 better
        # numbers would go on.
        hidden = (-slope < old.rounding) & (old.loss.dtype == jnp.float64)
        stuck = started & (place.tries >= TRIES) & (state.pairs == 0)
        failed = xp.where(stuck, xp.where(hidden, STATIONARY, STALLED), 0)
        ended = xp.where(xp.linalg.norm(place.point.gradient) == 0, STATIONARY, failed)
        size = state.length * relative_length(state.direction, old.gradient)
        row = place.row(objective, self.prices(objective), step_size=size, ended=ended)
        after = after._replace(place=place._replace(tries=xp.where(lost, 0, place.tries)))
        return after, {**row, "recorded": accepted | ~started}


class Secant(NamedTuple):
    """A symmetric change of rank two, H -> scale H + left s' + right (Hy)', and the direction -H g that it leads to."""

    scale: jax.Array
    left: jax.Array
    right: jax.Array
    s: jax.Array
    hy: jax.Array
    direction: jax.Array
    curved: jax.Array  # whether there is a change at all

    def update(self, inverse: jax.Array) -> jax.Array:
        """The new H: one product of thin matrices, one pass over H."""
        xp = namespace(inverse)
        return self.scale * inverse + xp.stack([self.left, self.right], 1) @ xp.stack([self.s, self.hy])


def _secant(state: State, new: Point, when: Any, scaled: bool = True) -> Secant:
    """Take in the secant of the step. One product with H serves that and the next direction."""
    old, xp = state.place.point, namespace(state.place.point.w)
    s, y = new.w - old.w, new.gradient - old.gradient
    hg = state.inverse @ new.gradient
    hy = hg + state.direction
    sy, yhy = s @ y, y @ hy
    curved = when & (yhy > 0) & (sy > jnp.finfo(sy.dtype).eps * xp.linalg.norm(s) * xp.linalg.norm(y))
    sy, yhy = xp.where(curved, sy, 1.0), xp.where(curved, yhy, 1.0)
    # By H the curvature along s is -length g's; by the secant it is s'y. The first secant sets the scale by itself.
    believed = -state.length * (s @ old.gradient)
    later = xp.maximum(1.0, believed / sy) if scaled else 1.0
    scale = xp.where(state.pairs > 0, later, sy / yhy)
    scale = xp.where(curved, scale, 1.0)
    # (I - s y'/s'y) scale H (I - y s'/s'y) + s s'/s'y; a rejected trial may hold infinities, and changes nothing.
    s, hy = xp.where(curved, s, 0.0), xp.where(curved, hy, 0.0)
    cross = xp.where(curved, -scale / sy, 0.0)
    own = xp.where(curved, (1.0 + scale * yhy / sy) / sy, 0.0)
    left, right = own * s + cross * hy, cross * s
    direction = -(scale * hg + left * (s @ new.gradient) + right * (hy @ new.gradient))
    return Secant(scale, left, right, s, hy, direction, curved)
