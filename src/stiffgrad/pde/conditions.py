"""What must hold, and where: equations inside, conditions on faces and at the start, observations."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stiffgrad.objective import Term
from stiffgrad.pde._numpy import accepting, as_array, unwrap
from stiffgrad.pde.networks import Network, scalar
from stiffgrad.pde.points import (
    Domain,
    Points,
    all_faces,
    boundary_points,
    check_face,
    check_inside,
    default_counts,
    interior_points,
)

POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclasses.dataclass(frozen=True, eq=False)
class Condition:
    """One condition; made by `interior`, `boundary`, `initial` and `observations`.

    Attributes
    ----------
    kind : str
        Which of the four.
    equation : callable or None
        equation(u, x) or equation(u, x, p) -> what must vanish; None where `value` is prescribed.
    value : number, array or callable
        What u is: the same everywhere, one row for each point, or a function of one point.
    points : int, array or None
        How many, or which; None: a number by the dimension.
    sampling : str
        See `pde.interior_points`.
    faces : sequence of (axis, value) or None
        Of a boundary condition.
    axis : int
        Time, of an initial condition.
    weight : float
        Factor of the term, on top of the balance.
    name : str
        How results name it.
    """

    kind: str
    equation: Callable[..., Any] | None = None
    value: Any = None
    points: Any = None
    sampling: str = "sobol"
    faces: Any = None
    axis: int = -1
    weight: float = 1.0
    name: str | None = None

    @property
    def drawn(self) -> bool:
        """Whether the points are drawn here, and not given."""
        return self.points is None or np.ndim(self.points) == 0

    def place(self, sides: Domain, label: str, time: int | None, seed: int) -> Points:
        """The points, checked."""
        if not self.drawn:
            return check_inside(sides, self.points, f"{label}: points")
        inside, on_faces = default_counts(len(sides))
        if self.points is not None:
            count = self._count(label)
        elif self.kind == "interior":
            count = inside
        else:
            faces = self._faces(sides, label, time)
            count = len(faces) if len(sides) == 1 else -(-on_faces * len(faces) // (2 * len(sides)))
        return self.draw(sides, label, time, count, self.sampling, seed)

    def draw(self, sides: Domain, label: str, time: int | None, count: int, sampling: str, seed: int) -> Points:
        """So many points of the condition, wherever it holds."""
        if self.kind == "interior":
            return interior_points(sides, count, sampling, seed)
        return boundary_points(sides, count, sampling, seed, self._faces(sides, label, time))

    def _faces(self, sides: Domain, label: str, time: int | None) -> list[tuple[int, float]]:
        if self.kind == "initial":
            faces = [(_time(self.axis, sides, label), sides[self.axis][0])]
        elif self.faces is None:
            faces = all_faces(sides, time)
        else:
            faces = [check_face(sides, face) for face in self.faces]
        if not faces:
            raise ValueError(f"{label} has no face: the only coordinate is that of the initial condition; name faces")
        return faces

    def _count(self, label: str) -> int:
        if isinstance(self.points, bool) or not isinstance(self.points, int | np.integer):
            raise TypeError(f"{label}: points={self.points!r} must be a whole number of points, or an array of them")
        if self.points < 1:
            raise ValueError(f"{label}: points={self.points}: a term without points has no meaning, give at least 1")
        return int(self.points)


def interior(
    equation: Callable[..., Any],
    points: Any = None,
    *,
    weight: float = 1.0,
    sampling: str = "sobol",
    name: str = "interior",
) -> Condition:
    """An equation that holds inside of the domain.

    Parameters
    ----------
    equation : callable
        equation(u, x) -> what must vanish at the point x of shape (d,): one number, or a list of them for a system.
        u is the solution as a function of a point, which `pde.derivative(u, x, 0)`, `pde.laplacian(u, x)` and others
        differentiate. With unknown coefficients, equation(u, x, p), where p is `unknowns` of the problem. It may use
        NumPy functions, or those of jax.numpy.
    points : int or array of shape (N, d), optional
        How many are drawn, or which; by default 512 in one dimension, 1,024 in two, 2,048 in more.
    weight : float
        Factor of this term.
    sampling : "sobol", "latin", "grid" or "uniform"
        How points are drawn; see `pde.interior_points`.
    name : str
        How results name this condition.

    Examples
    --------
    >>> interior(lambda u, t: derivative(u, t) + 3 * u(t), points=64).kind
    'interior'
    """
    if not callable(equation):
        raise TypeError(f"interior: equation must be a function (u, x) -> residual, not {type(equation).__name__}")
    if _arguments(equation) == 1:
        raise TypeError("interior: equation takes one argument; write it as equation(u, x), u a function and x a point")
    return Condition("interior", equation, None, points, sampling, None, -1, weight, name)


def boundary(
    value: Any,
    points: Any = None,
    *,
    faces: Sequence[tuple[int, float]] | None = None,
    weight: float = 1.0,
    sampling: str = "sobol",
    name: str = "boundary",
) -> Condition:
    """A condition on the faces of the domain.

    Parameters
    ----------
    value : number, array or callable
        What u is there: a number for all components, or one for each, or a function value(x) of one point. An equation
        (u, x) -> what must vanish, for derivatives: `lambda u, x: pde.derivative(u, x, 0)`.
    points : int or array of shape (N, d), optional
        How many over all faces, or which.
    faces : sequence of (axis, value), optional
        Where it holds: [(0, 1.0)] is the face on which the coordinate 0 is 1. By default all faces; where the problem
        has an initial condition, all but those at its first and last time.
    weight : float
        As for `interior`.
    sampling : str
        As for `interior`.
    name : str
        As for `interior`.
    """
    equation, value = _split(value, "boundary")
    return Condition("boundary", equation, value, points, sampling, faces, -1, weight, name)


def initial(
    value: Any,
    points: Any = None,
    *,
    axis: int = -1,
    weight: float = 1.0,
    sampling: str = "sobol",
    name: str = "initial",
) -> Condition:
    """A condition at the first time.

    Parameters
    ----------
    value : number, array or callable
        As for `boundary`. Two conditions in one: `lambda u, x: [u(x) - 1, pde.derivative(u, x, -1)]`.
    axis : int
        Which coordinate is time; by default the last.
    points : int or array of shape (N, d), optional
        As for `boundary`.
    weight : float
        As for `interior`.
    sampling : str
        As for `interior`.
    name : str
        As for `interior`.
    """
    equation, value = _split(value, "initial")
    return Condition("initial", equation, value, points, sampling, None, axis, weight, name)


def observations(
    points: Any,
    values: Any,
    quantity: Callable[..., Any] | None = None,
    *,
    weight: float = 1.0,
    name: str = "observations",
) -> Condition:
    """Measured values, to be met in the sense of least squares.

    Parameters
    ----------
    points : array of shape (N, d)
        Where it was measured.
    values : array of shape (N,) or (N, k)
        What was measured.
    quantity : callable, optional
        quantity(u, x) or quantity(u, x, p) -> what the instrument sees at the point x; by default u(x) itself.
    weight : float
        As for `interior`.
    name : str
        As for `interior`.
    """
    if np.ndim(points) == 0:
        raise TypeError(f"observations: points={points!r} must be an array of shape (N, d)")
    if quantity is not None and not callable(quantity):
        raise TypeError(f"observations: quantity must be a function (u, x), not {type(quantity).__name__}")
    try:
        seen = np.asarray(values, float)
    except (TypeError, ValueError):
        raise TypeError("observations: values must be an array of numbers, one row for each point") from None
    if seen.ndim == 0 or len(seen) != len(points):
        raise ValueError(
            f"observations: values have shape {seen.shape}, but there are {len(points)} points; give one each"
        )
    return Condition("observations", quantity, seen, points, weight=weight, name=name)


def _split(value: Any, name: str) -> tuple[Callable[..., Any] | None, Any]:
    """An equation, or a value."""
    if callable(value):
        return (None, value) if _arguments(value) == 1 else (value, None)
    try:
        number = np.asarray(np.nan if value is None else value, float)
        if value is None:
            raise TypeError
    except (TypeError, ValueError):
        raise TypeError(
            f"{name}: value={value!r} must be a number, a function of a point, or (u, x) -> residual"
        ) from None
    if number.ndim > 1:
        raise ValueError(f"{name}: value has shape {number.shape}; give one number, or one for each component of u")
    return None, number


def _arguments(function: Callable[..., Any]) -> int:
    """How many arguments a function asks for; 1 where that cannot be seen."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 1
    if any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters):
        return 2
    return max(1, sum(p.kind in POSITIONAL and p.default is inspect.Parameter.empty for p in parameters))


