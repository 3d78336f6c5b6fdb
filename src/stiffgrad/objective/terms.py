"""Terms of an objective as the user gives them, checked and turned into blocks ready to compute."""

from __future__ import annotations

import dataclasses
import inspect
import math
import numbers
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stiffgrad import _checks
from stiffgrad._memory import bytes_of
from stiffgrad._types import Params
from stiffgrad.objective import mistakes
from stiffgrad.objective.derivatives import Block
from stiffgrad.objective.losses import IDENTITY, LOSSES, Loss, resolve
from stiffgrad.objective.networks import MLP
from stiffgrad.objective.parameters import Layout
from stiffgrad.objective.placement import Placement, without_types
from stiffgrad.objective.remedies import first_line, remedy

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
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        _refuse_traced(leaf, f"params{jax.tree_util.keystr(path)}")
    _check_types(params)
    try:
        w0 = layout.flatten(params, kind)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"params must be a pytree of arrays of real numbers: {error}; what is not trained belongs into the function"
        ) from None
    if not np.all(np.isfinite(np.asarray(w0))):
        raise ValueError("params contains NaN or infinity: start from finite parameters")
    return w0


def _refuse_traced(leaf: Any, name: str) -> None:
    """Objectives are made of numbers, and training looks at them: neither is possible while JAX traces."""
    if isinstance(leaf, jax.core.Tracer):
        raise TypeError(
            f"{name} has no values yet, as JAX traces the code around this call: train outside of jax.jit, vmap and "
            "grad, in a Python loop over problems, or by stiffgrad.multistart over starts; the functions given to "
            "stiffgrad may use them inside"
        )


def _check_types(params: Params) -> None:
    """Refuse truth values; warn of whole numbers among real ones, which may be settings."""
    kinds = {jax.tree_util.keystr(path): _kind(leaf) for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]}
    truths = [name for name, kind in kinds.items() if kind == "b"]
    whole = [name for name, kind in kinds.items() if kind in "iu"]
    if truths:
        raise TypeError(
            f"params{truths[0]} is a truth value, and everything in params is trained: use it inside the function"
        )
    if whole and len(whole) < len(kinds):
        warnings.warn(
            f"params{whole[0]} is a whole number, and is trained like the rest of params: write it as a real number if "
            "that is meant; otherwise use it inside the function",
            stacklevel=_checks.stacklevel(),
        )


def _kind(leaf: Any) -> str:
    return str(getattr(getattr(leaf, "dtype", None), "kind", np.asarray(leaf).dtype.kind))


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
    samples = device(term.samples, kind, f"{label}: samples")
    count = _count(samples, f"{label}: samples")
    first = jax.tree.map(_first, samples)
    typed = jax.tree.map(lambda leaf: jnp.asarray(leaf, kind), params)
    program, width = _traced(term.function, typed, first, loss, label)
    activations = bytes_of(program, len(jax.tree.leaves(params)))
    targets = _targets(term.targets, loss, count, width, kind, label)
    _check_scalar(loss, width, targets, kind, label)
    if loss != IDENTITY and not isinstance(term.function, MLP):
        mistakes.check(term.function, program, typed, samples, loss.name, label)
    coefficients = _coefficients(term, count, kind, label)
    block = Block(samples, targets, coefficients, term.function, loss)
    # The loss, its derivatives and the tangents of both: eight arrays like the outputs.
    size = jnp.dtype(kind).itemsize
    placed = placement.place(block, count, activations + 8.0 * width * size)
    return placed, count, width, activations / (4.0 * size)


def _first(leaf: jax.Array) -> Any:
    """The first sample, from memory where it is at hand: JAX compiles a program for each shape."""
    at_hand = leaf.is_fully_addressable and all(device.platform == "cpu" for device in leaf.devices())
    return np.asarray(np.asarray(leaf)[0]) if at_hand else leaf[0]


def _traced(function: Callable[[Any, Any], Any], params: Params, first: Any, loss: Loss, label: str) -> tuple[Any, int]:
    """The program of one sample, and its number of outputs."""
    alone = loss == IDENTITY  # the function is a loss of the params
    try:
        program, shape = jax.make_jaxpr(function, return_shape=True)(params, first)
    except (TypeError, ValueError, IndexError, KeyError) as error:
        if alone:
            what = f"loss(params) fails: {first_line(error)}"
            what += remedy(function, params, first, error) if isinstance(error, jax.errors.JAXTypeError) else ""
        else:
            what = _fails(label, first, error)
            what += remedy(function, params, first, error)
        raise ValueError(what) from error
    width = math.prod(shape.shape) if hasattr(shape, "shape") else -1
    real = width > 0 and jnp.issubdtype(shape.dtype, jnp.floating)
    seen = shape if hasattr(shape, "shape") else f"a {type(shape).__name__}"
    if alone and width != 1:
        raise ValueError(
            f"loss(params) must return a scalar to minimise, one real number, not {seen}: residuals go with "
            "least_squares(residual, params), and a loss is given without its gradient"
        )
    if not real:
        raise TypeError(f"{label}: function must return one non-empty array of real numbers, not {seen}")
    if not alone:
        _check_indices(function, params, first, label)
    return program.jaxpr, width


