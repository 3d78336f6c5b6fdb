"""Derivatives of a function of a point: what differential equations are written with.

Each is taken in the mode that needs the fewest operations: see docs/pinns.md, measured by benchmarks/pde_modes.py.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from stiffgrad._float64 import float64, host
from stiffgrad.pde._numpy import accepting, as_array, numpys, traced, unwrap, wrap

Field = Callable[[Any], Any]
Operator = TypeVar("Operator", bound=Callable[..., Any])
_seen: contextvars.ContextVar[list[Any] | None] = contextvars.ContextVar("seen", default=None)


@contextlib.contextmanager
def differentiated() -> Iterator[list[Any]]:
    """Collect values of the functions that operators differentiate, at their points; not of those inside of others.

    Examples
    --------
    >>> with differentiated() as values:
    ...     _ = derivative(lambda x: 3 * derivative(lambda z: z[0] ** 2, x), np.array([2.0]))
    >>> [float(value) for value in values]
    [12.0]
    """
    values: list[Any] = []
    token = _seen.set(values)
    try:
        yield values
    finally:
        _seen.reset(token)


@contextlib.contextmanager
def _unseen() -> Iterator[None]:
    token = _seen.set(None)
    try:
        yield
    finally:
        _seen.reset(token)


def _at_each(operator: Operator) -> Operator:
    """The same operator, which takes many points (N, d) as well where it is called by itself, not in an equation."""

    @functools.wraps(operator)
    def at(u: Field, x: Any, *others: Any, **named: Any) -> Any:
        known = isinstance(x, np.ndarray | jax.Array) and not traced(x) and x.dtype != object
        if not known or x.ndim != 2 or not len(x) or not callable(u):
            return operator(u, x, *others, **named)
        points = np.asarray(x, float)
        name = getattr(operator, "__name__", "operator")
        function = accepting(u, lambda f: jax.eval_shape(lambda z: as_array(f(z)), points[0]), f"{name}: u")[0]
        return host(jax.vmap(lambda z: operator(function, z, *others, **named))(points))

    return at  # type: ignore[return-value]


@float64
@_at_each
def derivative(u: Field, x: Any, *axes: int) -> Any:
    """The partial derivative of u at the point x along the coordinates `axes`, one after the other.

    Parameters
    ----------
    u : callable
        A function of one point; outside of equations also `solution.u` of what was solved.
    x : array of shape (d,), or (N, d) outside of equations
        The point, or many; then the values for each are stacked, as of the other operators.
    *axes : int
        The coordinates: `0` is du/dx0, `0, 0` the second derivative, `0, 1` the mixed one, `0, 0, 0` the third. May
        be left out where there is one coordinate only.

    Returns
    -------
    array
        Of the shape of u(x).

    Raises
    ------
    ValueError, TypeError
        Where x is not one point, an axis is missing or beyond its coordinates, or u is no function.

    Examples
    --------
    >>> u = lambda x: x[0] ** 3 * x[1]
    >>> x = np.array([2.0, 5.0])
    >>> float(derivative(u, x, 0)), float(derivative(u, x, 0, 0)), float(derivative(u, x, 0, 1))
    (60.0, 60.0, 12.0)
    """
    function, point = _traceable(u, x, "derivative")
    if not axes:
        if point.shape[0] != 1:
            raise ValueError(
                f"derivative(u, x) of a point with {point.shape[0]} coordinates: name them, as in (u, x, 0)"
            )
        axes = (0,)
    for axis in axes:
        function = _along(function, _axis(axis, point, "derivative"))
    return _as(x, function(point))


@float64
@_at_each
def gradient(u: Field, x: Any) -> Any:
    """All first derivatives of u at the point x.

    Returns
    -------
    array
        Of shape (d,) where u is a scalar, (k, d) where it has k components: then row i is the gradient of the i-th.

    Examples
    --------
    >>> gradient(lambda x: x[0] ** 2 * x[1], np.array([1.0, 3.0])).tolist()
    [6.0, 1.0]
    """
    function, point = _traceable(u, x, "gradient")
    return _as(x, _gradient(function, point))


@float64
@_at_each
def laplacian(u: Field, x: Any, axes: Sequence[int] | None = None) -> Any:
    """The sum of the second derivatives of u at the point x, along all coordinates or along `axes`.

    Examples
    --------
    >>> u = lambda x: x[0] ** 2 + 3 * x[1] ** 2
    >>> x = np.ones(2)
    >>> float(laplacian(u, x)), float(laplacian(u, x, axes=[0]))
    (8.0, 2.0)
    """
    function, point = _traceable(u, x, "laplacian")
    chosen = range(point.shape[0]) if axes is None else [_axis(axis, point, "laplacian") for axis in axes]
    if not chosen:
        raise ValueError("laplacian: axes is empty; name at least one coordinate")
    directions = jnp.eye(point.shape[0], dtype=point.dtype)[np.asarray(chosen)]
    by_layers = getattr(getattr(u, "bare", u), "laplacian", None)
    if by_layers is not None and len(chosen) > 1:
        return _as(x, by_layers(point, directions))
    return _as(x, jnp.sum(jax.vmap(lambda v: _second(function, point, v))(directions), axis=0))


@float64
@_at_each
def divergence(v: Field, x: Any) -> Any:
    """The sum of dv_i/dx_i at the point x, for a vector v with one component for each coordinate.

    With `gradient` it makes operators in divergence form: `divergence(lambda x: k(x) * gradient(u, x), x)`.

    Examples
    --------
    >>> float(divergence(lambda x: np.array([2.0, 3.0]) * x, np.ones(2)))
    5.0
    """
    function, point = _traceable(v, x, "divergence")
    shape = jax.eval_shape(function, point).shape
    if shape != point.shape:
        raise ValueError(
            f"divergence: v returns shape {shape} at a point of shape {point.shape}; they must be the same"
        )
    return _as(x, jnp.trace(jax.jacfwd(function)(point)))


def _traceable(u: Field, x: Any, name: str) -> tuple[Callable[[Any], jax.Array], Any]:
    """The function u between plain arrays, and the point as one."""
    if not callable(u):
        raise TypeError(f"{name}: the first argument must be a function of a point, as u, not its value u(x)")
    numpy = numpys(x)
    point = as_array(unwrap(x)) if isinstance(x, list | tuple) else unwrap(x)
    if np.ndim(point) != 1:
        raise ValueError(f"{name}: x must be one point of shape (d,), not of shape {np.shape(point)}")
    point = jnp.asarray(point)
    point = point if jnp.issubdtype(point.dtype, jnp.floating) else point.astype(float)
    if not numpy and not isinstance(point, jax.core.Tracer):  # called by itself, not in an equation
        with _unseen():
            u = accepting(u, lambda f: jax.eval_shape(lambda z: as_array(f(z)), point), f"{name}: u")[0]
    enter = wrap if numpy else lambda z: z
    function, seen = (lambda z: as_array(unwrap(u(enter(z))))), _seen.get()
    if seen is None:
        return function, point

    def alone(z: Any) -> jax.Array:
        with _unseen():
            return function(z)

    seen.append(alone(point))
    return alone, point


def _as(x: Any, value: Any) -> Any:
    return wrap(value) if numpys(x) else host(value)


def _axis(axis: Any, point: Any, name: str) -> int:
    size = point.shape[0]
    if isinstance(axis, bool) or not isinstance(axis, int | np.integer):
        raise TypeError(f"{name}: axis={axis!r} must be the whole number of a coordinate, 0 to {size - 1}")
    if not -size <= axis < size:
        raise ValueError(f"{name}: axis={axis} is beyond the coordinates of x, which are 0 to {size - 1}")
    return int(axis) % size


def _along(function: Callable[[Any], Any], axis: int) -> Callable[[Any], Any]:
    def slope(z: Any) -> Any:
        return jax.jvp(function, (z,), (jnp.zeros_like(z).at[axis].set(1.0),))[1]

    return slope


def _second(function: Callable[[Any], Any], point: Any, direction: Any) -> Any:
    slope = lambda z: jax.jvp(function, (z,), (direction,))[1]  # noqa: E731
    return jax.jvp(slope, (point,), (direction,))[1]


def _gradient(function: Callable[[Any], Any], point: Any) -> Any:
    # One backward pass for a scalar, however many coordinates there are.
    return (jax.jacfwd if jax.eval_shape(function, point).ndim else jax.grad)(function)(point)
