"""NumPy functions on traced values, so that an equation can be written with NumPy as well as with jax.numpy."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_PLACES = (jnp, jnp.linalg, jax.scipy.special)  # where a NumPy or SciPy function of the same name may live
_OPERATORS = {
    "power": operator.pow,
    "matmul": operator.matmul,
}  # a whole-number exponent stays one: x**2 has a slope at 0


class Traced(np.lib.mixins.NDArrayOperatorsMixin):
    """A traced array that NumPy functions accept: they are carried out by their namesakes in JAX.

    JAX's own tracers refuse `np.sin(x)`. These do not, through NumPy's dispatch (NEP 13 and NEP 18); in turn they are
    not accepted by jax.numpy, which is why an equation is tried with JAX's first: see `accepting`.
    """

    def __init__(self, array: Any) -> None:
        self.array = array

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        if method != "__call__":
            raise TypeError(f"np.{ufunc.__name__}.{method} cannot be differentiated: use the function itself")
        return _carried_out(ufunc.__name__, inputs, options)

    def __array_function__(self, function: Any, types: Any, inputs: Any, options: Any) -> Any:
        return _carried_out(function.__name__, inputs, options)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "array":
            raise AttributeError(name)
        found = getattr(self.array, name)
        return (
            (lambda *inputs, **options: wrap(found(*map(unwrap, inputs), **options)))
            if callable(found)
            else wrap(found)
        )

    def __getitem__(self, index: Any) -> Traced:
        return Traced(self.array[index])

    def __len__(self) -> int:
        return len(self.array)

    def __iter__(self) -> Iterator[Traced]:
        return map(Traced, self.array)

    def __bool__(self) -> bool:
        return bool(self.array)  # JAX raises

    def __float__(self) -> float:
        return float(self.array)  # JAX raises


def _carried_out(name: str, inputs: Any, options: Any) -> Any:
    function: Any = _OPERATORS.get(name) or next((getattr(p, name) for p in _PLACES if hasattr(p, name)), None)
    if function is None:
        raise TypeError(f"the function {name!r} has no counterpart in jax.numpy that could be differentiated")
    return wrap(function(*map(_plain, inputs), **{key: _plain(value) for key, value in options.items()}))


def _plain(value: Any) -> Any:
    """An input without `Traced`; a list of numbers as an array, since NumPy takes lists and JAX does not."""
    numbers = isinstance(value, list) and all(isinstance(entry, int | float) for entry in value)
    return np.asarray(value) if numbers else unwrap(value)


def wrap(value: Any) -> Any:
    """`value` with every traced array in it as `Traced`."""
    return jax.tree.map(lambda leaf: Traced(leaf) if isinstance(leaf, jax.Array) else leaf, value)


def unwrap(value: Any) -> Any:
    """`value` with every `Traced` in it as the array, also inside of lists and of NumPy arrays of objects."""

    def bare(leaf: Any) -> Any:
        if isinstance(leaf, Traced):
            return leaf.array
        if isinstance(leaf, np.ndarray) and leaf.dtype == object:  # np.array([a, b]) of traced numbers
            return jnp.stack([jnp.asarray(bare(entry)) for entry in leaf.ravel()]).reshape(leaf.shape)
        return leaf

    return jax.tree.map(bare, value)


def _entries(x: Any) -> Any:
    """A point, or the coordinates that it is made of."""
    made = isinstance(x, list | tuple) or (isinstance(x, np.ndarray) and x.dtype == object)
    return x if made else [x]


def numpys(x: Any) -> bool:
    """Whether a point, or one of the coordinates that it is made of, is for NumPy's functions."""
    return any(isinstance(entry, Traced) for entry in _entries(x))


def traced(x: Any) -> bool:
    """Whether a point, or one of the coordinates that it is made of, has no value yet."""
    return any(isinstance(entry, Traced | jax.core.Tracer) for entry in _entries(x))


def as_array(value: Any) -> jax.Array:
    """A value, or a list of components, as one array."""
    return jnp.stack([jnp.asarray(v) for v in value]) if isinstance(value, list | tuple) else jnp.asarray(value)


@dataclasses.dataclass(frozen=True)
class WithNumPy:
    """A function of traced arrays (or of functions of them) that is written with NumPy; equal where the function is."""

    function: Callable[..., Any]

    def __call__(self, *inputs: Any) -> Any:
        """Arrays in and out; what the function sees are `Traced`."""
        return unwrap(self.function(*(_Field(i) if callable(i) else wrap(i) for i in inputs)))


class _Field:
    """A function of plain arrays, between `Traced` ones; `bare` is the function itself."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.bare = function

    def __call__(self, *inputs: Any) -> Any:
        return wrap(self.bare(*map(unwrap, inputs)))

    def __getitem__(self, index: Any) -> Any:
        return self.bare[index]  # type: ignore[index]  # which says that it is a function


CONTROL = "use np.where(condition, a, b) instead of `if`, and np functions instead of math and float()"


def accepting(function: Callable[..., Any], trial: Callable[[Callable[..., Any]], Any], name: str) -> Any:
    """The function as it can be traced: itself, or `WithNumPy` where it calls NumPy.

    Parameters
    ----------
    function : callable
    trial : callable
        trial(f) traces f once, and raises what JAX raises.
    name : str
        How errors name the function.

    Returns
    -------
    callable, result
        What to call from now on, and what its trial returned.
    """
    first: Exception | None = None
    for candidate in (function, WithNumPy(function)):
        try:
            return candidate, trial(candidate)
        except jax.errors.TracerArrayConversionError as error:
            first = first or error
        except jax.errors.ConcretizationTypeError:
            raise TypeError(f"{name} decides by a value that is not known yet, while it is traced: {CONTROL}") from None
        except TypeError as error:
            if Traced.__name__ not in str(error):
                raise
            raise TypeError(f"{name} mixes numpy and jax.numpy: write it with one of the two") from first
    raise TypeError(
        f"{name} calls a function that needs plain numbers, but its values are traced: {CONTROL}, or evaluate what "
        "depends on the points alone beforehand"
    ) from first
