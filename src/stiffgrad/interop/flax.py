"""Flax modules, NNX and Linen: trained are the variables of kind Param (NNX) or the collection "params" (Linen).

Flax models are written for batches, so a sample is given as a batch of one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from stiffgrad._types import Params
from stiffgrad.interop._carrier import Carrier, Held, hashable, narrowed, number, of_one, single, widened


def carry(model: Any, variables: Any = None) -> Carrier | None:
    """The carrier of a Flax module, or None for anything else."""
    if isinstance(model, type) and issubclass(model, nnx.Module | nn.Module):
        raise TypeError(f"model={model.__name__} is a class: make a module of it first, {model.__name__}(...)")
    if isinstance(model, nnx.Module):
        _check_frozen(model)
        return NNX(model)
    bound = getattr(model, "__self__", None)
    if isinstance(bound, nn.Module) and getattr(model, "__name__", "") == "apply":
        model = bound
    if not isinstance(model, nn.Module):
        return None
    if variables is None and model.scope is not None:
        model, variables = model.unbind()
    if not isinstance(variables, Mapping):
        raise TypeError(
            "a Linen module does not hold its parameters: supervised(model, model.init(jax.random.key(0), X[:1]), X, y)"
        )
    return Linen(model, variables)


# ---- NNX


def _check_frozen(model: Any) -> None:
    for path, node in nnx.iter_graph(model):
        name = "model" + "".join(f".{part}" if isinstance(part, str) else f"[{part}]" for part in path)
        if isinstance(node, nnx.Dropout) and not node.deterministic and node.rate > 0:
            raise ValueError(
                f"{name} is a Dropout of rate {node.rate:g}, so E(w) would be random: switch it off with model.eval(), "
                "and use weight_decay against overfitting"
            )
        if isinstance(node, nnx.BatchNorm) and not node.use_running_average:
            raise ValueError(
                f"{name} is a BatchNorm that averages over the batch, so E(w) would be no mean over samples: freeze "
                "its statistics with model.eval(), or use nnx.LayerNorm"
            )


@dataclasses.dataclass(frozen=True)
class _Merge:
    graph: Any
    template: Held  # the state of the parameters
    rest: Held

    def __call__(self, params: Params) -> Any:
        state = jax.tree.map(lambda leaf: leaf, self.template.content)
        nnx.replace_by_pure_dict(state, params)
        graph = self.graph.content if isinstance(self.graph, Held) else self.graph
        module = nnx.merge(graph, state, widened(self.rest.content, params))
        for _, node in nnx.iter_graph(module):
            if isinstance(node, nnx.Module) and hasattr(node, "param_dtype"):  # recurrent cells start with zeros of it
                node.param_dtype = jnp.result_type(jax.tree.leaves(params)[0])
        return module


@dataclasses.dataclass(frozen=True)
class _Apply:
    merge: Callable[[Params], Any]

    def __call__(self, params: Params, x: Any) -> Any:
        return single(self.merge(params)(of_one(x)))


class NNX(Carrier):
    """A Flax NNX module; `params` is a nested dict."""

    kind = "a Flax NNX module"

    def __init__(self, model: Any) -> None:
        self._model = nnx.clone(model)
        graph, *(state, rest) = nnx.split(self._model, nnx.Param, ...)
        self.params = nnx.to_pure_dict(state)
        self._merge = _Merge(hashable(graph), Held(state), Held(rest))

    def __reduce__(self) -> Any:
        return NNX, (self._model,)

    @property
    def view(self) -> Callable[[Params], Any]:
        return self._merge

    @property
    def function(self) -> Callable[[Params, Any], Any]:
        return _Apply(self._merge)

    def on_batch(self, batch: Any) -> Any:
        return np.asarray(self._model(widened(batch, self.params)))

    def restore(self, params: Params) -> Any:
        model = nnx.clone(self._model)
        state = nnx.state(model, nnx.Param)
        nnx.replace_by_pure_dict(state, narrowed(params, self.params))
        nnx.update(model, state)
        return model

    def extract(self, model: Any) -> Params:
        return nnx.to_pure_dict(nnx.state(model, nnx.Param))


# ---- Linen


@dataclasses.dataclass(frozen=True)
class _Bind:
    module: Any
    rest: Held
    wrapped: bool

    def __hash__(self) -> int:
        try:
            return hash((self.module, self.rest))
        except TypeError:  # it holds a list, as nn.Sequential does; equality looks inside
            return hash((type(self.module), self.rest))

    def variables(self, params: Params) -> Any:
        return {**self.rest.content, "params": params["params"] if self.wrapped else params}

    def __call__(self, params: Params) -> Any:
        variables = self.variables(params)
        return self.module.bind(widened(variables, params))


@dataclasses.dataclass(frozen=True)
class _ApplyLinen:
    bind: _Bind

    def __call__(self, params: Params, x: Any) -> Any:
        variables = widened(self.bind.variables(params), params)
        try:
            outputs = self.bind.module.apply(variables, of_one(x))
        except Exception as error:
            raise _explained(error) from error
        return single(outputs)


def _explained(error: Exception) -> Exception:
    """Flax names the layer; the remedy is ours."""
    first = str(error).split("(https")[0].strip()
    if type(error).__name__ == "InvalidRngError":
        return ValueError(
            f"the model acts at random, so E(w) would be random: make its dropout deterministic=True ({first})"
        )
    if type(error).__name__ == "ModifyScopeVariableError":
        return ValueError(
            "the model changes its variables when it is called: freeze its BatchNorm with use_running_average=True, or "
            f"use LayerNorm ({first})"
        )
    if isinstance(error, TypeError) and "required positional argument" in first:
        return ValueError(
            f"{first}: give such a module as a function, supervised(lambda params, x: module.apply(params, x[None], "
            "train=False)[0], variables, X, y)"
        )
    return error


class Linen(Carrier):
    """A Flax Linen module with its variables; `params` is what was given: all variables, or their "params" alone."""

    kind = "a Flax Linen module"
    takes_variables = True

    def __init__(self, model: Any, variables: Mapping[str, Any]) -> None:
        wrapped = "params" in variables
        rest = {name: tree for name, tree in variables.items() if name != "params"} if wrapped else {}
        self.params = {"params": variables["params"]} if wrapped else variables
        if not jax.tree.leaves(self.params) or not all(
            number(np.asarray(leaf)) for leaf in jax.tree.leaves(self.params)
        ):
            raise ValueError("variables hold no 'params' of real numbers: give what model.init(key, x) returned")
        self._bind = _Bind(model, Held(rest), wrapped)

    @property
    def view(self) -> Callable[[Params], Any]:
        return self._bind

    @property
    def function(self) -> Callable[[Params, Any], Any]:
        return _ApplyLinen(self._bind)

    def on_batch(self, batch: Any) -> Any:
        try:
            return np.asarray(self._bind.module.apply(self._bind.variables(self.params), widened(batch, self.params)))
        except Exception as error:
            raise _explained(error) from error

    def restore(self, params: Params) -> Any:
        return self._bind.module.bind(self._bind.variables(narrowed(params, self.params)))

    def extract(self, model: Any) -> Params:
        variables = model.variables if isinstance(model, nn.Module) else model
        if self._bind.wrapped:
            return {"params": variables["params"]}
        return variables.get("params", variables)
