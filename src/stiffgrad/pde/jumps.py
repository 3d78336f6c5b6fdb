"""Where an equation jumps: a source that is switched on, or a material that changes.

A jump lies between two points, and nothing on them tells where: a network may turn anywhere in between. So it is found
here, by bisection of an equation's residual at smooth trial functions. And automatic differentiation does not see the
jump of a function that it differentiates: of (k u')' with a k that jumps, k u'' is left, and the condition that k u' is
continuous is lost. So it is said where a function jumps that an operator differentiates.

An equation of order n that jumps has a solution whose n-th derivative jumps and whose others do not: with the place and
the order known, a network can be given just that, and is smooth on either side.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from stiffgrad._config import QUICK, Program
from stiffgrad._types import Params
from stiffgrad.objective import Term
from stiffgrad.pde._numpy import as_array
from stiffgrad.pde.conditions import residual_of
from stiffgrad.pde.networks import scalar
from stiffgrad.pde.operators import differentiated
from stiffgrad.pde.points import Domain, Points, interior_points
from stiffgrad.pde.scales import MODES, Scales, Trial, smooth

Values = NDArray[np.float64]
CHOICES = ("select_n", "sign", "floor", "ceil", "round")  # what makes a jump
LINES, CELLS = 16, 32  # lines along each coordinate, and intervals of each; as many intervals in one dimension
BATCH = 1024
HALVINGS = 50  # to neighbouring numbers
LEAST = 1e-4  # of the range of values: a smaller jump is none
MOST = 24  # kinks that a network is given
RIPPLES = np.array([1e7, 1e8])  # frequencies so high, along the domain, that the highest derivative answers alone


@dataclasses.dataclass(frozen=True)
class Jumps:
    """Jumps of an equation.

    Attributes
    ----------
    points : array of shape (N, d)
        Where it was seen to jump.
    derived : array of shape (N,)
        Whether a function jumps there that the equation differentiates.
    """

    points: Points
    derived: NDArray[np.bool_]


def jumps(term: Term, sides: Domain, scales: Scales, params: Params) -> Jumps:
    """The jumps of an equation along lines through the domain, whatever the solution."""
    none = Jumps(np.zeros((0, len(sides))), np.zeros(0, bool))
    function = dataclasses.replace(residual_of(term), network=Trial(sides))
    unknowns = params["unknowns"] if function.inverse else {}
    size = np.array(scales.size) / np.sqrt(MODES)
    generator = np.random.default_rng(1)
    trials = [
        {"constant": np.array(scales.shift), "waves": generator.choice([-1.0, 1.0], (2 * MODES, len(size))) * size}
        for _ in range(2)
    ]
    if not _chooses(jax.make_jaxpr(lambda x: _both(function, trials[0], unknowns, x))(jnp.asarray(term.samples[0]))):
        return none

    def values(points: Points, trial: Any) -> Points:
        """The residual and what is differentiated, (N, m); not finite ones count as 0."""
        padded = np.concatenate([points, np.repeat(points[-1:], -len(points) % BATCH, axis=0)])
        rows = [_values(function, trial, unknowns, part) for part in padded.reshape(-1, BATCH, len(sides))]
        return np.nan_to_num(np.concatenate([np.asarray(row) for row in rows])[: len(points)], posinf=0.0, neginf=0.0)

    low, high = _intervals(sides)
    low_values, high_values = values(low, trials[0]), values(high, trials[0])
    spread = np.ptp(np.concatenate([low_values, high_values]), axis=0)
    seen = np.flatnonzero(spread > 0)

    def steps(a: Points, b: Points) -> Points:
        return np.abs(b - a)[:, seen] / spread[seen]

    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        middle_values = values(middle, trials[0])
        left = steps(low_values, middle_values).max(axis=1) >= steps(middle_values, high_values).max(axis=1)
        low, high = np.where(left[:, None], low, middle), np.where(left[:, None], middle, high)
        low_values = np.where(left[:, None], low_values, middle_values)
        high_values = np.where(left[:, None], middle_values, high_values)
    other = np.abs(values(high, trials[1]) - values(low, trials[1]))[:, seen] / spread[seen]
    jumping = np.minimum(steps(low_values, high_values), other) > LEAST
    found = jumping.any(axis=1)
    differentiated_too = jumping[:, seen >= np.asarray(term_width(function, trials[0], unknowns, low[0]))].any(axis=1)
    where, first = np.unique(high[found], axis=0, return_index=True)  # where the values above the jump begin
    return Jumps(where, differentiated_too[found][first])


def term_width(function: Any, trial: Any, unknowns: Any, x: Points) -> int:
    """Entries of a residual."""
    params = {"network": trial, "unknowns": unknowns} if function.inverse else trial
    return int(jax.eval_shape(function, params, jnp.asarray(x)).size)


def kinks(found: Mapping[str, Jumps], sides: Domain) -> tuple[float, ...]:
    """Where the solution is not smooth, in one dimension; none where there are too many to be given to a network."""
    if len(sides) > 1:
        return ()
    (low, high), edge = sides[0], 1e-9 * (sides[0][1] - sides[0][0])
    points = [jump.points[~jump.derived, 0] for jump in found.values()]
    at = np.unique(np.concatenate([np.zeros(0), *points]))
    at = at[(at > low + edge) & (at < high - edge)]
    return tuple(map(float, at)) if len(at) <= MOST else ()


def order(terms: list[Term], sides: Domain, scales: Scales, params: Params) -> int:
    """The highest order of the equations, in one dimension."""
    return max(orders(terms, sides, scales, params))


def orders(terms: list[Term], sides: Domain, scales: Scales, params: Params, axis: int = 0) -> tuple[int, ...]:
    """The highest order along an axis of the equations in each component, at least 1."""
    found = []
    for unit in np.eye(len(scales.size)):
        powers = [power(answers(term, sides, scales, params, RIPPLES, axis, unit), RIPPLES) for term in terms]
        found.append(max(1, *(int(n) for seen in powers for n in seen)))
    return tuple(found)


def power(answered: Values, frequencies: Values) -> NDArray[np.int_]:
    """With which power of the last two frequencies each entry rises, (j,); 0 where it does not answer."""
    lower, higher = answered[-2:]
    seen = (lower > 0) & (higher > 0) & np.isfinite(lower) & np.isfinite(higher)
    rises = np.log(np.where(seen, higher, 1.0) / np.where(seen, lower, 1.0))
    return np.asarray(np.rint(rises / np.log(frequencies[-1] / frequencies[-2])), int)


def answers(
    term: Term, sides: Domain, scales: Scales, params: Params, frequencies: Values, axis: int = 0, unit: Any = 1.0
) -> Values:
    """How the entries of an equation answer to ripples along an axis on a trial function, (frequencies, j).

    `unit`: how much of them each component has, (k,) or the same for all.
    """
    low, high = np.array(sides).T
    points = low + (high - low) * np.linspace(0.0, 1.0, 9)[1:-1, None]
    function = dataclasses.replace(
        residual_of(term), network=_Rippled(Trial(sides), float(high[axis] - low[axis]), axis)
    )
    size = np.array(scales.size)
    trial = smooth(scales)
    unknowns = params["unknowns"] if function.inverse else {}
    # A cosine and a sine, whose squares add up to one wherever the points lie.
    both = [
        [_answers(function, trial, unknowns, unit * size, f, phase, points) for phase in (0.0, np.pi / 2)]
        for f in frequencies
    ]
    return np.array(np.sqrt(np.mean(np.sum(np.square(both), axis=1), axis=1)))


@dataclasses.dataclass(frozen=True)
class _Rippled:
    """A trial function and a fine ripple on all its components.

    Parameters {"trial": ..., "size": (k,), "frequency": (), "phase": ()}.
    """

    trial: Trial
    length: float
    axis: int

    def __call__(self, params: Any, x: Any) -> Any:
        x = as_array(x)
        ripple = jnp.cos(params["frequency"] * x[self.axis] / self.length + params["phase"])
        return scalar(jnp.atleast_1d(self.trial(params["trial"], x)) + params["size"] * ripple)


def _ripples(function: Any, trial: Any, unknowns: Any, size: Any, frequency: Any, phase: Any, points: Any) -> jax.Array:
    """How the entries of a residual answer to the ripple, (N, j)."""

    def residual(amount: Any, x: Any) -> jax.Array:
        network = {"trial": trial, "size": amount * size, "frequency": frequency, "phase": phase}
        return jnp.ravel(function({"network": network, "unknowns": unknowns} if function.inverse else network, x))

    return jax.vmap(lambda x: jax.jvp(lambda a: residual(a, x), (0.0,), (1.0,))[1])(points)


def _intervals(sides: Domain) -> tuple[Points, Points]:
    """The ends of intervals on lines along each coordinate, (N, d) each."""
    ends = []
    for axis, (low, high) in enumerate(sides):
        lines = interior_points(sides, LINES, seed=axis + 1) if len(sides) > 1 else np.zeros((1, 1))
        # No even number: a jump is mostly at a round one.
        cells = CELLS + 1 if len(sides) > 1 else 2 * LINES * CELLS - 1
        marks = np.linspace(low, high, cells + 1)
        points = np.repeat(lines[:, None], cells + 1, axis=1)
        points[:, :, axis] = marks
        ends.append((points[:, :-1].reshape(-1, len(sides)), points[:, 1:].reshape(-1, len(sides))))
    return np.concatenate([low for low, _ in ends]), np.concatenate([high for _, high in ends])


def _both(function: Any, trial: Any, unknowns: Any, x: Any) -> jax.Array:
    """The residual, and the values of the functions that it differentiates."""
    with differentiated() as seen:
        left = function({"network": trial, "unknowns": unknowns} if function.inverse else trial, x)
    return jnp.concatenate([jnp.ravel(left), *map(jnp.ravel, seen)])


def _chooses(jaxpr: Any) -> bool:
    """Whether a traced program has a choice in it, in whatever depth."""
    inner = getattr(jaxpr, "jaxpr", jaxpr)
    if not hasattr(inner, "eqns"):
        return False
    return any(
        equation.primitive.name in CHOICES
        or any(_chooses(value) for values in equation.params.values() for value in _each(values))
        for equation in inner.eqns
    )


def _each(values: Any) -> Any:
    return values if isinstance(values, list | tuple) else [values]


def _many(function: Any, trial: Any, unknowns: Any, points: Any) -> jax.Array:
    return jax.vmap(lambda x: _both(function, trial, unknowns, x))(points)


_answers = Program(_ripples, QUICK, static_argnums=0)
_values = Program(_many, QUICK, static_argnums=0)
