"""Multilayer perceptrons, as a function of parameters and one sample."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stiffgrad import _checks
from stiffgrad._memory import require

ACTIVATIONS = {
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "relu": jax.nn.relu,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "softplus": jax.nn.softplus,
    "sine": jnp.sin,
}
_HE = {"relu", "gelu", "silu", "softplus"}
_LIMITS: dict[str, Callable[[int, int, bool], float]] = {  # of the uniform start: of inputs, outputs, first layer
    "glorot": lambda fan_in, fan_out, first: np.sqrt(6.0 / (fan_in + fan_out)),
    "he": lambda fan_in, fan_out, first: np.sqrt(6.0 / fan_in),
    "siren": lambda fan_in, fan_out, first: 1.0 / fan_in if first else np.sqrt(6.0 / fan_in),
}


@dataclasses.dataclass(frozen=True)
class MLP:
    """A multilayer perceptron: `apply(params, x)` for one sample x of shape (sizes[0],).

    Equal sizes and activation make equal objects, so that compiled code is shared. The last layer is linear.
    """

    sizes: tuple[int, ...]
    activation: str = "tanh"

    def __call__(self, params: Any, x: Any) -> jax.Array:
        """Outputs of shape (sizes[-1],)."""
        if np.shape(x) != self.sizes[:1]:
            raise ValueError(
                f"x has shape {np.shape(x)}, but a perceptron of sizes={list(self.sizes)} takes one sample of shape "
                f"({self.sizes[0]},); for many: jax.vmap(apply, (None, 0))(params, X)"
                + ("; or flatten each: X.reshape(len(X), -1)" if np.size(x) == self.sizes[0] else "")
            )
        activation = ACTIVATIONS[self.activation]
        for layer in params[:-1]:
            x = activation(layer["weight"] @ x + layer["bias"])
        return params[-1]["weight"] @ x + params[-1]["bias"]

    def layers(self, params: Any, shifts: Any, x: Any) -> tuple[jax.Array, list[jax.Array]]:
        """Outputs with `shifts` added to what each layer sums up, and the inputs of each layer.

        A row of the Jacobian in the weights of a layer is the outer product of the derivative in its shift and its
        inputs: what `derivatives.layer_factors` needs.
        """
        activation, inputs = ACTIVATIONS[self.activation], []
        for i, (layer, shift) in enumerate(zip(params, shifts, strict=True)):
            x = activation(x) if i else x
            inputs.append(x)
            x = layer["weight"] @ x + layer["bias"] + shift
        return x, inputs


def mlp(
    sizes: Sequence[int], activation: str = "tanh", seed: int = 0, initial: str | None = None
) -> tuple[MLP, list[dict[str, np.ndarray]]]:
    """A multilayer perceptron and its start.

    Parameters
    ----------
    sizes : sequence of int
        Units per layer, from inputs to outputs.
    activation : str
        "tanh", "sigmoid", "relu", "gelu", "silu", "softplus" or "sine", in every hidden layer.
    seed : int
        Of the start; the same seed gives the same weights.
    initial : "glorot", "he" or "siren", optional
        Uniform start of Glorot and Bengio (2010), He et al. (2015), or Sitzmann et al. (2020) with a frequency of 1
        (`pde.siren` has others); by default the last for sine, He for relu, gelu, silu and softplus, Glorot
        otherwise. Biases are drawn uniformly from (-1, 1) / sqrt(inputs of the layer).

    Returns
    -------
    apply, params
        `apply(params, x)` for one sample; params is a list of {"weight": (out, in), "bias": (out,)}.

    Raises
    ------
    ValueError, TypeError
        Fewer than two sizes, a size below 1, a negative seed, or an unknown activation or start.

    Examples
    --------
    >>> apply, params = mlp([2, 8, 1], activation="tanh", seed=0)
    >>> apply(params, np.zeros(2)).shape
    (1,)
    """
    if not isinstance(sizes, Sequence | np.ndarray) or any(
        isinstance(n, bool) or not isinstance(n, int | np.integer) for n in sizes
    ):
        raise TypeError(f"sizes={sizes!r} must be a list of whole numbers, from inputs to outputs")
    if len(sizes) < 2 or min(sizes) < 1:
        raise ValueError(f"sizes={list(sizes)!r} must name at least inputs and outputs, each a positive whole number")
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise _checks.unknown("activation", activation, ACTIVATIONS)
    initial = initial or ("siren" if activation == "sine" else "he" if activation in _HE else "glorot")
    if initial not in _LIMITS:
        raise _checks.unknown("initial", initial, _LIMITS)
    _checks.whole("seed", seed)
    weights = sum((float(before) + 1.0) * float(after) for before, after in itertools.pairwise(sizes))
    require(8.0 * weights, f"a perceptron of sizes={list(sizes)}", "take fewer units")
    generator = np.random.default_rng(seed)
    params: list[dict[str, np.ndarray]] = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        limit = _LIMITS[initial](fan_in, fan_out, not params)
        weight = generator.uniform(-limit, limit, (fan_out, fan_in))
        bias = generator.uniform(-1.0, 1.0, fan_out) / np.sqrt(fan_in)
        params.append({"weight": weight, "bias": bias})
    return MLP(tuple(int(size) for size in sizes), activation), params
