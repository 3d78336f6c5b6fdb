"""Results by what they depend on, one JSON file each: a second run finds them and does no work."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np


def content_key(content: Mapping[str, Any]) -> str:
    """16 hexadecimal digits that depend on the content alone.

    Examples
    --------
    >>> content_key({"a": 1, "b": 2}) == content_key({"b": 2, "a": 1})
    True
    """
    text = json.dumps(content, sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_json(path: Path, data: Any) -> None:
    """Write all of it or nothing: into a temporary file beside it, which then takes its place."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(json.dumps(data, allow_nan=False), encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any] | None:
    """The result in a file; None where there is no file, or a damaged one."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None


def finite(data: Any) -> Any:
    """The same for JSON, which has no NaN and no infinity: None stands for both; arrays become lists."""
    if isinstance(data, Mapping):
        return {str(name): finite(value) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return [finite(value) for value in data]
    if isinstance(data, np.ndarray | np.bool_):
        return finite(data.tolist())
    if isinstance(data, float | np.number):
        return data if isinstance(data, int) else float(data) if math.isfinite(data) else None
    return data


class Store:
    """A folder of results; `computed` counts those that this process made.

    Raises ValueError where the folder cannot be made or written.

    Examples
    --------
    >>> import tempfile
    >>> store = Store(tempfile.mkdtemp())
    >>> [store.get({"kind": "sum", "of": [1, 2]}, lambda: {"sum": 3})["sum"] for _ in range(2)], store.computed
    ([3, 3], 1)
    """

    def __init__(self, folder: str | Path) -> None:
        if not isinstance(folder, str | os.PathLike):
            raise TypeError(f"out={folder!r} must be the path of a folder")
        self.folder = Path(folder)
        self.computed = 0
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(
                f"out={str(folder)!r} cannot be made: {error.strerror}; name a folder that can be written"
            ) from None
        if not os.access(self.folder, os.W_OK | os.X_OK):
            raise ValueError(f"out={str(folder)!r} cannot be written; name another folder")

    def path(self, content: Mapping[str, Any]) -> Path:
        """Where the result that depends on `content` lies."""
        return self.folder / f"{content_key(finite(content))}.json"

    def read(self, content: Mapping[str, Any]) -> dict[str, Any] | None:
        """The result; None where there is none, or a damaged one."""
        return read_json(self.path(content))

    def get(self, content: Mapping[str, Any], make: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """The result, read if it is there and made otherwise."""
        found = self.read(content)
        if found is None:
            found = finite({**make(), "content": content})
            write_json(self.path(content), found)
            self.computed += 1
        return found
