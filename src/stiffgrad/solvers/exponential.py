"""`exponential`: the locally linearised gradient flow solved exactly in a Krylov space, between steps by secants."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp

from stiffgrad import _checks
from stiffgrad._memory import require
from stiffgrad.curvature import secant
from stiffgrad.curvature.kronecker import Kronecker
from stiffgrad.curvature.lanczos import Product, lanczos, phi, ritz
from stiffgrad.objective import Objective, derivatives
from stiffgrad.solvers._compiled import STALLED, STATIONARY, CompiledSolver

TOLERANCE = 0.1  # of the residual of (T + I/h) y = e1
RATIO = 6.0  # between neighbouring trial steps
WORTH = 1.2  # a longer step is tried only if the model promises so many times the decrease
TRIALS = 40
GROWTH = 30.0  # largest exponent along negative curvature in one step
PATIENCE = 16.0  # windows before the slower kind of step is tried for the first time
WINDOW = 24.0  # cost over which the two kinds of step are compared, in gradients
# Against a gradient, measured inside compiled loops: a loss, a product, a gradient in float32.
LOSS_COST, PRODUCT_COST, SINGLE_COST = 0.5, 1.0, 0.5
SWEEP = 8  # secant steps between two exact evaluations
REFRESH = 8.0, 0.5, 2.0  # coordinates are renewed after so much cost, part of the cost so far, or times their own cost
DAMPING = 1.0  # of the coordinates, in losses: less is faster to deep targets, and fits noise sooner
ROUNDING = 8.0  # energies within so many units of rounding are equal


class Counts(NamedTuple):
    """Cumulative counts."""

    steps: jax.Array
    rejected: jax.Array
    gradients: jax.Array
    singles: jax.Array  # those of them in float32
    losses: jax.Array
    products: jax.Array
    spaces: jax.Array  # coordinates made

    @property
    def cost(self) -> jax.Array:
        """In gradients, for the comparison of the two kinds of step; coordinates serve both."""
        return (
            self.gradients - (1.0 - SINGLE_COST) * self.singles + LOSS_COST * self.losses + PRODUCT_COST * self.products
        )


class Race(NamedTuple):
    """Which kind of step is taken: the one whose energy falls faster for its cost; the other is tried now and then.

    Attributes
    ----------
    secant : bool
        The kind of the running window.
    probing : bool
        Whether that is the slower kind, being tried.
    rate : float
        Decrease a cost of the faster kind, in its last full window.
    patience, left : float
        Windows of the faster kind between two trials of the other, and how many remain.
    loss, cost : float
        At the start of the window.
    """

    secant: jax.Array
    probing: jax.Array
    rate: jax.Array
    patience: jax.Array
    left: jax.Array
    loss: jax.Array
    cost: jax.Array


class State(NamedTuple):
    """Between two steps."""

    w: jax.Array
    loss: jax.Array
    gradient: jax.Array
    step_size: jax.Array
    flow_time: jax.Array
    radius: jax.Array  # largest Ritz value so far in size
    counts: Counts
    memory: Any  # secant.Memory; None inside a Krylov step
    race: Race
    rest: jax.Array  # secant steps left to take in full precision alone
    penalty: jax.Array  # length of the last such rest
    renew: jax.Array  # the cost at which the coordinates of the secants are made anew


class Step(NamedTuple):
    """What a step adds to its row."""

    size: jax.Array
    dimension: jax.Array
    ended: jax.Array


class _Trial(NamedTuple):
    """The search for a step size on one Krylov basis."""

    size: jax.Array
    best: jax.Array  # 0: none lowered the energy yet
    loss: jax.Array  # of the best
    tried: jax.Array
    done: jax.Array


@partial(
    jax.tree_util.register_dataclass, data_fields=["tolerance"], meta_fields=["curvature", "krylov", "pairs", "mixed"]
)
@dataclasses.dataclass(frozen=True)
class Exponential(CompiledSolver[State]):
    """Exponential Rosenbrock-Euler in a Krylov space, w + h phi(-h A) F(w), on an energy that never rises.

    Up to `krylov` Lanczos steps from the gradient g, with products alone, give A ~ V'TV and
    d(h) = -|g| h V'phi(h T) e1 with phi(z) = (1 - exp(-z)) / z: the exact flow of the local quadratic model. One
    basis serves every h, so the step is chosen among h, 6h, 36h, h/6, ... by evaluating losses only. Along negative
    curvature phi grows, as the flow does.

    Between these steps, and as long as they lower the energy faster for their cost, the linearised flow is followed
    to its end with an A from the last `pairs` secants (a W-method: the Jacobian need not be exact), which costs one
    gradient. For squared errors of a perceptron the secants are kept in Kronecker-factored coordinates, in which the
    Gauss-Newton matrix is close to the identity. See docs/exponential.md for what each is good at.

    Parameters
    ----------
    curvature : {"auto", "hessian", "gauss-newton"}
        The A of the products; "auto" is Gauss-Newton where the objective has one.
    krylov : int
        Largest dimension of the Krylov space.
    pairs : int
        Secants remembered; 0 takes Krylov steps only.
    mixed : bool
        Compute products in float32 as long as their rounding is small against 1/h.
    tolerance : float
        Lanczos stops where the residual of (T + I/h) y = e1 is below it.

    Notes
    -----
    `flow_time` adds h for a Krylov step and |d|/|g| for a secant step: the time in which the flow, at its present
    speed, covers the length of the step.

    Examples
    --------
    >>> Exponential(curvature="hessian", pairs=0).krylov
    60
    """

    name: ClassVar[str] = "exponential"
    family: ClassVar[str] = "own"
    summary: ClassVar[str] = "matrix-free exponential integrator: Lanczos products, recycled secants, monotone energy"
    source: ClassVar[str] = (
        "Hochbruck and Lubich (1997); Hochbruck, Ostermann and Schweitzer (2009), exponential Rosenbrock-Euler; "
        "Morales and Nocedal (2002) for interlacing with secants; Martens and Grosse (2015) for the coordinates"
    )
    columns: ClassVar[tuple[str, ...]] = (
        "flow_time",
        "step_size",
        "loss",
        "gradient_norm",
        "steps",
        "rejected_steps",
        "rhs_evaluations",
        "loss_evaluations",
        "hessian_products",
        "jacobian_evaluations",
        "presentations",
        "lanczos",
    )
    reasons: ClassVar[dict[int, str]] = {
        STATIONARY: "the gradient is zero to rounding",
        STALLED: "no step lowers the energy by more than rounding",
    }

    curvature: Literal["auto", "hessian", "gauss-newton"] = "auto"
    krylov: int = 60
    pairs: int = 40
    mixed: bool = True
    tolerance: float = TOLERANCE

    def check(self, objective: Objective) -> None:
        """Options that do not fit, named."""
        _checks.choice("curvature", self.curvature, ("auto", "hessian", "gauss-newton"))
        if self.curvature == "gauss-newton" and not objective.has_gauss_newton:
            raise ValueError("curvature='gauss-newton' needs outputs under a loss; use curvature='hessian' here")
        krylov, pairs = _checks.whole("krylov", self.krylov, 1), _checks.whole("pairs", self.pairs)
        _checks.flag("mixed", self.mixed)
        _checks.positive("tolerance", self.tolerance)
        needed = 8.0 * krylov * (objective.size + 3.0 * krylov) + 8.0 * pairs * (objective.size + 3.0 * pairs)
        require(needed, f"solver 'exponential' with krylov={krylov} and pairs={pairs}", "lower krylov and pairs")

    def weights(self, state: State) -> jax.Array:
        return state.w

    def initial(self, objective: Objective, w: jax.Array) -> tuple[State, dict[str, Any]]:
        loss, gradient = derivatives.value_and_gradient(objective, w)
        zero, one = jnp.zeros((), loss.dtype), jnp.ones((), loss.dtype)
        none = jnp.zeros((), jnp.int64)
        counts = Counts(none, none, none + 1, none, none, none, none)
        start = jnp.asarray(self.pairs > 0)
        race = Race(start, jnp.asarray(False), zero, PATIENCE * one, PATIENCE * one, loss, counts.cost)
        first = 1.0 / jnp.maximum(jnp.linalg.norm(gradient), jnp.finfo(loss.dtype).tiny)
        space = Kronecker.identity(objective, jnp.float32) if self.pairs and Kronecker.suits(objective) else None
        memory = secant.empty(max(self.pairs, 1), w.shape[0], jnp.float32, space)
        state = State(
            w, loss, gradient, jnp.minimum(first, 1e6), zero, zero, counts, memory, race, none, none + 4, zero
        )
        return state, _row(objective, state, Step(zero, none, none))

    def step(self, objective: Objective, state: State) -> tuple[State, dict[str, Any]]:
        if not self.pairs:
            new, step = _krylov_step(self, objective, state)
            return new, _row(objective, new, step)
        if state.memory.space is not None:
            state = jax.lax.cond(state.counts.cost >= state.renew, partial(_renewed, objective), lambda s: s, state)
        swept, step, moved = _secant_step(self, objective, state)
        # The memory stays outside of the branch, which would copy it.
        new, step = jax.lax.cond(
            moved,
            lambda state: (state, step),
            partial(_krylov_step, self, objective),
            swept._replace(memory=None),
        )
        memory = secant.remember(swept.memory, new.w - swept.w, new.gradient - swept.gradient, ~moved)
        new = new._replace(memory=memory, race=_next_race(new, moved))
        return new, _row(objective, new, step)


def _row(objective: Objective, state: State, step: Step) -> dict[str, Any]:
    counts = state.counts
    outputs = objective.rows // objective.samples
    return {
        "flow_time": state.flow_time,
        "step_size": step.size,
        "loss": state.loss,
        "gradient_norm": jnp.linalg.norm(state.gradient),
        "steps": counts.steps,
        "rejected_steps": counts.rejected,
        "rhs_evaluations": counts.gradients,
        "loss_evaluations": counts.losses,
        "hessian_products": counts.products,
        "jacobian_evaluations": counts.spaces,
        "presentations": counts.gradients + counts.losses + 2 * counts.products + 2 * outputs * counts.spaces,
        "lanczos": step.dimension,
        "ended": step.ended,
    }


def _renewed(objective: Objective, state: State) -> State:
    """The secants in the coordinates that belong to the present weights: two passes with a Jacobian's signals."""
    low = jax.tree.map(_single, objective)
    space = Kronecker.of(low, _single(state.w), _single(DAMPING * state.loss))
    counts = state.counts._replace(spaces=state.counts.spaces + 1)
    after, part, times = REFRESH
    own = 3.0 * objective.rows / objective.samples + 4.0 * state.memory.sy.shape[0] * Kronecker.cost(objective)
    renew = (counts.cost + jnp.maximum(jnp.maximum(after, times * own), part * counts.cost)).astype(state.renew.dtype)
    return state._replace(memory=secant.moved(state.memory, space), counts=counts, renew=renew)


