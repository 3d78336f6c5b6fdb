"""Results by what they depend on, one JSON file each: a second run finds them and does no work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stiffgrad.laboratory.cells import content_key, finite, read_json, write_json

VERSION = 1  # of what a result holds: a higher one makes all results anew


def plain(value: Any) -> Any:
    """The same as JSON can hold it: lists for arrays, null for what is not finite."""
    if isinstance(value, Mapping):
        return {str(name): plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, np.ndarray | np.bool_):
        return plain(value.tolist())
    return finite(value)


class Store:
    """Results in a folder; `computed` counts those that this process made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.computed = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"out={str(folder.parent)!r} cannot be written to: {error.strerror}") from error

    def get(self, content: Mapping[str, Any], make: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """The result that answers to `content`, read if it is there and made otherwise.

        A file that cannot be read, for instance one that a crash of the machine cut off, is made again.
        """
        path = self.path(content)
        found = read_json(path)
        if found is not None and isinstance(found.get("result"), dict):
            return found["result"]
        result = plain(make())
        write_json(path, {"content": plain(content), "result": result})
        self.computed += 1
        return result

    def path(self, content: Mapping[str, Any]) -> Path:
        """Where the result lies."""
        words = [str(content[name]) for name in ("kind", "problem", "solver", "seed") if name in content]
        return self.folder / ("_".join([*words, content_key({"version": VERSION, **plain(content)})]) + ".json")
