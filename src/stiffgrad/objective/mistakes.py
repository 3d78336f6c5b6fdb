"""Mistakes in a term's function that would run, and give a wrong loss: found before the run.

What the traced program of one sample shows decides whether to look closer, so that most functions cost nothing here;
then the function itself is evaluated, on a few samples, at the start and at random parameters.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stiffgrad._checks import stacklevel
from stiffgrad._config import QUICK_AND_SMALL, Program
from stiffgrad._types import Params

_FEW = 16  # samples to evaluate
_SPREADS = (0.0, 1.0, 100.0)  # of what is added to the parameters: probabilities stay so everywhere, logits do not
_ROUNDING = 1e-3  # by how much probabilities may miss a sum of 1: half precision
_LAYOUT = {"broadcast_in_dim", "reshape", "squeeze", "transpose", "convert_element_type", "copy", "stop_gradient"}
_PASSING = _LAYOUT | {"slice", "dynamic_slice", "gather", "clamp"}
_LINEAR = {"add", "add_any", "sub", "neg", "dot_general", "conv_general_dilated"}  # such ends give any number: logits
_BOUNDED = {"logistic", "div", "mul", "tanh"}  # the ends of a sigmoid, however it is written; others may be 0 by chance
_SIZES = (5, 7, 11, 13, 17, 19, 23)  # of a batch: one that no axis of a sample or a parameter has


def check(function: Callable[..., Any], program: Any, params: Params, samples: Any, loss: str, label: str) -> None:
    """Refuse probabilities where logits are due; warn of a function of a batch.

    Parameters
    ----------
    function : callable
        Function(params, sample).
    program : jaxpr
        Its traced program for one sample.
    params, samples : pytrees of arrays
        The start and all samples.
    loss : str
        The loss's name.
    label : str
        Of the term.

    Raises
    ------
    ValueError
        The loss takes logits, and the function ends in a softmax or sigmoid.
    """
    if any(isinstance(leaf, jax.Array) and not leaf.is_fully_addressable for leaf in jax.tree.leaves(samples)):
        return
    if loss in ("cross_entropy", "binary_cross_entropy"):
        _check_logits(function, program, params, samples, loss, label)
    _check_single(function, program, params, samples, label)


# ---- probabilities in place of logits


def _check_logits(
    function: Callable[..., Any], program: Any, params: Params, samples: Any, loss: str, label: str
) -> None:
    last = _last(program, program.outvars[0])
    if last in _LINEAR:
        return
    few = jax.tree.map(lambda leaf: leaf[:_FEW], samples)
    each = _each(function)
    start, *others = (np.asarray(each(_moved(params, spread), few)).reshape(_count(few), -1) for spread in _SPREADS)
    moved = np.concatenate(others)
    moved = moved[np.isfinite(moved).all(1)]  # random parameters may leave the domain of a function
    rows = np.concatenate([start, moved])
    if not len(moved) or not np.all((rows >= 0.0) & (rows <= 1.0 + _ROUNDING)) or np.ptp(rows) == 0.0:
        return
    whole = loss == "cross_entropy" and bool(np.all(np.abs(rows.sum(1) - 1.0) <= _ROUNDING))
    if whole or last in _BOUNDED:
        name, such = ("softmax", "sum to 1") if whole else ("sigmoid", "lie between 0 and 1")
        raise ValueError(
            f"{label}: loss={loss!r} takes logits, and the outputs are probabilities already: they {such} at the start "
            f"and at random parameters. Leave the {name} out of the model, since the loss has it; if the outputs are "
            "meant so, give a loss of your own, l(outputs, target)"
        )


def _count(samples: Any) -> int:
    return len(jax.tree.leaves(samples)[0])


def _last(jaxpr: Any, out: Any) -> str:
    """The primitive that made an output, inside of calls, and before changes of layout and choices."""
    made = {var: equation for equation in jaxpr.eqns for var in equation.outvars}
    while not hasattr(out, "val") and out in made:  # a literal has a value, and cannot be hashed
        equation = made[out]
        inner = next((sub for sub in _inner(equation) if len(sub.outvars) == len(equation.outvars)), None)
        if inner is not None:
            return _last(inner, inner.outvars[equation.outvars.index(out)])
        if equation.primitive.name not in _PASSING:
            return str(equation.primitive.name)
        out = equation.invars[0]
    return ""


def _inner(equation: Any) -> Iterator[Any]:
    """The programs that an equation calls."""
    for parameter in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda p: hasattr(p, "eqns")):
        sub = getattr(parameter, "jaxpr", parameter)
        if hasattr(sub, "eqns"):
            yield sub


def _moved(params: Params, spread: float) -> Params:
    """Parameters with noise of that deviation added."""
    generator = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: leaf + jnp.asarray(spread * generator.standard_normal(leaf.shape), leaf.dtype), params
    )


def _each(function: Callable[..., Any]) -> Program:
    """Outputs of many samples one by one, stacked: a program of params and samples."""
    return Program(jax.vmap(function, (None, 0)), QUICK_AND_SMALL)


# ---- a batch in place of one sample


def _check_single(function: Callable[..., Any], program: Any, params: Params, samples: Any, label: str) -> None:
    """Warn where a batch is averaged over: the function was written for one, and one sample only happens to pass."""
    leaves = jax.tree.leaves(samples)
    scalars = all(leaf.ndim == 1 for leaf in leaves)
    if not scalars and not any(name.startswith(("reduce", "cum", "sort", "arg")) for name in _names(program)):
        return
    shapes = [leaf.shape[1:] for leaf in leaves] + [leaf.shape for leaf in jax.tree.leaves(params)]
    taken = {size for shape in shapes for size in shape}
    size = next((size for size in _SIZES if size not in taken and size <= len(leaves[0])), 0)
    if not size:
        return
    batch = jax.tree.map(lambda leaf: leaf[:size], samples)
    try:
        together, shape = jax.make_jaxpr(function, return_shape=True)(params, batch)
    except Exception:  # it takes one sample, as it should
        return
    width = math.prod(program.outvars[0].aval.shape)
    if getattr(shape, "shape", ())[:1] != (size,) or math.prod(shape.shape) != size * width:
        return
    if not _mixes(together.jaxpr, size):
        return
    alone = np.asarray(_each(function)(params, batch)).reshape(size, -1)
    whole = np.asarray(Program(function, QUICK_AND_SMALL)(params, batch)).reshape(size, -1)
    if np.allclose(alone, whole, rtol=1e-3, atol=1e-6 + 1e-3 * np.abs(whole).max(), equal_nan=True):
        return
    warnings.warn(
        f"{label}: the function gives other outputs for {size} samples together than one by one, and reduces over "
        "their axis: is it written for a batch? It is called with ONE sample, where axis 0 is another one: compute "
        "means and the like over all samples before, and use them as constants",
        stacklevel=stacklevel(),
    )


def _names(jaxpr: Any) -> Iterator[str]:
    for equation in jaxpr.eqns:
        yield equation.primitive.name
        for sub in _inner(equation):
            yield from _names(sub)


def _mixes(jaxpr: Any, size: int) -> bool:
    """Whether something is reduced over the first axis alone, where that is the batch's."""
    for equation in jaxpr.eqns:
        shape = getattr(equation.invars[0].aval, "shape", ()) if equation.invars else ()
        axes = equation.params.get("axes", (equation.params.get("axis", equation.params.get("dimension")),))
        if shape[:1] == (size,) and tuple(axes) == (0,):
            return True
        if any(_mixes(sub, size) for sub in _inner(equation)):
            return True
    return False
