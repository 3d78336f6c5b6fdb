"""The scaled Jacobian A of the outputs at one point, (m, n): products with it, and the Gram matrices A'A and AA'.

For a multilayer perceptron a row of A is, layer by layer, the outer product of a backward signal and the layer's
inputs. So AA' is a sum of Hadamard products of two thin Gram matrices, and A is not formed for it (Jacot, Gabriel and
Hongler 2018, section 4): m^2 times the widths instead of m^2 n operations.
"""

from __future__ import annotations

import abc
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from stiffgrad.objective import derivatives
from stiffgrad.objective.gram import lower_gram, lower_strips
from stiffgrad.objective.objective import Objective


class Rows(abc.ABC):
    """A at one point."""

    @abc.abstractmethod
    def push(self, d: jax.Array) -> jax.Array:
        """A d of shape (m,)."""

    @abc.abstractmethod
    def pull(self, b: jax.Array) -> jax.Array:
        """A'b of shape (n,)."""

    @abc.abstractmethod
    def kernel(self) -> jax.Array:
        """The lower triangle of AA', (m, m)."""

    @abc.abstractmethod
    def gram(self) -> jax.Array:
        """The lower triangle of A'A, (n, n)."""


@dataclasses.dataclass(frozen=True)
class DenseRows(Rows):
    """A as one array."""

    a: jax.Array

    def push(self, d: jax.Array) -> jax.Array:
        return self.a @ d

    def pull(self, b: jax.Array) -> jax.Array:
        return b @ self.a

    def kernel(self) -> jax.Array:
        return lower_gram(self.a)

    def gram(self) -> jax.Array:
        return lower_gram(self.a.T)


@dataclasses.dataclass(frozen=True)
class LayeredRows(Rows):
    """A by its layers: backward signals (m, out) and inputs (m, in + 1), the last of them 1 for the bias."""

    layers: list[tuple[jax.Array, jax.Array]]
    layout: Any

    def push(self, d: jax.Array) -> jax.Array:
        matrices = derivatives.layer_matrices(self.layout, d)
        parts = [jnp.sum((s @ m) * a, axis=1) for (s, a), m in zip(self.layers, matrices, strict=True)]
        return sum(parts[1:], parts[0])

    def pull(self, b: jax.Array) -> jax.Array:
        return derivatives.flat_layers(self.layout, [(s * b[:, None]).T @ a for s, a in self.layers])

    def kernel(self) -> jax.Array:
        def strip(rows: slice, columns: slice) -> jax.Array:
            parts = [(s[rows] @ s[columns].T) * (a[rows] @ a[columns].T) for s, a in self.layers]
            return sum(parts[1:], parts[0])

        return lower_strips(self.layers[0][0].shape[0], strip)

    def gram(self) -> jax.Array:
        outer = [s[:, :, None] * a[:, None, :] for s, a in self.layers]
        return lower_gram(jax.vmap(lambda parts: derivatives.flat_layers(self.layout, parts))(outer).T)


def rows_at(objective: Objective, w: jax.Array) -> Rows:
    """A at w: by layers where the objective is that of one perceptron."""
    if objective.perceptron is not None:
        blocks = [derivatives.layer_factors(block, objective.layout, w) for block in objective.blocks]
        layers = [tuple(jnp.concatenate(part) for part in zip(*layer, strict=True)) for layer in zip(*blocks)]
        return LayeredRows(layers, objective.layout)  # type: ignore[arg-type]
    return DenseRows(derivatives.scaled_jacobian(objective, w))
