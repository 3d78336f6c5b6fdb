"""A solution in pieces of time, each by a network of its own, which begins where the one before has ended.

One network of some hundred weights bends so often and no more, and a minimiser does not see past the first place where
it fails. Networks that march in time do (Wight and Zhao 2021, arXiv:2007.04542). Here every piece has units of its own:
its solution is shift + size * (what a network on [-1, 1] gives). They are data of the residuals and not of the program,
so that all pieces share what is compiled.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from stiffgrad._types import Params
from stiffgrad.objective import Term
from stiffgrad.pde._numpy import as_array
from stiffgrad.pde.conditions import Residual
from stiffgrad.pde.networks import Network, scalar

Values = NDArray[np.float64]


class Frame(NamedTuple):
    """Where a piece lies, (d,) and (d,), and the units of its solution, (k,) and (k,)."""

    low: Any
    high: Any
    shift: Any
    size: Any


class Placed(NamedTuple):
    """A point (d,), the frame of its piece, and what the entries of a residual are multiplied by there."""

    x: Any
    frame: Frame
    factor: Any


@dataclasses.dataclass(frozen=True)
class Framed:
    """A network on [-1, 1] as the solution in a frame."""

    network: Any
    frame: Frame

    def __call__(self, params: Any, x: Any) -> Any:
        """The solution at one point."""
        low, high, shift, size = self.frame
        z = (2.0 * as_array(x) - (low + high)) / (high - low)
        return scalar(shift + size * jnp.atleast_1d(self.network(params, z)))


@dataclasses.dataclass(frozen=True)
class InFrame:
    """A condition on the solution in a frame."""

    residual: Residual

    def __call__(self, params: Any, sample: Placed) -> jax.Array:
        """The residual in its units, (j,)."""
        framed = Framed(self.residual.network, sample.frame)
        return dataclasses.replace(self.residual, network=framed).plain(params, sample.x) * sample.factor

    def of(self, network: Any) -> InFrame:
        """The same condition on another network."""
        return InFrame(dataclasses.replace(self.residual, network=network))


@dataclasses.dataclass(frozen=True)
class Onset:
    """Value and derivatives in time of a solution, component after component: what determines how it goes on.

    Attributes
    ----------
    network : callable
        On [-1, 1].
    axis : int
        Of time.
    orders : tuple of int
        So many of each component: as many as the order of the equations in it.

    Examples
    --------
    >>> onset = Onset(None, 0, (2, 1))
    >>> onset.seen(lambda x: jnp.array([x[0] ** 2, 5 * x[0]]), jnp.array([3.0])).tolist()
    [9.0, 6.0, 15.0]
    """

    network: Any
    axis: int
    orders: tuple[int, ...]

    def __call__(self, params: Any, sample: Placed) -> jax.Array:
        """At the point of a sample, in its units."""
        framed = Framed(self.network, sample.frame)
        return self.seen(lambda x: framed(params, x), sample.x) * sample.factor

    def of(self, network: Any) -> Onset:
        """The same of another network."""
        return dataclasses.replace(self, network=network)

    def seen(self, u: Callable[[Any], Any], x: Any) -> jax.Array:
        """Of a function of a point, (the sum of the orders,)."""
        function = lambda z: jnp.atleast_1d(u(z))  # noqa: E731
        along = jnp.zeros_like(x).at[self.axis].set(1.0)
        derivatives = [function(x)]
        for _ in range(max(self.orders) - 1):
            function = _slope(function, along)
            derivatives.append(function(x))
        return jnp.stack([derivatives[n][i] for i, order in enumerate(self.orders) for n in range(order)])

    def factor(self, frame: Frame) -> Values:
        """One over the size of each entry in a frame."""
        length = frame.high[self.axis] - frame.low[self.axis]
        return np.array([length**n / frame.size[i] for i, order in enumerate(self.orders) for n in range(order)])


def _slope(function: Callable[[Any], Any], along: Any) -> Callable[[Any], Any]:
    return lambda z: jax.jvp(function, (z,), (along,))[1]


class Piece(NamedTuple):
    """A piece that was found: its frame, its weights, and its terms on points that it was not trained on."""

    frame: Frame
    weights: Params
    terms: list[Term]


@dataclasses.dataclass(frozen=True)
class Pieces:
    """Networks one after the other in time, as one; its parameters are a list with those of each.

    Attributes
    ----------
    network : Network
        Of every piece, on [-1, 1].
    axis : int
        Of time.
    frames : tuple of Frame
        Of the pieces, with tuples of numbers.
    """

    network: Network
    axis: int
    frames: tuple[Frame, ...]

    @property
    def ends(self) -> Values:
        """Where each piece ends in time."""
        return np.array([frame.high[self.axis] for frame in self.frames])

    def __call__(self, params: Any, x: Any) -> Any:
        """The solution at one point; the last piece goes on beyond its end."""
        x = as_array(x)
        index = jnp.searchsorted(self.ends[:-1], x[self.axis], side="right")
        frame = Frame(*(jnp.asarray(np.array(part))[index] for part in zip(*self.frames, strict=True)))
        weights = jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves])[index], *params)
        return Framed(self.network, frame)(weights, x)
