"""Pytrees of plain containers as JSON and arrays, and back, so that reading a file runs no code."""

from __future__ import annotations

from typing import Any

import numpy as np


def packed(tree: Any, name: str) -> tuple[Any, dict[str, Any]]:
    """The structure as JSON, and the leaves as arrays `<name>.0`, `<name>.1`, ...; raises TypeError where not plain.

    Examples
    --------
    >>> packed({"a": [1.0, None]}, "p")
    ({'dict': [['a', {'list': [0, None]}]]}, {'p.0': array(1.)})
    """
    arrays: dict[str, Any] = {}

    def pack(node: Any) -> Any:
        if node is None:
            return None
        if type(node) is dict:
            if not all(type(key) in (str, int) for key in node):
                raise TypeError("keys must be texts or whole numbers")
            return {"dict": [[key, pack(child)] for key, child in node.items()]}
        if type(node) in (list, tuple):
            return {type(node).__name__: [pack(child) for child in node]}
        array = np.asarray(node)
        if array.dtype.kind not in "biuf":
            raise TypeError(f"{type(node).__name__} is neither a plain container nor an array of numbers")
        arrays[f"{name}.{len(arrays)}"] = array
        return len(arrays) - 1

    return pack(tree), arrays


def unpacked(structure: Any, name: str, arrays: dict[str, Any]) -> Any:
    """The pytree of `packed`. Raises ValueError for a structure that `packed` does not write.

    Examples
    --------
    >>> unpacked({"tuple": [0, None]}, "p", {"p.0": 3.0})
    (3.0, None)
    """
    if structure is None:
        return None
    if type(structure) is int:
        return arrays[f"{name}.{structure}"]
    if type(structure) is dict and len(structure) == 1:
        ((kind, children),) = structure.items()
        if kind == "dict":
            return {key: unpacked(child, name, arrays) for key, child in children}
        if kind in ("list", "tuple"):
            made = [unpacked(child, name, arrays) for child in children]
            return made if kind == "list" else tuple(made)
    raise ValueError("the structure of its parameters is not one that stiffgrad writes")
