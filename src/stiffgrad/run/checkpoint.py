"""The weights of a running solve on disk, so that a killed run loses at most seconds of work."""

from __future__ import annotations

import os
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

EVERY_SECONDS = 5.0


class Checkpoint:
    """A file of weights: written atomically at most every five seconds and at the end, read at the start.

    Parameters
    ----------
    path : path-like or None
        The file (`.npz`); None does nothing.
    start : array of shape (n,)
        The start of the run, which must match what the file continues.

    Raises
    ------
    ValueError
        The folder cannot be written, or the file is not a checkpoint of n weights.
    """

    def __init__(self, path: Any, start: NDArray[np.floating]) -> None:
        self._path = None if path is None else Path(path)
        self._next = time.perf_counter() + EVERY_SECONDS
        if self._path is not None and not (self._path.parent.is_dir() and os.access(self._path.parent, os.W_OK)):
            raise ValueError(
                f"checkpoint={str(path)!r}: its folder does not exist or cannot be written; create it first"
            )
        self.w: Any = start if self._path is None or not self._path.exists() else self._read(self._path, start)

    @staticmethod
    def _read(path: Path, start: NDArray[np.floating]) -> NDArray[np.floating]:
        try:
            with np.load(path, allow_pickle=False) as saved:
                w = saved["w"]
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"checkpoint={str(path)!r} is not a stiffgrad checkpoint: remove the file ({error})"
            ) from None
        if w.shape != start.shape or not np.all(np.isfinite(w)):
            raise ValueError(f"checkpoint={str(path)!r} holds {w.shape} weights, not {start.shape}: remove the file")
        return w.astype(start.dtype)

    def save(self, w: Any, force: bool = False) -> None:
        """Write the weights, unless the last time is too recent."""
        if self._path is None or (time.perf_counter() < self._next and not force):
            return
        partial = self._path.with_name(self._path.name + ".partial")
        with partial.open("wb") as file:
            np.savez(file, w=np.asarray(w))
        os.replace(partial, self._path)
        self._next = time.perf_counter() + EVERY_SECONDS
