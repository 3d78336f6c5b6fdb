"""The scaled Jacobian A of the outputs at one point, (m, n): products with it, and the Gram matrices A'A and AA'.

For a multilayer perceptron a row of A is, layer by layer, the outer product of a backward signal and the layer's
inputs. So AA' is a sum of Hadamard products of two thin Gram matrices, and A is not formed for it (Jacot, Gabriel and
Hongler 2018, section 4): m^2 times the widths instead of m^2 n operations. In the residual of a differential equation,
and in any other program, the part of a row that belongs to a weight matrix is a sum of such products: see
`objective.products`.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from stiffgrad.objective import derivatives
from stiffgrad.objective.gram import lower_gram, lower_strips
from stiffgrad.objective.objective import Objective
from stiffgrad.objective.parameters import Layout
from stiffgrad.objective.products import Factors

APART = 2.0  # a Hadamard product of two thin products takes as long as one of so many times their operations
UNROLLED = 8  # outer products that are summed one by one; beyond, by a batched product


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
    """A as one array: small, and NumPy's or JAX's."""

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
class FactoredRows(Rows):
    """A by blocks of rows, and in each by leaves of the parameters: see `objective.products.Factors`."""

    blocks: list[list[Factors]]
    layout: Layout

    def push(self, d: jax.Array) -> jax.Array:
        leaves = jax.tree.leaves(self.layout.unflatten(d))
        return jnp.concatenate([sum(map(_pushed, factors, leaves)) for factors in self.blocks])

    def pull(self, b: jax.Array) -> jax.Array:
        ends = np.cumsum([len(factors[0].left) for factors in self.blocks])
        pulled = [
            jnp.concatenate([_pulled(factor, part) for factor in factors])
            for factors, part in zip(self.blocks, jnp.split(b, ends[:-1]), strict=True)
        ]
        return sum(pulled[1:], pulled[0])

    def kernel(self) -> jax.Array:
        apart = self._apart()
        thick = [[factors[i] for i in apart] for factors in self.blocks]
        thin = [_formed([f for i, f in enumerate(factors) if i not in apart]) for factors in self.blocks]

        def product(i: int, j: int, rows: slice, columns: slice) -> jax.Array:
            total = thin[i][rows] @ thin[j][columns].T
            for a, b in zip(thick[i], thick[j], strict=True):
                total = total + _crossed(a, b, rows, columns)
            return total

        sizes = [len(factors[0].left) for factors in self.blocks]
        strips = []
        for i, size in enumerate(sizes):
            below = [product(i, j, slice(0, size), slice(0, sizes[j])) for j in range(i)]
            below.append(lower_strips(size, functools.partial(product, i, i)))
            strips.append(jnp.pad(jnp.concatenate(below, axis=1), ((0, 0), (0, sum(sizes[i + 1 :])))))
        return jnp.concatenate(strips)

    def gram(self) -> jax.Array:
        return lower_gram(jnp.concatenate([_formed(factors) for factors in self.blocks]).T)

    def kernel_flops(self) -> float:
        """Operations of `kernel`."""
        sizes = [len(factors[0].left) for factors in self.blocks]
        apart, total = self._apart(), 0.0
        for i, leaf in enumerate(zip(*self.blocks, strict=True)):
            size = math.prod(self.layout.shapes[i])
            if i not in apart:
                total += float(sum(sizes)) ** 2 * size
            else:
                rows = sum(len(factor.left) * factor.left.shape[1] for factor in leaf)
                total += float(rows) ** 2 * sum(self.layout.shapes[i])
        return total

    def kernel_bytes(self) -> float:
        """Memory of the rows as `kernel` needs them."""
        apart, total = self._apart(), 0.0
        for i, leaf in enumerate(zip(*self.blocks, strict=True)):
            for factor in leaf:
                both = factor.left.size + (0 if factor.right is None else factor.right.size)
                formed = len(factor.left) * math.prod(self.layout.shapes[i])
                total += factor.left.dtype.itemsize * (both + (0 if i in apart else 2 * formed))
        return total

    def products(self) -> int:
        """Outer products that a leaf adds to a row, at most."""
        factors = [factor for factors in self.blocks for factor in factors]
        return max((factor.left.shape[1] for factor in factors if factor.right is not None), default=1)

    def _apart(self) -> set[int]:
        """The leaves whose part of the kernel is cheaper without forming their columns of A."""
        chosen = set()
        for i, leaf in enumerate(zip(*self.blocks, strict=True)):
            if all(factor.right is not None for factor in leaf):
                terms = max(factor.left.shape[1] for factor in leaf)
                if APART * terms**2 * sum(self.layout.shapes[i]) < math.prod(self.layout.shapes[i]):
                    chosen.add(i)
        return chosen


def _formed(factors: Sequence[Factors]) -> jax.Array:
    """The columns of A that belong to some leaves, (rows, size)."""
    parts = []
    for left, right in factors:
        if right is None:
            parts.append(left)
            continue
        terms = [left[:, p, :, None] * right[:, p, None, :] for p in range(min(left.shape[1], UNROLLED))]
        total = sum(terms[1:], terms[0])
        if left.shape[1] > UNROLLED:
            total = total + jnp.einsum("mpi,mpj->mij", left[:, UNROLLED:], right[:, UNROLLED:])
        parts.append(total.reshape(len(left), -1))
    return jnp.concatenate(parts, axis=1)


def _crossed(a: Factors, b: Factors, rows: slice, columns: slice) -> jax.Array:
    """The product of two leaves' columns: a sum of Hadamard products."""
    assert a.right is not None
    assert b.right is not None
    pairs = [
        (a.left[rows, p] @ b.left[columns, q].T) * (a.right[rows, p] @ b.right[columns, q].T)
        for p in range(a.left.shape[1])
        for q in range(b.left.shape[1])
    ]
    return sum(pairs[1:], pairs[0])