def _fails(label: str, first: Any, error: Exception) -> str:
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(first)]
    return f"{label}: function fails on one sample of shape {shapes}: {first_line(error)}"


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
        raise ValueError(_fails(label, first, error)) from error
    except Exception:  # whatever it may be, JAX's own arrays go through
        return


def _check_scalar(loss: Loss, width: int, targets: Any, kind: Any, label: str) -> None:
    if loss in LOSSES.values():
        return
    first = jax.tree.map(lambda leaf: leaf[0], targets)
    try:
        shape = jax.eval_shape(loss.value, jnp.zeros(width, kind), first)
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise ValueError(
            f"{label}: loss fails on {width} outputs and one target: {first_line(error)}; it must be l(outputs, "
            f"target) in jax.numpy, or one of {', '.join(LOSSES)}"
        ) from error
    if getattr(shape, "shape", None) != () or not jnp.issubdtype(shape.dtype, jnp.floating):
        raise ValueError(f"{label}: loss must return a scalar, one real number, for one sample, not {shape}")


def gathered(data: Any, name: str) -> Any:
    """Lists of numbers, or of lists of them, as one array, in dicts too; any other pytree as it is.

    Raises ValueError for rows of different lengths, TypeError for a list of dicts.

    Examples
    --------
    >>> gathered([[1, 2], [3, 4]], "X").shape
    (2, 2)
    """
    if hasattr(data, "requires_grad") and hasattr(data, "detach"):  # of PyTorch, and maybe on a GPU
        plain = data.detach().cpu()
        return plain.float() if str(plain.dtype) == "torch.bfloat16" else plain  # NumPy has no such type
    if type(data).__module__.startswith("torch.utils.data"):
        raise TypeError(f"{name} is a {type(data).__name__}: give all samples as one array or tensor, with y beside it")
    if isinstance(data, dict):
        return {key: gathered(value, f"{name}[{key!r}]") for key, value in data.items()}
    if not isinstance(data, list | tuple):
        return data
    leaves = jax.tree.leaves(data, is_leaf=lambda node: not isinstance(node, list | tuple))
    if isinstance(data, list) and any(isinstance(leaf, dict) for leaf in leaves):
        raise TypeError(
            f"{name} is a list with dicts in it, one a sample: give one dict of arrays, each with an entry for every "
            f"sample (pandas.DataFrame({name}).to_dict('list') makes it)"
        )
    if not all(isinstance(leaf, numbers.Real) for leaf in leaves):
        return data
    try:
        return np.array(data)
    except ValueError:
        raise ValueError(f"{name} is a list of rows of different lengths: give each the same") from None


def device(data: Any, kind: Any, name: str) -> Any:
    """Checked data as JAX arrays, real numbers in the number type `kind`. Raises ValueError or TypeError."""

    def convert(leaf: Any) -> jax.Array:
        place = ""
        _refuse_traced(leaf, name)
        if isinstance(leaf, jax.Array):  # it may be sharded over devices: leave it where it is
            array = without_types(leaf)
            array = array.astype(kind) if jnp.issubdtype(leaf.dtype, jnp.floating) else array
            finite = bool(jnp.all(jnp.isfinite(array)))
        else:
            try:
                seen = np.asarray(leaf)
                if seen.dtype.kind == "c":
                    raise TypeError("complex numbers have no order; give real and imaginary parts")
                if seen.dtype.kind in "mM":
                    raise TypeError("times are none; give their distance, (t - t[0]) / numpy.timedelta64(1, 'D')")
                if hasattr(leaf, "toarray"):
                    raise TypeError("a sparse matrix has holes; give its toarray()")
                if np.ma.is_masked(leaf):
                    raise TypeError("a masked array has holes; remove or fill those samples")
                with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and refused below
                    seen = seen if seen.dtype.kind in "iub" else seen.astype(kind)
                bad = ~np.isfinite(seen)
                finite, array = not bad.any(), jnp.asarray(seen, seen.dtype)  # without a type JAX compiles a copy
                if bad.ndim and not finite:
                    place = f", first at index {[int(i) for i in np.unravel_index(np.argmax(bad), bad.shape)]}"
            except (TypeError, ValueError, RuntimeError) as error:  # PyTorch raises the last
                raise TypeError(f"{name} must hold numbers: {error}{_WORDS if _has_text(leaf) else ''}") from None
        if not finite:
            raise ValueError(
                f"{name} contains NaN or infinity, or numbers too large for {jnp.dtype(kind).name}{place}: remove or "
                "fill those samples first, or rescale them"
            )
        return array

    return jax.tree.map(convert, gathered(data, name))


def _has_text(leaf: Any) -> bool:
    try:
        seen = np.asarray(leaf, object).ravel()
    except (TypeError, ValueError, RuntimeError):
        return False
    return any(isinstance(entry, str) for entry in seen[:1000])


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
    targets = device(targets, kind, f"{label}: targets (y)")
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
