"""Models of other frameworks: their parameters out, a function of one sample, and the trained model back.

No framework is imported here before an object of its kind is seen.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from typing import Any

from stiffgrad.interop._carrier import Carrier

__all__ = ["Carrier", "carry", "refuse"]

# framework module that must have been imported for a model of its kind to exist -> our module
_FRAMEWORKS = {"equinox": "equinox", "flax.nnx": "flax", "flax.linen": "flax", "torch.nn": "torch"}


def carry(model: Any, variables: Any = None) -> Carrier | None:
    """The carrier of a model, or None where `model` is of no known framework.

    Parameters
    ----------
    model : object
        An Equinox module, a Flax NNX module, a Flax Linen module (with `variables`), or a torch module.
    variables : pytree, optional
        What `init` of a Linen module returned, or its "params" alone; or the state of an Equinox module.

    Raises
    ------
    TypeError, ValueError
        For a class instead of an instance, a module in training mode with dropout or batch-norm, or no parameters.
    """
    for framework, ours in _FRAMEWORKS.items():
        if framework in sys.modules:
            made = importlib.import_module(f"stiffgrad.interop.{ours}").carry(model, variables)
            if made is not None:
                return made
    return None


def _is_model(thing: Any) -> bool:
    kinds = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(thing).__mro__}
    return bool(kinds & {"equinox.Module", "flax.Module", "torch.Module"})


def refuse(function: Any) -> TypeError:
    """The error for something that has no parameters, given without any."""
    what = type(function).__name__
    inside = getattr(function, "__wrapped__", None)
    if isinstance(function, tuple | list):
        remedy = (
            "it has several parts: give supervised(apply, params, X, y), or the model itself in place of (params, "
            "static) or (graphdef, state)"
        )
    elif isinstance(function, Mapping):
        remedy = "it is a dict of parameters: give the model itself, or supervised(apply, params, X, y)"
    elif hasattr(function, "apply_fn") and hasattr(function, "params"):
        remedy = "give its parts: supervised(state.apply_fn, {'params': state.params}, X, y)"
    elif _is_model(inside):
        remedy = "it is a model inside of jit or vmap: pass the model itself, stiffgrad compiles and batches it"
    elif _is_model(getattr(function, "__self__", None)):
        remedy = f"it is the method {function.__name__} of a model: pass the model itself"
    elif hasattr(function, "lower") and hasattr(function, "__wrapped__"):
        remedy = "it is compiled already: pass the model itself, or the function and its parameters (we compile it)"
    elif callable(function):
        remedy = "it is a function, so give its parameters: supervised(apply, params, X, y)"
    else:
        remedy = "give a function apply(params, x) and its params, or a model"
    return TypeError(
        f"supervised got model={what} without parameters: {remedy}. Models that hold their own parameters are Equinox "
        "modules, Flax NNX modules and torch.nn.Module: supervised(model, X, y)"
    )
