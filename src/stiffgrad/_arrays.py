"""NumPy or JAX, by what is given: a method is written once, and runs by either.

By NumPy it needs no compilation but that of the objective's gradient, and pays some hundred microseconds a step; by
JAX it becomes part of a compiled loop.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stiffgrad._config import QUICK_AND_SMALL, Program


def on_host(x: Any) -> bool:
    """Whether x is NumPy's, or a plain number."""
    return isinstance(x, np.ndarray | np.generic | float | int)


def namespace(x: Any) -> Any:
    """`numpy` or `jax.numpy`.

    Examples
    --------
    >>> namespace(np.ones(2)).__name__, namespace(jnp.ones(2)).__name__
    ('numpy', 'jax.numpy')
    """
    return np if on_host(x) else jnp


def either(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of an objective, weights and more, that NumPy's weights may be given to: then it is one program.

    It is compiled quickly, and returns NumPy's arrays.
    """
    program = Program(function, QUICK_AND_SMALL)

    @functools.wraps(function)
    def call(objective: Any, w: Any, *more: Any) -> Any:
        if on_host(w):
            return jax.tree.map(np.asarray, program(objective, w, *more))
        return function(objective, w, *more)

    return call


def cond(condition: Any, true: Callable[..., Any], false: Callable[..., Any], *operands: Any) -> Any:
    """`jax.lax.cond`, or a plain choice."""
    if on_host(condition):
        return (true if condition else false)(*operands)
    return jax.lax.cond(condition, true, false, *operands)


def while_loop(going: Callable[[Any], Any], body: Callable[[Any], Any], carry: Any, *, host: bool) -> Any:
    """`jax.lax.while_loop`, or a plain one."""
    if not host:
        return jax.lax.while_loop(going, body, carry)
    while going(carry):
        carry = body(carry)
    return carry


def put(array: Any, value: Any, index: Any, axis: int) -> Any:
    """A copy with `array[index] = value` along an axis; inside a compiled loop no copy is made."""
    if not on_host(array):
        return jax.lax.dynamic_update_index_in_dim(array, value, index, axis)
    new = array.copy()
    new[(slice(None),) * axis + (index,)] = value
    return new
