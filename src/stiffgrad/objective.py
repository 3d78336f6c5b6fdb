"""The training error E(w), with every derivative that a solver can ask for."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stiffgrad import derivatives
from stiffgrad._types import Params
from stiffgrad.derivatives import Block
from stiffgrad.losses import IDENTITY, Loss, resolve
from stiffgrad.parameters import Layout

_value = jax.jit(derivatives.value)
_gradient = jax.jit(derivatives.gradient)
_value_and_gradient = jax.jit(derivatives.value_and_gradient)
_hessian = jax.jit(derivatives.hessian)
_gauss_newton = jax.jit(derivatives.gauss_newton)
_hvp = jax.jit(derivatives.hvp)
_gnvp = jax.jit(derivatives.gnvp)


@dataclasses.dataclass(frozen=True)
class Term:
    """One term of an objective: weight * mean over samples of l(function(params, sample), target).

    Parameters
    ----------
    function : callable
        function(params, sample) -> array of outputs (or residuals), for one sample.
    samples : pytree of arrays
        All samples; every leaf has the leading axis N.
    targets : array or pytree, optional
        One target for each sample. None: zero, so that "squared" is half the squared residual.
        For "cross_entropy" either whole-number labels of shape (N,) or rows of class probabilities.
    loss : str or callable
        "squared", "cross_entropy", "binary_cross_entropy" or l(outputs, target), convex in the outputs.
    weight : float
        Positive factor of the term.
    sample_weight : array of shape (N,), optional
        Non-negative; the mean becomes the weighted mean.
    """

    function: Callable[[Any, Any], Any]
    samples: Any
    targets: Any = None
    loss: str | Callable[[Any, Any], Any] | Loss = "squared"
    weight: float = 1.0
    sample_weight: Any = None


class Objective:
    """E(w) = sum of terms + decay/2 |w|^2, over flat parameters w of shape (n,).

    Parameters
    ----------
    params : pytree of arrays
        The start.
    terms : sequence of Term
        Their samples may differ in number and meaning.
    weight_decay : float or pytree of floats
        One number, or one for each leaf of `params`; not negative.
    dtype : "float64" or "float32"
        The number type of everything.
    chunk_samples : int, optional
        Sum over that many samples at a time, which bounds the memory.

    Attributes
    ----------
    w0 : array of shape (n,)
        The start, flat.
    size : int
        Number of parameters n.
    rows : int
        Number of outputs over all samples, m = N k; the height of the Jacobian.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was seen and what to do.

    Examples
    --------
    >>> def line(params, sample):
    ...     x, y = sample
    ...     return params["a"] * x + params["b"] - y
    >>> x = np.linspace(0, 1, 5)
    >>> objective = Objective({"a": 0.0, "b": 0.0}, terms=[Term(line, (x, 2 * x))])
    >>> float(objective.value(objective.w0)), objective.size, objective.rows
    (0.75, 2, 5)
    """

    blocks: tuple[Block, ...]
    decay: jax.Array
    w0: jax.Array
    layout: Layout
    rows: int

    def __init__(
        self,
        params: Params,
        terms: Sequence[Term],
        weight_decay: Any = 0.0,
        dtype: str = "float64",
        chunk_samples: int | None = None,
    ) -> None:
        if dtype not in ("float64", "float32"):
            raise ValueError(f"dtype={dtype!r} must be 'float64' or 'float32'")
        if not terms:
            raise ValueError("terms is empty: give at least one Term")
        kind = jnp.dtype(dtype)
        layout = Layout.of(params)
        w0 = _flat_start(params, layout, kind)
        blocks, rows = zip(*(_block(term, i, params, kind, chunk_samples) for i, term in enumerate(terms)), strict=True)
        self.blocks = blocks
        self.decay = _flat_decay(weight_decay, params, layout, kind)
        self.w0 = w0
        self.layout = layout
        self.rows = sum(rows)

    @property
    def size(self) -> int:
        """Number of parameters n."""
        return self.layout.size

    @property
    def has_gauss_newton(self) -> bool:
        """Whether E has outputs under a loss, so that a Gauss-Newton matrix exists."""
        return all(block.loss != IDENTITY for block in self.blocks)

    @property
    def has_rows(self) -> bool:
        """Whether every loss knows its pseudo-residual, so that G = A'A and grad = A'r hold."""
        return all(block.loss.residual is not None for block in self.blocks)

    def flatten(self, params: Params) -> jax.Array:
        """The flat vector (n,) of parameters with the structure of the start."""
        return self.layout.flatten(params, self.w0.dtype)

    def unflatten(self, w: Any) -> Params:
        """The pytree of a flat vector (n,)."""
        return self.layout.unflatten(w)

    def _check(self, w: Any, name: str = "w") -> Any:
        if np.shape(w) != (self.size,):
            raise ValueError(f"{name} has shape {np.shape(w)}, expected the flat ({self.size},); see flatten(params)")
        return jnp.asarray(w, self.w0.dtype)

    def _check_gauss_newton(self) -> None:
        if not self.has_gauss_newton:
            raise ValueError("minimise(loss) has no outputs, so no Gauss-Newton matrix: use hessian or hvp instead")

    def value(self, w: Any) -> jax.Array:
        """E(w), a scalar."""
        return _value(self, self._check(w))

    def gradient(self, w: Any) -> jax.Array:
        """Gradient of E, of shape (n,)."""
        return _gradient(self, self._check(w))

    def value_and_gradient(self, w: Any) -> tuple[jax.Array, jax.Array]:
        """E(w) and its gradient of shape (n,), in one pass."""
        return _value_and_gradient(self, self._check(w))

    def hessian(self, w: Any) -> jax.Array:
        """Dense Hessian, (n, n), symmetric; costs n Hessian-vector products."""
        return _hessian(self, self._check(w))

    def gauss_newton(self, w: Any) -> jax.Array:
        """Dense Gauss-Newton matrix J'SJ + diag(decay), (n, n), positive semidefinite; costs N k backward passes."""
        self._check_gauss_newton()
        return _gauss_newton(self, self._check(w))

    def hvp(self, w: Any, v: Any) -> jax.Array:
        """Hessian-vector product of shape (n,), matrix-free."""
        return _hvp(self, self._check(w), self._check(v, "v"))

    def gnvp(self, w: Any, v: Any) -> jax.Array:
        """Gauss-Newton-vector product of shape (n,), matrix-free."""
        self._check_gauss_newton()
        return _gnvp(self, self._check(w), self._check(v, "v"))

    def __repr__(self) -> str:
        losses = ", ".join(block.loss.name for block in self.blocks)
        return f"Objective({self.size} parameters, {self.rows} outputs over all samples, {losses}, {self.w0.dtype})"


