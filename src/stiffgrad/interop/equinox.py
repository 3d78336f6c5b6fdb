"""Equinox modules: trained are their arrays of real numbers; all else stays as it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax

from stiffgrad._types import Params
from stiffgrad.interop._carrier import Carrier, Held, hashable, narrowed


def carry(model: Any, variables: Any = None) -> Carrier | None:
    """The carrier of an Equinox module, or None for anything else."""
    if isinstance(model, type) and issubclass(model, eqx.Module):
        raise TypeError(f"model={model.__name__} is a class: make a module of it first, {model.__name__}(..., key=key)")
    if not isinstance(model, eqx.Module):
        return None
    if type(model).__name__ in ("_JitWrapper", "_VmapWrapper"):
        raise TypeError(
            "model is wrapped in filter_jit or filter_vmap: pass the module itself; stiffgrad compiles and batches it"
        )
    _check_frozen(model)
    return Equinox(model, variables if isinstance(variables, eqx.nn.State) else None)


_WITH_STATE = "supervised(model, state, X, y)"


def _check_frozen(model: Any) -> None:
    leaves = jax.tree_util.tree_flatten_with_path(model, is_leaf=_acts_at_random)[0]
    for path, leaf in leaves:
        if isinstance(leaf, eqx.nn.StatefulLayer) and leaf.is_stateful() and not getattr(leaf, "inference", False):
            raise TypeError(
                f"model{jax.tree_util.keystr(path)} is a {type(leaf).__name__}, which changes with every batch: E(w) "
                "would be no function of w. Use eqx.nn.LayerNorm or GroupNorm; a trained one is frozen by "
                f"model = eqx.nn.inference_mode(model) and {_WITH_STATE}"
            )
        if isinstance(leaf, eqx.nn.Dropout) and not leaf.inference and leaf.p > 0:
            raise ValueError(
                f"model{jax.tree_util.keystr(path)} is a Dropout of p={leaf.p:g}, so E(w) would be random: switch it "
                "off with eqx.nn.inference_mode(model), and use weight_decay against overfitting"
            )


def _acts_at_random(node: Any) -> bool:
    return isinstance(node, eqx.nn.Dropout | eqx.nn.StatefulLayer) and not isinstance(node, eqx.nn.Sequential)


@dataclasses.dataclass(frozen=True)
class _Merge:
    """Params -> module; the rest is held: equal for equal structures and equal hashable leaves."""

    treedef: Any
    rest: tuple[Any, ...]

    @classmethod
    def of(cls, rest: Any) -> _Merge:
        """From the module with None for what is trained."""
        leaves, treedef = jax.tree.flatten(rest)
        return cls(treedef, tuple(hashable(leaf) for leaf in leaves))

    def __reduce__(self) -> Any:
        leaves = [leaf.content if isinstance(leaf, Held) else leaf for leaf in self.rest]
        return _Merge.of, (jax.tree.unflatten(self.treedef, leaves),)

    def __call__(self, params: Params) -> Any:
        leaves = [leaf.content if isinstance(leaf, Held) else leaf for leaf in self.rest]
        return eqx.combine(params, jax.tree.unflatten(self.treedef, leaves))


@dataclasses.dataclass(frozen=True)
class _Apply:
    merge: _Merge
    state: Held | None

    def __call__(self, params: Params, x: Any) -> Any:
        model = self.merge(params)
        if self.state is not None:
            state = jax.tree.map(lambda leaf: leaf, self.state.content)  # a copy: a layer that sets it makes it invalid
            return model(x, state)[0]
        if any(map(_is_index, jax.tree.leaves(model, is_leaf=_is_index))):
            raise ValueError(f"the model takes its state beside the sample: give {_WITH_STATE}")
        return model(x)


def _is_index(node: Any) -> bool:
    return isinstance(node, eqx.nn.StateIndex)


class Equinox(Carrier):
    """An Equinox module, with its state where it has one; `params` has None for all that is not trained."""

    kind = "an Equinox module"

    def __init__(self, model: Any, state: Any = None) -> None:
        self.params, rest = eqx.partition(model, eqx.is_inexact_array)
        self._merge = _Merge.of(rest)
        self._state = None if state is None else Held(state)
        self.takes_variables = state is not None

    def __reduce__(self) -> Any:
        return Equinox, (self._merge(self.params), self._state and self._state.content)

    @property
    def view(self) -> Callable[[Params], Any]:
        return self._merge

    @property
    def function(self) -> Callable[[Params, Any], Any]:
        return _Apply(self._merge, self._state)

    def restore(self, params: Params) -> Any:
        return self._merge(narrowed(params, self.params))

    def extract(self, model: Any) -> Params:
        return eqx.filter(model, eqx.is_inexact_array)