def _single(leaf: jax.Array) -> jax.Array:
    return leaf.astype(jnp.float32) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf


def _product(solver: Exponential, objective: Objective, state: State) -> Product:
    """The map v -> A v at the state's weights; in float32 while its rounding is small against 1/h."""
    gauss_newton = solver.curvature != "hessian" and objective.has_gauss_newton
    multiply = derivatives.gnvp if gauss_newton else derivatives.hvp
    w = state.w
    low = jax.tree.map(_single, objective)

    def full(v: jax.Array) -> jax.Array:
        return multiply(objective, w, v)

    def single(v: jax.Array) -> jax.Array:
        return multiply(low, _single(w), _single(v)).astype(v.dtype)

    if not solver.mixed or w.dtype == jnp.float32 or not _traceable(single, w):
        return full
    enough = state.step_size * state.radius * jnp.finfo(jnp.float32).eps < 0.1
    return lambda v: jax.lax.cond(enough, single, full, v)


def _traceable(call: Callable[[jax.Array], Any], w: jax.Array) -> bool:
    """Whether a user's function accepts float32; a loop inside it may insist on its own number type."""
    try:
        jax.eval_shape(call, w)
    except TypeError:
        return False
    return True


def _equal(a: jax.Array, b: jax.Array) -> jax.Array:
    """Whether energy a is at most b up to rounding."""
    return a - b <= ROUNDING * jnp.finfo(a.dtype).eps * jnp.abs(b)


