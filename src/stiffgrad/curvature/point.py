"""A point of the gradient flow: weights, their energy and its gradient."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from stiffgrad._arrays import either, namespace, on_host
from stiffgrad.objective import derivatives
from stiffgrad.objective.derivatives import Objective

ROUNDINGS = 8.0  # a change of the energy below so many of its roundings tells nothing


class Point(NamedTuple):
    """Weights (n,), their energy, and its gradient (n,). An infinite energy marks a point not evaluated yet."""

    w: jax.Array
    loss: jax.Array
    gradient: jax.Array

    @classmethod
    def unknown(cls, w: Any) -> Point:
        """The start, before its first evaluation."""
        return cls(w, np.asarray(np.inf, w.dtype), np.zeros(w.shape, w.dtype))  # type: ignore[arg-type]

    @property
    def known(self) -> jax.Array:
        """Whether the point has been evaluated."""
        return namespace(self.loss).isfinite(self.loss)

    @property
    def rounding(self) -> jax.Array:
        """Energies this close to that of the point are equal."""
        return ROUNDINGS * jnp.finfo(self.loss.dtype).eps * abs(self.loss)


def evaluated(objective: Objective, w: jax.Array) -> Point:
    """The point at w: one evaluation of the energy and its gradient."""
    return Point(w, *_value_and_gradient(objective, w))


_value_and_gradient = either(derivatives.value_and_gradient)


def chosen(condition: Any, new: Any, old: Any) -> Any:
    """`new` where the condition holds, else `old`: pytrees of one structure."""
    if on_host(condition):
        return new if condition else old
    return jax.tree.map(lambda a, b: b if a is b else jnp.where(condition, a, b), new, old)