def _flatten_objective(objective: Objective) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    return (objective.blocks, objective.decay, objective.w0), (objective.layout, objective.rows)


def _unflatten_objective(meta: tuple[Any, ...], data: tuple[Any, ...]) -> Objective:
    objective = object.__new__(Objective)
    objective.layout, objective.rows = meta
    objective.blocks, objective.decay, objective.w0 = data
    return objective


# A pytree, so that compiled functions take the data as arguments: equal shapes then share compiled code.
jax.tree_util.register_pytree_node(Objective, _flatten_objective, _unflatten_objective)


def supervised(
    apply: Callable[[Any, Any], Any],
    params: Params,
    X: Any,
    y: Any,
    loss: str | Callable[[Any, Any], Any] = "squared",
    weight_decay: Any = 0.0,
    sample_weight: Any = None,
    dtype: str = "float64",
    chunk_samples: int | None = None,
) -> Objective:
    """The objective of supervised training: mean of loss(apply(params, x_i), y_i) + weight_decay/2 |w|^2.

    `apply(params, x)` takes ONE sample; the batching is done here. See `Term` for targets and losses, `Objective`
    for the other arguments and for what is raised.

    Examples
    --------
    >>> from stiffgrad.networks import mlp
    >>> apply, params = mlp([2, 3, 1])
    >>> X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> supervised(apply, params, X, np.array([0.0, 1.0, 1.0, 0.0]))
    Objective(13 parameters, 4 outputs over all samples, squared, float64)
    """
    if y is None:
        raise TypeError("y is None: supervised needs a target for each sample; see least_squares for residuals")
    term = Term(apply, X, y, loss, sample_weight=sample_weight)
    return Objective(params, [term], weight_decay, dtype, chunk_samples)