def _finite(loss: jax.Array) -> jax.Array:
    return jnp.where(jnp.isfinite(loss), loss, jnp.inf)


def _krylov_step(solver: Exponential, objective: Objective, state: State) -> tuple[State, Step]:
    """One exponential step: a basis, the best of its step sizes, the gradient there."""
    h, g = state.step_size, state.gradient
    krylov = lanczos(_product(solver, objective, state), g, solver.krylov, 1.0 / h, solver.tolerance)
    values, vectors = ritz(krylov)
    weights = vectors[0]  # of e1 in the eigenvectors of T

    def move(h: jax.Array) -> jax.Array:
        return state.w - krylov.norm * h * ((vectors @ (phi(h * values) * weights)) @ krylov.basis)

    def promised(h: jax.Array) -> jax.Array:
        # Along the exact flow of the quadratic model dE/dt = -|g|^2, whose integral is this.
        return krylov.norm**2 * h * jnp.sum(weights**2 * phi(2.0 * h * values))

    # Along negative curvature the linearised flow grows for ever; a linearisation is no guide so far away.
    longest = GROWTH / jnp.maximum(-jnp.min(values), jnp.finfo(h.dtype).tiny)
    found = _search(lambda h: _finite(derivatives.value(objective, move(h))), promised, h, longest, state.loss)
    size = jnp.where(found.best > 0, found.best, h)
    w = move(size)
    loss, gradient = derivatives.value_and_gradient(objective, w)
    norm = jnp.linalg.norm(gradient)
    # Below the rounding of the energy the gradient judges.
    moved = (found.best > 0) | (_equal(loss, state.loss) & (norm < krylov.norm))
    moved &= jnp.isfinite(norm)
    taken = moved.astype(state.counts.steps.dtype)
    old = state.counts
    shrunk = jnp.round(jnp.log(h / size) / jnp.log(RATIO)).clip(0).astype(taken.dtype)
    counts = old._replace(
        steps=old.steps + taken,
        rejected=old.rejected + jnp.where(found.best > 0, shrunk, 1 - taken),
        gradients=old.gradients + 1,
        losses=old.losses + found.tried,
        products=old.products + krylov.products,
    )
    ratio = (state.loss - found.loss) / promised(size)
    grown = jnp.select([ratio > 0.9, ratio > 0.75, ratio > 0.25], [6.0, 3.0, 1.0], 0.5)
    # A longer step that was tried and lost need not be tried first the next time.
    factor = jnp.where(found.size > size, jnp.minimum(grown, 1.0), grown)
    radius = jnp.maximum(state.radius, jnp.max(jnp.abs(values)))
    after = state._replace(w=w, loss=loss, gradient=gradient, flow_time=state.flow_time + size, radius=radius)
    new = jax.tree.map(partial(jnp.where, moved), after, state)._replace(
        counts=counts, step_size=jnp.clip(size * factor, 1e-12, jnp.minimum(longest, 1e12))
    )
    noise = ROUNDING * jnp.finfo(loss.dtype).eps * (jnp.linalg.norm(state.w) * radius)
    ended = jnp.where(moved, 0, jnp.where(krylov.norm <= noise, STATIONARY, STALLED))
    return new, Step(jnp.where(moved, size, 0.0), krylov.products.astype(jnp.int64), ended.astype(jnp.int64))