def _time(axis: Any, sides: Domain, label: str) -> int:
    if isinstance(axis, bool) or not isinstance(axis, int | np.integer) or not -len(sides) <= axis < len(sides):
        raise ValueError(f"{label}: axis={axis!r} must be the coordinate of time, 0 to {len(sides) - 1}")
    return int(axis) % len(sides)


def time_axis(conditions: Sequence[Condition], sides: Domain) -> int | None:
    """The coordinate of the initial conditions; None without any."""
    axes = {_time(c.axis, sides, str(c.name)) for c in conditions if c.kind == "initial"}
    if len(axes) > 1:
        raise ValueError(f"initial conditions name different coordinates of time: {sorted(axes)}")
    return axes.pop() if axes else None


@dataclasses.dataclass(frozen=True)
class Residual:
    """A condition as a function of parameters and one point: what a `stiffgrad.Term` holds.

    Equal fields make equal objects, so that compiled code is shared, and integrators find the `network` here.

    Attributes
    ----------
    network : callable
        network(weights, x); a `pde.Network`, where `pde.network` made it.
    equation : callable or None
        equation(u, x) or (u, x, p); None: u(x) itself.
    arguments : int
        How many of these the equation takes.
    inverse : bool
        Whether the parameters are {"network": ..., "unknowns": ...}, and not the network's alone.
    units : tuple of float
        What each entry is divided by; none where all are 1.
    """

    network: Callable[[Any, Any], Any]
    equation: Callable[..., Any] | None = None
    arguments: int = 2
    inverse: bool = False
    units: tuple[float, ...] = ()

    def __call__(self, params: Any, x: Any) -> jax.Array:
        """The residual, of shape (k,), in its units and in the number type of the parameters.

        Constants of an equation are float64 where they are arrays of NumPy.
        """
        plain = self.plain(params, x)
        leaves = jax.tree.leaves(params)
        if leaves and jnp.issubdtype(jnp.result_type(leaves[0]), jnp.floating):
            plain = plain.astype(jnp.result_type(leaves[0]))
        return plain / np.array(self.units, plain.dtype) if self.units else plain

    def plain(self, params: Any, x: Any) -> jax.Array:
        """The residual as the user wrote it, of shape (k,)."""
        weights = params["network"] if self.inverse else params
        u = Solution(self.network, weights)
        if self.equation is None:
            return jnp.ravel(u(x))
        extra = (params["unknowns"] if self.inverse else {},)[: self.arguments - 2]
        return jnp.ravel(_vector(self.equation(u, x, *extra)))


