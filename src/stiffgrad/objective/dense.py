"""Which models are multilayer perceptrons, found by what they compute: those get the fast kernels of `MLP`.

A model counts as one where its traced program holds as many matrix products, additions and activations as the
perceptron's and nothing else but changes of layout, and where both agree at random parameters of several sizes.
"""

from __future__ import annotations

import collections
import itertools
import re
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stiffgrad._types import Params
from stiffgrad.interop import Carrier
from stiffgrad.interop._carrier import Layers
from stiffgrad.objective.networks import ACTIVATIONS, MLP

# What only moves numbers about, and a seed that nothing uses (torchax makes one; its use would be seen).
_LAYOUT = {"broadcast_in_dim", "reshape", "squeeze", "transpose", "convert_element_type", "copy", "random_seed"}
_ORDERS = 24  # orders of the layers to try
_SIZES = (0.5, 3.0)  # of random parameters and inputs: small ones, and some that drive activations to their ends
_DRAWS = 3


class Perceptron:
    """A carrier's model as an `MLP`: parameters there and back."""

    def __init__(self, carrier: Carrier, layers: Layers) -> None:
        self.kind = carrier.kind
        self.view = carrier.view
        self._carrier = carrier
        self._layers = layers
        leaves, self._treedef = jax.tree.flatten(carrier.params)
        self.params = self._there(leaves)
        widths = [layer["weight"].shape for layer in self.params]
        self.function = MLP((widths[0][1], *(out for out, _ in widths)), layers.activation)

    def __reduce__(self) -> Any:
        return Perceptron, (self._carrier, self._layers)

    def _there(self, leaves: Any) -> list[dict[str, Any]]:
        layers = self._layers
        return [
            {"bias": leaves[b], "weight": leaves[w].T if layers.transposed else leaves[w]}
            for w, b in zip(layers.weights, layers.biases, strict=True)
        ]

    def restore(self, params: Params) -> Any:
        """The model of the framework with these parameters of the `MLP`."""
        layers = self._layers
        leaves: list[Any] = [None] * (2 * len(params))
        for w, b, layer in zip(layers.weights, layers.biases, params, strict=True):
            leaves[w] = layer["weight"].T if layers.transposed else layer["weight"]
            leaves[b] = layer["bias"]
        return self._carrier.restore(jax.tree.unflatten(self._treedef, leaves))

    def extract(self, model: Any) -> Params:
        """The parameters of a model of the framework, as those of the `MLP`."""
        return self._there(jax.tree.leaves(self._carrier.extract(model)))


def recognised(carrier: Carrier, x: Any) -> Carrier | Perceptron:
    """The same carrier, as a `Perceptron` where the model is one; `x` is one sample."""
    if not hasattr(x, "shape") or len(x.shape) != 1:
        return carrier
    layers = carrier.layers()
    if layers is None:
        layers = _found(carrier, x)
    return carrier if layers is None else Perceptron(carrier, layers)


def _found(carrier: Carrier, x: Any) -> Layers | None:
    """The layers, by tracing."""
    paths, _ = jax.tree_util.tree_flatten_with_path(carrier.params)
    shapes = [np.shape(leaf) for _, leaf in paths]
    pairs = _pairs([jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in paths], shapes)
    if pairs is None or not np.issubdtype(x.dtype, np.number):
        return None
    candidates = list(_candidates(pairs, shapes, x.shape[0]))
    if not candidates:
        return None
    wide = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), jnp.zeros(()).dtype), carrier.params)
    try:
        sample = jax.ShapeDtypeStruct(x.shape, jnp.zeros(()).dtype)
        traced, outputs = jax.make_jaxpr(carrier.function, return_shape=True)(wide, sample)
    except Exception:  # the objective's own check says what is wrong with the function
        return None
    if not hasattr(outputs, "shape"):
        return None
    seen = _primitives(traced.jaxpr)
    for orders in candidates:
        for activation in ACTIVATIONS:
            layers = Layers(*orders, activation)
            if seen == _expected(len(layers.weights), activation) and _agree(carrier, layers, shapes, x.shape[0]):
                return layers
    return None


def _pairs(names: list[str], shapes: list[tuple[int, ...]]) -> list[tuple[int, int]] | None:
    """Leaf numbers (weight, bias) of each layer, by common parent in the tree, in natural order of their names."""
    groups = collections.defaultdict(list)
    for number, name in enumerate(names):
        groups[name.rpartition(".")[0]].append(number)
    pairs = []
    for parent in sorted(groups, key=lambda name: [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", name)]):
        members = sorted(groups[parent], key=lambda number: -len(shapes[number]))
        if [len(shapes[number]) for number in members] != [2, 1]:
            return None
        pairs.append((members[0], members[1]))
    return pairs


def _candidates(
    pairs: list[tuple[int, int]], shapes: list[tuple[int, ...]], width: int
) -> Iterator[tuple[tuple[int, ...], tuple[int, ...], bool]]:
    """Orders of the layers, and whether weights are (in, out), whose sizes fit together."""
    for transposed in (False, True):
        for order in itertools.islice(itertools.permutations(pairs), _ORDERS):
            before = width
            for weight, bias in order:
                out = shapes[bias][0]
                if shapes[weight] != ((before, out) if transposed else (out, before)):
                    break
                before = out
            else:
                weights, biases = zip(*order, strict=True)
                yield weights, biases, transposed


def _primitives(jaxpr: Any) -> collections.Counter[str]:
    """How often each primitive stands in a program and in what it calls, those of layout left out."""
    count: collections.Counter[str] = collections.Counter()
    for equation in jaxpr.eqns:
        inner = [value for value in equation.params.values() if hasattr(value, "jaxpr") or hasattr(value, "eqns")]
        if inner:
            count += _primitives(getattr(inner[0], "jaxpr", inner[0]))
        elif equation.primitive.name not in _LAYOUT:
            count[equation.primitive.name] += 1
    return count


def _expected(depth: int, activation: str) -> collections.Counter[str]:
    one = _primitives(jax.make_jaxpr(ACTIVATIONS[activation])(jnp.zeros(2)).jaxpr)
    total = collections.Counter({"dot_general": depth, "add": depth})
    for name, number in one.items():
        total[name] += (depth - 1) * number
    return +total


def _agree(carrier: Carrier, layers: Layers, shapes: list[tuple[int, ...]], width: int) -> bool:
    treedef = jax.tree.structure(carrier.params)
    generator = np.random.default_rng(0)
    draws = [[size * generator.standard_normal(shape) for shape in shapes] for size in _SIZES for _ in range(_DRAWS)]
    stacked = [jnp.asarray(np.stack(leaf)) for leaf in zip(*draws, strict=True)]
    inputs = jnp.asarray(generator.standard_normal((len(draws), width)))
    perceptron = Perceptron(carrier, layers)

    def both(leaves: Any, x: Any) -> Any:
        theirs = carrier.function(jax.tree.unflatten(treedef, leaves), x)
        return jnp.ravel(theirs), perceptron.function(perceptron._there(leaves), x)

    theirs, ours = jax.jit(jax.vmap(both))(stacked, inputs)
    close = 100 * float(jnp.finfo(theirs.dtype).eps)
    return theirs.shape == ours.shape and bool(np.allclose(theirs, ours, rtol=close, atol=close * np.abs(ours).max()))
