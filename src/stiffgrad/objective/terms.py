"""Terms of an objective as the user gives them, checked and turned into blocks ready to compute."""

from __future__ import annotations

import dataclasses
import inspect
import math
import numbers
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stiffgrad._memory import bytes_a_sample
from stiffgrad._types import Params
from stiffgrad.objective.derivatives import Block
from stiffgrad.objective.losses import IDENTITY, LOSSES, Loss, resolve
from stiffgrad.objective.parameters import Layout
from stiffgrad.objective.placement import Placement, without_types

_WORDS = (
    "; number classes by numpy.unique(y, return_inverse=True)[1], give text columns one of 0 and 1 for each value "
    "(pandas.get_dummies), or use the estimators"
)
PROBABILITY = 1e-3  # by how much the probabilities of a sample may miss 1: rounding of half precision


@dataclasses.dataclass(frozen=True)
class Term:
    """One term of an objective: weight * mean over samples of l(function(params, sample), target).

    Parameters
    ----------
    function : callable
        function(params, sample) -> array of outputs (or residuals), for one sample.
    samples : pytree of arrays
        All samples; every leaf has the leading axis N. A list of numbers, or of lists of them, is one array.
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


def flat_start(params: Params, layout: Layout, kind: Any) -> jax.Array:
    """The start as one vector (n,), checked."""
    if layout.size == 0:
        raise ValueError("params is empty: there is nothing to train")
    if any(np.iscomplexobj(leaf) for leaf in jax.tree.leaves(params)):
        raise TypeError("params must be a pytree of arrays of real numbers: split complex ones into two")
    try:
        w0 = layout.flatten(params, kind)
    except (TypeError, ValueError) as error:
        raise TypeError(f"params must be a pytree of arrays of real numbers: {error}") from None
    if not np.all(np.isfinite(np.asarray(w0))):
        raise ValueError("params contains NaN or infinity: start from finite parameters")
    return w0


def flat_decay(weight_decay: Any, params: Params, layout: Layout, kind: Any) -> jax.Array:
    """The decay of each parameter, (n,), from one number or one for each leaf."""
    if jax.tree_util.all_leaves([weight_decay]):
        per_leaf = jax.tree.map(lambda _: weight_decay, params)
    elif layout.treedef == jax.tree.structure(weight_decay):
        per_leaf = weight_decay
    else:
        raise ValueError(
            f"weight_decay has structure {jax.tree.structure(weight_decay)}; give one number, or a pytree with one "
            f"number for each leaf of params, {layout.treedef}"
        )
    numbers = np.array([_number(leaf, f"weight_decay={weight_decay!r}") for leaf in jax.tree.leaves(per_leaf)])
    if not np.all(np.isfinite(numbers)) or np.any(numbers < 0):
        raise ValueError(f"weight_decay={weight_decay!r} must be finite and not negative")
    return layout.flatten(jax.tree.map(lambda d, leaf: np.full(np.shape(leaf), float(d)), per_leaf, params), kind)


def _number(number: Any, name: str) -> float:
    if isinstance(number, bool | str) or np.ndim(number) != 0:
        raise TypeError(f"{name} must be a number, not {type(number).__name__}")
    try:
        return float(number)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number, not {type(number).__name__}") from None


def block_of(term: Term, index: int, params: Params, kind: Any, placement: Placement) -> tuple[Block, int, int, float]:
    """Check one term, move its data to the device.

    Returns the block, its number of samples, and those of outputs and of intermediate numbers of each sample.
    """
    label = f"terms[{index}]"
    if not callable(term.function):
        kind = type(term.function).__name__
        raise TypeError(
            f"{label}: function must be callable as function(params, sample), as apply and residual are, not {kind}"
        )
    loss = resolve(term.loss)
    samples = _device(term.samples, kind, f"{label}: samples")
    count = _count(samples, f"{label}: samples")
    first = jax.tree.map(lambda leaf: leaf[0], samples)
    width, activations = _width(term.function, params, first, kind, label)
    if loss == IDENTITY and width != 1:
        raise ValueError(f"loss(params) must return a scalar to minimise, not {width} numbers")
    targets = _targets(term.targets, loss, count, width, kind, label)
    _check_scalar(loss, width, targets, kind, label)
    coefficients = _coefficients(term, count, kind, label)
    block = Block(samples, targets, coefficients, term.function, loss)
    # The loss, its derivatives and the tangents of both: eight arrays like the outputs.
    size = jnp.dtype(kind).itemsize
    placed = placement.place(block, count, activations + 8.0 * width * size)
    return placed, count, width, activations / (4.0 * size)


def _width(function: Callable[[Any, Any], Any], params: Params, first: Any, kind: Any, label: str) -> tuple[int, float]:
    """Number of outputs of one sample, and the bytes that its activations need."""
    typed = jax.tree.map(lambda leaf: jnp.asarray(leaf, kind), params)
    try:
        shape, activations = bytes_a_sample(function, typed, first)
    except (TypeError, ValueError, IndexError, KeyError) as error:
        shapes = [np.shape(leaf) for leaf in jax.tree.leaves(first)]
        remedy = _remedy(function, typed, first, error)
        raise ValueError(f"{label}: function fails on one sample of shape {shapes}: {_first(error)}{remedy}") from error
    _check_indices(function, typed, first, label)
    width = math.prod(shape.shape) if hasattr(shape, "shape") else -1
    if width < 1 or not jnp.issubdtype(shape.dtype, jnp.floating):
        raise TypeError(f"{label}: function must return one non-empty array of real numbers, not {shape}")
    return width, activations


def _check_indices(function: Callable[[Any, Any], Any], params: Params, first: Any, label: str) -> None:
    """Raise ValueError where a function asks for an entry that no array has: JAX would take the last one instead.

    NumPy does not, so the function is traced with its arrays; what it cannot do with them has been tried with JAX's.
    """
    if not inspect.isfunction(function):
        return
    try:
        known = jax.tree.map(np.asarray, (params, first))
        with np.errstate(all="ignore"):
            jax.eval_shape(lambda: function(*known))
    except IndexError as error:
        shapes = [np.shape(leaf) for leaf in jax.tree.leaves(first)]
        raise ValueError(f"{label}: function fails on one sample of shape {shapes}: {_first(error)}") from error
    except Exception:  # whatever it may be, JAX's own arrays go through
        return


def _remedy(function: Callable[..., Any], params: Params, sample: Any, error: Exception) -> str:
    """What to do about a function that fails: how else it could be called, found by calling it so."""
    if isinstance(error, jax.errors.TracerArrayConversionError):
        return "; NumPy cannot be differentiated: use jax.numpy in its place"
    if all(np.ndim(leaf) == 0 for leaf in jax.tree.leaves(sample)):
        return "; if it wants a vector, give each sample an axis: X[:, None]"
    batch = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), sample)
    if _works(function, sample, params):
        return (
            "; its arguments have another order than function(params, sample): give lambda params, x: apply(x, params)"
        )
    if _works(function, params, None, sample):
        return "; it takes a random key, as Haiku's apply does: give lambda params, x: apply(params, None, x)"
    if _works(function, params, batch):
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


def _first(error: Exception) -> str:
    """What an error says, without the advice for developers of JAX that may follow."""
    return str(error).partition("\n")[0]


def _check_scalar(loss: Loss, width: int, targets: Any, kind: Any, label: str) -> None:
    if loss in LOSSES.values():
        return
    first = jax.tree.map(lambda leaf: leaf[0], targets)
    try:
        shape = jax.eval_shape(loss.value, jnp.zeros(width, kind), first)
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise ValueError(
            f"{label}: loss fails on {width} outputs and one target: {_first(error)}; it must be l(outputs, target) in "
            f"jax.numpy, or one of {', '.join(LOSSES)}"
        ) from error
    if getattr(shape, "shape", None) != () or not jnp.issubdtype(shape.dtype, jnp.floating):
        raise ValueError(f"{label}: loss must return a scalar, one real number, for one sample, not {shape}")


def gathered(data: Any, name: str) -> Any:
    """Lists of numbers, or of lists of them, as one array; any other pytree as it is.

    Raises ValueError for rows of different lengths.

    Examples
    --------
    >>> gathered([[1, 2], [3, 4]], "X").shape
    (2, 2)
    """
    leaves = jax.tree.leaves(data, is_leaf=lambda node: not isinstance(node, list | tuple))
    if not isinstance(data, list | tuple) or not all(isinstance(leaf, numbers.Real) for leaf in leaves):
        return data
    try:
        return np.array(data)
    except ValueError:
        raise ValueError(f"{name} is a list of rows of different lengths: give each the same") from None


def _device(data: Any, kind: Any, name: str) -> Any:
    def convert(leaf: Any) -> jax.Array:
        place = ""
        if isinstance(leaf, jax.Array):  # it may be sharded over devices: leave it where it is
            array = without_types(leaf)
            array = array.astype(kind) if jnp.issubdtype(leaf.dtype, jnp.floating) else array
            finite = bool(jnp.all(jnp.isfinite(array)))
        else:
            try:
                seen = np.asarray(leaf)
                if seen.dtype.kind in "mM":
                    raise TypeError("dates and times have no unit here; give numbers, as days or seconds")
                if seen.dtype.kind == "c":
                    raise TypeError("complex numbers have no order; give real and imaginary parts")
                with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and refused below
                    seen = seen if seen.dtype.kind in "iub" else seen.astype(kind)
                bad = ~np.isfinite(seen)
                finite, array = not bad.any(), jnp.asarray(seen)
                if bad.ndim and not finite:
                    place = f", first at index {[int(i) for i in np.unravel_index(np.argmax(bad), bad.shape)]}"
            except (TypeError, ValueError, RuntimeError) as error:  # PyTorch raises the last
                text = np.asarray(leaf).dtype.kind in "OUST" and not isinstance(error, RuntimeError)
                raise TypeError(f"{name} must hold numbers: {error}{_WORDS if text else ''}") from None
        if not finite:
            raise ValueError(
                f"{name} contains NaN or infinity, or numbers too large for {jnp.dtype(kind).name}{place}: remove or "
                "fill those samples first, or rescale them"
            )
        return array

    return jax.tree.map(convert, gathered(data, name))


def _count(samples: Any, name: str) -> int:
    if not jax.tree.leaves(samples):
        raise ValueError(f"{name} must be arrays with one entry for each sample, not {samples!r}")
    counts = {leaf.shape[0] if leaf.ndim else None for leaf in jax.tree.leaves(samples)}
    if len(counts) != 1 or None in counts:
        seen = [tuple(leaf.shape) for leaf in jax.tree.leaves(samples)][:8]
        raise ValueError(
            f"{name} must be arrays that share their leading axis (one entry a sample); seen shapes {seen}"
        )
    (count,) = counts
    if not count:
        raise ValueError(f"{name} is empty: give at least one sample")
    return int(count)


def _targets(targets: Any, loss: Loss, count: int, width: int, kind: Any, label: str) -> Any:
    if targets is None:
        if loss not in (IDENTITY, LOSSES["squared"]):
            raise TypeError(f"{label}: targets (y) must be given for the loss {loss.name!r}; only 'squared' has a zero")
        return jnp.asarray(np.zeros((count, width)), kind)
    targets = _device(targets, kind, f"{label}: targets (y)")
    if _count(targets, f"{label}: targets (y)") != count:
        raise ValueError(f"{label}: {count} samples (X) but targets (y) of {_count(targets, label)}; give one for each")
    if loss not in LOSSES.values():
        return targets
    if loss.name == "cross_entropy" and targets.ndim == 1:
        return _one_hot(targets, width, kind, label)
    if targets.size != count * width:
        labels = f", or labels of shape ({count},)" if loss.name == "cross_entropy" else ""
        if loss.name == "squared" and targets.shape == (count,) and jnp.issubdtype(targets.dtype, jnp.integer):
            labels = ", or loss='cross_entropy' where y is the number of a class"
        raise ValueError(
            f"{label}: targets (y) have shape {targets.shape}, but the function returns {width} outputs a sample; "
            f"give shape ({count}, {width}){labels}"
        )
    targets = targets.reshape(count, width).astype(kind)
    low, high = (float(np.asarray(targets).min()), float(np.asarray(targets).max()))
    if loss.name != "squared" and (low < 0 or high > 1):
        raise ValueError(f"{label}: targets (y) for {loss.name} must lie in [0, 1], seen {low:g} to {high:g}")
    if loss.name == "cross_entropy":
        totals = np.asarray(targets, float).sum(1)
        worst = float(totals[np.argmax(np.abs(totals - 1.0))])
        if abs(worst - 1.0) > PROBABILITY:
            raise ValueError(
                f"{label}: rows of targets (y) for cross_entropy must be probabilities that sum to 1, seen a row that "
                f"sums to {worst:g}: divide each row by its sum, and weigh samples with sample_weight"
            )
    return targets


def _one_hot(labels: Any, width: int, kind: Any, label: str) -> jax.Array:
    seen = np.asarray(labels)
    if np.any(seen != np.round(seen)) or seen.min() < 0 or seen.max() >= width:
        raise ValueError(
            f"{label}: labels (y) for cross_entropy must be whole numbers from 0 to {width - 1} (the function has "
            f"{width} outputs), seen {seen.min():g} to {seen.max():g}"
            + ("; two classes by one output have the loss 'binary_cross_entropy'" if width == 1 else "")
        )
    return jnp.asarray(np.eye(width)[np.asarray(seen, int)], kind)


def _coefficients(term: Term, count: int, kind: Any, label: str) -> jax.Array:
    weight = _number(term.weight, f"{label}: weight={term.weight!r}")
    if not (np.isfinite(weight) and weight > 0):
        raise ValueError(f"{label}: weight={term.weight!r} must be a positive number")
    if term.sample_weight is None:
        return jnp.asarray(np.full(count, term.weight / count), kind)
    try:
        weights = np.asarray(term.sample_weight, float)
    except (TypeError, ValueError):
        raise TypeError(f"{label}: sample_weight must be {count} numbers, not {term.sample_weight!r}") from None
    if weights.shape != (count,) or not np.all(np.isfinite(weights)) or weights.min() < 0 or weights.sum() == 0:
        raise ValueError(f"{label}: sample_weight must be {count} finite numbers, not negative and not all zero")
    return jnp.asarray(term.weight * weights / weights.sum(), kind)