def _search(
    energy: Callable[[jax.Array], jax.Array],
    promised: Callable[[jax.Array], jax.Array],
    h: jax.Array,
    longest: jax.Array,
    loss: jax.Array,
) -> _Trial:
    """The best of h, 6h, 36h, ... while each lowers the energy and keeps its promise; else h/6, h/36, ..."""
    rounding = ROUNDING * jnp.finfo(loss.dtype).eps * jnp.abs(loss)

    def attempt(trial: _Trial) -> _Trial:
        seen = energy(trial.size)
        better = seen < trial.loss
        longer = trial.size * RATIO
        promise = promised(trial.size)
        grow = better & (loss - seen > 0.75 * promise) & (promised(longer) > WORTH * promise)
        grow &= (trial.size >= h) & (longer <= longest)  # never back to a size that failed
        shrink = ~better & (trial.best == 0) & (promise > rounding)
        done = ~(grow | shrink) | (trial.tried >= TRIALS)
        return _Trial(
            jnp.where(done, trial.size, jnp.where(grow, longer, trial.size / RATIO)),
            jnp.where(better, trial.size, trial.best),
            jnp.where(better, seen, trial.loss),
            trial.tried + 1,
            done,
        )

    start = _Trial(h, jnp.zeros_like(h), loss, jnp.zeros((), jnp.int64), jnp.asarray(False))
    return jax.lax.while_loop(lambda trial: ~trial.done, attempt, start)