class Solution:
    """The network with its weights as a function of one point."""

    def __init__(self, network: Callable[[Any, Any], Any], weights: Any) -> None:
        self._network = network
        self._weights = weights
        if isinstance(network, Network):  # it knows a cheaper way than two derivatives along each coordinate
            self.laplacian = functools.partial(network.laplacian, weights)

    def __call__(self, x: Any, *others: Any) -> jax.Array:
        if others:
            raise TypeError("u takes ONE point: write u(x), or u([a, b]) for a point that is made of its coordinates")
        x = unwrap(x)
        x = as_array(x) if isinstance(x, list | tuple) else x  # an array of NumPy's raises beyond its end
        return scalar(jnp.asarray(self._network(self._weights, x)))

    def __getitem__(self, index: Any) -> Any:
        raise TypeError(
            f"u is a function of a point: its component is u(x)[{index}], the derivative of that "
            f"derivative(u, x, 0)[{index}], and the component as a function `lambda x: u(x)[{index}]`"
        )


def _vector(value: Any) -> jax.Array:
    """A residual as an array of at most one dimension. Raises ValueError or TypeError for others."""
    if value is None or callable(value):
        raise TypeError(f"it returns {'nothing' if value is None else 'a function'}, not what must vanish")
    shapes = [jnp.shape(entry) for entry in value] if isinstance(value, list | tuple) else [()]
    if len(set(shapes)) != 1:
        raise ValueError(f"its entries have different shapes {shapes}; give one number each")
    array = as_array(value)
    if jnp.iscomplexobj(array):
        raise TypeError("it is complex: give real and imaginary parts as two components, with outputs=2")
    if array.ndim > 1 and array.size > max(array.shape):
        raise ValueError(f"it has shape {array.shape}; give one number, or a list with one for each equation")
    return array


