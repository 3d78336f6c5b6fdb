"""How often a solution swings in time while it makes one wave in space, as its equations tell.

A plane wave exp(i (k x + w t)) solves an equation of evolution for one frequency w of time: of u_t + 40 u_x = 0 for
w = -40 k, so that half a wave along a side of 2 pi becomes 3.2 waves in a time of 1. This dispersion relation (Whitham
1974, section 11.1) is looked up at several points, with the coefficients that are there. What decays has none that is
real. A network whose units are as wide in time as in space finds fast waves hardly or not at all (docs/pinns.md).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from stiffgrad._config import QUICK, Program
from stiffgrad._types import Params
from stiffgrad.objective import Term
from stiffgrad.pde.conditions import residual_of
from stiffgrad.pde.networks import as_array, scalar
from stiffgrad.pde.points import Domain, interior_points
from stiffgrad.pde.scales import Scales, Trial, smooth

HALF_WAVE = np.pi  # along a side of the domain: about what a start follows by itself
COVERED, MOST = 3.0, 16.0  # times as many in time as in space that a start still follows, and is made to, at most
PACES = np.linspace(0.0, MOST, 129)
POINTS = 16


def pace(terms: list[Term], sides: Domain, time: int, scales: Scales, params: Params) -> float:
    """How many times as sharp units should be in time as in space: 1, or more than COVERED.

    For half a wave along each coordinate of space, the frequency of time is taken at which the equations leave least
    of it; the largest over coordinates and points counts.
    """
    paces = np.concatenate([-PACES[:0:-1], PACES])
    fastest = 0.0
    for axis in range(len(sides)):
        if axis != time:
            waves = np.zeros((len(paces), len(sides)))
            waves[:, axis], waves[:, time] = HALF_WAVE, HALF_WAVE * paces
            left = np.concatenate([_symbol(term, sides, scales, params, waves) for term in terms], axis=2)
            if np.all(np.isfinite(left)):
                unit = np.sqrt(np.mean(np.abs(left) ** 2, axis=(0, 1, 3), keepdims=True))  # of each entry
                least = np.linalg.svd(left / np.where(unit > 0, unit, 1.0), compute_uv=False)[..., -1]
                fastest = max(fastest, float(np.max(np.abs(paces[np.argmin(least, axis=0)]))))
    return fastest if fastest > COVERED else 1.0


def _symbol(term: Term, sides: Domain, scales: Scales, params: Params, waves: Any) -> NDArray[np.complex128]:
    """What an equation leaves of plane waves (F, d) on a trial function, (F, points, j, k) for k components."""
    function = dataclasses.replace(residual_of(term), network=_Waved(Trial(sides), sides))
    size = np.array(scales.size)
    trial = smooth(scales)
    unknowns = params["unknowns"] if function.inverse else {}
    points = interior_points(sides, POINTS)
    real, imaginary = (
        np.asarray(_answers(function, trial, unknowns, np.diag(size), waves, phase, points))
        for phase in (0.0, -np.pi / 2)
    )
    return np.asarray(real + 1j * imaginary)


@dataclasses.dataclass(frozen=True)
class _Waved:
    """A trial function and a plane wave: parameters {"trial": ..., "size": (k,), "wave": (d,), "phase": ()}."""

    trial: Trial
    sides: Domain

    def __call__(self, params: Any, x: Any) -> Any:
        x = as_array(x)
        low, high = np.array(self.sides).T
        wave = jnp.cos(params["wave"] @ ((x - low) / (high - low)) + params["phase"])
        return scalar(jnp.atleast_1d(self.trial(params["trial"], x)) + params["size"] * wave)


def _ask(function: Any, trial: Any, unknowns: Any, sizes: Any, waves: Any, phase: Any, points: Any) -> jax.Array:
    """The derivative of a residual in the amount of a wave, (F, N, j, k) for waves of `sizes`, (k, k)."""

    def one(wave: Any, x: Any, size: Any) -> jax.Array:
        def residual(amount: Any) -> jax.Array:
            network = {"trial": trial, "size": amount * size, "wave": wave, "phase": phase}
            return jnp.ravel(function({"network": network, "unknowns": unknowns} if function.inverse else network, x))

        return jax.jvp(residual, (0.0,), (1.0,))[1]

    each = jax.vmap(jax.vmap(jax.vmap(one, (None, None, 0), -1), (None, 0, None)), (0, None, None))
    return each(waves, points, sizes)


_answers = Program(_ask, QUICK, static_argnums=0)