def _pushed(factor: Factors, d: jax.Array) -> jax.Array:
    if factor.right is None:
        return factor.left @ d.ravel()
    return jnp.sum((factor.left @ d) * factor.right, axis=(1, 2))


def _pulled(factor: Factors, b: jax.Array) -> jax.Array:
    if factor.right is None:
        return b @ factor.left
    left, right = (part.reshape(-1, part.shape[-1]) for part in (factor.left * b[:, None, None], factor.right))
    return (left.T @ right).ravel()


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
    """A at w: by layers where the objective is that of one perceptron, else by what multiplies the parameters."""
    if objective.perceptron is not None:
        blocks = [derivatives.layer_factors(block, objective.layout, w) for block in objective.blocks]
        layers = [tuple(jnp.concatenate(part) for part in zip(*layer, strict=True)) for layer in zip(*blocks)]
        return LayeredRows(layers, objective.layout)  # type: ignore[arg-type]
    factors = [derivatives.leaf_factors(block, objective.layout, w) for block in objective.blocks]
    return FactoredRows(factors, objective.layout)


class Costs(NamedTuple):
    """What the kernel costs.

    Attributes
    ----------
    flops : float
        Operations to form it, derivatives left out.
    bytes : float
        Of the rows that it is formed of.
    products : int
        Outer products that a weight matrix adds to a row, at most: one, or more where a residual has derivatives of a
        network in its inputs, or evaluates it several times.
    """

    flops: float
    bytes: float
    products: int


def kernel_costs(objective: Objective) -> Costs:
    """The costs of the kernel."""
    if objective.perceptron is not None:
        entries = float(objective.rows) * objective.size
        return Costs(objective.rows * entries, 2.0 * objective.w0.dtype.itemsize * entries, 1)
    leaves, structure = jax.tree.flatten(objective)
    return _kernel_costs(structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves))


@functools.lru_cache(maxsize=64)
def _kernel_costs(structure: Any, leaves: tuple[Any, ...]) -> Costs:
    seen = []

    def look(objective: Objective) -> float:
        rows = rows_at(objective, objective.w0)
        assert isinstance(rows, FactoredRows)
        seen.append(Costs(rows.kernel_flops(), rows.kernel_bytes(), rows.products()))
        return 0.0

    jax.eval_shape(look, jax.tree.unflatten(structure, [jax.ShapeDtypeStruct(*leaf) for leaf in leaves]))
    return seen[0]