def term_of(condition: Condition, label: str, network: Any, params: Any, inverse: bool, points: Points) -> Term:
    """The condition as a `stiffgrad.Term`. Raises ValueError or TypeError where it cannot be evaluated."""
    residual = Residual(network, None, 2, inverse)
    if condition.equation is not None:
        count = _arguments(condition.equation)
        if count > 3:
            raise TypeError(f"{label}: the equation takes {count} arguments; write (u, x), or (u, x, p) with unknowns")
        if count == 3 and not inverse:
            raise TypeError(
                f"{label}: the equation takes (u, x, p), but the problem has no unknowns: give unknowns={{...}}. "
                "Coordinates come as ONE point: write (u, z), with x = z[0] and t = z[1]"
            )
        residual = dataclasses.replace(residual, arguments=count)
        residual = _tried(condition.equation, residual, label, params, points)
    weight = condition.weight
    if condition.value is None:
        return Term(residual, points, weight=weight)
    width = jax.eval_shape(residual, params, points[0]).size
    return Term(residual, points, _targets(condition, label, points, int(width)), weight=weight)


def in_units(term: Term, network: Any, units: tuple[float, ...]) -> Term:
    """The same term with another network of as many components, and each entry in its own unit."""
    units = () if all(unit == 1.0 for unit in units) else units
    targets = term.targets if term.targets is None or not units else np.asarray(term.targets) / np.array(units)
    function = dataclasses.replace(residual_of(term), network=network, units=units)
    return dataclasses.replace(term, function=function, targets=targets)


def moved(term: Term, condition: Condition, label: str, points: Points) -> Term:
    """The same term on other points, with the values that are prescribed there."""
    if term.targets is None:
        return dataclasses.replace(term, samples=points)
    width = np.shape(term.targets)[1]
    targets = _targets(condition, label, points, width) / np.array(residual_of(term).units or 1.0)
    return dataclasses.replace(term, samples=points, targets=targets)


def residual_of(term: Term) -> Residual:
    """What `term_of` has put into a term."""
    assert isinstance(term.function, Residual)
    return term.function


