"""`chebyshev`: explicit stabilised Runge-Kutta of order 2 (RKC2), the stage number chosen by the spectral radius."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from stiffgrad import _checks
from stiffgrad.curvature.lanczos import lanczos, ritz
from stiffgrad.objective import Objective, derivatives
from stiffgrad.solvers._compiled import DIVERGED, FAILED, SteppedSolver

DAMPING = 2.0 / 13.0  # epsilon of the paper: the stability polynomial stays below 1 - epsilon / 3 inside its interval
RADIUS_STEPS = 8  # Lanczos products for an estimate of the spectral radius
RADIUS_SAFETY = 1.1
RADIUS_AGE = 25  # accepted steps until the next estimate
TRIALS = 30  # rejections of one step before giving up


class Coefficients(NamedTuple):
    """RKC2 with s stages, entries j = 0 ... most (Sommeijer, Shampine and Verwer 1998, equations 2.2 to 2.5)."""

    mu: jax.Array
    nu: jax.Array
    mu_tilde: jax.Array
    gamma_tilde: jax.Array


def coefficients(stages: Any, most: int) -> Coefficients:
    """The coefficients of RKC2; `stages` >= 2 may be known only at run time, `most` bounds it.

    Chebyshev polynomials T_j and their derivatives at w0 = 1 + epsilon / s^2 come from their recurrences, scaled as
    they stand: T_s(w0) stays near 1 by the choice of the damping.
    """
    s = jnp.asarray(stages, float)
    w0 = 1.0 + DAMPING / s**2

    def next_values(carry: Any, _: Any) -> tuple[Any, Any]:
        (t0, d0, c0), (t1, d1, c1) = carry
        new = (2 * w0 * t1 - t0, 2 * t1 + 2 * w0 * d1 - d0, 4 * d1 + 2 * w0 * c1 - c0)
        return ((t1, d1, c1), new), new

    zero, one = jnp.zeros(()), jnp.ones(())
    first, second = (one, zero, zero), (w0, one, zero)
    _, tail = jax.lax.scan(next_values, (first, second), length=most - 1)
    t, d, c = (jnp.concatenate([jnp.stack([a, b]), rest]) for a, b, rest in zip(first, second, tail, strict=True))
    last = jnp.asarray(stages, int)
    w1 = d[last] / c[last]
    b = (c / jnp.where(d > 0, d, 1.0) ** 2).at[:2].set(c[2] / d[2] ** 2)
    before, before2 = jnp.roll(b, 1), jnp.roll(b, 2)
    mu, nu, mu_tilde = 2 * b * w0 / before, -b / before2, 2 * b * w1 / before
    # The first stage is w + mu_tilde_1 h F with mu_tilde_1 = b_1 w1.
    return Coefficients(mu, nu, mu_tilde.at[1].set(b[1] * w1), -jnp.roll(1 - b * t, 1) * mu_tilde)


def stability_interval(stages: Any) -> Any:
    """Length of the real interval [-length, 0] on which s stages are stable (equation 2.4): about 0.65 s^2."""
    return (jnp.asarray(stages, float) ** 2 - 1.0) * 2.0 / 3.0 * (1.0 - 2.0 * DAMPING / 15.0)


def stages_for(step: jax.Array, radius: jax.Array) -> jax.Array:
    """The smallest number of stages, at least 2, that is stable for a step and a spectral radius."""
    needed = 1.0 + step * radius / (2.0 / 3.0 * (1.0 - 2.0 * DAMPING / 15.0))
    return jnp.maximum(2, jnp.ceil(jnp.sqrt(jnp.minimum(needed, 1e12)))).astype(int)


class State(NamedTuple):
    """Between two steps."""

    w: jax.Array
    loss: jax.Array
    gradient: jax.Array
    step_size: jax.Array
    flow_time: jax.Array
    radius: jax.Array
    age: jax.Array  # accepted steps since the radius was estimated
    error: jax.Array  # of the last accepted step, for the controller
    last_size: jax.Array
    steps: jax.Array
    rejected: jax.Array
    gradients: jax.Array
    products: jax.Array


class _Attempt(NamedTuple):
    """Tries of one step until the error test passes."""

    size: jax.Array
    radius: jax.Array
    w: jax.Array
    loss: jax.Array
    gradient: jax.Array
    error: jax.Array
    stages: jax.Array
    tries: jax.Array
    gradients: jax.Array
    products: jax.Array


@partial(jax.tree_util.register_dataclass, data_fields=["rtol", "atol"], meta_fields=["max_stages"])
@dataclasses.dataclass(frozen=True)
class Chebyshev(SteppedSolver[State]):
    """Stabilised explicit Runge-Kutta: gradients only, a few vectors of memory, an interval of stability of 0.65 s^2.

    A gradient flow's Jacobian is symmetric and its spectrum real, which is what these methods are made for: where
    explicit Euler needs s^2 / 3 gradients for a time, s stages suffice. The step follows the embedded error
    estimate, the number of stages the step and the spectral radius, which Lanczos estimates from products.

    Parameters
    ----------
    rtol : float
        Tolerance of the error of one step, relative to the weights.
    atol : float
        Tolerance of the error of one step, absolute.
    max_stages : int
        Bounds the step by stability.

    Examples
    --------
    >>> Chebyshev(rtol=1e-4).max_stages
    200
    """

    name: ClassVar[str] = "chebyshev"
    family: ClassVar[str] = "own"
    summary: ClassVar[str] = "explicit stabilised Runge-Kutta of order 2 (RKC2): gradients only"
    source: ClassVar[str] = "Sommeijer, Shampine and Verwer (1998), RKC: an explicit solver for parabolic PDEs"
    columns: ClassVar[tuple[str, ...]] = (
        "flow_time",
        "step_size",
        "order",
        "loss",
        "gradient_norm",
        "steps",
        "rejected_steps",
        "error_test_failures",
        "rhs_evaluations",
        "loss_evaluations",
        "hessian_products",
        "presentations",
        "stages",
        "spectral_radius",
    )
    reasons: ClassVar[dict[int, str]] = {
        DIVERGED: "the gradient is not finite even for the smallest step",
        FAILED: f"the error test failed {TRIALS} times in a row",
    }

    rtol: float = 1e-2
    atol: float = 1e-3
    max_stages: int = 200

    @property
    def follows_flow(self) -> bool:
        return True

    def check(self, objective: Objective) -> None:
        """Options that cannot work, named."""
        _checks.positive("rtol", self.rtol)
        _checks.positive("atol", self.atol)
        _checks.whole("max_stages", self.max_stages, 2, 1000)

    def weights(self, state: State) -> jax.Array:
        return state.w

    def initial(self, objective: Objective, w: jax.Array) -> tuple[State, dict[str, Any]]:
        loss, gradient = derivatives.value_and_gradient(objective, w)
        radius, products = _radius(objective, w, gradient)
        norm = jnp.linalg.norm(gradient) / jnp.sqrt(w.size)
        # The first step moves the weights by the tolerance, and is not above what one Euler step could take.
        scale = self.atol + self.rtol * jnp.sqrt(jnp.mean(w**2))
        size = jnp.minimum(1.0 / radius, jnp.sqrt(scale) / jnp.maximum(norm, jnp.finfo(w.dtype).tiny))
        zero, none = jnp.zeros((), loss.dtype), jnp.zeros((), jnp.int64)
        state = State(
            w, loss, gradient, size, zero, radius, none, zero + 1, size, none, none, none + 1, products + none
        )
        return state, _row(state, none, zero, 0)

    def step(self, objective: Objective, state: State) -> tuple[State, dict[str, Any]]:
        stale = state.age >= RADIUS_AGE

        def attempt(old: _Attempt) -> _Attempt:
            # A step may fail because the radius was too small, so it is estimated again, once.
            wanted = jnp.where(old.tries == 0, stale, old.products == 0)
            radius, products = jax.lax.cond(
                wanted,
                partial(_radius, objective),
                lambda w, g: (old.radius, jnp.zeros((), jnp.int64)),
                state.w,
                state.gradient,
            )
            radius = jnp.where(old.tries == 0, radius, jnp.maximum(radius, old.radius))
            size = jnp.minimum(old.size, self._longest(radius))
            stages = jnp.minimum(stages_for(size, radius), self.max_stages)
            w = _stages(objective, state.w, state.gradient, size, stages, self.max_stages)
            loss, gradient = derivatives.value_and_gradient(objective, w)
            error = self._error(state, w, gradient, size)
            # A step that was shortened until it moves nothing has not passed.
            moved = jnp.any(w != state.w) | (old.tries == 0)
            fine = jnp.isfinite(error) & jnp.isfinite(loss) & moved
            error = jnp.where(fine, error, jnp.inf)
            shrink = jnp.where(fine, jnp.clip(0.8 * error ** (-1 / 3), 0.1, 0.8), 0.1)
            return _Attempt(
                jnp.where(error <= 1.0, size, size * shrink),
                radius,
                w,
                loss,
                gradient,
                error,
                stages,
                old.tries + 1,
                old.gradients + stages,
                old.products + products,
            )

        none = jnp.zeros((), jnp.int64)
        start = _Attempt(
            state.step_size, state.radius, state.w, state.loss, state.gradient,
            jnp.full_like(state.loss, jnp.inf), none, none, none, none,
        )  # fmt: skip
        done = jax.lax.while_loop(lambda a: (a.error > 1.0) & (a.tries < TRIALS), attempt, start)
        return self._accept(state, done)

    def _longest(self, radius: jax.Array) -> jax.Array:
        """The longest stable step, in the number type of the weights."""
        return stability_interval(self.max_stages).astype(radius.dtype) / radius

    def _error(self, state: State, w: jax.Array, gradient: jax.Array, size: jax.Array) -> jax.Array:
        """The embedded estimate 0.8 (w0 - w1) + 0.4 h (F0 + F1) in the weighted RMS norm (equation 3.1)."""
        estimate = 0.8 * (state.w - w) - 0.4 * size * (state.gradient + gradient)
        scale = self.atol + self.rtol * jnp.maximum(jnp.abs(state.w), jnp.abs(w))
        return jnp.sqrt(jnp.mean((estimate / scale) ** 2))

    def _accept(self, state: State, done: _Attempt) -> tuple[State, dict[str, Any]]:
        passed = done.error <= 1.0
        error = jnp.maximum(done.error, 1e-10)
        # The predictive controller of the paper (equation 3.4), after Watts (1984) and Gustafsson (1994).
        plain = 0.8 * error ** (-1 / 3)
        predictive = plain * (done.size / state.last_size) * (state.error / error) ** (1 / 3)
        first = (state.steps == 0) | (done.tries > 1)
        factor = jnp.clip(jnp.where(first, plain, jnp.minimum(plain, predictive)), 0.1, 5.0)
        largest = self._longest(done.radius)
        taken = passed.astype(state.steps.dtype)
        after = state._replace(
            w=done.w,
            loss=done.loss,
            gradient=done.gradient,
            step_size=jnp.minimum(done.size * factor, largest),
            flow_time=state.flow_time + done.size,
            error=error,
            last_size=done.size,
        )
        new = jax.tree.map(partial(jnp.where, passed), after, state)._replace(
            radius=done.radius,
            age=jnp.where(done.products > 0, 0, state.age + taken),
            steps=state.steps + taken,
            rejected=state.rejected + done.tries - taken,
            gradients=state.gradients + done.gradients,
            products=state.products + done.products,
        )
        bad = jnp.where(jnp.isfinite(done.error), FAILED, DIVERGED)
        return new, _row(new, done.stages, done.size, jnp.where(passed, 0, bad))


def _row(state: State, stages: Any, size: Any, ended: Any) -> dict[str, Any]:
    return {
        "flow_time": state.flow_time,
        "step_size": size,
        "order": 2.0,
        "loss": state.loss,
        "gradient_norm": jnp.linalg.norm(state.gradient),
        "steps": state.steps,
        "rejected_steps": state.rejected,
        "error_test_failures": state.rejected,
        "rhs_evaluations": state.gradients,
        "loss_evaluations": 0,
        "hessian_products": state.products,
        "presentations": state.gradients + 2 * state.products,
        "stages": stages,
        "spectral_radius": state.radius,
        "ended": ended,
    }


def _radius(objective: Objective, w: jax.Array, gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    """An upper estimate of the spectral radius of H, and the products it took.

    The largest Ritz value in size plus what the Krylov space does not yet see of it, the last off-diagonal entry
    (Zhou and Li 2011, bounding the spectrum by the Lanczos method).
    """
    # From a start with a part in every direction: the gradient may have none in the stiffest.
    spread = jax.random.normal(jax.random.key(0), w.shape, w.dtype)
    start = gradient / jnp.maximum(jnp.linalg.norm(gradient), jnp.finfo(w.dtype).tiny)
    start = start + spread / jnp.linalg.norm(spread)
    krylov = lanczos(lambda v: derivatives.hvp(objective, w, v), start, min(RADIUS_STEPS, w.size))
    values = ritz(krylov).values
    beyond = krylov.off_diagonal[krylov.products - 1]
    radius = jnp.max(jnp.abs(values)) + beyond
    tiny = jnp.sqrt(jnp.finfo(w.dtype).tiny)
    return jnp.maximum(RADIUS_SAFETY * radius, tiny), krylov.products.astype(jnp.int64)


def _stages(
    objective: Objective, w: jax.Array, gradient: jax.Array, size: jax.Array, stages: jax.Array, most: int
) -> jax.Array:
    """The end of one RKC2 step of `stages` stages; costs stages - 1 gradients."""
    return rkc(lambda w: -derivatives.gradient(objective, w), w, -gradient, size, stages, most)


def rkc(
    rhs: Callable[[jax.Array], jax.Array], w: jax.Array, slope: jax.Array, size: Any, stages: Any, most: int
) -> jax.Array:
    """One step of RKC2 for w' = rhs(w), with slope = rhs(w); costs stages - 1 evaluations (equation 2.1)."""
    table = Coefficients(*(column.astype(w.dtype) for column in coefficients(stages, most)))

    def stage(j: Any, pair: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        before, last = pair
        mu, nu, mu_tilde, gamma_tilde = (column[j] for column in table)
        new = (1 - mu - nu) * w + mu * last + nu * before + size * (mu_tilde * rhs(last) + gamma_tilde * slope)
        return last, new

    return jax.lax.fori_loop(2, jnp.asarray(stages, int) + 1, stage, (w, w + table.mu_tilde[1] * size * slope))[1]
