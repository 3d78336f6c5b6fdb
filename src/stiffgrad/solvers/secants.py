"""`secants`: the linearised flow followed to its end, with an inverse Jacobian from the last few secants."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from stiffgrad import _checks
from stiffgrad._arrays import cond, namespace, on_host
from stiffgrad._memory import require
from stiffgrad.curvature import secant
from stiffgrad.curvature.kronecker import Kronecker
from stiffgrad.curvature.point import Point, chosen, evaluated
from stiffgrad.objective import Objective, derivatives
from stiffgrad.solvers._compiled import STALLED, STATIONARY, SteppedSolver
from stiffgrad.solvers._control import judge
from stiffgrad.solvers._own import ROW, Place, blank_row, number, relative_length
from stiffgrad.solvers._tally import Prices

SWEEP = 8  # secant steps between two evaluations in full precision
LINE_TRIES = 6  # step lengths tried along a direction
REFRESH = 8.0, 0.5, 2.0  # coordinates are renewed after so much cost, part of the cost so far, or times their own cost
DAMPING = 1.0  # of the coordinates, in losses: less is faster to deep targets, and fits noise sooner
LONGEST_REST = 2**20  # sweeps taken alone after one that rounding spoiled, at most
SINGLE_SLACK = 1e-3  # relative, of an energy in float32, whose rounding follows the outputs and not their small loss


class State(NamedTuple):
    """Between two trials.

    Attributes
    ----------
    place : Place
        The last point evaluated in full precision.
    inner : Point
        The last point of the sweep from there, which may be of float32.
    memory : secant.Memory
    direction : array of shape (n,)
        -B^-1 g at the inner point.
    length : scalar
        Of the next trial along it.
    tries, taken : scalars
        Trials along the direction, and steps of the sweep.
    path : scalar
        Sum of |step| / |g| over the sweep.
    alone : bool
        Whether the sweep is one step in full precision.
    rest, penalty : scalars
        Sweeps left to take alone, and the length of the last such rest.
    renew : scalar
        The cost at which the coordinates are made anew.
    """

    place: Place
    inner: Point
    memory: secant.Memory
    direction: jax.Array
    length: jax.Array
    tries: jax.Array
    taken: jax.Array
    path: jax.Array
    alone: jax.Array
    rest: jax.Array
    penalty: jax.Array
    renew: jax.Array


@partial(jax.tree_util.register_dataclass, data_fields=["damping"], meta_fields=["pairs", "mixed", "coordinates"])
@dataclasses.dataclass(frozen=True)
class Secants(SteppedSolver[State]):
    """Steps w - t B^-1 g with the BFGS matrix B of the last `pairs` secants: a W-method that costs a gradient a step.

    For squared errors of a perceptron the secants are kept in Kronecker-factored coordinates, in which the
    Gauss-Newton matrix is close to the identity. Up to seven of eight steps are evaluated in float32, the eighth in
    full precision: it decides, and a sweep that did not lower the energy is repeated as one exact step.

    Parameters
    ----------
    pairs : int
        Secants remembered.
    mixed : bool
        Evaluate in float32 between two evaluations in full precision.
    coordinates : bool
        Use Kronecker-factored coordinates where they suit.
    damping : float
        Of the coordinates, in losses: less is faster to deep targets, and fits noise sooner.

    Notes
    -----
    `flow_time` adds |d| / |g| for each step of a sweep: the time in which the flow, at its present speed, covers it.

    Examples
    --------
    >>> Secants(pairs=20).mixed
    True
    """

    pairs: int = 40
    mixed: bool = True
    coordinates: bool = True
    damping: float = DAMPING

    name: ClassVar[str] = "secants"
    family: ClassVar[str] = "own"
    summary: ClassVar[str] = "W-method with the last 40 secants, in coordinates that suit a perceptron; any size"
    source: ClassVar[str] = (
        "Nocedal (1980), Math. Comput. 35:773; Byrd et al. (1994), theorem 2.2; Martens and Grosse (2015), "
        "George et al. (2018) for the coordinates"
    )
    bare_start: ClassVar[bool] = True
    hosted_side: ClassVar[int] = 0
    exact_rows: ClassVar[bool] = True
    lasting: ClassVar[tuple[str, ...]] = ("memory", "penalty", "renew")
    columns: ClassVar[tuple[str, ...]] = ROW
    reasons: ClassVar[dict[int, str]] = {
        STATIONARY: "the gradient is zero to rounding",
        STALLED: "no step lowers the energy by more than rounding",
    }

    def check(self, objective: Objective) -> None:
        """Options that do not fit, named."""
        pairs = _checks.whole("pairs", self.pairs, 1)
        _checks.flag("mixed", self.mixed)
        _checks.flag("coordinates", self.coordinates)
        _checks.positive("damping", self.damping)
        needed = 8.0 * objective.size * (pairs + 8.0) + 64.0 * pairs**2
        require(needed, f"solver 'secants' with pairs={pairs}", "lower pairs")

    def weights(self, state: State) -> jax.Array:
        return state.place.point.w

    def prices(self, objective: Objective) -> Prices:
        """Coordinates take a Jacobian's signals, twice, and change every pair."""
        if not self._space(objective):
            return Prices()
        return Prices(jacobian=1.5 * objective.outputs + 2.0 * self.pairs * Kronecker.cost(objective))

    def _space(self, objective: Objective) -> bool:
        return self.coordinates and Kronecker.suits(objective)

    def initial(self, objective: Objective, w: Any) -> tuple[State, dict[str, Any]]:
        """The start, nothing evaluated."""
        none, zero = number(0, np.int64), number(0, w.dtype)
        space = Kronecker.identity(objective, np.float32) if self._space(objective) else None
        state = State(
            place=Place.start(w),
            inner=Point.unknown(w),
            memory=secant.empty(self.pairs, len(w), np.float32, space),
            direction=number(np.zeros(len(w), w.dtype), w.dtype),
            length=number(1, w.dtype),
            tries=none,
            taken=none,
            path=zero,
            alone=number(True, bool),
            rest=none,
            penalty=none + 4,
            renew=zero,
        )
        return state, blank_row(self.columns)

    def step(self, objective: Objective, state: State) -> tuple[State, dict[str, Any]]:
        """One trial; a row where a sweep ends with a lower energy, in full precision."""
        w = state.place.point.w
        xp = namespace(w)
        if self._space(objective) and not on_host(w):
            due = (state.taken == 0) & (state.tries == 0) & state.place.point.known
            due &= self.prices(objective).of(state.place.tally) >= state.renew
            state = jax.lax.cond(due, partial(self._renewed, objective), lambda s: s, state)
        exact, single = self._evaluations(objective, state)
        mixed = single is not None
        either = exact if single is None else single
        # Short sweeps at first: an easy target may be near, and a row ends only with its sweep.
        repeats = xp.clip(state.place.tally.steps, SWEEP // 2, SWEEP) if mixed else 1
        alone = state.alone | (state.rest > 0) | (not mixed)
        old, start = state.inner, state.place.point
        s = state.length * state.direction
        last = alone | (state.taken >= repeats - 1)
        new = Point(old.w + s, *(cond(last, exact, either, old.w + s) if mixed else exact(old.w + s)))
        slope = xp.vdot(old.gradient, state.direction)
        known = start.known
        good = ~known | ((slope < 0) & _acceptable(old, new, state, slope, alone))
        lost = ~good & ((state.tries + 1 >= LINE_TRIES) | ~(slope < 0))
        path = state.path + xp.where(good, relative_length(s, old.gradient), 0.0)
        # What was evaluated in full precision is judged against the last such point.
        moved = good & last & judge(start, new, 0.0).accepted
        spoiled = lost | (good & last & ~moved)
        retry, failed = spoiled & ~alone, spoiled & alone & known
        # A trial is rejected where it was not good; one inside a sweep that was good is no step yet.
        place = state.place.moved(moved, new, path, gradients=1, singles=~last, rejected=~good & known)
        # After a sweep that rounding spoiled, exact steps alone for a while, for longer each time.
        penalty = xp.where(retry, 2 * xp.minimum(state.penalty, LONGEST_REST), state.penalty)
        rest = xp.where(retry, penalty, xp.where(moved, xp.maximum(state.rest - 1, 0), state.rest))
        # What float32 spoiled is taken back, but not its pairs: they are directions only. Pairs that lead nowhere in
        # full precision are forgotten; steepest descent then tells whether anything goes on.
        memory = secant.remember(state.memory, s, new.gradient - old.gradient, good & known)
        memory = memory._replace(filled=xp.where(failed, 0, memory.filled).astype(memory.filled.dtype))
        inner = chosen(spoiled & known, start, chosen(good, new, old))
        over = moved | spoiled
        after = State(
            place,
            inner,
            memory,
            -secant.inverse_product(memory, inner.gradient),
            xp.where(good | over, 1.0, state.length * _shorter(old, new, state.length, slope)).astype(s.dtype),
            xp.where(good | over, 0, state.tries + 1),
            xp.where(over, 0, state.taken + good),
            xp.where(over, 0.0, path).astype(s.dtype),
            (spoiled | (state.alone & ~moved)) & known,
            rest,
            penalty,
            state.renew,
        )
        stuck = failed & (state.memory.filled == 0)
        return after, {**self._row(objective, after, path), "recorded": moved | ~known, **self._end(after, stuck)}

    def _row(self, objective: Objective, state: State, path: Any) -> dict[str, Any]:
        return state.place.row(objective, self.prices(objective), step_size=path)

    def _end(self, state: State, stuck: Any) -> dict[str, Any]:
        point = state.place.point
        xp = namespace(point.w)
        norm = xp.linalg.norm(point.gradient)
        # Along steepest descent a promise |g|^2 below the rounding of the energy is zero to rounding in float64.
        hidden = (norm**2 / xp.maximum(1.0, norm) <= point.rounding) & (point.loss.dtype == jnp.float64)
        ended = xp.where(stuck, xp.where(hidden, STATIONARY, STALLED), 0)
        return {"ended": xp.where(point.known & (norm == 0), STATIONARY, ended)}

    def _evaluations(self, objective: Objective, state: State) -> tuple[Callable[..., Any], Callable[..., Any] | None]:
        """Energy and gradient in full precision, and in float32 where that is wanted and possible."""
        kind = state.place.point.w.dtype

        def exact(w: jax.Array) -> tuple[jax.Array, jax.Array]:
            point = evaluated(objective, w)
            xp = namespace(w)
            return xp.where(xp.isfinite(point.loss), point.loss, xp.inf), point.gradient

        def single(w: jax.Array) -> tuple[jax.Array, jax.Array]:
            low = jax.tree.map(single_precision, objective)
            loss, gradient = derivatives.value_and_gradient(low, single_precision(w))
            return jnp.where(jnp.isfinite(loss), loss, jnp.inf).astype(kind), gradient.astype(kind)

        if (
            not self.mixed
            or on_host(state.place.point.w)
            or kind == jnp.float32
            or not traceable(single, state.place.point.w)
        ):
            return exact, None
        return exact, single

    def _renewed(self, objective: Objective, state: State) -> State:
        """The secants in the coordinates that belong to the present weights: two passes with a Jacobian's signals."""
        low = jax.tree.map(single_precision, objective)
        point = state.place.point
        space = Kronecker.of(low, single_precision(point.w), single_precision(self.damping * point.loss))
        tally = state.place.tally.plus(jacobians=2)
        prices = self.prices(objective)
        cost = prices.of(state.place.tally)
        after, part, times = REFRESH
        renew = cost + jnp.maximum(jnp.maximum(after, 2.0 * times * prices.jacobian), part * cost)
        memory = secant.moved(state.memory, space)
        direction = -secant.inverse_product(memory, point.gradient)
        place = state.place._replace(tally=tally)
        return state._replace(place=place, memory=memory, direction=direction, renew=renew.astype(state.renew.dtype))


def single_precision(leaf: jax.Array) -> jax.Array:
    """A leaf in float32, if it holds real numbers."""
    return leaf.astype(jnp.float32) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf


def traceable(call: Callable[[jax.Array], Any], w: jax.Array) -> bool:
    """Whether a user's function accepts float32; a loop inside it may insist on its own number type."""
    try:
        jax.eval_shape(call, w)
    except TypeError:
        return False
    return True


def _acceptable(old: Point, new: Point, state: State, slope: jax.Array, alone: Any) -> jax.Array:
    """Armijo's condition or, near rounding, the approximate Wolfe condition (Hager and Zhang 2005, equation 1.3)."""
    xp = namespace(old.loss)
    slack = xp.where(alone, old.rounding, SINGLE_SLACK * abs(old.loss))
    flat = xp.vdot(new.gradient, state.direction) <= -0.8 * slope
    lower = new.loss <= old.loss + 1e-4 * state.length * slope
    return xp.isfinite(new.loss) & (lower | ((new.loss <= old.loss + slack) & flat))


def _shorter(old: Point, new: Point, length: jax.Array, slope: jax.Array) -> jax.Array:
    """The part of the length at which the parabola through energy, slope and new energy is lowest, bounded."""
    excess = new.loss - old.loss - length * slope
    xp = namespace(excess)
    part = -slope * length / (2.0 * xp.maximum(excess, jnp.finfo(excess.dtype).tiny))
    return xp.clip(xp.nan_to_num(part), 0.1, 0.5)
