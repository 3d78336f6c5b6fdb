"""Checkpoints: a run on disk, whole, from which an equal call goes on as if it had never stopped.

A file holds the weights, the solver's own state (arrays, its random state among them), the trace, counts and time so
far, the best weights, and what all this belongs to: digests of the problem, the start and the solver. It is written
atomically, the one before it is kept beside it (`<name>.previous`), and a checksum covers all of it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import os
import re
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from stiffgrad import _archive, _checks
from stiffgrad.objective import Objective, derivatives
from stiffgrad.run.trace import checked
from stiffgrad.solvers._base import Solver

FORMAT = "stiffgrad checkpoint"
VERSION = 2
SHARE = 0.05  # of the time at most is spent writing: a large state is written less often
STATE, TRACE = "state.", "trace."


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """Where and how often `solve(checkpoint=...)` saves; a path alone stands for `Checkpoint(path)`.

    Parameters
    ----------
    path : path-like
        The file, by custom ending in `.npz`. The one before it is kept as `<path>.previous`.
    every_seconds : float
        Seconds between two writes, at least; writing takes no more than a twentieth of the time.
    keep_best : bool
        Hold the weights of the lowest loss so far as well, which is what another solver then starts from.

    Raises
    ------
    TypeError, ValueError
        Naming the argument.

    Examples
    --------
    >>> Checkpoint("run.npz", every_seconds=60).keep_best
    True
    """

    path: Any
    every_seconds: float = 5.0
    keep_best: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.path, str | os.PathLike):
            raise TypeError(f"checkpoint={self.path!r} must be a path or a stiffgrad.Checkpoint")
        _checks.number("every_seconds", self.every_seconds, least=0.0)
        _checks.flag("keep_best", self.keep_best)


@dataclasses.dataclass(frozen=True)
class Saved:
    """A run as it is saved.

    Attributes
    ----------
    w : array of shape (n,)
        Weights; on reading those to go on from: the last ones, or the best where another solver takes over.
    loss : float
        The last one.
    state : dict of arrays, or None
        The solver's own; None where it starts afresh at `w`.
    counts : dict of numbers
        Evaluations that the flow has counted.
    trace : dict of arrays
        What `TraceBuilder.saved` gave.
    wall_seconds, compile_seconds : float
        Spent so far.
    best : tuple of float and array, or None
        The best validation score, and its weights.
    words : str
        How the run goes on, for `Solution.message`.
    """

    w: Any
    loss: float
    state: dict[str, Any] | None
    counts: Mapping[str, float]
    trace: Mapping[str, Any]
    wall_seconds: float
    compile_seconds: float
    best: tuple[float, Any] | None
    words: str = ""


class Keeper:
    """The checkpoint of one run: read and compared at the start, written as the run goes.

    Raises
    ------
    TypeError, ValueError
        The place cannot be written to; or what is there is damaged, foreign, or of another problem, start or version.
    """

    def __init__(self, wanted: Any, objective: Objective, solver: Solver) -> None:
        self.failure = ""  # why the last write failed
        self.saved: Saved | None = None
        self._path: Path | None = None
        if wanted is None:
            return
        self._wanted = wanted if isinstance(wanted, Checkpoint) else Checkpoint(wanted)
        self._path = _archive.target(self._wanted.path, "checkpoint")
        self._previous = self._path.with_name(f"{self._path.name}.previous")
        self._next = time.perf_counter() + self._wanted.every_seconds
        self._best: tuple[float, NDArray[Any]] | None = None
        self._first: float | None = None  # the loss at the start of it all
        self._identity = identity(objective, solver)
        source = self._path if self._path.exists() or not self._previous.exists() else self._previous
        if source.exists():
            self.saved = self._continued(source, *self._read(source, objective.size))

    @property
    def due(self) -> bool:
        """Whether it is time to write."""
        return self._path is not None and time.perf_counter() >= self._next

    def note(self, loss: float, w: Any) -> None:
        """Keep the weights of the lowest loss."""
        if self._path is None or not np.isfinite(loss):
            return
        if self._first is None:
            self._first = loss
        if self._wanted.keep_best and (self._best is None or loss < self._best[0]):
            self._best = (loss, w)

    def write(self, run: Saved) -> None:
        """Write all of it or nothing, on process 0. A run worse than its start, or not finite, replaces no file.

        A write that fails warns once, and the run goes on: `failure` says why. The last good file is then untouched.
        """
        if self._path is None or self._first is None or not run.loss <= self._first or jax.process_index():
            return
        begin = time.perf_counter()
        arrays = {"w": np.asarray(run.w), **{TRACE + name: column for name, column in run.trace.items()}}
        arrays |= {STATE + name: leaf for name, leaf in (run.state or {}).items()}
        if self._best is not None:
            arrays["best_w"] = np.asarray(self._best[1])
        if run.best is not None:
            arrays["validation_w"] = np.asarray(run.best[1])
        settings = {
            **self._identity,
            "loss": float(run.loss),
            "first_loss": float(self._first),
            "best_loss": None if self._best is None else float(self._best[0]),
            "validation": None if run.best is None else float(run.best[0]),
            "wall_seconds": run.wall_seconds,
            "compile_seconds": run.compile_seconds,
            "counts": {name: float(count) for name, count in run.counts.items()},
            "shapes": {name: list(np.shape(array)) for name, array in arrays.items()},
        }
        settings["checksum"] = _checksum(settings, arrays)
        try:
            self._rotate()
            _archive.write(self._path, settings, arrays)
            self.failure = ""
        except OSError as error:
            if not self.failure:
                warnings.warn(f"checkpoint {self._path} could not be written: {error.strerror}", stacklevel=2)
            self.failure = f"could not write its checkpoint {self._path}: {error.strerror}; the last good one stays"
        end = time.perf_counter()
        self._next = end + max(self._wanted.every_seconds, (end - begin) / SHARE)

    def _rotate(self) -> None:
        """Keep the present file as the previous one; at every moment one of the two names holds a whole file."""
        assert self._path is not None
        if self._path.exists():
            link = self._previous.with_name(f".{self._previous.name}.link")
            link.unlink(missing_ok=True)
            try:
                os.link(self._path, link)  # a second name, so that the first one stays
                os.replace(link, self._previous)
            except OSError:  # a file system without links
                os.replace(self._path, self._previous)

    def _read(self, path: Path, size: int) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        try:
            settings, arrays = _archive.read(path, _schema)
            with _archive.damage(path):
                if _checksum(settings, arrays) != settings["checksum"]:
                    raise ValueError("its checksum is wrong")
                if arrays["w"].shape != (size,):
                    raise _Other(f"it holds {arrays['w'].shape[0]} weights, and this problem has {size}")
                for name in ("w", "best_w", "validation_w"):
                    if name in arrays and (arrays[name].shape != (size,) or not np.all(np.isfinite(arrays[name]))):
                        raise ValueError(f"its {name!r} is not finite, or not of {size} weights")
                _check_trace({n.removeprefix(TRACE): array for n, array in arrays.items() if n.startswith(TRACE)})
        except ValueError as error:
            cause = error.__cause__ if isinstance(error.__cause__, _Other) else error
            spare = self._previous if path != self._previous and self._previous.exists() else None
            remedy = "remove the file, or give another path"
            if spare is not None and cause is error:
                remedy = f"remove the file, and the run goes on from the one before it, {spare.name}"
            raise ValueError(f"checkpoint={str(self._wanted.path)!r}: {cause}; {remedy}") from None
        return settings, arrays

    def _continued(self, path: Path, settings: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Saved:
        mine = self._identity
        same_jax = settings["jax"] == mine["jax"]
        for name, words in _IDENTITY.items():
            if settings[name] != mine[name] and (name != "program" or same_jax):
                raise ValueError(
                    f"checkpoint={str(self._wanted.path)!r} belongs to another run: {words}; give another path"
                )
        exact = all(settings[name] == mine[name] for name in ("solver", "package", "jax"))
        state = {name.removeprefix(STATE): a for name, a in arrays.items() if name.startswith(STATE)}
        trace = {name.removeprefix(TRACE): a for name, a in arrays.items() if name.startswith(TRACE)}
        best = settings["best_loss"]
        self._first = settings["first_loss"]
        if best is not None and self._wanted.keep_best:
            self._best = (best, arrays["best_w"])
        restart = arrays["best_w"] if best is not None and not exact else arrays["w"]
        reason = "" if exact else f", which {settings['solver_name']} wrote, at its best weights"
        return Saved(
            w=restart.astype(mine["dtype"]),
            loss=settings["loss"],
            state=state if exact and state else None,
            counts=settings["counts"],
            trace=trace,
            wall_seconds=settings["wall_seconds"],
            compile_seconds=settings["compile_seconds"],
            best=None if settings["validation"] is None else (settings["validation"], arrays["validation_w"]),
            words=f"{path.name}{reason}",
        )


def _check_trace(trace: dict[str, NDArray[Any]]) -> None:
    """What `TraceBuilder.restored` relies on."""
    columns = {name: column for name, column in trace.items() if not name.startswith("_")}
    checked(columns)
    numbers, thinned = trace["_number"], trace["_thinned"]
    if numbers.shape != columns["loss"].shape or thinned.shape != (2,) or not np.all(thinned > 0):
        raise ValueError("its trace has other numbers of rows than columns")
    if (
        numbers.dtype.kind not in "iu"
        or np.any(np.diff(numbers) <= 0)
        or not 0 <= numbers[0] <= numbers[-1] < thinned[0]
    ):
        raise ValueError("the rows of its trace are not in order")


def beside(wanted: Any, ending: str) -> Any:
    """The same checkpoint with a longer path, for a second run of one call."""
    if wanted is None:
        return None
    wanted = wanted if isinstance(wanted, Checkpoint) else Checkpoint(wanted)
    return dataclasses.replace(wanted, path=f"{os.fspath(wanted.path)}{ending}")


class _Other(Exception):
    """The file is whole, and of another problem."""


# What a file must share with the call that goes on from it, and what it means where it does not.
_IDENTITY = {
    "layout": "its parameters have another structure",
    "dtype": "its weights are of another number type",
    "data": "its data, losses or weight decay differ",
    "program": "its function differs",
    "start": "it began at other weights",
}
_TEXTS = ("layout", "dtype", "data", "program", "start", "solver", "solver_name", "package", "jax", "checksum")
_NUMBERS = ("loss", "first_loss", "wall_seconds", "compile_seconds")


def _schema(settings: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """The shapes of the arrays, once everything is of its type."""
    if settings.get("format") != FORMAT:
        raise ValueError("it is no checkpoint")
    if settings.get("version") != VERSION:
        raise ValueError(f"it has version {settings.get('version')!r}, this stiffgrad reads version {VERSION}")
    for name in _TEXTS:
        if not isinstance(settings[name], str):
            raise ValueError(f"its {name!r} is no text")
    for name in _NUMBERS:
        _checks.number(name, settings[name])
    for name in ("best_loss", "validation"):
        if settings[name] is not None:
            _checks.number(name, settings[name])
    for name, count in settings["counts"].items():
        _checks.number(name, count, least=0.0)
    shapes = {name: tuple(_checks.whole(name, n) for n in shape) for name, shape in settings["shapes"].items()}
    needed = {"w"} | ({"best_w"} if settings["best_loss"] is not None else set())
    needed |= {"validation_w"} if settings["validation"] is not None else set()
    if needed - set(shapes):
        raise ValueError(f"it lacks {min(needed - set(shapes))!r}")
    return shapes


def _checksum(settings: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256(
        json.dumps({name: value for name, value in settings.items() if name != "checksum"}, sort_keys=True).encode()
    )
    for name in sorted(arrays):
        _add(digest, name, arrays[name])
    return digest.hexdigest()


def _add(digest: Any, name: str, array: Any) -> None:
    if isinstance(array, jax.Array) and not (array.is_fully_addressable or array.is_fully_replicated):
        array = np.concatenate([np.ravel(shard.data) for shard in array.addressable_shards])  # this host's part
    array = np.ascontiguousarray(array)
    digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
    digest.update(array.data.cast("B") if array.size else b"")


def identity(objective: Objective, solver: Solver) -> dict[str, Any]:
    """What a checkpoint belongs to: digests of the problem's structure, data, function and start, and of the solver.

    Examples
    --------
    >>> from stiffgrad.objective import minimise
    >>> from stiffgrad.solvers._registry import create
    >>> bowls = [minimise(lambda w: (w**2).sum(), np.ones(2)), minimise(lambda w: 2 * (w**2).sum(), np.ones(2))]
    >>> a, b = (identity(bowl, create("rosenbrock")) for bowl in bowls)
    >>> a["data"] == b["data"], a["program"] == b["program"]
    (True, False)
    """
    data = hashlib.sha256()
    for number, block in enumerate(objective.blocks):
        data.update(f"{number} {block.loss.name} {block.chunked}".encode())
        for leaf in jax.tree.leaves((block.samples, block.targets, block.coefficients)):
            _add(data, "data", leaf)
    _add(data, "decay", objective.decay)
    start = hashlib.sha256()
    _add(start, "start", objective.w0)
    return {
        "format": FORMAT,
        "version": VERSION,
        "layout": _plain(f"{objective.layout.treedef} {objective.layout.shapes}"),
        "dtype": objective.w0.dtype.name,
        "data": data.hexdigest(),
        "program": _program(objective),
        "start": start.hexdigest(),
        "solver": _plain(repr(solver)),
        "solver_name": solver.name,
        "package": importlib.metadata.version("stiffgrad"),
        "jax": jax.__version__,
    }


def _program(objective: Objective) -> str:
    """A digest of the operations of E and of the constants in them."""
    program = jax.make_jaxpr(derivatives.value)(objective, objective.w0)
    digest = hashlib.sha256(_plain(str(program)).encode())
    for constant in program.consts:
        _add(digest, "constant", constant)
    return digest.hexdigest()


def _plain(text: str) -> str:
    """Without the addresses of objects, which differ in every process."""
    return re.sub(r" at 0x[0-9a-fA-F]+|id=\d+", "", text)
