"""What to do about a function that fails on one sample: how else it could be called, found by calling it so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stiffgrad._types import Params


def remedy(function: Callable[..., Any], params: Params, sample: Any, error: Exception) -> str:
    """The end of a message about an error of function(params, sample); empty where nothing is known.

    Examples
    --------
    >>> remedy(lambda x, params: params["w"] * x, {"w": 1.0}, np.ones(2), KeyError("w"))
    '; its arguments have another order than function(params, sample): give lambda params, x: apply(x, params)'
    """
    if isinstance(error, jax.errors.TracerArrayConversionError):
        return "; NumPy cannot be differentiated: use jax.numpy in its place"
    if isinstance(error, jax.errors.ConcretizationTypeError):
        return (
            "; its code is traced once for all values: jax.numpy.where in place of `if`, and no float() or int() of "
            "what depends on params or the sample"
        )
    if "carry input and carry output must have equal types" in str(error):
        return (
            "; it starts a loop with numbers of float32, and all else is float64: start with zeros of x.dtype, or give "
            "supervised(..., dtype='float32')"
        )
    if _works(function, sample, params):
        return (
            "; its arguments have another order than function(params, sample): give lambda params, x: apply(x, params)"
        )
    leaves = jax.tree.leaves(params)
    if all(np.ndim(leaf) == 0 for leaf in leaves) or len(leaves) == 1:
        numbers = [*leaves[0]] if len(leaves) == 1 and np.ndim(leaves[0]) == 1 else leaves
        if _works(function, sample, *numbers):
            return "; its parameters are arguments of their own: give lambda params, x: apply(x, *params)"
    if isinstance(sample, tuple | list) and _works(function, params, *sample):
        return "; it gets a sample as one argument: give lambda params, sample: function(params, *sample)"
    if _works(function, params):
        return "; it takes params alone: least_squares(residual, params), or minimise(loss, params) of a scalar"
    if all(np.ndim(leaf) == 0 for leaf in jax.tree.leaves(sample)):
        return "; if it wants a vector, give each sample an axis: X[:, None]"
    if _works(function, params, None, sample):
        return "; it takes a random key, as Haiku's apply does: give lambda params, x: apply(params, None, x)"
    if _works(function, params, jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), sample)):
        return (
            "; it takes a batch, and is called with ONE sample: give it without its vmap, or lambda params, x: "
            "apply(params, x[None])[0]"
        )
    return ""


def _works(function: Callable[..., Any], *arguments: Any) -> bool:
    try:
        shape = jax.eval_shape(function, *arguments)
    except Exception:  # the caller's function: whatever it raises
        return False
    return hasattr(shape, "dtype") and jnp.issubdtype(shape.dtype, jnp.floating)


def first_line(error: Exception) -> str:
    """What an error says, without the advice for developers of JAX that may follow."""
    return str(error).partition("\n")[0].removesuffix(":")