def _secant_step(solver: Exponential, objective: Objective, state: State) -> tuple[State, Step, jax.Array]:
    """A sweep of secant steps, if it is their turn; False where none was taken, or the energy does not fall."""
    low = jax.tree.map(_single, objective)

    def exact(w: jax.Array) -> tuple[jax.Array, jax.Array]:
        return derivatives.value_and_gradient(objective, w)

    def single(w: jax.Array) -> tuple[jax.Array, jax.Array]:
        loss, gradient = derivatives.value_and_gradient(low, _single(w))
        return loss.astype(w.dtype), gradient.astype(w.dtype)

    mixed = solver.mixed and state.w.dtype != jnp.float32 and _traceable(single, state.w)
    start = secant.Point(state.w, state.loss, state.gradient)
    # Short sweeps at first: an easy target may be near, and a row ends only with its sweep.
    repeats = jnp.clip(state.counts.steps, SWEEP // 2, SWEEP) if mixed else 1
    enabled = state.race.secant
    found = secant.sweep(exact, single if mixed else exact, start, state.memory, repeats, state.rest > 0, enabled)
    good = found.good
    taken = good.astype(state.counts.steps.dtype)
    old = state.counts
    counts = old._replace(
        steps=old.steps + taken,
        rejected=old.rejected + jnp.maximum(found.exact + found.single - found.taken, 0),
        gradients=old.gradients + found.exact + found.single,
        singles=old.singles + found.single,
    )
    # After a sweep that rounding spoiled, exact steps alone for a while, for longer each time.
    spoiled = found.alone & (state.rest == 0) & (repeats > 1)
    penalty = jnp.where(spoiled, 2 * state.penalty, state.penalty)
    rest = jnp.where(spoiled, penalty, jnp.maximum(state.rest - 1, 0))
    # Pairs that lead nowhere are forgotten.
    memory = found.memory._replace(filled=jnp.where(good | ~enabled, found.memory.filled, 0))
    new = state._replace(
        w=found.point.w,
        loss=found.point.loss,
        gradient=found.point.gradient,
        step_size=jnp.maximum(state.step_size, found.path),
        flow_time=state.flow_time + jnp.where(good, found.path, 0.0),
        counts=counts,
        memory=memory,
        rest=rest,
        penalty=penalty,
    )
    zero = jnp.zeros((), jnp.int64)
    return new, Step(found.path, zero, zero), good


def _next_race(state: State, secant_moved: jax.Array) -> Race:
    """Decide the kind of the next step, at the end of each window."""
    race, loss, cost = state.race, state.loss, state.counts.cost
    spent = cost - race.cost
    rate = (race.loss - loss) / spent
    over = (spent >= WINDOW) | (race.secant & ~secant_moved)
    # A trial of the slower kind ends: the faster one goes on, longer if it stays so.
    wins = rate > race.rate
    patience = jnp.where(wins, 1.0, 2.0 * race.patience)
    after_trial = race._replace(
        secant=race.secant ^ ~wins, probing=jnp.asarray(False), rate=rate, patience=patience, left=patience
    )
    last = race.left <= 1.0
    after_window = race._replace(secant=race.secant ^ last, probing=last, rate=rate, left=race.left - 1.0)
    new = jax.tree.map(partial(jnp.where, race.probing), after_trial, after_window)
    return jax.tree.map(partial(jnp.where, over), new._replace(loss=loss, cost=cost), race)
