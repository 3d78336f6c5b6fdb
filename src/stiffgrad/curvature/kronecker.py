"""Coordinates in which the Gauss-Newton matrix of a multilayer perceptron is close to the identity.

The block of a layer is a sum, over the residuals, of Kronecker products of a backward signal d and the layer's inputs
a: sum of dd' (x) aa'. In the eigenvectors of the sum of dd' and of the sum of aa' it is nearly diagonal (Martens and
Grosse 2015, arXiv:1503.05671), and its diagonal there is known exactly (George et al. 2018, arXiv:1806.03884). Each
costs a few gradients; changing coordinates costs two small matrix products a layer.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from stiffgrad.objective import Objective, derivatives
from stiffgrad.objective.parameters import Layout


class Layer(NamedTuple):
    """Eigenvectors for signals (out, out) and for inputs (in + 1, in + 1); roots of the diagonal (out, in + 1)."""

    signals: jax.Array
    inputs: jax.Array
    root: jax.Array


@partial(jax.tree_util.register_dataclass, data_fields=["layers"], meta_fields=["layout"])
@dataclasses.dataclass(frozen=True)
class Kronecker:
    """The change of coordinates w = P u, with P P' close to the inverse of G + damping; n vectors in and out.

    Examples
    --------
    >>> import numpy as np, stiffgrad as sg
    >>> apply, params = sg.mlp([2, 3, 1], seed=0)
    >>> objective = sg.supervised(apply, params, np.eye(2), np.ones((2, 1)))
    >>> kronecker = Kronecker.of(objective, objective.w0, 0.1)
    >>> bool(jnp.allclose(kronecker.weights(kronecker.coordinates(objective.w0)), objective.w0, atol=1e-5))
    True
    """

    layers: tuple[Layer, ...]
    layout: Layout

    @classmethod
    def suits(cls, objective: Objective) -> bool:
        """Whether the objective is that of one multilayer perceptron under squared losses, with samples enough.

        Under a cross entropy the diagonal changes as fast as the probabilities do. Where samples are few beside the
        units of two layers, changes of coordinates, four to a step, cost more than they are worth.
        """
        return objective.sum_of_squares and objective.perceptron is not None and 4 * cls.cost(objective) <= 0.5

    @staticmethod
    def cost(objective: Objective) -> float:
        """A change of the coordinates of one vector, in gradients."""
        products = sum(2.0 * rows * columns * (rows + columns) for rows, columns in _shapes(objective.layout))
        return products / (6.0 * objective.size * objective.samples)

    @classmethod
    def identity(cls, objective: Objective, dtype: Any) -> Kronecker:
        """P = 1, in the structure of `of`."""
        shapes = _shapes(objective.layout)
        eye: Any = partial(np.eye, dtype=dtype)
        ones: Any = partial(np.ones, dtype=dtype)
        layers = tuple(Layer(eye(rows), eye(columns), ones((rows, columns))) for rows, columns in shapes)
        return cls(layers, objective.layout)

    @classmethod
    def of(cls, objective: Objective, w: jax.Array, damping: jax.Array | float) -> Kronecker:
        """The coordinates at w, in the precision of w; weight decay is added to the damping, as its mean in a layer."""

        def total(part: Any) -> Any:
            return jax.tree.map(lambda *terms: sum(terms), *(block.sum(part) for block in objective.blocks))

        def factors(piece: derivatives.Block) -> Any:
            return derivatives.layer_factors(piece, objective.layout, w)

        def moments(piece: derivatives.Block) -> Any:
            return [(d.T @ d, a.T @ a) for d, a in factors(piece)]

        vectors = [tuple(jnp.linalg.eigh(moment)[1] for moment in pair) for pair in total(moments)]

        def diagonal(piece: derivatives.Block) -> Any:
            pairs = zip(factors(piece), vectors, strict=True)
            return [((d @ p) ** 2).T @ ((a @ q) ** 2) for (d, a), (p, q) in pairs]

        decays = derivatives.layer_matrices(objective.layout, objective.decay.astype(w.dtype))
        layers = [
            Layer(p, q, jnp.sqrt(e + damping + jnp.mean(decay)))
            for (p, q), e, decay in zip(vectors, total(diagonal), decays, strict=True)
        ]
        return cls(tuple(layers), objective.layout)

    def weights(self, u: jax.Array) -> jax.Array:
        """P u."""
        return self._flat([p @ (m / r) @ q.T for (p, q, r), m in self._with(u)])

    def coordinates(self, w: jax.Array) -> jax.Array:
        """P^-1 w."""
        return self._flat([(p.T @ m @ q) * r for (p, q, r), m in self._with(w)])

    def slope(self, g: jax.Array) -> jax.Array:
        """P' g: the gradient in the coordinates."""
        return self._flat([(p.T @ m @ q) / r for (p, q, r), m in self._with(g)])

    def gradient(self, slope: jax.Array) -> jax.Array:
        """P^-T of a slope: the gradient in the weights."""
        return self._flat([p @ (m * r) @ q.T for (p, q, r), m in self._with(slope)])

    def _with(self, v: jax.Array) -> Any:
        return zip(
            self.layers, derivatives.layer_matrices(self.layout, v.astype(self.layers[0].root.dtype)), strict=True
        )

    def _flat(self, matrices: list[jax.Array]) -> jax.Array:
        return derivatives.flat_layers(self.layout, matrices)


def _shapes(layout: Layout) -> list[tuple[int, int]]:
    """(out, in + 1) of every layer."""
    return [(shape[0], shape[1] + 1) for shape in layout.shapes if len(shape) == 2]