def least_squares(
    residual: Callable[[Any, Any], Any],
    params: Params,
    data: Any,
    weight_decay: Any = 0.0,
    sample_weight: Any = None,
    dtype: str = "float64",
    chunk_samples: int | None = None,
) -> Objective:
    """E = mean over samples of 1/2 |residual(params, sample)|^2, for any residual of one sample.

    Examples
    --------
    >>> objective = least_squares(lambda p, s: p["k"] * s[0] - s[1], {"k": 0.0}, np.array([[1.0, 2.0], [2.0, 4.0]]))
    >>> float(objective.value(np.array([2.0])))
    0.0
    """
    return Objective(params, [Term(residual, data, sample_weight=sample_weight)], weight_decay, dtype, chunk_samples)


def minimise(loss: Callable[[Any], Any], params: Params, dtype: str = "float64") -> Objective:
    """An objective that is only a scalar `loss(params)`, twice differentiable. It has no Gauss-Newton matrix.

    Examples
    --------
    >>> objective = minimise(lambda p: (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2, np.array([-1.0, 1.0]))
    >>> float(objective.value(np.ones(2)))
    0.0
    """
    if not callable(loss):
        raise TypeError(f"loss must be a callable loss(params), not {type(loss).__name__}")
    term = Term(_Scalar(loss), np.zeros(1), loss=IDENTITY)
    return Objective(params, [term], dtype=dtype)


@dataclasses.dataclass(frozen=True)
class _Scalar:
    """A scalar loss as a function of parameters and one sample that it ignores; equal where the loss is."""

    loss: Callable[[Any], Any]

    def __call__(self, params: Params, _: Any) -> Any:
        return self.loss(params)


def _flat_start(params: Params, layout: Layout, kind: Any) -> jax.Array:
    if layout.size == 0:
        raise ValueError("params is empty: there is nothing to train")
    try:
        w0 = layout.flatten(params, kind)
    except TypeError as error:
        raise TypeError(f"params must be a pytree of arrays of real numbers: {error}") from None
    if not bool(jnp.all(jnp.isfinite(w0))):
        raise ValueError("params contains NaN or infinity: start from finite parameters")
    return w0


def _flat_decay(weight_decay: Any, params: Params, layout: Layout, kind: Any) -> jax.Array:
    if jax.tree_util.all_leaves([weight_decay]):
        per_leaf = jax.tree.map(lambda _: weight_decay, params)
    elif layout.treedef == jax.tree.structure(weight_decay):
        per_leaf = weight_decay
    else:
        raise ValueError(
            f"weight_decay has structure {jax.tree.structure(weight_decay)}; give one number, or a pytree with one "
            f"number for each leaf of params, {layout.treedef}"
        )
    numbers = np.array([float(leaf) for leaf in jax.tree.leaves(per_leaf)])
    if not np.all(np.isfinite(numbers)) or np.any(numbers < 0):
        raise ValueError(f"weight_decay={weight_decay!r} must be finite and not negative")
    return layout.flatten(jax.tree.map(lambda d, leaf: np.full(np.shape(leaf), float(d)), per_leaf, params), kind)


def _block(term: Term, index: int, params: Params, kind: Any, chunk: int | None) -> tuple[Block, int]:
    """Check one term, move its data to the device, and find its outputs."""
    label = f"terms[{index}]"
    if not callable(term.function):
        raise TypeError(f"{label}: function must be callable as function(params, sample)")
    loss = resolve(term.loss)
    samples = _device(term.samples, kind, f"{label}: samples")
    count = _count(samples, f"{label}: samples")
    first = jax.tree.map(lambda leaf: leaf[0], samples)
    typed = jax.tree.map(lambda leaf: jnp.asarray(leaf, kind), params)
    try:
        shape = jax.eval_shape(term.function, typed, first)
    except (TypeError, ValueError, IndexError) as error:
        shapes = [np.shape(leaf) for leaf in jax.tree.leaves(first)]
        raise ValueError(f"{label}: function fails on one sample of shape {shapes}: {error}") from error
    width = math.prod(shape.shape) if hasattr(shape, "shape") else -1
    if width < 1:
        raise TypeError(f"{label}: function must return one non-empty array, not {shape}")
    targets = _targets(term.targets, loss, count, width, kind, label)
    coefficients = _coefficients(term, count, kind, label)
    block = Block(samples, targets, coefficients, term.function, loss)
    return (block if chunk is None else _chunked(block, count, chunk)), count * width


