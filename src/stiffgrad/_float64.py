"""64-bit numbers inside stiffgrad, whatever JAX is set to outside.

JAX computes in float32 unless `jax_enable_x64` is set, for all of a process. stiffgrad does not set it: what users call
is run inside `float64`, which switches 64-bit numbers on for this thread and this call. What it hands out are NumPy
arrays, because a JAX array of 64 bits is rounded to 32 by the next sum outside.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.experimental
import numpy as np

Function = TypeVar("Function", bound=Callable[..., Any])

# Before JAX 0.8 it was experimental.
_enable: Any = getattr(jax if hasattr(jax, "enable_x64") else jax.experimental, "enable_x64")  # noqa: B009


def float64(function: Function) -> Function:
    """The same function, with 64-bit numbers on in this thread while it runs; a thread that it starts needs its own.

    Costs about a microsecond, and a tenth of one inside another.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> with _enable(False):
    ...     outside = jnp.ones(1).dtype, float64(lambda: jnp.ones(1))().dtype
    >>> [kind.name for kind in outside]
    ['float32', 'float64']
    """

    @functools.wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        if jax.config.jax_enable_x64:  # type: ignore[attr-defined]  # made at run time
            return function(*arguments, **options)
        keep_types_apart()
        with _enable(True):
            return function(*arguments, **options)

    return call  # type: ignore[return-value]


@functools.cache
def keep_types_apart() -> bool:
    """Mend JAX where a NumPy array that a function closes over has one number type for all: whether that was needed.

    JAX 0.10 to 0.12 keep one converted copy of each such array while a program uses it, whatever `enable_x64` says
    now. A loss of the user's that was compiled in float32 then fails in float64 ("Cannot lower jaxpr with verifier
    errors"), and the other way round. What is registered here keeps a copy for each type.
    """
    try:
        from jax._src import dtypes, literals

        copies: weakref.WeakValueDictionary[tuple[int, Any], Any] = weakref.WeakValueDictionary()

        def converted(array: Any) -> Any:
            kind = dtypes.canonicalize_dtype(array.dtype)
            found = copies.get((id(array), kind))
            if found is None:  # one copy for all uses in a program, which holds it
                found = copies[id(array), kind] = literals.TypedNdArray(np.asarray(array, kind))
                weakref.finalize(array, copies.pop, (id(array), kind), None)  # before another array has its id
            return found

        probe = np.zeros(1)
        with _enable(True):
            wide = dtypes.canonicalize_value(probe)
        with _enable(False):
            faulty = bool(dtypes.canonicalize_value(probe).dtype == wide.dtype)
        if faulty:
            dtypes.register_canonicalize_value_handler(np.ndarray, converted)
        return faulty
    except (ImportError, AttributeError, TypeError):  # another JAX, whose insides are others
        return False


def host(result: Any) -> Any:
    """Arrays as NumPy's (a scalar for one number); what is being traced, or lies on other processes, as it is.

    Examples
    --------
    >>> type(host(jax.numpy.ones(2))).__name__
    'ndarray'
    """
    if isinstance(result, tuple):
        return tuple(map(host, result))
    if not isinstance(result, jax.Array) or isinstance(result, jax.core.Tracer):
        return result
    if result.is_fully_addressable or result.is_fully_replicated:
        return np.asarray(result)[()]
    return result
