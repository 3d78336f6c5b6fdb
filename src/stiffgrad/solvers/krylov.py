"""`krylov`: the locally linearised gradient flow solved exactly in a Krylov space; products alone, any size.

k Lanczos steps from the gradient g with the curvature C give C ~ V'TV and

    d(h) = -|g| h V' phi(h T) e1,   phi(z) = (1 - exp(-z)) / z,

the exact flow of the local quadratic model after a time h (exponential Rosenbrock-Euler). One basis serves every h.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from stiffgrad import _checks
from stiffgrad._memory import require
from stiffgrad.curvature.lanczos import lanczos, phi, ritz
from stiffgrad.curvature.point import evaluated
from stiffgrad.objective import Objective, derivatives
from stiffgrad.solvers._compiled import STALLED, STATIONARY, SteppedSolver
from stiffgrad.solvers._control import judge
from stiffgrad.solvers._own import ROW, Place, blank_row
from stiffgrad.solvers._tally import Prices

TOLERANCE = 0.1  # of the residual of (T + I/h) y = e1
RATIO = 6.0  # between neighbouring trial steps
WORTH = 1.2  # a longer step is tried only if the model promises so many times the decrease
TRIALS = 40
GROWTH = 30.0  # largest exponent along negative curvature in one step


class State(NamedTuple):
    """Between two steps."""

    place: Place
    h: jax.Array  # to try first; 0 before the first gradient
    radius: jax.Array  # largest Ritz value so far in size


class _Search(NamedTuple):
    """The search for a step size on one Krylov basis."""

    size: jax.Array
    best: jax.Array  # 0: none lowered the energy yet
    loss: jax.Array  # of the best
    tried: jax.Array
    done: jax.Array


@partial(jax.tree_util.register_dataclass, data_fields=["tolerance"], meta_fields=["curvature", "krylov"])
@dataclasses.dataclass(frozen=True)
class Krylov(SteppedSolver[State]):
    """Exponential Rosenbrock-Euler in a Krylov space, w + h phi(-h C) F(w), on an energy that never rises.

    The step is chosen among h, 6h, 36h, h/6, ... by evaluating losses only. Along negative curvature phi grows, as the
    flow does.

    Parameters
    ----------
    curvature : {"auto", "hessian", "gauss-newton"}
        The C of the products; "auto" is Gauss-Newton where the objective has one.
    krylov : int
        Largest dimension of the Krylov space.
    tolerance : float
        Lanczos stops where the residual of (T + I/h) y = e1 is below it.

    Examples
    --------
    >>> Krylov(curvature="hessian").krylov
    60
    """

    curvature: str = "auto"
    krylov: int = 60
    tolerance: float = TOLERANCE

    name: ClassVar[str] = "krylov"
    family: ClassVar[str] = "own"
    summary: ClassVar[str] = "exponential Rosenbrock-Euler in a Krylov space: products alone, monotone energy; any size"
    source: ClassVar[str] = (
        "Hochbruck and Lubich (1997); Hochbruck, Ostermann and Schweitzer (2009), exponential Rosenbrock-Euler"
    )
    bare_start: ClassVar[bool] = True
    exact_rows: ClassVar[bool] = True
    lasting: ClassVar[tuple[str, ...]] = ("h", "radius")
    columns: ClassVar[tuple[str, ...]] = (*ROW, "lanczos")
    reasons: ClassVar[dict[int, str]] = {
        STATIONARY: "the gradient is zero to rounding",
        STALLED: "no step lowers the energy by more than rounding",
    }

    def check(self, objective: Objective) -> None:
        """Options that do not fit, named."""
        _checks.choice("curvature", self.curvature, ("auto", "hessian", "gauss-newton"))
        if self.curvature == "gauss-newton" and not objective.has_gauss_newton:
            raise ValueError("curvature='gauss-newton' needs outputs under a loss; use curvature='hessian' here")
        krylov = _checks.whole("krylov", self.krylov, 1)
        # Zero or positive: a tolerance of 0 takes all steps.
        _checks.number("tolerance", self.tolerance, least=0.0)
        needed = objective.w0.dtype.itemsize * (objective.size * (krylov + 8.0) + 4.0 * krylov**2)
        require(needed, f"solver 'krylov' with krylov={krylov}", "lower krylov")

    def weights(self, state: State) -> jax.Array:
        return state.place.point.w

    def prices(self, objective: Objective) -> Prices:
        """Gradients, losses and products."""
        return Prices()

    def initial(self, objective: Objective, w: Any) -> tuple[State, dict[str, Any]]:
        """The start, nothing evaluated."""
        zero = np.zeros((), w.dtype)
        return State(Place.start(w), zero, zero), blank_row(self.columns)  # type: ignore[arg-type]

    def step(self, objective: Objective, state: State) -> tuple[State, dict[str, Any]]:
        """A basis, the best of its step sizes, the gradient there."""
        old, started = state.place.point, state.place.point.known
        tiny = jnp.finfo(old.w.dtype).tiny
        g = old.gradient
        first = jnp.minimum(1.0 / jnp.maximum(jnp.linalg.norm(g), tiny), 1e6)
        h = jnp.where(state.h > 0, state.h, first)
        gauss_newton = self.curvature != "hessian" and objective.has_gauss_newton
        multiply = derivatives.gnvp if gauss_newton else derivatives.hvp
        space = lanczos(partial(multiply, objective, old.w), g, self.krylov, 1.0 / h, self.tolerance)
        values, vectors = ritz(space)
        weights = vectors[0]  # of e1 in the eigenvectors of T

        def move(h: jax.Array) -> jax.Array:
            return old.w - space.norm * h * ((vectors @ (phi(h * values) * weights)) @ space.basis)

        def promised(h: jax.Array) -> jax.Array:
            # Along the exact flow of the quadratic model dE/dt = -|g|^2, whose integral is this.
            return space.norm**2 * h * jnp.sum(weights**2 * phi(2.0 * h * values))

        # Along negative curvature the linearised flow grows for ever; a linearisation is no guide so far away.
        longest = GROWTH / jnp.maximum(-jnp.min(values), tiny)
        found = _search(lambda h: derivatives.value(objective, move(h)), promised, h, longest, old.loss, old.rounding)
        size = jnp.where(found.best > 0, found.best, h)
        new = evaluated(objective, move(size))
        verdict = judge(old, new, promised(size))
        moved = verdict.accepted
        shrunk = jnp.round(jnp.log(h / size) / jnp.log(RATIO)).clip(0).astype(int)
        rejected = started * jnp.where(found.best > 0, shrunk, ~moved)
        counts = {"gradients": 1, "losses": found.tried, "products": space.products, "rejected": rejected}
        place = state.place.moved(moved, new, size, **counts)
        ratio = (old.loss - found.loss) / promised(size)
        grown = jnp.select([ratio > 0.9, ratio > 0.75, ratio > 0.25], [6.0, 3.0, 1.0], 0.5)
        # A longer step that was tried and lost need not be tried first the next time.
        factor = jnp.where(found.size > size, jnp.minimum(grown, 1.0), grown)
        radius = jnp.maximum(state.radius, jnp.max(jnp.abs(values)))
        longer = jnp.clip(size * factor, 1e-12, jnp.minimum(longest, 1e12))
        after = State(place, jnp.where(started, longer, 0.0).astype(h.dtype), radius.astype(h.dtype))
        noise = 8.0 * jnp.finfo(h.dtype).eps * jnp.linalg.norm(old.w) * radius
        stuck = jnp.where(space.norm <= noise, STATIONARY, STALLED)
        ended = jnp.where(moved | ~started, 0, stuck)
        ended = jnp.where(place.point.known & (jnp.linalg.norm(place.point.gradient) == 0), STATIONARY, ended)
        row = place.row(objective, self.prices(objective), step_size=jnp.where(moved, size, 0.0), ended=ended)
        return after, {**row, "lanczos": space.products, "recorded": moved | ~started}


def _search(
    energy: Callable[[jax.Array], jax.Array],
    promised: Callable[[jax.Array], jax.Array],
    h: jax.Array,
    longest: jax.Array,
    loss: jax.Array,
    rounding: jax.Array,
) -> _Search:
    """The best of h, 6h, 36h, ... while each lowers the energy and keeps its promise; else h/6, h/36, ..."""

    def attempt(trial: _Search) -> _Search:
        seen = energy(trial.size)
        better = seen < trial.loss
        longer = trial.size * RATIO
        promise = promised(trial.size)
        grow = better & (loss - seen > 0.75 * promise) & (promised(longer) > WORTH * promise)
        grow &= (trial.size >= h) & (longer <= longest)  # never back to a size that failed
        shrink = ~better & (trial.best == 0) & (promise > rounding)
        done = ~(grow | shrink) | (trial.tried >= TRIALS)
        return _Search(
            jnp.where(done, trial.size, jnp.where(grow, longer, trial.size / RATIO)),
            jnp.where(better, trial.size, trial.best),
            jnp.where(better, seen, trial.loss),
            trial.tried + 1,
            done,
        )

    start = _Search(h, jnp.zeros_like(h), loss, jnp.zeros((), jnp.int64), jnp.asarray(False))
    return jax.lax.while_loop(lambda trial: ~trial.done, attempt, start)