def _tried(equation: Callable[..., Any], residual: Residual, label: str, params: Any, points: Points) -> Residual:
    def trial(candidate: Callable[..., Any]) -> Any:
        return jax.eval_shape(dataclasses.replace(residual, equation=candidate), params, points[0])

    try:
        traced = dataclasses.replace(residual, equation=accepting(equation, trial, f"{label}: the equation")[0])
        _check_indices(traced, params, points[0])
        return traced
    except (jax.errors.JAXTypeError, TypeError, ValueError, IndexError, KeyError, AttributeError) as error:
        if str(error).startswith(label):
            raise
        kind = TypeError if isinstance(error, TypeError) else ValueError
        reason = f"no unknown is called {error}" if isinstance(error, KeyError) else str(error).rstrip(".")
        raise kind(
            f"{label}: the equation fails at a point x of shape {points[0].shape}: {reason}. {_hint(reason)}It must "
            "return what vanishes, one number or a list of them; u(x) is the solution there"
        ) from error


def _hint(reason: str) -> str:
    """What to do about some failures of equations whose own message does not say it; or nothing."""
    if re.search("0-d array|is 0-dimensional|0-dimensional array", reason):
        return "Has u more components? Then give outputs=. "
    if "setting an array element" in reason:
        return (
            "Entries of an array cannot be set while it is traced: make a list, and return it. "
            "Splines of SciPy set them too: np.interp(x[0], xs, ys) does not. "
        )
    if f"'{Solution.__name__}'" in reason:
        return (
            "The first of two arguments is the solution, a function: a value is a function of ONE point, as in "
            "`lambda z: z[0] + z[1]`, and an equation says u(z). "
        )
    if "'dict' object has no attribute" in reason:
        return 'Unknowns are taken by name, as in p["k"]. '
    return ""


def _check_indices(residual: Residual, params: Any, point: Points) -> None:
    """Raise IndexError where an equation asks for a coordinate that no point has: JAX would take the last instead."""
    try:
        with np.errstate(all="ignore"):  # a NumPy point, which raises
            jax.eval_shape(lambda: residual(jax.tree.map(np.asarray, params), point))
    except IndexError:
        raise
    except Exception:  # whatever it may be, JAX's own arrays go through
        return


def _targets(condition: Condition, label: str, points: Points, width: int) -> Points:
    """The prescribed values, (N, width)."""
    value = condition.value
    if condition.kind == "observations":
        rows = np.asarray(value).reshape(len(points), -1)
    elif callable(value):
        rows = np.stack([_evaluated(value, label, point) for point in points])
    else:
        count = width if np.ndim(value) == 0 else np.size(value)  # one number holds for every component
        rows = np.broadcast_to(np.ravel(value), (len(points), count))
    if rows.shape[1] != width:
        raise ValueError(
            f"{label}: the value has {rows.shape[1]} components, but u has {width}: give one for each, or write an "
            f"equation (u, x) -> what must vanish for some of them{_more(condition, points)}"
        )
    if not np.all(np.isfinite(rows)):
        first = int(np.argmin(np.all(np.isfinite(rows), axis=1)))
        raise ValueError(f"{label}: the value is {rows[first].tolist()} at the point {points[first].tolist()}")
    return rows


def _more(condition: Condition, points: Points) -> str:
    """What else a value with too many or too few components may have been meant as."""
    if callable(condition.value):
        return (
            f". The value function is called with ONE point of shape {points[0].shape}: its coordinates are x[0], ..."
        )
    if condition.kind == "initial":
        return ". A value and a slope are `lambda u, x: [u(x) - 1, pde.derivative(u, x, -1)]`"
    if condition.kind == "observations":
        return ". What else is measured is a quantity=(u, x)"
    return ". Values that differ from face to face are a boundary each, with faces=[(0, 1.0)], or a function of a point"


def _evaluated(value: Callable[[Any], Any], label: str, point: Points) -> Points:
    try:
        return np.ravel(np.asarray(value(point), float))
    except Exception as error:  # the user's own function may raise anything
        raise ValueError(
            f"{label}: the value function fails at the point {point.tolist()}: {type(error).__name__}: {error}. It is "
            f"called with ONE point of shape {point.shape}, so use x[0] and not x[:, 0]"
        ) from error
