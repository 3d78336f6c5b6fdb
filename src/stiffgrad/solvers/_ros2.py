"""ROS2, the path-following mode of `rosenbrock`: two stages, order 2, L-stable, with embedded error control.

With gamma = 1 - 1/sqrt 2, J the Jacobian of F and M = I - gamma h J (Verwer, Spee, Blom, Hundsdorfer 1999, eq. 3.2):
    M k1 = F(w),   M k2 = F(w + h k1) - 2 k1,   w1 = w + 3/2 h k1 + 1/2 h k2.
It is a W-method: order 2 for every matrix in place of J. The embedded solution w + h k1 is of order 1.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import lu_factor, lu_solve

from stiffgrad.objective import Objective, derivatives

GAMMA = 1.0 - 0.5**0.5
SAFETY, SHRINK, GROW = 0.9, 0.2, 5.0  # the usual bounds of step control, Hairer and Wanner (1996) IV.2


class PathTrial(NamedTuple):
    """A trial of one step size."""

    h: jax.Array
    used_h: jax.Array
    w: jax.Array
    loss: jax.Array
    gradient: jax.Array
    accepted: jax.Array
    tries: jax.Array


def path_step(
    objective: Objective, w: jax.Array, slope: jax.Array, h: jax.Array, tolerances: tuple[Any, Any], options: Any
) -> PathTrial:
    """One accepted step of ROS2 from w, or none after `options.attempts` trials; `options.adaptive` controls h."""
    rtol, atol = tolerances
    curvature = derivatives.gauss_newton if options.gauss_newton else derivatives.hessian
    matrix = curvature(objective, w)
    eye = jnp.eye(w.shape[0], dtype=w.dtype)

    def attempt(trial: PathTrial) -> PathTrial:
        h = trial.h
        factors = lu_factor(eye + GAMMA * h * matrix)
        k1 = lu_solve(factors, -slope)
        k2 = lu_solve(factors, -derivatives.gradient(objective, w + h * k1) - 2.0 * k1)
        new = w + 1.5 * h * k1 + 0.5 * h * k2
        scale = atol + rtol * jnp.maximum(jnp.abs(w), jnp.abs(new))
        error = jnp.sqrt(jnp.mean((0.5 * h * (k1 + k2) / scale) ** 2))
        loss, gradient = derivatives.value_and_gradient(objective, new)
        good = (error <= 1.0) | (not options.adaptive)
        accepted = jnp.isfinite(loss) & good
        factor = jnp.clip(SAFETY / jnp.sqrt(jnp.maximum(error, 1e-10)), SHRINK, GROW)
        factor = jnp.where(jnp.isfinite(error), factor, SHRINK) if options.adaptive else jnp.asarray(1.0, w.dtype)
        return PathTrial(h * factor, h, new, loss, gradient, accepted, trial.tries + 1)

    start = PathTrial(h, h, w, jnp.zeros((), w.dtype), slope, jnp.asarray(False), jnp.asarray(0))
    return jax.lax.while_loop(lambda t: ~t.accepted & (t.tries < options.attempts), attempt, start)


class PathOptions(NamedTuple):
    """What is fixed at compile time."""

    adaptive: bool
    gauss_newton: bool
    attempts: int