def _device(data: Any, kind: Any, name: str) -> Any:
    def convert(leaf: Any) -> jax.Array:
        if isinstance(leaf, jax.Array):  # it may be sharded over devices: leave it where it is
            array = leaf.astype(kind) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf
        else:
            try:
                seen = np.asarray(leaf)
                array = jnp.asarray(seen if seen.dtype.kind in "iub" else seen.astype(kind))
            except (TypeError, ValueError) as error:
                raise TypeError(f"{name} must hold numbers: {error}") from None
        if jnp.issubdtype(array.dtype, jnp.floating) and not bool(jnp.all(jnp.isfinite(array))):
            raise ValueError(f"{name} contains NaN or infinity: remove or fill those samples first")
        return array

    return jax.tree.map(convert, data)


def _count(samples: Any, name: str) -> int:
    counts = {leaf.shape[0] if leaf.ndim else None for leaf in jax.tree.leaves(samples)}
    if len(counts) != 1 or None in counts:
        raise ValueError(f"{name} must be arrays that share their leading axis (one entry a sample), seen {counts}")
    (count,) = counts
    if not count:
        raise ValueError(f"{name} is empty: give at least one sample")
    return int(count)


def _targets(targets: Any, loss: Loss, count: int, width: int, kind: Any, label: str) -> Any:
    if targets is None:
        return jnp.zeros((count, width), kind)
    targets = _device(targets, kind, f"{label}: targets (y)")
    if _count(targets, f"{label}: targets (y)") != count:
        raise ValueError(f"{label}: {count} samples (X) but targets (y) of {_count(targets, label)}; give one for each")
    if loss.name not in ("squared", "cross_entropy", "binary_cross_entropy"):
        return targets
    if loss.name == "cross_entropy" and targets.ndim == 1:
        return _one_hot(targets, width, kind, label)
    if targets.size != count * width:
        raise ValueError(
            f"{label}: targets (y) have shape {targets.shape}, but the function returns {width} outputs a sample; "
            f"give shape ({count}, {width})"
        )
    targets = targets.reshape(count, width).astype(kind)
    if loss.name != "squared" and bool(jnp.any((targets < 0) | (targets > 1))):
        low, high = float(targets.min()), float(targets.max())
        raise ValueError(f"{label}: targets (y) for {loss.name} must lie in [0, 1], seen {low:g} to {high:g}")
    return targets


def _one_hot(labels: Any, width: int, kind: Any, label: str) -> jax.Array:
    seen = np.asarray(labels)
    if np.any(seen != np.round(seen)) or seen.min() < 0 or seen.max() >= width:
        raise ValueError(
            f"{label}: labels (y) for cross_entropy must be whole numbers from 0 to {width - 1} (the function has "
            f"{width} outputs), seen {seen.min():g} to {seen.max():g}"
        )
    return jax.nn.one_hot(jnp.asarray(seen, int), width, dtype=kind)


def _coefficients(term: Term, count: int, kind: Any, label: str) -> jax.Array:
    if not (np.ndim(term.weight) == 0 and np.isfinite(term.weight) and term.weight > 0):
        raise ValueError(f"{label}: weight={term.weight!r} must be a positive number")
    if term.sample_weight is None:
        return jnp.full(count, term.weight / count, kind)
    weights = np.asarray(term.sample_weight, float)
    if weights.shape != (count,) or not np.all(np.isfinite(weights)) or weights.min() < 0 or weights.sum() == 0:
        raise ValueError(f"{label}: sample_weight must be {count} finite numbers, not negative and not all zero")
    return jnp.asarray(term.weight * weights / weights.sum(), kind)


def _chunked(block: Block, count: int, size: int) -> Block:
    if int(size) != size or size < 1:
        raise ValueError(f"chunk_samples={size!r} must be a positive whole number")
    size = min(int(size), count)
    chunks = -(-count // size)

    def split(leaf: jax.Array, pad_zero: bool = False) -> jax.Array:
        padding = jnp.repeat(leaf[:1], chunks * size - count, axis=0)
        padded = jnp.concatenate([leaf, jnp.zeros_like(padding) if pad_zero else padding])
        return padded.reshape((chunks, size, *leaf.shape[1:]))

    return Block(
        jax.tree.map(split, block.samples),
        jax.tree.map(split, block.targets),
        split(block.coefficients, pad_zero=True),
        block.function,
        block.loss,
        chunked=True,
    )
