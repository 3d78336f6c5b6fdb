"""Flat vectors from pytrees and back, hashable by value so that equal structures share compiled code."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stiffgrad._types import Params


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a pytree of arrays lies in one flat vector: tree structure and leaf shapes, in order.

    Examples
    --------
    >>> layout = Layout.of({"a": np.zeros((2, 3)), "b": np.ones(4)})
    >>> layout.size, layout.unflatten(layout.flatten({"a": np.zeros((2, 3)), "b": np.ones(4)}))["a"].shape
    (10, (2, 3))
    """

    treedef: Any
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, params: Params) -> Layout:
        """The layout of a pytree of arrays."""
        leaves, treedef = jax.tree.flatten(params)
        return cls(treedef, tuple(tuple(np.shape(leaf)) for leaf in leaves))

    def __reduce__(self) -> Any:
        """For pickle: by an example, since the structure of a container of one's own cannot be pickled itself."""
        return Layout.of, (jax.tree.unflatten(self.treedef, [np.zeros(shape) for shape in self.shapes]),)

    @property
    def size(self) -> int:
        """Number of parameters n."""
        return sum(math.prod(shape) for shape in self.shapes)

    def flatten(self, params: Params, dtype: Any = None) -> jax.Array:
        """The flat vector of shape (n,). Raises ValueError where the structure or a shape differs."""
        leaves, treedef = jax.tree.flatten(params)
        shapes = tuple(tuple(np.shape(leaf)) for leaf in leaves)
        if treedef != self.treedef or shapes != self.shapes:
            if hasattr(params, "params"):
                raise ValueError(f"params is a {type(params).__name__}: pass its parameters, its attribute params")
            raise ValueError(
                f"params has structure {treedef} with shapes {shapes}, but the objective was built for "
                f"{self.treedef} with shapes {self.shapes}; pass parameters of that structure"
            )
        if not any(isinstance(leaf, jax.Array) for leaf in leaves):  # on the host nothing is compiled
            flat = np.concatenate([np.ravel(np.asarray(leaf)) for leaf in leaves])
            return jnp.asarray(flat, flat.dtype if dtype is None else dtype)  # without a type JAX compiles a copy
        return jnp.concatenate([jnp.ravel(jnp.asarray(leaf, dtype)) for leaf in leaves])

    def unflatten(self, w: Any) -> Params:
        """The pytree of a flat vector of shape (n,)."""
        leaves, start = [], 0
        for shape in self.shapes:
            stop = start + math.prod(shape)
            leaves.append(w[start:stop].reshape(shape))
            start = stop
        return jax.tree.unflatten(self.treedef, leaves)
