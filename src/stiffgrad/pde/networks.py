"""Networks for equations: inputs scaled to the domain, periodic and Fourier features, hard constraints, SIREN."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from stiffgrad import _checks
from stiffgrad._float64 import float64, host
from stiffgrad.objective.networks import ACTIVATIONS, MLP, mlp
from stiffgrad.pde._numpy import accepting, as_array
from stiffgrad.pde.points import Domain, box

Transform = Callable[[Any, Any], Any]
SHARPNESS = 3.0  # length of a first unit's weights in one dimension; docs/pinns.md has how others compared
SMOOTH = ("tanh", "sigmoid", "gelu", "silu", "softplus", "sine")


@dataclasses.dataclass(frozen=True)
class Network:
    """A multilayer perceptron between the features of a point and the solution there.

    Calling it with parameters and one point of shape (d,) gives the outputs, (k,), or a scalar where k is 1. Networks
    of equal fields are equal objects, so that compiled code is shared. `pde.network` makes one.

    Attributes
    ----------
    mlp : MLP
        The perceptron in between; its parameters are those of the network.
    sides : tuple of (low, high)
        The domain, whose points are scaled to [-1, 1].
    periodic : tuple of int
        Coordinates that enter as cos and sin of 2 pi x / length, so that every output is periodic in them.
    frequencies : tuple of tuples
        Rows b of random Fourier features: cos(b z) and sin(b z) of the scaled coordinates z enter as well.
    transform : callable or None
        transform(x, n) -> outputs: turns the perceptron's outputs n into the solution, to meet a condition exactly.
    shift, size : tuple of float
        Outputs are shift + size * those of the perceptron, before the transform; one for each, or none.
    kinks : tuple of float
        Where, in one dimension, the solution is not smooth.
    smooth : int
        How many of its derivatives are continuous there.
    fast : float
        The shortest time in one dimension, whose logarithm enters as well; 0 for none.
    seed : int or None
        From which the first layer's start was drawn; None for one that does not turn all over the domain.
    """

    mlp: MLP
    sides: Domain
    periodic: tuple[int, ...] = ()
    frequencies: tuple[tuple[float, ...], ...] = ()
    transform: Transform | None = None
    shift: tuple[float, ...] = ()
    size: tuple[float, ...] = ()
    kinks: tuple[float, ...] = ()
    smooth: int = 0
    fast: float = 0.0
    seed: int | None = dataclasses.field(default=None, compare=False)

    def begun(self, params: Any, sharpness: Any) -> Any:
        """The start of `network` as it is with another sharpness; parameters that are no such start as they are."""
        if self.seed is None or not isinstance(params, list):
            return params
        first = self.first_layer(self.seed, 1.0)
        if any(not np.array_equal(params[0][name], first[name]) for name in first):
            return params
        return [self.first_layer(self.seed, sharpness), *params[1:]]

    def first_layer(self, seed: int, sharpness: Any) -> dict[str, np.ndarray]:
        """Weights of one length in even directions, zero at points evenly drawn from [-1, 1]^inputs.

        Those of coordinates that are not periodic are then multiplied by their `sharpness`.
        """
        waves = self.periodic or self.frequencies
        factors = np.delete(_factors(sharpness, len(self.sides)), self.periodic)
        shape = (self.mlp.sizes[1], self.mlp.sizes[0])
        generator = np.random.default_rng([seed, 2])
        weight = generator.normal(size=shape)
        weight *= (1.0 if waves else SHARPNESS / len(self.sides) ** 0.5) / np.linalg.norm(weight, axis=1, keepdims=True)
        weight[:, : len(factors)] *= factors
        turns = generator.uniform(-1.0, 1.0, shape)
        return {"weight": weight, "bias": -np.sum(weight * turns, axis=1)}

    def sharper(self, params: Any, times: float) -> Any:
        """Parameters whose first units turn at the same points, over a length so many times smaller."""
        return [{name: times * np.asarray(value) for name, value in params[0].items()}, *params[1:]]

    def features(self, x: Any) -> jax.Array:
        """What enters the perceptron at the point x."""
        x = as_array(x)
        low, high = _like(self.sides, x).T
        plain = np.setdiff1d(np.arange(len(self.sides)), self.periodic)
        parts = [((2.0 * x - (low + high)) / (high - low))[plain]]
        if self.periodic:
            turns = (2.0 * np.pi / (high - low) * x)[np.array(self.periodic)]
            parts += [jnp.cos(turns), jnp.sin(turns)]
        if self.fast:
            length = high - low
            parts.append(2.0 * jnp.log1p((x - low) / self.fast) / np.log1p(length / self.fast) - 1.0)
        if self.kinks:
            parts.append(self._kinked(x))
        z = jnp.concatenate(parts)
        if not self.frequencies:
            return z
        waves = jnp.asarray(np.array(self.frequencies), z.dtype) @ z
        return jnp.concatenate([z, jnp.cos(waves), jnp.sin(waves)])

    def _kinked(self, x: Any) -> jax.Array:
        """d^smooth |d| of the distances d to the kinks, in units of the largest.

        At a kink itself the derivatives are those above it.
        """
        (low, high), at = self.sides[0], _like(self.kinks, x)
        away = (x - at) / np.maximum(at - low, high - at)
        return jnp.where(x >= at, 1.0, -1.0) * away ** (self.smooth + 1)

    @float64
    def __call__(self, params: Any, x: Any) -> Any:
        """The solution at one point."""
        outputs = self.mlp(params, self.features(x))
        if self.size:
            outputs = _like(self.shift, outputs) + _like(self.size, outputs) * outputs
        outputs = scalar(outputs)
        return host(outputs if self.transform is None else scalar(as_array(self.transform(x, outputs))))

    def laplacian(self, params: Any, x: Any, directions: Any) -> jax.Array:
        """The sum of the second derivatives at the point x along `directions`, (k, d), layer by layer.

        Of a composition F(z(x)) it is F' lap z + sum_i F''[z_i, z_i], with z_i the derivative of z along direction i:
        the second derivatives are summed before the layers above multiply them, k + 2 products a layer instead of
        2 k + 1 (Li et al. 2023, the forward Laplacian).
        """
        z = _composed(self.features, _Jet(x, directions, jnp.zeros_like(x)))
        activation = ACTIVATIONS[self.mlp.activation]
        for index, layer in enumerate(params):
            z = _activated(activation, z) if index else z
            weight = layer["weight"]
            z = _Jet(weight @ z.value + layer["bias"], z.slopes @ weight.T, weight @ z.laplacian)
        if self.size:
            size = _like(self.size, z.value)
            z = _Jet(_like(self.shift, z.value) + size * z.value, size * z.slopes, size * z.laplacian)
        if self.transform is None:
            return scalar(z.laplacian)
        one = z.value.shape == (1,)
        z = jax.tree.map(lambda a: a[..., 0], z) if one else z
        start = _Jet((x, z.value), (directions, z.slopes), (jnp.zeros_like(x), z.laplacian))
        return scalar(_composed(lambda pair: as_array(self.transform(*pair)), start).laplacian)  # type: ignore[misc]


class _Jet(NamedTuple):
    """A value, its derivatives along k directions (k, ...), and the sum of the second ones."""

    value: Any
    slopes: Any
    laplacian: Any


def _composed(function: Callable[[Any], Any], z: _Jet) -> _Jet:
    def along(direction: Any) -> Any:
        slope = lambda v: jax.jvp(function, (v,), (direction,))[1]  # noqa: E731
        return jax.jvp(slope, (z.value,), (direction,))

    value, linear = jax.jvp(function, (z.value,), (z.laplacian,))
    slopes, bends = jax.vmap(along)(z.slopes)
    return _Jet(value, slopes, linear + jnp.sum(bends, axis=0))


def _activated(activation: Callable[[Any], Any], z: _Jet) -> _Jet:
    """The same for a function that acts on each entry, whose derivatives are then numbers."""
    one = jnp.ones_like(z.value)

    def slope(v: Any) -> Any:
        return jax.jvp(activation, (v,), (one,))

    (value, first), (_, second) = jax.jvp(slope, (z.value,), (one,))
    return _Jet(value, first * z.slopes, first * z.laplacian + second * jnp.sum(z.slopes**2, axis=0))


def _like(values: Any, x: Any) -> np.ndarray:
    """Constants in the number type of x, so that float32 stays float32; of whole numbers in float64."""
    return np.asarray(values, x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else float)


def scalar(outputs: jax.Array) -> jax.Array:
    """Outputs of shape (1,) as a scalar, others as they are."""
    return outputs[0] if outputs.shape == (1,) else outputs


@float64
def network(
    domain: Any,
    hidden: Sequence[int] = (20, 20),
    outputs: int = 1,
    *,
    activation: str = "tanh",
    periodic: Sequence[int] = (),
    fourier: int = 0,
    fourier_scale: float = 3.0,
    transform: Transform | None = None,
    shift: Any = 0.0,
    size: Any = 1.0,
    kinks: Sequence[float] = (),
    smooth: int = 0,
    fast: float = 0.0,
    sharpness: Any = 1.0,
    omega: float = 10.0,
    seed: int = 0,
) -> tuple[Network, list[dict[str, np.ndarray]]]:
    """A network for an equation on a box, and its start.

    Units of the first layer turn at points that are spread evenly over the domain, in any direction (Nguyen and Widrow
    1990), with weights of length 3 / sqrt(d), or 1 where waves enter (`periodic`, `fourier`). The other layers begin as
    in `stiffgrad.mlp`.

    Parameters
    ----------
    domain : sequence of (low, high)
        One pair for each coordinate. Inputs are scaled from there to [-1, 1], so that units do not matter.
    hidden : sequence of int
        Units of the hidden layers.
    outputs : int
        Components of the solution.
    activation : str
        "tanh", "sigmoid", "gelu", "silu", "softplus", or "sine", which makes a SIREN. "relu" has no second derivative.
    periodic : sequence of int
        Coordinates in which the solution has the domain's length as its period.
    fourier : int
        Number of random Fourier features (Tancik et al. 2020), each a cosine and a sine, for solutions that oscillate.
    fourier_scale : float
        Standard deviation of their frequencies, on coordinates scaled to [-1, 1].
    transform : callable, optional
        transform(x, n) of one point and the perceptron's outputs (a scalar where `outputs` is 1): returns the solution.
        A hard constraint: `lambda x, n: x[0] * (1 - x[0]) * n` vanishes where x0 is 0 or 1, whatever the weights are.
    shift : number, or one for each output
        See `size`.
    size : number, or one for each output
        Outputs are shift + size * those of a perceptron, whose own are of order one: temperatures near 350 K that vary
        by 50 K ask for shift=350, size=50. `pde.Problem` finds them where it makes the network itself.
    kinks : sequence of float
        Points, in one dimension, where the solution is not smooth, as where a source is switched on: d^smooth |d| of
        the distance d to each enters as well. `pde.Problem` finds them where it makes the network itself.
    smooth : int
        How many derivatives of the solution are continuous at the kinks: one less than the order of its equation.
    fast : float
        The shortest time of an equation in one dimension: log(1 + time / fast) enters as well, so that what happens in
        the first 1e-4 of an interval has as much room as the rest. `pde.Problem` finds it where it makes the network
        itself and there is an initial condition.
    sharpness : number, or one for each coordinate
        How many times sharper the first layer's units are at the start: of a solution that changes ten times as fast
        along the second coordinate, (1, 10). `pde.Problem` finds it where it makes the network itself and there is an
        initial condition.
    omega : float
        Frequency of the first layer, with "sine" only.
    seed : int
        Of the start's random numbers.

    Returns
    -------
    network, params
        `network(params, x)` for one point.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was seen and what to do.

    Examples
    --------
    >>> u, params = network([(0, 1), (0, 1)], [16], transform=lambda x, n: x[0] * n)
    >>> float(u(params, np.array([0.0, 0.5])))
    0.0
    """
    sides = box(domain)
    _checks.whole("seed", seed)
    check_smooth(activation)
    if isinstance(outputs, bool) or not isinstance(outputs, int | np.integer) or outputs < 1:
        raise ValueError(f"outputs={outputs!r} must be a positive whole number: the components of the solution")
    axes = _axes(periodic, len(sides))
    bends = _kinks(kinks, smooth, sides)
    if isinstance(fast, bool) or not isinstance(fast, int | float | np.number) or not 0 <= fast < np.inf:
        raise ValueError(f"fast={fast!r} must be a time, or 0 for none")
    if fast and len(sides) > 1:
        raise ValueError(f"fast={fast!r} is for a domain with one coordinate")
    width = len(sides) + len(axes) + len(bends) + bool(fast)  # a periodic coordinate enters twice
    frequencies = _frequencies(fourier, fourier_scale, width, seed)
    sizes = [width + 2 * len(frequencies), *_hidden(hidden), int(outputs)]
    perceptron, params = siren(sizes, omega, seed) if activation == "sine" else mlp(sizes, activation, seed)
    moved, scaled = units(shift, size, int(outputs))
    smoothness = int(smooth) if bends else 0
    made = Network(perceptron, sides, axes, frequencies, None, moved, scaled, bends, smoothness, float(fast))
    _factors(sharpness, len(sides))
    if activation != "sine":
        made = dataclasses.replace(made, seed=seed)
        params[0] = made.first_layer(seed, sharpness)
    return (made if transform is None else _transformed(made, params, transform)), params


def check_smooth(activation: str) -> None:
    """Raise ValueError for an activation with kinks: equations differentiate it, and of relu nothing is left."""
    if activation not in SMOOTH:
        raise ValueError(
            f"activation={activation!r} must be smooth, one of {', '.join(SMOOTH)}: equations differentiate it"
        )


def siren(sizes: Sequence[int], omega: float = 30.0, seed: int = 0) -> tuple[MLP, list[dict[str, np.ndarray]]]:
    """A perceptron with sine units and its start (Sitzmann et al. 2020), for inputs in [-1, 1].

    The factor omega of the paper is part of the first layer's start here, and 1 in the others: the same functions,
    with weights of order one.

    Examples
    --------
    >>> apply, params = siren([2, 32, 32, 1])
    >>> apply(params, np.zeros(2)).shape
    (1,)
    """
    if isinstance(omega, bool) or not isinstance(omega, int | float | np.number) or not 0 < omega < np.inf:
        raise ValueError(f"omega={omega!r} must be a positive number: the frequency of the first layer")
    network, params = mlp(sizes, "sine", seed)
    first = params[0]
    # `mlp` draws the first layer uniformly from (-1, 1) / inputs: the paper's start for omega = 1.
    params[0] = {"weight": omega * first["weight"], "bias": omega * first["bias"]}
    return network, params


def _hidden(hidden: Any) -> list[int]:
    if isinstance(hidden, str) or not isinstance(hidden, Sequence | np.ndarray):
        raise TypeError(
            f"hidden={hidden!r} must be a list of whole numbers, the units of each hidden layer, as [20, 20]"
        )
    return list(hidden)


def _axes(periodic: Any, dimension: int) -> tuple[int, ...]:
    if not isinstance(periodic, Sequence) or not all(isinstance(axis, int | np.integer) for axis in periodic):
        raise TypeError(f"periodic={periodic!r} must be a list of coordinates, as [0]")
    if any(not -dimension <= axis < dimension for axis in periodic):
        raise ValueError(f"periodic={periodic!r} names a coordinate beyond 0 to {dimension - 1}")
    return tuple(sorted({int(axis) % dimension for axis in periodic}))


def _factors(sharpness: Any, dimension: int) -> np.ndarray:
    try:
        factors = np.broadcast_to(np.asarray(sharpness, float), (dimension,))
    except (TypeError, ValueError):
        factors = np.array([np.nan])
    if not np.all((factors > 0) & (factors < np.inf)):
        raise ValueError(
            f"sharpness={sharpness!r} must be a positive number, or one for each of {dimension} coordinates"
        )
    return factors


def _kinks(kinks: Any, smooth: Any, sides: Domain) -> tuple[float, ...]:
    try:
        at = np.asarray(kinks, float)
    except (TypeError, ValueError):
        raise TypeError(f"kinks={kinks!r} must be a list of numbers, as [0.5]") from None
    if at.ndim != 1 or (at.size and len(sides) > 1):
        raise ValueError(f"kinks={kinks!r} must be a list of points of a domain with one coordinate, as [0.5]")
    if not np.all((at > sides[0][0]) & (at < sides[0][1])):
        raise ValueError(f"kinks={kinks!r} must lie inside of the domain {list(sides)}")
    if isinstance(smooth, bool) or not isinstance(smooth, int | np.integer) or smooth < 0:
        raise ValueError(f"smooth={smooth!r} must be a number of continuous derivatives, 0 for none")
    return tuple(map(float, at))


def _frequencies(count: Any, scale: Any, width: int, seed: int) -> tuple[tuple[float, ...], ...]:
    if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 0:
        raise ValueError(f"fourier={count!r} must be a number of features, 0 for none")
    if isinstance(scale, bool) or not isinstance(scale, int | float | np.number) or not 0 < scale < np.inf:
        raise ValueError(f"fourier_scale={scale!r} must be a positive number")
    drawn = float(scale) * np.random.default_rng([seed, 1]).normal(size=(int(count), width))
    return tuple(tuple(float(v) for v in row) for row in drawn)


def units(shift: Any, size: Any, outputs: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Shift and size as a `Network` holds them, one for each output; none where they change nothing.

    So equal networks are equal objects.
    """
    try:
        moved, scaled = (np.broadcast_to(np.asarray(value, float), (outputs,)) for value in (shift, size))
    except (TypeError, ValueError):
        raise ValueError(
            f"shift={shift!r} and size={size!r} must be numbers, or lists with one for each of {outputs} outputs"
        ) from None
    if not np.all(np.isfinite(moved)) or not np.all((scaled > 0) & np.isfinite(scaled)):
        raise ValueError(f"shift={shift!r} must be finite and size={size!r} positive and finite")
    if np.all(moved == 0) and np.all(scaled == 1):
        return (), ()
    return tuple(map(float, moved)), tuple(map(float, scaled))


def _transformed(plain: Network, params: Any, transform: Any) -> Network:
    """The network with its transform, which is tried first: it must return what the network returns."""
    if not callable(transform):
        raise TypeError(f"transform must be a function transform(x, n), not {type(transform).__name__}")
    x = jnp.asarray(np.array(plain.sides).mean(axis=1))
    expected = jax.eval_shape(plain, params, x).shape

    def trial(candidate: Transform) -> Any:
        return jax.eval_shape(dataclasses.replace(plain, transform=candidate), params, x)

    function, seen = accepting(transform, trial, "transform")
    if seen.shape != expected:
        raise ValueError(
            f"transform returns shape {seen.shape}, but the solution has shape {expected}: return one number for each "
            "output of the network (n is a scalar where outputs=1)"
        )
    return dataclasses.replace(plain, transform=function)
