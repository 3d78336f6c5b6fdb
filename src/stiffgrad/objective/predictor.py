"""A trained function on new samples."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from stiffgrad._float64 import float64, host
from stiffgrad.objective.parameters import Layout
from stiffgrad.objective.remedies import first_line
from stiffgrad.objective.terms import device


@dataclasses.dataclass(frozen=True)
class Predictor:
    """Outputs of function(params, sample) for many samples, from flat parameters.

    Attributes
    ----------
    function : callable
        Function(params, sample).
    layout : Layout
        Of the parameters.
    kind : str
        The number type to compute in.
    shape : tuple of int, optional
        Of one sample's outputs as they are handed out, where their number agrees.
    """

    function: Callable[[Any, Any], Any]
    layout: Layout
    kind: str
    shape: tuple[int, ...] | None = None

    @float64
    def __call__(self, w: Any, X: Any) -> Any:
        """The outputs (N, ...) for w of shape (n,)."""
        samples = device(X, self.kind, "X")
        params = self.layout.unflatten(jax.numpy.asarray(w, self.kind))
        try:
            outputs = host(_batched(self.function)(params, samples))
        except (TypeError, ValueError, IndexError) as error:
            shapes = ", ".join(str(np.shape(leaf)) for leaf in jax.tree.leaves(samples))
            raise ValueError(
                f"predict fails on X of shape {shapes}: {first_line(error)}. X holds many samples, as in training; one "
                "alone is X[None]"
            ) from error
        if self.shape is not None and math.prod(self.shape) == math.prod(np.shape(outputs)[1:]):
            return outputs.reshape(len(outputs), *self.shape)
        return outputs


@functools.lru_cache(maxsize=32)  # so that a second call is not compiled again
def _batched(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return jax.jit(jax.vmap(function, (None, 0)))
