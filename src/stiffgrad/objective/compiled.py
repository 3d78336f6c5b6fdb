"""Derivatives of objectives as compiled programs, which objectives of one structure share."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any

import jax

from stiffgrad._config import Program
from stiffgrad._float64 import float64, host


class Compiled:
    """One derivative, compiled once for every structure of objectives.

    The structure (layout, functions, losses) is hashed once an objective and not at every call: that takes longer
    than the gradient of a small network.
    """

    def __init__(self, function: Callable[..., Any], options: dict[str, Any] | None = None) -> None:
        self._function = function
        self._options = options or {}  # of the compiler
        self._of_structure: dict[Any, Any] = {}
        self._of_objective: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()

    @float64
    def __call__(self, objective: Any, *vectors: Any) -> Any:
        return host(self.bound(objective)(*vectors))

    def bound(self, objective: Any) -> Callable[..., Any]:
        """The function of the vectors alone: a caller that keeps it spares the look-up, and calls it in `float64`."""
        bound = self._of_objective.get(objective)
        if bound is None:
            leaves, structure = jax.tree.flatten(objective)
            if structure not in self._of_structure:
                self._of_structure[structure] = self._jit(structure)
            bound = self._of_objective[objective] = functools.partial(self._of_structure[structure], leaves)
        return bound

    def _jit(self, structure: Any) -> Any:
        def call(leaves: Any, *vectors: Any) -> Any:
            return self._function(jax.tree.unflatten(structure, leaves), *vectors)

        call.__name__ = self._function.__name__  # the name of the compiled program, in profiles and in the cache
        return Program(call, self._options) if self._options else jax.jit(call)

    def _cache_size(self) -> int:
        return sum(function._cache_size() for function in self._of_structure.values())
