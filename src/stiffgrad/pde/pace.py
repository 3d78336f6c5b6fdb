"""How sharp units have to be for the waves of an equation of evolution, as its start and its equations tell.

A plane wave exp(i (k x + w t)) solves such an equation for one frequency of time: u_t + 40 u_x = 0 for w = -40 k, so
that one wave along a side of 2 pi becomes 6.4 waves in a time of 1. This dispersion relation (Whitham 1974, section
11.1) is looked up at several points, with the coefficients that are there, for the shortest waves at the first time.
What decays has none that is real. A network whose units are as wide as the domain finds fast waves hardly or not at
all (docs/pinns.md).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct, dst

from stiffgrad._config import QUICK, Program
from stiffgrad._types import Params
from stiffgrad.objective import Term
from stiffgrad.pde.conditions import Condition, moved, residual_of
from stiffgrad.pde.networks import as_array, scalar
from stiffgrad.pde.points import Domain, interior_points
from stiffgrad.pde.scales import Scales, Trial, smooth
from stiffgrad.pde.slices import at_points

COVERED, MOST = 6.0, 16.0  # waves in time that a start still follows by itself, and is made to, at most
STANDING = 3.5  # waves in time of a start with short waves that still need none to be sharper in space
PACES = np.linspace(0.0, MOST, 129)
POINTS = 16
LINES, ALONG = 4, 65  # lines along a coordinate of space on which a start is looked at, and points of each
MOST_OF = 0.9  # waves at the first time are as short as those that together hold so much of the square of the start
EACH = 10  # units for each part of the domain in which there is one wave
SLOW = 0.5  # where one wave in space makes fewer in time, the start need not be looked at


def pace(
    terms: list[Term],
    starts: Mapping[str, tuple[Term, Condition]],
    sides: Domain,
    time: int,
    scales: Scales,
    params: Params,
    units: int,
) -> NDArray[np.float64]:
    """How many times as sharp units should be along each coordinate, (d,): 1, or as many as there are waves.

    For the waves of the start along each coordinate of space, the frequency of time is taken at which the equations
    `terms` leave least of them; the largest over coordinates and points counts. `starts` are the initial conditions.
    Few `units` of a first layer are made sharper in time only, by as many half waves as come to half a wave in space:
    sharp in all directions they would not cover the domain.
    """
    found = np.ones(len(sides))
    fastest = 2.0 * _fastest(terms, sides, time, scales, params, 0.5 * found)
    if fastest >= SLOW:
        along = _waves_at_first(starts, sides, time, scales, params)
        sharp = along.copy()
        if np.any(along > 1.0):
            sharp[time] = _fastest(terms, sides, time, scales, params, along)
        if sharp[time] > STANDING and units >= EACH * np.prod(sharp):
            return sharp
    if fastest > COVERED:
        found[time] = fastest
    return found


def _fastest(
    terms: list[Term], sides: Domain, time: int, scales: Scales, params: Params, along: NDArray[np.float64]
) -> float:
    """Waves in the time of the domain, where there are so many along each coordinate of space."""
    paces = np.concatenate([-PACES[:0:-1], PACES])
    fastest = 0.0
    for axis in range(len(sides)):
        if axis != time:
            waves = np.zeros((len(paces), len(sides)))
            waves[:, axis], waves[:, time] = 2 * np.pi * along[axis], 2 * np.pi * paces
            left = np.concatenate([_symbol(term, sides, scales, params, waves) for term in terms], axis=2)
            if np.all(np.isfinite(left)):
                unit = np.sqrt(np.mean(np.abs(left) ** 2, axis=(0, 1, 3), keepdims=True))  # of each entry
                least = np.linalg.svd(left / np.where(unit > 0, unit, 1.0), compute_uv=False)[..., -1]
                fastest = max(fastest, float(np.max(np.abs(paces[np.argmin(least, axis=0)]))))
    return fastest


def _waves_at_first(
    starts: Mapping[str, tuple[Term, Condition]], sides: Domain, time: int, scales: Scales, params: Params
) -> NDArray[np.float64]:
    """Waves along each side at the first time, at least 1, of what the initial conditions leave of u = 0."""
    found = np.ones(len(sides))
    low, high = np.array(sides).T
    for axis in range(len(sides)):
        if axis != time:
            points = np.repeat(interior_points(sides, LINES)[:, None], ALONG, axis=1)
            points[..., axis], points[..., time] = np.linspace(low[axis], high[axis], ALONG), low[time]
            for name, (term, condition) in starts.items():
                placed = moved(term, condition, name, points.reshape(-1, len(sides)))
                left = _of_nothing(placed, sides, scales, params).reshape(LINES, ALONG, -1)
                found[axis] = max(found[axis], *(waves(left[..., entry]) for entry in range(left.shape[2])))
    return found


def waves(values: NDArray[np.float64]) -> float:
    """How many waves hold most of some functions, given at even points along lines, (lines, points).

    Of cosines, and of sines beside straight lines, those serve that need fewer; 0 for constants and for what is not
    finite.
    """
    if not np.all(np.isfinite(values)):
        return 0.0
    ramp = np.linspace(0.0, 1.0, values.shape[1])
    straight = values[:, :1] + (values[:, -1:] - values[:, :1]) * ramp
    cosines = dct(values, 1)[:, 1:]
    sines = dst((values - straight)[:, 1:-1], 1)
    size = float(np.max(np.abs(values)))
    return min(_shortest(cosines, size), _shortest(sines, size)) / 2.0


def _shortest(modes: NDArray[np.float64], size: float) -> float:
    """The number of half waves up to which most is, of coefficients (lines, modes) of 1, 2, ... half waves."""
    held = np.cumsum(np.sum(modes**2, axis=0))
    if held[-1] <= (1e-9 * size * modes.shape[1]) ** 2:
        return 0.0
    return float(1 + np.searchsorted(held, MOST_OF * held[-1]))


def _of_nothing(term: Term, sides: Domain, scales: Scales, params: Params) -> NDArray[np.float64]:
    """What a condition leaves at its points where the solution is 0."""
    if residual_of(term).equation is None:
        return np.asarray(term.targets, float)
    function = dataclasses.replace(residual_of(term), network=Trial(sides))
    nothing = jax.tree.map(np.zeros_like, smooth(scales))
    return at_points(function, {**params, "network": nothing} if function.inverse else nothing, term.samples)


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
